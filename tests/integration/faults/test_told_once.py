"""P19, P20: each boot is told, and once, in orders that an adversary would choose."""

import sqlite3
from typing import Any, Callable, Dict, List

import pytest

from registry.journal.journal import Journal
from tests.integration.daemon.world import World, wait_until
from tests.support import scenes


def _told(world: World, subject: scenes.Subject) -> List[int]:
    """The domids of the boots of a VM that this daemon has told."""
    return [line['domid'] for line in world.daemon.events(
        'vm.booted', vm_uuid=world.uuid(subject.ref))]


def _wait_for_told(world: World, subject: scenes.Subject) -> int:
    """Wait until the boot that runs was told; its domid."""
    domid = int(world.xapi.vm(subject.ref)['domid'])
    world.booted(subject.ref, domid=domid)
    return domid


def _settle(world: World) -> None:
    """Have the daemon do all that it would do by now: a boot that comes later is told later."""
    probe, = scenes.stage(world)
    scenes.run(world, [probe])


def test_a_journal_that_cannot_be_written_when_the_next_daemon_begins_has_no_boot_told_again(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subjects = scenes.stage(world, 3)
    scenes.run(world, subjects)
    wait_until(lambda: not _list_open(world), 'the receipts')
    world.daemon.kill()
    lock = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    lock.execute('BEGIN IMMEDIATE')
    world.start_daemon()
    rebooted = subjects[0]
    world.xapi.guest_reboot(rebooted.ref)
    world.xapi.guest_reboot(rebooted.ref)
    polls = len(world.xapi.calls)
    world.xapi.call('VM.set_name_label', rebooted.ref, 'renamed')
    wait_until(lambda: len(world.xapi.calls) > polls, 'the daemon to see it')
    lock.execute('ROLLBACK')
    lock.close()
    last = _wait_for_told(world, rebooted)
    _settle(world)
    told = _told(world, rebooted)
    assert told.count(last) == 1 and len(told) == len(set(told))
    assert not _told(world, subjects[1]) and not _told(world, subjects[2])


def _list_open(world: World) -> List[Any]:
    with Journal(world.registry.journal_path, timeout_seconds=5.0) as journal:
        return list(journal.open_boots())


def _start_thrice(world: World, ref: str) -> None:
    for _ in range(2):
        world.xapi.call('VM.start', ref, False, False)
        world.xapi.call('VM.hard_shutdown', ref)
    world.xapi.call('VM.start', ref, False, False)


def _reboot_twice(world: World, ref: str) -> None:
    world.xapi.call('VM.start', ref, False, False)
    world.xapi.guest_reboot(ref)
    world.xapi.call('VM.hard_reboot', ref)


def _checkpoint_and_revert(world: World, ref: str) -> None:
    world.xapi.call('VM.start', ref, False, False)
    snapshot = world.xapi.call('VM.checkpoint', ref, 'checkpoint')
    world.xapi.call('VM.revert', snapshot)
    if world.xapi.vm(ref)['power_state'] == 'Suspended':
        world.xapi.call('VM.resume', ref, False, False)


def _start_and_suspend(world: World, ref: str) -> None:
    world.xapi.call('VM.start', ref, False, False)
    world.xapi.call('VM.suspend', ref)
    world.xapi.call('VM.resume', ref, False, False)


ORDERS: Dict[str, Callable[[World, str], None]] = {
    'three-starts': _start_thrice, 'two-reboots': _reboot_twice,
    'checkpoint-and-revert': _checkpoint_and_revert, 'suspended-at-once': _start_and_suspend}


@pytest.mark.parametrize('order', list(ORDERS))
def test_of_boots_between_two_answers_the_one_that_runs_is_told_once(
        pool: World, order: str) -> None:
    subject, = scenes.stage(pool)
    pool.daemon.freeze()
    ORDERS[order](pool, subject.ref)
    pool.daemon.thaw()
    domid = _wait_for_told(pool, subject)
    _settle(pool)
    told = _told(pool, subject)
    assert told.count(domid) == 1 and len(told) == len(set(told))
    assert pool.booted(subject.ref, domid=domid)['verdict'] == 'as_desired'


@pytest.mark.parametrize('mode', ['clean', 'crash'])
def test_a_restart_of_xapi_has_no_boot_told_again_whatever_it_forgets(
        pool: World, mode: str) -> None:
    subject, = scenes.stage(pool)
    pool.xapi.call('VM.start', subject.ref, False, False)
    first = _wait_for_told(pool, subject)
    before = pool.xapi.state.database.generation
    pool.xapi.guest_reboot(subject.ref)
    second = _wait_for_told(pool, subject)
    pool.xapi.restart(mode, 0.0, pool.xapi.state.database.generation - before)
    # The database is older than the domain: xapi learns from xenopsd a moment later.
    pool.xapi.set_field(subject.ref, 'domid', first)
    _settle(pool)
    pool.xapi.set_field(subject.ref, 'domid', second)
    pool.xapi.guest_reboot(subject.ref)
    third = _wait_for_told(pool, subject)
    assert _told(pool, subject) == [first, second, third]


def test_an_import_under_the_uuid_of_a_vm_that_xapi_forgot_to_delete_boots_right(
        pool: World) -> None:
    subject, = scenes.stage(pool)
    vm_uuid = pool.uuid(subject.ref)
    pool.xapi.add_fault('forget_deletion', ref=subject.ref, count=1)
    pool.xapi.call('VM.destroy', subject.ref)
    imported = subject._replace(ref=pool.xapi.import_vm(
        'imported', vm_uuid, {'device-model-args': subject.value('low')}))
    pool.wait_settled(imported.ref, subject.value())
    scenes.run(pool, [imported])
    pool.xapi.restart('clean')  # its first batch shows that the other is gone
    _settle(pool)
    assert _told(pool, imported) == [int(pool.xapi.vm(imported.ref)['domid'])]
    pool.xapi.call('VM.hard_shutdown', imported.ref)
    scenes.prioritise(pool, [imported])
    pool.wait_settled(imported.ref, subject.value('high'))
    assert scenes.start(pool, imported) == subject.value('high')


@pytest.mark.parametrize('call', [1, 2, 3])
def test_a_crash_of_xapi_that_takes_back_a_replacement_costs_no_foreign_text(
        pool: World, call: int) -> None:
    subject, = scenes.stage(pool)
    generations: List[int] = []
    database = pool.xapi.state.database
    scenes.at_call(pool, subject.ref, call, lambda: generations.append(database.generation))
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    _settle(pool)
    pool.xapi.restart('crash', 0.0, database.generation - generations[0])
    pool.daemon.wait_for('stream.resynced')
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')
