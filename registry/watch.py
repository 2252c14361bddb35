"""Notice that the registry file changed, whoever wrote, without opening it.

Opening and closing it here would drop the locks of SQLite's connections in this process.
"""

import os
import time
from typing import Callable, Optional, Tuple

FileStatus = Tuple[int, int, int, int, int]
# Longer than a tick of the clock that file systems go by (10 ms at most in dom0).
_TICK_SECONDS = 0.05


class FileWatch:
    """Compare the file's status with the one of the last look."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._status: Optional[FileStatus] = None
        self._second_look_at: Optional[float] = clock()

    def has_changed(self) -> bool:
        """Tell whether the file may have changed since the last look; the first look says yes.

        After a change a later look says yes once more: a second commit within the same tick of
        the file system's clock would not move the time of modification.
        """
        status = self._read_status()
        if status != self._status:
            self._status = status
            self._second_look_at = self._clock() + _TICK_SECONDS
            return True
        if self._second_look_at is None or self._clock() < self._second_look_at:
            return False
        self._second_look_at = None
        return True

    def _read_status(self) -> Optional[FileStatus]:
        try:
            status = os.stat(self._path)
        except (OSError, ValueError):
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino,
                status.st_dev)
