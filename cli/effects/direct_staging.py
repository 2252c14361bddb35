"""Stages VMs when no daemon does: takes the writer's lock, and then does as the daemon would.

It decides and writes with the daemon's own code. The registry has been edited before; whatever
goes wrong here leaves a pending change, which the daemon applies as soon as it runs.
"""

import contextlib
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from cli.commandline.options import NO_WAIT
from cli.effects.follow_up import APPLIED_AT_BOOT, Follow
from cli.interrupts import deferred
from cli.output.edit_messages import say_not_staged
from cli.output.text import spell_vm
from cli.queries.pool_snapshot import PoolView
from registry.errors import RegistryError
from registry.journal.journal import Journal
from registry.writer_lock import WriterLock
from watcher.consumer.numbers_file import NumberFileInvalid
from watcher.consumer.run_directory import RunDirectory
from watcher.errors import (MalformedRecord, VmVanished, WatcherError, XapiNonsense,
                            XapiUnreachable)
from watcher.loop.steps import run
from watcher.staging.injector import Outcome, OutcomeKind, carry_out
from watcher.staging.start_blocks import lift, list_blocks
from watcher.state.staged_record import StagedRecord
from watcher.vm.plan import SETTLE_SECONDS, Action, Plan, PlanReason, State
from watcher.vm.record import VmKind, VmRecord

_JOURNAL_SECONDS = 10.0
_ATTEMPTS = 3
_WRITTEN = {Action.ADD: 'args_added', Action.REMOVE: 'args_removed',
            Action.REPLACE: 'args_replaced'}
LEFT_ALONE = (State.UNREADABLE, State.CONTESTED, State.NO_QEMU)
"""States in which nothing is staged, whether the VM runs or not, until a person mends it."""
_SAID = {
    State.AS_DESIRED: 'staged: it carries what is assigned',
    State.PENDING: APPLIED_AT_BOOT,
    State.CONTESTED: 'not staged: its number is contested: another VM carries it, too; neither is '
                     'changed',
    State.UNREADABLE: "not staged: its device-model-args cannot be parsed and are left alone; "
                      "'vgpu-admin show-vm {vm}' shows what mends them",
    State.UNREGISTERED: 'staged: it carries none of our arguments',
    State.MANUAL: 'not staged: it carries arguments made by hand, which are left alone',
    State.WAITS_FOR_XAPI: 'not staged: XAPI completes its platform map at its next start; staged '
                          'after that',
    State.NO_QEMU: 'not staged: it is a PV or PVH guest, without a QEMU that could take arguments',
}


def describe_state(state: State) -> str:
    """What is said of a VM that is left as it is."""
    return _SAID[state]


def stage(context: Any, vm_uuid: str, *, is_hurried: bool = False) -> Follow:
    """Stage one VM, unless a daemon does; never raises for XAPI's or the journal's sake."""
    return stage_many(context, [vm_uuid], is_hurried=is_hurried)[vm_uuid]


def stage_many(context: Any, vm_uuids: Sequence[str], *,
               is_hurried: bool = False) -> Dict[str, Follow]:
    """Stage VMs and lift stray start blocks; the outcome of each VM.

    With `is_hurried` a read that hangs is given up soon: a person waits for the answer.
    """
    try:
        return _stage_locked(context, vm_uuids, is_hurried)
    except (WatcherError, RegistryError) as error:
        if not vm_uuids:
            raise
        return dict.fromkeys(vm_uuids, Follow('failed', 'saved, ' + (
            say_not_staged(error) if isinstance(error, XapiUnreachable) else
            f'not staged: {error}')))


def _stage_locked(context: Any, vm_uuids: Sequence[str],
                  is_hurried: bool) -> Dict[str, Follow]:
    live = context.live()
    with WriterLock(context.settings.registry.path) as lock:
        is_ours = lock.acquire()
        # Who waits for the daemon asks only when that does not do it.
        is_waited_for = is_hurried and not is_ours and not context.arguments.get(NO_WAIT)
        refused = None if is_waited_for else find_refusal(live)
        if refused is not None:
            return dict.fromkeys(vm_uuids, refused)
        if not is_ours:
            return dict.fromkeys(vm_uuids, Follow(
                'by_daemon', 'saved; the running daemon stages it'))
        if live.role.is_local:
            _withdraw_numbers(context)
        vms = _read_vms(live, is_hurried)
        blocked = [vm.ref for vm in vms if vm.kind is VmKind.VM and list_blocks(vm)]
        for ref in blocked:
            run(lift(live.client.steps, ref))
        vms = _read_vms(live, is_hurried) if blocked else vms
        with Journal(context.registry.journal_path, timeout_seconds=_JOURNAL_SECONDS) as journal:
            return _Stager(context, journal, vms).run(vm_uuids)


def find_refusal(live: Any) -> Optional[Follow]:
    """Why no program of this host writes to this XAPI; None where one may."""
    if live.role.is_writer:
        return None
    return Follow('refused', f'not staged: nothing is written to XAPI: {live.role.refusal}')


def _read_vms(live: Any, is_hurried: bool) -> Tuple[VmRecord, ...]:
    with live.hurried() if is_hurried else contextlib.ExitStack():
        return live.read_vms()


def _withdraw_numbers(context: Any) -> None:
    """What a daemon that is gone has confirmed may know nothing of the rows that are staged now.

    The consumer withholds nothing then, until a daemon runs: no VM is taken for a thief.
    """
    directory = RunDirectory(context.settings.run_directory)
    with contextlib.suppress(OSError, NumberFileInvalid):
        if directory.remove_numbers():
            context.note("no daemon is running: until one runs, a VM that starts with the number "
                         "of another VM's row gets it: systemctl start vgpu-watcher")


class _Stager:
    """One pass over some VMs, with the lock held."""

    def __init__(self, context: Any, journal: Journal, vms: Sequence[VmRecord]) -> None:
        self._context = context
        self._client = context.live().client
        self._journal = journal
        self._writes: List[Callable[[Journal], Any]] = []
        self._view = PoolView(context.settings, context.registry.read(), journal, vms,
                              self._writes.append).note_all()
        view = self._view
        self._record = StagedRecord(view.view, view.inventory, view.number_claims,
                                    self._writes.append)

    def run(self, vm_uuids: Sequence[str]) -> Dict[str, Follow]:
        """Add at once; wait before anything is replaced or removed."""
        self._flush()
        staged = {vm_uuid: self._stage(vm_uuid, may_replace=False) for vm_uuid in vm_uuids}
        waiting = [vm_uuid for vm_uuid in vm_uuids if staged[vm_uuid].word == 'waiting']
        if waiting:
            self._context.sleep(SETTLE_SECONDS)
        for vm_uuid in waiting:
            staged[vm_uuid] = self._stage(vm_uuid, may_replace=True)
        for _round in vm_uuids:
            # A number that became free belongs to the next one: swapped ones take some rounds.
            for vm_uuid in filter(self._is_unfinished, vm_uuids):
                staged[vm_uuid] = self._stage(vm_uuid, may_replace=True)
        self._settle()
        self._flush()
        return staged

    def _stage(self, vm_uuid: str, *, may_replace: bool) -> Follow:
        for _attempt in range(_ATTEMPTS):
            plan = self._view.plan_of(vm_uuid)
            if plan is None:
                is_known = self._view.inventory.find_by_uuid(vm_uuid) is not None
                return Follow('unknown', 'not staged: its row is not valid' if is_known
                              else 'XAPI has no such VM')
            if plan.action is Action.NONE or plan.is_rescue:
                self._record.note_state(plan, self._view.policy)
                return describe_plan(plan)
            if plan.action is not Action.ADD and not may_replace:
                return Follow('waiting', '')
            outcome = self._carry_out(plan)
            if outcome.kind is OutcomeKind.WRITTEN:
                return self._take_written(outcome)
            if outcome.kind is not OutcomeKind.OVERTAKEN:
                return _failed(outcome)
            self._reread(vm_uuid)
        return Follow('pending', 'saved, not staged: another program keeps changing the VM')

    def _is_unfinished(self, vm_uuid: str) -> bool:
        plan = self._view.plan_of(vm_uuid)
        return plan is not None and plan.action is not Action.NONE and not plan.is_rescue

    def _carry_out(self, plan: Plan) -> Outcome:
        vm = plan.vm
        self._record.note_writing(plan, self._view.policy)
        self._flush()
        with deferred():
            outcome = run(carry_out(self._client.steps, plan))
        if not outcome.is_sent:
            self._record.note_unsent(plan)
        if outcome.kind is OutcomeKind.WRITTEN and plan.action is Action.REMOVE:
            # There is no daemon to see the record without it: until then the VM has its number.
            with contextlib.suppress(XapiUnreachable, XapiNonsense, MalformedRecord, VmVanished):
                outcome = outcome._replace(vm=self._client.read_vm(vm.ref))
        if outcome.kind is OutcomeKind.WRITTEN:
            self._journal.add_history(self._context.who, self._context.command,
                                      _WRITTEN[plan.action], vm_uuid=vm.uuid, before=vm.args,
                                      after=plan.value)
        return outcome

    def _take_written(self, outcome: Outcome) -> Follow:
        plan = outcome.plan
        vm = outcome.vm or plan.vm._replace(args=plan.value)
        self._view.inventory.update(vm, self._view.policy, 0.0)
        if outcome.is_proven:
            self._view.number_claims.note((vm,))
        after = self._view.plan(vm)
        self._record.note_written(plan)
        if after is not None and (outcome.is_proven or plan.action is Action.ADD):
            self._record.note_state(after, self._view.policy)
        return Follow('staged', f'staged: {say_next_start(plan)}', after)

    def _reread(self, vm_uuid: str) -> None:
        vm = self._view.inventory.find_by_uuid(vm_uuid)
        if vm is None:
            return
        try:
            self._view.inventory.update(self._client.read_vm(vm.ref), self._view.policy, 0.0)
        except (VmVanished, MalformedRecord):
            self._view.inventory.drop(vm.ref)

    def _settle(self) -> None:
        """Forget what a version before 0.2 left under way, where the key is there after all."""
        for item in self._journal.replacements():
            vm = self._view.inventory.find_by_uuid(item.vm_uuid)
            if vm is not None and vm.args is not None:
                self._journal.end_replacement(item.vm_uuid)

    def _flush(self) -> None:
        with self._journal.batch():
            for write in self._writes:
                write(self._journal)
        self._writes.clear()


def describe_plan(plan: Plan) -> Follow:
    """What is said of a VM for which nothing is written now."""
    if plan.is_rescue:
        return Follow('pending', 'saved; applied at its next boot: pending, since the VM is '
                      'starting', plan)
    if plan.reason is PlanReason.NOT_ACCEPTED:
        return Follow('drift', "not staged: nothing is replaced until 'vgpu-admin accept' has "
                      'been run', plan)
    if plan.reason is PlanReason.NUMBER_HELD:
        return Follow('pending', f'not staged: VM {plan.holder} still has its vm_id; '
                      'staged when that VM has given it up', plan)
    if plan.reason is PlanReason.NOT_AT_REST:
        return Follow('pending', _SAID[State.PENDING], plan)
    if plan.reason is PlanReason.HALTED_RESIDENT:
        from cli.output.tables import describe_resident
        return Follow('pending', f'not staged: pending: {describe_resident(plan.vm.uuid)}',
                      plan)
    if plan.state in (State.AS_DESIRED, State.UNREGISTERED) and plan.vm.is_at_rest:
        return Follow(plan.state.value, f'staged: {say_next_start(plan)}', plan)
    if plan.state is State.AS_DESIRED and plan.desired is None:
        return Follow(plan.state.value, _SAID[State.UNREGISTERED], plan)
    said = _SAID.get(plan.state, plan.reason.value)
    return Follow(plan.state.value, said.replace('{vm}', spell_vm(plan.vm.name, plan.vm.uuid)),
                  plan)


def say_next_start(plan: Plan) -> str:
    """What has come of a VM at rest that is staged."""
    return f"its next start takes {'none of our arguments' if plan.desired is None else 'it'}"


def _failed(outcome: Outcome) -> Follow:
    return Follow('failed', f'saved, not staged ({outcome.kind.value}: {outcome.error})',
                  outcome.plan)
