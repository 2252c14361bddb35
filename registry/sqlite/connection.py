"""One connection to SQLite: how it is opened, how it waits, and what its errors mean.

The main database is the journal (or nothing), the shared file is attached as `registry`. So the
names of our own tables can never be shadowed by tables that others put into the shared file, and
one transaction covers both files.
"""

import contextlib
import functools
import os
import sqlite3
import stat
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple, Type

from registry.errors import (Conflict, InvalidValue, JournalUnavailable, Reason, RegistryError,
                             RegistryUnavailable)
from registry.sqlite.lock_holders import describe_holders
from registry.sqlite.lock_wait import Patience, is_busy
from registry.sqlite.uri import render_uri

Row = Tuple[Any, ...]

SMALLEST_DATABASE_BYTES = 512
# What keeps the assignments is named first (P29).
_CURE = "'vgpu-admin registry rebuild' brings the assignments back"
# What others have put into the file (triggers) runs inside our statements, and may never end. One
# of ours takes milliseconds, also with ten thousand rows; so long may it take, and so long all.
STATEMENT_SECONDS = 3.0
TRANSACTION_SECONDS = 60.0
# For callers with less patience, such as the daemon, whose loop it holds up.
LEAST_STATEMENT_SECONDS = 0.5
# So many instructions of SQLite's, some tenths of a millisecond, between two looks at the clock.
_INSTRUCTIONS = 20000
# Text of any origin: a name that is not UTF-8 must not hide the other rows. No code of Python, in
# which Ctrl-C would come up: SQLite of Python 3.6 goes on with the next cell after an exception.
_DECODE = functools.partial(str, encoding='utf-8', errors='replace')
TRY_AGAIN = 'try again when that has finished'
_NEXT_STEPS = {
    Reason.MISSING: f"does not exist; {_CURE}; only for a first registry: 'vgpu-admin init'",
    Reason.UNREADABLE: 'cannot be read; check its kind, owner and mode',
    Reason.UNWRITABLE: 'cannot be written; check the mode of file and directory, and the space',
    Reason.EMPTY: f'has no content at all; {_CURE}',
    Reason.CORRUPT: f'is damaged or is not an SQLite database; {_CURE}, and keeps this file '
                    'beside it',
    Reason.FOREIGN: f'does not have the tables pools and vms with their columns; {_CURE}, if the '
                    'path is right',
    Reason.WAL: 'is in WAL mode, which other readers of the file cannot use; stop its users and '
                "run: sqlite3 FILE 'PRAGMA journal_mode=DELETE'",
    Reason.FAILED: 'could not be used; check the disk and the space on it',
}
# What SQLite says of files that no disk has damaged.
_ODD_FILES = (
    ('same text encoding', 'is encoded in UTF-16, and the programs that share it read UTF-8'),
    ('unsupported file format', 'is in a format that this SQLite does not know'),
    ('malformed database schema', 'has a schema that this SQLite does not understand'),
)
# And of a file of ours alone whose tables are not those that we made.
_OTHER_TABLES = ('already exists', 'duplicate column', 'no such table', 'no such column',
                 'has no column')
_JOURNAL_STEPS = {
    Reason.MISSING: 'does not exist, and neither does its directory, perhaps; check the path',
    Reason.CORRUPT: 'is damaged; move it away and a new one is created; its history is lost',
}


class _Limit:
    """Tells SQLite, which asks as it goes, whether what runs inside a statement takes too long.

    One object as long as the connection: `sqlite3` before Python 3.8 does not hold a second
    handler that equals the first, as a bound method taken again does, and calls freed memory.
    """

    def __init__(self) -> None:
        self.statement_ends_at = self.transaction_ends_at = 0.0

    def __call__(self) -> int:
        return int(time.monotonic() > min(self.statement_ends_at, self.transaction_ends_at))


class Connection:
    """The journal as main database, the registry attached; either may be left out."""

    def __init__(self, *, journal_path: Optional[str], registry_path: Optional[str],
                 patience: Patience, is_journal_writable: bool = True) -> None:
        self._journal_path = journal_path
        self._is_journal_writable = is_journal_writable
        self._registry_path = registry_path
        self._patience = patience
        self._opening = ''
        self._is_writing = False
        self._limit = _Limit()
        self._connection: Optional[sqlite3.Connection] = None

    @property
    def registry_path(self) -> str:
        """Name the shared file for messages."""
        return self._registry_path or ''

    @property
    def journal_path(self) -> str:
        """Name the journal for messages."""
        return self._journal_path or ''

    def __enter__(self) -> 'Connection':
        self.open()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def open(self) -> None:
        """Connect and set what every connection must have; wait while others hold locks."""
        try:
            self._patience.run(self._open_once)
        except sqlite3.Error as error:
            self.close()
            raise self._translated(error, self._opening, waited=True) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; an open transaction is rolled back by SQLite."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> List[Row]:
        """Run one statement and give all its rows; outside a transaction it may wait."""
        waits = not self._in_transaction
        run = self._patience.run if waits else _at_once
        try:
            return run(self._rows, sql, parameters)
        except sqlite3.Error as error:
            raise self._translated(error, self._path_in(sql), waited=waits) from error

    def insert(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one INSERT inside a transaction and give the row's number."""
        try:
            return self._cursor(sql, parameters).lastrowid or 0
        except sqlite3.Error as error:
            raise self._translated(error, self._path_in(sql), waited=False) from error

    @contextlib.contextmanager
    def reading(self, database: str = 'registry') -> Iterator[None]:
        """See one state of the registry (or of `main`, the journal) for the length of the block."""
        self._run('BEGIN')
        try:
            # BEGIN alone takes no lock; this takes it, so all waiting is done here.
            self._run(f'SELECT count(*) FROM {database}.sqlite_master')
            yield
        finally:
            self._roll_back()

    @contextlib.contextmanager
    def writing(self, *, keep: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Do all of the block or nothing of it, in both files; with `keep` false, nothing.

        A process killed in the middle of the commit may leave a file `…-mj…` of some hundred
        bytes beside the journal. It is SQLite's and does no harm, but must not be removed by
        us: as long as a journal names it, its presence means "roll back".
        """
        self._run('BEGIN IMMEDIATE')
        self._limit_statements(True)
        try:
            yield
            if keep():
                self._run('COMMIT')
        finally:
            self._limit_statements(False)
            self._roll_back()

    def _limit_statements(self, is_writing: bool) -> None:
        """Have what runs inside our statements come to an end."""
        self._is_writing = is_writing
        self._limit.transaction_ends_at = time.monotonic() + TRANSACTION_SECONDS
        if self._connection is not None:
            self._connection.set_progress_handler(
                self._limit if is_writing else None, _INSTRUCTIONS)

    def _open_once(self) -> None:
        self.close()
        self._check_files()
        self._opening = self._journal_path or ''
        main = ':memory:' if self._journal_path is None else render_uri(
            self._journal_path, 'rw' if self._is_journal_writable else 'ro')
        self._connection = sqlite3.connect(
            main, timeout=self._patience.busy_seconds, isolation_level=None, uri=True)
        self._connection.text_factory = _DECODE
        self._set('PRAGMA foreign_keys=ON', 'PRAGMA foreign_keys', 1)
        if self._journal_path is not None and self._is_journal_writable:
            self._set('PRAGMA main.journal_mode=TRUNCATE', 'PRAGMA main.journal_mode', 'truncate')
            self._set('PRAGMA main.synchronous=FULL', 'PRAGMA main.synchronous', 2)
        if self._registry_path is not None:
            self._attach(self._registry_path)

    def _attach(self, path: str) -> None:
        self._opening = path
        self._rows('ATTACH ? AS registry', (render_uri(path),))
        if self._rows('PRAGMA registry.journal_mode') == [('wal',)]:
            raise unavailable(path, Reason.WAL)
        if self._journal_path is not None:
            self._set('PRAGMA registry.journal_mode=TRUNCATE', 'PRAGMA registry.journal_mode',
                      'truncate')
            self._set('PRAGMA registry.synchronous=FULL', 'PRAGMA registry.synchronous', 2)

    def _set(self, sql: str, query: str, wanted: Any) -> None:
        """Set a PRAGMA and read it back: an old SQLite ignores silently what it does not know."""
        self._rows(sql)
        found = self._rows(query)
        if found != [(wanted,)]:
            raise RegistryError(f'SQLite {sqlite3.sqlite_version} did not take {sql!r}: {found!r}')

    def _check_files(self) -> None:
        if self._journal_path is not None:
            check_file(self._journal_path, JournalUnavailable, may_be_empty=True)
        if self._registry_path is not None:
            check_file(self._registry_path, may_be_empty=True)

    def _run(self, sql: str) -> None:
        """Run a statement that waits for the locks of others."""
        def may_repeat(error: sqlite3.Error) -> bool:
            # A COMMIT that met a lock can be repeated; one that failed has ended its transaction.
            return is_busy(error) and (sql != 'COMMIT' or self._in_transaction)
        try:
            self._patience.run(self._rows, sql, may_repeat=may_repeat)
        except sqlite3.Error as error:
            path = self._registry_path or self._journal_path or ''
            raise self._translated(error, path, waited=may_repeat(error)) from error

    def _roll_back(self) -> None:
        if self._in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._rows('ROLLBACK')

    @property
    def _in_transaction(self) -> bool:
        return self._connection is not None and self._connection.in_transaction

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> List[Row]:
        return self._cursor(sql, parameters).fetchall()

    def _cursor(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            raise RegistryError('the connection is closed')
        self._limit.statement_ends_at = time.monotonic() + min(
            STATEMENT_SECONDS, max(LEAST_STATEMENT_SECONDS, self._patience.timeout_seconds))
        try:
            return self._connection.execute(sql, [_bindable(value) for value in parameters])
        except OverflowError as error:
            raise InvalidValue('a number does not fit into 64 bits') from error

    def _path_in(self, sql: str) -> str:
        of_registry = 'registry.' in sql or self._journal_path is None
        return (self._registry_path if of_registry else self._journal_path) or ''

    def _translated(self, error: sqlite3.Error, path: str, *, waited: bool) -> RegistryError:
        error_class = RegistryUnavailable if path == self._registry_path else JournalUnavailable
        if isinstance(error, sqlite3.IntegrityError):
            return Conflict(f'{path}: a constraint of the file forbids this change: {error}')
        if path == self._registry_path:
            odd = next((words for text, words in _ODD_FILES if text in str(error)), '')
            if odd:
                return unavailable(path, Reason.FOREIGN, step=f'{odd}; {_CURE}, and keeps this '
                                   'file beside it', detail=str(error))
        if self._is_writing and path == self._registry_path and _is_of_the_file(error):
            return Conflict(f'{path}: something in the file (a trigger, a rule) prevents this '
                            f'change: {error}')
        if isinstance(error, sqlite3.OperationalError):
            if waited and is_busy(error):
                # Before Python 3.11 it is not said whether a lock is behind an error.
                return unavailable(path, Reason.LOCKED, error_class, detail='' if 'locked' in
                                   str(error) else str(error), holders=describe_holders(path))
            is_damaged = path != self._registry_path and any(
                words in str(error) for words in _OTHER_TABLES)
            return unavailable(path, Reason.CORRUPT if is_damaged else Reason.FAILED, error_class,
                               detail=str(error))
        if type(error) is sqlite3.DatabaseError:
            return unavailable(path, Reason.CORRUPT, error_class, detail=str(error))
        return RegistryError(f'{path}: {error}')


def check_file(path: str, error_class: Type[RegistryUnavailable] = RegistryUnavailable, *,
               may_be_empty: bool = False) -> None:
    """Refuse, by its status alone, a file that cannot be a database of ours.

    Never open it for that: closing such a descriptor drops the locks of SQLite's connections.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise unavailable(path, Reason.MISSING, error_class) from error
    except (OSError, ValueError) as error:
        raise unavailable(path, Reason.UNREADABLE, error_class, detail=str(error)) from error
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        raise unavailable(path, Reason.UNREADABLE, error_class)
    if status.st_size == 0 and not may_be_empty:
        raise unavailable(path, Reason.EMPTY, error_class)
    # SQLite takes a file shorter than a page for an empty database, and would write over it.
    if 0 < status.st_size < SMALLEST_DATABASE_BYTES:
        raise unavailable(path, Reason.CORRUPT, error_class)
    # The -wal file exists while a program has the database open, and opening it would join in.
    if os.path.exists(path + '-wal'):
        raise unavailable(path, Reason.WAL, error_class)


def check_writable(path: str,
                   error_class: Type[RegistryUnavailable] = RegistryUnavailable) -> None:
    """Refuse a file whose permissions allow no transaction."""
    if not os.access(path, os.W_OK) or not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise unavailable(path, Reason.UNWRITABLE, error_class)


def unavailable(path: str, reason: Reason,
                error_class: Type[RegistryUnavailable] = RegistryUnavailable, *,
                detail: str = '', step: str = '', holders: str = '') -> RegistryUnavailable:
    """Build the error that names the file, the problem and the next step (`step`, or its own)."""
    is_journal = issubclass(error_class, JournalUnavailable)
    if reason == Reason.LOCKED:
        # Who only wanted something besides from the journal is done without.
        step = f"is locked by {holders or 'another program'}" + (
            '' if is_journal else f'; {TRY_AGAIN}')
    step = step or (_JOURNAL_STEPS.get(reason, '') if is_journal else '')
    text = f"{'journal' if is_journal else 'registry'} {path} {step or _NEXT_STEPS[reason]}"
    return error_class(f'{text} ({detail})' if detail else text, reason=reason)


def _is_of_the_file(error: sqlite3.Error) -> bool:
    """Tell whether the schema is behind an error: a trigger that never ends, or leads nowhere."""
    text = str(error)
    return isinstance(error, sqlite3.OperationalError) and (
        text == 'interrupted' or text.startswith(('no such ', 'too many levels')))


def _at_once(action: Callable[..., List[Row]], *arguments: Any) -> List[Row]:
    return action(*arguments)


def _bindable(value: Any) -> Any:
    """Keep text with lone surrogates storable instead of failing the whole transaction."""
    return value.encode('utf-8', 'backslashreplace').decode() if isinstance(value, str) else value
