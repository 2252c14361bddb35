"""Brings the mirror in XAPI to what the registry says; on the master.

Entries of VMs first, the pool's entry when they all stand; then what those of VMs have replaced
goes, and the entries of VMs that have no row any more, which the pool's entry has named as gone. So
a reader finds the mirror whole at any moment: as it was before, or as it is. All of it is a matter
of state: killed anywhere, the next daemon sees what is missing. Writes go last: after staging, four
at once at most.
"""

import collections
import itertools
from typing import Callable, Dict, Optional

from watcher.mirror.absentees import Absentees
from watcher.mirror.codes import Trust
from watcher.mirror.comparison import EntryKind, find_entry_kind, is_entry_right, plan_row
from watcher.mirror.complaints import Complaints
from watcher.mirror.entries import MirrorContent, VmEntry, row_of_entry
from watcher.mirror.seen import SeenEntries
from watcher.mirror.settling import Settling
from watcher.mirror.slots import SlotChange, apply_change, attach_pool, plan_entry
from watcher.mirror.writes import POOL, VM, MirrorWritten
from watcher.runtime.logs import get_logger
from watcher.runtime.timers import DueTimes
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.vm.record import PoolRecord, VmKind, VmRecord
from watcher.xapi.identity import NOT_FOR_US

WRITES_AT_ONCE = 4
# With staging together: the rest of the callers stay free for VMs that start.
_JOBS_AT_ONCE = 8
_LOOKS_PER_TURN = 200
_HOLD_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
# A VM whose entry XAPI refuses so often is kept in the pool's entry, so that others do not wait.
_GIVEN_UP = 3

Submit = Callable[[str, str, SlotChange], None]
NoteOrphan = Callable[[VmRecord, int], None]
# The error for an edit that is refused, '' for one that was taken, None for later.
TakeEdit = Callable[[VmRecord, VmEntry], Optional[str]]


class Push:
    """Which records deserve a look, which wait for a write, which are being written."""

    def __init__(self, view: RegistryView, inventory: Inventory, *, submit: Submit,
                 take_edit: TakeEdit, note_orphan: NoteOrphan) -> None:
        self._view = view
        self._inventory = inventory
        self._submit = submit
        self._take_edit = take_edit
        self._note_orphan = note_orphan
        self.seen = SeenEntries(inventory)
        self.refused = ''
        """Why XAPI lets nothing be written in this session."""
        self.writes = 0
        self.all_writes = 0
        """Calls that were carried out since the daemon began."""
        self.target: Optional[MirrorContent] = None
        self._dirty: Dict[str, None] = collections.OrderedDict()
        self._writes: Dict[str, None] = collections.OrderedDict()
        self._removals: Dict[str, None] = collections.OrderedDict()
        self._busy: Dict[str, str] = {}
        self._held = DueTimes()
        self._failures: Dict[str, int] = {}
        self._settling = Settling(self._held)
        self._absentees = Absentees()
        self._pool_change: Optional[SlotChange] = None
        self._is_pool_stale = True
        self._told = Complaints()

    # What is told.

    def restart(self) -> None:
        """A new session: nothing is known of what stands where."""
        self.aim(None)
        self.refused = ''
        self.seen.restart()
        self._told.restart()
        self._held.clear()
        self._failures.clear()

    def aim(self, target: Optional[MirrorContent]) -> None:
        """From now on this is what the mirror shall say (None: not ours to say)."""
        if target is None:
            for memory in (self._dirty, self._writes, self._removals):
                memory.clear()
        elif target != self.target:
            self._absentees.begin(target.rows)
            before = self._told.right if self.target is None else self.target.rows
            for vm in self._inventory.vms:
                self._dirty[vm.ref] = None
                if before.get(vm.uuid) != target.rows.get(vm.uuid):
                    self._forget_writes(vm)
        self.target = target
        self._is_pool_stale = True

    def _forget_writes(self, vm: VmRecord) -> None:
        """An edit: what was written for the row before it undid nothing, and no pause goes on."""
        self._failures.pop(vm.ref, None)
        self._held.pop(vm.ref)
        self._told.forget_writes(vm)

    def judge_by(self, trust: Trust) -> None:
        """Judge and sign by these keys from now on."""
        if trust != self.seen.trust:
            if self.seen.trust.keys and not self.seen.trust.is_required:
                self._told.note_leftovers(self._inventory.vms, trust)
            self.seen.judge_by(trust)
            self._dirty.update((vm.ref, None) for vm in self._inventory.vms if self.target)
            self._is_pool_stale = True

    def note(self, vm: VmRecord) -> None:
        """A VM's record is new, or other slots of it are taken."""
        if self.target is not None:
            self._settling.note(vm)
            self._dirty[vm.ref] = None
            self._is_pool_stale = True

    def note_pool(self, pool: PoolRecord) -> None:
        """The resource pool's record, as an event shows it."""
        self.seen.pool = pool
        self._is_pool_stale = True

    def drop(self, ref: str) -> None:
        """A VM is gone."""
        for memory in (self._dirty, self._writes, self._removals, self._failures):
            memory.pop(ref, None)  # type: ignore
        self._settling.drop(ref)
        self.seen.drop(ref)
        self._absentees.note(ref, None)
        self._told.drop(ref)
        self._is_pool_stale = True

    @property
    def waiting(self) -> int:
        """How many entries wait for a write or for its answer, the pool's among them."""
        if self.target is None:
            return 0
        is_pool_waiting = self._pool_change is not None and POOL not in self._busy.values()
        return is_pool_waiting + sum(len(waiting) for waiting in (
            self._dirty, self._writes, self._removals, self._busy))

    @property
    def is_mirrored(self) -> bool:
        """Whether the mirror is whole, and what the registry says."""
        return bool(self.target and self.seen.pool and not self._is_pool_stale and not self.waiting)

    @property
    def next_due(self) -> Optional[float]:
        """When there is something to do that no event announces; 0.0 is at once."""
        if self.target is None or self.seen.pool is None or self.refused:
            return None
        if self._dirty or self._may_plan_pool:
            return 0.0
        return min([at for at in (self.seen.echo.first, self._held.first) if at is not None],
                   default=None)

    @property
    def _may_plan_pool(self) -> bool:
        """The pool's entry is planned when those of VMs stand: not again after each of them."""
        return self._is_pool_stale and not (self._dirty or self._writes)

    def pump(self, now: float, jobs: int) -> None:
        """Look at records, and hand out as many writes as may be under way beside `jobs`."""
        if self.target is None or self.seen.pool is None or self.refused:
            return
        self._end_waits(now)
        for ref in list(itertools.islice(self._dirty, _LOOKS_PER_TURN)):
            del self._dirty[ref]
            self._enrol(ref)
            self._review(ref, now)
        if self._may_plan_pool:
            self._pool_change = self._plan_pool()
            self._is_pool_stale = False
        free = min(WRITES_AT_ONCE, _JOBS_AT_ONCE - jobs) - len(self._busy)
        if free > 0:
            self._hand_out(free)

    def take(self, written: MirrorWritten, now: float) -> None:
        """Take what became of a write."""
        self._busy.pop(written.ref, None)
        if written.is_gone:
            self.drop(written.ref)
        elif written.error:
            self._take_failure(written, now)
        elif written.is_done or written.record is not None:
            self._failures.pop(written.ref, None)
            self._held.pop(written.ref)
            self._claim(written, now)
        self._dirty[written.ref] = None
        self._is_pool_stale = True

    def _claim(self, written: MirrorWritten, now: float) -> None:
        """Go by what we wrote, or read."""
        change, record = written.change, written.record
        self.seen.claim(written.ref, record.mirror if record is not None else apply_change(
            self.seen.slots_of(written.ref), change), now)
        if written.is_done:
            self.writes += change.calls
            self.all_writes += change.calls
            vm = self._inventory.find(written.ref)
            self._told.put_right(written.ref, vm, now)
            if vm is not None and change.slot is not None:
                self._damp(vm, now)

    def _damp(self, vm: VmRecord, now: float) -> None:
        """An entry that is put right again and again rests for a while (P30). Meanwhile the pool's
        entry has the row of its VM: the mirror can always be made whole."""
        pause_seconds = self._told.find_pause(vm, now)
        if pause_seconds:
            self._failures[vm.ref] = _GIVEN_UP
            self._held.set(vm.ref, now + pause_seconds)

    def _end_waits(self, now: float) -> None:
        for ref in self.seen.end_claims(now) + self._held.take(now):
            self._dirty[ref] = None
            self._is_pool_stale = True

    def _hand_out(self, free: int) -> None:
        are_vms_written = not (self._writes or self._dirty or self._busy) and not any(
            count < _GIVEN_UP and self._will_write(ref) for ref, count in self._failures.items())
        if are_vms_written and self._pool_change is not None and self.seen.pool is not None \
                and self.seen.pool.ref not in self._held:
            self._busy[self.seen.pool.ref] = POOL
            self._submit(POOL, self.seen.pool.ref, self._pool_change)
        # Only what the pool's entry no longer goes by is taken away.
        may_remove = self._pool_change is None and not self._is_pool_stale
        for waiting in (self._writes, self._removals) if may_remove else (self._writes,):
            for ref in list(itertools.islice(waiting, free)):
                free -= 1
                del waiting[ref]
                self._begin(ref)

    def _will_write(self, ref: str) -> bool:
        """Whether the entry of a VM, whose write failed, is written again: not taken away."""
        vm = self._inventory.find(ref)
        return vm is not None and self._is_judged(vm) and ref not in self._removals

    def _begin(self, ref: str) -> None:
        change = self._plan_vm(self._inventory.find(ref))
        if change is not None:
            self._busy[ref] = VM
            self._submit(VM, ref, change)

    def _review(self, ref: str, now: float) -> None:
        vm = self._inventory.find(ref)
        if vm is None or ref in self._busy or ref in self._held or not self._is_judged(vm):
            return
        if not self._note_standing(vm, now):
            return
        change = self._plan_vm(vm)
        for waiting in (self._writes, self._removals):
            waiting.pop(ref, None)
        if change is not None:
            if change.slot is not None:
                self._writes[ref] = None
            elif self._settling.is_over(vm, self.seen.find(ref).entry, now):
                self._removals[ref] = None
            return
        if self._failures.pop(ref, None) is not None:
            self._enrol(ref)  # it need not stand in the pool's entry any more
            self._is_pool_stale = True
        if self.target is not None and vm.uuid in self.target.rows:
            self._told.right[vm.uuid] = self.target.rows[vm.uuid]

    def _is_judged(self, vm: VmRecord) -> bool:
        """Whether an entry may be written there at all, and we know whether one belongs there."""
        return (vm.kind is VmKind.VM and vm.ref not in self._inventory.aside
                and vm.uuid not in self._view.faulty)

    def _plan_vm(self, vm: Optional[VmRecord]) -> Optional[SlotChange]:
        if vm is None or self.target is None or self.seen.pool is None:
            return None
        found, row = self.seen.find(vm.ref), self.target.rows.get(vm.uuid)
        if row is not None:
            generation = self.target.generation
            if is_entry_right(found, row, self.seen.pool.uuid, generation.number):
                return plan_entry(found, '', is_right=True)
            committed = self.seen.find(self.seen.pool.ref)
            return plan_row(self.seen.slots_of(vm.ref), row, self.seen.pool.uuid, generation,
                            committed.entry if committed.is_trusted else None, self.seen.trust)
        kind = find_entry_kind(found, vm.uuid, self.seen.pool.uuid)
        # Of what is not there a code may be left.
        if kind not in (EntryKind.ARRIVED, EntryKind.INVALID):
            return plan_entry(found, None, False)
        return None  # nothing there, arrived, or not to be understood: left alone

    def _enrol(self, ref: str) -> None:
        """Have the pool's entry name the VM as what its record shows."""
        vm = self._inventory.find(ref)
        if vm is None or vm.kind is not VmKind.VM or self._failures.get(ref, 0) >= _GIVEN_UP:
            self._absentees.note(ref, None)
        elif self.target is not None and self.seen.pool is not None:
            is_gone = bool(vm.uuid not in self.target.rows and vm.mirror and find_entry_kind(
                self.seen.find(vm.ref), vm.uuid, self.seen.pool.uuid) is EntryKind.OWN)
            self._absentees.note(ref, vm.uuid, is_gone=is_gone)

    def _plan_pool(self) -> Optional[SlotChange]:
        if self.target is None or self.seen.pool is None:
            return None
        absent = tuple(self.target.rows[uuid] for uuid in sorted(self._absentees.absent))
        gone = tuple(sorted(self._absentees.gone))
        wanted = self.target.entry._replace(absent=absent, gone=gone)
        found = self.seen.find(self.seen.pool.ref)
        # Who was gone stays named until the next generation.
        is_right = (found.entry is not None and found.is_trusted and found.is_fresh
                    and found.entry._replace(gone=gone) == wanted)
        if self.seen.pool.ref not in self._busy:
            self._told.judge_pool(self.seen.pool.ref, found, wanted, self.seen.trust)
        text, attached = ('', ()) if is_right else attach_pool(wanted, self.seen.trust)
        return plan_entry(found, text, is_right, attached=attached)

    def _note_standing(self, vm: VmRecord, now: float) -> bool:
        """Remember why an entry is not as it should be; False when it is not to be written now."""
        if self.target is None or self.seen.pool is None:
            return False
        found, row = self.seen.find(vm.ref), self.target.rows.get(vm.uuid)
        kind = find_entry_kind(found, vm.uuid, self.seen.pool.uuid)
        self._told.forget_reason(vm.ref)
        if row is None and kind is EntryKind.ARRIVED:
            self._told.arrived(vm, found.entry)
        elif kind is EntryKind.BY_HAND and row is not None \
                and row_of_entry(found.entry) != row:
            return self._judge_edit(vm, found.entry, now)
        else:
            if row is None and kind is EntryKind.OWN:
                self._judge_leftover(vm, found.entry)
            self._told.judge(vm, found, row, self.seen.pool.uuid, self.target.generation.number,
                             self.seen.trust)
        return True

    def _judge_leftover(self, vm: VmRecord, entry: VmEntry) -> None:
        """A row was removed, and XAPI's database is older: the entry proves that what the VM
        carries is ours. A number that another VM has by now is not settled here (P10)."""
        if (vm.uuid not in self._view.orphans and entry.vm_id not in self._view.owners
                and vm.ref in self._inventory.carriers_of(entry.vm_id)):
            self._note_orphan(vm, entry.vm_id)

    def _judge_edit(self, vm: VmRecord, entry: VmEntry, now: float) -> bool:
        problem = self._take_edit(vm, entry)
        if problem is None:
            self._held.set(vm.ref, now + _HOLD_SECONDS[0])
        elif problem:
            self._told.refuse(vm.ref, problem, entry)
        return bool(problem)

    def _take_failure(self, written: MirrorWritten, now: float) -> None:
        if written.code in NOT_FOR_US:
            self.refused = written.error
            get_logger().warning('mirror.unavailable', reason=written.error)
            return
        failures = self._failures.get(written.ref, 0)
        self._failures[written.ref] = failures + 1
        hold_seconds = _HOLD_SECONDS[min(failures, len(_HOLD_SECONDS) - 1)]
        self._held.set(written.ref, now + hold_seconds)
        self._told.failed(written.table, written.ref, written.error, hold_seconds, now)
