"""Where a path for output leads: found step by step; links of other users are not followed.

In a directory like /tmp any user may put a link, or another one a moment later. So each step opens
what is there without following it, and judges the descriptor. A link of root's, or of the user who
runs this, is followed.
"""

import contextlib
import errno
import os
import re
import stat
from typing import Iterator, List, NamedTuple, Optional

from registry.paths import Place

_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_LINKS = 40
_NUMBER = re.compile(r'[0-9]{1,9}\Z')
_STREAMS = '/proc/self/fd'


class OpenedPath(NamedTuple):
    """The end of a path, open: a name in a directory, or a descriptor of this process."""

    directory: Optional[int]
    """None where the path led to the file without telling in which directory it is."""
    name: str
    found: Optional[int]
    """What is there, neither readable nor writable yet; None for nothing."""
    status: Optional[os.stat_result]
    stream: Optional[int] = None
    """The descriptor of ours that the path names (/dev/stdout)."""

    @property
    def is_replaced(self) -> bool:
        """Whether a file is put in the place of what is there, if anything is."""
        return self.stream is None and self.directory is not None and (
            self.status is None or stat.S_ISREG(self.status.st_mode)
            or stat.S_ISLNK(self.status.st_mode))

    @property
    def place(self) -> Place:
        """The place by numbers, to be compared with others."""
        parent = os.fstat(self.directory) if self.directory is not None else None
        return Place((parent.st_dev, parent.st_ino) if parent is not None else (0, 0), self.name,
                     (self.status.st_dev, self.status.st_ino) if self.status is not None else None)


def is_trusted(status: os.stat_result) -> bool:
    """Whether root, or the user, owns what is there."""
    return status.st_uid in (0, os.geteuid())


@contextlib.contextmanager
def opened(path: str) -> Iterator[OpenedPath]:
    """Go along a path to its end; OSError tells why that cannot be done."""
    with contextlib.ExitStack() as stack:
        yield _Walk(path, stack).run()


class _Walk:
    """One path, and how far it has been gone."""

    def __init__(self, path: str, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._names: List[str] = []
        self._links = 0
        self._directory = self._open('.', _DIRECTORY)
        self._go_on(path)

    def run(self) -> OpenedPath:
        """Take step after step; the target."""
        while True:
            name = self._names.pop()
            if name in ('', '.', '..') and not self._names:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if name in ('', '.'):
                continue
            target = self._step(name)
            if target is not None:
                return target

    def _step(self, name: str) -> Optional[OpenedPath]:
        """Take one step: into a directory, along a link, or to the end."""
        try:
            found = self._open(name, _AS_IT_IS)
        except FileNotFoundError:
            if self._names:
                raise
            return OpenedPath(self._directory, name, None, None)
        status = os.fstat(found)
        if stat.S_ISLNK(status.st_mode):
            return self._follow(name, found, status)
        if not self._names:
            return OpenedPath(self._directory, name, found, status)
        self._directory = self._open(name, _DIRECTORY | os.O_NOFOLLOW)
        return None

    def _follow(self, name: str, found: int, status: os.stat_result) -> Optional[OpenedPath]:
        if not is_trusted(status):
            if self._names:
                raise PermissionError(errno.EPERM, f'{ascii(name)} is a link of user '
                                      f'{status.st_uid}, which is not followed')
            return OpenedPath(self._directory, name, found, status)
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if self._is_of_process(status):
            return self._follow_kernel(name)
        self._go_on(os.readlink('', dir_fd=found))
        return None

    def _is_of_process(self, status: os.stat_result) -> bool:
        """Whether a link is one of /proc/PID/…, whose text leads nowhere."""
        here = os.fstat(self._directory)
        try:
            root = os.stat('/proc')
        except OSError:
            return False
        return status.st_dev == root.st_dev and here.st_ino != root.st_ino

    def _follow_kernel(self, name: str) -> Optional[OpenedPath]:
        if self._names:
            self._directory = self._open(name, _DIRECTORY)
            return None
        if _NUMBER.match(name) and os.path.samestat(os.fstat(self._directory), os.stat(_STREAMS)):
            number = int(name)
            return OpenedPath(None, name, None, os.fstat(number), number)
        found = self._open(name, os.O_PATH | os.O_CLOEXEC)
        return OpenedPath(None, name, found, os.fstat(found))

    def _go_on(self, path: str) -> None:
        if path.startswith('/'):
            self._directory = self._open('/', _DIRECTORY)
        self._names += reversed(path.split('/'))

    def _open(self, name: str, flags: int) -> int:
        directory = getattr(self, '_directory', None)
        descriptor = os.open(name, flags, dir_fd=directory)
        self._stack.callback(os.close, descriptor)
        return descriptor
