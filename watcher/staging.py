"""Staging: has each VM carry its desired span while it rests, and rescues those that start.

Between the decision (`plan.py`) and the hands (`injector.py`, run by workers). Per VM at most one
job is under way; `due` says when a VM deserves the next look. The new value is in the journal
before a job that removes a key begins, and leaves it when the key is known to be right (P16).
"""

import collections
from typing import Callable, Dict, FrozenSet, Iterable, NamedTuple, Optional, Set, Tuple

from registry.journal import Replacement
from watcher.books import WHO, Books
from watcher.due_times import DueTimes
from watcher.fence import without_fences
from watcher.injector import Outcome, OutcomeKind
from watcher.inventory import Inventory
from watcher.logs import RateLimiter, get_logger
from watcher.plan import (QUIET_SECONDS, Action, Plan, Policy, Reason, State, plan_restore,
                          plan_vm, render_desired)
from watcher.records import Kind, PowerState, VmRecord
from watcher.replacements import Replacements
from watcher.standing import Standings
from watcher.telling import VmTeller

# Rest of the workers stays free for VMs that start.
STAGING_AT_ONCE = 8
# A span that keeps vanishing during one start is somebody else's doing.
_ADDS_PER_START = 5
_ECHO_SECONDS = 1.0
# Longer than an event is on its way.
_PROOF_SECONDS = 0.5
# The same error of the same VM is told once in this time.
_REPEAT_SECONDS = 60.0
_HOLD_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
# A VM that starts does not wait: the first failure of its rescue holds it up no longer than this.
_RESCUE_HOLD_SECONDS = 0.05
# What was staged when nothing was ever seen in place; no span reads so.
NOTHING_KNOWN = '-'


class Start(NamedTuple):
    """What was already done for one start of a VM."""
    task: Optional[str]
    adds: int = 0
    is_replaced: bool = False


class _Wrote(NamedTuple):
    """A write of ours that answers on their way do not show yet."""
    before: Optional[str]
    at: float


class Staging:
    """Which VM is looked at when, and what is under way."""

    def __init__(self, books: Books, inventory: Inventory, standings: Standings, *,
                 carry_out: Callable[[Plan, bool], None], reread: Callable[[VmRecord], None],
                 write: Callable[[Callable[..., None]], None]) -> None:
        self._books = books
        self._inventory = inventory
        self._standings = standings
        self._carry_out = carry_out
        self._reread = reread
        self._write = write
        self.policy: Optional[Policy] = None
        self.busy: Dict[str, Plan] = {}
        self._due = DueTimes()
        self._ready: Dict[str, None] = collections.OrderedDict()
        self._held_until: Dict[str, float] = {}
        self._failures: Dict[str, int] = {}
        self._starts: Dict[str, Start] = {}
        self._wrote: Dict[str, _Wrote] = {}
        self._ended_at: Dict[str, float] = {}
        self._unproven: Dict[str, VmRecord] = {}
        self.calm: Set[str] = set()
        """Refs whose last look led to nothing, and said so with certainty."""
        self._proof_due = DueTimes()
        self._limiter = RateLimiter(_REPEAT_SECONDS)
        self._teller = VmTeller(inventory, books)
        self.replacements = Replacements(books, write=write, tell=self._tell_late)

    @property
    def waiting(self) -> int:
        """How many VMs wait for a write, or for its outcome."""
        return len(set(self.busy) | set(self._due.keys) | set(self._ready))

    @property
    def is_waiting(self) -> bool:
        """Whether any does."""
        return bool(self.busy or self._due or self._ready)

    @property
    def is_replacing(self) -> bool:
        """Whether a value may be away that only our journal has."""
        return bool(self.busy) or self.replacements.is_open

    @property
    def next_due(self) -> Optional[float]:
        """When the next VM deserves a look."""
        return min([at for at in (self._due.first, self._proof_due.first) if at is not None],
                   default=None)

    def begin_session(self, refs: Optional[Iterable[str]] = None) -> None:
        """What failed before is tried at once: of all VMs, or of those whose row has changed."""
        for ref in tuple(self._held_until) if refs is None else refs:
            self._held_until.pop(ref, None)
            self._failures.pop(ref, None)

    def forget(self, vm: VmRecord) -> None:
        """The VM is gone."""
        for memory in (self._ready, self._held_until, self._failures, self._starts, self._wrote,
                       self._ended_at, self._unproven):
            memory.pop(vm.ref, None)  # type: ignore
        for times in (self._due, self._proof_due):
            times.pop(vm.ref)
        self.calm.discard(vm.ref)
        self._teller.forget(vm.ref)
        if vm.ref not in self.busy and self._inventory.find_by_uuid(vm.uuid) is None:
            self.replacements.forget(vm.uuid)

    def defer(self, ref: str, until: float) -> None:
        """Look again at that time, or earlier if that is planned."""
        self._due.set_earlier(ref, until)

    def take_due(self, now: float) -> Tuple[str, ...]:
        """The refs whose time has come; they are not due any more."""
        refs = self._due.take(now)
        self._prove(now)
        if self._ready:
            free = min(len(self._ready), STAGING_AT_ONCE - self._count_staging())
            refs += [self._ready.popitem(last=False)[0] for _ in range(free)]
        return tuple(refs)

    def plan(self, vm: VmRecord) -> Optional[Plan]:
        """Decide about one VM; None while the registry or its row cannot be read."""
        saved = self.replacements.find(vm.uuid)
        assignment = self._books.assignments.get(vm.uuid)
        is_known = self._books.is_available and vm.uuid not in self._books.faulty
        if saved is not None and vm.kind is Kind.VM and vm.args is None:
            return plan_restore(vm, saved.after, assignment, self.policy, is_known=is_known)
        if not is_known:
            return None
        return plan_vm(vm, assignment, self._standings.find(vm), self.policy)

    def find_desired(self, vm: VmRecord) -> Optional[str]:
        """The span that the VM's row asks for, by the registry as it was last readable."""
        assignment = self._books.assignments.get(vm.uuid)
        if assignment is None:
            return None
        return render_desired(self.policy.read(vm), assignment, self.policy)

    def look(self, ref: str, now: float, *, may_write: bool, is_fresh: bool = False) -> None:
        """Decide about a VM, and begin what is to be done as soon as it may be."""
        vm = self._inventory.find(ref)
        self.calm.discard(ref)
        if vm is None or ref in self.busy or ref in self._inventory.aside or self.policy is None:
            return
        plan = self.plan(vm)
        if plan is None:
            return
        self._note_state(plan)
        if plan.action is Action.NONE or not may_write:
            self._due.pop(ref)
            if plan.action is Action.NONE and not self.replacements.find(vm.uuid):
                self.calm.add(ref)
            return
        ready_at = self._ready_at(plan, now)
        if ready_at > now:
            self._due.set(ref, ready_at)
        elif not is_fresh and self._is_echo(vm, now):
            self._reread(vm)
        elif plan.is_rescue:
            self._rescue(plan, is_fresh, now)
        elif self._is_full():
            self._ready[ref] = None
        else:
            self._begin(plan, now)

    def is_fresh(self, vm: VmRecord, began_at: float) -> bool:
        """Whether a record asked for then is no older than our last job and what events showed."""
        return (began_at >= self._ended_at.get(vm.ref, began_at)
                and self._inventory.is_newer(vm, began_at))

    def finish(self, outcome: Outcome, now: float) -> bool:
        """Take what came of a job; whether what it has read is what we know now."""
        plan = self.busy.pop(outcome.plan.vm.ref, outcome.plan)
        ref = plan.vm.ref
        self._ended_at[ref] = now
        is_fresh = self._note_record_read(outcome, now)
        self.replacements.take_outcome(outcome)
        if outcome.kind is OutcomeKind.WRITTEN:
            self._failures.pop(ref, None)
            self._held_until.pop(ref, None)
            self._wrote[ref] = _Wrote(plan.vm.args, now)
            self._note_written(outcome)
        elif outcome.kind in (OutcomeKind.REFUSED, OutcomeKind.UNREACHABLE):
            self._hold(outcome, now)
        self._settle_at_once(outcome)
        return is_fresh

    def _settle_at_once(self, outcome: Outcome) -> None:
        """No event will follow that could end the entry: the VM is gone, its start was over
        before our rescue of it, or the job was overtaken before it had read anything."""
        plan = outcome.plan
        current = self._inventory.find(plan.vm.ref)
        if current is None:
            self.replacements.forget(plan.vm.uuid)
        elif outcome.vm is None or (plan.is_rescue and not current.is_starting):
            self.settle_restored(current, is_fresh=False)

    def _is_echo(self, vm: VmRecord, now: float) -> bool:
        """Whether the record may show what stood before, or between, our own calls (P3)."""
        wrote = self._wrote.get(vm.ref)
        return (wrote is not None and now - wrote.at < _ECHO_SECONDS
                and vm.args in (wrote.before, None))

    def _is_full(self) -> bool:
        return self._count_staging() >= STAGING_AT_ONCE

    def _count_staging(self) -> int:
        return sum(1 for plan in self.busy.values() if not plan.is_rescue)

    def _ready_at(self, plan: Plan, now: float) -> float:
        """When the plan may begin: after the hold-off, and what removes also after rest."""
        ref = plan.vm.ref
        if plan.is_rescue:
            self._note_start(plan.vm)
            if plan.reason is Reason.INTERRUPTED:
                return now
        ready_at = self._held_until.get(ref, now)
        if plan.action is not Action.ADD and not plan.is_rescue:
            ready_at = max(ready_at,
                           now + QUIET_SECONDS - self._inventory.rested_seconds(ref, now))
        return ready_at

    def _note_start(self, vm: VmRecord) -> None:
        """A start that begins does not wait for what was refused while the VM rested (P3)."""
        if self._starts.get(vm.ref, Start('')).task != vm.start_task:
            self._starts[vm.ref] = Start(vm.start_task)
            self.begin_session((vm.ref,))

    def _rescue(self, plan: Plan, is_fresh: bool, now: float) -> None:
        """Once per start a wrong value is replaced; a missing one is added as often as it goes.

        An event may still show what stood before our own write: a second one for the same start
        rests on a record read for it.
        """
        ref, start = plan.vm.ref, self._starts[plan.vm.ref]
        if plan.action is not Action.ADD:
            if start.is_replaced:
                return
        elif start.adds >= _ADDS_PER_START:
            return
        elif (start.adds or start.is_replaced) and not is_fresh:
            self._reread(plan.vm)
            return
        self._starts[ref] = start._replace(adds=start.adds + (plan.action is Action.ADD))
        self._begin(plan, now)

    def _begin(self, plan: Plan, now: float) -> None:
        if plan.action is not Action.ADD and not self.replacements.begin(plan, now):
            self._due.set(plan.vm.ref, self.replacements.retry_at)
            return
        self._note_claim(plan)
        self._due.pop(plan.vm.ref)
        self.busy[plan.vm.ref] = plan
        self._carry_out(plan, not self._failures.get(plan.vm.ref))

    def _note_claim(self, plan: Plan) -> None:
        """From here on whoever appears with the number is a copy (P10).

        What is in place stays as it was noted until the write is known to have happened.
        """
        assignment = self._books.assignments.get(plan.vm.uuid)
        if assignment is not None:
            value = self._books.staged_values.get(plan.vm.uuid, NOTHING_KNOWN)
            self._note_staged(plan.vm.uuid, assignment.vm_id, value)

    def note_registered_late(self, vm: VmRecord) -> None:
        """The VM got its row while it runs: what it rested with last is what it carries."""
        if vm.power_state is not PowerState.HALTED and vm.uuid in self._books.assignments \
                and vm.uuid not in self._books.staged:
            self._note_staged(vm.uuid, self._inventory.number_of(vm.ref) or 0,
                              self.policy.read(vm).managed or '')

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """The first batch names every VM: what is noted of others, and has no row, is no use."""
        self.replacements.forget_vanished(known)
        for vm_uuid in set(self._books.staged) - known - set(self._books.assignments):
            self._forget_staged(vm_uuid)

    def _forget_staged(self, vm_uuid: str) -> None:
        self._books.forget_staged(vm_uuid)
        self._write(lambda journal: journal.forget_staged(vm_uuid))

    def settle_restored(self, vm: VmRecord, *, is_fresh: bool) -> None:
        """A record may be the proof that a replacement came to its end.

        An event may show what stood before the key was removed: then the record is read again.
        """
        entry = self.replacements.find(vm.uuid)
        if entry is None or vm.ref in self.busy or vm.is_starting:
            return
        if is_fresh:
            self.replacements.take_record(vm)
        elif vm.args is not None or entry.after is None:
            self._reread(vm)

    def _note_record_read(self, outcome: Outcome, now: float) -> bool:
        plan, vm = outcome.plan, outcome.vm
        if outcome.kind is OutcomeKind.WRITTEN or outcome.is_key_missing:
            self._claim_written(plan, None if outcome.is_key_missing else plan.value, now)
        elif outcome.kind is OutcomeKind.OVERTAKEN and vm is not None:
            if self._inventory.find(vm.ref) is not plan.vm:
                self._reread(vm)  # an event came during the job, and may show what is newer
                return False
            self._inventory.update(without_fences(vm, outcome.fences_left), self.policy, now)
        return vm is not None

    def _claim_written(self, plan: Plan, args: Optional[str], now: float) -> None:
        """Take what we wrote as the VM's args, until a record says otherwise.

        A record that came during the job may be older than the write, or newer, and somebody
        else's doing: when nothing comes that decides it, the record is read.
        """
        current = self._inventory.find(plan.vm.ref)
        if current is None:
            self.replacements.forget(plan.vm.uuid)
        elif current.args in (plan.vm.args, None) and current.args != args:
            claimed = current._replace(args=args)
            self._inventory.update(claimed, self.policy, now)
            if current is not plan.vm:
                self._unproven[plan.vm.ref] = claimed
                self._proof_due.set(plan.vm.ref, now + _PROOF_SECONDS)

    def _prove(self, now: float) -> None:
        for ref in self._proof_due.take(now):
            claimed = self._unproven.pop(ref)
            if self._inventory.find(ref) is claimed and ref not in self.busy:
                self._reread(claimed)

    def _note_state(self, plan: Plan) -> None:
        """Keep in the journal what was staged where: claims on numbers rest on it."""
        vm, assignment = plan.vm, self._books.assignments.get(plan.vm.uuid)
        self._teller.tell(plan, self.policy.names)
        if assignment is not None and plan.state is State.AS_DESIRED:
            self._note_staged(vm.uuid, assignment.vm_id, plan.carried or '')
        elif vm.uuid in self._books.orphans and vm.is_at_rest and plan.carried is None \
                and plan.state is State.UNREGISTERED:
            self._books.forget_orphan(vm.uuid)
            self._write(lambda journal: journal.forget_orphan(vm.uuid))
            self._forget_staged(vm.uuid)

    def _note_staged(self, vm_uuid: str, vm_id: int, value: str) -> None:
        claim = self._books.staged.get(vm_uuid)
        if claim is not None and claim.vm_id == vm_id \
                and self._books.staged_values.get(vm_uuid) == value:
            return
        self._books.note_staged(vm_uuid, vm_id, value)
        self._write(lambda journal: journal.note_staged(vm_uuid, vm_id, value))

    def _note_written(self, outcome: Outcome) -> None:
        plan = outcome.plan
        vm = plan.vm
        if plan.is_rescue and plan.action is not Action.ADD:
            self._starts[vm.ref] = Start(vm.start_task, 1, True)
        self._add_history('rescue' if plan.is_rescue else 'stage', vm.uuid, vm.args, plan.value)
        event = 'vm.args_removed' if plan.desired is None else 'vm.args_injected'
        get_logger().info(event, vm_uuid=vm.uuid, vm_name=vm.name, action=plan.action.value,
                          reason=plan.reason.value, before=vm.args, after=plan.value,
                          rescue=plan.is_rescue, elapsed_ms=round(outcome.elapsed_ms, 1))

    def _tell_late(self, entry: Replacement) -> None:
        """What XAPI did although its answer was lost."""
        self._add_history('stage', entry.vm_uuid, entry.before, entry.after)
        get_logger().info('vm.args_found_written', vm_uuid=entry.vm_uuid, reason=entry.reason,
                          before=entry.before, after=entry.after)

    def _add_history(self, command: str, vm_uuid: str, before: Optional[str],
                     after: Optional[str]) -> None:
        what = ('args_added' if before is None else
                'args_removed' if after is None else 'args_replaced')
        self._write(lambda journal: journal.add_history(
            WHO, command, what, vm_uuid=vm_uuid, before=before, after=after))

    def _hold(self, outcome: Outcome, now: float) -> None:
        plan = outcome.plan
        failures = self._failures.get(plan.vm.ref, 0)
        self._failures[plan.vm.ref] = failures + 1
        hold_seconds = (_RESCUE_HOLD_SECONDS if plan.is_rescue and not failures else
                        _HOLD_SECONDS[min(failures, len(_HOLD_SECONDS) - 1)])
        self._held_until[plan.vm.ref] = now + hold_seconds
        held_back = self._limiter.admit((plan.vm.uuid, outcome.error), now)
        if held_back is None:
            return
        get_logger().warning('vm.injection_failed', vm_uuid=plan.vm.uuid, vm_name=plan.vm.name,
                             action=plan.action.value, reason=plan.reason.value,
                             outcome=outcome.kind.value, error=outcome.error,
                             retry_seconds=hold_seconds, held_back=held_back)
