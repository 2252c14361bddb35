"""One edit of the registry, while it is made up: in memory, and judged by its end.

An Edit begins with the rows of the file and says in the end what has to become of them, as a
Proposal. Whether that is only shown, asked about first, or written at once is for the caller
(`store.py`); writing it is `row_writer.py`. So numbers may be swapped, and nothing is ever half
done.

Pure but for the clock it is given: no I/O, no logging.
"""

from typing import (Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence,
                    Set, Tuple)

from registry.bearers import LARGEST_COUNTED, ORDINARY, Bearer
from registry.difference import (ADDED, CHANGED, MENDED, MOVED, REMOVED, Difference, RowChange,
                                 find_pool_changes, settings_of)
from registry.errors import Conflict, InvalidValue, NotFound
from registry.rows import RawVm, find_problems, validated, vm_of
from registry.values import (MAX_VM_ID, Contents, Image, Pool, Priority, Vm,
                             clean_name, parse_pool_id, parse_uuid, parse_vm_id, text_of)

# What may stand around a UUID that another program wrote, and is no part of it.
_AROUND = ' \t\r\n\v\f\0\'"{}'


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

    def refuse_changed(self, rows: Sequence[RawVm], pools: Sequence[Pool]) -> None:
        """Refuse a registry whose assignments are not those that were shown."""
        if self._shown(self.rows, self.pools) != self._shown(rows, pools):
            what = 'the registry' if self.scope is None else \
                'VM ' + ', '.join(sorted(self.scope))
            raise Conflict(f'{what} was changed meanwhile by another program or person; nothing '
                           'was changed: look at it again and repeat')

    def _shown(self, rows: Sequence[RawVm], pools: Sequence[Pool]) -> Any:
        """Names are XAPI's, and columns of others are theirs: neither was asked about."""
        found = [(row.place, repr(row.assignment)) for row in rows
                 if self.scope is None or row.key in self.scope]
        settings = [(pool.pool_id,) + settings_of(pool) for pool in pools]
        return sorted(found, key=repr), sorted(settings) if self.scope is None else []


class Edit:
    """What may be done to the registry; `changed` tells if anything was."""

    def __init__(self, rows: Sequence[RawVm] = (), pools: Sequence[Pool] = (), *,
                 now: Callable[[], str], version: int = 1, source: str = '', largest: int = 0,
                 bearers: Optional[Mapping[str, Bearer]] = None) -> None:
        self._began = tuple(rows)
        self._pools_began = tuple(pools)
        self._version = version
        self._source = source
        self._now = now
        self._largest = largest
        self._bearers = bearers or {}
        self._taken: Dict[int, str] = {}
        self._origins: List[Optional[RawVm]] = list(rows)
        self._rows: List[Optional[RawVm]] = list(rows)
        self._faults = find_problems(rows)
        self._places: Dict[str, List[int]] = {}
        self._stray: Dict[str, List[int]] = {}
        self._pools = {pool.pool_id: pool for pool in pools}
        self._accepts = False
        self.journal_problem = ''
        """Why the journal takes nothing of this edit; '' when it does."""
        self.proposal = Proposal(Difference(), (), self._began, self._pools_began)
        """What the edit does; of use when its block has ended."""
        for index, row in enumerate(rows):
            self._places.setdefault(row.key, []).append(index)
            if row.key != _bare(row.key):
                self._stray.setdefault(_bare(row.key), []).append(index)

    @property
    def changed(self) -> bool:
        """Tell whether the edit does anything."""
        return self.propose().has_any

    @property
    def keys(self) -> FrozenSet[str]:
        """Give the UUIDs (lower case) that have a row."""
        return frozenset(row.key for row in self._rows if row is not None)

    def contents(self) -> Contents:
        """Give the registry as it is after what was done until now."""
        vms, faults = validated([row for row in self._rows if row is not None])
        version = max(1, self._version) if self._accepts else self._version
        return Contents(version, tuple(self._pools.values()), vms, faults, None, self._source)

    # What may be done.

    def add_vm(self, vm_uuid: str, *, vm_name: Optional[str] = None, pool_id: str = 'A',
               priority: Priority = Priority.MEDIUM, vm_id: Optional[int] = None,
               taken: Mapping[int, str] = {}, floor: int = 0) -> Vm:
        """Register a VM; one that is registered just so is returned unchanged.

        Without a vm_id: one more than the largest ever given out, or seen on any VM, template or
        snapshot, or in `taken` (number -> who bears it), or `floor`.
        """
        key, pool_id = parse_uuid(vm_uuid), parse_pool_id(pool_id)
        self._taken.update(taken)
        if self._find(key):
            return self._registered_just_so(key, pool_id, priority, vm_id)
        number = self._next_number(floor) if vm_id is None else parse_vm_id(vm_id)
        now = self._now()
        self._insert(RawVm(None, number, key, clean_name(vm_name), pool_id, int(priority), now,
                           now))
        return Vm(number, key, clean_name(vm_name), pool_id, Priority(priority), now, now)

    def change_vm(self, vm_uuid: str, *, pool_id: Optional[str] = None,
                  priority: Optional[Priority] = None, vm_id: Optional[int] = None,
                  vm_name: Optional[str] = None, expected: Optional[Vm] = None,
                  taken: Mapping[int, str] = {}) -> Tuple[Vm, Vm]:
        """Change an assignment and give the VM before and after."""
        key = parse_uuid(vm_uuid)
        self._taken.update(taken)
        before = self._valid_vm(key)
        if expected is not None and expected != before:
            raise Conflict(
                f'VM {key}: somebody else changed it meanwhile; look at it again and repeat')
        after = before._replace(
            pool_id=before.pool_id if pool_id is None else parse_pool_id(pool_id),
            priority=before.priority if priority is None else Priority(priority),
            vm_id=before.vm_id if vm_id is None else parse_vm_id(vm_id),
            vm_name=before.vm_name if vm_name is None else clean_name(vm_name))
        return before, self._write(self._find(key)[0], before, after)

    def put_vm(self, vm_uuid: str, *, vm_name: Optional[str] = None,
               pool_id: Optional[str] = None, priority: Optional[Priority] = None,
               vm_id: Optional[int] = None, taken: Mapping[int, str] = {},
               floor: int = 0) -> Vm:
        """Have a VM registered so, whatever its row says now: one that is faulty is mended."""
        key = parse_uuid(vm_uuid)
        found = self._find(key) or self._stray_rows(key)
        if not found:
            return self.add_vm(key, vm_name=vm_name, pool_id=pool_id or 'A',
                               priority=Priority.MEDIUM if priority is None else priority,
                               vm_id=vm_id, taken=taken, floor=floor)
        if len(found) == 1 and self._is_valid(found[0]):
            return self.change_vm(key, pool_id=pool_id, priority=priority, vm_id=vm_id,
                                  vm_name=vm_name, taken=taken)[1]
        for index in found[1:]:
            self._remove(index)
        self._taken.update(taken)
        row = self._rows[found[0]]
        assert row is not None
        before = vm_of(row)
        if vm_id is None:
            vm_id = before.vm_id if 1 <= before.vm_id <= MAX_VM_ID else self._next_number(floor)
        after = Vm(parse_vm_id(vm_id), key, before.vm_name if vm_name is None else
                   clean_name(vm_name), before.pool_id if pool_id is None else pool_id,
                   before.priority if priority is None else priority, before.created_at,
                   before.updated_at)
        return self._write(found[0], None, after)

    def remove_vm(self, vm_uuid: str) -> Vm:
        """Remove a VM's row, also one that is no assignment, by the text that `check` shows."""
        found = self._find_named(vm_uuid)
        first = self._rows[found[0]]
        assert first is not None
        for index in found:
            self._remove(index)
        return vm_of(first)

    def move_vm(self, vm_uuid: str, to_uuid: str, vm_name: Optional[str] = None) -> Tuple[Vm, Vm]:
        """Give another VM the row of this one, with all that other programs keep in it."""
        key, other = parse_uuid(vm_uuid), parse_uuid(to_uuid)
        before = self._valid_vm(key)
        if key == other:
            return before, before
        if self._find(other):
            vm = vm_of(self._rows[self._find(other)[0]])  # type: ignore[arg-type]
            raise Conflict(f'VM {other} is registered itself, with vm_id {vm.vm_id}: remove that '
                           f"first with 'vgpu-admin remove-vm --vm-uuid={other}'")
        index = self._find(key)[0]
        after = self._write(index, before, before._replace(
            vm_uuid=other, vm_name=before.vm_name if vm_name is None else clean_name(vm_name)))
        self._places[key].remove(index)
        self._places.setdefault(other, []).append(index)
        return before, after

    def rename_vms(self, names: Mapping[str, str]) -> int:
        """Refresh names, and give the number of those that differed."""
        by_uuid = self.contents().by_uuid
        renamed = 0
        for vm_uuid, name in names.items():
            vm = by_uuid.get(vm_uuid.lower())
            if vm is not None and vm.vm_name != clean_name(name):
                self._write(self._find(vm.vm_uuid)[0], vm,
                            vm._replace(vm_name=clean_name(name)))
                renamed += 1
        return renamed

    def change_pool(self, pool_id: str, *, pool_name: Optional[str] = None,
                    description: Optional[str] = None, enabled: Optional[bool] = None,
                    ) -> Tuple[Pool, Pool]:
        """Change a vGPU pool and give it before and after; '' takes a description away."""
        before = self._pools[parse_pool_id(pool_id)]
        after = before._replace(
            pool_name=before.pool_name if pool_name is None else clean_name(pool_name) or '',
            description=before.description if description is None else clean_name(description),
            enabled=before.enabled if enabled is None else bool(enabled))
        if settings_of(after) == settings_of(before):
            return before, before
        self._pools[pool_id] = after._replace(updated_at=self._now())
        return before, self._pools[pool_id]

    def keep_only(self, vm_uuids: FrozenSet[str]) -> None:
        """Remove every row but those of some VMs, faulty ones too."""
        for index, row in enumerate(self._rows):
            if row is not None and row.key not in vm_uuids:
                self._remove(index)

    def make_like(self, image: Image) -> None:
        """Make the registry what an image says. Faulty rows stay where nothing needs their place.

        A VM without a name keeps the one it has; names make no difference by themselves.
        """
        for pool in image.pools:
            self.change_pool(pool.pool_id, pool_name=pool.pool_name,
                             description=pool.description or '', enabled=pool.enabled)
        wanted = {vm.vm_uuid: vm for vm in image.vms}
        numbers = {vm.vm_id for vm in image.vms}
        for index, row in enumerate(self._rows):
            if row is None or row.key in wanted:
                continue
            is_mended = _bare(row.key) in wanted and not self._find(_bare(row.key))
            if self._faults[index] is None or row.vm_id in numbers and not is_mended:
                self._remove(index)
        for vm in image.vms:
            found = self._find(vm.vm_uuid)
            before = vm_of(self._rows[found[0]]) if found else None  # type: ignore[arg-type]
            if before is not None and len(found) == 1 and self._is_valid(found[0]) and (
                    before.vm_id, before.pool_id, before.priority) == (
                        vm.vm_id, vm.pool_id, vm.priority):
                continue
            self.put_vm(vm.vm_uuid, vm_name=vm.vm_name, pool_id=vm.pool_id,
                        priority=vm.priority, vm_id=vm.vm_id)
        self._largest = max(self._largest, image.largest)

    def accept(self) -> None:
        """Take over a file that our programs did not create; no row or default changes."""
        self._accepts = self._version < 1

    def has_row(self, vm_uuid: str) -> bool:
        """Tell whether a VM has a row, faulty or not."""
        return bool(self._find(vm_uuid))

    # What comes of it.

    def find_owner(self, vm_id: int, vm_uuid: str = '') -> Optional[str]:
        """Say who has a number, besides a VM itself; None when nobody has."""
        for row in self._rows:
            if row is not None and row.vm_id == vm_id and row.key != vm_uuid:
                return _describe_row(row)
        return self._find_bearer(vm_id, vm_uuid)

    def find_conflicts(self) -> Dict[str, str]:
        """Say of each VM why the set cannot be as it is now."""
        owners: Dict[Any, List[int]] = {}
        for index, row in enumerate(self._rows):
            if row is not None:
                owners.setdefault(row.vm_id, []).append(index)
        found = {}
        for index in self._touched():
            row, origin = self._rows[index], self._origins[index]
            if row is None or origin is not None and origin.vm_id == row.vm_id:
                continue
            others = [_describe_row(self._rows[other])  # type: ignore[arg-type]
                      for other in owners[row.vm_id] if other != index]
            owner = others[0] if others else self._find_bearer(row.vm_id, row.key)
            if owner is not None:
                found[row.key] = f'vm_id {row.vm_id} is taken by {owner}; choose another'
        return found

    def propose(self) -> Proposal:
        """Give what the edit does, as a value."""
        slots = tuple(Slot(self._origins[index], self._rows[index]) for index in self._touched())
        rows = tuple(self._describe(index) for index in self._touched())
        pools = find_pool_changes(self._pools_began, tuple(self._pools.values()))
        return Proposal(Difference(rows, pools), slots, self._began, self._pools_began,
                        dict(self._taken), self._largest, self._accepts)

    def settle(self) -> Proposal:
        """Judge the whole by its end; give what is to be done."""
        for problem in self.find_conflicts().values():
            raise Conflict(problem)
        self.proposal = self.propose()
        return self.proposal

    def take(self, proposal: Proposal) -> None:
        """Do just what was proposed; a name that has changed meanwhile stays as it is now."""
        proposal.refuse_changed(self._began, self._pools_began)
        places: Dict[Any, List[int]] = {}
        for index, row in enumerate(self._began):
            places.setdefault(row.place, []).append(index)
        for origin, wanted in proposal.slots:
            if origin is None:
                assert wanted is not None
                self._insert(wanted)
                continue
            index = places[origin.place].pop()
            found = self._rows[index]
            if wanted is not None and found is not None and wanted.vm_name == origin.vm_name:
                wanted = wanted._replace(vm_name=found.vm_name)
            self._rows[index] = wanted
        for change in proposal.difference.pools:
            self._pools[change.after.pool_id] = change.after
        self._taken.update(proposal.taken)
        self._largest = max(self._largest, proposal.largest)
        self._accepts = proposal.accepts

    def _touched(self) -> List[int]:
        return [index for index, (origin, row) in enumerate(zip(self._origins, self._rows))
                if origin is not row and not (origin is not None and row is not None
                                              and origin.fields == row.fields)
                and not (origin is None and row is None)]

    def _describe(self, index: int) -> RowChange:
        origin, row = self._origins[index], self._rows[index]
        before = None if origin is None else vm_of(origin)
        after = None if row is None else vm_of(row)
        problem = self._faults[index] or '' if origin is not None else ''
        if origin is None or row is None:
            return RowChange(ADDED if origin is None else REMOVED, before, after, problem)
        what = MENDED if problem else CHANGED if origin.key == row.key else MOVED
        return RowChange(what, before, after, problem)

    # Rows.

    def _find(self, key: str) -> List[int]:
        return [index for index in self._places.get(key, ()) if self._rows[index] is not None]

    def _stray_rows(self, key: str) -> List[int]:
        return [index for index in self._stray.get(key, ()) if self._rows[index] is not None]

    def _find_named(self, text: str) -> List[int]:
        try:
            key = parse_uuid(text)
        except InvalidValue:
            found = [index for index, row in enumerate(self._rows)
                     if row is not None and (text_of(row.vm_uuid) or '') == text]
            if not found:
                raise
            return found
        found = self._find(key) or self._stray_rows(key)
        if not found:
            raise _not_registered(key)
        return found

    def _is_valid(self, index: int) -> bool:
        origin = self._origins[index]
        return self._rows[index] is not origin or self._faults[index] is None

    def _valid_vm(self, key: str) -> Vm:
        found = self._find(key)
        if not found:
            raise _not_registered(key)
        for index in found:
            if not self._is_valid(index):
                raise Conflict(
                    f'VM {key}: its row is not valid ({self._faults[index]}); remove it with '
                    "'vgpu-admin remove-vm', then register the VM again")
        return vm_of(self._rows[found[0]])  # type: ignore[arg-type]

    def _registered_just_so(self, key: str, pool_id: str, priority: Priority,
                            vm_id: Optional[int]) -> Vm:
        vm = self._valid_vm(key)
        if (vm.pool_id, vm.priority) == (pool_id, priority) and vm_id in (None, vm.vm_id):
            return vm
        raise Conflict(
            f'VM {vm.vm_uuid} is registered with pool {vm.pool_id}, priority {vm.priority.word}, '
            f"vm_id {vm.vm_id}; change that with 'vgpu-admin update-vm'")

    def _insert(self, row: RawVm) -> None:
        self._places.setdefault(row.key, []).append(len(self._rows))
        self._origins.append(None)
        self._faults.append(None)
        self._rows.append(row)
        self._largest = max(self._largest, row.vm_id)

    def _remove(self, index: int) -> None:
        self._rows[index] = None

    def _write(self, index: int, before: Optional[Vm], after: Vm) -> Vm:
        if after == before:
            return after
        row = self._rows[index]
        assert row is not None
        after = after._replace(updated_at=self._now())
        self._rows[index] = row._replace(
            vm_id=after.vm_id, vm_uuid=after.vm_uuid, vm_name=after.vm_name,
            pool_id=after.pool_id, priority=int(after.priority), updated_at=after.updated_at)
        if row.key != after.vm_uuid:
            self._places.setdefault(after.vm_uuid, []).append(index)
        self._largest = max(self._largest, after.vm_id)
        return after

    # Numbers.

    def _find_bearer(self, vm_id: int, key: str) -> Optional[str]:
        for bearer in self._bearers.values():
            if bearer.vm_id == vm_id and bearer.vm_uuid != key and bearer.kind == ORDINARY:
                name = bearer.vm_name or 'no name'
                return f'VM {bearer.vm_uuid} ({name}), which is not registered but carries it'
        return self._taken.get(vm_id)

    def _next_number(self, floor: int) -> int:
        used: Set[int] = {row.vm_id for row in self._rows
                          if row is not None and type(row.vm_id) is int}
        borne = {bearer.vm_id for bearer in self._bearers.values()} | set(self._taken)
        largest = max(used | {number for number in borne if number <= LARGEST_COUNTED}
                      | {floor, self._largest})
        number = largest + 1
        while number in borne:
            number += 1
        if number > MAX_VM_ID:
            raise Conflict(
                f'no automatic vm_id is left: {largest} is in use or was, and {MAX_VM_ID} is the '
                "last; choose a free one with '--vm-id=N'")
        return number


def _bare(key: str) -> str:
    """A UUID without what another program left around it."""
    return key.strip(_AROUND)


def _describe_row(row: RawVm) -> str:
    return f'VM {row.key} ({text_of(row.vm_name) or "no name"}), which is registered'


def _not_registered(key: str) -> NotFound:
    return NotFound(f"VM {key} is not registered; see 'vgpu-admin list-vms', or register "
                    f"it with 'vgpu-admin register-vm --vm-uuid={key}'")
