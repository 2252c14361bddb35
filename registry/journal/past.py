"""What the registry said at a time in the past: the rows last seen, with the history taken back.

All of it runs inside the caller's transaction, and reads only.
"""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from registry.errors import NotFound
from registry.journal.history import VM_CHANGES, first_edit_at, list_edits_since
from registry.journal.numbers import read_counter
from registry.journal.outside_edits import last_seen
from registry.sqlite.connection import Connection
from registry.values import Image, Pool, Priority, Vm


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
                rows[entry.vm_uuid] = _vm(entry.before)
            elif entry.what == 'pool_changed' and isinstance(entry.before, dict):
                heads[str(entry.before.get('pool_id'))] = Pool(**entry.before)
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


def _vm(fields: Optional[Mapping[str, Any]]) -> Optional[Vm]:
    if not isinstance(fields, dict):
        return None
    return Vm(**dict(fields, priority=Priority(fields['priority'])))
