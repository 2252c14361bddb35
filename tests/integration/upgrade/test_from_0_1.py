"""One host, on which 0.1 is killed at any call of a replacement, and this version goes on."""

from typing import Any, Callable, List

import pytest

from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import scenes
from tests.support.release_0_1 import Release

FOREIGN = '-foo "a  b"'
# Two operations blocked, the key away, the key back, both let go of.
REPLACEMENT = ['VM.add_to_blocked_operations', 'VM.add_to_blocked_operations',
               'VM.remove_from_platform', 'VM.add_to_platform',
               'VM.remove_from_blocked_operations', 'VM.remove_from_blocked_operations']
OLD, NEW = ('%s %s' % (FOREIGN, span(7, priority=word)) for word in ('medium', 'high'))


@pytest.fixture
def world(build_world: Callable[..., World], release: Release) -> World:
    """A pool of one host with 0.1, and a VM that it has staged."""
    built = build_world()
    built.xapi.start()
    built.daemon = release.build_daemon(built.config_path)
    release.admin(built.daemon, 'init')
    built.start_daemon()
    return built


def stage(world: World, release: Release) -> str:
    """A VM with foreign text that 0.1 has staged."""
    ref = world.create_vm('web', args=FOREIGN)
    release.admin(world.daemon, 'register-vm', '--vm-uuid', world.uuid(ref), '--vm-id=7')
    world.wait_settled(ref, OLD)
    return ref


def die_at(world: World, release: Release, ref: str, call: int) -> None:
    """Have 0.1 die right after one of the calls of a replacement was carried out."""
    died: List[Any] = []

    def die() -> None:
        world.daemon.process.kill()  # type: ignore
        died.append(call)

    # Calls that end in g are those of the mirror.
    world.xapi.add_fault('run_after', method='VM.[ar]*_*[!g]', ref=ref, skip=call - 1, count=1,
                         parameters={'run': die})
    admin = release.begin_admin(world.daemon, ['set-priority', '--vm-uuid', world.uuid(ref),
                                               '--priority=high'])
    wait_until(lambda: died, lambda: 'the call; log:\n%s' % '\n'.join(world.daemon.raw[-20:]))
    world.daemon.kill()
    admin.kill()
    admin.communicate()


def upgrade(world: World) -> None:
    """Install this version and start it."""
    world.daemon = type(world.daemon)(world.config_path)
    world.start_daemon()


def test_a_replacement_of_0_1_makes_these_calls(world: World, release: Release) -> None:
    """What the others of this file kill it at."""
    ref = stage(world, release)
    world.xapi.clear_calls()
    release.admin(world.daemon, 'set-priority', '--vm-uuid', world.uuid(ref), '--priority=high')
    world.wait_settled(ref, NEW)
    assert [method for method, params in world.writes() if ref in params] == REPLACEMENT


@pytest.mark.parametrize('call', range(1, len(REPLACEMENT) + 1))
def test_0_1_killed_at_a_call_of_a_replacement_ends_right(
        world: World, release: Release, call: int) -> None:
    ref = stage(world, release)
    die_at(world, release, ref, call)
    left = world.xapi.vm(ref)
    assert bool(left['blocked_operations']) is (call < len(REPLACEMENT))
    assert (KEY in left['platform']) is (call != 3)
    upgrade(world)
    world.wait_settled(ref, NEW)
    assert world.start_vm(ref).args == NEW
    assert world.booted(ref)['verdict'] == 'as_desired'


def test_clear_fences_of_this_version_frees_what_0_1_left(
        world: World, release: Release) -> None:
    ref = stage(world, release)
    die_at(world, release, ref, 3)
    assert 'lifted the start block' in scenes.clear_fences(world)
    assert not world.xapi.vm(ref)['blocked_operations']
    assert world.start_vm(ref).args == NEW


def test_0_1_killed_while_a_vm_runs_and_a_change_waits(world: World, release: Release) -> None:
    """The receipt of 0.1, its pending change and its history are this version's too."""
    ref = stage(world, release)
    world.start_vm(ref)
    world.booted(ref)
    release.admin(world.daemon, 'set-priority', '--vm-uuid', world.uuid(ref), '--priority=high',
                  '--no-restart')
    world.daemon.kill()
    upgrade(world)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    assert world.args(ref) == OLD
    world.xapi.call('VM.hard_shutdown', ref)
    world.wait_settled(ref, NEW)
    assert world.start_vm(ref).args == NEW
