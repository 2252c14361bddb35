"""The whole state: XAPI, the disk, the daemon and everybody else; each method is a step.

The real `Watcher` decides, with its real staging, receipts, standings, lifting and notes; the
real `carry_out` and `read_vm` act, one call at a time. XAPI, the
disk and the clock are models.
"""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from registry.values import Contents, Pool, Priority, Vm as Row
from tests.unit.watcher.builders import HOST, POLICY, REF, UUID, build_vm, uuid_of
from tests.verification.model_checker import xapi
from tests.verification.model_checker.calls import Answer, Client, Job
from tests.verification.model_checker.consumer import BOOT_ID, Guard, RunDirectory, Start, list_added
from tests.verification.model_checker.daemon import (ROLE, Daemon, run_job, summarise_boots,
                                                     summarise_claims)
from tests.verification.model_checker.disk import Disk, Journal, Registry
from tests.verification.model_checker.xapi import foreign_in
from watcher.boots.inspection import find_in_arguments
from watcher.boots.receipts import Inspected
from watcher.consumer.numbers_file import MAX_AGE_SECONDS, Numbers, render_numbers
from watcher.vm.device_args import parse_args
from watcher.vm.boot import BootFinding
from watcher.vm.record import Batch, PowerState, VmKind, VmRecord
from watcher.xapi.event_stream import StreamBroken

# Longer than quiet time, echo and the first hold-offs.
STEP_SECONDS = 1.3
OTHER_REF, OTHER_UUID = 'OpaqueRef:vm-20', uuid_of(20)
# Further registered VMs: (ref, UUID, number of the row).
PEERS = ((OTHER_REF, OTHER_UUID, 11), ('OpaqueRef:vm-30', uuid_of(30), 12))
# Who acts how often, besides the daemon and what follows from what has begun.
KINDS = ('start', 'whole_map', 'start_fails', 'reboot', 'api_reboot', 'suspend', 'migrate',
         'revert', 'clone', 'destroy', 'meddle', 'edit', 'number', 'disable', 'remove', 'accept',
         'crash', 'cut', 'break', 'rotate', 'hand', 'master', 'gone', 'template', 'block',
         'unblock', 'doze', 'pause')
# Where one of these happens, a boot may take what was not in place when the VM last rested: it is
# told as what it is, and not always as one that waits.
_UNTIDY = frozenset(['meddle', 'revert', 'whole_map', 'hand', 'clone', 'disable', 'remove',
                     'rotate', 'cut', 'break', 'master'])


class Hidden(NamedTuple):
    """What is neither in XAPI nor on the disk nor in the daemon."""
    budget: Tuple[Tuple[str, int], ...]
    now: float = 100.0
    is_alive: bool = False
    inbox: Tuple[Any, ...] = ()
    jobs: Tuple[Job, ...] = ()
    inspections: Tuple[Tuple[str, Tuple[str, int]], ...] = ()
    changed: frozenset = frozenset()
    """The refs that the next answer of event.from will name."""
    needs_first: bool = False
    tasks: int = 0
    problem: str = ''
    excused: int = 0
    guard: Optional[Guard] = None
    """None: QEMUs take what XAPI gives, and nobody looks."""


class State(NamedTuple):
    """A world at rest in memory, to be gone on with from."""
    vms: Mapping[str, xapi.Vm]
    disk: Disk
    is_touched: bool
    daemon: Tuple[Any, ...]
    hidden: Hidden


class World:
    """One world that is moved on, step by step, and put back."""

    def __init__(self, args: Optional[str], *, snapshot: Optional[str] = None,
                 other: Optional[str] = None, peers: int = 0, is_accepted: bool = True,
                 settles_platform: bool = False, step_seconds: float = STEP_SECONDS,
                 consumer: str = '', suspended: Optional[str] = None,
                 **budget: int) -> None:
        assert set(budget) <= set(KINDS), budget
        self.is_tidy = not (_UNTIDY & set(budget) or other is not None or settles_platform)
        self.snapshot = snapshot
        self.is_contested = other is not None
        self.step_seconds = step_seconds
        self.vms: Dict[str, xapi.Vm] = {REF: _build(args, settles_platform=settles_platform)}
        for ref, vm_uuid, vm_id in PEERS[:peers]:
            self.vms[ref] = _build(render(vm_id), ref=ref, uuid=vm_uuid)
        if other is not None:
            self.vms[OTHER_REF] = _build(other, ref=OTHER_REF, uuid=OTHER_UUID)
        if suspended is not None:
            # Somebody else's, or an import: its memory image has our device.
            self.vms[OTHER_REF] = _build(
                None, ref=OTHER_REF, uuid=OTHER_UUID,
                power_state=PowerState.SUSPENDED)._replace(frozen=suspended, pushed=suspended)
        contents = Contents(int(is_accepted), (Pool('A', 'A'), Pool('B', 'B')), tuple(
            [Row(10, UUID, 'web', 'A', Priority.HIGH)]
            + [Row(vm_id, vm_uuid, 'web', 'A', Priority.HIGH)
               for _ref, vm_uuid, vm_id in PEERS[:peers]]))
        # An earlier daemon has seen the rows, and, where nothing untidy happens, what stands there.
        self.journal = Journal(Disk(contents, {row.vm_uuid: row.vm_id for row in contents.vms}))
        if self.is_tidy and args is not None:
            self.journal.note_staged(UUID, 10, POLICY.read(self.vms[REF].record).managed or '')
        self.registry = Registry(self.journal)
        self.hidden = Hidden(tuple(sorted(budget.items())))
        self.daemon = Daemon(self.journal, self.registry, lambda: self.hidden.now,
                             self._note_job, self._note_look)
        if consumer:
            self._set(guard=_build_guard(consumer, contents, self.hidden.now))
            self.daemon.serve(RunDirectory(lambda: self.hidden.guard, self._note_guard),
                              lambda: self.hidden.guard.at(self.hidden.now))

    def save(self) -> State:
        """The state, for later."""
        return State(dict(self.vms), self.journal.disk, self.registry.is_touched,
                     self.daemon.save(), self.hidden)

    def restore(self, state: State) -> None:
        """Go back to it."""
        self.vms = dict(state.vms)
        self.journal.disk, self.registry.is_touched = state.disk, state.is_touched
        self.daemon.restore(state.daemon)
        self.hidden = state.hidden

    @property
    def key(self) -> int:
        """What tells this state from others: 64 bits of it, as many model checkers do."""
        hidden, disk = self.hidden, self.journal.disk
        return hash((
            tuple(sorted(self.vms.items())), disk.contents, self.registry.is_touched,
            tuple(sorted(disk.seen.items())), tuple(sorted(disk.replacements.items())),
            tuple(sorted(disk.orphans)), summarise_claims(self.journal),
            summarise_boots(self.journal), hidden.budget, hidden.is_alive, hidden.inbox,
            hidden.jobs, hidden.inspections, hidden.changed, hidden.needs_first, hidden.problem,
            self.daemon.freeze(hidden.now) if hidden.is_alive else (),
            hidden.guard and (hidden.guard.read(hidden.now), hidden.guard.is_paused)))

    def budget(self, kind: str) -> int:
        """How often this may still happen."""
        return dict(self.hidden.budget).get(kind, 0)

    def spend(self, kind: str) -> None:
        """It happens."""
        self._set(budget=tuple((name, left - (name == kind)) for name, left in self.hidden.budget))

    @property
    def row(self) -> Optional[Row]:
        """The row of the first VM."""
        return self.journal.disk.contents.by_uuid.get(UUID)

    def desired_of(self, vm: xapi.Vm) -> Optional[str]:
        """The whole value that a registered VM should carry; foreign text comes first here."""
        row = self.journal.disk.contents.by_uuid[vm.record.uuid]
        pool = {pool.pool_id: pool for pool in self.journal.disk.contents.pools}[row.pool_id]
        span = POLICY.template.render(row.pool_id, int(row.priority), row.vm_id)
        words = [vm.ghost_foreign or '', span if pool.enabled else '']
        return ' '.join(word for word in words if word) or None

    # XAPI.

    def put(self, ref: str, vm: Optional[xapi.Vm]) -> None:
        """A VM has changed, or is gone; an event will tell when the record did."""
        before = self.vms.get(ref)
        if self.hidden.guard is not None and vm is not None and before is not None \
                and vm.domids > before.domids:
            vm = self._consume(ref, before, vm)
        if vm is None:
            del self.vms[ref]
        else:
            self.vms[ref] = vm
        if before is None or vm is None or before.record != vm.record:
            self._set(changed=self.hidden.changed | {ref})
        if vm is not None and vm.ghost_broken:
            self._set(problem=vm.ghost_broken)

    def find_doubles(self) -> str:
        """The number that two QEMUs run although rows gave it out (P10); '' for none."""
        contents, ran = self.journal.disk.contents, {}  # type: ignore
        for ref, vm in sorted(self.vms.items()):
            number = number_in(vm.taken) if vm.has_qemu else None
            is_given_out = vm.record.uuid in contents.by_uuid or vm.ghost_had_row
            if number is None or not is_given_out:
                continue
            if number in ran:
                return 'the QEMUs of %s and %s run number %d' % (ran[number], ref, number)
            ran[number] = ref
        return ''

    def _consume(self, ref: str, before: xapi.Vm, vm: xapi.Vm) -> xapi.Vm:
        """The consumer starts the VM's QEMU, and is held to what P26 says."""
        guard, now = self.hidden.guard, self.hidden.now
        is_restored = before.phase in ('resume', 'migrate')
        start = Start(vm.frozen, vm.record.uuid, is_restored, guard.numbers, guard.at(now).seconds,
                      guard.is_paused)
        added = list_added(start)
        rows, is_confirmed = guard.read(now)
        number, owners = number_in(vm.frozen), dict(rows)
        is_guarded = is_confirmed and not is_restored and not guard.is_paused
        is_stolen = number in owners and vm.record.uuid not in owners.values()
        carried = tuple((parse_args(vm.frozen, POLICY.names).managed or '').split())
        vm = vm._replace(is_withheld=bool(carried) and not added, ghost_is_guarded=is_guarded)
        if added not in ((), carried):
            self._set(problem='the consumer gave %r of %r' % (added, vm.frozen))
        elif added != carried and not (is_guarded and is_stolen):
            self._set(problem='the consumer withheld %r from %s' % (carried, ref))
        elif added and is_guarded and is_stolen:
            self._set(problem='the QEMU of %s got the number of %s' % (ref, owners[number]))
        return vm._replace(ghost_took=vm.ghost_took[:-1] + (
            vm.ghost_took[-1][:2] + (vm.taken,),)) if vm.is_withheld else vm

    def find_stolen(self) -> str:
        """A QEMU that got the number of another one, whose row has it (P26); '' for none."""
        rows = self.journal.disk.contents.by_uuid
        runs = {number_in(vm.taken): vm.record.uuid for vm in self.vms.values()
                if vm.has_qemu and vm.record.uuid in rows}
        for vm in self.vms.values():
            number = number_in(vm.taken) if vm.has_qemu and vm.ghost_is_guarded else None
            if vm.record.uuid not in rows and number in runs \
                    and rows[runs[number]].vm_id == number:
                return 'a QEMU runs number %d, stolen from %s' % (number, runs[number])
        return ''

    def next_task(self) -> str:
        """A task of its own for each operation."""
        self._set(tasks=self.hidden.tasks + 1)
        return 'OpaqueRef:task-%d' % self.hidden.tasks

    def execute(self, known: Optional[VmRecord], name: str, ref: str, *params: Any) -> Answer:
        """Carry out a call: (code of the error or '', value)."""
        vm = self.vms.get(ref)
        if vm is None:
            return 'HANDLE_INVALID', None
        record = vm.record
        if name == 'read_vm':
            return '', record
        self._check_may_write(known, name)
        if name == 'remove_args':
            self.put(ref, vm.write(args=None))
        elif name == 'set_args':
            if record.settles_platform:
                self._set(problem='a map that the next start completes was replaced')
            self.put(ref, vm.write(args=params[0]))
        elif name == 'add_args' and record.args is None:
            self.put(ref, vm.write(args=params[0]))
        else:
            return 'MAP_DUPLICATE_KEY', None
        return '', None

    # The daemon.

    def begin_daemon(self) -> None:
        """Start it; its first batch will be read in a moment."""
        self._set(is_alive=True, inbox=(), jobs=(), inspections=(), needs_first=True)
        self.daemon.be_born()

    def kill_daemon(self) -> None:
        """End it where it is; what it has in memory is gone."""
        self._set(is_alive=False, inbox=(), jobs=(), inspections=(), changed=frozenset())

    def change_master(self) -> None:
        """Another host takes over: its journal knows none of what ours has noted."""
        self.kill_daemon()
        seen = {row.vm_uuid: row.vm_id for row in self.journal.disk.contents.vms}
        self.journal.disk = Disk(self.journal.disk.contents, seen)

    def read_events(self) -> None:
        """event.from answers: what has changed, as it is now."""
        hidden = self.hidden
        refs = set(self.vms) if hidden.needs_first else hidden.changed
        batch = Batch('', tuple(self.vms[ref].record for ref in sorted(refs) if ref in self.vms),
                      tuple(sorted(refs - set(self.vms))), is_first=hidden.needs_first)
        self._set(inbox=hidden.inbox + (batch,), changed=frozenset(), needs_first=False)

    def handle(self, is_last: bool = False) -> None:
        """The main thread takes a message; when it is the last, it dies before it writes down."""
        message, *rest = self.hidden.inbox
        self._set(inbox=tuple(rest))
        if isinstance(message, StreamBroken):
            self.daemon.watcher.handle(message)
            self.daemon.watcher.begin_session(ROLE)
            self._set(needs_first=True)
        else:
            self.daemon.watcher.handle(message)
        if is_last:
            self.daemon.watcher._journal_queue._writes.clear()
            self.kill_daemon()
        else:
            self.daemon.watcher.pump()

    def poll_registry(self) -> None:
        """Half a second has passed."""
        self.daemon.watcher.poll_registry()
        self.daemon.watcher.pump()

    def run_job(self, index: int, fault: str = '') -> None:
        """A job makes its next call."""
        job = self.hidden.jobs[index]
        if not job.has_begun:
            job = job._replace(has_begun=True, known=self.daemon.watcher.inventory.find(job.ref))
        client = Client(job, self.execute, fault)
        left, message = run_job(self.daemon, job, client)
        jobs = list(self.hidden.jobs)
        jobs[index:index + 1] = [left] if left is not None else []
        self._set(jobs=tuple(jobs))
        if message is not None:
            self._set(inbox=self.hidden.inbox + (message,))

    def look(self) -> None:
        """The host shows what runs in the oldest domain that waits for a look."""
        (vm_uuid, domain), *rest = self.hidden.inspections
        vm = next((vm for vm in self.vms.values() if vm.record.uuid == vm_uuid), None)
        finding = BootFinding(is_readable=False, problem='not here')
        if vm is not None and vm.record.domain == domain and domain[0] == HOST:
            finding = BootFinding(find_in_arguments(tuple((vm.taken or '').split()), POLICY.names),
                                  is_withheld=vm.is_withheld)
        self._set(inspections=tuple(rest),
                  inbox=self.hidden.inbox + (Inspected(vm_uuid, domain, finding),))

    def pass_time(self) -> None:
        """Wait; the daemon looks at what is due."""
        self._set(now=self.hidden.now + self.step_seconds)
        if self.hidden.is_alive:
            self.daemon.watcher.pump()

    def doze(self) -> None:
        """So much time passes that what the daemon confirmed last counts no more."""
        self._note_guard(self.hidden.guard._replace(
            dozed=self.hidden.guard.dozed + MAX_AGE_SECONDS + 1.0))

    def pause_consumer(self) -> None:
        """`vgpu-admin consumer pause`."""
        self._note_guard(self.hidden.guard._replace(is_paused=True))

    def break_stream(self) -> None:
        """The connection is lost, and found again."""
        self._set(inbox=self.hidden.inbox + (StreamBroken('cut', 0.0),))

    # Everybody else.

    def edit(self, **fields: Any) -> None:
        """Somebody changes the first VM's row."""
        contents = self.journal.disk.contents
        self._write_contents(contents._replace(vms=tuple(
            row._replace(**fields) if row.vm_uuid == UUID else row for row in contents.vms)))

    def rotate(self) -> None:
        """Somebody gives each VM the number of the next, in one edit."""
        contents = self.journal.disk.contents
        numbers = [row.vm_id for row in contents.vms]
        self._write_contents(contents._replace(vms=tuple(
            row._replace(vm_id=vm_id)
            for row, vm_id in zip(contents.vms, numbers[1:] + numbers[:1]))))

    def write_by_hand(self, ref: str, vm_id: int) -> None:
        """Somebody writes a number into a record, whatever the VM does (P6)."""
        self.put(ref, self.vms[ref].write(args=render(vm_id))._replace(
            ghost_promised=None, ghost_whole=()))

    def block(self, ref: str, *texts: str) -> None:
        """Somebody else keeps a VM from starting, as XO does with its replicas, or lets it."""
        vm = self.vms[ref]
        self.put(ref, vm._replace(record=vm.record._replace(
            start_blocks=tuple(('start', text) for text in texts))))

    def remove_row(self) -> None:
        """Somebody deletes it."""
        contents = self.journal.disk.contents
        self._write_contents(contents._replace(vms=tuple(
            row for row in contents.vms if row.vm_uuid != UUID)))

    def disable_pool(self) -> None:
        """Somebody switches the first VM's vGPU pool off."""
        contents = self.journal.disk.contents
        self._write_contents(contents._replace(pools=tuple(
            pool._replace(enabled=pool.pool_id != 'A') for pool in contents.pools)))

    def accept(self) -> None:
        """Somebody takes the registry over."""
        self._write_contents(self.journal.disk.contents._replace(version=1))

    def meddle(self, ref: str, args: Optional[str], foreign: Optional[str]) -> None:
        """A second writer sets the key, or removes it.

        Between our read and our write XAPI gives us no means to notice: what is written then is
        lost, and the model does not hold it against us (docs/assurance.md).
        """
        if any(_is_about_to_write(job) for job in self.hidden.jobs if job.ref == ref):
            foreign = None
            self._set(excused=self.hidden.excused + 1)
        self.put(ref, self.vms[ref].write(args=args)._replace(
            ghost_promised=None, ghost_whole=(), ghost_foreign=foreign))

    def _write_contents(self, contents: Contents) -> None:
        had = {row.vm_uuid for row in self.journal.disk.contents.vms}
        self.journal.disk = self.journal.disk._replace(contents=contents)
        self.registry.is_touched = True
        for ref, vm in self.vms.items():
            self.vms[ref] = vm._replace(ghost_promised=None, ghost_had_row=(
                vm.ghost_had_row or vm.record.uuid in had))

    def _check_may_write(self, known: Optional[VmRecord], name: str) -> None:
        """P6, by the record that the job has read last or set out from."""
        may = known is not None and known.kind is VmKind.VM and (
            known.is_at_rest
            or known.is_starting and name == 'add_args')
        if not may:
            self._set(problem='%s on a VM that is not at rest: %r' % (name, known))
        elif known is not None and known.start_blocks \
                and known.uuid not in self.journal.disk.contents.by_uuid:
            self._set(problem='%s on a copy that others have blocked' % name)

    def _note_job(self, job: Job) -> None:
        self._set(jobs=self.hidden.jobs + (job,))

    def _note_look(self, vm_uuid: str, domain: Tuple[str, int]) -> None:
        self._set(inspections=self.hidden.inspections + ((vm_uuid, domain),))

    def _note_guard(self, guard: Guard) -> None:
        self._set(guard=guard)

    def _set(self, **fields: Any) -> None:
        self.hidden = self.hidden._replace(**fields)


def render(vm_id: int) -> str:
    """What a VM of the first pool carries, with text of others."""
    return '%s %s' % (xapi.FOREIGN, POLICY.template.render('A', int(Priority.HIGH), vm_id))


def number_in(args: Optional[str]) -> Optional[int]:
    """The number that stands in arguments."""
    return POLICY.number_of(build_vm(args))


def _build_guard(file: str, contents: Contents, now: float) -> Guard:
    """What an earlier daemon has left in /run: nothing, or a file that is confirmed or stale."""
    if file == 'absent':
        return Guard()
    age = {'confirmed': 0.0, 'stale': MAX_AGE_SECONDS + 1.0}[file]
    return Guard(render_numbers(Numbers(
        tuple((row.vm_id, row.vm_uuid) for row in contents.vms), BOOT_ID,
        Guard().at(now).seconds - age)))


def _build(args: Optional[str], **fields: Any) -> xapi.Vm:
    return xapi.Vm(build_vm(args, **fields), ghost_foreign=foreign_in(args))


def _is_about_to_write(job: Job) -> bool:
    if job.kind != 'carry_out' or not job.answers:
        return False
    last = [answer[1] for answer in job.answers]
    return isinstance(last[-1], VmRecord) and not any(
        isinstance(value, VmRecord) for value in last[:-1])


def is_running(vm: xapi.Vm) -> bool:
    """Whether its guest could do something on its own."""
    return vm.record.power_state is PowerState.RUNNING and not vm.phase

