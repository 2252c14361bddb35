"""Every way in which a QEMU comes up (docs/reference/boot-path.md, "Other ways a QEMU comes up")."""

import os
from typing import Callable, List, Sequence

import pytest

from registry.journal.journal import Boot, Journal
from registry.paths import JOURNAL_NAME
from tests.integration.daemon.world import World, span, wait_until
from tests.support import scenes

CUTOFF_SECONDS = 0.6


def test_high_availability_restarts_all_vms_of_a_dead_host_right(
        build_world: Callable[..., World]) -> None:
    world = build_world(hosts=2).start()
    subjects = scenes.stage(world, 10)
    for subject in subjects:
        world.xapi.call('VM.start_on', subject.ref, world.xapi.hosts[1], False, False)
    for subject in subjects:
        # That host is another one than ours: what runs there cannot be looked at from here.
        assert world.booted(subject.ref)['verdict'] == 'unverified'
    assert world.xapi.host_fails(world.xapi.hosts[1]) == []
    for subject in subjects:
        assert world.last_boot(subject.ref).args == subject.value()
        line = world.booted(subject.ref, verdict='as_desired')
        assert line['kind'] in ('start', 'unknown')


def test_high_availability_restarts_vms_with_a_waiting_change_without_a_refusal(
        build_world: Callable[..., World]) -> None:
    world = build_world(hosts=2, cutoff_seconds=CUTOFF_SECONDS).start()
    subjects = scenes.stage(world, 3)
    for subject in subjects:
        world.xapi.call('VM.start_on', subject.ref, world.xapi.hosts[1], False, False)
    scenes.make_pending(world, subjects)
    assert world.xapi.host_fails(world.xapi.hosts[1]) == []
    for subject in subjects:
        assert world.last_boot(subject.ref).args in (subject.value(), subject.value('high'))


@pytest.mark.parametrize('is_daemon_first', [True, False], ids=['daemon-first', 'vms-first'])
def test_vms_that_power_on_with_their_host_are_right(
        build_world: Callable[..., World], is_daemon_first: bool) -> None:
    world = build_world().start()
    subjects = scenes.stage(world, 3)
    for subject in subjects:
        world.xapi.call('VM.add_to_other_config', subject.ref, 'auto_poweron', 'true')
    scenes.run(world, subjects)
    # The line comes a moment before its receipt is on the disk; a boot without one is told again.
    wait_until(lambda: not _list_open_boots(world), 'the receipts')
    world.daemon.kill()
    world.xapi.reboot_host()
    if is_daemon_first:
        world.start_daemon()
    assert world.xapi.auto_power_on() == []
    if not is_daemon_first:
        world.start_daemon()
    for subject in subjects:
        assert world.last_boot(subject.ref).args == subject.value()
        assert world.booted(subject.ref)['verdict'] == 'as_desired'


def _list_open_boots(world: World) -> Sequence[Boot]:
    with Journal(os.path.join(world.directory, JOURNAL_NAME), timeout_seconds=10.0) as journal:
        return journal.open_boots()


def test_a_start_into_the_paused_state_takes_the_span_and_waits_with_changes(pool: World) -> None:
    subject, = scenes.stage(pool)
    pool.xapi.call('VM.start', subject.ref, True, False)
    assert pool.last_boot(subject.ref).args == subject.value()
    assert pool.booted(subject.ref)['verdict'] == 'as_desired'
    pool.xapi.clear_calls()
    scenes.make_pending(pool, [subject])
    pool.xapi.call('VM.unpause', subject.ref)
    assert pool.args(subject.ref) == subject.value() and not pool.writes()
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    pool.wait_settled(subject.ref, subject.value('high'))


def _make_appliance(world: World, subjects: List[scenes.Subject], first: int) -> str:
    """An appliance of these VMs, of which so many start first."""
    appliance = str(world.xapi.call('VM_appliance.create', {'name_label': 'vApp'}))
    for position, subject in enumerate(subjects):
        world.xapi.call('VM.set_appliance', subject.ref, appliance)
        world.xapi.call('VM.set_order', subject.ref, 0 if position < first else 1)
    return appliance


def test_vms_that_start_together_as_in_an_appliance_all_take_their_changes(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subjects = scenes.stage(world, 12)
    scenes.run(world, subjects)
    scenes.make_pending(world, subjects)
    appliance = _make_appliance(world, subjects, 6)
    world.xapi.call('VM_appliance.hard_shutdown', appliance)
    for subject in subjects:
        world.wait_settled(subject.ref, subject.value('high'))
    world.xapi.call('VM_appliance.start', appliance, False)
    assert [world.last_boot(subject.ref).args for subject in subjects] == [
        subject.value('high') for subject in subjects]
    starts = [boot.at for subject in subjects for boot in [world.last_boot(subject.ref)]]
    assert max(starts[:6]) < min(starts[6:])


def test_a_span_that_vanishes_while_the_vm_starts_is_added_again(pool: World) -> None:
    subject, = scenes.stage(pool, foreign='')
    starting = pool.begin_start(subject.ref)
    pool.xapi.call('VM.remove_from_platform', subject.ref, 'device-model-args')
    assert scenes.refusal_of(starting) == ()
    assert pool.last_boot(subject.ref).args == subject.value()
    assert pool.booted(subject.ref, rescued=True)['verdict'] == 'as_desired'


REBOOTS = {
    'clean-reboot': lambda world, ref: world.xapi.call('VM.clean_reboot', ref),
    'hard-reboot': lambda world, ref: world.xapi.call('VM.hard_reboot', ref),
    'guest-reboot': lambda world, ref: world.xapi.guest_reboot(ref),
    'guest-crash': lambda world, ref: world.xapi.guest_crash(ref),
}


@pytest.mark.parametrize('name', sorted(REBOOTS))
def test_a_reboot_takes_what_was_staged_while_a_change_waits(pool: World, name: str) -> None:
    subject, = scenes.stage(pool)
    scenes.run(pool, [subject])
    scenes.make_pending(pool, [subject])
    REBOOTS[name](pool, subject.ref)
    assert pool.last_boot(subject.ref).args == subject.value()
    line = pool.booted(subject.ref, kind='reboot')
    assert (line['verdict'], line['desired']) == ('pending', span(subject.number, priority='high'))


@pytest.mark.parametrize('name', ['suspend', 'migrate'])
def test_a_frozen_boot_is_told_as_frozen_and_the_edit_waits_for_rest(
        build_world: Callable[..., World], name: str) -> None:
    world = build_world(hosts=2, cutoff_seconds=CUTOFF_SECONDS).start()
    subject, = scenes.stage(world)
    world.xapi.call('VM.start_on', subject.ref, world.xapi.hosts[1 if name == 'migrate' else 0],
                    False, False)
    world.booted(subject.ref)
    world.xapi.clear_calls()
    if name == 'suspend':
        world.xapi.call('VM.suspend', subject.ref)
        scenes.make_pending(world, [subject])
        world.xapi.call('VM.resume', subject.ref, False, False)
    else:
        scenes.make_pending(world, [subject])
        world.xapi.call('VM.pool_migrate', subject.ref, world.xapi.hosts[0], {'live': 'true'})
    kind = 'resume' if name == 'suspend' else 'migration'
    assert world.booted(subject.ref, kind=kind)['verdict'] == 'frozen'
    assert world.last_boot(subject.ref).args == subject.value() and not world.writes()
    world.xapi.call('VM.hard_shutdown', subject.ref)
    world.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(world, subject) == subject.value('high')


def test_a_vm_that_shuts_down_from_inside_is_staged_at_rest(pool: World) -> None:
    subject, = scenes.stage(pool)
    scenes.run(pool, [subject])
    scenes.make_pending(pool, [subject])
    pool.xapi.guest_shutdown(subject.ref)
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_a_start_that_fails_leaves_the_vm_staged(pool: World) -> None:
    subject, = scenes.stage(pool)
    scenes.run(pool, [subject])
    scenes.make_pending(pool, [subject])
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    pool.xapi.add_fault('operation_failure', method='VM.start', ref=subject.ref, count=1)
    starting = pool.xapi.spawn('VM.start', subject.ref, False, False)
    assert scenes.refusal_of(starting)[0] == 'INTERNAL_ERROR'
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_a_clock_that_the_guest_sets_all_the_time_disturbs_nothing(pool: World) -> None:
    running, changed = scenes.stage(pool, 2)
    scenes.run(pool, [running])
    pool.xapi.clear_calls()
    scenes.prioritise(pool, [changed])
    for offset in range(60):
        pool.xapi.change_timeoffset(running.ref, str(offset))
    pool.wait_settled(changed.ref, changed.value('high'))
    assert not [call for call in pool.writes() if running.ref in call[1]]
    assert pool.xapi.vm(running.ref)['platform']['timeoffset'] == '59'


def test_a_rescue_that_xapi_overwrites_with_the_whole_map_is_told_or_mended(pool: World) -> None:
    # XAPI reads the map, we write, XAPI writes the whole map back: our write is lost.
    subject, = scenes.stage(pool)
    scenes.run(pool, [subject])
    scenes.make_pending(pool, [subject])
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    pool.xapi.call('VM.remove_from_platform', subject.ref, 'device-model-args')
    pool.xapi.add_fault('whole_map_race', method='VM', ref=subject.ref, count=1)
    taken = scenes.start(pool, subject)
    line = pool.booted(subject.ref, rescued=True)
    if taken is None or span(subject.number, priority='high') not in taken:
        assert line['verdict'] != 'as_desired' and line['level'] == 'warning'
    assert pool.xapi.vm(subject.ref)['platform']['device-model'] == 'qemu-upstream-compat'


def _seen(world: World, name: str, ref: str) -> List[dict]:
    return world.daemon.events(name, vm_uuid=world.uuid(ref))


def test_a_consumer_that_an_update_took_away_is_told_at_each_boot(pool: World) -> None:
    subject, = scenes.stage(pool)
    pool.xapi.set_consumer('off')
    pool.xapi.call('VM.start', subject.ref, False, False)
    line = pool.booted(subject.ref)
    pool.xapi.set_consumer('working')
    assert (line['verdict'], line['level']) == ('not_consumed', 'warning')
    pool.xapi.call('VM.hard_reboot', subject.ref)
    wait_until(lambda: [item for item in _seen(pool, 'vm.booted', subject.ref)
                        if item['verdict'] == 'as_desired'], 'right again')
