"""Notice that the registry file changed, whoever wrote, without opening it.

Opening and closing it here would drop the locks of SQLite's connections in this process.
"""

import os
from typing import Optional, Tuple

FileStatus = Tuple[int, int, int, int, int]


class FileWatch:
    """Compare the file's status with the one of the last look."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._status = None  # type: Optional[FileStatus]
        self._looks_due = 2

    def has_changed(self) -> bool:
        """Tell whether the file may have changed since the last look; the first look says yes.

        After a change the next look says yes once more: a second commit within the same tick of
        the file system's clock would not move the time of modification.
        """
        status = self._read_status()
        if status != self._status:
            self._status = status
            self._looks_due = 2
        if self._looks_due == 0:
            return False
        self._looks_due -= 1
        return True

    def _read_status(self) -> Optional[FileStatus]:
        try:
            status = os.stat(self._path)
        except (OSError, ValueError):
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino,
                status.st_dev)
