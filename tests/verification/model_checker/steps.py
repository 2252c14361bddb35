"""What may happen next in a world, whoever does it.

The first of the undisturbed steps is the one that is taken when nobody interferes.
"""

from typing import Callable, List, Tuple

from registry.values import Priority
from tests.unit.watcher.builders import OTHER_SPAN, POLICY, REF
from tests.verification.model_checker import xapi
from tests.verification.model_checker.calls import Job
from tests.verification.model_checker.world import (OTHER_REF, OTHER_UUID, World, is_running)
from tests.verification.model_checker.xapi import foreign_in
from watcher.vm.record import Batch, PowerState, VmKind

Step = Tuple[str, Callable[[World], None]]
_START = ('start', 'early')
BY_HAND = 12
# What is given up when so many batches wait: the stream thread is never far ahead.
_MOST_BATCHES = 1


def list_undisturbed(world: World) -> List[Step]:
    """What the daemon does, what XAPI has begun, and the passing of time."""
    hidden = world.hidden
    steps = _list_daemon_steps(world)
    for ref, vm in sorted(world.vms.items()):
        if vm.phase:
            steps.append((_name(world, ref, xapi.STEP_NAMES[vm.phase]), _on(ref, xapi.proceed)))
    is_still = not (hidden.inbox or hidden.jobs or hidden.changed or hidden.needs_first
                    or hidden.inspections or world.registry.is_touched)
    is_quick = any(vm.phase in xapi.QUICK for vm in world.vms.values())
    if hidden.is_alive and is_still and not is_quick and world.daemon.watcher.next_due is not None:
        steps.append(('time', lambda world: world.pass_time()))
    if not steps and not hidden.is_alive and not hidden.jobs:
        steps.append(('daemon starts', lambda world: world.begin_daemon()))
    for ref, vm in sorted(world.vms.items()):
        if is_running(vm):
            steps.append((_name(world, ref, 'guest shuts down'), _on(ref, xapi.halt)))
        elif vm.record.power_state is PowerState.SUSPENDED and not vm.phase:
            steps.append((_name(world, ref, 'resume'), _begin(ref, 'resume', 'resume')))
    return steps


def list_disturbances(world: World) -> List[Step]:
    """Faults, and people."""
    steps = _list_fault_steps(world) + _list_edits(world)
    for ref, vm in sorted(world.vms.items()):
        steps += _list_vm_steps(world, ref, vm)
    if not world.hidden.is_alive and not world.hidden.jobs:
        steps.append(('daemon starts', lambda world: world.begin_daemon()))
    return steps


def _list_daemon_steps(world: World) -> List[Step]:
    hidden, steps = world.hidden, []  # type: ignore
    for index, job in enumerate(hidden.jobs):
        name = '%s: call %d' % (job.kind, len(job.answers) + 1)
        steps.append((name, lambda world, index=index: world.run_job(index)))
    if not hidden.is_alive:
        return steps
    if hidden.inbox:
        steps.insert(0, ('take %s' % type(hidden.inbox[0]).__name__,
                         lambda world: world.handle()))
    if hidden.inspections:
        steps.append(('host is looked at', lambda world: world.look()))
    batches = sum(isinstance(message, Batch) for message in hidden.inbox)
    if (hidden.changed or hidden.needs_first) and batches < _MOST_BATCHES:
        steps.append(('event.from answers', lambda world: world.read_events()))
    if world.registry.is_touched:
        steps.append(('registry is polled', lambda world: world.poll_registry()))
    return steps


def _list_fault_steps(world: World) -> List[Step]:
    hidden, steps = world.hidden, []  # type: ignore
    if hidden.is_alive and world.budget('crash'):
        steps.append(('daemon is killed', _spend('crash', lambda world: world.kill_daemon())))
        if hidden.inbox:
            steps.append(('daemon is killed before it writes down', _spend(
                'crash', lambda world: world.handle(is_last=True))))
    if hidden.guard is not None and not hidden.is_alive and world.budget('doze'):
        steps.append(('five minutes pass', _spend('doze', lambda world: world.doze())))
    if hidden.guard is not None and world.budget('pause'):
        steps.append(('consumer pause', _spend('pause', lambda world: world.pause_consumer())))
    if hidden.is_alive and world.budget('master'):
        steps.append(('another host is master', _spend(
            'master', lambda world: world.change_master())))
    if hidden.is_alive and not hidden.needs_first and world.budget('break'):
        steps.append(('stream breaks', _spend('break', lambda world: world.break_stream())))
    if world.budget('cut'):
        for index, _job in enumerate(hidden.jobs):
            for lost in ('request', 'answer'):
                steps.append(('%s lost' % lost, _spend(
                    'cut', lambda world, index=index, lost=lost: world.run_job(index, lost))))
    return steps


def _list_edits(world: World) -> List[Step]:
    edits = [('edit', lambda world: world.edit(priority=Priority.LOW)),
             ('number', lambda world: world.edit(vm_id=11)),
             ('rotate', lambda world: world.rotate()),
             ('disable', lambda world: world.disable_pool()),
             ('remove', lambda world: world.remove_row()),
             ('accept', lambda world: world.accept())]
    return [('row: ' + kind, _spend(kind, take)) for kind, take in edits if world.budget(kind)]


def _list_vm_steps(world: World, ref: str, vm: xapi.Vm) -> List[Step]:
    steps: List[Step] = []

    def add(kind: str, what: str, take: Callable[[World], None]) -> None:
        if world.budget(kind):
            steps.append((_name(world, ref, what), _spend(kind, take)))

    is_blocked = bool(vm.record.start_blocks)
    if vm.record.is_at_rest and not vm.phase and vm.record.kind is VmKind.VM and not is_blocked:
        add('start', 'start', lambda world: _start(world, ref))
        if ref == REF and OTHER_REF not in world.vms:
            add('clone', 'clone', _clone)
        if ref == OTHER_REF:
            add('block', 'start blocked by others', lambda world: world.block(ref, 'replica'))
            add('destroy', 'destroyed', lambda world: world.put(ref, None))
        if ref == REF and len(world.vms) > 1:
            add('gone', 'destroyed', lambda world: world.put(ref, None))
            add('template', 'made a template', _on(ref, xapi.make_template))
    if is_blocked:
        add('unblock', 'block lifted by others', lambda world: world.block(ref))
    if ref == REF:
        add('hand', 'number written by hand', lambda world: world.write_by_hand(ref, BY_HAND))
    if vm.phase == 'early':
        add('whole_map', 'map read, to be written back', _on(ref, xapi.read_map))
        add('start_fails', 'start fails', _on(ref, xapi.give_up))
    if is_running(vm):
        add('reboot', 'guest reboots', _on(ref, xapi.reboot_inside))
        add('api_reboot', 'clean_reboot', lambda world: _reboot(world, ref))
        add('suspend', 'suspend', _begin(ref, 'suspend', 'suspend'))
        add('migrate', 'pool_migrate', _begin(ref, 'pool_migrate', 'migrate'))
        if vm.pushed != vm.record.args:
            steps.append((_name(world, ref, 'metadata pushed'), _on(ref, xapi.push)))
    if not vm.phase and not vm.record.operations and ref == REF and not is_running(vm):
        add('revert', 'revert', lambda world: _revert(world, ref))
    for what, args, foreign in _list_meddling(vm) if ref == REF else ():
        add('meddle', what, lambda world, args=args, foreign=foreign: world.meddle(
            ref, args, foreign))
    return steps


def _list_meddling(vm: xapi.Vm) -> List[Tuple[str, object, str]]:
    span = (vm.record.args or '').partition('-device')[2]
    values = [('other span', '-a ' + OTHER_SPAN, '-a'), ('key removed', None, ''),
              ('other text', ('-b -device' + span) if span else '-b', '-b')]
    return [('somebody writes: ' + what, args, foreign) for what, args, foreign in values
            if args != vm.record.args]


def _start(world: World, ref: str) -> None:
    """P2 promises this boot when the VM rested with the right value and nothing is under way."""
    vm = world.vms[ref]
    is_registered = vm.record.uuid in world.journal.disk.contents.by_uuid
    is_busy = any(may_still_write(job) for job in world.hidden.jobs if job.ref == ref)
    promised, whole = None, ()  # type: ignore
    if is_registered and not is_busy and vm.record.args == world.desired_of(vm):
        promised = vm.record.args
    if is_registered and is_carrying(vm):
        whole = (vm.record.args, world.desired_of(vm)) + tuple(
            job.params[0].value for job in world.hidden.jobs
            if job.kind == 'carry_out' and job.ref == ref)
    vm = vm._replace(ghost_promised=promised, ghost_whole=whole)
    world.put(ref, xapi.begin(vm, *_START, task=world.next_task()))


def _reboot(world: World, ref: str) -> None:
    """By the API: xapi first pushes what the database holds."""
    vm = xapi.push(world.vms[ref])
    world.put(ref, xapi.begin(vm, 'clean_reboot', 'reboot', world.next_task()))


def _revert(world: World, ref: str) -> None:
    vm = world.vms[ref]._replace(map_read=(world.snapshot, foreign_in(world.snapshot)),
                                 ghost_promised=None)
    world.put(ref, xapi.begin(vm, 'reverting', 'revert', world.next_task()))


def _clone(world: World) -> None:
    record_of_parent = world.vms[REF].record
    record = record_of_parent._replace(ref=OTHER_REF, uuid=OTHER_UUID, operations=())
    staged = world.journal.disk.staged.get(record_of_parent.uuid)
    is_copy = staged is not None and staged.vm_id == POLICY.number_of(record)
    world.put(OTHER_REF, xapi.Vm(record, ghost_foreign=foreign_in(record.args),
                                 ghost_is_copy=is_copy))


def _begin(ref: str, operation: str, phase: str) -> Callable[[World], None]:
    return lambda world: world.put(ref, xapi.begin(world.vms[ref], operation, phase,
                                                   world.next_task()))


def _on(ref: str, step: Callable[[xapi.Vm], xapi.Vm]) -> Callable[[World], None]:
    return lambda world: world.put(ref, step(world.vms[ref]))


def _spend(kind: str, take: Callable[[World], None]) -> Callable[[World], None]:
    def spend(world: World) -> None:
        world.spend(kind)
        take(world)
    return spend


def _name(world: World, ref: str, what: str) -> str:
    names = {REF: 'VM', OTHER_REF: 'other VM'}
    return what if len(world.vms) == 1 else '%s %s' % (names.get(ref, 'third VM'), what)


def may_still_write(job: Job) -> bool:
    """Whether a job under way has not had the answer to its write yet; then it only reads."""
    return job.kind == 'carry_out' and ('', None) not in job.answers


def is_carrying(vm: xapi.Vm) -> bool:
    """Whether the VM has arguments of ours."""
    return POLICY.number_of(vm.record) is not None
