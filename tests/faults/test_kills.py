"""P4, P7, P16: SIGKILL after any call of any kind of plan; the next daemon repairs everything."""

import os
from typing import Any, List, NamedTuple

import pytest

from tests import scenes
from tests.simulated.world import World, wait_until

# A rescue must reach the map before XAPI reads it, on a loaded machine too.
CUTOFF_SECONDS = 0.6


class Killed(NamedTuple):
    """Who was in the middle of what when the daemon died."""
    replaced: List[scenes.Subject]
    rescued: List[scenes.Subject]


@pytest.fixture(params=[(1, 4), (5, 8)], ids=['first-half', 'second-half'])
def killed(pool: World, request: Any) -> Killed:
    """A daemon that died after each call of a replacement, and of the plans of one or two calls.

    At most four VMs are staged at once, and four rescued beside: so many deaths happen in one.
    """
    first, last = request.param
    killed = Killed(scenes.stage(pool, 4), scenes.stage(pool, 3))
    scenes.run(pool, killed.rescued)
    scenes.make_pending(pool, killed.rescued)
    checkpoint = scenes.Checkpoint(pool)
    for call, subject in zip(range(first, last + 1), killed.replaced):
        checkpoint.hold(subject.ref, call)
    scenes.prioritise(pool, killed.replaced)
    for call, subject in enumerate(killed.rescued, 1):
        pool.xapi.call('VM.hard_shutdown', subject.ref)
        checkpoint.hold(subject.ref, call)
        pool.begin_start(subject.ref)
    _die(pool, checkpoint)
    return killed


@pytest.mark.parametrize('is_cleared', [False, True], ids=['restarted', 'fences-cleared-between'])
def test_a_daemon_killed_after_any_call_of_a_replacement_or_rescue_is_repaired(
        pool: World, killed: Killed, is_cleared: bool) -> None:
    for subject in killed.rescued:
        _await_boot(pool, subject)
    if is_cleared:
        scenes.clear_fences(pool)
        for subject in killed.replaced:
            assert not pool.xapi.vm(subject.ref)['blocked_operations']
            assert pool.args(subject.ref) in (subject.value(), subject.value('high'))
    pool.start_daemon()
    for subject in killed.replaced:
        pool.wait_settled(subject.ref, subject.value('high'))
    scenes.run(pool, killed.replaced)
    for subject in killed.replaced:
        assert pool.last_boot(subject.ref).args == subject.value('high')
    for subject in killed.rescued:
        pool.xapi.call('VM.hard_shutdown', subject.ref)
        pool.wait_settled(subject.ref, subject.value('high'))


def _await_boot(world: World, subject: scenes.Subject) -> None:
    wait_until(lambda: not world.xapi.vm(subject.ref)['current_operations'], 'the boot')


@pytest.mark.parametrize('foreign', ['', scenes.FOREIGN], ids=['span-alone', 'foreign-text'])
def test_a_daemon_killed_after_any_call_of_an_addition_or_removal_is_repaired(
        pool: World, foreign: str) -> None:
    calls = (3, 4, 5) if foreign else (1, 2)
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


@pytest.mark.parametrize('call', [1, 2, 3, 4])
def test_a_daemon_killed_after_any_call_of_lifting_a_fence_is_repaired(
        pool: World, call: int) -> None:
    subject, = scenes.stage(pool)
    scenes.kill_between_remove_and_add(pool, subject)
    # The next one reads, brings the value back, and lifts one operation after the other.
    checkpoint = scenes.Checkpoint(pool)
    checkpoint.hold(subject.ref, call)
    pool.daemon.start()
    _die(pool, checkpoint)
    pool.start_daemon()
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


@pytest.mark.parametrize('by_hand', [False, True], ids=['daemon', 'clear-fences'])
def test_a_value_whose_journal_is_lost_comes_back_from_the_fence(pool: World,
                                                                by_hand: bool) -> None:
    """As when the daemon's host dies, and another one becomes master."""
    subject, = scenes.stage(pool)
    scenes.kill_between_remove_and_add(pool, subject)
    for name in os.listdir(pool.directory):
        if name.startswith('vgpu_journal.db'):
            os.unlink(os.path.join(pool.directory, name))
    if by_hand:
        assert 'restored' in scenes.clear_fences(pool)
        assert pool.args(subject.ref) == subject.value('high')
    pool.start_daemon()
    # The edit was not mirrored yet: the registry is staged from, and people are asked.
    pool.daemon.wait_for('fence.lifted' if not by_hand else 'mirror.undecided')
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_clear_fences_gives_the_value_back_before_it_lifts(pool: World) -> None:
    subject, = scenes.stage(pool)
    scenes.kill_between_remove_and_add(pool, subject)
    assert scenes.refusal_of(pool.xapi.spawn('VM.start', subject.ref, False, False))[0] == \
        'OPERATION_BLOCKED'
    pool.xapi.clear_calls()
    assert 'restored' in scenes.clear_fences(pool)
    assert [method for method, _params in pool.writes()] == [
        'VM.add_to_platform', 'VM.remove_from_blocked_operations',
        'VM.remove_from_blocked_operations']
    assert scenes.start(pool, subject) == subject.value('high')


def test_clear_fences_leaves_those_of_others_and_of_a_living_daemon(pool: World) -> None:
    subject, = scenes.stage(pool)
    foreign = {'start': 'vgpu: maintenance', 'clean_reboot': 'mine'}
    pool.xapi.set_field(subject.ref, 'blocked_operations', foreign)
    with pytest.raises(AssertionError, match='is alive'):
        scenes.clear_fences(pool)
    pool.daemon.kill()
    assert 'no fence left' in scenes.clear_fences(pool)
    assert pool.xapi.vm(subject.ref)['blocked_operations'] == foreign


def _die(world: World, checkpoint: scenes.Checkpoint) -> None:
    checkpoint.wait()
    world.daemon.kill()
    checkpoint.release()
