"""The tables of both files, as numbered migrations that are applied in order.

The shared file keeps the tables and columns of the earlier tool, and nothing of ours: adopting
one of its files adds the rows of missing pools and the version, and touches no row, column or
default. SQLite 3.7.17 must be able to run every line of this.
"""

import contextlib
import os
import re
from typing import Iterable, Sequence, Set, Tuple, Type

from registry.errors import JournalUnavailable, Reason, RegistryUnavailable, SchemaTooNew
from registry.sqlite.connection import Connection, check_file, check_writable, unavailable

_TABLE = re.compile(r'(?:CREATE|ALTER) TABLE "?(\w+)')
_COLUMN = re.compile(r'(\w+) (?:TEXT|INTEGER)\b')

Migration = Tuple[int, Tuple[str, ...]]

CURRENT_VERSION = 1
JOURNAL_VERSION = 5
# Keys of the table notes: what the daemon leaves word of, for vgpu-admin.
WATCH_NOTE = 'daemon'
MIRROR_NOTE = 'mirror'

MIGRATIONS: Tuple[Migration, ...] = (
    (1, (
        """CREATE TABLE IF NOT EXISTS registry.pools (
            pool_id CHAR(1) PRIMARY KEY CHECK (pool_id IN ('A', 'B')),
            pool_name TEXT NOT NULL,
            description TEXT,
            enabled INTEGER DEFAULT 1 CHECK (enabled IN (0, 1)),
            created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
            updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)""",
        """CREATE TABLE IF NOT EXISTS registry.vms (
            vm_id INTEGER NOT NULL UNIQUE,
            vm_uuid TEXT UNIQUE NOT NULL,
            vm_name TEXT,
            pool_id CHAR(1) NOT NULL DEFAULT 'A' REFERENCES pools (pool_id),
            priority INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (0, 1, 2)),
            weight INTEGER NOT NULL DEFAULT 50,
            max_jobs_per_sec INTEGER NOT NULL DEFAULT 0,
            max_queue_depth INTEGER NOT NULL DEFAULT 0,
            quarantined INTEGER NOT NULL DEFAULT 0,
            error_count INTEGER NOT NULL DEFAULT 0,
            created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
            updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)""",
        "INSERT OR IGNORE INTO registry.pools (pool_id, pool_name) VALUES ('A', 'Pool A')",
        "INSERT OR IGNORE INTO registry.pools (pool_id, pool_name) VALUES ('B', 'Pool B')",
        'PRAGMA registry.user_version=1',
    )),
)

JOURNAL_MIGRATIONS: Tuple[Migration, ...] = (
    (1, (
        'CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)',
        'CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL)',
        """CREATE TABLE seen_vms (
            source TEXT NOT NULL, vm_uuid TEXT NOT NULL, vm_id INTEGER NOT NULL, vm_name TEXT,
            pool_id TEXT NOT NULL, priority INTEGER NOT NULL, PRIMARY KEY (source, vm_uuid))""",
        """CREATE TABLE seen_pools (
            source TEXT NOT NULL, pool_id TEXT NOT NULL, pool_name TEXT NOT NULL,
            description TEXT, enabled INTEGER NOT NULL, PRIMARY KEY (source, pool_id))""",
        """CREATE TABLE staged (
            vm_uuid TEXT PRIMARY KEY, vm_id INTEGER NOT NULL, value TEXT NOT NULL,
            sequence INTEGER NOT NULL, at TEXT NOT NULL)""",
        """CREATE TABLE bearers (
            vm_uuid TEXT PRIMARY KEY, vm_name TEXT, vm_id INTEGER NOT NULL, kind TEXT NOT NULL,
            sequence INTEGER NOT NULL, at TEXT NOT NULL)""",
        """CREATE TABLE orphans (
            vm_uuid TEXT PRIMARY KEY, vm_id INTEGER NOT NULL, at TEXT NOT NULL)""",
        """CREATE TABLE replacements (
            vm_uuid TEXT PRIMARY KEY, vm_ref TEXT NOT NULL, before_json TEXT NOT NULL,
            after_json TEXT NOT NULL, reason TEXT NOT NULL, begun_at TEXT NOT NULL)""",
        """CREATE TABLE history (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL,
            command TEXT NOT NULL, what TEXT NOT NULL, vm_uuid TEXT,
            before_json TEXT, after_json TEXT)""",
        'CREATE INDEX history_of_vm ON history (vm_uuid, id)',
        """CREATE TABLE receipts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, vm_uuid TEXT NOT NULL, vm_name TEXT,
            kind TEXT NOT NULL, host TEXT, domid INTEGER, boot_id TEXT, task TEXT,
            opened_at TEXT NOT NULL, closed_at TEXT, desired TEXT, carried TEXT, found TEXT,
            verdict TEXT, rescued INTEGER NOT NULL, elapsed_ms INTEGER)""",
        'CREATE INDEX receipts_of_vm ON receipts (vm_uuid, id)',
        'CREATE INDEX receipts_closed ON receipts (closed_at)',
        'PRAGMA main.user_version=1',
    )),
    (2, (
        """CREATE TABLE lineage (
            id INTEGER PRIMARY KEY AUTOINCREMENT, generation TEXT NOT NULL UNIQUE,
            digest TEXT NOT NULL, is_own INTEGER NOT NULL, at TEXT NOT NULL)""",
        'PRAGMA main.user_version=2',
    )),
    (3, (
        'CREATE TABLE claims (vm_id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, '
        'at TEXT NOT NULL)',
        # Until now a number counted as claimed when it was first staged.
        'INSERT OR REPLACE INTO claims (vm_id, sequence, at) '
        'SELECT staged.vm_id, staged.sequence, staged.at FROM staged JOIN seen_vms '
        'ON seen_vms.vm_uuid = staged.vm_uuid AND seen_vms.vm_id = staged.vm_id',
        'CREATE TABLE removed (vm_uuid TEXT PRIMARY KEY, value TEXT NOT NULL, at TEXT NOT NULL)',
        'ALTER TABLE receipts ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0',
        'PRAGMA main.user_version=3',
    )),
    (4, (
        'ALTER TABLE history ADD COLUMN is_routine INTEGER NOT NULL DEFAULT 0',
        "ALTER TABLE history ADD COLUMN source TEXT NOT NULL DEFAULT ''",
        "UPDATE history SET is_routine = 1 WHERE what LIKE 'args%' "
        "OR (who = 'vgpu-watcher' AND command <> 'rebuild')",
        'CREATE INDEX history_of_kind ON history (is_routine, id)',
        # The newest edit that was part of a generation: later ones wait to be mirrored.
        'ALTER TABLE lineage ADD COLUMN edit INTEGER NOT NULL DEFAULT 0',
        'UPDATE lineage SET edit = coalesce((SELECT max(id) FROM history), 0)',
        'PRAGMA main.user_version=4',
    )),
    (5, (
        # Written before XAPI is called: what a start may take that falls between the two.
        'CREATE TABLE written (vm_uuid TEXT PRIMARY KEY, before TEXT NOT NULL, '
        'value TEXT NOT NULL, at TEXT NOT NULL)',
        'PRAGMA main.user_version=5',
    )),
)


def read_version(connection: Connection) -> int:
    """Read the shared file's version, and refuse one that is newer than this program."""
    version = int(connection.execute('PRAGMA registry.user_version')[0][0])
    if version > CURRENT_VERSION:
        raise SchemaTooNew(
            f'registry {connection.registry_path} has version {version}, and this program knows '
            f"{CURRENT_VERSION} at most; upgrade this program; or 'vgpu-admin registry "
            "rebuild' writes the assignments into a new file, and keeps this one beside it")
    return version


def migrate_registry(connection: Connection) -> None:
    """Bring the shared file to the current version, inside the caller's transaction."""
    _migrate(connection, connection.registry_path, read_version(connection), MIGRATIONS,
             RegistryUnavailable)


def prepare_journal(path: str) -> None:
    """Create the journal's file when it is missing; only its owner may ever read it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise unavailable(path, Reason.MISSING, JournalUnavailable) from error
    except (OSError, ValueError) as error:
        raise unavailable(path, Reason.UNWRITABLE, JournalUnavailable,
                          detail=str(error)) from error
    check_file(path, JournalUnavailable, may_be_empty=True)
    check_writable(path, JournalUnavailable)
    _make_private(path)


def migrate_journal(connection: Connection, path: str) -> None:
    """Bring the journal to the current version, in a transaction of its own."""
    if _journal_version(connection, path) < JOURNAL_VERSION:
        with connection.writing():
            _migrate(connection, path, _journal_version(connection, path), JOURNAL_MIGRATIONS,
                     JournalUnavailable)
    _refuse_incomplete(connection, path)


def _refuse_incomplete(connection: Connection, path: str) -> None:
    """Refuse a journal that lacks a table or a column: no command would get to its end by it."""
    found = _list_columns(sql for sql, in connection.execute(
        "SELECT sql FROM main.sqlite_master WHERE type = 'table'"))
    lacking = _list_columns(statement for _number, statements in JOURNAL_MIGRATIONS
                            for statement in statements) - found
    if lacking:
        table, column = min(lacking)
        raise unavailable(path, Reason.CORRUPT, JournalUnavailable,
                          detail=f'no such column: {table}.{column}')


def _list_columns(statements: Iterable[str]) -> Set[Tuple[str, str]]:
    """List table and column of all that statements create."""
    return {(made.group(1), column) for made in map(_TABLE.match, statements) if made
            for column in _COLUMN.findall(made.string)}


def _migrate(connection: Connection, path: str, version: int, migrations: Sequence[Migration],
             error_class: Type[RegistryUnavailable]) -> None:
    """Take all steps that a file lacks; without a copy of what it was, none."""
    newest = migrations[-1][0]
    if 0 < version < newest:
        from registry.kept_copies import keep_before  # an old file is met once
        keep_before(path, newest, error_class)
    for number, statements in migrations:
        if number > version:
            for statement in statements:
                connection.execute(statement)


def probe_journal(connection: Connection) -> None:
    """Write to each table that an edit writes to, and undo it; JournalUnavailable tells why not.

    A journal whose header is well may be damaged, or be another program's, further down.
    """
    with connection.writing(keep=lambda: False):
        number = connection.insert(
            "INSERT INTO history (at, who, command, what) VALUES ('', '', '', '')", ())
        connection.execute('SELECT id FROM history WHERE id < ? ORDER BY id DESC LIMIT 1',
                           (number,))
        for table in ('counters', 'seen_vms', 'seen_pools', 'bearers', 'orphans', 'claims'):
            connection.execute(f'SELECT * FROM {table} LIMIT 100')


def _make_private(path: str) -> None:
    """Tighten the mode of a journal that came back from a copy; whose it is not may not."""
    # The next opening reports what else is wrong with it.
    with contextlib.suppress(OSError):
        if os.stat(path).st_mode & 0o077:
            os.chmod(path, 0o600)


def _journal_version(connection: Connection, path: str) -> int:
    version = int(connection.execute('PRAGMA main.user_version')[0][0])
    if version > JOURNAL_VERSION:
        raise JournalUnavailable(
            f'journal {path} has version {version}, and this program knows {JOURNAL_VERSION} at '
            'most; upgrade this program', reason=Reason.TOO_NEW)
    return version
