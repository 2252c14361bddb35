"""The files of a registry on the disk: which they are, and the one path by which all are found.

Imports nothing of ours, so that code that only writes a file can ask whether it is one of these.
"""

import os
from typing import Iterable, Iterator, NamedTuple, Optional, Tuple

JOURNAL_NAME = 'vgpu_journal.db'
LOCK_SUFFIX = '.lock'
KEPT_MARK = '.replaced-'
BEFORE_MARK = '.before-'
# A file in the making, of which nothing is lost when it is removed.
NEW_SUFFIX = '.new'
# What SQLite keeps beside a database while it works.
_OF_SQLITE = ('-journal', '-wal', '-shm')


class OwnFile(NamedTuple):
    """A file that no output may be written over, and what it is."""

    path: str
    what: str


class Place(NamedTuple):
    """Where a path leads: a name in a directory, and the file there, by number of device and
    inode; so two spellings of one path are the same place."""

    directory: Tuple[int, int]
    name: str
    file: Optional[Tuple[int, int]]


def resolve_path(path: str) -> str:
    """Follow all links of a registry's path: whatever stands beside it stands beside the real file.

    So each spelling of the path means the same lock and the same journal.
    """
    return os.path.realpath(path)


def find_journal(path: str) -> str:
    """Give the path of the journal beside a registry."""
    return os.path.join(os.path.dirname(resolve_path(path)), JOURNAL_NAME)


def list_own_files(path: str) -> Tuple[OwnFile, ...]:
    """List the files of a registry, those too that are not there at the moment."""
    path = resolve_path(path)
    journal = find_journal(path)
    fixed = [OwnFile(path, 'the registry'), OwnFile(journal, 'the journal of the registry'),
             OwnFile(path + LOCK_SUFFIX, 'the lock of the registry')]
    fixed += [OwnFile(base + suffix, 'a file that SQLite keeps beside the registry')
              for base in (path, journal) for suffix in _OF_SQLITE + (NEW_SUFFIX,)]
    return tuple(fixed) + tuple(_list_copies(path, journal))


def locate(path: str) -> Optional[Place]:
    """Tell where a path leads, links followed; None where its directory is missing."""
    try:
        path = resolve_path(path)
    except OSError:  # a relative one, and the working directory is gone
        return None
    directory, name = os.path.split(path)
    parent = identify(directory)
    return Place(parent, name, identify(path)) if parent is not None else None


def find_own(place: Place, files: Iterable[OwnFile]) -> Optional[OwnFile]:
    """Tell which of some files a place is, by whatever path or hard link it was reached."""
    for own in files:
        other = locate(own.path)
        if other is not None and (place[:2] == other[:2]
                                  or place.file is not None and place.file == other.file):
            return own
    return None


def _list_copies(path: str, journal: str) -> Iterator[OwnFile]:
    directory = os.path.dirname(path)
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    starts = tuple(os.path.basename(base) + mark
                   for base in (path, journal) for mark in (KEPT_MARK, BEFORE_MARK))
    for name in names:
        if name.startswith(starts):
            yield OwnFile(os.path.join(directory, name), 'a kept copy of the registry')


def identify(path: str) -> Optional[Tuple[int, int]]:
    """Say which file stands at a path; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
