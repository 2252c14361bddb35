"""P1, P2, P4, P5, P7 to P13: what VMs carry at rest, and boot with."""

import sqlite3
from typing import Callable

import pytest

from registry.values import Priority
from tests.integration.daemon.world import KEY, World, span, wait_until


def test_a_registered_vm_is_staged_and_boots_with_its_span(world: World) -> None:
    ref = world.create_vm('web')
    number = world.register(ref, pool='B', priority=Priority.HIGH)
    world.wait_args(ref, span(number, 'B', 'high'), timeout_seconds=2.0)
    assert world.start_vm(ref).args == span(number, 'B', 'high')
    line = world.booted(ref)
    assert (line['kind'], line['verdict'], line['rescued']) == ('start', 'as_desired', False)
    assert line['found'] == line['desired'] == line['carried'] == span(number, 'B', 'high')


def test_a_changed_assignment_is_staged_by_one_call_that_writes(world: World) -> None:
    ref = world.create_vm(args='-foo bar')
    world.register(ref, 7)
    world.wait_settled(ref, '-foo bar ' + span(7))
    world.xapi.clear_calls()
    world.change(ref, priority=Priority.LOW)
    world.wait_settled(ref, '-foo bar ' + span(7, priority='low'))
    (method, params), = world.writes()
    assert method == 'VM.set_platform'
    assert params[-1] == world.xapi.vm(ref)['platform']
    wait_until(lambda: len([call for call in world.xapi.calls
                            if call.method == 'VM.get_record']) >= 2, 'the proof is read')


def test_an_edit_of_another_program_is_staged_within_two_seconds(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 7)
    world.wait_args(ref, span(7))
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute("UPDATE vms SET priority = 2 WHERE vm_id = 7")
    connection.close()
    world.wait_settled(ref, span(7, priority='high'))
    assert world.start_vm(ref).args == span(7, priority='high')


def test_a_staged_vm_starts_right_without_the_daemon(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 3)
    world.wait_args(ref, span(3))
    world.daemon.kill()
    assert world.start_vm(ref).args == span(3)


def test_a_running_vms_change_waits_until_it_rests(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    world.booted(ref)
    world.xapi.clear_calls()
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    assert world.args(ref) == span(5) and not world.writes()
    world.xapi.call('VM.clean_shutdown', ref)
    world.wait_settled(ref, span(6))
    assert world.start_vm(ref).args == span(6)


def test_the_other_platform_keys_survive_everything(world: World) -> None:
    platform = {'timeoffset': '42', 'device-model': 'qemu-upstream-uefi', 'videoram': '8',
                'odd key': 'x=y, "z"'}
    ref = world.create_vm(platform=platform)
    before = world.xapi.vm(ref)['platform']
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.change(ref, vm_id=6)
    world.wait_settled(ref, span(6))
    assert world.xapi.vm(ref)['platform'] == dict(before, **{KEY: span(6)})


def test_the_clock_that_xapi_writes_while_a_vm_halts_is_not_lost(
        build_world: Callable[..., World]) -> None:
    world = build_world(guests_set_clock=True).start()
    ref = world.create_vm(args='-foo')
    world.register(ref, 5)
    world.wait_settled(ref, '-foo ' + span(5))
    before = world.xapi.vm(ref)['platform']
    for number in range(1, 6):
        boot = world.start_vm(ref)
        world.booted(ref, domid=boot.domid)
        world.change(ref, vm_id=5 + number)
        world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
        world.xapi.call('VM.hard_shutdown', ref)
        world.wait_settled(ref, '-foo ' + span(5 + number))
        # The halt's last writes come after the power state.
        assert world.xapi.vm(ref)['platform'] == dict(
            before, timeoffset=str(number), **{KEY: '-foo ' + span(5 + number)})


def test_a_steady_pool_costs_no_call_but_the_long_poll(world: World) -> None:
    refs = [world.create_vm('vm%d' % number) for number in range(5)]
    for number, ref in enumerate(refs):
        world.register(ref, number + 1)
    for number, ref in enumerate(refs):
        world.wait_args(ref, span(number + 1))
    world.daemon.wait_for('mirror.written', vms=5)
    stranger = world.create_vm('stranger')
    _rename(world, stranger, 'warm up')
    world.xapi.clear_calls()
    before = _read(world.registry_path)
    # Edits of a VM that is none of ours: the daemon sees each, and does nothing.
    for number in range(5):
        _rename(world, stranger, 'renamed %d' % number)
    methods = {call.method for call in world.xapi.calls if call.originator == 'vgpu-watcher'}
    assert methods == {'event.from'}
    assert _read(world.registry_path) == before


def _rename(world: World, ref: str, name: str) -> None:
    """Rename a VM and wait until the daemon has seen it, and asks for more."""
    polls = _count_polls(world)
    world.xapi.call('VM.set_name_label', ref, name)
    wait_until(lambda: _count_polls(world) > polls, 'another poll')


def _count_polls(world: World) -> int:
    return len([call for call in world.xapi.calls if call.method == 'event.from'])


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def test_manual_args_of_an_unregistered_vm_are_left_alone(world: World) -> None:
    ref = world.create_vm(args=span(99) + ' -foo')
    other = world.create_vm()
    world.register(other, 1)
    world.wait_args(other, span(1))
    assert world.args(ref) == span(99) + ' -foo'
    assert world.start_vm(ref).args == span(99) + ' -foo'


def test_a_clone_loses_the_span_and_keeps_foreign_text(world: World) -> None:
    ref = world.create_vm(args='-foo')
    world.register(ref, 8)
    world.wait_settled(ref, '-foo ' + span(8))
    clone = world.xapi.call('VM.clone', ref, 'copy')
    world.wait_settled(clone, '-foo')
    assert world.args(ref) == '-foo ' + span(8)
    assert world.start_vm(clone).args == '-foo'


def test_a_number_borne_before_is_contested_and_neither_vm_is_touched(world: World) -> None:
    bearer = world.create_vm('old', args=span(4))
    world.daemon.wait_for('stream.resynced')
    ref = world.create_vm('new')
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) '
                           "VALUES (4, ?, 'new', 'A', 1)", (world.uuid(ref),))
    connection.close()
    world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(ref), state='contested')
    assert world.args(ref) is None and world.args(bearer) == span(4)


def test_templates_and_snapshots_are_never_written_to(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 8)
    world.wait_args(ref, span(8))
    snapshot = world.xapi.call('VM.snapshot', ref, 'snap')
    template = world.create_vm('template', args=span(8), is_a_template=True)
    world.remove(ref)
    world.wait_args(ref, None)
    assert world.args(snapshot) == span(8) and world.args(template) == span(8)


def test_a_reverted_vm_is_staged_again(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 8)
    world.wait_args(ref, span(8))
    snapshot = world.xapi.call('VM.snapshot', ref, 'snap')
    world.change(ref, vm_id=9)
    world.wait_settled(ref, span(9))
    world.xapi.call('VM.revert', snapshot)
    wait_until(lambda: world.args(ref) == span(9) and world.xapi.vm(ref)['current_operations'] == {}
               and not world.xapi.vm(ref)['blocked_operations'], 'staged again')
    assert world.start_vm(ref).args == span(9)


@pytest.mark.parametrize('delete', [
    pytest.param(lambda world, ref: world.remove(ref), id='by-our-command'),
    pytest.param(lambda world, ref: _delete_row(world, ref), id='by-another-program'),
])
def test_a_removed_vm_loses_its_span_at_rest(
        world: World, delete: Callable[[World, str], None]) -> None:
    other = world.create_vm('other')
    world.register(other, 2)
    ref = world.create_vm(args='-foo')
    world.register(ref, 8)
    world.wait_settled(ref, '-foo ' + span(8))
    world.start_vm(ref)
    world.booted(ref)
    delete(world, ref)
    wait_until(lambda: world.daemon.events('registry.changed'), 'noticed')
    assert world.args(ref) == '-foo ' + span(8)
    world.xapi.call('VM.hard_shutdown', ref)
    world.wait_settled(ref, '-foo')
    world.wait_args(other, span(2))


def _delete_row(world: World, ref: str) -> None:
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute('DELETE FROM vms WHERE vm_uuid = ?', (world.uuid(ref),))
    connection.close()


def test_a_disabled_pool_takes_the_spans_away_and_brings_them_back(world: World) -> None:
    ref = world.create_vm(args='-foo')
    world.register(ref, 8)
    world.wait_settled(ref, '-foo ' + span(8))
    for enabled, value in ((False, '-foo'), (True, '-foo ' + span(8))):
        with world.registry.edit(who='test', command='pool') as edit:
            edit.change_pool('A', enabled=enabled)
        world.wait_settled(ref, value)
        assert world.start_vm(ref).args == value
        world.xapi.call('VM.hard_shutdown', ref)
