"""Who bears which number, and how VMs stand to each other by it (P10, P12).

A number has one owner, the VM whose row has it. Others may carry it all the same: a copy, which
loses it, or somebody who bore it before, whom nobody touches. The journal remembers who began
when; this module keeps it up to date with what XAPI shows, and answers for one VM at a time.
"""

from typing import Any, Callable, Iterable, List, Optional, Tuple

from registry.journal import Bearer, Journal
from watcher.books import Books
from watcher.inventory import Inventory, find_standing
from watcher.plan import Policy, Standing
from watcher.records import Kind, VmRecord


class Standings:
    """The claims of all VMs on numbers."""

    def __init__(self, books: Books, inventory: Inventory,
                 write: Callable[[Callable[[Journal], Any]], None]) -> None:
        self._books = books
        self._inventory = inventory
        self._write = write

    def find(self, vm: VmRecord) -> Standing:
        """How the VM stands to those that carry the same number."""
        assignment = self._books.assignments.get(vm.uuid)
        if assignment is None:
            return self._find_unregistered(vm)
        others = (self._inventory.find(ref)
                  for ref in self._inventory.carriers_of(assignment.vm_id))
        is_contested = any(other is not None and other.uuid not in self._books.assignments
                           and self._find_unregistered(other) is Standing.CONTESTED
                           for other in others)
        return Standing.CONTESTED if is_contested else Standing.CLEAR

    def note_all(self, *, is_complete: bool = True) -> None:
        """Hold every bearer that the journal knows against what XAPI shows.

        Unless all could be read: then nobody is forgotten.
        """
        self.note(tuple(self._inventory.vms))
        for vm_uuid in tuple(self._books.bearers) if is_complete else ():
            if self._inventory.find_by_uuid(vm_uuid) is None:
                self._forget(vm_uuid)

    def note(self, vms: Iterable[VmRecord]) -> Tuple[VmRecord, ...]:
        """Note what the records show; those that began or ceased to bear a number."""
        changed: List[VmRecord] = []
        for vm in vms:
            if vm.kind is Kind.CONTROL_DOMAIN:
                continue
            is_registered = vm.uuid in self._books.assignments
            number = None if is_registered else self._inventory.number_of(vm.ref)
            claim = self._books.bearers.get(vm.uuid)
            known = (claim.vm_id, self._books.bearer_kinds.get(vm.uuid)) if claim else None
            if known != (None if number is None else (number, vm.kind.value)):
                self._note(vm, number)
                changed.append(vm)
        return tuple(changed)

    def note_gone(self, vm: VmRecord) -> None:
        """The VM does not exist any more, unless another record has its UUID by now."""
        if vm.uuid in self._books.bearers and self._inventory.find_by_uuid(vm.uuid) is None:
            self._forget(vm.uuid)

    def list_peers(self, vm: VmRecord, policy: Policy) -> Tuple[str, ...]:
        """The refs of those that may stand differently when this VM changes or goes."""
        assignment = self._books.assignments.get(vm.uuid)
        peers = set()
        for number in (policy.number_of(vm), assignment.vm_id if assignment else None):
            if number is not None:
                peers |= self._inventory.carriers_of(number)
                owner = self._inventory.find_by_uuid(self._books.owners.get(number, ''))
                peers |= {owner.ref} if owner is not None else set()
        return tuple(peers - {vm.ref})

    def _find_unregistered(self, vm: VmRecord) -> Standing:
        number = self._inventory.number_of(vm.ref)
        return find_standing(vm, number, self._find_owner(number), self._books.staged,
                             self._books.bearers, self._books.orphans)

    def _find_owner(self, number: Optional[int]) -> Optional[str]:
        """The registered VM that has the number; a row without a VM owns nothing."""
        owner = self._books.owners.get(number) if number is not None else None
        vm = self._inventory.find_by_uuid(owner) if owner is not None else None
        return owner if vm is not None and vm.kind is Kind.VM else None

    def _note(self, vm: VmRecord, number: Optional[int]) -> None:
        if number is None:
            self._forget(vm.uuid)
            return
        self._books.note_bearer(vm.uuid, number, vm.kind.value)
        bearer = Bearer(vm.uuid, vm.name, number, vm.kind.value)
        self._write(lambda journal: journal.note_bearers([bearer]))

    def _forget(self, vm_uuid: str) -> None:
        self._books.note_bearer(vm_uuid, None, '')
        self._write(lambda journal: journal.note_bearers([], [vm_uuid]))
