"""One edit of the registry, while it is made up: in memory, and judged by its end.

An Edit begins with the rows of the file and says in the end what has to become of them, as a
Proposal. Whether that is only shown, asked about first, or written at once is for the caller
(`store.py`); writing it is `commit.py`. So numbers may be swapped, and nothing is ever half done.

Pure but for the clock it is given: no I/O, no logging.
"""

from typing import Callable, Container, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from registry.difference import MOVED, Difference, RowChange, find_pool_changes, settings_of
from registry.draft import Draft
from registry.errors import Conflict, InvalidValue, NotFound
from registry.journal.numbers import Bearer
from registry.proposal import Proposal
from registry.rows import RawVm, validated, vm_of
from registry.values import (MAX_VM_ID, MIN_VM_ID, Contents, Image, Pool, Priority, Vm, clean_name,
                             parse_pool_id, parse_uuid, parse_vm_id, strip_uuid)


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
        self._draft = Draft(rows, bearers or {}, largest)
        self._pools = {pool.pool_id: pool for pool in pools}
        self._accepts = False
        self._borne: Optional[Container[int]] = None
        self._claims: Tuple[int, ...] = ()
        self.journal_problem = ''
        """Why the journal takes nothing of this edit; '' when it does."""
        self.proposal = Proposal(Difference(), (), self._began, self._pools_began)
        """What the edit does; of use when its block has ended."""

    @property
    def changed(self) -> bool:
        """Tell whether the edit does anything."""
        return self.propose().has_any

    @property
    def keys(self) -> FrozenSet[str]:
        """Give the UUIDs (lower case) that have a row."""
        return self._draft.keys

    def contents(self) -> Contents:
        """Give the registry as it is after what was done until now."""
        vms, faults = validated(self._draft.rows)
        version = max(1, self._version) if self._accepts else self._version
        return Contents(version, tuple(self._pools.values()), vms, faults, None, self._source)

    def has_row(self, vm_uuid: str) -> bool:
        """Tell whether a VM has a row, faulty or not."""
        return bool(self._draft.find(vm_uuid))

    def find_owner(self, vm_id: int, vm_uuid: str = '') -> Optional[str]:
        """Say who has a number, besides a VM itself; None when it is free."""
        return self._draft.find_owner(vm_id, vm_uuid)

    def find_conflicts(self) -> Dict[str, str]:
        """Say of each VM why the set cannot be as it is now."""
        return self._draft.find_conflicts()

    # One VM.

    def add_vm(self, vm_uuid: str, *, vm_name: Optional[str] = None, pool_id: str = 'A',
               priority: Priority = Priority.MEDIUM, vm_id: Optional[int] = None,
               taken: Mapping[int, str] = {}, floor: int = 0) -> Vm:
        """Register a VM; one that is registered just so is returned unchanged.

        Without a vm_id: one more than the largest ever given out, or seen on any VM, template or
        snapshot, or in `taken` (number -> who bears it), or `floor`.
        """
        key, pool_id = parse_uuid(vm_uuid), parse_pool_id(pool_id)
        self._draft.taken.update(taken)
        if self._find_rows(key):
            return self._registered_just_so(key, pool_id, priority, vm_id)
        number = self._draft.next_number(floor) if vm_id is None else parse_vm_id(vm_id)
        now = self._now()
        self._draft.insert(RawVm(None, number, key, clean_name(vm_name), pool_id, int(priority),
                                 now, now))
        return Vm(number, key, clean_name(vm_name), pool_id, Priority(priority), now, now)

    def change_vm(self, vm_uuid: str, *, pool_id: Optional[str] = None,
                  priority: Optional[Priority] = None, vm_id: Optional[int] = None,
                  vm_name: Optional[str] = None,
                  taken: Mapping[int, str] = {}) -> Tuple[Vm, Vm]:
        """Change an assignment and give the VM before and after."""
        key = parse_uuid(vm_uuid)
        self._draft.taken.update(taken)
        before = self._valid_vm(key)
        after = before._replace(
            pool_id=before.pool_id if pool_id is None else parse_pool_id(pool_id),
            priority=before.priority if priority is None else Priority(priority),
            vm_id=before.vm_id if vm_id is None else parse_vm_id(vm_id),
            vm_name=before.vm_name if vm_name is None else clean_name(vm_name))
        return before, self._write(self._draft.find(key)[0], before, after)

    def put_vm(self, vm_uuid: str, *, vm_name: Optional[str] = None,
               pool_id: Optional[str] = None, priority: Optional[Priority] = None,
               vm_id: Optional[int] = None, taken: Mapping[int, str] = {},
               floor: int = 0) -> Vm:
        """Have a VM registered so, whatever its row says now: one that is faulty is mended."""
        key = parse_uuid(vm_uuid)
        found = self._find_rows(key)
        if not found:
            return self.add_vm(key, vm_name=vm_name, pool_id=pool_id or 'A',
                               priority=Priority.MEDIUM if priority is None else priority,
                               vm_id=vm_id, taken=taken, floor=floor)
        if len(found) == 1 and self._draft.fault_of(found[0]) is None:
            return self.change_vm(key, pool_id=pool_id, priority=priority, vm_id=vm_id,
                                  vm_name=vm_name, taken=taken)[1]
        for index in found[1:]:
            self._draft.remove(index)
        self._draft.taken.update(taken)
        before = vm_of(self._draft.get(found[0]))
        if vm_id is None and not MIN_VM_ID <= before.vm_id <= MAX_VM_ID:
            vm_id = self._draft.next_number(floor)
        return self._write(found[0], None, before._replace(
            vm_id=before.vm_id if vm_id is None else parse_vm_id(vm_id), vm_uuid=key,
            vm_name=before.vm_name if vm_name is None else clean_name(vm_name),
            pool_id=before.pool_id if pool_id is None else parse_pool_id(pool_id),
            priority=before.priority if priority is None else Priority(priority)))

    def remove_vm(self, vm_uuid: str) -> Vm:
        """Remove a VM's row, also one that is no assignment, by the text that `check` shows."""
        found = self._find_named(vm_uuid)
        first = self._draft.get(found[0])
        for index in found:
            self._draft.remove(index)
        return vm_of(first)

    def move_vm(self, vm_uuid: str, to_uuid: str, vm_name: Optional[str] = None) -> Tuple[Vm, Vm]:
        """Give another VM the row of this one, with all that other programs keep in it."""
        key, other = parse_uuid(vm_uuid), parse_uuid(to_uuid)
        before = self._valid_vm(key)
        if key == other:
            return before, before
        if self._draft.find(other):
            vm = vm_of(self._draft.get(self._draft.find(other)[0]))
            raise Conflict(f'VM {other} is registered itself, with vm_id {vm.vm_id}: remove that '
                           f"first with 'vgpu-admin remove-vm --vm-uuid={other}'")
        return before, self._write(self._draft.find(key)[0], before, before._replace(
            vm_uuid=other, vm_name=before.vm_name if vm_name is None else clean_name(vm_name)))

    # Many.

    def rename_vms(self, names: Mapping[str, str]) -> int:
        """Refresh names, and give the number of those that differed."""
        by_uuid = self.contents().by_uuid
        renamed = 0
        for vm_uuid, name in names.items():
            vm = by_uuid.get(vm_uuid.lower())
            if vm is not None and vm.vm_name != clean_name(name):
                self._write(self._draft.find(vm.vm_uuid)[0], vm,
                            vm._replace(vm_name=clean_name(name)))
                renamed += 1
        return renamed

    def keep_only(self, vm_uuids: FrozenSet[str]) -> None:
        """Remove every row but those of some VMs, faulty ones too."""
        for index, row in list(self._draft.list_present()):
            if row.key not in vm_uuids:
                self._draft.remove(index)

    def make_like(self, image: Image) -> None:
        """Make the registry what an image says. Faulty rows stay where nothing needs their place.

        A VM without a name keeps the one it has; names make no difference by themselves.
        """
        for pool in image.pools:
            self.change_pool(pool.pool_id, pool_name=pool.pool_name,
                             description=pool.description or '', enabled=pool.enabled)
        self._remove_unwanted(image)
        for vm in image.vms:
            if not self._has(vm):
                self.put_vm(vm.vm_uuid, vm_name=vm.vm_name, pool_id=vm.pool_id,
                            priority=vm.priority, vm_id=vm.vm_id)
        self._draft.largest = max(self._draft.largest, image.largest)

    def change_pool(self, pool_id: str, *, pool_name: Optional[str] = None,
                    description: Optional[str] = None,
                    enabled: Optional[bool] = None) -> Tuple[Pool, Pool]:
        """Change a vGPU pool and give it before and after; '' takes a description away."""
        before = self._pools[parse_pool_id(pool_id)]
        after = before._replace(
            pool_name=before.pool_name if pool_name is None else clean_name(pool_name) or '',
            description=before.description if description is None
            else clean_name(description) or None,
            enabled=before.enabled if enabled is None else bool(enabled))
        if settings_of(after) == settings_of(before):
            return before, before
        self._pools[pool_id] = after._replace(updated_at=self._now())
        return before, self._pools[pool_id]

    def accept(self) -> None:
        """Take over a file that our programs did not create; no row or default changes."""
        self._accepts = self._version < 1

    def claim_numbers(self, borne: Container[int] = ()) -> None:
        """Have rows hold the numbers that this edit gives them from the commit on (P10).

        For a caller who knows who else bears which number: one that is `borne` is not claimed.
        """
        self._borne = borne

    # What comes of it.

    def propose(self) -> Proposal:
        """Give what the edit does, as a value."""
        pools = find_pool_changes(self._pools_began, tuple(self._pools.values()))
        changes = self._draft.list_changes()
        return Proposal(Difference(changes, pools), self._draft.list_slots(),
                        self._began, self._pools_began, dict(self._draft.taken),
                        self._draft.largest, self._accepts, claims=self._list_claims(changes))

    def settle(self) -> Proposal:
        """Judge the whole by its end; give what is to be done."""
        for problem in self.find_conflicts().values():
            raise Conflict(problem)
        self.proposal = self.propose()
        return self.proposal

    def take(self, proposal: Proposal) -> None:
        """Do just what was proposed, to a registry that still says what it said."""
        proposal.refuse_changed(self._began, self._pools_began)
        self._draft.take(proposal.slots)
        self._draft.taken.update(proposal.taken)
        self._draft.largest = max(self._draft.largest, proposal.largest)
        for change in proposal.difference.pools:
            self._pools[change.after.pool_id] = change.after
        self._accepts = proposal.accepts
        self._claims = proposal.claims

    def _list_claims(self, changes: Sequence[RowChange]) -> Tuple[int, ...]:
        if self._borne is None:
            return self._claims
        return tuple(row.after.vm_id for row in changes if row.after is not None and (
            row.before is None or row.what == MOVED or row.before.vm_id != row.after.vm_id)
            and row.after.vm_id not in self._borne)

    def _write(self, index: int, before: Optional[Vm], after: Vm) -> Vm:
        if after == before:
            return after
        after = after._replace(updated_at=self._now())
        self._draft.write(index, after)
        return after

    def _has(self, vm: Vm) -> bool:
        """Whether there is just this assignment, in one valid row."""
        found = self._draft.find(vm.vm_uuid)
        if len(found) != 1 or self._draft.fault_of(found[0]) is not None:
            return False
        there = vm_of(self._draft.get(found[0]))
        return (there.vm_id, there.pool_id, there.priority) == (vm.vm_id, vm.pool_id, vm.priority)

    def _remove_unwanted(self, image: Image) -> None:
        wanted = {vm.vm_uuid for vm in image.vms}
        numbers = {vm.vm_id for vm in image.vms}
        for index, row in list(self._draft.list_present()):
            if row.key in wanted:
                continue
            bare = strip_uuid(row.key)
            is_mended = bare in wanted and not self._draft.find(bare)
            if self._draft.fault_of(index) is None or row.vm_id in numbers and not is_mended:
                self._draft.remove(index)

    def _find_named(self, text: str) -> List[int]:
        try:
            key = parse_uuid(text)
        except InvalidValue:
            found = self._draft.find_text(text)
            if not found:
                raise
            return found
        found = self._find_rows(key)
        if not found:
            raise NotFound(f"VM {key} is not registered; see 'vgpu-admin list-vms'")
        return found

    def _find_rows(self, key: str) -> List[int]:
        """The rows of a VM; one that has something around its UUID counts where no other does."""
        return self._draft.find(key) or self._draft.find_strays(key)

    def _valid_vm(self, key: str) -> Vm:
        found = self._find_rows(key)
        if not found:
            raise _not_registered(key)
        for index in found:
            fault = self._draft.fault_of(index)
            if fault is not None:
                raise Conflict(
                    f'VM {key}: its row is not valid ({fault}); remove it with '
                    f"'vgpu-admin remove-vm --vm-uuid={key}', then register the VM again")
        return vm_of(self._draft.get(found[0]))

    def _registered_just_so(self, key: str, pool_id: str, priority: Priority,
                            vm_id: Optional[int]) -> Vm:
        vm = self._valid_vm(key)
        if (vm.pool_id, vm.priority) == (pool_id, priority) and vm_id in (None, vm.vm_id):
            return vm
        name = f'{vm.vm_name} ({vm.vm_uuid})' if vm.vm_name else f'VM {vm.vm_uuid}'
        raise Conflict(
            f'{name} is registered with pool {vm.pool_id}, priority {vm.priority.word}, '
            f"vm_id {vm.vm_id}; change that with 'vgpu-admin update-vm'")


def _not_registered(key: str) -> NotFound:
    return NotFound(f"VM {key} is not registered; see 'vgpu-admin list-vms', or register "
                    f"it with 'vgpu-admin register-vm --vm-uuid={key}'")
