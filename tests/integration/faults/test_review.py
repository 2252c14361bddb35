"""P4, P16: orders that a review of the code found, some of them promises broken once."""

import os
import shutil
import signal
import sqlite3
import time
from typing import Callable

import pytest

from registry.journal.journal import Journal
from tests.integration.daemon.world import World, wait_until
from tests.support import scenes

MANY = 60


@pytest.mark.parametrize('statement', ['BEGIN EXCLUSIVE', 'BEGIN IMMEDIATE'])
def test_a_journal_that_is_locked_when_the_first_daemon_of_this_version_begins(
        build_world: Callable[..., World], statement: str) -> None:
    # The block's text has the value as well: what 0.1 had taken away does not wait for the lock.
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.leave_as_0_1_did(world, subject)
    lock = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    lock.execute(statement)
    world.start_daemon()
    world.wait_settled(subject.ref, subject.value('high'))
    lock.execute('ROLLBACK')
    lock.close()
    assert scenes.start(world, subject) == subject.value('high')


def test_another_registry_path_waits_for_the_replacement_under_way(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    checkpoint = scenes.Checkpoint(world)
    checkpoint.hold(subject.ref, 2)
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


def test_boots_that_a_dead_daemon_left_open_do_not_hold_up_those_that_run(
        build_world: Callable[..., World]) -> None:
    # Told, and killed before the receipts were closed; meanwhile all of them have rebooted.
    world = build_world(cutoff_seconds=0.05).start()
    subjects = scenes.stage(world, MANY)
    scenes.run(world, subjects)
    world.daemon.kill()
    with Journal(world.registry.journal_path, timeout_seconds=5.0) as journal:
        for subject in subjects:
            boot, = journal.list_boots(world.uuid(subject.ref), 1)
            journal.open_boot(boot._replace(closed_at=None, verdict=None, found=None))
    for subject in subjects:
        world.xapi.guest_reboot(subject.ref)
    world.start_daemon()
    began = time.monotonic()
    for subject in subjects:
        domid = int(world.xapi.vm(subject.ref)['domid'])
        assert world.booted(subject.ref, domid=domid)['verdict'] == 'as_desired'
    # Four at a time, two seconds for each that is gone, would be half a minute.
    assert time.monotonic() - began < MANY / 4
