"""Staging: has each VM carry its desired span while it rests, and adds it to those that start.

Between the decision (`plan.py`) and the writing (`injector.py`, run by callers). Per VM at most one
job is under way; `due` says when a VM deserves the next look.
"""

import collections
from typing import Callable, Dict, FrozenSet, List, Optional, Set, Tuple

from watcher.runtime.backoff import find_hold
from watcher.runtime.fights import Fights
from watcher.runtime.timers import DueTimes
from watcher.staging.injector import READS_AT_MOST, Outcome, OutcomeKind
from watcher.staging.leftovers import Leftovers
from watcher.staging.notices import VmNotices, WriteNotices
from watcher.staging.vm_progress import Progress, Start, Wrote
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.planner import Planner
from watcher.state.registry_view import RegistryView
from watcher.state.staged_record import StagedRecord
from watcher.vm.plan import SETTLE_SECONDS, Action, Plan, PlanReason, Policy, render_desired
from watcher.vm.record import VmRecord

# The rest of the callers stays free for VMs that start.
STAGING_AT_ONCE = 8
# A span that keeps vanishing during one start is removed by another program.
_ADDS_PER_START = 5
_ECHO_SECONDS = 1.0
# Longer than an event is on its way.
_PROOF_SECONDS = 0.5
# A VM that starts does not wait: the first failure of its rescue holds it up no longer than this.
_RESCUE_HOLD_SECONDS = 0.05
# A shutdown passes through Halted with resident_on for a moment; what lasts longer is logged.
_RESIDENT_SECONDS = 10.0


class Staging:
    """Which VM is looked at when, and what is under way."""

    def __init__(self, view: RegistryView, inventory: Inventory, number_claims: NumberClaims, *,
                 carry_out: Callable[[Plan], None], reread: Callable[[VmRecord], None],
                 write: Callable[[Callable[..., None]], None]) -> None:
        self._view = view
        self._inventory = inventory
        self._number_claims = number_claims
        self._carry_out = carry_out
        self._reread = reread
        self._write = write
        self.busy: Dict[str, Plan] = {}
        self._due = DueTimes()
        self._ready: 'collections.OrderedDict[str, None]' = collections.OrderedDict()
        self._progress: Dict[str, Progress] = {}
        self.calm: Set[str] = set()
        """Refs whose last look led to nothing, and said so with certainty."""
        self._later = DueTimes()
        """Reviews that no write waits for."""
        self._fights = Fights()
        self._writes = WriteNotices(write)
        self._record = StagedRecord(view, inventory, number_claims, write)
        self.leftovers = Leftovers(view, write)
        self.planner = Planner(view, number_claims, find_left=self.leftovers.find,
                               is_fought_over=lambda vm: vm.ref in self._fights.keys)
        self._notices = VmNotices(self.planner)

    @property
    def policy(self) -> Policy:
        """What holds for all VMs alike."""
        return self._number_claims.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._number_claims.policy = policy

    @property
    def waiting(self) -> int:
        """How many VMs wait for a write, or for its outcome."""
        return len(set(self.busy) | set(self._due.keys) | set(self._ready))

    @property
    def is_waiting(self) -> bool:
        """Whether any does."""
        return bool(self.busy or self._due or self._ready)

    @property
    def next_due(self) -> Optional[float]:
        """When the next VM deserves a look."""
        return min([at for at in (self._due.first, self._later.first) if at is not None],
                   default=None)

    def recall(self) -> None:
        """Take up what an earlier program left to be done, or unproven."""
        self.leftovers.recall()
        self._number_claims.recall_writes()

    def begin_session(self) -> None:
        """What failed before is tried at once."""
        for progress in self._progress.values():
            progress.forgive()

    def note_edited(self, ref: str) -> None:
        """The VM's row has changed: neither failures nor a fight hold it up."""
        self._of(ref).forgive()
        self._fights.forget(ref)

    def list_fought_over(self, now: float) -> Tuple[str, ...]:
        """The UUIDs of the VMs that are fought over."""
        for ref in tuple(self._fights.keys):
            self._fights.expire(ref, now)
        found = map(self._inventory.find, self._fights.keys)
        return tuple(sorted(vm.uuid for vm in found if vm is not None))

    def forget(self, vm: VmRecord) -> None:
        """The VM is gone."""
        self._ready.pop(vm.ref, None)
        self._progress.pop(vm.ref, None)
        for times in (self._due, self._later):
            times.pop(vm.ref)
        self.calm.discard(vm.ref)
        self._fights.forget(vm.ref)
        self._notices.forget(vm.ref)

    def defer(self, ref: str, until: float) -> None:
        """Look again at that time, or earlier if that is planned."""
        self._due.set_earlier(ref, until)

    def take_due(self, now: float) -> Tuple[str, ...]:
        """The refs whose time has come; they are not due any more."""
        refs = self._due.take(now) + self._take_later(now)
        if self._ready:
            free = min(len(self._ready), STAGING_AT_ONCE - self._count_staging())
            refs += [self._ready.popitem(last=False)[0] for _ in range(free)]
        return tuple(refs)

    def find_desired(self, vm: VmRecord) -> Optional[str]:
        """The span that the VM's row asks for, by the registry as it was last readable."""
        assignment = self._view.assignments.get(vm.uuid)
        if assignment is None or not vm.has_qemu:
            return None
        return render_desired(self.policy.read(vm), assignment, self.policy,
                              self._view.removed.get(vm.uuid))

    def review(self, ref: str, now: float, *, may_write: bool, is_fresh: bool = False) -> None:
        """Decide about a VM, and begin what is to be done as soon as it may be."""
        vm = self._inventory.find(ref)
        self.calm.discard(ref)
        if vm is None or ref in self.busy or ref in self._inventory.aside:
            return
        self._fights.expire(ref, now)
        if vm.start_task is None and ref in self._progress:
            self._progress[ref].start = None  # the next one counts afresh, whatever its task
        plan = self.planner.assess(vm)
        if plan is None:
            return
        self._settle_doubt(vm)
        if self._is_passing(plan, now):
            return
        self._note_state(plan, now)
        if plan.action is Action.NONE or not may_write:
            self._due.pop(ref)
            if plan.action is Action.NONE:
                self.calm.add(ref)
                if ref in self._progress:
                    self._progress[ref].overtaken = 0
            return
        ready_at = self._ready_at(plan, now)
        if ready_at > now:
            self._due.set(ref, ready_at)
        elif not is_fresh and self._is_echo(vm, now):
            self._reread(vm)
        elif plan.is_rescue:
            self._rescue(plan, is_fresh)
        elif self._count_staging() >= STAGING_AT_ONCE:
            self._ready[ref] = None
        else:
            self._begin(plan)

    def is_fresh(self, vm: VmRecord, began_at: float) -> bool:
        """Whether a record asked for then is no older than our last job and what events showed."""
        progress = self._progress.get(vm.ref)
        ended_at = progress.ended_at if progress is not None else None
        return ((ended_at is None or began_at >= ended_at)
                and self._inventory.is_newer(vm, began_at))

    def finish(self, outcome: Outcome, now: float) -> bool:
        """Take what came of a job; whether what it has read is what we know now."""
        plan = self.busy.pop(outcome.plan.vm.ref, outcome.plan)
        progress = self._of(plan.vm.ref)
        progress.ended_at = now
        is_fresh = self._note_record_read(outcome, now)
        is_unwritten = outcome.kind in (OutcomeKind.OVERTAKEN, OutcomeKind.VANISHED)
        self._number_claims.note_written(
            plan, is_settled=outcome.is_proven or is_unwritten or not outcome.is_sent)
        if is_unwritten or not outcome.is_sent:
            self._record.note_unsent(plan)
        if outcome.kind is OutcomeKind.WRITTEN:
            self._record.note_written(plan)
            progress.forgive()
            progress.wrote = Wrote(plan.vm.args, now)
            self._note_written(plan, outcome, now)
        elif outcome.kind is OutcomeKind.OVERTAKEN:
            self._note_overtaken(outcome, now)
        elif outcome.kind is not OutcomeKind.VANISHED:
            progress.in_doubt = plan if outcome.is_sent else None
            self._hold(outcome, now)
        if self._inventory.find(plan.vm.ref) is None:
            self._progress.pop(plan.vm.ref, None)
        return is_fresh

    def note_unread(self, ref: str, now: float) -> None:
        """A record that we wanted could not be read: look again, after growing pauses."""
        progress = self._of(ref)
        self.defer(ref, now + max(1.0, find_hold(progress.failures)))
        progress.failures += 1

    def _of(self, ref: str) -> Progress:
        return self._progress.setdefault(ref, Progress())

    def _is_passing(self, plan: Plan, now: float) -> bool:
        """Whether the VM is in a state that is logged, and decided on, only when it lasts (P6)."""
        ref, progress = plan.vm.ref, self._progress.get(plan.vm.ref)
        if plan.reason is not PlanReason.HALTED_RESIDENT:
            if progress is not None:
                progress.resident_since = None
            return False
        progress = self._of(ref)
        if progress.resident_since is None:
            progress.resident_since = now
        told_at = progress.resident_since + _RESIDENT_SECONDS
        if told_at > now:
            self._due.pop(ref)
            self._later.set(ref, told_at)
        return told_at > now

    def _is_echo(self, vm: VmRecord, now: float) -> bool:
        """Whether the record may show what stood before our own write (P3)."""
        wrote = self._of(vm.ref).wrote
        return (wrote is not None and now - wrote.at < _ECHO_SECONDS
                and vm.args == wrote.before)

    def _count_staging(self) -> int:
        return sum(1 for plan in self.busy.values() if not plan.is_rescue)

    def _ready_at(self, plan: Plan, now: float) -> float:
        """When the plan may begin: after hold-off and pause; what is no ADD also after rest."""
        ref, progress = plan.vm.ref, self._of(plan.vm.ref)
        if plan.is_rescue:
            self._note_start(plan.vm)
            return progress.held_until or now
        ready_at = max(progress.held_until or now, self._fights.paused_until(ref, now))
        if plan.action is not Action.ADD:
            ready_at = max(ready_at,
                           now + SETTLE_SECONDS - self._inventory.rested_seconds(ref, now))
        return ready_at

    def _note_start(self, vm: VmRecord) -> None:
        """A start that begins does not wait for what was refused while the VM rested (P3)."""
        progress = self._of(vm.ref)
        if progress.start is None or progress.start.task != vm.start_task:
            progress.start = Start(vm.start_task)
            progress.forgive()

    def _rescue(self, plan: Plan, is_fresh: bool) -> None:
        """Add the absent key, as often as it goes, within a bound.

        An event may still show what stood before our own write: a second one for the same start
        rests on a record read for it.
        """
        progress = self._of(plan.vm.ref)
        start = progress.start or Start(plan.vm.start_task)
        if start.adds >= _ADDS_PER_START:
            return
        if start.adds and not is_fresh:
            self._reread(plan.vm)
            return
        progress.start = start._replace(adds=start.adds + 1)
        self._begin(plan)

    def _begin(self, plan: Plan) -> None:
        self._number_claims.note_writing(plan)
        self._record.note_writing(plan, self.policy)
        self._due.pop(plan.vm.ref)
        self._of(plan.vm.ref).in_doubt = None
        self.busy[plan.vm.ref] = plan
        self._carry_out(plan)

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """The first batch names every VM: what is noted of others, and has no row, is no use."""
        self.leftovers.forget_vanished(known)
        self._record.forget_vanished(known)

    def _note_record_read(self, outcome: Outcome, now: float) -> bool:
        """Take what a job has read, or what it has written when it read nothing after that."""
        vm = outcome.vm
        if outcome.kind is OutcomeKind.WRITTEN and vm is None:
            self._claim_written(outcome.plan, now)
        elif vm is not None and outcome.kind in (OutcomeKind.WRITTEN, OutcomeKind.OVERTAKEN):
            if self._inventory.is_newer(vm, outcome.read_at):
                self._inventory.update(vm, self.policy, now)
                return True
            self._reread(vm)  # an event came during the job, and may show what is newer
        return False

    def _claim_written(self, plan: Plan, now: float) -> None:
        """Take what we wrote as the VM's args, until a record says otherwise.

        A record that came during the job may be older than the write, or newer, and the work of
        others: when nothing comes that decides it, the record is read.
        """
        current = self._inventory.find(plan.vm.ref)
        if current is not None and current.args in (plan.vm.args, None) \
                and current.args != plan.value:
            claimed = current._replace(args=plan.value)
            self._inventory.update(claimed, self.policy, now)
            if current is not plan.vm and plan.is_rescue:
                self._reread(claimed)  # the start does not wait
            elif current is not plan.vm:
                self._of(plan.vm.ref).unproven = claimed
                self._later.set(plan.vm.ref, now + _PROOF_SECONDS)

    def _take_later(self, now: float) -> List[str]:
        """The refs that deserve a look now; a claim that nothing has decided is read."""
        refs = self._later.take(now)
        for ref in refs:
            progress = self._of(ref)
            claimed, progress.unproven = progress.unproven, None
            if claimed is not None and self._inventory.find(ref) is claimed \
                    and ref not in self.busy:
                self._reread(claimed)
        return refs

    def _note_state(self, plan: Plan, now: float) -> None:
        """Say what is worth it, and keep in the journal what is in place.

        What keeps a VM that is fought over from being as desired is the fight (P30).
        """
        self._notices.tell_dangers(plan, now)
        if plan.vm.ref not in self._fights.keys:
            self._notices.tell(plan, self.policy.names, now)
        self._record.note_state(plan, self.policy)

    def _note_written(self, plan: Plan, outcome: Outcome, now: float) -> None:
        """Tell of it; of a VM that is fought over once a minute (P30)."""
        ref = plan.vm.ref
        self.leftovers.forget(plan.vm.uuid)
        was_fought_over = ref in self._fights.keys
        begins = self._fights.note_write(ref, now)
        self._writes.tell(plan, outcome, now, is_rare=was_fought_over)
        if begins:
            self._writes.tell_fight(plan, now)

    def _settle_doubt(self, vm: VmRecord) -> None:
        """A record may show what XAPI did although its answer was lost: the history shall know."""
        progress = self._progress.get(vm.ref)
        plan = progress.in_doubt if progress is not None else None
        if progress is None or plan is None or vm.args == plan.vm.args:
            return
        progress.in_doubt = None
        if vm.args == plan.value:
            self._writes.tell_late(plan)

    def _note_overtaken(self, outcome: Outcome, now: float) -> None:
        """Decide again at once, a few times; then the next look decides (P5)."""
        progress = self._of(outcome.plan.vm.ref)
        progress.overtaken += 1
        if progress.overtaken % READS_AT_MOST == 0:
            self._hold(outcome._replace(error='the VM kept changing'), now)

    def _hold(self, outcome: Outcome, now: float) -> None:
        plan, progress = outcome.plan, self._of(outcome.plan.vm.ref)
        hold_seconds = (_RESCUE_HOLD_SECONDS if plan.is_rescue and not progress.failures else
                        find_hold(progress.failures))
        progress.failures += 1
        progress.held_until = now + hold_seconds
        self._writes.tell_failed(outcome, now, hold_seconds)
