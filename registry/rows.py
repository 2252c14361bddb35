"""Rows of the shared file, as found and as validated values.

Columns are read by name, since four shapes of the file are in the field. A row that does not
validate costs that row: it becomes a RowFault, and hides no other.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from registry.errors import InvalidValue, Reason
from registry.schema import read_version
from registry.sqlite.connection import Connection, unavailable
from registry.values import (DEFAULT_POOLS, POOL_IDS, Contents, Pool, Priority, RowFault, Vm,
                             parse_pool_id, parse_uuid, parse_vm_id, shown, text_of)

_POOL_COLUMNS = frozenset(
    ('pool_id', 'pool_name', 'description', 'enabled', 'created_at', 'updated_at'))
_VM_COLUMNS = frozenset(
    ('vm_id', 'vm_uuid', 'vm_name', 'pool_id', 'priority', 'created_at', 'updated_at'))


class RowPlace(NamedTuple):
    """By what a row is found again: its UUID as the file has it, to the byte.

    Never its rowid: a column of that name may exist, with whatever in it.
    """

    kind: str
    """As SQLite names the type of the value."""
    data: Any
    """The bytes of the value; None for NULL."""


class RawVm(NamedTuple):
    """A row of `vms` with values of any type, as another program may have left them."""

    place: Optional[RowPlace]
    """None for a row that is not in the file."""
    vm_id: Any
    vm_uuid: Any
    vm_name: Any
    pool_id: Any
    priority: Any
    created_at: Any
    updated_at: Any

    @property
    def key(self) -> str:
        """Give the UUID by which rows are matched: without regard to case."""
        return (text_of(self.vm_uuid) or '').lower()

    @property
    def fields(self) -> Tuple[Any, ...]:
        """Give the columns that are written."""
        return self.vm_id, self.vm_uuid, self.vm_name, self.pool_id, self.priority

    @property
    def assignment(self) -> Tuple[Any, ...]:
        """Give what an answer to a question was about: all but the name."""
        return self.vm_id, self.vm_uuid, self.pool_id, self.priority


def read_contents(connection: Connection, edition: Optional[int] = None) -> Contents:
    """Read and validate all of the shared file, inside the caller's transaction."""
    return read_rows(connection, edition)[0]


def read_rows(connection: Connection,
              edition: Optional[int] = None) -> Tuple[Contents, List[RawVm]]:
    """Read the same, and the rows as they are."""
    version = read_version(connection)
    check_tables(connection)
    rows = list_raw_vms(connection)
    vms, faults = validated(rows)
    source = os.path.basename(connection.registry_path)
    return Contents(version, list_pools(connection), vms, faults, edition, source), rows


def check_tables(connection: Connection) -> None:
    """Refuse a file without both tables and their columns; `vms` as a view does not count."""
    found = list_tables(connection)
    if not connection.execute('SELECT 1 FROM registry.sqlite_master LIMIT 1'):
        raise unavailable(connection.registry_path, Reason.EMPTY)
    pools = {row[1].lower() for row in connection.execute('PRAGMA registry.table_info(pools)')}
    vms = {row[1].lower() for row in connection.execute('PRAGMA registry.table_info(vms)')}
    if len(found) < 2 or not _POOL_COLUMNS <= pools or not _VM_COLUMNS <= vms:
        raise unavailable(connection.registry_path, Reason.FOREIGN)


def list_tables(connection: Connection) -> Tuple[str, ...]:
    """List which of the two tables the shared file has."""
    rows = connection.execute(
        "SELECT lower(name) FROM registry.sqlite_master "
        "WHERE type = 'table' AND lower(name) IN ('pools', 'vms')")
    return tuple(row[0] for row in rows)


def list_pools(connection: Connection) -> Tuple[Pool, ...]:
    """List the pools A and B; one whose row is missing is enabled, as a new file has it."""
    rows = connection.execute(
        'SELECT pool_id, pool_name, description, enabled, created_at, updated_at '
        'FROM registry.pools')
    found = {row[0]: _pool(row) for row in rows}
    return tuple(found.get(pool.pool_id, pool) for pool in DEFAULT_POOLS)


def list_raw_vms(connection: Connection) -> List[RawVm]:
    """List the rows of `vms` as they are."""
    rows = connection.execute(
        'SELECT typeof(vm_uuid), CAST(vm_uuid AS BLOB), vm_id, vm_uuid, vm_name, pool_id, '
        'priority, created_at, updated_at FROM registry.vms')
    return [RawVm(RowPlace(*row[:2]), *row[2:]) for row in rows]


def validated(rows: Sequence[RawVm]) -> Tuple[Tuple[Vm, ...], Tuple[RowFault, ...]]:
    """Part the rows into VMs, in the order of the lists people know, and faults."""
    vms, faults = [], []
    for row, problem in zip(rows, find_problems(rows)):
        if problem is None:
            vms.append(vm_of(row))
        else:
            faults.append(RowFault(text_of(row.vm_uuid) or '', problem,
                                   text_of(row.vm_name) or ''))
    vms.sort(key=lambda vm: (vm.pool_id, -vm.priority, vm.vm_id))
    return tuple(vms), tuple(sorted(faults))


def find_problems(rows: Sequence[RawVm]) -> List[Optional[str]]:
    """Say of each row why it is no assignment; None where it is one."""
    names = [row.key for row in rows]
    keys, numbers = _counts(names), _counts([row.vm_id for row in rows])
    return [_problem(row, keys[name], numbers[row.vm_id]) for row, name in zip(rows, names)]


def vm_of(row: RawVm) -> Vm:
    """Build the VM; what does not validate gets the schema's default, for rows to be removed."""
    return Vm(
        row.vm_id if type(row.vm_id) is int else 0,
        row.key,
        text_of(row.vm_name),
        row.pool_id if row.pool_id in POOL_IDS else 'A',
        Priority(row.priority) if _is_priority(row.priority) else Priority.MEDIUM,
        text_of(row.created_at) or '',
        text_of(row.updated_at) or '')


def _pool(row: Sequence[Any]) -> Pool:
    # NULL is allowed by the schema of others, whose default is enabled.
    return Pool(row[0], text_of(row[1]) or '', text_of(row[2]), row[3] != 0,
                text_of(row[4]) or '', text_of(row[5]) or '')


def _problem(row: RawVm, of_key: int, of_number: int) -> Optional[str]:
    """What is wrong with a row; so many rows have its key, and its number."""
    try:
        parse_uuid(row.vm_uuid)
        parse_vm_id(row.vm_id if type(row.vm_id) is int else repr(row.vm_id))
        parse_pool_id(row.pool_id)
    except InvalidValue as error:
        return str(error)
    if not _is_priority(row.priority):
        return f'priority: {shown(row.priority)} is not a priority; allowed: 0, 1, 2'
    if of_key > 1:
        return ("vm_uuid: several rows differ in the case of this UUID only; 'remove-vm' removes "
                'them all')
    if of_number > 1:
        return f'vm_id: several rows have the vm_id {row.vm_id}; change all but one'
    return None


def _is_priority(value: Any) -> bool:
    return type(value) is int and value in (0, 1, 2)


def _counts(values: Sequence[Any]) -> Dict[Any, int]:
    counts: Dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
