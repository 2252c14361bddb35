"""The kernel tells that a file was written, replaced or removed (inotify).

The file is not opened, so the locks of SQLite's connections in this process stay. The file itself
is watched for writes, and its directory for names that come and go: our journal beside it, which
is written far more often, causes no wake-up. Only a hint: its user also looks at the file's
status now and then, since a file system may tell nothing (NFS, a copied-up overlay).
"""

import ctypes
import os
import struct
from typing import Optional

_MODIFY, _ATTRIB, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x400, 0x800
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ONLY_DIRECTORY = 0x4000, 0x8000, 0x1000000
# Closing after writing is not among them: SQLite closes so when it has only read.
_FILE = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF
_DIRECTORY = (_MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
              | _ONLY_DIRECTORY)
_HEAD = struct.Struct('iIII')
_BYTES = 65536


class FileNotices:
    """What the kernel has reported of one file since the last call of `take`."""

    def __init__(self, path: str) -> None:
        """Begin; OSError where there is no inotify, or no more of it."""
        self._path = path
        directory, name = os.path.split(os.path.abspath(path))
        self._directory = directory
        self._names = frozenset(os.fsencode(name + end) for end in ('', '-journal', '-wal'))
        self._file_watch: Optional[int] = None
        self._directory_watch: Optional[int] = None
        self.descriptor = -1
        """There is something to be read here as soon as the kernel has told something."""
        library = ctypes.CDLL(None, use_errno=True)
        try:
            self._add_watch, self._remove_watch = (library.inotify_add_watch,
                                                   library.inotify_rm_watch)
            self.descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError as error:
            raise OSError('the C library knows no inotify') from error
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), 'inotify_init1')

    def close(self) -> None:
        """Be told nothing any more; closing twice is allowed."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    @property
    def is_armed(self) -> bool:
        """Whether the directory is watched, and the file in it if there was one."""
        return self._directory_watch is not None

    def arm(self) -> None:
        """Watch what stands at the path now; what is watched already goes on being watched."""
        self._directory_watch = self._watch(self._directory, _DIRECTORY, self._directory_watch)
        self._file_watch = self._watch(self._path, _FILE, self._file_watch)

    def take(self) -> bool:
        """Whether the kernel reported anything that concerns the file; never waits."""
        concerns = False
        while True:
            try:
                told = os.read(self.descriptor, _BYTES)
            except BlockingIOError:
                return concerns
            position = 0
            while position < len(told):
                watch, kind, _cookie, length = _HEAD.unpack_from(told, position)
                position += _HEAD.size + length
                name = told[position - length:position].rstrip(b'\0')
                concerns |= self._note(watch, kind, name)

    def _note(self, watch: int, kind: int, name: bytes) -> bool:
        if kind & _OVERFLOW:
            return True
        if watch == self._directory_watch:
            if kind & (_IGNORED | _DELETE_SELF | _MOVE_SELF):
                self._directory_watch = None
                return True
            return name in self._names
        if watch == self._file_watch:
            if kind & _IGNORED:
                self._file_watch = None
            return True
        return False

    def _watch(self, path: str, kinds: int, before: Optional[int]) -> Optional[int]:
        """Watch a path; the number with which the kernel reports it."""
        # The same file has the same number again.
        found: int = self._add_watch(self.descriptor, os.fsencode(path), kinds)
        if before is not None and found != before:
            self._remove_watch(self.descriptor, before)
        return found if found >= 0 else None

