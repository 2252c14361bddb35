"""Restarts VMs one after the other, each boot verified before the next.

A step is one VM, or a circle of VMs that wait for one another's numbers: these are stopped
together, staged, and started one after the other. Before each step everything is read again: what
is not pending any more is passed over. The first step that fails is the last one. Whatever was
stopped is started again, also after a Ctrl-C: only a second Ctrl-C leaves it stopped.
"""

import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from cli.commandline.time_window import TimeWindow
from cli.effects.direct_staging import stage_many
from cli.effects.restart import STAGE_SECONDS, Restart, Ways
from cli.errors import CommandError, ExitStatus, translate
from cli.interrupts import Wish, noticed
from cli.output.text import brief_name, plural
from cli.queries.boot_check import verify_boot
from cli.queries.daemon_status import find_daemon
from cli.queries.pending import Selection, Step, Waiting, name_of, select
from cli.queries.pool_snapshot import read_neighbourhood, read_pool
from cli.queries.xapi_tasks import XAPI_AWAY, read_patiently, wait_until
from registry.difference import assignment_of
from registry.errors import RegistryError
from registry.values import Contents
from watcher.errors import MalformedRecord, XapiError
from watcher.vm.plan import Action, State
from watcher.vm.record import PowerState

# No person waits at the terminal: a receipt may take as long as a busy host needs.
_RECEIPT_SECONDS = 60
_PAUSE_SECONDS = 0.25
_LOOK_AT_CLOCK_SECONDS = 1.0
_FAILURES = (CommandError, XapiError, MalformedRecord, RegistryError)
_INTERRUPTED = 'interrupted'
_GO_ON = 'go on with: '
_FIRST_CTRL_C = ('\nvgpu-admin: what is stopped is started before this ends; Ctrl-C again leaves '
                 'it stopped\n')


def read_pending(context: Any, contents: Contents) -> Tuple[Waiting, ...]:
    """Read all VMs; those that are pending, whether they run or not."""
    pool = read_pool(context, contents)
    found: List[Waiting] = []
    for vm in pool.ordinary_vms:
        row, plan = contents.by_uuid.get(vm.uuid), pool.plan(vm)
        if row is None or plan is None or plan.state is not State.PENDING:
            continue
        holders = pool.number_claims.list_having(row.vm_id) if plan.holder is not None else ()
        found.append(Waiting(row, vm, plan, pool.plan(vm.as_halted()), tuple(
            holder for holder in holders if holder.uuid != vm.uuid)))
    return tuple(found)


class RollOutcome(NamedTuple):
    """What became of it all."""

    word: str
    """applied, failed, interrupted or window_closed."""
    lines: List[str]
    results: Dict[str, Tuple[str, str]]
    """VM (UUID) -> restarted, failed or left, and a sentence."""
    status: ExitStatus


class Roll:
    """One rolling restart."""

    def __init__(self, context: Any, shown: Selection, command: str, *,
                 window: Optional[TimeWindow] = None, accepts_unverified: bool = False,
                 wall: Callable[[], float] = time.time) -> None:
        self._context = context
        self._command = command
        self._window = window
        self._accepts_unverified = accepts_unverified
        self._wall = wall
        self._remaining = {waiting.vm.uuid: waiting for step in shown.steps
                           for waiting in step.vms}
        self._total = len(self._remaining)
        self._results: Dict[str, Tuple[str, str]] = {}
        self._problem = ''
        self._is_unapplied = False
        """Whether a VM of the last step still waits for a restart."""
        self._says = '' if context.is_json else _FIRST_CTRL_C

    def run(self) -> RollOutcome:
        """Go from step to step until all is done, one fails, or Ctrl-C is pressed."""
        try:
            is_in_time = self._await_window()
            while is_in_time and self._remaining and not self._problem:
                if self._take_next():
                    return self._finish('interrupted', ExitStatus.INTERRUPTED)
                is_in_time = self._is_open()
        except KeyboardInterrupt:
            return self._finish('interrupted', ExitStatus.INTERRUPTED)
        if self._problem:
            return self._finish('failed', ExitStatus.FAILED)
        return self._finish('window_closed' if self._remaining else 'applied', ExitStatus.DONE)

    def _await_window(self) -> bool:
        """Wait until the window opens."""
        if self._window is None or self._is_open():
            return True
        self._context.tell(f'waiting until the window opens ({self._window})')
        while not self._is_open():
            self._context.sleep(_LOOK_AT_CLOCK_SECONDS)
        return True

    def _is_open(self) -> bool:
        return self._window is None or self._window.is_open(self._wall())

    def _take_next(self) -> bool:
        """Take the next step; whether Ctrl-C was pressed."""
        try:
            step = self._find_step()
        except _FAILURES as error:
            self._problem = f'XAPI or the registry could not be read: {translate(error)}'
            return False
        return self._take(step) if step is not None else False

    def _find_step(self) -> Optional[Step]:
        """Read everything again: the next step, if there is one."""
        pending = read_patiently(
            self._context, lambda: read_pending(self._context, self._context.registry.read()))
        found = {waiting.vm.uuid: waiting for waiting in pending if waiting.is_running}
        for vm_uuid, shown in list(self._remaining.items()):
            why = _find_change(shown, found.get(vm_uuid))
            if why:
                self._leave(shown, why)
        selection = select(pending, lambda waiting: waiting.vm.uuid in self._remaining)
        for left in selection.left:
            if left.waiting.vm.uuid in self._remaining:
                self._leave(left.waiting, left.why)
        return selection.steps[0] if selection.steps else None

    def _leave(self, waiting: Waiting, why: str) -> None:
        del self._remaining[waiting.vm.uuid]
        self._results[waiting.vm.uuid] = 'left', why
        self._context.tell(f'{name_of(waiting)}: {why}')

    def _take(self, step: Step) -> bool:
        """Restart the VMs of a step; whether Ctrl-C was pressed."""
        began: float = self._context.clock()
        restarts: Dict[str, Restart] = {}
        for waiting in step.vms:
            number = self._total - len(self._remaining) + 1 + len(restarts)
            self._context.tell(f'{number} of {self._total}: {name_of(waiting)}')
            restarts[waiting.vm.uuid] = Restart(self._context, waiting.vm, Ways(
                self._command + ' --force'), waiting.row)
        self._context.done[:] = []
        before = {vm_uuid: restart.last_boot_number() for vm_uuid, restart in restarts.items()}
        with noticed(says=self._says) as wish:
            problems, stopped = self._stop(step, restarts, wish)
            if not problems:
                problems = self._stage(step)
            self._is_unapplied = bool(problems)
            for waiting in stopped:
                problems += self._start(waiting, restarts[waiting.vm.uuid],
                                        None if problems else before[waiting.vm.uuid])
        if not (problems and problems[0] == _INTERRUPTED):
            self._note(step, problems, self._context.clock() - began)
        return wish.is_there

    def _stop(self, step: Step, restarts: Dict[str, Restart], wish: Wish) \
            -> Tuple[List[str], List[Waiting]]:
        """Stop all; what went wrong, and what is stopped now."""
        stopped: List[Waiting] = []
        for waiting in step.vms:
            try:
                wish.is_heeded = True
                restarts[waiting.vm.uuid].stop()
                wish.is_heeded = False
                problem = ''
            except KeyboardInterrupt:
                wish.is_heeded = False
                problem = _INTERRUPTED
            except _FAILURES as error:
                wish.is_heeded = False
                problem = _describe_failure(waiting, error)
            # A stop that was given up may have come through.
            if not problem or self._is_halted(restarts[waiting.vm.uuid]):
                stopped.append(waiting)
                restarts[waiting.vm.uuid].note_stopped()
            if problem:
                return [problem], stopped
        return [], stopped

    def _is_halted(self, restart: Restart) -> bool:
        try:
            return restart.read().power_state is PowerState.HALTED
        except _FAILURES:
            return False

    def _stage(self, step: Step) -> List[str]:
        """Have all staged; what the daemon that runs does is waited for."""
        vm_uuids = [waiting.vm.uuid for waiting in step.vms] + list(step.beside)
        deadline = self._context.clock() + STAGE_SECONDS
        self._context.tell('staging ' + ', '.join(
            brief_name(waiting.vm.name, waiting.vm.uuid) for waiting in step.vms))
        while True:
            staged = stage_many(self._context, vm_uuids)
            if any(item.word == 'by_daemon' for item in staged.values()):
                # A daemon that ends meanwhile leaves the work to us.
                wait_until(self._context, lambda: self._is_staged(step) or self._is_alone(),
                           deadline - self._context.clock())
            if self._is_staged(step):
                return []
            if self._context.clock() >= deadline:
                return [f'{_list_names(step.vms)}: not staged within {STAGE_SECONDS} s: '
                        + '; '.join(sorted({item.message for item in staged.values()}))]
            self._context.sleep(_PAUSE_SECONDS)

    def _is_alone(self) -> bool:
        return find_daemon(self._context.settings.registry.path) is None

    def _is_staged(self, step: Step) -> bool:
        """Whether each VM carries what its row asks for, its number included."""
        contents = self._context.registry.read()
        try:
            for waiting in step.vms:
                view = read_neighbourhood(self._context, contents, waiting.vm.uuid)
                plan = view.plan_of(waiting.vm.uuid)
                if plan is None or plan.action is not Action.NONE \
                        or plan.state is not State.AS_DESIRED:
                    return False
        except XAPI_AWAY:
            self._context.reconnect()
            return False
        return True

    def _start(self, waiting: Waiting, restart: Restart, before: Optional[int]) -> List[str]:
        """Start a VM, and verify its boot; without `before` it is only started again."""
        try:
            restart.start()
            self._context.done[:] = [line for line in self._context.done
                                     if waiting.vm.uuid not in line]
            if before is None:
                return []
            verdict = verify_boot(self._context, waiting.vm, before, _RECEIPT_SECONDS)
        except _FAILURES as error:
            return [_describe_failure(waiting, error)]
        if verdict.word == 'as_desired':
            return []
        if verdict.word == 'unverified' and self._accepts_unverified:
            self._context.tell(f'{name_of(waiting)}: {verdict.message}')
            return []
        return [f'{name_of(waiting)} was restarted: {verdict.message}']

    def _note(self, step: Step, problems: List[str], seconds: float) -> None:
        self._problem = '\n'.join(problems)
        for waiting in step.vms:
            del self._remaining[waiting.vm.uuid]
            self._results[waiting.vm.uuid] = ('failed', self._problem) if problems else (
                'restarted', '')
        if not problems:
            verified = '' if self._accepts_unverified else ', with what is assigned'
            self._context.tell(f'{_list_names(step.vms)}: restarted in {seconds:.0f} s{verified}')

    def _finish(self, word: str, status: ExitStatus) -> RollOutcome:
        done = sum(1 for result, _message in self._results.values() if result == 'restarted')
        lines = ['Interrupted.'] if word == 'interrupted' else []
        lines += self._problem.split('\n') if self._problem else []
        # What has to be started stands in the problem, where that is known there.
        lines += [line for line in self._context.done
                  if line.rpartition(': ')[2] not in self._problem]
        lines.append(f'{done} of {plural(self._total, "VM")} restarted, and verified.' if done else
                     f"None of {plural(self._total, 'VM')} was restarted and verified.")
        if word == 'window_closed':
            lines.append(f'The window is over ({self._window}).')
        if self._remaining:
            lines.append(f'Left: {_list_names(self._remaining.values())}.')
        if (self._remaining or self._is_unapplied) and _GO_ON not in self._problem:
            lines.append(f'{_GO_ON}{self._command}')
        return RollOutcome(word, lines, self._results, status)


def _find_change(shown: Waiting, found: Optional[Waiting]) -> str:
    """Why a VM that was shown is passed over; '' when nothing has changed."""
    if found is None:
        return 'not pending any more, or not running'
    if assignment_of(shown.row) != assignment_of(found.row):
        return 'its assignment has changed since it was shown'
    return ''


def _describe_failure(waiting: Waiting, error: Exception) -> str:
    said = str(translate(error))
    return said if waiting.vm.uuid in said else f'{name_of(waiting)}: {said}'


def _list_names(items: Iterable[Waiting]) -> str:
    return ', '.join(name_of(waiting) for waiting in items)
