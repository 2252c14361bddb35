"""The restart of a running VM: stop it, have it staged, start it, verify the boot.

The edit is committed before. Each step can fail or be interrupted: the message then says what
was done, what was not, how to go on and how to take the edit back. `--yes` never means a hard
stop: only `--force` does.
"""

import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from cli.commandline import options
from cli.effects.direct_staging import say_next_start, stage
from cli.effects.follow_up import Follow, plan_row
from cli.errors import CommandError, ExitStatus, Kind, translate
from cli.output.edit_messages import say_change
from cli.output.tables import describe_left
from cli.output.text import brief_name, name_vm, spell_vm
from cli.queries.boot_check import verify_boot
from cli.queries.daemon_status import find_daemon
from cli.queries.xapi_tasks import XAPI_AWAY, TaskTookTooLong, read_patiently, run_task, wait_until
from registry.difference import assignment_of
from registry.errors import RegistryError
from registry.values import Vm
from watcher.errors import MalformedRecord, XapiError, XapiUnreachable
from watcher.vm.plan import Action, PlanReason, State
from watcher.vm.record import PowerState, VmRecord

STOP_SECONDS = 120
START_SECONDS = 300
# More than 20 VMs at once may queue before this one.
STAGE_SECONDS = 30


class Ways(NamedTuple):
    """The commands to go on with after a failed restart."""

    go_on: str
    take_back: str = ''
    """Empty where nothing was committed."""

    def say_take_back(self) -> List[str]:
        """The line that tells how the edit is taken back."""
        return [f'take it back with: {self.take_back}'] if self.take_back else []


class Job(NamedTuple):
    """One VM of several that are restarted."""

    record: VmRecord
    ways: Ways
    row: Optional[Vm]
    starts: bool = True


def restart(context: Any, record: Optional[VmRecord], ways: Ways, *, starts: bool = True,
            row: Optional[Vm] = None) -> Follow:
    """Restart a running VM whose edit is committed; with `starts` false, stop it only.

    `row` is what was committed: a note says what became of it meanwhile.
    """
    assert record is not None, 'who restarts a VM has seen it run'
    context.advice[:] = ['the change is pending', f'go on with: {ways.go_on}'] \
        + ways.say_take_back()
    reason = _find_obstacle(context)
    if reason:
        raise CommandError(Kind.FAILED, '\n'.join(
            [f'{name_vm(record.name, record.uuid)} was not stopped: {reason}']
            + context.done + context.advice))
    try:
        return Restart(context, record, ways, row).run(starts)
    except (XapiError, MalformedRecord, RegistryError) as error:
        kind = translate(error).kind if isinstance(error, RegistryError) else Kind.FAILED
        raise CommandError(kind, '\n'.join(
            [f'{name_vm(record.name, record.uuid)}: {translate(error)}'] + context.done
            + [f'look at it with: vgpu-admin show-vm --vm-uuid={record.uuid}']
            + ways.say_take_back())) from error


_LEFT = Follow('pending', 'saved; not restarted, since the boot before it was not as assigned: '
               'pending until it is shut down and started')


def restart_all(context: Any, jobs: Sequence[Job]) -> Dict[str, Follow]:
    """Restart VMs one after the other; the first that fails is the last, and the rest is named.

    A boot that is not what was assigned is a failure, too: the next one would hardly be better.
    """
    followed: Dict[str, Follow] = {}
    for number, (record, ways, row, starts) in enumerate(jobs):
        try:
            followed[record.uuid] = restart(context, record, ways, starts=starts, row=row)
        except CommandError as error:
            raise CommandError(error.kind, '\n'.join(
                [str(error)] + _say_done(jobs[:number]) + _say_left(jobs[number + 1:]))) from error
        if followed[record.uuid].status is not ExitStatus.DONE:
            followed.update((job.record.uuid, _LEFT) for job in jobs[number + 1:])
            break
    return followed


def _say_done(jobs: Sequence[Job]) -> List[str]:
    return [f'done before: {_list_names(jobs)}'] if jobs else []


def _say_left(jobs: Sequence[Job]) -> List[str]:
    """Name the VMs that were not restarted, and the commands that apply their changes."""
    if not jobs:
        return []
    pending = ' '.join(job.record.uuid for job in jobs if job.row is not None)
    return [f'not restarted, and pending: {_list_names(jobs)}'] + (
        [f'restart what is pending with: vgpu-admin apply-pending {pending}'] if pending else []
    ) + [f'apply the removal with: xe vm-shutdown uuid={job.record.uuid}'
         for job in jobs if job.row is None]


def _list_names(jobs: Sequence[Job]) -> str:
    return ', '.join(name_vm(job.record.name, job.record.uuid) for job in jobs)


def _tell_of_others(context: Any, row: Vm) -> None:
    """Say how the row was changed while the VM was restarted."""
    found = context.registry.read().by_uuid.get(row.vm_uuid)
    if found is None:
        raise CommandError(Kind.CONFLICT, '\n'.join(
            [f'{name_vm(row.vm_name, row.vm_uuid)} is not registered any more: it was removed '
             'meanwhile']
            + context.done + [f'see who: vgpu-admin history --vm-uuid={row.vm_uuid}']))
    if assignment_of(found) != assignment_of(row):
        context.note(f'{name_vm(row.vm_name, row.vm_uuid)} was changed meanwhile by another '
                     f'command or program: {say_change(row, found)}')


def refuse_useless_restart(context: Any, row: Vm, record: Optional[VmRecord]) -> None:
    """Refuse a restart that would not apply the row: no VM is stopped for nothing."""
    assert record is not None, 'who restarts a VM has seen it run'
    role = context.live().role
    plan = plan_row(context, row, record.as_halted())
    if not role.is_writer:
        reason = role.refusal
    elif plan is not None and plan.action is Action.NONE and plan.state is not State.AS_DESIRED:
        reason = 'the registry is not accepted: run \'vgpu-admin accept\' first' \
            if plan.reason is PlanReason.NOT_ACCEPTED else \
            describe_left(plan, lacks_journal=bool(context.journal_problem))
    else:
        reason = _find_obstacle(context)
    _refuse_for(reason, record)


def refuse_vain_stop(context: Any, record: Optional[VmRecord]) -> None:
    """The same of a stop after which our arguments are to go."""
    if record is not None:
        _refuse_for(_find_obstacle(context), record)


def _refuse_for(reason: str, record: VmRecord) -> None:
    if not reason:
        return
    raise CommandError(Kind.FAILED, f'{name_vm(record.name, record.uuid)}: a restart would not '
                       'apply the change: '
                       f'{reason}; --no-restart commits it all the same; nothing was changed')


def _find_obstacle(context: Any) -> str:
    """Why the daemon that runs would not stage what is stopped; '' where it would."""
    from cli.effects.daemon_conditions import find_in_daemon
    blocker = find_in_daemon(context)
    return blocker[1].partition(': ')[2] if blocker is not None else ''


class Restart:
    """One restart, step by step, and the words for where it stopped."""

    def __init__(self, context: Any, record: VmRecord, ways: Ways,
                 row: Optional[Vm] = None) -> None:
        self._context = context
        self._record = record
        self._ways = ways
        self._row = row
        self._name = name_vm(record.name, record.uuid)
        self._brief = brief_name(record.name, record.uuid)
        """For messages on the way: the UUID stands in what was asked about."""

    def run(self, starts: bool) -> Follow:
        """Take step after step."""
        if not self.is_still_running():
            from cli.effects.follow_up import follow
            from cli.queries.preflight import Situation
            self._context.note(f'{self._name} does not run any more; its power state is left '
                               'as it is')
            return follow(self._context, self._record.uuid, Situation(self.read()))
        before = self.last_boot_number()
        self.stop()
        self.note_stopped()
        self._context.advice[:] = self._ways.say_take_back()
        staged = self._stage()
        if not starts:
            return Follow(staged.word, f'stopped; {staged.message}', staged.plan)
        self.start()
        self._context.done[-1] = f'{self._name} was stopped and started'
        self._context.advice[:] = [f'see what it runs with: vgpu-admin show-vm --vm-uuid='
                                   f'{self._record.uuid}']
        if self._row is None:
            # What carries nothing of ours gets no receipt.
            return Follow('restarted', 'restarted, with none of our arguments', staged.plan)
        return self._verify(before, self._row)

    def note_stopped(self) -> None:
        """Have it said, whatever comes next, that the VM must be started."""
        self._context.done.append(f'{self._name} was stopped, and is not started yet: '
                                  + self._start_command)

    def is_still_running(self) -> bool:
        """Whether the VM runs now."""
        return self.read().power_state is PowerState.RUNNING

    def _outlast(self, operation: str, seconds: float) -> None:
        """Wait while an operation goes on whose answer was lost; it cannot be cancelled."""
        wait_until(self._context, lambda: operation not in self.read().operation_names, seconds)

    def read(self) -> VmRecord:
        """Read the VM; an XAPI that is being restarted is waited for."""
        return read_patiently(
            self._context, lambda: self._context.live().client.read_vm(self._record.ref))

    def stop(self) -> None:
        """Stop the VM cleanly; hard only with --force."""
        seconds = self._context.arguments.get(options.TIMEOUT) or STOP_SECONDS
        is_forced = bool(self._context.arguments.get(options.FORCE))
        self._context.tell(f'stopping {self._brief} cleanly (at most {seconds} s)')
        try:
            run_task(self._context, 'VM.clean_shutdown', self._record.ref,
                     timeout_seconds=seconds, progress='clean stop')
            return
        except TaskTookTooLong as error:
            problem = f'it did not stop within {seconds} s'
            problem += ('; the stop was cancelled' if error.is_cancelled else
                        '; the stop could not be cancelled and may still happen')
        except XapiUnreachable as error:
            problem = f'the answer of XAPI was lost ({error}); the stop may still happen'
            self._outlast('clean_shutdown', seconds)
        except XapiError as error:
            problem = f'XAPI could not stop it ({error})'
        if self.read().power_state is PowerState.HALTED:
            return  # another program, or the late stop, was quicker
        if not is_forced:
            raise self._failed(f'{self._name}: {problem}; it keeps its old arguments until it is '
                               'shut down and started',
                               'stop the VM yourself, or allow a hard stop; '
                               f'go on with: {self._ways.go_on}', 'saved, and pending')
        self._context.tell(f'{problem}; stopping {self._brief} hard')
        run_task(self._context, 'VM.hard_shutdown', self._record.ref,
                 timeout_seconds=STOP_SECONDS, progress='hard stop')

    def _stage(self) -> Follow:
        """Stage, or wait until the daemon has."""
        self._context.tell(f'staging {self._brief}')
        deadline = self._context.clock() + STAGE_SECONDS
        staged = self._stage_once()
        while staged.word == 'by_daemon' and self._context.clock() < deadline:
            # A daemon that ends meanwhile leaves the work to us.
            wait_until(self._context, lambda: self._find_settled_plan() or self._is_alone(),
                       deadline - self._context.clock())
            plan = self._find_settled_plan()
            staged = staged._replace(plan=plan, word='staged',
                                     message=f'staged: {say_next_start(plan)}') \
                if plan else self._stage_once()
        if staged.word == 'by_daemon':
            away = self._context.xapi_problem
            staged = staged._replace(word='failed', message='the daemon did not stage it within '
                                     f'{STAGE_SECONDS} s' + (f' ({away})' if away else ''))
        if staged.word == 'failed':
            brief = spell_vm(self._record.name, self._record.uuid)
            raise self._failed(
                f'{self._name} is STOPPED: {staged.message}',
                f"once 'vgpu-admin show-vm {brief}' says as_desired ('vgpu-admin status' says what "
                f'keeps it), start it: {self._start_command}')
        return staged

    def _stage_once(self) -> Follow:
        """Stage; once more where that failed, when an XAPI that was restarted is back."""
        staged = stage(self._context, self._record.uuid)
        if staged.word == 'failed':
            with contextlib.suppress(*XAPI_AWAY):
                self.read()
                staged = stage(self._context, self._record.uuid)
        return staged

    def _is_alone(self) -> bool:
        return find_daemon(self._context.settings.registry.path) is None

    def _find_settled_plan(self) -> Optional[Any]:
        """The plan, once nothing is left to do; None as long as something is."""
        from cli.queries.pool_snapshot import read_neighbourhood
        try:
            view = read_neighbourhood(self._context, self._context.registry.read(),
                                      self._record.uuid)
        except XAPI_AWAY:
            self._context.reconnect()
            return None
        plan = view.plan_of(self._record.uuid)
        is_settled = (plan is not None and plan.action is Action.NONE
                      and plan.reason is not PlanReason.HALTED_RESIDENT)
        return plan if is_settled else None

    def start(self) -> None:
        """Start the VM; once more where XAPI went away at the first try."""
        self._context.tell(f'starting {self._brief}')
        if not self._start_once():
            self._context.tell(f'starting {self._brief} again: XAPI was away')
            self._start_once(is_last=True)

    def _start_once(self, *, is_last: bool = False) -> bool:
        """Start the VM; False when XAPI went away, came back, and has not started it."""
        try:
            run_task(self._context, 'VM.start', self._record.ref, False, False,
                     timeout_seconds=START_SECONDS, progress='start')
        except TaskTookTooLong as error:
            raise self._failed(f'{self._name} is staged, and may be STOPPED: it did not start '
                               'in time',
                               f'where it does not run, start it: {self._start_command}') from error
        except XapiError as error:
            is_gone = isinstance(error, XAPI_AWAY)
            if is_gone:
                self._outlast('start', START_SECONDS)
            if self.read().power_state is PowerState.RUNNING:
                return True  # another program was quicker, or only the answer was lost
            if is_gone and not is_last:
                return False
            raise self._failed(f'{self._name} is staged, and STOPPED: XAPI could not start it '
                               f'({error})',
                               f'fix what XAPI reports, and start it: {self._start_command}') \
                from error
        return True

    def _verify(self, before: int, row: Vm) -> Follow:
        _tell_of_others(self._context, row)
        verdict = verify_boot(self._context, self._record, before)
        status = ExitStatus.DONE if verdict.is_good else ExitStatus.FAILED
        return Follow(verdict.word, f'restarted; {verdict.message}', verdict.plan, status)

    def last_boot_number(self) -> int:
        """The number of the VM's newest receipt; 0 when there is none."""
        with self._context.journal() as journal:
            boot = journal.last_boot(self._record.uuid) if journal is not None else None
            return boot.id if boot is not None else 0

    def _failed(self, problem: str, advice: str, state: str = 'saved') -> CommandError:
        """What went wrong, the next step, and how the edit is taken back."""
        saved = f'. The change is {state}' if self._ways.take_back else ''
        return CommandError(Kind.FAILED, '\n'.join(
            [f'{problem}{saved}', advice] + self._ways.say_take_back()))

    @property
    def _start_command(self) -> str:
        return f'xe vm-start uuid={self._record.uuid}'
