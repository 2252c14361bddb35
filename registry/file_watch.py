"""Notice that any program changed the registry file, without opening it.

Opening and closing it here would drop the locks of SQLite's connections in this process. What
counts is the file's status; the kernel's notices, where there are any, say when to look.
"""

import os
import time
from typing import TYPE_CHECKING, Callable, Optional, Tuple

if TYPE_CHECKING:
    from registry.inotify import FileNotices

FileStatus = Tuple[int, int, int, int, int]
# Longer than a tick of the clock that file systems go by (10 ms at most in dom0).
_TICK_SECONDS = 0.05
# After the first sign of a transaction: it has written, and may not have let go of its locks.
SETTLE_SECONDS = 0.005
# A transaction that takes longer is met with its locks; so is one that keeps its journal file.
LONGEST_SETTLE_SECONDS = 0.3


class FileWatch:
    """Compare the file's status with the one of the last look."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._status: Optional[FileStatus] = None
        self._second_look_at: Optional[float] = clock()
        self._notices: 'Optional[FileNotices]' = None
        self._tells = True
        self._told_at = 0.0
        self.next_look: Optional[float] = None
        """When to look because the kernel has told something, on the clock."""

    def listen(self, notices: 'FileNotices') -> None:
        """Look when the kernel tells, too."""
        notices.arm()
        self._notices, self._tells = notices, True

    def close(self) -> None:
        """Be told nothing any more."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    @property
    def is_told(self) -> bool:
        """Whether the kernel reports a change, by all that is known."""
        return self._notices is not None and self._notices.is_armed and self._tells

    @property
    def descriptor(self) -> Optional[int]:
        """What is readable when the kernel has told something; None while a look is due anyway."""
        if self._notices is None or self.next_look is not None:
            return None
        return self._notices.descriptor

    def hear(self) -> None:
        """Take what the kernel has told; `next_look` says when to look because of it."""
        if self._notices is None:
            return
        is_told = self._notices.take()
        if is_told or not self._notices.is_armed:
            # What was replaced has to be watched under its path again.
            self._notices.arm()
        if not is_told:
            return
        self._tells = True
        if self.next_look is None:
            self._told_at = self._clock()
            self.next_look = self._told_at + SETTLE_SECONDS

    def has_changed(self) -> bool:
        """Tell whether the file may have changed since the last look; the first look says yes.

        A change that the kernel reported is said when its transaction has ended. After another one,
        a later look says yes once more: a second commit within the same tick of the file system's
        clock would not move the time of modification.
        """
        self.hear()
        status, now = self._read_status(), self._clock()
        if self.next_look is not None:
            return self._look_as_told(status, now)
        if status != self._status:
            self._note_untold()
            self._status = status
            self._second_look_at = now + _TICK_SECONDS
            return True
        if self._second_look_at is None or now < self._second_look_at:
            return False
        self._second_look_at = None
        return True

    def _look_as_told(self, status: Optional[FileStatus], now: float) -> bool:
        # A caller that asks before then may hold what was seen later: a commit is not left waiting.
        if self.next_look is None or (now < self.next_look and status == self._status):
            return False
        passed = now - self._told_at
        if passed < LONGEST_SETTLE_SECONDS and self._is_being_written():
            self.next_look = now + max(SETTLE_SECONDS, passed)
            return False
        # What the kernel reports from here on has another look follow: this one need not be
        # repeated.
        self.next_look = self._second_look_at = None
        self._status = status
        return True

    def _note_untold(self) -> None:
        """A change without a notice: the next ones may come without one, too."""
        if self._notices is not None:
            self._tells = self._status is None
            self._notices.arm()

    def _is_being_written(self) -> bool:
        """Whether a transaction's journal is there; SQLite ends one by emptying or removing it."""
        try:
            return os.stat(self._path + '-journal').st_size > 0
        except (OSError, ValueError):
            return False

    def _read_status(self) -> Optional[FileStatus]:
        try:
            status = os.stat(self._path)
        except (OSError, ValueError):
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino,
                status.st_dev)
