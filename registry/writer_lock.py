"""The lock of the one writer to XAPI: a flock beside the registry, held for life by the daemon.

The file is never deleted by us: a lock on a deleted file excludes no one.
"""

import contextlib
import fcntl
import os
import re
import sys
import time
from typing import Any, Callable, Optional

from registry.errors import Reason
from registry.paths import LOCK_SUFFIX, resolve_path
from registry.sqlite.connection import unavailable

FILE_MODE = 0o600
PAUSE_SECONDS = 0.05
_HOLDER_BYTES = 200
_DIGITS = re.compile(r'[0-9]{1,9}\Z')


class WriterLock:
    """The right to write to XAPI; `path` is the registry's."""

    def __init__(self, path: str, *, monotonic: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self.path = resolve_path(path) + LOCK_SUFFIX
        self._monotonic = monotonic
        self._sleep = sleep
        self._descriptor: Optional[int] = None

    @property
    def is_held(self) -> bool:
        """Tell whether this object holds the lock."""
        return self._descriptor is not None

    @property
    def is_lost(self) -> bool:
        """Tell whether the file that this object has locked was deleted or replaced."""
        if self._descriptor is None:
            return False
        try:
            return not os.path.samestat(os.lstat(self.path), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def acquire(self, timeout_seconds: float = 0) -> bool:
        """Try to get the lock for so long; True when it is held, also when it was before."""
        deadline = self._monotonic() + timeout_seconds
        while not self.is_held and not self._try_once():
            if self._monotonic() >= deadline:
                return False
            self._sleep(PAUSE_SECONDS)
        return True

    def release(self) -> None:
        """Give the lock back; releasing what is not held is allowed."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Optional[str]:
        """Say who wrote that it holds the lock, unless that process is gone.

        It is for messages: only `acquire` tells whether the lock is free.
        """
        try:
            with open(self.path, 'rb') as file:
                text = file.read(_HOLDER_BYTES).decode('ascii', 'replace').strip()
        except OSError:
            return None
        return text if _is_alive(text) else None

    def __enter__(self) -> 'WriterLock':
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.release()

    def _try_once(self) -> bool:
        try:
            # A link in its place would have us lock, and empty, a file of others.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                                 FILE_MODE)
        except (OSError, ValueError) as error:
            raise unavailable(self.path, Reason.UNWRITABLE, detail=str(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        # Who holds it is for messages only: a full disk must not keep us from writing to XAPI.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _holder_text().encode('ascii', 'replace'))
        self._descriptor = descriptor
        return True


def _holder_text() -> str:
    return f'pid {os.getpid()}, {os.path.basename(sys.argv[0]) or "python"}\n'


def _is_alive(text: str) -> bool:
    words = text.replace(',', ' ').split()
    if len(words) < 2 or not _DIGITS.match(words[1]):
        return False
    try:
        os.kill(int(words[1]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
