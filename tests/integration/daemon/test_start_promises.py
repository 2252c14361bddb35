"""P3, P5, P6: what happens to VMs that start before they are staged, or while they run."""

from typing import Callable

import pytest

from tests.integration.daemon.world import KEY, World, span, wait_until


def test_a_start_with_a_missing_span_is_rescued(build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=1.0).start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.begin_start(ref)
    world.xapi.clear_calls()
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    starting.join()
    assert world.last_boot(ref).args == span(5)
    assert world.booted(ref, rescued=True)['verdict'] == 'as_desired'
    assert len([method for method, _ in world.writes() if method == 'VM.add_to_platform']) == 1


def test_a_start_with_a_wrong_value_is_left_alone_and_told(
        build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=0.5).start()
    ref = world.create_vm(args='-foo "a b"')
    world.register(ref, 5)
    world.wait_settled(ref, '-foo "a b" ' + span(5))
    world.start_vm(ref)
    world.booted(ref)
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    world.xapi.clear_calls()
    world.xapi.call('VM.hard_shutdown', ref)
    boot = world.start_vm(ref)
    assert boot.args == '-foo "a b" ' + span(5) and not world.writes()
    line = world.booted(ref, domid=boot.domid)
    assert (line['kind'], line['verdict'], line['rescued']) == ('start', 'pending', False)
    world.xapi.call('VM.hard_shutdown', ref)
    world.wait_settled(ref, '-foo "a b" ' + span(6))


def test_a_span_that_keeps_vanishing_is_added_five_times_a_start(
        build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=3.0).start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.begin_start(ref)
    world.xapi.clear_calls()
    while starting.is_alive():
        if world.args(ref):
            world.xapi.call('VM.remove_from_platform', ref, KEY)
    starting.join()
    assert [method for method, _ in world.writes()].count('VM.add_to_platform') == 5
    assert world.booted(ref)['verdict'] == 'missing'


@pytest.mark.parametrize('platform', [
    {'timeoffset': '0'}, {'device-model': 'qemu-trad'},
    {'device-model': 'qemu-upstream-uefi', 'secureboot': 'auto'}], ids=lambda item: ','.join(item))
def test_a_map_that_xapi_completes_at_the_next_start_is_replaced_after_that(
        world: World, platform: dict) -> None:
    ref = world.create_vm(args='-foo')
    world.xapi.set_field(ref, 'platform', dict(platform, **{KEY: '-foo'}))
    world.register(ref, 5)
    line = world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(ref))
    assert (line['state'], line['reason']) == ('waits_for_xapi', 'platform_unsettled')
    world.start_vm(ref)
    world.xapi.call('VM.hard_shutdown', ref)
    if world.xapi.vm(ref)['platform']['device-model'] != 'qemu-trad':
        world.wait_settled(ref, '-foo ' + span(5))


def test_an_absent_key_is_added_to_a_map_that_xapi_will_complete(world: World) -> None:
    ref = world.create_vm()
    world.xapi.set_field(ref, 'platform', {'timeoffset': '0'})
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    assert world.start_vm(ref).args == span(5)


@pytest.mark.parametrize('domain_type', ['pv', 'pvh', 'pv_in_pvh'])
def test_a_guest_without_qemu_is_told_and_left_alone(world: World, domain_type: str) -> None:
    ref = world.create_vm(domain_type=domain_type)
    world.register(ref, 5)
    assert world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(ref))['state'] == 'no_qemu'
    world.xapi.set_field(ref, 'domain_type', 'hvm')
    world.wait_args(ref, span(5))


def test_a_vm_that_stays_resident_while_it_is_halted_is_told_with_the_cure(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.xapi.set_field(ref, 'resident_on', world.xapi.hosts[0])
    world.change(ref, vm_id=6)
    line = world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(ref))
    assert line['reason'] == 'halted_but_resident'
    assert 'xe vm-reset-powerstate uuid=%s' % world.uuid(ref) in line['hint']
    assert world.args(ref) == span(5)
    world.xapi.set_field(ref, 'resident_on', 'OpaqueRef:NULL')
    world.wait_args(ref, span(6))


def test_a_span_that_xapi_overwrites_at_start_is_added_again(
        build_world: Callable[..., World]) -> None:
    # Without the key device-model XAPI writes the whole platform map back during the start.
    world = build_world(cutoff_seconds=1.0).start()
    ref = world.create_vm(platform={'timeoffset': '0'})
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.begin_start(ref)
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    starting.join()
    assert world.last_boot(ref).args == span(5)
    assert world.booted(ref)['verdict'] == 'as_desired'


@pytest.mark.parametrize('operation', ['VM.suspend', 'VM.pause'])
def test_nothing_is_written_to_a_vm_that_does_not_rest(world: World, operation: str) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    world.booted(ref)
    world.xapi.call(operation, ref)
    world.xapi.clear_calls()
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    assert world.args(ref) == span(5) and not world.writes()


def test_a_thousand_staged_vms_start_at_once_without_a_write(
        build_world: Callable[..., World]) -> None:
    world = build_world(step_seconds=0.0, consumer='reading').start(with_daemon=False)
    refs = [world.create_vm('vm%04d' % number) for number in range(1000)]
    with world.registry.edit(who='test', command='import') as edit:
        for number, ref in enumerate(refs):
            edit.add_vm(world.uuid(ref), vm_id=number + 1)
    world.start_daemon()
    wait_until(lambda: all(world.args(ref) for ref in refs), 'all staged', 60.0)
    wait_until(lambda: world.xapi.calls[-1].method == 'event.from', 'calm')
    world.xapi.clear_calls()
    starts = [world.xapi.spawn('VM.start', ref, False, False) for ref in refs]
    for start in starts:
        start.join()
    assert not world.writes()
    assert [world.last_boot(ref).args for ref in refs] == [
        span(number + 1) for number in range(1000)]
    wait_until(lambda: len(world.daemon.events('vm.booted', verdict='as_desired')) == 1000,
               lambda: 'a line for each, beside %r' % world.daemon.events('log.dropped'), 180.0)
