"""The decision: what to do about one VM, and why.

`plan_vm` looks at one VM record, its assignment and its standing among those that carry numbers,
and says what should happen now. `docs/decision-table.md` shows every combination and is checked
against this module. When in doubt the answer is: leave the VM as it is and say so.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from watcher.vm.device_args import (MAX_VALUE, Reading, Template, mentions, merge, parse_args,
                                    parse_number, render_span)
from watcher.vm.record import VmKind, VmRecord

# XAPI writes to the map itself within 25 ms after the power state: what removes or replaces
# begins this long after the VM was first seen at rest (P7).
SETTLE_SECONDS = 0.06


class Action(enum.Enum):
    """What to do with platform:device-model-args."""
    NONE = 'none'
    ADD = 'add'
    """The key is absent: one call adds it, at once, also while the VM starts."""
    REMOVE = 'remove'
    """Nothing but our span is in the value: one call removes the key, at rest."""
    REPLACE = 'replace'
    """The value shall be another: one call writes the whole platform map, at rest."""


class State(enum.Enum):
    """What an administrator is shown."""
    AS_DESIRED = 'as_desired'
    PENDING = 'pending'
    DRIFT = 'drift'
    UNREGISTERED = 'unregistered'
    MANUAL = 'manual'
    DOUBLED = 'doubled'
    CONTESTED = 'contested'
    ORPHANED = 'orphaned'
    UNREADABLE = 'unreadable'
    WAITS_FOR_XAPI = 'waits_for_xapi'
    """Its next start completes the platform map first; then the value is replaced."""
    NO_QEMU = 'no_qemu'
    FOUGHT_OVER = 'fought_over'
    """Another program keeps changing what we write (fights.py)."""


class Standing(enum.Enum):
    """How a VM stands to the numbers that others carry (P10, P12); found by number_claims.py."""
    CLEAR = 'clear'
    CONTESTED = 'contested'
    """Registered: an unregistered VM bore the number before. Unregistered: it is that VM."""
    COPY = 'copy'
    """Unregistered: began to carry a row's number after that row was committed with it."""
    ORPHAN = 'orphan'
    """Unregistered: its row was deleted and our span is still there."""


class PlanReason(enum.Enum):
    """Why the plan is what it is."""
    NOT_ORDINARY = 'not_an_ordinary_vm'
    UNREADABLE = 'value_not_readable'
    TOO_LONG = 'value_would_be_too_long'
    NUMBER_CONTESTED = 'number_contested'
    AS_DESIRED = 'as_desired'
    SPAN_MISSING = 'span_missing'
    SPAN_DIFFERS = 'span_differs'
    POOL_DISABLED = 'pool_disabled'
    NOT_AT_REST = 'not_at_rest'
    HALTED_RESIDENT = 'halted_but_resident'
    PLATFORM_UNSETTLED = 'platform_unsettled'
    NO_QEMU = 'no_qemu'
    FOUGHT_OVER = 'fought_over'
    NOT_ACCEPTED = 'registry_not_accepted'
    ROW_DELETED = 'row_deleted'
    NUMBER_COPIED = 'number_copied'
    COPY_BLOCKED = 'copy_blocked'
    NUMBER_HELD = 'number_held'
    MANUAL_ARGS = 'manual_args'
    INTERRUPTED = 'replacement_interrupted'
    NOT_REGISTERED = 'not_registered'


class Assignment(NamedTuple):
    """What the registry says of one VM."""
    vm_uuid: str
    vm_id: int
    pool_id: str
    priority: int
    is_pool_enabled: bool = True


class Policy(NamedTuple):
    """What holds for all VMs alike."""
    template: Template
    names: FrozenSet[str]
    is_accepted: bool = True
    """False for a registry of others that was not taken over: spans are added, nothing else."""

    def read(self, vm: VmRecord) -> Reading:
        """Find our spans in what the VM carries."""
        return parse_args(vm.args, self.names)

    def number_of(self, vm: VmRecord) -> Optional[int]:
        """The vm_id that the VM carries; None when it carries none."""
        return parse_number(self.read(vm), self.template)


class Beside(NamedTuple):
    """What a decision needs to know besides the VM's record and its row; see number_claims.py."""
    holder: Optional[str] = None
    """The UUID of another VM that has the row's number: it cannot be staged yet (P10)."""
    interim: Optional[int] = None
    """The number that the VM has until then; None: none."""
    runs: Optional[FrozenSet[Optional[str]]] = None
    """Our spans in what the VM's QEMU has, or may have; None while none runs (P6)."""
    removed: Optional[str] = None
    """What was removed from the VM: properties set by hand come back from it."""
    owner: Optional[str] = None
    """Of an unregistered VM: the UUID of the row that has the number it carries."""
    is_blocked_by_others: bool = False
    """Others keep the VM from starting, as XO does with its replicas."""


class Plan(NamedTuple):
    """What to do about one VM, and why."""
    action: Action
    reason: PlanReason
    state: State
    vm: VmRecord
    value: Optional[str] = None
    """The whole new value; None when the key goes away or nothing is done."""
    desired: Optional[str] = None
    """The desired span; None when nothing of ours belongs there."""
    carried: Optional[str] = None
    """The spans of ours that the value holds now."""
    stage: Optional[str] = None
    """The span that belongs there now: the desired one, or that with an interim number."""
    holder: Optional[str] = None
    """The UUID of the VM that keeps this one from its number."""
    runs: Optional[FrozenSet[Optional[str]]] = None
    """Our spans in what its QEMU has, or may have; None while none runs."""
    owner: Optional[str] = None
    """Of an unregistered VM: the UUID of the row that has its number."""
    is_rescue: bool = False
    """The VM is starting: the absent key is added at once (P3)."""


def plan_vm(vm: VmRecord, assignment: Optional[Assignment], standing: Standing,
            policy: Policy, beside: Beside = Beside()) -> Plan:
    """Decide what to do about one VM."""
    reading = policy.read(vm)
    plan = Plan(Action.NONE, PlanReason.NOT_ORDINARY, State.UNREGISTERED, vm,
                carried=reading.managed, runs=beside.runs, owner=beside.owner)
    if vm.kind is not VmKind.VM:
        return plan
    if assignment is None:
        return _plan_unregistered(plan, reading, standing, policy, beside)
    return _plan_registered(plan, reading, assignment, standing, policy, beside)


def plan_restore(vm: VmRecord, saved: Optional[str], assignment: Optional[Assignment],
                 policy: Policy, *, is_known: bool = True) -> Plan:
    """Bring back a value that a version before 0.2 removed and did not add again (P16).

    `saved` is the whole value from the journal, foreign text included. The key is absent now:
    one call adds what `saved` would be if it stood there and were made right. While the row is not
    known (`is_known` false) it comes back whole, as it was.
    """
    if not is_known:
        assignment, policy = None, policy._replace(is_accepted=False)
    as_if = vm._replace(args=saved)
    plan = plan_vm(as_if, assignment, Standing.ORPHAN, policy)._replace(vm=vm, carried=None)
    value = saved if plan.action is Action.NONE else plan.value
    if not (vm.is_at_rest or vm.is_starting):
        return plan._replace(action=Action.NONE, reason=PlanReason.NOT_AT_REST, state=State.PENDING)
    if value is None:
        return plan._replace(action=Action.NONE, reason=PlanReason.INTERRUPTED, value=None)
    # What would be right if it stood there is not there yet.
    state = State.DRIFT if plan.state is State.AS_DESIRED else plan.state
    return plan._replace(action=Action.ADD, reason=PlanReason.INTERRUPTED, state=state, value=value,
                         is_rescue=vm.is_starting)


def render_desired(reading: Reading, assignment: Assignment, policy: Policy,
                   removed: Optional[str]) -> Optional[str]:
    """The span that the assignment asks for; None while its vGPU pool is disabled.

    Properties set by hand are those that stand there, or that stood in what was removed.
    """
    if not assignment.is_pool_enabled:
        return None
    if removed is not None and not reading.spans:
        reading = parse_args(removed, policy.names)
    rendered = policy.template.render(assignment.pool_id, assignment.priority, assignment.vm_id)
    return render_span(reading, rendered, policy.template)


def list_numbers(vms: Iterable[VmRecord], policy: Policy) -> Tuple[Tuple[VmRecord, int], ...]:
    """Each VM record (of any kind) that carries a number, with it."""
    found: List[Tuple[VmRecord, int]] = []
    for vm in vms:
        number = policy.number_of(vm) if vm.args else None
        if number is not None:
            found.append((vm, number))
    return tuple(found)


def _plan_registered(plan: Plan, reading: Reading, assignment: Assignment, standing: Standing,
                     policy: Policy, beside: Beside) -> Plan:
    desired = render_desired(reading, assignment, policy, beside.removed)
    plan = plan._replace(desired=desired, stage=desired)
    if not plan.vm.has_qemu:
        return plan._replace(reason=PlanReason.NO_QEMU, state=State.NO_QEMU)
    if reading.problem:
        return plan._replace(reason=PlanReason.UNREADABLE, state=State.UNREADABLE,
                             carried=plan.vm.args)
    if standing is Standing.CONTESTED:
        return plan._replace(reason=PlanReason.NUMBER_CONTESTED, state=State.CONTESTED)
    if beside.holder is not None and desired is not None:
        plan = plan._replace(holder=beside.holder, stage=_render_interim(
            reading, assignment, policy, beside))
    value = merge(reading, plan.stage)
    if value == plan.vm.args:
        return _plan_unchanged(plan)
    reason = (PlanReason.NUMBER_HELD if plan.holder is not None and plan.stage is None else
              _reason_to_change(reading, plan.stage))
    planned = _plan_change(plan, reading, value, reason, policy)
    is_waiting = planned.holder is not None and planned.state is State.DRIFT
    return planned._replace(state=State.PENDING) if is_waiting else planned


def _render_interim(reading: Reading, assignment: Assignment, policy: Policy,
                    beside: Beside) -> Optional[str]:
    """The new pool and priority with the number that the VM has until its own is free."""
    if beside.interim is None:
        return None
    return render_desired(reading, assignment._replace(vm_id=beside.interim), policy,
                          beside.removed)


def _plan_unchanged(plan: Plan) -> Plan:
    """The record carries what belongs there now: the rest is a matter of what runs."""
    if plan.holder is not None:
        return plan._replace(reason=PlanReason.NUMBER_HELD, state=State.PENDING)
    if plan.runs is not None and plan.runs != {plan.desired}:
        return plan._replace(reason=PlanReason.NOT_AT_REST, state=State.PENDING)
    return plan._replace(reason=PlanReason.AS_DESIRED, state=State.AS_DESIRED)


def _reason_to_change(reading: Reading, desired: Optional[str]) -> PlanReason:
    if desired is None:
        return PlanReason.POOL_DISABLED
    return PlanReason.SPAN_DIFFERS if reading.spans else PlanReason.SPAN_MISSING


def _plan_change(plan: Plan, reading: Reading, value: Optional[str], reason: PlanReason,
                 policy: Policy) -> Plan:
    """A registered VM carries something else than it should."""
    vm = plan.vm
    if value is not None and len(value) > MAX_VALUE:
        return plan._replace(reason=PlanReason.TOO_LONG, state=State.UNREADABLE)
    action = _action_for(vm.args, value)
    if not (vm.is_at_rest or (vm.is_starting and action is Action.ADD)):
        return plan._replace(reason=_reason_to_wait(vm), state=State.PENDING)
    if reading.spans and not policy.is_accepted:
        return plan._replace(reason=PlanReason.NOT_ACCEPTED, state=State.DRIFT)
    if action is Action.REPLACE and vm.settles_platform:
        return plan._replace(reason=PlanReason.PLATFORM_UNSETTLED, state=State.WAITS_FOR_XAPI)
    return plan._replace(action=action, reason=reason, state=State.DRIFT, value=value,
                         is_rescue=vm.is_starting)


def _reason_to_wait(vm: VmRecord) -> PlanReason:
    return PlanReason.HALTED_RESIDENT if vm.is_halted_resident else PlanReason.NOT_AT_REST


def _plan_unregistered(plan: Plan, reading: Reading, standing: Standing, policy: Policy,
                       beside: Beside) -> Plan:
    if reading.problem and mentions(reading.value, policy.names):
        return plan._replace(reason=PlanReason.UNREADABLE, state=State.UNREADABLE,
                             carried=plan.vm.args)
    if not reading.spans:
        return plan._replace(reason=PlanReason.NOT_REGISTERED)
    if standing is Standing.ORPHAN:
        return _plan_removal(plan._replace(state=State.ORPHANED), reading, PlanReason.ROW_DELETED,
                             policy)
    if standing is Standing.COPY and beside.is_blocked_by_others:
        return plan._replace(state=State.DOUBLED, reason=PlanReason.COPY_BLOCKED)
    if standing is Standing.COPY:
        return _plan_removal(plan._replace(state=State.DOUBLED), reading, PlanReason.NUMBER_COPIED,
                             policy)
    if standing is Standing.CONTESTED:
        return plan._replace(reason=PlanReason.NUMBER_CONTESTED, state=State.CONTESTED)
    return plan._replace(reason=PlanReason.MANUAL_ARGS, state=State.MANUAL)


def _plan_removal(plan: Plan, reading: Reading, reason: PlanReason, policy: Policy) -> Plan:
    """Our span goes from an unregistered VM, at rest only: its start is not promised."""
    if not plan.vm.is_at_rest:
        return plan._replace(reason=_reason_to_wait(plan.vm))
    if not policy.is_accepted:
        return plan._replace(reason=PlanReason.NOT_ACCEPTED)
    value = merge(reading, None)
    action = _action_for(plan.vm.args, value)
    if action is Action.REPLACE and plan.vm.settles_platform:
        return plan._replace(reason=PlanReason.PLATFORM_UNSETTLED)
    return plan._replace(action=action, reason=reason, value=value)


def _action_for(before: Optional[str], after: Optional[str]) -> Action:
    if before is None:
        return Action.ADD
    return Action.REMOVE if after is None else Action.REPLACE
