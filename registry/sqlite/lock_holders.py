"""Who has the locks of an SQLite file, as the kernel tells it: a message or a hint, no decision."""

import fcntl
import os
import struct
from typing import List

LOCKS = '/proc/locks'
# Where SQLite puts its locks in every file, and how many bytes they are.
_FIRST_BYTE, _BYTES = 0x40000000, 512
# Who reads has a lock on bytes from here on.
_READERS_BYTE = _FIRST_BYTE + 2
# struct flock: type, whence, start, length, process.
_FLOCK = 'hhqqi4x'


def describe_holders(path: str, locks: str = LOCKS) -> str:
    """Name the programs that have locks on a file, but for this one; '' when none is known."""
    try:
        inode = str(os.stat(path).st_ino)
        with open(locks, encoding='ascii', errors='replace') as stream:
            found = _find(stream.readlines(), inode)
    except (OSError, ValueError):
        return ''
    return ', '.join(f'{_read_name(process)} (process {process})' for process in found)


def is_shut(path: str) -> bool:
    """Tell whether another process keeps all others from reading a file.

    Not while a connection of this process has a lock of it: closing the file gives that up. (The
    table of all locks in /proc would tell as well, and takes the kernel some milliseconds.)
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return False
    try:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, _READERS_BYTE, 1, 0)
        found: int = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
        return found != fcntl.F_UNLCK
    except OSError:
        return False
    finally:
        os.close(descriptor)


def describe_wait(path: str) -> str:
    """Say that a file is waited for, and who has it."""
    return f'waiting for {path}, which is locked by {describe_holders(path) or "another program"}'


def _find(lines: List[str], inode: str) -> List[int]:
    """The processes of lines such as `1: POSIX ADVISORY WRITE 4711 08:01:5678 1073741825 ...`."""
    found: List[int] = []
    for line in lines:
        words = line.split()
        if '->' in words or len(words) < 8 or words[5].split(':')[-1] != inode:
            continue
        if not words[4].isdigit() or not words[6].isdigit():
            continue
        process, start = int(words[4]), int(words[6])
        is_sqlite = _FIRST_BYTE <= start < _FIRST_BYTE + _BYTES
        if is_sqlite and process not in (0, os.getpid()) and process not in found:
            found.append(process)
    return found


def _read_name(process: int) -> str:
    try:
        with open(f'/proc/{process}/comm', encoding='utf-8', errors='replace') as stream:
            return stream.read().strip() or 'a program'
    except (OSError, ValueError):
        return 'a program'
