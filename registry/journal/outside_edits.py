"""The rows as last seen, to tell other programs' edits from ours, and a file that lost its rows.

All of it runs inside the caller's transaction.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from registry.errors import Reason, RegistryUnavailable
from registry.journal.cell_types import OPTIONAL_TEXT, understand
from registry.journal.history import ANOTHER_PROGRAM, HistoryEntry, add_entry
from registry.journal.numbers import (forget_orphan, note_number, note_orphan, read_edition,
                                      write_counter)
from registry.sqlite.connection import Connection
from registry.values import Contents, Pool, Priority, Vm

# Losing a few rows is an ordinary deletion. All of so many at once, or more than half of so many,
# is an accident until a person says otherwise (P17).
ALL_OF = 3
MORE_THAN_HALF_OF = 10
_SHOWN = 5
_FOUND = 'found'
_PRIORITIES = frozenset(int(priority) for priority in Priority)


class Seen(NamedTuple):
    """The rows of both tables, each as the fields that count, by UUID and pool_id."""

    vms: Mapping[str, Dict[str, Any]]
    pools: Mapping[str, Dict[str, Any]]


class Memory(NamedTuple):
    """What our side remembers of a file: how often we edited it, and the rows last seen."""

    edition: Optional[int]
    seen: Seen


NO_MEMORY = Memory(None, Seen({}, {}))
UNKNOWN_EDITION = -1
"""The edition of a reading during which the journal was locked: it is held against nothing."""
LOCKED_MEMORY = Memory(UNKNOWN_EDITION, Seen({}, {}))


def has_seen_any(connection: Connection) -> bool:
    """Tell whether a file of any name was ever looked at."""
    return bool(connection.execute('SELECT 1 FROM seen_pools LIMIT 1'))


def last_seen(connection: Connection, source: str) -> Tuple[Tuple[Vm, ...], Tuple[Pool, ...]]:
    """Give the rows of the file of that name as they were last seen, also when it is gone."""
    seen = _read_seen(connection, source)
    return (tuple(map(_vm_of, seen.vms.values())),
            tuple(Pool(**pool) for pool in seen.pools.values()))


def recall(connection: Connection, source: str) -> Memory:
    """Read what is known of the file of that name."""
    return Memory(read_edition(connection, source), _read_seen(connection, source))


def find_missing(connection: Connection, contents: Contents) -> Tuple[Vm, ...]:
    """Give the rows that a file has lost against the state last accepted, if too many."""
    return compare_missing(_read_seen(connection, contents.source), contents)


def compare_missing(seen: Seen, contents: Contents) -> Tuple[Vm, ...]:
    """Give the rows that a file has lost, in the order of numbers, when they are too many.

    A faulty row is not gone, whatever else is wrong with it.
    """
    missing = set(seen.vms) - {vm.vm_uuid for vm in contents.vms} - _faulty(contents)
    count = len(seen.vms)
    is_doubtful = (count >= ALL_OF and len(missing) == count
                   or count >= MORE_THAN_HALF_OF and len(missing) * 2 > count)
    if not is_doubtful:
        return ()
    vms = [_vm_of(seen.vms[vm_uuid]) for vm_uuid in missing]
    return tuple(sorted(vms, key=lambda vm: (vm.vm_id, vm.vm_uuid)))


def seen_in(contents: Contents) -> Seen:
    """Give the rows of a reading as they are remembered."""
    return Seen({vm.vm_uuid: fields_of(vm) for vm in contents.vms},
                {pool.pool_id: fields_of(pool) for pool in contents.pools})


def refuse_loss(contents: Contents) -> None:
    """Refuse a file that has lost too many rows to be acted on unasked."""
    if contents.missing:
        raise RegistryUnavailable(describe_loss(contents), reason=Reason.DOUBTFUL)


def describe_loss(contents: Contents) -> str:
    """Say what is missing, and the cures: first the one that keeps the assignments."""
    names = [f'{vm.vm_name or vm.vm_uuid} ({vm.vm_id})' for vm in contents.missing[:_SHOWN]]
    more = len(contents.missing) - len(names)
    return (f'the registry is doubtful: {len(contents.missing)} VMs lost their rows at once, and '
            f"no command of ours removed them ({', '.join(names)}"
            f"{f' and {more} more' if more else ''}); bring them back with 'vgpu-admin registry "
            "rebuild' or 'vgpu-admin restore --at=TIME', or take the file as it is with "
            "'vgpu-admin accept'")


def note_contents(connection: Connection, at: str, contents: Contents, *,
                  allow_loss: bool = False, who: str = ANOTHER_PROGRAM,
                  command: str = _FOUND) -> Tuple[HistoryEntry, ...]:
    """Record what other programs changed since the rows were last seen.

    With `allow_loss` a loss is taken as it is; `who` and `command` are for whom decided that.

    A reading older than our last edit says nothing: an edit of ours, committed while the file
    was being read, would pass for the work of another program, and be recorded undone.
    """
    seen, found = _read_seen(connection, contents.source), seen_in(contents)
    edition = read_edition(connection, contents.source)
    if contents.edition is not None and contents.edition != edition:
        _refuse_outdated(seen, contents)
        return ()
    if not seen.pools:
        return (_begin(connection, at, contents),)
    if not allow_loss:
        refuse_loss(contents._replace(missing=compare_missing(seen, contents)))
    add = _Adder(connection, at, who, command, contents.source)
    entries = _note_vms(add, seen, found, _faulty(contents)) + _note_pools(add, seen, found)
    if entries:
        _write_seen(connection, contents, seen)
    return tuple(entries)


def refresh(connection: Connection, contents: Contents) -> None:
    """Take the rows as seen, after an edit of ours that has its own history."""
    _write_seen(connection, contents, _read_seen(connection, contents.source))


def fields_of(row: Any) -> Dict[str, Any]:
    """Give the fields of a Vm or Pool that count as its content."""
    return {name: int(value) if name == 'priority' else value
            for name, value in row._asdict().items()
            if name not in ('created_at', 'updated_at')}


def _begin(connection: Connection, at: str, contents: Contents) -> HistoryEntry:
    """Start with a file never seen before: one entry, not one per row."""
    _write_seen(connection, contents, Seen({}, {}))
    return add_entry(connection, at, ANOTHER_PROGRAM, _FOUND, 'registry_found', after={
        'version': contents.version, 'vms': len(contents.vms), 'faults': len(contents.faults)},
        source=contents.source)


def _refuse_outdated(seen: Seen, contents: Contents) -> None:
    """Have a reading with a loss repeated: it must not be acted on, right or wrong."""
    if compare_missing(seen, contents):
        raise RegistryUnavailable(
            'the registry was edited while it was being read; read it again',
            reason=Reason.OUTDATED)


def _vm_of(fields: Mapping[str, Any]) -> Vm:
    return Vm(**dict(fields, priority=Priority(fields['priority'])))


class _Adder(NamedTuple):
    """Adds entries to the history, of one reading."""

    connection: Connection
    at: str
    who: str
    command: str
    source: str

    def add(self, subject: str, before: Any, after: Any,
            vm_uuid: Optional[str] = None) -> HistoryEntry:
        """Add one."""
        return add_entry(self.connection, self.at, self.who, self.command,
                         _what(subject, before, after), vm_uuid=vm_uuid, before=before,
                         after=after, source=self.source)


def _note_vms(add: _Adder, seen: Seen, found: Seen, faulty: frozenset) -> List[HistoryEntry]:
    entries = []
    for vm_uuid in sorted(set(seen.vms) | set(found.vms)):
        before, after = seen.vms.get(vm_uuid), found.vms.get(vm_uuid)
        if before == after or (after is None and vm_uuid in faulty):
            continue
        if after is None and before is not None:
            note_orphan(add.connection, add.at, vm_uuid, before['vm_id'])
        elif before is None:
            forget_orphan(add.connection, vm_uuid)
        entries.append(add.add('vm', before, after, vm_uuid))
    return entries


def _note_pools(add: _Adder, seen: Seen, found: Seen) -> List[HistoryEntry]:
    pairs = ((seen.pools.get(pool_id), pool) for pool_id, pool in sorted(found.pools.items()))
    return [add.add('pool', before, after) for before, after in pairs if before != after]


def _what(subject: str, before: Optional[Mapping[str, Any]],
          after: Optional[Mapping[str, Any]]) -> str:
    if before is None:
        return f'{subject}_added'
    return f'{subject}_removed' if after is None else f'{subject}_changed'


def _faulty(contents: Contents) -> frozenset:
    """Give the UUIDs of faulty rows: such a row is not gone, its VM is left alone."""
    return frozenset(fault.key for fault in contents.faults)


def _read_seen(connection: Connection, source: str) -> Seen:
    vms = understand(connection, 'seen_vms', connection.execute(
        'SELECT vm_id, vm_uuid, vm_name, pool_id, priority FROM seen_vms WHERE source = ?',
        (source,)), int, str, OPTIONAL_TEXT, str, _PRIORITIES)
    pools = understand(connection, 'seen_pools', connection.execute(
        'SELECT pool_id, pool_name, description, enabled FROM seen_pools WHERE source = ?',
        (source,)), str, str, OPTIONAL_TEXT, int)
    return Seen(
        {row[1]: dict(zip(('vm_id', 'vm_uuid', 'vm_name', 'pool_id', 'priority'), row))
         for row in vms},
        {row[0]: dict(zip(('pool_id', 'pool_name', 'description', 'enabled'),
                          row[:3] + (bool(row[3]),)))
         for row in pools})


def _write_seen(connection: Connection, contents: Contents, seen: Seen) -> None:
    """Write what differs, and count the edition so that older readings are known as such."""
    source, found = contents.source, seen_in(contents)
    for vm_uuid in set(seen.vms) - set(found.vms) - _faulty(contents):
        connection.execute('DELETE FROM seen_vms WHERE source = ? AND vm_uuid = ?',
                           (source, vm_uuid))
    for vm_uuid, vm in found.vms.items():
        if seen.vms.get(vm_uuid) != vm:
            note_number(connection, vm['vm_id'])
            connection.execute(
                'INSERT OR REPLACE INTO seen_vms '
                '(source, vm_id, vm_uuid, vm_name, pool_id, priority) '
                'VALUES (?, ?, ?, ?, ?, ?)', (source,) + tuple(vm.values()))
    for pool_id, pool in found.pools.items():
        if seen.pools.get(pool_id) != pool:
            connection.execute(
                'INSERT OR REPLACE INTO seen_pools '
                '(source, pool_id, pool_name, description, enabled) '
                'VALUES (?, ?, ?, ?, ?)', (source,) + tuple(pool.values()))
    write_counter(connection, f'edition of {source}', read_edition(connection, source) + 1)
