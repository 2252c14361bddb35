"""What cannot be prevented is told: by the daemon's log, and by scan-vms."""

import json
from typing import Any, Callable, Dict, List

from tests.integration.daemon.world import World, span, wait_until
from tests.support import programs, scenes


def _scan(world: World) -> Dict[str, Any]:
    """What `vgpu-admin scan-vms --json` says, by UUID."""
    _status, out, _err = programs.run(
        'cli', ['--config', world.config_path, 'scan-vms', '--json'], **programs.surroundings())
    return {vm['vm_uuid']: vm for vm in json.loads(out.decode('utf-8'))['vms']}


def _dangers(world: World, ref: str) -> List[str]:
    return list(_scan(world)[world.uuid(ref)]['dangers'])


def test_a_number_that_two_qemus_carry_is_told_of_both(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.run(world, [subject])
    assert _dangers(world, subject.ref) == []
    # A copy that is started before the daemon has seen it at rest, and no consumer withholds it.
    world.xapi.set_consumer('paused')
    other = world.create_vm('other', args=subject.value())
    world.xapi.call('VM.start', other, False, False)
    line = world.daemon.wait_for('vm.endangered', danger='number_runs_twice')
    assert {line['vm_uuid']} | set(line['others']) == {world.uuid(subject.ref), world.uuid(other)}
    assert (line['vm_id'], line['level']) == (subject.number, 'warning')
    for ref in (subject.ref, other):
        assert _dangers(world, ref) == ['number_runs_twice']
    world.xapi.call('VM.hard_shutdown', subject.ref)
    assert _dangers(world, other) == []


def test_a_number_that_still_runs_is_not_staged_anywhere_else(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.run(world, [subject])
    world.change(subject.ref, vm_id=subject.number + 100)
    other = world.create_vm('other')
    world.register(other, subject.number)
    line = world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(other))
    assert line['holder'] == world.uuid(subject.ref)
    assert world.start_vm(other).args is None
    world.xapi.call('VM.hard_shutdown', other)
    world.xapi.call('VM.hard_shutdown', subject.ref)
    world.wait_args(other, span(subject.number))


def test_a_suspended_copy_that_will_resume_with_its_parents_number_is_told(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.run(world, [subject])
    world.xapi.call('VM.suspend', subject.ref)
    world.xapi.call('pool.add_to_other_config', world.xapi.pool, 'allow_clone_suspended_vm', 'true')
    clone = world.xapi.call('VM.clone', subject.ref, 'copy')
    line = world.daemon.wait_for('vm.endangered', vm_uuid=world.uuid(clone))
    assert line['danger'] == 'resumes_with_anothers_number'
    assert line['others'] == [world.uuid(subject.ref)]
    assert _dangers(world, clone) == ['resumes_with_anothers_number']
    assert _dangers(world, subject.ref) == []
    # A row of its own does not mend what is frozen: it is said all the same.
    world.register(clone)
    wait_until(lambda: _scan(world)[world.uuid(clone)]['state'] == 'pending', 'its row')
    assert _dangers(world, clone) == ['resumes_with_anothers_number']


def test_a_migration_of_a_vm_with_our_device_is_told(build_world: Callable[..., World]) -> None:
    world = build_world(hosts=2, push_seconds=1.0).start()
    subject, = scenes.stage(world)
    scenes.run(world, [subject])
    hold = world.xapi.add_fault('operation_hang', method='VM.pool_migrate', ref=subject.ref)
    moving = world.xapi.spawn('VM.pool_migrate', subject.ref, world.xapi.hosts[1],
                              {'live': 'true'})
    line = world.daemon.wait_for('vm.endangered', vm_uuid=world.uuid(subject.ref))
    assert (line['danger'], line['vm_id']) == ('migrates_with_device', subject.number)
    assert _dangers(world, subject.ref) == ['migrates_with_device']
    world.xapi.faults.remove(hold)
    moving.join()
    assert _dangers(world, subject.ref) == []


def test_a_start_block_that_0_1_left_is_told(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.leave_as_0_1_did(world, subject)
    assert _dangers(world, subject.ref) == ['start_blocked']
    world.start_daemon()
    world.daemon.wait_for('fence.lifted', vm_uuid=world.uuid(subject.ref))
    world.wait_settled(subject.ref, subject.value('high'))
    assert _dangers(world, subject.ref) == []


def test_a_boot_that_took_something_else_is_told_while_it_runs(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    world.xapi.set_consumer('off')
    world.xapi.call('VM.start', subject.ref, False, False)
    assert world.booted(subject.ref)['verdict'] == 'not_consumed'
    wait_until(lambda: _dangers(world, subject.ref) == ['booted_otherwise'], 'its receipt')
    world.xapi.call('VM.hard_shutdown', subject.ref)
    assert _dangers(world, subject.ref) == []
