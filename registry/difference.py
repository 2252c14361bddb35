"""What a change of the registry does, as one value: it is shown, counted, asked about and applied.

Pure: no clock, no I/O, no logging.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from registry.values import Image, Pool, Vm

ADDED, CHANGED, REMOVED, MOVED, MENDED = 'added', 'changed', 'removed', 'moved', 'mended'


class RowChange(NamedTuple):
    """What becomes of one row of `vms`."""

    what: str
    """added, changed, removed, moved (to another VM) or mended (it was no assignment)."""
    before: Optional[Vm]
    after: Optional[Vm]
    problem: str = ''
    """Why the row was no assignment."""

    @property
    def vm_uuid(self) -> str:
        """Give the VM that the row is about afterwards; the one that loses it when it goes."""
        vm = self.after or self.before
        return vm.vm_uuid if vm is not None else ''


class PoolChange(NamedTuple):
    """What becomes of one vGPU pool."""

    before: Pool
    after: Pool


class Difference(NamedTuple):
    """Everything that a change does to the rows of both tables."""

    rows: Tuple[RowChange, ...] = ()
    pools: Tuple[PoolChange, ...] = ()

    @property
    def has_any(self) -> bool:
        """Tell whether anything changes at all."""
        return any(self)

    @property
    def added(self) -> Tuple[Vm, ...]:
        """Give the VMs that are registered."""
        return tuple(row.after for row in self.rows if row.what == ADDED and row.after)

    @property
    def changed(self) -> Tuple[Tuple[Vm, Vm], ...]:
        """Give the VMs whose row changes, before and after."""
        return tuple((row.before, row.after) for row in self.rows
                     if row.what in (CHANGED, MENDED) and row.before and row.after)

    @property
    def removed(self) -> Tuple[Vm, ...]:
        """Give the VMs that lose their row."""
        return tuple(row.before for row in self.rows if row.what == REMOVED and row.before)

    @property
    def vm_uuids(self) -> List[str]:
        """Give all VMs whose assignment changes, each once."""
        found: Dict[str, None] = {}
        for row in self.rows:
            # What a mended row said before is no VM of its own.
            for vm in (row.after, None if row.what == MENDED else row.before):
                if vm is not None:
                    found[vm.vm_uuid] = None
        return list(found)

    @property
    def counts(self) -> Dict[str, int]:
        """Give how many changes there are, by what they are."""
        counts: Dict[str, int] = {}
        for row in self.rows:
            counts[row.what] = counts.get(row.what, 0) + 1
        return counts


class Replaced(NamedTuple):
    """What was made of a registry; `kept` names the copy of what was there ('' for none)."""

    difference: Difference = Difference()
    kept: str = ''
    journal_problem: str = ''
    """Why the history does not have it."""


def find_difference(vms: Sequence[Vm], pools: Sequence[Pool], image: Image) -> Difference:
    """Compare rows with an image. Names of VMs make no difference: XAPI has them."""
    old, new = {vm.vm_uuid: vm for vm in vms}, {vm.vm_uuid: vm for vm in image.vms}
    rows = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if before is not None and after is not None:
            after = named_like(after, before)
            if assignment_of(before) != assignment_of(after):
                rows.append(RowChange(CHANGED, before, after))
        else:
            rows.append(RowChange(ADDED if before is None else REMOVED, before, after))
    return Difference(tuple(rows), find_pool_changes(pools, image.pools))


def find_pool_changes(before: Sequence[Pool], after: Sequence[Pool]) -> Tuple[PoolChange, ...]:
    """Compare vGPU pools by what people set."""
    olds = {pool.pool_id: pool for pool in before}
    return tuple(PoolChange(olds[pool.pool_id], pool) for pool in after
                 if pool.pool_id in olds and settings_of(olds[pool.pool_id]) != settings_of(pool))


def named_like(vm: Vm, before: Vm) -> Vm:
    """Give the VM; one without a name keeps that of the row."""
    return vm if vm.vm_name is not None else vm._replace(vm_name=before.vm_name)


def assignment_of(vm: Vm) -> Tuple[Any, ...]:
    """Give what counts of a row: all but the name."""
    return vm.vm_uuid, vm.vm_id, vm.pool_id, int(vm.priority)


def settings_of(pool: Pool) -> Tuple[Any, ...]:
    """Give what people set of a vGPU pool; no description and an empty one are the same."""
    return pool.pool_name, pool.description or '', bool(pool.enabled)
