"""The scenes of trouble: toolstack, hosts and the daemon end, calls fail, copies sleep."""

from typing import List, Sequence

from simulator.demo.ledger import Vm
from simulator.demo.stage import Stage
from simulator.demo.xapi_client import Errand, carried

DOWN_SECONDS = 0.5
# Writes that the crash takes back: a good part of what the storm has written by then.
LOST_WRITES = 300
GAP_SECONDS = 0.03
CALM_SECONDS = 1.0
SPOILED = (
    {'kind': 'http_500', 'method': 'VM.remove_from_platform', 'count': 1},
    {'kind': 'drop_after', 'method': 'VM.add_to_platform', 'count': 1},
    {'kind': 'http_500_before', 'method': 'event.from', 'count': 2},
    {'kind': 'reset_before', 'method': 'VM.set_platform', 'count': 1},
    {'kind': 'truncate', 'method': 'VM.get_record', 'count': 1},
    {'kind': 'failure', 'method': 'session.login_with_password', 'count': 4,
     'parameters': {'code': 'HOST_STILL_BOOTING', 'params': []}})


def restart_in_storm(stage: Stage) -> None:
    """Restart the toolstack while many VMs start; what did not come up is started again."""
    stage.shut_down(stage.vms)
    _storm_through_restart(stage, list(stage.vms), 'clean', 0)


def crash_in_storm(stage: Stage) -> None:
    """Crash the toolstack in a storm, with the last writes lost, and edit the registry then."""
    half = len(stage.vms) // 2
    vms = stage.vms[:half]
    resting = [vm for vm in stage.vms[half:] if vm.uuid in stage.ledger.assignments][:2]
    stage.shut_down(vms + resting)
    _storm_through_restart(stage, vms, 'crash', LOST_WRITES)
    stage.set_priority(resting, 'high')
    stage.settle(resting)
    stage.start_and_wait(resting)


def _storm_through_restart(stage: Stage, vms: Sequence[Vm], mode: str, lost: int) -> None:
    booted = len(stage.ledger.entries)
    errands = stage.start(vms, GAP_SECONDS)
    stage.wait(lambda: len(stage.ledger.entries) > booted + len(vms) // 3, 10.0)
    stage.xapi.restart(mode, DOWN_SECONDS, lost)
    stage.display.note(f'the toolstack restarted ({mode})')
    stage.join(errands)
    # xenopsd ends what it has begun, whether xapi is there or not.
    while stage.wait(lambda: len(stage.ledger.entries) > booted, CALM_SECONDS):
        booted = len(stage.ledger.entries)
    stage.finish(_start_again(stage, vms))


def _start_again(stage: Stage, vms: Sequence[Vm]) -> List[Errand]:
    """Start those whose start ended with the toolstack, once they are staged."""
    stage.look()
    lost = [vm for vm in vms if stage.ledger.is_awaited(vm)]
    stage.settle(lost)
    return [stage.xapi.begin(('VM.start', vm.ref, False, False)) for vm in lost]


def spoil_calls(stage: Stage) -> None:
    """Fail, cut and drop calls while changes are staged."""
    vms = stage.vms[2:6]
    stage.shut_down(vms)
    for fault in SPOILED:
        stage.xapi.sim('add_fault', fault)
    stage.set_priority(vms[::2], 'low')
    stage.set_priority(vms[1::2], 'high')
    stage.settle(vms)
    stage.xapi.sim('clear_faults')
    stage.start_and_wait(vms)


def clone_suspended(stage: Stage) -> None:
    """Clone a suspended VM: what the clone's resume would take is frozen, and no edit mends it.
    So it is told; shut down instead of resumed, the clone loses the number."""
    parent = stage.vms[2]
    args = stage.ledger.desired(parent)
    stage.join([stage.xapi.begin(('VM.suspend', parent.ref))])
    # XAPI clones no suspended VM unless the pool is told to.
    for pool in stage.xapi.call('pool.get_all'):
        stage.xapi.call('pool.add_to_other_config', pool, 'allow_clone_suspended_vm', 'true')
    clone = stage.take_in(stage.xapi.call('VM.clone', parent.ref, 'asleep'), parent.foreign)
    if stage.expect_soon(lambda: stage.dangers.get(clone.uuid)):
        stage.display.note(f'{clone.name} would resume with the number of {parent.name}: '
                           f'{stage.dangers[clone.uuid]}')
    elif stage.with_watcher:
        stage.complain(f'{clone.name} would resume with the number of {parent.name}, untold')
    stage.finish([stage.operate(parent, 'resume', args, 'VM.resume', parent.ref, False, False)])
    stage.join([stage.xapi.begin(('VM.hard_shutdown', clone.ref))])
    stage.settle([clone])
    stage.start_and_wait([clone])


def lose_host(stage: Stage) -> None:
    """Run VMs on the other host, and lose it: high availability starts them on this one."""
    vms, host = stage.vms[4:7], stage.xapi.sim('hosts')[1]
    stage.shut_down(vms)
    stage.finish([stage.operate(vm, 'start', stage.ledger.desired(vm), 'VM.start_on', vm.ref,
                                host, False, False) for vm in vms])
    for vm in vms:
        stage.ledger.expect(vm, 'start', stage.ledger.desired(vm))
    for refusal in stage.xapi.sim('host_fails', host):
        stage.complain(f'high availability was refused a start: {" ".join(refusal)}')
    stage.finish([])


def kill_watcher(stage: Stage) -> None:
    """Kill the daemon while it replaces a VM's arguments; start it, and others, while it is dead.

    One call replaces them: the VM boots with the old arguments or with the new ones, never without.
    """
    vm, others = stage.vms[3], stage.vms[4:7]
    stage.shut_down([vm] + others)
    old = stage.ledger.desired(vm)
    if stage.with_watcher:
        stage.xapi.sim('add_fault', {'kind': 'half_open', 'method': 'VM.set_platform',
                                     'ref': vm.ref})
    stage.set_priority([vm], 'medium')
    if stage.with_watcher:
        stage.expect_soon(lambda: any(call['method'] == 'VM.set_platform'
                                      for call in stage.xapi.sim('calls')))
    stage.programs.kill_watcher()
    stage.xapi.sim('clear_faults')
    stage.display.note(f'the daemon is dead; {vm.name} still carries its old arguments')
    if stage.with_watcher and carried(stage.xapi.sim('vm', vm.ref)) != old:
        stage.complain(f'{vm.name} does not carry its old arguments any more')
    errands = stage.start(others)
    stage.wait(lambda: not any(map(stage.ledger.is_awaited, others)), 10.0)
    if stage.with_watcher:
        stage.programs.start_watcher()
    stage.settle([vm])
    stage.finish(errands)
    stage.start_and_wait([vm])
