"""What is wrong with the registry's file, and what in it others would stumble over.

The programs that share the file read it with SQLite 3.7.17: one table or index of a newer kind
makes the whole file malformed to them.
"""

import os
import re
from typing import Iterator, List, NamedTuple, Tuple

from registry.rows import check_tables, read_contents
from registry.schema import read_version
from registry.sqlite.connection import Connection
from registry.sqlite.timestamps import render_timestamp
from registry.values import MEDIATOR_ROWS

# SQLite gives no heed to a journal that is empty, or whose beginning was never written.
_UNUSED = (b'', b'\0')
# What is written into the file after its rollback journal belongs to the same change.
_COMMIT_SECONDS = 1.0
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[[^\]]*\]|`[^`]*`|--[^\n]*|/\*.*?\*/",
                     re.DOTALL)
# What stands behind the last parenthesis of a table, and what stands inside it.
_OPTIONS = re.compile(r'\)([^()]*)\Z')
_GENERATED = re.compile(r'\bGENERATED\s+ALWAYS\b|\bAS\s*\(', re.IGNORECASE)
_EXPRESSION = re.compile(r'\bON\b[^(]*\([^)]*\(', re.IGNORECASE)
_PARTIAL = re.compile(r'\)\s*WHERE\b', re.IGNORECASE)
_ODD_ROW = 'CHECK constraint failed in vms'
_SHADOWING = frozenset(('rowid', 'oid', '_rowid_'))


class FileCheck(NamedTuple):
    """What a check of the whole file has found."""

    problems: Tuple[str, ...] = ()
    """What keeps us or others from using the file, or a row of it."""
    warnings: Tuple[str, ...] = ()
    """What is worth knowing and may be meant."""


def check_contents(connection: Connection) -> FileCheck:
    """Check structure, schema and rows, inside the caller's transaction."""
    read_version(connection)
    check_tables(connection)
    damages = [row[0] for row in connection.execute('PRAGMA registry.integrity_check')]
    strays = connection.execute('PRAGMA registry.foreign_key_check(vms)')
    contents = read_contents(connection)
    # Which rows those are stands below, where they are known.
    told = ('ok', _ODD_ROW) if contents.faults else ('ok',)
    problems = [f'structure: {damage}' for damage in damages if damage not in told]
    problems += [f'vms: row {row[1]} refers to a pool that has no row' for row in strays]
    problems += [f'vms: {fault.vm_uuid}: {fault.problem}' for fault in contents.faults]
    schema = list(_read_schema(connection))
    problems += [f'{item}: older programs cannot read the file' for item in _find_newer(schema)]
    warnings = _find_unusual(schema) + _find_shadowing(connection)
    rows = len(contents.vms) + len(contents.faults)
    if rows > MEDIATOR_ROWS:
        warnings.append(f'vms: {rows} rows: the GPU mediator takes {MEDIATOR_ROWS} at most')
    names = os.stat(connection.registry_path).st_nlink
    if names > 1:
        warnings.append(f'the file has {names} names (hard links): by each, programs have another '
                        'lock and another rollback journal; keep one name, or use symbolic links')
    return FileCheck(tuple(problems), tuple(warnings))


def describe_leftover(path: str) -> str:
    """Tell of a rollback journal beside the file that will be used; '' where there is none.

    The next program that opens the file undoes with it what it takes for an interrupted change: a
    file that was put back by copying is then undone as well. While a program writes, it belongs
    there.
    """
    try:
        leftover, file = os.stat(path + '-journal'), os.stat(path)
        # Opening it drops no locks: those are on the file itself.
        with open(path + '-journal', 'rb') as stream:
            is_used = stream.read(1) not in _UNUSED
    except (OSError, ValueError):
        return ''
    if not is_used or _is_locked(file):
        return ''
    made = render_timestamp(leftover.st_mtime)
    text = f'{path}-journal has {leftover.st_size} bytes, of {made}Z, and no program writes'
    if file.st_mtime > leftover.st_mtime + _COMMIT_SECONDS:
        return (f'{text}; the registry was put there later, and the next program that opens it '
                'would undo that: move the -journal away first')
    return f'{text}; the next program that opens the registry undoes an interrupted change with it'


def _is_locked(file: os.stat_result) -> bool:
    """Tell whether a program writes to a file, without opening it."""
    inode = f':{file.st_ino} '
    try:
        with open('/proc/locks', encoding='ascii', errors='replace') as stream:
            return any(inode in line and ' WRITE ' in line for line in stream)
    except OSError:
        return False


class _Item(NamedTuple):
    """One entry of the schema; `sql` without names and comments."""

    kind: str
    name: str
    table: str
    sql: str


def _read_schema(connection: Connection) -> Iterator[_Item]:
    for kind, name, table, sql in connection.execute(
            'SELECT type, name, tbl_name, sql FROM registry.sqlite_master WHERE sql IS NOT NULL'):
        yield _Item(kind, name, table, _QUOTED.sub('x', sql))


def _find_newer(schema: List[_Item]) -> List[str]:
    found = []
    for item in schema:
        if item.kind == 'table':
            tail = _OPTIONS.search(item.sql)
            options = ' '.join(tail.group(1).upper().split()) if tail else ''
            found += [f'table {item.name}: {word}' for word in ('STRICT', 'WITHOUT ROWID')
                      if word in options]
            if item.sql.upper().startswith('CREATE VIRTUAL'):
                found.append(f'table {item.name}: a virtual table')
            elif _GENERATED.search(item.sql):
                found.append(f'table {item.name}: a generated column')
        elif item.kind == 'index' and _PARTIAL.search(item.sql):
            found.append(f'index {item.name}: for some rows only')
        elif item.kind == 'index' and _EXPRESSION.search(item.sql):
            found.append(f'index {item.name}: of an expression')
    return found


def _find_unusual(schema: List[_Item]) -> List[str]:
    found = [f'trigger {item.name} on {item.table}: it may change or refuse what is written'
             for item in schema if item.kind == 'trigger']
    return found + [f'view {item.name}: none of ours' for item in schema if item.kind == 'view']


def _find_shadowing(connection: Connection) -> List[str]:
    columns = [row[1] for row in connection.execute('PRAGMA registry.table_info(vms)')]
    return [f'vms: a column {name}, which hides the number that SQLite gives each row'
            for name in columns if name.lower() in _SHADOWING]
