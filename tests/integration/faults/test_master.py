"""P21: the pool gets another master, seen from one host: XAPI restarts, and its answer differs."""

import time
from typing import Callable

import pytest

from tests.integration.daemon.world import World, wait_until
from tests.support import scenes
from tests.support.waiting import LOADED

RECOVERY_SECONDS = 5.0 * LOADED


@pytest.fixture
def pair(build_world: Callable[..., World]) -> World:
    """A pool of two hosts; the daemon is on the master."""
    return build_world(hosts=2).start()


def _hand_over(world: World, number: int, mode: str = 'clean') -> None:
    """Another host becomes the master: XAPI says so, and restarts everywhere."""
    world.xapi.set_master(world.xapi.hosts[number])
    world.xapi.restart(mode)


def _become_member(world: World, mode: str = 'clean') -> None:
    told = len(world.daemon.events('role.read_only'))
    _hand_over(world, 1, mode)
    wait_until(lambda: len(world.daemon.events('role.read_only')) > told, 'it is a member')


def test_a_daemon_whose_host_is_not_the_master_any_more_writes_nothing_and_goes_on_watching(
        pair: World) -> None:
    changed, steady = scenes.stage(pair, 2)
    _become_member(pair)
    assert 'not the master' in pair.daemon.events('role.read_only')[-1]['reason']
    pair.xapi.clear_calls()
    edits = len(pair.daemon.events('registry.changed'))
    scenes.prioritise(pair, [changed])
    pair.xapi.call('VM.clone', steady.ref, 'copy')
    wait_until(lambda: len(pair.daemon.events('registry.changed')) > edits, 'the edit is seen')
    pair.xapi.call('VM.start_on', steady.ref, pair.xapi.hosts[0], False, False)
    assert pair.last_boot(steady.ref).args == steady.value()
    assert pair.booted(steady.ref)['verdict'] == 'as_desired'
    assert pair.args(changed.ref) == changed.value() and not pair.writes()


def test_a_daemon_whose_host_becomes_the_master_stages_what_was_left(pair: World) -> None:
    changed, = scenes.stage(pair)
    _become_member(pair)
    scenes.prioritise(pair, [changed])
    fresh, = scenes.register(pair, 1)
    _hand_over(pair, 0)
    began = time.monotonic()
    for subject, value in ((changed, changed.value('high')), (fresh, fresh.value())):
        pair.wait_settled(subject.ref, value)
    assert time.monotonic() - began < RECOVERY_SECONDS
    assert scenes.start(pair, changed) == changed.value('high')
    assert scenes.start(pair, fresh) == fresh.value()


@pytest.mark.parametrize('call', [1, 2, 3])
def test_a_change_of_master_in_the_middle_of_a_replacement_loses_nothing(
        pair: World, call: int) -> None:
    # XAPI ends after it has carried the call out, and before it answers that or any other.
    changed, = scenes.stage(pair)
    checkpoint = scenes.Checkpoint(pair)
    checkpoint.hold(changed.ref, call)
    scenes.prioritise(pair, [changed])
    checkpoint.wait()
    _become_member(pair)
    checkpoint.release()
    assert pair.args(changed.ref) in (changed.value(), changed.value('high'))
    _hand_over(pair, 0)
    pair.wait_settled(changed.ref, changed.value('high'))
    assert scenes.start(pair, changed) == changed.value('high')


def test_a_daemon_that_begins_on_a_member_writes_as_soon_as_its_host_is_the_master(
        build_world: Callable[..., World]) -> None:
    world = build_world(hosts=2).start(with_daemon=False)
    subject, = scenes.register(world, 1)
    world.xapi.set_master(world.xapi.hosts[1])
    world.start_daemon()
    world.daemon.wait_for('role.read_only')
    assert not world.writes()
    _hand_over(world, 0, 'crash')
    world.wait_settled(subject.ref, subject.value())
    assert scenes.start(world, subject) == subject.value()
