"""P4, P16: orders that a review of the code found, some of them promises broken once."""

import os
import shutil
import signal
import sqlite3
import time
from typing import Callable

import pytest

from simulator.faults import Fault
from tests import scenes
from tests.simulated.world import World, wait_until


def _kill_between_remove_and_add(world: World, subject: scenes.Subject) -> None:
    checkpoint = scenes.Checkpoint(world)
    checkpoint.hold(subject.ref, 4)
    scenes.prioritise(world, [subject])
    checkpoint.wait()
    world.daemon.kill()
    checkpoint.release()
    assert world.args(subject.ref) is None


@pytest.mark.parametrize('is_fenced', [True, False], ids=['fenced', 'fence-lifted-by-hand'])
def test_a_journal_that_is_locked_when_the_next_daemon_begins_costs_no_foreign_text(
        build_world: Callable[..., World], is_fenced: bool) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    _kill_between_remove_and_add(world, subject)
    if not is_fenced:
        for operation in ('start', 'start_on'):
            world.xapi.call('VM.remove_from_blocked_operations', subject.ref, operation)
    lock = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    world.start_daemon()
    world.daemon.wait_for('registry.unavailable')
    if is_fenced:
        world.daemon.wait_for('fence.not_lifted')
        starting = world.xapi.spawn('VM.start', subject.ref, False, False)
        assert scenes.refusal_of(starting)[0] == 'OPERATION_BLOCKED'
    assert world.args(subject.ref) is None
    lock.execute('ROLLBACK')
    lock.close()
    world.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(world, subject) == subject.value('high')


def test_a_journal_that_stays_locked_holds_no_vm_back_for_ever(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    _kill_between_remove_and_add(world, subject)
    lock = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    world.start_daemon()
    wait_until(lambda: not world.xapi.vm(subject.ref)['blocked_operations'], 'no fence')
    lock.close()
    world.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(world, subject) == subject.value('high')


def test_another_registry_path_waits_for_the_replacement_under_way(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    checkpoint = scenes.Checkpoint(world)
    checkpoint.hold(subject.ref, 4)
    world.xapi.faults.add(Fault('drop_before', 'VM.add_to_platform', subject.ref, count=3))
    scenes.prioritise(world, [subject])
    checkpoint.wait()
    elsewhere = os.path.join(world.directory, 'elsewhere')
    os.mkdir(elsewhere)
    world.registry_path = shutil.copy(world.registry_path, elsewhere)
    world.write_config()
    assert world.daemon.process is not None
    world.daemon.process.send_signal(signal.SIGHUP)
    signalled_at = time.monotonic()
    wait_until(lambda: time.monotonic() - signalled_at > 2.0, 'what is done at once is done')
    checkpoint.release()
    world.wait_settled(subject.ref, subject.value('high'))
    world.daemon.wait_for('settings.reloaded')
    assert scenes.start(world, subject) == subject.value('high')
