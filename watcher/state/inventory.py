"""What the daemon knows of XAPI's VMs: the record read last, since when at rest, whose number.

Stands between the event stream and the decision. It takes every record that arrives and answers
questions about all of them; it decides nothing and writes nothing. Times are seconds on the
monotonic clock, handed in by the caller.
"""

from typing import Any, Dict, FrozenSet, Iterable, Mapping, NamedTuple, Optional, Set, Tuple

from watcher.vm.plan import Policy, Standing
from watcher.vm.record import VmKind, VmRecord


class Claim(NamedTuple):
    """A number and since when a VM has it; sequences order claims of different VMs."""
    vm_id: int
    sequence: int


class Inventory:
    """The VM records read last, with what follows from having seen them over time."""

    def __init__(self) -> None:
        self._vms: Dict[str, VmRecord] = {}
        self._refs: Dict[str, str] = {}
        self._rest_since: Dict[str, float] = {}
        self._shown_at: Dict[str, float] = {}
        self._numbers: Dict[str, int] = {}
        self._carriers: Dict[int, Set[str]] = {}
        self.version = object()
        """Another object whenever a record was taken or dropped."""
        self.aside: Set[str] = set()
        """Refs whose newest record cannot be understood: known, and left alone until it can."""
        self.moves = 0
        """How often a VM has come to carry another number."""

    def __len__(self) -> int:
        return len(self._vms)

    @property
    def vms(self) -> Iterable[VmRecord]:
        """All records."""
        return self._vms.values()

    def find(self, ref: str) -> Optional[VmRecord]:
        """The record of a ref."""
        return self._vms.get(ref)

    def find_by_uuid(self, vm_uuid: str) -> Optional[VmRecord]:
        """The record of a UUID."""
        return self._vms.get(self._refs.get(vm_uuid, ''))

    def number_of(self, ref: str) -> Optional[int]:
        """The vm_id that the VM carries in its args."""
        return self._numbers.get(ref)

    def carriers_of(self, vm_id: int) -> FrozenSet[str]:
        """The refs of ordinary VMs that carry a number."""
        return frozenset(self._carriers.get(vm_id, ()))

    def rested_seconds(self, ref: str, now: float) -> float:
        """For how long the VM has been at rest as far as we know; 0.0 when it is not."""
        since = self._rest_since.get(ref)
        return 0.0 if since is None else now - since

    def precedence_of(self, vm: VmRecord, now: float) -> Tuple[bool, float]:
        """Sorts VMs: those first that start, then those that rested longest."""
        return not vm.is_starting, -self.rested_seconds(vm.ref, now)

    def is_newer(self, vm: VmRecord, began_at: float) -> bool:
        """Whether a record asked for at that time is no older than the one that we have."""
        return began_at >= self._shown_at.get(vm.ref, began_at) or vm == self._vms.get(vm.ref)

    def update(self, vm: VmRecord, policy: Policy, now: float) -> Optional[VmRecord]:
        """Take the newest record of a VM; return the one before."""
        before = self._vms.get(vm.ref)
        self.version = object()
        self.aside.discard(vm.ref)
        self._shown_at[vm.ref] = now
        self._note_rest(before, vm, now)
        if before is not None and before.uuid != vm.uuid:
            # An import shows its VM first under a fresh UUID and then under the real one.
            self._forget_uuid(before)
        self._vms[vm.ref] = vm
        self._refs[vm.uuid] = vm.ref
        if before is None or (before.args, before.kind) != (vm.args, vm.kind):
            self._note_number(vm, policy)
        return before

    def drop(self, ref: str) -> Optional[VmRecord]:
        """Forget a VM that is gone; return its last record."""
        vm = self._vms.pop(ref, None)
        self.version = object()
        self.aside.discard(ref)
        if vm is not None:
            self._forget_uuid(vm)
        self._rest_since.pop(ref, None)
        self._shown_at.pop(ref, None)
        self._set_number(ref, None)
        return vm

    def renumber(self, policy: Policy) -> None:
        """Read all numbers again, after the device's names or template have changed."""
        self.version = object()
        for vm in self._vms.values():
            self._note_number(vm, policy)

    def restart_rest(self, now: float) -> None:
        """After an interruption nothing is known of what happened meanwhile: count afresh."""
        for ref in self._rest_since:
            self._rest_since[ref] = now

    def _note_rest(self, before: Optional[VmRecord], vm: VmRecord, now: float) -> None:
        if not vm.is_at_rest:
            self._rest_since.pop(vm.ref, None)
        elif (before is None or vm.ref not in self._rest_since
              or (before.uuid, before.kind) != (vm.uuid, vm.kind)):
            self._rest_since[vm.ref] = now

    def _note_number(self, vm: VmRecord, policy: Policy) -> None:
        number = policy.number_of(vm) if vm.args is not None else None
        self._set_number(vm.ref, number, is_carrier=vm.kind is VmKind.VM)

    def _set_number(self, ref: str, number: Optional[int], is_carrier: bool = False) -> None:
        before = self._numbers.pop(ref, None)
        self.moves += before != number
        if before is not None:
            self._carriers.get(before, set()).discard(ref)
            if not self._carriers.get(before):
                self._carriers.pop(before, None)
        if number is not None:
            self._numbers[ref] = number
            if is_carrier:
                self._carriers.setdefault(number, set()).add(ref)

    def _forget_uuid(self, vm: VmRecord) -> None:
        if self._refs.get(vm.uuid) == vm.ref:
            del self._refs[vm.uuid]


def stands_by(vm: VmRecord) -> Tuple[Any, ...]:
    """What in a record decides how other VMs stand: what it carries, and whether that runs."""
    return vm.args, vm.kind, vm.uuid, vm.power_state, vm.is_at_rest, vm.resident_on


def find_standing(vm: VmRecord, number: Optional[int], claims: Mapping[int, int],
                  is_owned: bool, bearers: Mapping[str, Claim],
                  orphans: FrozenSet[str]) -> Standing:
    """How an unregistered VM stands to the row that has the number it carries (P10, P12).

    `claims` are the places of the rows' numbers in the sequence. Who was first is not known of a
    row without one: then neither VM is changed.
    """
    if vm.uuid in orphans:
        return Standing.ORPHAN
    if number is None or not is_owned:
        return Standing.CLEAR
    claimed, borne = claims.get(number), bearers.get(vm.uuid)
    if claimed is None:
        return Standing.CONTESTED
    bore_before = borne is not None and borne.vm_id == number and borne.sequence < claimed
    return Standing.CONTESTED if bore_before else Standing.COPY
