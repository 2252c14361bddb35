"""The directory in /run that the daemon and the consumer share: the numbers file and the markers.

The daemon also keeps the names of VMs there, for the completion of vgpu-admin.

Root's alone: no link is followed, a file that others could have written is refused, and a
file is put there as a whole or not at all (`numbers_file.py` says what stands in it). /run goes
with the boot of the host, and the directory outlives the daemon: the consumer goes by what a
daemon that is being restarted has confirmed.
"""

import contextlib
import os
import stat
import time
from typing import Iterator, NamedTuple, Optional, Tuple

from watcher.consumer.numbers_file import (MAX_BYTES, MAX_MARKER_BYTES, NUMBERS, WITHHELD,
                                           NumberFileInvalid, Numbers, Withheld, parse_marker,
                                           parse_numbers, render_numbers)

NAMES = 'names'
BOOT_ID = '/proc/sys/kernel/random/boot_id'
# Its name is new in Python 3.7.
_CLOCK_BOOTTIME = getattr(time, 'CLOCK_BOOTTIME', 7)
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class Instant(NamedTuple):
    """A time that means the same to every program of this host, until it boots again."""
    boot_id: str
    seconds: float
    """On CLOCK_BOOTTIME: no step of the wall clock touches it."""


def read_instant() -> Instant:
    """Now. The kernel's own boot id: it is the one whose clock is read."""
    try:
        with open(BOOT_ID, 'rb') as stream:
            boot_id = stream.read(100).decode('ascii', 'replace').strip()
    except OSError:
        boot_id = ''
    return Instant(boot_id, time.clock_gettime(_CLOCK_BOOTTIME))


class RunDirectory:
    """The directory; raises OSError, and NumberFileInvalid for what cannot be trusted."""

    def __init__(self, path: str) -> None:
        self.path = path

    def write_numbers(self, numbers: Numbers) -> None:
        """Write the numbers file, and the directory when it is missing."""
        content = render_numbers(numbers)
        if len(content) > MAX_BYTES:
            raise NumberFileInvalid(f'{len(numbers.rows)} rows are too many for it')
        self._write(NUMBERS, content)

    def write_names(self, content: bytes) -> None:
        """Write the file with the names of VMs."""
        self._write(NAMES, content)

    def _write(self, name: str, content: bytes) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        with _opened(self.path) as place:
            made = f'.{name}.{os.getpid()}'
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made, dir_fd=place)
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600,
                                 dir_fd=place)
            with open(descriptor, 'wb') as stream:
                stream.write(content)
            os.rename(made, name, src_dir_fd=place, dst_dir_fd=place)

    def read_numbers(self) -> Optional[Numbers]:
        """The numbers file; None when there is none."""
        try:
            with _opened(self.path) as place:
                return parse_numbers(_read(place, NUMBERS, MAX_BYTES))
        except FileNotFoundError:
            return None

    def remove_numbers(self) -> bool:
        """Have the consumer withhold nothing until the daemon writes again; False: it did not."""
        try:
            with _opened(self.path) as place:
                os.unlink(NUMBERS, dir_fd=place)
                return True
        except FileNotFoundError:
            return False

    def read_marker(self, domid: int) -> Optional[Withheld]:
        """What the consumer left about a domain; None when its span was not withheld."""
        try:
            with _opened(self.path) as run, _opened(WITHHELD, run) as place:
                return parse_marker(_read(place, str(domid), MAX_MARKER_BYTES))
        except FileNotFoundError:
            return None

    def list_markers(self) -> Tuple[str, ...]:
        """The names of all markers, and of what was left half written."""
        try:
            with _opened(self.path) as run, _opened(WITHHELD, run) as place:
                return tuple(sorted(os.listdir(place)))
        except FileNotFoundError:
            return ()

    def remove_marker(self, name: str) -> None:
        """Remove one by its name."""
        with contextlib.suppress(FileNotFoundError):
            with _opened(self.path) as run, _opened(WITHHELD, run) as place:
                os.unlink(name, dir_fd=place)


@contextlib.contextmanager
def _opened(path: str, place: Optional[int] = None) -> Iterator[int]:
    """A directory, opened, that only root can write to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=place)
    try:
        _check_owner(os.fstat(descriptor), path)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(place: int, name: str, limit: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FLAGS, dir_fd=place)
    try:
        found = os.fstat(descriptor)
        _check_owner(found, name)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise NumberFileInvalid(f'{name} is no file, or too large')
        with open(descriptor, 'rb', closefd=False) as stream:
            return stream.read(limit)
    finally:
        os.close(descriptor)


def _check_owner(found: os.stat_result, path: str) -> None:
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid not in (0, os.geteuid()) or others:
        raise NumberFileInvalid(f'{path} belongs to user {found.st_uid}, or others may write it '
                                f'({stat.S_IMODE(found.st_mode):04o})')
