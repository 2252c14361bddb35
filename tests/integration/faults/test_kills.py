"""P4, P7, P16: SIGKILL after any call of any kind of plan, of 0.2 and of 0.1, leaves no half."""

import os
from typing import Any, List

import pytest

from registry.journal.journal import Journal
from registry.values import Priority
from tests.integration.daemon.world import World, span, wait_until
from tests.support import scenes
from tests.support.left_by_0_1 import BLOCK


def _die(world: World, checkpoint: scenes.Checkpoint) -> None:
    checkpoint.wait()
    world.daemon.kill()
    checkpoint.release()


def test_a_daemon_killed_after_any_call_of_a_replacement_leaves_the_old_value_or_the_new(
        pool: World) -> None:
    subjects = scenes.stage(pool, 2 * len(scenes.REPLACEMENT))
    checkpoint = scenes.Checkpoint(pool)
    for number, subject in enumerate(subjects):
        checkpoint.hold(subject.ref, 1 + number % len(scenes.REPLACEMENT))
    scenes.prioritise(pool, subjects)
    _die(pool, checkpoint)
    half = len(scenes.REPLACEMENT)
    for subject in subjects:
        assert pool.args(subject.ref) in (subject.value(), subject.value('high'))
        assert not pool.xapi.vm(subject.ref)['blocked_operations']
    # Nothing keeps those from starting that nobody has staged, with the daemon dead.
    for subject in subjects[:half]:
        assert scenes.start(pool, subject) in (subject.value(), subject.value('high'))
    pool.start_daemon()
    for subject in subjects[half:]:
        pool.wait_settled(subject.ref, subject.value('high'))
        assert scenes.start(pool, subject) == subject.value('high')
    for subject in subjects[:half]:
        pool.xapi.call('VM.hard_shutdown', subject.ref)
        pool.wait_settled(subject.ref, subject.value('high'))


@pytest.mark.parametrize('foreign', ['', scenes.FOREIGN], ids=['span-alone', 'foreign-text'])
def test_a_daemon_killed_after_any_call_of_an_addition_or_removal_is_repaired(
        pool: World, foreign: str) -> None:
    calls = (1, 2, 3) if foreign else (1, 2)
    removed = scenes.stage(pool, len(calls), foreign)
    checkpoint = scenes.Checkpoint(pool)
    for call, subject in zip(calls, removed):
        checkpoint.hold(subject.ref, call)
    with pool.registry.edit(who='test', command='remove-vm') as edit:
        for subject in removed:
            edit.remove_vm(pool.uuid(subject.ref))
    ref = pool.create_vm()
    checkpoint.hold(ref, 1)
    added = scenes.Subject(ref, pool.register(ref), '')
    _die(pool, checkpoint)
    pool.start_daemon()
    for subject in removed:
        pool.wait_settled(subject.ref, foreign or None)
        assert scenes.start(pool, subject) == (foreign or None)
    pool.wait_settled(ref, added.value())
    assert scenes.start(pool, added) == added.value()


# What 0.1 left when it was killed in the middle of a replacement.

@pytest.mark.parametrize('is_blocked', [True, False], ids=['blocked', 'block-lifted-by-hand'])
def test_the_first_start_of_this_version_ends_what_0_1_left(pool: World, is_blocked: bool) -> None:
    subject, = scenes.stage(pool)
    scenes.leave_as_0_1_did(pool, subject, is_blocked=is_blocked)
    pool.xapi.clear_calls()
    pool.start_daemon()
    pool.wait_settled(subject.ref, subject.value('high'))
    pool.daemon.wait_for('replacement.recovered', vm_uuid=pool.uuid(subject.ref))
    assert not [params for method, params in pool.writes() if method == 'VM.set_platform']
    assert scenes.start(pool, subject) == subject.value('high')
    wait_until(lambda: not _list_left(pool), 'the journal to hold nothing of it')


def _list_left(world: World) -> List[str]:
    with Journal(world.registry.journal_path, timeout_seconds=5.0) as journal:
        return [item.vm_uuid for item in journal.replacements()]


@pytest.mark.parametrize('by_hand', [False, True], ids=['daemon', 'clear-fences'])
def test_a_value_whose_journal_is_lost_comes_back_from_the_blocks_text(pool: World,
                                                                       by_hand: bool) -> None:
    """As when the host of 0.1 dies, and another one with this version becomes master."""
    subject, = scenes.stage(pool)
    scenes.leave_as_0_1_did(pool, subject, has_journal=False)
    for name in os.listdir(pool.directory):
        if name.startswith('vgpu_journal.db'):
            os.unlink(os.path.join(pool.directory, name))
    if by_hand:
        scenes.clear_fences(pool)
        assert pool.args(subject.ref) == subject.value('high')
    pool.start_daemon()
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


@pytest.mark.parametrize('call', [1, 2, 3, 4])
def test_a_daemon_killed_after_any_call_of_lifting_a_block_is_repaired(
        pool: World, call: int) -> None:
    subject, = scenes.stage(pool)
    scenes.leave_as_0_1_did(pool, subject)
    checkpoint = scenes.Checkpoint(pool)
    checkpoint.hold(subject.ref, call)
    pool.daemon.start()
    _die(pool, checkpoint)
    pool.start_daemon()
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_clear_fences_gives_the_value_back_before_it_lifts(pool: World) -> None:
    subject, = scenes.stage(pool)
    scenes.leave_as_0_1_did(pool, subject)
    pool.xapi.clear_calls()
    assert 'lifted the start block' in scenes.clear_fences(pool)
    assert [method for method, _params in pool.writes()] == [
        'VM.add_to_platform', 'VM.remove_from_blocked_operations',
        'VM.remove_from_blocked_operations']
    assert scenes.start(pool, subject) == subject.value('high')


def test_clear_fences_leaves_those_of_others_beside_a_living_daemon_too(pool: World) -> None:
    subject, = scenes.stage(pool)
    foreign = {'start': 'vgpu: maintenance', 'clean_reboot': 'mine'}
    pool.xapi.set_field(subject.ref, 'blocked_operations', foreign)
    assert 'no start block of ours' in scenes.clear_fences(pool)
    pool.daemon.kill()
    assert 'no start block of ours' in scenes.clear_fences(pool)
    assert pool.xapi.vm(subject.ref)['blocked_operations'] == foreign


def test_a_block_that_shows_while_the_daemon_runs_is_lifted(pool: World) -> None:
    subject, = scenes.stage(pool)
    text = BLOCK % (pool.uuid(subject.ref), 'start', subject.value())
    pool.xapi.set_field(subject.ref, 'blocked_operations', {
        'start': text, 'start_on': 'replica: clone it', 'destroy': 'no'})
    pool.daemon.wait_for('fence.lifted', vm_uuid=pool.uuid(subject.ref))
    assert pool.xapi.vm(subject.ref)['blocked_operations'] == {
        'start_on': 'replica: clone it', 'destroy': 'no'}


# A boot that falls between a write and the read that proves it.

@pytest.mark.parametrize('is_killed', [True, False], ids=['killed', 'alive'])
def test_a_boot_by_a_value_that_nothing_has_proven_is_pending(pool: World,
                                                              is_killed: bool) -> None:
    """It took what was staged; its row was changed again before the QEMU came up."""
    subject, = scenes.stage(pool)
    wait_until(lambda: _staged(pool, subject) == span(subject.number), 'the first value noted')
    checkpoint = scenes.Checkpoint(pool)
    checkpoint.hold(subject.ref, 1, method='VM.set_platform')
    scenes.prioritise(pool, [subject])
    # The write is carried out; before its answer comes somebody starts the VM.
    checkpoint.wait()
    assert pool.args(subject.ref) == subject.value('high')
    if is_killed:
        pool.daemon.kill()
    held = pool.xapi.add_fault('operation_hang', method='VM.start', ref=subject.ref)
    start = pool.begin_start(subject.ref)
    checkpoint.release()
    scenes.prioritise(pool, [subject], Priority.LOW)
    if is_killed:
        pool.start_daemon()
    pool.daemon.wait_for('vm.change_pending', vm_uuid=pool.uuid(subject.ref),
                         desired=span(subject.number, priority='low'))
    pool.xapi.faults.remove(held)
    start.join()
    assert pool.last_boot(subject.ref).args == subject.value('high')
    line = pool.booted(subject.ref)
    assert (line['verdict'], line['level']) == ('pending', 'info'), line
    assert line['found'] == span(subject.number, priority='high')


def _staged(world: World, subject: scenes.Subject) -> Any:
    """What the journal says was in place at the VM when it last rested."""
    with Journal(world.registry.journal_path, timeout_seconds=5.0) as journal:
        staged = journal.staged().get(world.uuid(subject.ref))
    return staged.value if staged is not None else None
