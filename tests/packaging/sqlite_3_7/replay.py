"""Replay recorded SQL on SQLite 3.7.17: python -m tests.packaging.sqlite_3_7.replay RECORDING

Databases are made on 3.7.17 with our own DDL and filled by the recorded INSERTs. Then each
distinct statement is prepared and run there, and rolled back. Exit status: 0 all ran, 1 some did
not, 2 there was nothing to replay or nothing to replay it on. A test run records into
build/sqlite_floor/recording-<pid>.jsonl.
"""

import os
import re
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from registry.schema import JOURNAL_MIGRATIONS, MIGRATIONS
from tests.packaging.sqlite_3_7.library import VERSION, Floor, FloorError, FloorUnavailable
from tests.packaging.sqlite_3_7.recording import Statement, read

CONSTRAINT = 19
# An unknown PRAGMA is silently ignored by SQLite, so those of 3.7.17 that we use are listed.
PRAGMAS = frozenset((
    'foreign_keys', 'foreign_key_check', 'integrity_check', 'journal_mode', 'synchronous',
    'table_info', 'user_version'))
# Newer than 3.7.17, which may ignore them: what they bring is a little more where they are known.
OPTIONAL_PRAGMAS = frozenset(('defer_foreign_keys',))
# What a PRAGMA that was set gives back when it took the word.
READ_BACK = {'on': '1', 'off': '0', 'full': '2'}
_PRAGMA = re.compile(r'PRAGMA\s+(?:(\w+)\.)?(\w+)\s*(?:=\s*(\w+)|\(.*\))?\s*$', re.IGNORECASE)
_CREATE = re.compile(
    r'CREATE\s+(TABLE|INDEX)\s+(?:IF\s+NOT\s+EXISTS\s+)?((?:\w+\.)?\w+)', re.IGNORECASE)


class Failure(NamedTuple):
    """A statement that SQLite 3.7.17 does not run as it should."""

    statement: Statement
    problem: str


def main(arguments: Sequence[str]) -> int:
    """Replay a recording, print failures and one closing line, and give the exit status."""
    if len(arguments) != 1:
        print('usage: python -m tests.packaging.sqlite_3_7.replay RECORDING')
        return 2
    path = arguments[0]
    try:
        statements = read(path)
        failures = replay(statements)
    except (OSError, ValueError, KeyError, FloorUnavailable) as error:
        print(f'sqlite floor: cannot replay {path}: {error}')
        return 2
    for failure in failures:
        print(f'FAILED ({failure.statement.role}): {failure.problem}\n'
              f'    {failure.statement.sql}')
    print(f'sqlite floor: {len(statements)} distinct statements, '
          f'{len(statements) - len(failures)} ran on SQLite {VERSION}, {len(failures)} failed')
    if not statements:
        return 2
    return 1 if failures else 0


def replay(statements: Sequence[Statement]) -> List[Failure]:
    """Run the statements role by role, each role on databases of its own."""
    by_role: Dict[str, List[Statement]] = {}
    for statement in statements:
        by_role.setdefault(statement.role, []).append(statement)
    return [failure for role, of_role in sorted(by_role.items())
            for failure in _replay_role(role, of_role)]


def make_databases(directory: str) -> None:
    """Make journal and registry on 3.7.17 with our own DDL, as the migrations run it."""
    with Floor(os.path.join(directory, 'journal.db')) as floor:
        _attach(floor, directory)
        for migrations in (JOURNAL_MIGRATIONS, MIGRATIONS):
            _migrate(floor, migrations)


def _migrate(floor: Floor, migrations: Any) -> None:
    for _, sqls in migrations:
        for sql in ('BEGIN IMMEDIATE',) + sqls + ('COMMIT',):
            floor.execute(sql)


def _replay_role(role: str, statements: Sequence[Statement]) -> List[Failure]:
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        make_databases(directory)
        main_path = os.path.join(directory, 'journal.db') if 'journal' in role else ':memory:'
        with Floor(main_path) as floor:
            floor.execute('PRAGMA foreign_keys=ON')
            if main_path == ':memory:':
                # What an edit writes that has no journal, and is thrown away.
                _migrate(floor, JOURNAL_MIGRATIONS)
            if 'registry' in role:
                _attach(floor, directory)
            _fill(floor, statements)
            for statement in statements:
                problem = _problem(floor, statement.sql)
                if problem is not None:
                    failures.append(Failure(statement, problem))
    return failures


def _attach(floor: Floor, directory: str) -> None:
    floor.execute(f"ATTACH 'file:{directory}/registry.db' AS registry")


def _fill(floor: Floor, statements: Sequence[Statement]) -> None:
    """Keep what the recorded INSERTs insert; those that fail are reported when their turn comes."""
    for statement in statements:
        if statement.sql.startswith('INSERT'):
            try:
                floor.execute(statement.sql)
            except FloorError:
                continue


def _problem(floor: Floor, sql: str) -> Optional[str]:
    try:
        _run(floor, sql)
    except FloorError as error:
        # A constraint that holds is the schema at work, on rows of another test.
        if 'duplicate column name' in str(error):
            return None  # the file that it is replayed in is migrated already
        return None if error.code == CONSTRAINT else f'{error} (result code {error.code})'
    except LookupError as error:
        return str(error)
    return None


def _run(floor: Floor, sql: str) -> None:
    word = sql.split(None, 1)[0].upper()
    if word == 'PRAGMA':
        _run_pragma(floor, sql)
    elif word == 'ATTACH':
        _run_attach(floor, sql)
    elif word == 'BEGIN':
        floor.execute(sql)
        floor.execute('ROLLBACK')
    elif word in ('COMMIT', 'ROLLBACK'):
        floor.execute('BEGIN')
        floor.execute(sql)
    else:
        _run_and_roll_back(floor, sql)


def _run_pragma(floor: Floor, sql: str) -> None:
    match = _PRAGMA.match(sql)
    if match is not None and match.group(2).lower() in OPTIONAL_PRAGMAS:
        return
    if match is None or match.group(2).lower() not in PRAGMAS:
        raise LookupError(f'SQLite {VERSION} may silently ignore this PRAGMA')
    schema, name, value = match.groups()
    floor.execute(sql)
    if value is not None:
        found = floor.execute(f'PRAGMA {schema}.{name}' if schema else f'PRAGMA {name}')
        if found != [(READ_BACK.get(value.lower(), value.lower()),)]:
            raise LookupError(f'the PRAGMA did not take: {found}')


def _run_attach(floor: Floor, sql: str) -> None:
    """Attach under a free name and nothing on the disk; the path is that of a test long gone."""
    floor.execute(re.sub(r"'(?:[^']|'')*' AS \w+", "'file::memory:' AS replayed", sql))
    floor.execute('DETACH replayed')


def _run_and_roll_back(floor: Floor, sql: str) -> None:
    floor.execute('SAVEPOINT replayed')
    try:
        created = _CREATE.match(sql)
        if created is not None:
            floor.execute(f'DROP {created.group(1)} IF EXISTS {created.group(2)}')
        floor.execute(sql)
    finally:
        floor.execute('ROLLBACK TO replayed')
        floor.execute('RELEASE replayed')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
