"""Copies beside the registry: of what a rebuild replaces or a migration changes, and files that
are unusable.

A copy is made by SQLite, inside the caller's transaction and before its first write: opening the
file by other means, and closing it, would drop the locks of SQLite's connections.
"""

import calendar
import contextlib
import glob
import os
import re
import sqlite3
import stat
import time
from typing import Any, Iterator, List, Type

from registry.errors import Reason, RegistryUnavailable
from registry.paths import BEFORE_MARK, KEPT_MARK
from registry.sqlite.connection import unavailable
from registry.sqlite.uri import render_uri

# Each is a rebuild that lost edits or was asked for: that many mean that something else is wrong.
KEPT_COPIES = 50
_BESIDE = '.part'
_TIME_FORMAT = '%Y%m%dT%H%M%SZ'
_TIME = re.compile(re.escape(KEPT_MARK) + r'([0-9T]{15}Z)(?:-[0-9]+)?\Z')
_OUR_TABLES = ('pools', 'vms')


class _RawText(bytes):
    """Text that is not UTF-8, kept as it is."""


def keep_copy(path: str, now: float) -> str:
    """Copy all tables and rows to a file of a new name, readable by its owner only."""
    _forget_unfinished(path)
    target = _free_name(path, now)
    beside = target + _BESIDE
    try:
        os.close(_create(beside))
        with _opened(path, 'ro') as source, _opened(beside, 'rw') as copy:
            _copy_all(source, copy)
        os.rename(beside, target)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            os.remove(beside)
        raise unavailable(path, Reason.UNWRITABLE,
                          detail=f'no copy could be kept at {target}: {error}') from error
    _forget_oldest(path, target)
    return target


def keep_before(path: str, version: int, error_class: Type[RegistryUnavailable]) -> None:
    """Copy a file that is to be migrated to a version, inside the transaction that does it.

    Nothing is copied where an upgrade has done so already and nothing was changed since.
    """
    if _has_copy(path):
        return
    try:
        copy_file(path, f'{path}{BEFORE_MARK}schema-{version}')
    except OSError as error:
        raise unavailable(path, Reason.UNWRITABLE, error_class,
                          detail=f'it is not migrated without a copy: {error}') from error


def copy_file(source: str, target: str) -> None:
    """Copy a database byte for byte, with mode, owner and time, while the caller holds its lock.

    Another process reads it: this one, closing a descriptor of the file, would lose the lock.
    """
    beside = target + _BESIDE
    try:
        with open(_create(beside), 'wb') as stream:
            _fill(stream, source)
        os.rename(beside, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(beside)
        raise


def _create(beside: str) -> int:
    """Make the unfinished copy and open it; no link that lies in the way is followed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    return os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _fill(copy: Any, source: str) -> None:
    import subprocess  # only an upgrade needs it
    done = subprocess.run(['/bin/cat', '--', source], stdin=subprocess.DEVNULL, stdout=copy,
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise OSError(done.stderr.decode('utf-8', 'replace').strip() or 'cat failed')
    status = os.stat(source)
    # The service has no right to give a file away.
    with contextlib.suppress(PermissionError):
        os.fchown(copy.fileno(), status.st_uid, status.st_gid)
    os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
    os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(copy.fileno())


def _has_copy(path: str) -> bool:
    """Whether a copy of an upgrade is of the very state that the file has now."""
    status = os.stat(path)
    for name in glob.glob(glob.escape(path + BEFORE_MARK) + '*'):
        with contextlib.suppress(OSError):
            found = os.lstat(name)
            if (found.st_size, found.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                return True
    return False


def set_aside(path: str, now: float) -> str:
    """Rename an unusable file, with its rollback journal, and give its new name."""
    target = _free_name(path, now)
    try:
        if os.path.exists(path + '-journal'):
            os.rename(path + '-journal', target + '-journal')
        os.rename(path, target)
    except OSError as error:
        raise unavailable(path, Reason.UNWRITABLE, detail=str(error)) from error
    return target


def put_back(aside: str, path: str) -> None:
    """Undo `set_aside`, where nothing has taken the file's place."""
    if os.path.lexists(path):
        return
    for suffix in ('-journal', ''):
        if os.path.exists(aside + suffix):
            with contextlib.suppress(OSError):
                os.rename(aside + suffix, path + suffix)


def _copy_all(source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Tables and rows first: an index or a trigger of others must not stand in the way.

    What this SQLite cannot make, and is not one of our tables, is left out: the copy is there for
    the assignments.
    """
    # A row that no rule of its table allows is there all the same, and is kept as it is.
    copy.execute('PRAGMA ignore_check_constraints=ON')
    copy.execute('BEGIN')
    made = source.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type <> 'table', rowid").fetchall()
    for kind, name, sql in made:
        try:
            _copy_one(source, copy, kind, name, sql)
        except sqlite3.Error:
            if kind == 'table' and name.lower() in _OUR_TABLES:
                raise
    version = source.execute('PRAGMA user_version').fetchone()[0]
    copy.execute(f'PRAGMA user_version={version}')
    copy.execute('COMMIT')


def _copy_one(source: sqlite3.Connection, copy: sqlite3.Connection, kind: str, name: str,
              sql: str) -> None:
    if kind == 'table' and copy.execute('SELECT 1 FROM sqlite_master WHERE name = ?',
                                        (name,)).fetchone():
        return  # a virtual table has made its own tables, and fills them
    copy.execute(sql)
    if kind == 'table':
        _copy_rows(source, copy, _quoted(name))


def _copy_rows(source: sqlite3.Connection, copy: sqlite3.Connection, table: str) -> None:
    """Copy what can be written: the values of generated columns come by themselves."""
    columns = [row[1] for row in source.execute(f'PRAGMA table_info({table})')]
    names = ', '.join(map(_quoted, columns))
    for row in source.execute(f'SELECT {names} FROM {table}'):
        places = ', '.join('CAST(? AS TEXT)' if isinstance(value, _RawText) else '?'
                           for value in row)
        copy.execute(f'INSERT INTO {table} ({names}) VALUES ({places})', row)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextlib.contextmanager
def _opened(path: str, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(render_uri(path, mode), timeout=0, isolation_level=None,
                                 uri=True)
    connection.text_factory = _decoded
    try:
        yield connection
    finally:
        connection.close()


def _decoded(data: bytes) -> Any:
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        return _RawText(data)


def _free_name(path: str, now: float) -> str:
    stem = path + KEPT_MARK + time.strftime(_TIME_FORMAT, time.gmtime(now))
    name, count = stem, 1
    while os.path.lexists(name):
        count += 1
        name = f'{stem}-{count}'
    return name


def list_copies(path: str) -> List[str]:
    """List the copies of a registry beside it, also those of upgrades, the newest first."""
    return _sorted(_find(path, KEPT_MARK) + _find(path, BEFORE_MARK))


def _find(path: str, mark: str) -> List[str]:
    return [name for name in glob.glob(glob.escape(path + mark) + '*')
            if not name.endswith((_BESIDE, '-journal', '-wal'))]


def _sorted(names: List[str]) -> List[str]:
    # Of one second the longer name is the later one.
    return sorted(names, key=lambda name: (find_time(name), len(name), name), reverse=True)


def _forget_unfinished(path: str) -> None:
    """Remove what a copier left that was killed: the caller's transaction lets in one at a time."""
    for name in glob.glob(f'{glob.escape(path + KEPT_MARK)}*{_BESIDE}*'):
        with contextlib.suppress(OSError):
            os.remove(name)


def _forget_oldest(path: str, newest: str) -> None:
    """Keep so many: the one that was just made, also by a clock that is wrong, and the newest."""
    others = [name for name in _sorted(_find(path, KEPT_MARK)) if name != newest]
    for name in others[KEPT_COPIES - 1:]:
        with contextlib.suppress(OSError):
            os.remove(name)


def find_time(name: str) -> float:
    """When a copy was made: by its name, since a file that was set aside may be old; one without a
    time in it that has vanished meanwhile goes first."""
    found = _TIME.search(name)
    try:
        return calendar.timegm(time.strptime(found.group(1), _TIME_FORMAT)) if found else \
            os.lstat(name).st_mtime
    except (OSError, ValueError):
        return 0.0
