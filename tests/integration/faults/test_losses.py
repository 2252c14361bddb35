"""A registry that loses rows, or is lost, beside the real daemon: nothing follows from it unasked.

Each is played as it happens to people: the file deleted, emptied, overwritten, mixed up, locked.
"""

import os
import shutil
import signal
import sqlite3
from typing import Any, Callable, List

import pytest

from tests.integration.daemon.test_mirror import entry_of, wait_mirrored
from tests.integration.daemon.world import World, span, wait_until
from tests.support import programs

NUMBERS = range(1, 5)


@pytest.fixture
def world(build_world: Callable[..., World]) -> World:
    """A world of one test's own: its registry is lost."""
    return build_world().start()


@pytest.fixture
def refs(world: World) -> List[str]:
    """Four VMs that are registered, staged and mirrored."""
    refs = [world.create_vm('vm%d' % number) for number in NUMBERS]
    for number, ref in zip(NUMBERS, refs):
        world.register(ref, number)
    for number, ref in zip(NUMBERS, refs):
        world.wait_settled(ref, span(number))
    wait_mirrored(world)
    return refs


def admin(world: World, *words: str) -> Any:
    """Run vgpu-admin as an administrator does: (exit status, output, errors)."""
    status, out, errors = programs.run('cli', ['--config', world.config_path] + list(words),
                                       **programs.surroundings())
    return status, out.decode('utf-8'), errors.decode('utf-8')


def execute(world: World, sql: str) -> None:
    connection = sqlite3.connect(world.registry_path)
    connection.executescript(sql)
    connection.close()


def mix_up(world: World) -> None:
    execute(world, "BEGIN; DELETE FROM vms; INSERT INTO vms (vm_id, vm_uuid) VALUES "
                   "(9, '99999999-1111-2222-3333-444455556666'); COMMIT")


def put_another_in_its_place(world: World) -> None:
    """As `cp` of a registry of another host does."""
    other = world.registry_path + '.other'
    shutil.copy(world.registry_path, other)
    connection = sqlite3.connect(other)
    connection.execute("UPDATE vms SET vm_uuid = 'f' || substr(vm_uuid, 2)")
    connection.commit()
    connection.close()
    os.rename(other, world.registry_path)


LOSSES = [
    pytest.param(lambda world: execute(world, 'DELETE FROM vms'), 'doubtful', id='rows-deleted'),
    pytest.param(mix_up, 'doubtful', id='rows-exchanged'),
    pytest.param(put_another_in_its_place, 'doubtful', id='another-file'),
    pytest.param(lambda world: os.unlink(world.registry_path), 'missing', id='file-deleted'),
    pytest.param(lambda world: os.truncate(world.registry_path, 0), 'empty', id='file-emptied'),
]


def untouched(world: World, refs: List[str]) -> None:
    """VMs and mirror are as they were."""
    assert [world.args(ref) for ref in refs] == [span(number) for number in NUMBERS]
    for ref in refs:
        entry = entry_of(world, ref)
        assert entry is not None and entry.vm_uuid == world.uuid(ref)


@pytest.mark.parametrize('lose, reason', LOSSES)
def test_losses_change_nothing_until_somebody_decides(
        world: World, refs: List[str], lose: Callable[[World], None], reason: str) -> None:
    world.xapi.clear_calls()
    lose(world)
    line = world.daemon.wait_for('registry.unavailable', reason=reason)
    assert 'vgpu-admin registry rebuild' in line['error']
    have_all_looked_at(world)
    untouched(world, refs)
    assert not world.writes()
    status, _out, errors = admin(world, 'init')
    assert status == (0 if reason == 'doubtful' else 4)
    untouched(world, refs)
    status, out, errors = admin(world, 'registry', 'rebuild', '--yes')
    assert status == 0, errors
    world.daemon.wait_for('registry.available')
    wait_mirrored(world)
    untouched(world, refs)
    assert sorted(vm.vm_id for vm in world.registry.read().vms) == list(NUMBERS)


def have_all_looked_at(world: World) -> None:
    """Twice: what the first look has led to is under way by then."""
    for count in (1, 2):
        world.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(world.daemon.events('settings.reloaded')) >= count, 'a reload')


@pytest.mark.parametrize('lose, reason', LOSSES)
def test_daemon_that_was_not_running_notices_at_its_start(
        world: World, refs: List[str], lose: Callable[[World], None], reason: str) -> None:
    world.daemon.stop()
    lose(world)
    world.xapi.clear_calls()
    world.daemon.start()
    world.daemon.wait_for('registry.unavailable', reason=reason)
    world.daemon.wait_for('stream.resynced')
    have_all_looked_at(world)
    untouched(world, refs)
    assert not world.writes()


def test_accept_takes_the_file_as_it_is(world: World, refs: List[str]) -> None:
    mix_up(world)
    world.daemon.wait_for('registry.unavailable', reason='doubtful')
    status, out, errors = admin(world, 'accept', '--yes', '--json')
    assert status == 0, errors
    for ref in refs:
        world.wait_args(ref, None)


def test_losses_that_are_configured_are_followed(world: World, refs: List[str]) -> None:
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('[registry]\n', '[registry]\ntrust_mass_removals = yes\n'))
    execute(world, 'DELETE FROM vms')
    world.daemon.wait_for('registry.unavailable', reason='doubtful')
    world.daemon.process.send_signal(signal.SIGHUP)
    world.daemon.wait_for('settings.reloaded')
    for ref in refs:
        world.wait_args(ref, None)


def test_first_register_vm_forgets_nothing(world: World, refs: List[str]) -> None:
    os.unlink(world.registry_path)
    status, _out, errors = admin(world, 'register-vm', '--vm-uuid=' + world.uuid(refs[0]))
    assert status == 4 and '4 VMs' in errors and 'registry rebuild' in errors
    assert not os.path.exists(world.registry_path)
    untouched(world, refs)


def test_init_empty_starts_over_everywhere(world: World, refs: List[str]) -> None:
    os.unlink(world.registry_path)
    world.daemon.wait_for('registry.unavailable', reason='missing')
    status, out, errors = admin(world, 'init', '--empty')
    assert status == 0 and '4 VMs' in out, errors
    for ref in refs:
        world.wait_args(ref, None)
        wait_until(lambda ref=ref: entry_of(world, ref) is None, 'no entry')


def test_edits_are_staged_while_the_journal_is_locked(world: World, refs: List[str]) -> None:
    another = world.create_vm('another')
    holder = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    holder.execute('BEGIN EXCLUSIVE')
    try:
        execute(world, "UPDATE vms SET pool_id = 'B' WHERE vm_id = 2; "
                       "INSERT INTO vms (vm_id, vm_uuid) VALUES (9, '%s')" % world.uuid(another))
        world.daemon.wait_for('journal.unavailable')
        world.wait_args(another, span(9))
        status, out, _errors = admin(world, 'list-vms')
        assert status == 0 and world.uuid(another) in out
        status, _out, errors = admin(world, 'set-priority', '--vm-uuid=' + world.uuid(another),
                                     '--priority=high', '--no-restart')
        assert status == 0 and 'journal' in errors
        assert not world.daemon.events('registry.unavailable')
    finally:
        holder.close()
    world.daemon.wait_for('journal.available')
    world.wait_settled(refs[1], span(2, 'B'))
    world.wait_settled(another, span(9, priority='high'))
