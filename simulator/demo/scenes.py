"""The scenes of everyday: registration, a boot storm, changes, reboots, copies, migration.

A scene asks for boots and says beforehand what each shall take. Where nothing promises what a
start takes, the scene waits until XAPI shows the VM staged, or expects what it carries.
"""

import time

from simulator.demo.ledger import Assignment
from simulator.demo.stage import Stage
from simulator.demo.xapi_client import carried

FOREIGN = '-global  isa-debugcon.iobase=0x402'  # two spaces: it must come through byte for byte
# Seconds from a stop to the next start; what is quicker than the staging takes the old value.
RESTART_GAPS = (0.0, 0.03, 0.1, 0.3, 0.6, 0.9)
# VMs that are registered by a command of their own.
ALONE = 8
CLONES = 3
BETWEEN_SECONDS = 0.5
QUARREL_SECONDS = 1.5


def register(stage: Stage, count: int) -> None:
    """Give VMs of two vGPU pools their assignments: some by commands at once, most by a list."""
    host = stage.xapi.sim('hosts')[0]
    for number in range(1, count + 1):
        stage.create_vm(f'vm-{number:02}', host, FOREIGN if number % 3 == 1 else None)
    stage.administer(('init',))
    commands, lines = [], ['vm_uuid,pool_id,priority,vm_id']
    for number, vm in enumerate(stage.vms, 1):
        pool, priority = 'AB'[number % 2], ('low', 'medium', 'high')[number % 3]
        stage.assign(vm, Assignment(pool, priority, number))
        if number <= ALONE:
            commands.append(('register-vm', '--vm-uuid=' + vm.uuid, '--pool=' + pool,
                             '--priority=' + priority, f'--vm-id={number}'))
        else:
            lines.append(f'{vm.uuid},{pool},{priority},{number}')
    stage.administer(*commands)
    stage.administer(('register-vm', '--from-file=' + stage.programs.write('vms.csv', lines)))
    stage.settle(stage.vms)
    stage.display.note(f'{count} VMs registered and staged')


def storm(stage: Stage) -> None:
    """Start everything at once."""
    stage.start_and_wait(stage.vms)


def restart_quickly(stage: Stage) -> None:
    """Change running VMs and restart them before the daemon can stage them at rest."""
    vms = stage.vms[:len(RESTART_GAPS)]
    before = {vm: stage.ledger.desired(vm) for vm in vms}
    stage.pending.clear()
    stage.set_priority(vms[::2], 'high')
    stage.set_priority(vms[1::2], 'low')
    changed = [vm for vm in vms if stage.ledger.desired(vm) != before[vm]]
    stage.expect_soon(lambda: all(vm.uuid in stage.pending for vm in changed))
    for vm in vms:
        stage.ledger.expect(vm, 'start', stage.ledger.desired(vm), or_else=before[vm])
    stage.finish([stage.xapi.begin(('VM.hard_shutdown', vm.ref), gap,
                                   ('VM.start', vm.ref, False, False))
                  for vm, gap in zip(vms, RESTART_GAPS)])
    # What is pending is taken at the next start that finds it staged.
    stage.shut_down(vms)
    stage.start_and_wait(vms)


def reboot(stage: Stage) -> None:
    """Reboot from inside and outside; a change that waits stays out of all of them."""
    inside, clean, hard, pending = stage.vms[:4]
    args = stage.ledger.desired(pending)
    stage.set_priority([pending], 'high')
    for vm, taken in ((inside, stage.ledger.desired(inside)), (pending, args)):
        stage.ledger.expect(vm, 'guest_reboot', taken)
        stage.xapi.sim('guest_reboot', vm.ref)
    stage.finish([
        stage.operate(vm, 'reboot', stage.ledger.desired(vm), method, vm.ref)
        for vm, method in ((clean, 'VM.clean_reboot'), (hard, 'VM.hard_reboot'))])


def change(stage: Stage) -> None:
    """Change running VMs and a suspended one, which resumes with what it had; then stop them,
    and start them once they are staged."""
    vms, suspended = stage.vms[2:6], stage.vms[4]
    args = stage.ledger.desired(suspended)
    stage.join([stage.xapi.begin(('VM.suspend', suspended.ref))])
    stage.set_priority(vms, 'medium' if 'medium' not in (args or '') else 'low')
    stage.finish([stage.operate(suspended, 'resume', args, 'VM.resume', suspended.ref, False,
                                False)])
    stage.shut_down(vms)
    stage.start_and_wait(vms)


def migrate(stage: Stage) -> None:
    """Move running VMs to the other host, where this daemon cannot look, and back."""
    vms, hosts = stage.vms[5:7], stage.xapi.sim('hosts')
    for host in reversed(hosts[:2]):
        stage.finish([stage.operate(vm, 'migration', stage.ledger.desired(vm),
                                    'VM.pool_migrate', vm.ref, host, {}) for vm in vms])


def copy(stage: Stage) -> None:
    """Clone a registered VM: the copy loses the number and keeps the text of others. Revert
    another to a snapshot with an earlier assignment: it is staged again."""
    parent, reverted = vms = [stage.vms[6], stage.vms[0]]
    stage.shut_down(vms)
    vms.append(stage.take_in(stage.xapi.call('VM.clone', parent.ref, 'a-clone'), parent.foreign))
    snapshot = stage.xapi.call('VM.snapshot', reverted.ref, 'a-snapshot')
    stage.set_priority([reverted], 'low')
    stage.settle(vms)
    stage.join([stage.xapi.begin(('VM.revert', snapshot))])
    stage.settle(vms)
    stage.start_and_wait(vms)


def start_clones(stage: Stage) -> None:
    """Clone a registered VM and start the clones at once, before the daemon has taken the number
    away from them: the consumer withholds it."""
    parent = stage.vms[3]
    stage.shut_down([parent])
    clones, errands = [], []
    for number in range(CLONES):
        clone = stage.take_in(stage.xapi.call('VM.clone', parent.ref, f'thief-{number + 1}'),
                              parent.foreign)
        stage.ledger.expect_withheld(clone)
        errands.append(stage.xapi.begin(('VM.start', clone.ref, False, False)))
        clones.append(clone)
    stage.finish(errands)
    withheld = stage.ledger.count_withheld(clones)
    stage.display.note(f'{withheld} of {CLONES} clones brought the number into their boot, and it '
                       f'was withheld')
    stage.shut_down(clones + [parent])
    stage.start_and_wait(clones + [parent])


def swap_numbers(stage: Stage) -> None:
    """Swap the numbers of two VMs that run: neither gets the other's before both have stopped,
    and the one that is started in between boots with its own."""
    one, other = vms = stage.vms[4:6]
    before = stage.ledger.desired(one)
    assigned = [stage.ledger.assignments[vm.uuid] for vm in vms]
    lines = ['vm_uuid,vm_id']
    for vm, own, wanted in zip(vms, assigned, reversed(assigned)):
        stage.assign(vm, own._replace(vm_id=wanted.vm_id))
        lines.append(f'{vm.uuid},{wanted.vm_id}')
    stage.administer(('import', stage.programs.write('swap.csv', lines), '--yes'))
    stage.ledger.expect(one, 'start', before)
    stage.finish([stage.xapi.begin(('VM.hard_shutdown', one.ref), BETWEEN_SECONDS,
                                   ('VM.start', one.ref, False, False))])
    stage.shut_down(vms)
    stage.start_and_wait(vms)


def quarrel(stage: Stage) -> None:
    """Let another tool take the arguments away again and again: the daemon puts them back ever
    more slowly and says so; an edit ends the pause."""
    vm = stage.vms[5]
    stage.shut_down([vm])
    ended = time.monotonic() + QUARREL_SECONDS
    while time.monotonic() < ended:
        if carried(stage.xapi.sim('vm', vm.ref)):
            stage.xapi.call('VM.remove_from_platform', vm.ref, 'device-model-args')
        stage.look()
    stage.set_priority([vm], 'low' if 'low' not in (stage.ledger.desired(vm) or '') else 'high')
    stage.settle([vm])
    stage.start_and_wait([vm])


def edit_by_others(stage: Stage) -> None:
    """Let another tool write a wrong span into one VM, and take it from a second; the storm that
    follows starts them."""
    wrong, missing = stage.vms[1:3]
    stage.shut_down(stage.vms)
    platform = stage.xapi.sim('vm', wrong.ref)['platform']
    # As tools do that know no better: the whole map.
    stage.xapi.call('VM.set_platform', wrong.ref, dict(platform, **{
        'device-model-args': '-device vgpu-stub,pool_id=A,priority=low,vm_id=999'}))
    stage.xapi.call('VM.remove_from_platform', missing.ref, 'device-model-args')
    stage.settle(stage.vms)


def disable_pool(stage: Stage) -> None:
    """Disable a vGPU pool and remove a registration: the VMs boot without our device; those of
    the pool get it back when it is enabled."""
    vms = [vm for vm in stage.vms
           if getattr(stage.ledger.assignments.get(vm.uuid), 'pool', '') == 'B'][:2]
    removed = stage.vms[7]
    stage.shut_down(vms + [removed])
    # One after the other: what changes while a command asks is a conflict.
    stage.administer(('disable-pool', '--pool-id=B', '--yes'))
    stage.administer(('remove-vm', '--vm-uuid=' + removed.uuid))
    stage.ledger.disabled_pools.append('B')
    stage.assign(removed, None)
    stage.settle(vms + [removed])
    stage.start_and_wait(vms + [removed])
    stage.administer(('enable-pool', '--pool-id=B'))
    stage.ledger.disabled_pools.remove('B')
    stage.shut_down(vms)
    stage.start_and_wait(vms)
