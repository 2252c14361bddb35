"""What the daemon says of its files and of VMs that need a word, each change once."""

import time
from typing import Any, Callable, Dict, FrozenSet, Optional, Tuple

from registry.errors import Reason
from registry.sqlite.timestamps import render_timestamp
from watcher.errors import MalformedRecord, find_kind
from watcher.runtime.line_damper import Damper
from watcher.runtime.logs import RateLimiter, get_logger
from watcher.staging.injector import Outcome
from watcher.state.planner import Planner
from watcher.state.registry_view import WHO, RegistryView, Change
from watcher.vm.device_args import parse_args
from watcher.vm.plan import Action, Plan, PlanReason, State
from watcher.vm.record import VmKind, VmRecord
from watcher.xapi.role import Role

# So long may the mirror take to make a registry that was never there.
_HEALS_SECONDS = 2.0
_WORTH_SAYING = frozenset([State.CONTESTED, State.UNREADABLE, State.DOUBLED, State.DRIFT,
                           State.ORPHANED, State.WAITS_FOR_XAPI, State.NO_QEMU])
_RESIDENT_HINT = ('see on that host that no domain of it runs (list_domains), then: '
                  'xe vm-reset-powerstate uuid=%s --force')

_COPY_HINT = ("'vgpu-admin register-vm --vm-uuid=%s' gives it a number of its own, 'vgpu-admin "
              "transfer-vm --from=%s --to=%s' the row")


class DaemonNotices:
    """Tells what becomes of registry and journal, and which records and VMs are lost."""

    def __init__(self, view: RegistryView, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._lines = Damper()
        self._journal_problem = ''
        self._faulty: FrozenSet[str] = frozenset()
        self._unsaid: Optional[Tuple[Change, float]] = None
        """A registry that was never there, and since when it is missed."""

    def tell(self, change: Change) -> None:
        """Say what a look at the registry has found."""
        view = self._view
        change = self._hold_back(change)
        if change.became_unavailable:
            get_logger().error('registry.unavailable', path=view.path, reason=change.reason,
                               error=change.became_unavailable)
        elif change.became_available:
            get_logger().info('registry.available', path=view.path,
                              vms=len(view.assignments), accepted=view.is_accepted)
        elif change.is_changed:
            get_logger().info('registry.changed', vms=len(view.assignments),
                              touched=len(change.touched), found=change.edits)
        self._tell_faulty()
        self._tell_journal(view.journal_problem)

    def _hold_back(self, change: Change) -> Change:
        """What is to be said now.

        A host that is new in its resource pool has no registry yet, and makes it from the mirror
        in an instant: that is not worth an error.
        """
        now = self._clock()
        if change.became_unavailable or change.became_available:
            is_new = change.reason == Reason.MISSING.value and not self._view.was_read
            self._unsaid = (change, now) if change.became_unavailable and is_new else None
            return Change() if self._unsaid is not None else change
        if self._unsaid is not None and now - self._unsaid[1] >= _HEALS_SECONDS:
            change, self._unsaid = self._unsaid[0], None
        return change

    def tell_lost(self, vm: VmRecord, kind: Optional[VmKind]) -> None:
        """Say that a registered VM is gone, or is none any more: its number stays its row's."""
        assignment = self._view.assignments.get(vm.uuid)
        if assignment is None:
            return
        if kind is None:
            get_logger().warning('vm.vanished', vm_uuid=vm.uuid, vm_name=vm.name,
                                 vm_id=assignment.vm_id)
        elif self._lines.admit(vm.ref, self._clock()):
            get_logger().warning('vm.converted', vm_uuid=vm.uuid, vm_name=vm.name,
                                 vm_id=assignment.vm_id, kind=kind.value)

    def tell_aside(self, error: MalformedRecord) -> None:
        """Say that a record cannot be understood, and its VM is left alone until it changes."""
        if self._lines.admit(error.ref, self._clock()):
            get_logger().warning('vm.set_aside', vm_ref=error.ref, field=error.field,
                                 problem=error.problem)

    def forget(self, ref: str) -> None:
        """The VM is gone."""
        self._lines.forget(ref)

    def _tell_faulty(self) -> None:
        """Say that rows are not valid: their VMs are left alone."""
        contents, faulty = self._view.contents, self._view.faulty
        if contents is None or faulty == self._faulty:
            return
        if not faulty:
            self._faulty = faulty
        elif self._lines.admit('', self._clock()):
            self._faulty, first = faulty, contents.faults[0]
            get_logger().warning('registry.rows_left_out', path=self._view.path,
                                 rows=len(contents.faults),
                                 first=f'{first.vm_uuid}: {first.problem}')

    def _tell_journal(self, problem: str) -> None:
        if problem and problem != self._journal_problem:
            get_logger().error('journal.unavailable', path=self._view.journal.path,
                               error=problem)
        elif self._journal_problem and not problem:
            get_logger().info('journal.available', path=self._view.journal.path)
        self._journal_problem = problem


class VmNotices:
    """Remembers what was said last of each VM."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._told: Dict[str, Tuple[Any, ...]] = {}
        self._endangered: Dict[str, FrozenSet[Any]] = {}
        self._lines = Damper()

    def tell_dangers(self, plan: Plan, now: float) -> None:
        """Say what threatens a VM, where that is new."""
        vm = plan.vm
        found = {danger.key: danger for danger in self._planner.find_dangers(vm)}
        told = self._endangered.get(vm.ref, frozenset()) & set(found)
        for key, danger in found.items():
            if key not in told and self._lines.admit(vm.ref, now):
                told |= {key}
                get_logger().warning('vm.endangered', vm_uuid=vm.uuid, vm_name=vm.name,
                                     danger=danger.kind.value, vm_id=danger.vm_id,
                                     others=list(danger.others), others_count=danger.others_count)
        if told:
            self._endangered[vm.ref] = told
        else:
            self._endangered.pop(vm.ref, None)

    def tell(self, plan: Plan, names: FrozenSet[str], now: float) -> None:
        """Say what keeps a VM from being as desired, when it is not simply under way.

        What is held back is said when it still holds at a later look.
        """
        ref, said = plan.vm.ref, (plan.state, plan.reason, plan.desired, plan.holder)
        if self._told.get(ref) != said:
            if not _is_worth_saying(plan):
                self._told.pop(ref, None)
            elif self._lines.admit(ref, now):
                self._told[ref] = said
                _tell_state(plan, names)

    def forget(self, ref: str) -> None:
        """The VM is gone."""
        self._told.pop(ref, None)
        self._endangered.pop(ref, None)
        self._lines.forget(ref)


def _is_worth_saying(plan: Plan) -> bool:
    return plan.state is State.PENDING or (
        plan.action is Action.NONE and plan.state in _WORTH_SAYING)


def _tell_state(plan: Plan, names: FrozenSet[str]) -> None:
    vm = plan.vm
    if plan.reason is PlanReason.HALTED_RESIDENT:
        get_logger().warning('vm.left_alone', vm_uuid=vm.uuid, vm_name=vm.name,
                             state=plan.state.value, reason=plan.reason.value,
                             desired=plan.desired, carried=plan.carried,
                             host=vm.resident_on, hint=_RESIDENT_HINT % vm.uuid)
    elif plan.state is State.PENDING:
        get_logger().info('vm.change_pending', vm_uuid=vm.uuid, vm_name=vm.name,
                          power_state=vm.power_state.value,
                          operations=sorted(vm.operation_names), desired=plan.desired,
                          carried=plan.carried, holder=plan.holder)
    else:
        reading = parse_args(plan.vm.args, names)
        get_logger().warning(
            'vm.left_alone', vm_uuid=plan.vm.uuid, vm_name=plan.vm.name,
            state=plan.state.value, reason=plan.reason.value, desired=plan.desired,
            carried=plan.carried, problem=reading.problem.value if reading.problem else None)


class WriteNotices:
    """Says what was written to VMs, and what could not be; in the log, and in the history."""

    def __init__(self, write: Callable[[Callable[..., Any]], None]) -> None:
        self._write = write
        self._limiter = RateLimiter()

    def tell(self, plan: Plan, outcome: Outcome, now: float, *, is_rare: bool) -> None:
        """A plan was carried out; with `is_rare` this is said once a minute at most."""
        vm = plan.vm
        if is_rare and self._limiter.admit(('fight', vm.uuid), now) is None:
            return
        self._add_history('rescue' if plan.is_rescue else 'stage', vm.uuid, vm.args, plan.value)
        event = 'vm.args_removed' if plan.stage is None else 'vm.args_injected'
        get_logger().info(event, vm_uuid=vm.uuid, vm_name=vm.name, action=plan.action.value,
                          reason=plan.reason.value, before=vm.args, after=plan.value,
                          rescue=plan.is_rescue, elapsed_ms=round(outcome.elapsed_ms, 1))
        if plan.reason is PlanReason.NUMBER_COPIED:
            get_logger().info('vm.number_taken_back', vm_uuid=vm.uuid, vm_name=vm.name,
                              removed=plan.carried, owner=plan.owner,
                              hint=_COPY_HINT % (vm.uuid, plan.owner, vm.uuid))

    def tell_fight(self, plan: Plan, now: float) -> None:
        """The VM is fought over from now on."""
        self._limiter.admit(('fight', plan.vm.uuid), now)
        get_logger().warning('vm.fought_over', vm_uuid=plan.vm.uuid, vm_name=plan.vm.name,
                             desired=plan.desired, carried=plan.carried)

    def tell_late(self, plan: Plan) -> None:
        """XAPI has carried out a plan whose answer was lost."""
        vm = plan.vm
        self._add_history('stage', vm.uuid, vm.args, plan.value)
        get_logger().info('vm.args_found_written', vm_uuid=vm.uuid, reason=plan.reason.value,
                          before=vm.args, after=plan.value)

    def tell_failed(self, outcome: Outcome, now: float, hold_seconds: float) -> None:
        """A plan was not carried out; of one VM each kind of error is said once a minute."""
        plan = outcome.plan
        held_back = self._limiter.admit((plan.vm.uuid, find_kind(outcome.error)), now)
        if held_back is not None:
            get_logger().warning('vm.injection_failed', vm_uuid=plan.vm.uuid,
                                 vm_name=plan.vm.name, action=plan.action.value,
                                 reason=plan.reason.value, outcome=outcome.kind.value,
                                 error=outcome.error, retry_seconds=hold_seconds,
                                 held_back=held_back)

    def _add_history(self, command: str, vm_uuid: str, before: Optional[str],
                     after: Optional[str]) -> None:
        what = ('args_added' if before is None else
                'args_removed' if after is None else 'args_replaced')
        self._write(lambda journal: journal.add_history(
            WHO, command, what, vm_uuid=vm_uuid, before=before, after=after))


def describe_watch(view: RegistryView, role: Optional[Role], *, known: int, since: float,
                   waiting: int, is_locked: bool, silent_seconds: float) -> str:
    """The STATUS= line for systemd; without a role XAPI is waited for."""
    if role is None:
        return f'waiting for XAPI; {known} VMs known'
    if not view.is_available:
        return f'watching; registry unavailable: {view.unavailable}'
    text = (f'watching {known} VMs since {render_timestamp(since)}Z, {len(view.assignments)} '
            f'registered, {waiting} wait for a write')
    if not (role.is_writer and is_locked):
        text += ', read-only: ' + (role.refusal or 'the writer\'s lock is not ours')
    if view.journal_problem:
        text += ', journal unavailable'
    return f'{text}; last answer {silent_seconds:.0f} s ago'
