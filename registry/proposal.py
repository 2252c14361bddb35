"""What an edit comes to, as a value: shown, asked about, and applied to what was shown only.

Pure: no clock, no I/O, no logging.
"""

from typing import Any, FrozenSet, Mapping, NamedTuple, Optional, Sequence, Tuple

from registry.difference import Difference, settings_of
from registry.errors import Conflict
from registry.rows import RawVm, validated
from registry.values import Image, Pool, Vm


class Slot(NamedTuple):
    """One row: as the file has it (None: not yet) and as it shall be (None: gone)."""

    origin: Optional[RawVm]
    row: Optional[RawVm]


class Proposal(NamedTuple):
    """What an edit does, and to what: applied only to a registry that still says the same."""

    difference: Difference
    slots: Tuple[Slot, ...]
    """The rows that are written."""
    rows: Tuple[RawVm, ...]
    """All rows that the edit began with."""
    pools: Tuple[Pool, ...]
    """The vGPU pools that it began with."""
    taken: Mapping[int, str] = {}
    largest: int = 0
    """The largest number that it gave out."""
    accepts: bool = False
    creates: bool = False
    """There was no registry."""
    claims: Tuple[int, ...] = ()
    """The numbers that are their rows' from the commit on, whatever bears them later (P10)."""
    scope: Optional[FrozenSet[str]] = None
    """The VMs that were shown; None: all."""

    @property
    def has_any(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.slots) or self.difference.has_any or self.accepts or self.creates

    @property
    def vms_after(self) -> Tuple[Vm, ...]:
        """Give the VMs that are registered afterwards."""
        gone = {id(slot.origin) for slot in self.slots}
        stay = [row for row in self.rows if id(row) not in gone]
        return validated(stay + [slot.row for slot in self.slots if slot.row is not None])[0]

    @property
    def pools_after(self) -> Tuple[Pool, ...]:
        """Give the vGPU pools as they shall be."""
        changed = {change.after.pool_id: change.after for change in self.difference.pools}
        return tuple(changed.get(pool.pool_id, pool) for pool in self.pools)

    @property
    def image_after(self) -> Image:
        """Give what the registry says afterwards."""
        return Image(self.vms_after, self.pools_after, self.largest)

    def refuse_changed(self, rows: Sequence[RawVm], pools: Sequence[Pool]) -> None:
        """Refuse a registry whose assignments are not those that were shown."""
        what = ''
        if self._list_assignments(self.rows) != self._list_assignments(rows):
            what = 'the registry' if self.scope is None else 'VM ' + ', '.join(sorted(self.scope))
        else:
            changed = set(self._list_settings(self.pools)) ^ set(self._list_settings(pools))
            if changed:
                what = 'vGPU pool ' + ', '.join(sorted({item[0] for item in changed}))
        if what:
            raise Conflict(f'{what} was changed meanwhile by another command or program; nothing '
                           'was changed here; look at it again and repeat')

    def _list_assignments(self, rows: Sequence[RawVm]) -> Any:
        """Names are XAPI's, and columns of others are theirs: neither was asked about."""
        return sorted([(row.place, repr(row.assignment)) for row in rows if self._has_shown(row)],
                      key=repr)

    def _list_settings(self, pools: Sequence[Pool]) -> Sequence[Any]:
        """Of a vGPU pool that was shown for its VMs: whether it gives them anything."""
        if self.scope is None:
            return [(pool.pool_id,) + settings_of(pool) for pool in pools]
        shown = {row.pool_id for row in self.rows if self._has_shown(row)} | {
            slot.row.pool_id for slot in self.slots if slot.row is not None}
        return [(pool.pool_id, bool(pool.enabled)) for pool in pools if pool.pool_id in shown]

    def _has_shown(self, row: RawVm) -> bool:
        return self.scope is None or row.key in self.scope
