"""What the registry said at a time in the past: the rows last seen, with the history taken back.

All of it runs inside the caller's transaction, and reads only.
"""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from registry.errors import InvalidValue, JournalUnavailable, NotFound, Reason
from registry.journal.cell_types import OPTIONAL_TEXT, fits
from registry.journal.history import (VM_ADDED, VM_CHANGES, HistoryEntry, first_edit_at,
                                      list_edits_since)
from registry.journal.numbers import read_counter
from registry.journal.outside_edits import last_seen
from registry.sqlite.connection import Connection, unavailable
from registry.values import (Image, Pool, Priority, Vm, parse_pool_id, parse_uuid,
                             parse_vm_id)


class Past(NamedTuple):
    """The registry as it was at a time; rows have no times of their own."""

    at: str
    vms: Tuple[Vm, ...]
    pools: Tuple[Pool, ...]
    largest: int
    """The largest number ever given out, until now."""

    @property
    def image(self) -> Image:
        """Give it as what a registry shall say."""
        return Image(self.vms, self.pools, self.largest)


def read_past(connection: Connection, source: str, at: Optional[str] = None) -> Past:
    """Read what the file of that name said at a time; without one, what was last accepted.

    Raises NotFound for a time before the history begins. Of an edit within the same second it is
    the state afterwards.
    """
    vms, pools = last_seen(connection, source)
    rows: Dict[str, Any] = {vm.vm_uuid: vm for vm in vms}
    heads: Dict[str, Any] = {pool.pool_id: pool for pool in pools}
    if at is not None:
        _refuse_unknown(connection, source, at)
        # The newest first: what stood before the oldest change since then is what counts.
        for entry in list_edits_since(connection, source, at):
            if entry.what in VM_CHANGES and entry.vm_uuid:
                rows[entry.vm_uuid] = None if entry.what == VM_ADDED else _vm(connection, entry)
            elif entry.what == 'pool_changed':
                pool = _pool(connection, entry)
                heads[pool.pool_id] = pool
    return Past(at or '',
                tuple(sorted((vm for vm in rows.values() if vm is not None),
                             key=lambda vm: (vm.pool_id, -vm.priority, vm.vm_id))),
                tuple(heads[pool_id] for pool_id in sorted(heads)),
                read_counter(connection, 'largest_number'))


def _refuse_unknown(connection: Connection, source: str, at: str) -> None:
    first = first_edit_at(connection, source)
    if first is None or at < first:
        begins = f'it begins at {first}Z' if first else 'it has no changes'
        raise NotFound(f'the history does not reach back to {at}Z: {begins}; '
                       "'vgpu-admin registry copies' lists what else is kept")


def _vm(connection: Connection, entry: HistoryEntry) -> Optional[Vm]:
    """The row before; None for one that was not valid, and gave its VM no assignment."""
    vm_id, vm_uuid, vm_name, pool_id, priority = _understand(
        connection, entry, ('vm_id', 'vm_uuid', 'vm_name', 'pool_id', 'priority'),
        (int, str, OPTIONAL_TEXT, str, int))
    try:
        return Vm(parse_vm_id(vm_id), parse_uuid(vm_uuid), vm_name, parse_pool_id(pool_id),
                  Priority(priority))
    except (InvalidValue, ValueError):
        return None


def _pool(connection: Connection, entry: HistoryEntry) -> Pool:
    pool_id, pool_name, description, enabled = _understand(
        connection, entry, ('pool_id', 'pool_name', 'description', 'enabled'),
        (str, str, OPTIONAL_TEXT, int))
    return Pool(pool_id, pool_name, description, bool(enabled))


def _understand(connection: Connection, entry: HistoryEntry, names: Sequence[str],
                kinds: Sequence[Any]) -> Tuple[Any, ...]:
    """What stood before an entry; one that was overwritten must not pass for a row that was not
    there: a restore would remove it."""
    fields = entry.before if isinstance(entry.before, dict) else {}
    found = tuple(fields.get(name) for name in names)
    if not fits(found, kinds):
        raise unavailable(connection.journal_path, Reason.CORRUPT, JournalUnavailable,
                          step=f'has an entry {entry.id} in the history that cannot be '
                          'understood: what the registry was before that is not known')
    return found
