"""The Watcher: decides, with an inbox for everything that happens.

The stream and the jobs put messages into the inbox; signal handlers set flags. The Watcher takes
them one after the other, looks at the VMs concerned and hands out jobs. It never waits for XAPI,
and 250 ms at most for the registry.
"""

from typing import Any, Callable, Dict, Iterable, Optional, Tuple

from registry.errors import JournalUnavailable
from registry.journal.clock_steps import ClockStep
from watcher.boots.observer import BootObserver
from watcher.boots.receipts import Inspected, Receipts
from watcher.errors import MalformedRecord
from watcher.job_dispatch import JobDispatch
from watcher.mirror.mirror import Mirroring
from watcher.mirror.witnesses import HostsListed, Testimony
from watcher.mirror.writes import MirrorWritten
from watcher.numbers_keeper import NumberKeeper
from watcher.runtime.logs import get_logger
from watcher.staging.block_lifting import Lifting
from watcher.staging.injector import Outcome, OutcomeKind
from watcher.staging.jobs import BlocksLifted, VmRead
from watcher.staging.notices import DaemonNotices
from watcher.staging.review import Reviews
from watcher.staging.scan import Scanning
from watcher.staging.stager import Staging
from watcher.state.change_filter import ChangeFilter
from watcher.state.inventory import Inventory, stands_by
from watcher.state.journal_queue import JournalQueue
from watcher.state.number_claims import NumberClaims
from watcher.state.registry_changes import RegistryChanges
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.vm.plan import Policy
from watcher.vm.record import Batch, PoolRecord, VmKind, VmRecord
from watcher.xapi.callers import Callers
from watcher.xapi.event_stream import StreamBroken
from watcher.xapi.role import Mastery, Role

_FEW_ENTRIES = 200
_MIRROR_SECONDS = 1.0


class Watcher:
    """Compares the registry with XAPI, and makes them agree."""

    def __init__(self, view: RegistryView, policy: Policy, inventory: Inventory,
                 permit: WritePermit, *, journal_queue: JournalQueue, dispatch: JobDispatch,
                 notices: DaemonNotices, changes: RegistryChanges, change_filter: ChangeFilter,
                 number_claims: NumberClaims, receipts: Receipts, boot_observer: BootObserver,
                 staging: Staging, lifting: Lifting, reviews: Reviews, scanning: Scanning,
                 mirroring: Mirroring, numbers: NumberKeeper, callers: Callers,
                 restart_stream: Callable[[], None], clock: Callable[[], float],
                 wall: Callable[[], float]) -> None:
        self._view, self._policy = view, policy
        self.inventory, self.permit = inventory, permit
        self._journal_queue, self._dispatch = journal_queue, dispatch
        self._notices, self._changes, self._change_filter = notices, changes, change_filter
        self._number_claims, self._lifting = number_claims, lifting
        self.receipts, self._boot_observer = receipts, boot_observer
        self.staging, self.reviews, self.scanning = staging, reviews, scanning
        self.mirroring, self.numbers = mirroring, numbers
        self._callers, self._restart_stream = callers, restart_stream
        self._clock, self._wall = clock, wall
        self._mastery = Mastery()
        self._is_recalled = False
        self._noted_fights: Tuple[str, ...] = ()
        self.synced_at: Optional[float] = None
        self.last_answer: Optional[float] = None
        self.staging.policy = policy
        self._handlers: Dict[type, Callable[[Any, float], None]] = {
            Batch: self._on_batch, Outcome: self._on_outcome, VmRead: self._on_read,
            BlocksLifted: self._on_lifted, MirrorWritten: self._on_mirror_written,
            HostsListed: lambda message, _now: mirroring.hear(message),
            Testimony: lambda message, _now: mirroring.hear(message),
            Inspected: lambda message, _now: boot_observer.take(message),
            StreamBroken: self._on_broken}

    @property
    def is_settled(self) -> bool:
        """Whether all VMs have been seen and nothing waits for a write.

        A mirror that is soon whole is waited for, so that ready is quiet; never for long.
        """
        if (0 < self.mirroring.push.waiting < _FEW_ENTRIES
                and self._clock() - (self.synced_at or 0.0) < _MIRROR_SECONDS):
            return False
        return (self.permit.is_synced and not self._changes.is_waiting
                and not self._changes.is_locked
                and not self.staging.is_waiting and not self.reviews.is_waiting)

    def set_policy(self, policy: Policy) -> None:
        """Take another template or other names; every VM deserves a look."""
        self._policy = self.staging.policy = policy
        self.inventory.renumber(policy)
        if self.permit.is_synced:
            self._number_claims.note_all()
        self.reviews.at_all()

    def handle(self, message: Any) -> None:
        """Take one message out of the inbox."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, self._clock())
            self.reviews.advance()

    def begin_session(self, role: Role) -> None:
        """A session was opened: from now on this is what we may do."""
        self.permit.role = role
        self._lifting.restart()
        self.staging.begin_session()
        self.mirroring.begin_session()

    def poll_registry(self) -> None:
        """Look whether the registry has changed, and at the VMs that it concerns."""
        if self._changes.poll():
            self._note_policy()
            self.mirroring.note_contents()
            # Before anything is staged by it: the consumer must not take a new row for a thief.
            self._attend_numbers(self._clock())
        if not self.permit.is_synced:
            return
        self._recall()
        change = self._changes.take()
        if change.is_changed or (self._view.must_order_claims and not self._changes.is_waiting):
            if change.became_available:
                self._boot_observer.note(tuple(self.inventory.vms))
            self._number_claims.note_all(is_complete=not self.inventory.aside)
            self._journal_queue.flush()
            if change.concerns_all:
                self.reviews.at_all()
            else:
                self.reviews.at_touched(change.touched)

    def pump(self) -> None:
        """Look at the VMs whose time has come, and write down what was learned."""
        now = self._clock()
        self._attend_numbers(now)
        self._lifting.check(now)
        if (self._changes.find_due(self.permit.is_synced) or now + 1.0) <= now:
            self.poll_registry()
        for ref in self.staging.take_due(now):
            self.reviews.at(ref, now)
        # Whose numbers were found to run elsewhere, or to be free.
        for vm in self._number_claims.take_stirred():
            self.reviews.at(vm.ref, now)
            self.reviews.note_changed((vm,))
        self._attend_mirror(now)
        self.reviews.advance()
        self._journal_queue.flush()
        self._dispatch.let_go()

    @property
    def next_due(self) -> Optional[float]:
        """When `pump` has something to do, on the monotonic clock."""
        is_busy = self._dispatch.is_holding or self.reviews.is_waiting
        times = (0.0 if is_busy else None, self.staging.next_due,
                 self._lifting.next_due, self._changes.find_due(self.permit.is_synced),
                 self.mirroring.find_due() if self.permit.is_synced else None)
        return min([at for at in times if at is not None], default=None)

    def note_watch(self, clock_step: Optional[ClockStep] = None) -> None:
        """Leave word for vgpu-admin of how things are, and that the clock was set."""
        role, offset = self.permit.role, self._wall() - self._clock()
        since, answered = [at + offset if at is not None else None for at in (
            self.synced_at if self.permit.is_synced else None, self.last_answer)]
        self._noted_fights = self.staging.list_fought_over(self._clock())
        self._journal_queue.note_watch(since, answered, role, self._noted_fights, clock_step)

    def begin_held(self) -> None:
        """While stopping: begin what was held for the journal."""
        self.flush()
        self._dispatch.let_go()

    def handle_last(self, message: Any) -> None:
        """While stopping: only outcomes still count."""
        if isinstance(message, Outcome):
            self._finish(message, self._clock())

    def flush(self) -> None:
        """Write down what was learned."""
        self._journal_queue.flush()

    def _on_batch(self, batch: Batch, now: float) -> None:
        self.last_answer = now
        if not self._change_filter.is_relevant(batch):
            return
        if self._view.is_available or batch.is_first:
            # A file that cannot be used is tried twice a second, not once per batch.
            self.poll_registry()
        if batch.is_first:
            self.inventory.restart_rest(now)
            self._recall()
        self._note_pools(batch.pools)
        for error in batch.malformed:
            self._set_aside(error)
        moved = [self._take(vm, now) for vm in batch.vms]
        # After that: one that was replaced under its own UUID is not gone.
        for ref in self._list_gone(batch):
            self._drop(ref)
        if batch.is_first:
            self.permit.is_synced = True
            # A VM that bears a number now bore it before anything is staged from here on.
            self._number_claims.note_all(is_complete=not batch.malformed)
            self._forget_vanished(batch)
            # Before anything is staged: the mirror may be newer than the registry here.
            self._attend_mirror(now)
            self._boot_observer.note(batch.vms)
            self.synced_at = now
            self.note_watch()
            get_logger().info('stream.resynced', vms=len(batch.vms),
                              registered=len(self._view.assignments))
            self._changes.settle()
            self.reviews.at_all()
        else:
            changed = self._number_claims.note(batch.vms)
            # What runs decides too: boots first.
            self._boot_observer.note(batch.vms)
            for vm in batch.vms:
                self.reviews.at(vm.ref, now)
            self.reviews.note_changed(changed + tuple(moved))
        if self._view.was_read:
            self._change_filter.note_followed(batch.vms)

    def _list_gone(self, batch: Batch) -> Tuple[str, ...]:
        """The refs of deleted VMs: the first batch names every VM there is."""
        if not batch.is_first:
            return batch.gone
        shown = {vm.ref for vm in batch.vms} | {error.ref for error in batch.malformed}
        return tuple(vm.ref for vm in self.inventory.vms if vm.ref not in shown)

    def _note_pools(self, pools: Iterable[PoolRecord]) -> None:
        """Another master than the role rests on: nothing is written until it is asked again."""
        for pool in pools:
            role = self.permit.role
            if role is not None and self._mastery.has_moved(role, pool):
                get_logger().warning('role.doubted', master=role.master, found=pool.master)
                self.permit.role = role._replace(
                    is_writer=False, refusal='the resource pool has another master now')
                self._restart_stream()
            elif role is not None and role.master == pool.master:
                self.mirroring.note_pool(pool)

    def _attend_mirror(self, now: float) -> None:
        if self.permit.is_synced:
            self.mirroring.attend(now, jobs=len(self.staging.busy),
                                  is_staging=self.staging.is_waiting)
            if self.permit.take_regained():
                self.reviews.at_touched(tuple(vm.uuid for vm in self.inventory.vms))

    def _attend_numbers(self, now: float) -> None:
        self.numbers.attend(now, self.last_answer)

    def _recall(self) -> None:
        """Once, as soon as the journal can be read: what an earlier daemon left to be done."""
        if self._is_recalled:
            return
        if not self._view.is_journal_readable:
            self._boot_observer.wait_for_past()
            return
        try:
            self.staging.recall()
            role = self.permit.role
            self._boot_observer.recall(self._view.journal, role.host if role else None)
            self._is_recalled = True
        except JournalUnavailable as error:
            self._journal_queue.give_up_journal(error)

    def _take(self, vm: VmRecord, now: float) -> Optional[VmRecord]:
        """Take a record; the one before, when others may stand differently without it."""
        before = self.inventory.update(vm, self._policy, now)
        self.mirroring.note_vm(vm, before)
        self.staging.leftovers.note(vm)
        if vm.start_blocks and self.permit.is_in_charge:
            self._lifting.note(vm, now)
        if before is not None and before.kind is VmKind.VM and vm.kind is not VmKind.VM:
            self._notices.tell_lost(before, vm.kind)
        has_moved = before is not None and stands_by(before) != stands_by(vm)
        return before if has_moved else None

    def _drop(self, ref: str) -> None:
        self._notices.forget(ref)
        vm = self.inventory.drop(ref)
        if vm is None:
            return
        self.staging.forget(vm)
        self._change_filter.drop(ref)
        self.mirroring.push.drop(ref)
        self._boot_observer.note_gone(vm)
        self._number_claims.note_gone(vm)
        if vm.kind is VmKind.VM and self.inventory.find_by_uuid(vm.uuid) is None:
            self._notices.tell_lost(vm, None)
        self.reviews.note_changed((vm,))

    def _set_aside(self, error: MalformedRecord) -> None:
        """A record we cannot understand: its VM is left alone until it changes."""
        self._notices.tell_aside(error)
        self.inventory.aside.add(error.ref)

    def _forget_vanished(self, batch: Batch) -> None:
        if self._is_recalled and not batch.malformed:
            known = frozenset(vm.uuid for vm in batch.vms)
            self.staging.forget_vanished(known)
            self.receipts.forget_vanished(known)

    def _on_outcome(self, outcome: Outcome, now: float) -> None:
        plan = outcome.plan
        is_fresh = self._finish(outcome, now)
        if outcome.kind is OutcomeKind.VANISHED:
            self._drop(plan.vm.ref)
        self.note_lost(outcome.lost_session)
        if self.staging.list_fought_over(now) != self._noted_fights:
            self.note_watch()
        self.reviews.at(plan.vm.ref, now, is_fresh=is_fresh)
        self.reviews.note_changed((plan.vm,))

    def _finish(self, outcome: Outcome, now: float) -> bool:
        if outcome.plan.is_rescue and outcome.kind is OutcomeKind.WRITTEN:
            self.receipts.note_rescued(outcome.plan.vm.uuid)
        return self.staging.finish(outcome, now)

    def note_lost(self, session: Optional[str]) -> None:
        """Treat a lost session as a lost stream; one of before the last reconnect says nothing."""
        if session is not None and self._callers.is_current(session):
            self._restart_stream()

    def _on_read(self, read: VmRead, now: float) -> None:
        self.note_lost(read.lost_session)
        if read.malformed is not None:
            self._set_aside(read.malformed)
        elif read.error:
            self.staging.note_unread(read.ref, now)
        elif read.vm is None:
            self._drop(read.ref)
        elif not self.staging.is_fresh(read.vm, read.began_at):
            self._dispatch.reread(read.vm)
        else:
            moved = self._take(read.vm, now)
            changed = self._number_claims.note((read.vm,), is_fresh=True)
            self._boot_observer.note((read.vm,))
            self.reviews.at(read.ref, now, is_fresh=True)
            self.reviews.note_changed(changed + (moved,))

    def _on_lifted(self, lifted: BlocksLifted, now: float) -> None:
        self.note_lost(lifted.lost_session)
        self._lifting.take(lifted, now)
        if lifted.vm is not None and self.staging.is_fresh(lifted.vm, lifted.began_at):
            self._take(lifted.vm, now)
            self.reviews.at(lifted.ref, now)
        elif lifted.vm is not None:
            self._dispatch.reread(lifted.vm)

    def _on_mirror_written(self, written: MirrorWritten, now: float) -> None:
        self.mirroring.push.take(written, now)
        self.note_lost(written.lost_session)

    def _on_broken(self, _broken: StreamBroken, _now: float) -> None:
        self.permit.is_synced = False
        self.receipts.doubt()
        self._change_filter.doubt()
        self.note_watch()

    def _note_policy(self) -> None:
        accepted = self._view.is_accepted
        if accepted != self._policy.is_accepted:
            self._policy = self.staging.policy = self._policy._replace(is_accepted=accepted)
