"""What was staged where, and what was removed: kept in memory and in the journal.

The last number that was in place at a VM is the one that it keeps until that of its row is free
(P10); the last span is what a boot may have taken while a change waits (P20).
"""

from typing import Any, Callable, FrozenSet

from registry.journal.journal import Journal
from registry.journal.numbers import Written
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.registry_view import RegistryView
from watcher.vm.numbers import find_numbers, is_live
from watcher.vm.plan import Action, Plan, Policy, State
from watcher.vm.record import VmKind, VmRecord

_IN_PLACE = (State.AS_DESIRED, State.PENDING)


class StagedRecord:
    """Keeps the journal up to date with what is in place."""

    def __init__(self, view: RegistryView, inventory: Inventory, number_claims: NumberClaims,
                 write: Callable[[Callable[[Journal], Any]], None]) -> None:
        self._view = view
        self._inventory = inventory
        self._number_claims = number_claims
        self._write = write

    def note_state(self, plan: Plan, policy: Policy) -> None:
        """Note what a VM has in place, when it is known that its next start takes it."""
        vm = plan.vm
        if vm.kind is not VmKind.VM:
            return
        if vm.uuid not in self._view.assignments:
            if vm.uuid in self._view.orphans and vm.is_at_rest and plan.carried is None \
                    and plan.state is State.UNREGISTERED:
                self._forget_orphan(vm.uuid)
            if vm.is_at_rest and not self._number_claims.is_unproven(vm.uuid):
                self._forget_written(vm.uuid)
        elif is_live(vm):
            # Of a contested number no stop and start brings what the VM lacks: nothing is pending.
            if plan.state is not State.CONTESTED:
                self._note_rested_with(vm, plan.carried or '')
        elif (plan.action is Action.NONE and plan.state in _IN_PLACE
              and plan.carried == plan.stage and not self._number_claims.is_unproven(vm.uuid)):
            self._note_place(plan, policy)

    def note_writing(self, plan: Plan, policy: Policy) -> None:
        """Before XAPI is called: what stands there, and what shall.

        When we are killed, the next daemon knows by it what a start may have taken.
        """
        vm = plan.vm
        written = Written(vm.uuid, policy.read(vm).managed or '',
                          policy.read(vm._replace(args=plan.value)).managed or '')
        known = self._view.written.get(vm.uuid)
        if plan.is_rescue:
            self._note_rested_with(vm, written.before)
        elif known is not None and known.value == written.before:
            # The write before is in place; its row has changed again.
            self._note_value(vm.uuid, written.before, policy)
        self._view.written[vm.uuid] = written
        self._write(lambda journal: journal.note_writing(written))

    def note_unsent(self, plan: Plan) -> None:
        """Nothing was sent: what stood there stands there."""
        self._forget_written(plan.vm.uuid)

    def note_written(self, plan: Plan) -> None:
        """Keep our arguments that were removed: they come back, properties included (P10)."""
        if plan.carried is not None and plan.stage is None:
            vm_uuid, value = plan.vm.uuid, plan.carried
            self._view.removed[vm_uuid] = value
            self._write(lambda journal: journal.note_removed(vm_uuid, value))

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """The first batch names every VM: what is noted of others, and has no row, is no use."""
        for vm_uuid in set(self._view.staged) - known - set(self._view.assignments):
            self._forget(vm_uuid)
        for vm_uuid in set(self._view.written) - known:
            self._forget_written(vm_uuid)

    def _note_rested_with(self, vm: VmRecord, value: str) -> None:
        """A VM that got its row while it ran rested last with what it carries."""
        if vm.uuid not in self._view.staged and vm.uuid not in self._view.written:
            self._note(vm.uuid, self._inventory.number_of(vm.ref) or 0, value)

    def _note_place(self, plan: Plan, policy: Policy) -> None:
        vm_uuid = plan.vm.uuid
        if plan.holder is None:
            self._number_claims.claim(vm_uuid)
        self._note_value(vm_uuid, plan.carried or '', policy)
        self._forget_written(vm_uuid)
        if plan.carried is not None and vm_uuid in self._view.removed:
            del self._view.removed[vm_uuid]
            self._write(lambda journal: journal.forget_removed(vm_uuid))

    def _note_value(self, vm_uuid: str, value: str, policy: Policy) -> None:
        numbers = find_numbers([value], policy)
        before = self._view.staged.get(vm_uuid)
        # Without a number in place, the last one stays the VM's own.
        vm_id = min(numbers) if numbers else before.vm_id if before is not None else 0
        self._note(vm_uuid, vm_id, value)

    def _note(self, vm_uuid: str, vm_id: int, value: str) -> None:
        claim = self._view.staged.get(vm_uuid)
        if claim is not None and claim.vm_id == vm_id \
                and self._view.staged_values.get(vm_uuid) == value:
            return
        self._leave(vm_uuid, vm_id)
        self._view.note_staged(vm_uuid, vm_id, value)
        self._number_claims.forget_answers()
        self._write(lambda journal: journal.note_staged(vm_uuid, vm_id, value))

    def _forget_written(self, vm_uuid: str) -> None:
        if self._view.written.pop(vm_uuid, None) is not None:
            self._write(lambda journal: journal.forget_written(vm_uuid))

    def _leave(self, vm_uuid: str, vm_id: int = 0) -> None:
        """The VM rests with this number now, or with none: others may wait for the one before."""
        claim = self._view.staged.get(vm_uuid)
        if claim is not None and claim.vm_id != vm_id:
            self._number_claims.note_left(claim.vm_id)

    def _forget(self, vm_uuid: str) -> None:
        self._leave(vm_uuid)
        self._view.forget_staged(vm_uuid)
        self._number_claims.forget_answers()
        self._write(lambda journal: journal.forget_staged(vm_uuid))

    def _forget_orphan(self, vm_uuid: str) -> None:
        self._view.forget_orphan(vm_uuid)
        self._write(lambda journal: journal.forget_orphan(vm_uuid))
        self._forget(vm_uuid)
