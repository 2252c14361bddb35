"""P19, P20: each boot of a registered VM has one receipt and one line."""

from typing import Callable

import pytest

from registry.journal.journal import Journal
from tests.integration.daemon.world import World, span, wait_until


def _running(world: World, vm_id: int = 5) -> str:
    ref = world.create_vm('web')
    world.register(ref, vm_id)
    world.wait_args(ref, span(vm_id))
    world.start_vm(ref)
    world.booted(ref)
    return ref


@pytest.mark.parametrize('operation, kind', [
    pytest.param(lambda world, ref: world.xapi.call('VM.clean_reboot', ref), 'reboot',
                 id='clean-reboot'),
    pytest.param(lambda world, ref: world.xapi.call('VM.hard_reboot', ref), 'reboot',
                 id='hard-reboot'),
    pytest.param(lambda world, ref: world.xapi.guest_reboot(ref), 'reboot', id='guest-reboot'),
    pytest.param(lambda world, ref: world.xapi.guest_crash(ref), 'reboot', id='crash-restart'),
    pytest.param(lambda world, ref: (world.xapi.call('VM.suspend', ref),
                                     world.xapi.call('VM.resume', ref, False, False)), 'resume',
                 id='suspend-and-resume'),
])
def test_each_way_a_qemu_comes_up_gives_one_line(
        world: World, operation: Callable[[World, str], None], kind: str) -> None:
    ref = _running(world)
    operation(world, ref)
    line = world.booted(ref, kind=kind)
    assert (line['verdict'], line['found']) == ('as_desired', span(5))
    assert len(world.daemon.events('vm.booted')) == 2


def test_a_reboot_with_a_waiting_change_is_pending(world: World) -> None:
    ref = _running(world)
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    world.xapi.guest_reboot(ref)
    line = world.booted(ref, kind='reboot')
    assert (line['verdict'], line['desired'], line['found']) == ('pending', span(6), span(5))


def test_a_resume_with_a_waiting_change_is_frozen(world: World) -> None:
    ref = _running(world)
    world.xapi.call('VM.suspend', ref)
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref), desired=span(6))
    world.xapi.call('VM.resume', ref, False, False)
    assert world.booted(ref, kind='resume')['verdict'] == 'frozen'


def test_a_consumer_that_is_switched_off_is_told(build_world: Callable[..., World]) -> None:
    world = build_world(consumer='off').start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    line = world.booted(ref)
    assert (line['verdict'], line['found'], line['level']) == ('not_consumed', None, 'warning')


def test_without_a_host_to_look_at_a_boot_is_unverified(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    world.write_config()
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write('\n'.join('xenstore_read =' if line.startswith('xenstore_read') else line
                               for line in text.split('\n')))
    world.start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    assert world.booted(ref)['verdict'] == 'unverified'


def test_an_open_boot_survives_a_restart_of_the_daemon(
        build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=1.5).start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.xapi.spawn('VM.start', ref, False, False)
    journal = Journal(world.registry.journal_path, timeout_seconds=5.0)
    with journal:
        wait_until(journal.open_boots, 'the boot is in the journal')
    world.daemon.kill()
    world.start_daemon()
    starting.join()
    line = world.booted(ref)
    assert (line['kind'], line['verdict']) == ('start', 'as_desired')
    assert len(world.daemon.events('vm.booted')) == 1


def test_a_vm_found_running_gets_one_receipt_and_not_another(world: World) -> None:
    ref = _running(world)
    world.daemon.stop()
    world.xapi.guest_reboot(ref)
    world.start_daemon()
    assert world.booted(ref)['kind'] == 'unknown'
    world.daemon.stop()
    world.start_daemon()
    world.xapi.guest_reboot(ref)
    world.booted(ref, kind='reboot')
    assert len(world.daemon.events('vm.booted')) == 1
