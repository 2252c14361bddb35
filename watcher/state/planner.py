"""Decides about one VM by all that is known: one assessment, for the daemon and for vgpu-admin.

The decision itself is pure (`watcher/vm/plan.py`); what it rests on is fetched here.
"""

from typing import Callable, Optional, Tuple

from watcher.state.number_claims import NumberClaims
from watcher.state.registry_view import RegistryView
from watcher.vm.hazards import Danger, find_dangers
from watcher.vm.plan import Action, Plan, PlanReason, State, plan_restore, plan_vm
from watcher.vm.record import VmKind, VmRecord


class Planner:
    """Assesses VMs.

    `find_left` gives the whole value that a version before 0.2 took away and that belongs back.
    """

    def __init__(self, view: RegistryView, number_claims: NumberClaims, *,
                 find_left: Callable[[VmRecord], Optional[str]],
                 is_fought_over: Callable[[VmRecord], bool]) -> None:
        self._view = view
        self._number_claims = number_claims
        self._find_left = find_left
        self._is_fought_over = is_fought_over

    def assess(self, vm: VmRecord) -> Optional[Plan]:
        """What is to be done about the VM; None while the registry or its row cannot be read."""
        policy = self._number_claims.policy
        assignment = self._view.assignments.get(vm.uuid)
        is_known = self._view.is_available and vm.uuid not in self._view.faulty
        left = self._find_left(vm) if vm.kind is VmKind.VM else None
        if left is not None:
            return plan_restore(vm, left, assignment, policy, is_known=is_known)
        if not is_known:
            return None
        plan = plan_vm(vm, assignment, self._number_claims.find(vm), policy,
                       self._number_claims.find_beside(vm))
        if plan.action is not Action.NONE and self._is_fought_over(vm):
            plan = plan._replace(reason=PlanReason.FOUGHT_OVER, state=State.FOUGHT_OVER)
        return plan

    def find_dangers(self, vm: VmRecord) -> Tuple[Danger, ...]:
        """What threatens the VM, and nothing of ours can prevent."""
        return find_dangers(vm, self._number_claims.find_numbers(vm),
                            self._number_claims.find_having, self._view.owners.get)
