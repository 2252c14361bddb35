"""Writes what an edit proposes into the shared file, and reads it back, in one transaction.

Rows are found by their UUID as it stands there. Numbers go over in an order in which none is ever
there twice; where they go round, one row waits at a free number. Others may have put
triggers and rules of their own into the file: what they swallow or change is a conflict.
"""

import shlex
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from registry.difference import PoolChange
from registry.errors import Conflict
from registry.proposal import Slot
from registry.rows import RawVm, RowPlace, list_pools, list_raw_vms
from registry.sqlite.connection import Connection
from registry.values import Pool


class _Update(NamedTuple):
    """One row that stays, and what it shall say."""

    origin: RawVm
    row: RawVm


def write_difference(connection: Connection, rows: Sequence[RawVm], slots: Sequence[Slot],
                     pools: Sequence[PoolChange]) -> None:
    """Write rows and vGPU pools. `rows` are all that are there."""
    if not slots and not pools:
        return
    # Another table may refer to a number that goes over to another row: that is judged by the
    # end as well, where SQLite can (3.8 and newer; an older one knows no such pragma).
    connection.execute('PRAGMA defer_foreign_keys=ON')
    slots = _part_doubles(rows, slots)
    _write_pools(connection, pools, {slot.row.pool_id for slot in slots if slot.row is not None})
    for origin, row in slots:
        if origin is not None and row is None:
            _delete(connection, origin)
    _update_all(connection, rows, [_Update(origin, row) for origin, row in slots
                                   if origin is not None and row is not None])
    for origin, row in slots:
        if origin is None and row is not None:
            _insert(connection, row)
    _read_back(connection, rows, slots, pools)


def find_triggers(connection: Connection) -> Tuple[Tuple[str, str], ...]:
    """List the triggers of the file: (name, table)."""
    return tuple(connection.execute(
        "SELECT name, tbl_name FROM registry.sqlite_master WHERE type = 'trigger' "
        'ORDER BY lower(tbl_name) NOT IN (\'vms\', \'pools\'), name'))


def describe_triggers(connection: Connection) -> str:
    """Name the triggers of the file, and how to be rid of one; '' when it has none."""
    found = find_triggers(connection)
    if not found:
        return ''
    named = ', '.join(f'{name} (on {table})' for name, table in found)
    word = 'trigger' if len(found) == 1 else 'triggers'
    # Any program may have chosen its name, and this is pasted into a shell of root's.
    first = found[0][0].replace('"', '""')
    command = f'DROP TRIGGER "{first}"'
    return (f'the file has the {word} {named}; if no program needs it: '
            f'sqlite3 {shlex.quote(connection.registry_path)} {shlex.quote(command)}')


def _part_doubles(rows: Sequence[RawVm], slots: Sequence[Slot]) -> List[Slot]:
    """Rows with one and the same UUID cannot be told apart: they are deleted, then inserted."""
    counts: Dict[Optional[RowPlace], int] = {}
    for row in rows:
        counts[row.place] = counts.get(row.place, 0) + 1
    doubled = {slot.origin.place for slot in slots
               if slot.origin is not None and counts[slot.origin.place] > 1}
    if not doubled:
        return list(slots)
    touched = {id(slot.origin) for slot in slots}
    all_slots = list(slots) + [Slot(row, row) for row in rows
                               if row.place in doubled and id(row) not in touched]
    parted: List[Slot] = []
    for slot in all_slots:
        if slot.origin is not None and slot.origin.place in doubled:
            parted.append(Slot(slot.origin, None))
            parted += [Slot(None, slot.row)] if slot.row is not None else []
        else:
            parted.append(slot)
    return parted


# The order of the numbers.

def _update_all(connection: Connection, rows: Sequence[RawVm],
                updates: Sequence[_Update]) -> None:
    """Write each row when its number is free; where they go round, park one."""
    holders = {item.origin.vm_id: item for item in updates
               if item.origin.vm_id != item.row.vm_id}
    waiting = {item.row.vm_id: item for item in updates if item.row.vm_id in holders
               and holders[item.row.vm_id] is not item}
    parked: Dict[Any, Any] = {}
    used = {row.vm_id for row in rows} | {item.row.vm_id for item in updates}
    ready = [item for item in updates if waiting.get(item.row.vm_id) is not item]
    while ready or waiting:
        if not ready:
            # Only circles are left: one that steps aside makes room for the next.
            number, item = next(iter(waiting.items()))
            holder = holders[number]
            parked[holder] = _free_number(used)
            _park(connection, holder, parked[holder])
            ready.append(waiting.pop(number))
            continue
        item = ready.pop()
        _update(connection, item)
        if item.origin.vm_id != item.row.vm_id and item not in parked:
            freed = waiting.pop(item.origin.vm_id, None)
            if freed is not None:
                ready.append(freed)


def _free_number(used: Set[Any]) -> int:
    """A number that no row has, as small as can be: the file may have a bound of its own."""
    number = 1
    while number in used:
        number += 1
    used.add(number)
    return number


# Statements.

def _delete(connection: Connection, row: RawVm) -> None:
    connection.execute(f'DELETE FROM registry.vms WHERE {_HERE[_is_plain(row)]}', _here(row))


def _park(connection: Connection, item: _Update, number: int) -> None:
    connection.execute(f'UPDATE registry.vms SET vm_id = ? WHERE {_HERE[_is_plain(item.origin)]}',
                       (number,) + _here(item.origin))


def _update(connection: Connection, item: _Update) -> None:
    connection.execute(
        'UPDATE registry.vms SET vm_id = ?, vm_uuid = ?, vm_name = ?, pool_id = ?, '
        f'priority = ?, updated_at = ? WHERE {_HERE[_is_plain(item.origin)]}',
        item.row.fields + (item.row.updated_at,) + _here(item.origin))


def _insert(connection: Connection, row: RawVm) -> None:
    connection.execute(
        'INSERT INTO registry.vms '
        '(vm_id, vm_uuid, vm_name, pool_id, priority, created_at, updated_at) '
        'VALUES (?, ?, ?, ?, ?, ?, ?)', row.fields + (row.created_at, row.updated_at))


def _write_pools(connection: Connection, pools: Iterable[PoolChange], needed: Set[str]) -> None:
    """Make the rows that a foreign key asks for, too: a file of others may lack them."""
    for pool_id in sorted(needed | {change.after.pool_id for change in pools}):
        connection.execute(
            'INSERT OR IGNORE INTO registry.pools (pool_id, pool_name) VALUES (?, ?)',
            (pool_id, f'Pool {pool_id}'))
    for _before, after in pools:
        connection.execute(
            'UPDATE registry.pools SET pool_name = ?, description = ?, enabled = ?, '
            'updated_at = ? WHERE pool_id = ?',
            (after.pool_name, after.description, int(after.enabled), after.updated_at,
             after.pool_id))


# With its text the index finds a row; other values, and text that is no UTF-8, are rare.
_HERE = {True: 'vm_uuid = ? AND CAST(vm_uuid AS BLOB) = ?',
         False: 'typeof(vm_uuid) = ? AND CAST(vm_uuid AS BLOB) IS ?'}


def _is_plain(row: RawVm) -> bool:
    place = row.place
    return place is not None and place.kind == 'text' and isinstance(row.vm_uuid, str) \
        and row.vm_uuid.encode('utf-8', 'replace') == place.data


def _here(row: RawVm) -> Tuple[Any, Any]:
    kind, data = row.place or RowPlace('null', None)
    return (row.vm_uuid if _is_plain(row) else kind), data


# Reading back.

def _read_back(connection: Connection, rows: Sequence[RawVm], slots: Sequence[Slot],
               pools: Sequence[PoolChange]) -> None:
    """Hold the whole of both tables against what they should say now."""
    gone = {slot.origin.place for slot in slots if slot.origin is not None}
    expected = [row.fields for row in rows if row.place not in gone]
    expected += [slot.row.fields for slot in slots if slot.row is not None]
    found = [row.fields for row in list_raw_vms(connection)]
    have = {pool.pool_id: _written(pool) for pool in list_pools(connection)}
    is_kept = (sorted(expected, key=repr) == sorted(found, key=repr)
               and all(have.get(pool.pool_id) == _written(pool) for _before, pool in pools))
    if not is_kept:
        raise Conflict(
            f'{connection.registry_path}: the file did not keep what was written, and nothing was '
            f'changed; ' + (describe_triggers(connection) or 'it has no trigger: see its schema '
                            "with 'sqlite3 FILE .schema'"))


def _written(pool: Pool) -> Tuple[Any, ...]:
    return pool.pool_name, pool.description or '', pool.enabled
