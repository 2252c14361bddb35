"""A registry where there is none: filled under another name, and given its own when it is whole.

The journal learns of it in the transaction that fills it. So a program that finds the file finds
all of it, and a journal that knows where it came from. What a process that was killed had
committed, and could not name any more, the next one that looks for the registry names.
"""

import contextlib
import fcntl
import os
import stat
import time
from typing import Iterator, Optional

from registry.errors import Conflict, Reason, RegistryError
from registry.paths import NEW_SUFFIX
from registry.rows import check_tables
from registry.sqlite.connection import Connection, unavailable
from registry.sqlite.lock_wait import PAUSE_SECONDS, Patience

# As the earlier tool made them, so that the programs that share the file can read it.
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
_OF_SQLITE = '-journal'


@contextlib.contextmanager
def making(path: str, patience: Patience) -> Iterator[str]:
    """Give the path of an empty file to be filled, one maker at a time; then it is the registry.

    A file without content, which is there already, is filled where it is.
    """
    if os.path.lexists(path):
        yield path
        return
    beside = path + NEW_SUFFIX
    try:
        _make_directory(os.path.dirname(path))
        descriptor = _begin(path, beside, patience)
    except (OSError, ValueError) as error:
        raise unavailable(path, Reason.UNWRITABLE, detail=str(error)) from error
    try:
        try:
            yield beside
        except BaseException:
            _remove(beside)
            raise
        _name(beside, path)
    finally:
        # SQLite has closed the file: with this descriptor its locks would go.
        os.close(descriptor)


def finish(path: str) -> bool:
    """Name a registry that is whole, and whose maker was killed; whether there was one."""
    beside = path + NEW_SUFFIX
    descriptor = _lock(beside) if _has_content(beside) else None
    if descriptor is None:
        return False
    try:
        # Opening it takes back what was not committed.
        with Connection(journal_path=None, registry_path=beside,
                        patience=Patience(0.0)) as connection:
            with connection.reading():
                check_tables(connection)
        _name(beside, path)
    except RegistryError:
        return os.path.lexists(path)
    finally:
        os.close(descriptor)
    return True


def forget_leftover(path: str) -> None:
    """Remove the other name that a maker, killed as soon as it had given the right one, left."""
    beside = path + NEW_SUFFIX
    try:
        is_same = os.path.samefile(beside, path)
    except (OSError, ValueError):
        return
    if is_same:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        return
    descriptor = _lock(beside)
    if descriptor is not None:
        _remove(beside)
        os.close(descriptor)


def _begin(path: str, beside: str, patience: Patience) -> int:
    """Make the file that is to be filled, or take an abandoned one."""
    while True:
        if not stat.S_ISREG(_find_mode(beside)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
        descriptor = _lock(beside, os.O_CREAT)
        if os.path.lexists(path):
            if descriptor is not None:
                os.close(descriptor)
            raise _came_meanwhile(path)
        if descriptor is not None:
            break
        if patience.is_over:
            raise unavailable(path, Reason.LOCKED, detail='another program creates it')
        time.sleep(PAUSE_SECONDS)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside + _OF_SQLITE)
    os.ftruncate(descriptor, 0)
    # The daemon's umask must not hide it from the programs that share it.
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def _lock(beside: str, flags: int = 0) -> Optional[int]:
    """Open a file and have it for ourselves; None where it is another maker's, or is gone."""
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags,
                             FILE_MODE)
    except OSError:
        if flags:
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.lstat(beside)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _name(beside: str, path: str) -> None:
    """Give a finished file its name, unless another program was faster."""
    try:
        os.link(beside, path)
    except FileExistsError:
        _remove(beside)
        raise _came_meanwhile(path) from None
    except OSError as error:
        raise unavailable(path, Reason.UNWRITABLE, detail=str(error)) from error
    _remove(beside)
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _came_meanwhile(path: str) -> Conflict:
    return Conflict(f'registry {path}: it was created meanwhile; nothing was changed: look at it '
                    'again and repeat')


def _remove(beside: str) -> None:
    for name in (beside + _OF_SQLITE, beside):
        with contextlib.suppress(OSError):
            os.unlink(name)


def _has_content(path: str) -> bool:
    try:
        return os.lstat(path).st_size > 0
    except (OSError, ValueError):
        return False


def _find_mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _make_directory(directory: str) -> None:
    if not os.path.isdir(directory):
        os.makedirs(directory, DIRECTORY_MODE)
        os.chmod(directory, DIRECTORY_MODE)
