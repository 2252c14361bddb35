"""P4, P16, P18: SIGKILL at the system calls that write, to files and to XAPI.

A bounded part runs here; SWEEP=all tries every single one (`make assurance`), in shards that
run beside each other: nearly all of the time is waiting.
"""

import json
import os
import time
from typing import Any, Callable, List, NamedTuple, Tuple

import pytest

from tests.integration.daemon.world import KEY, Daemon, World, wait_until
from tests.integration.faults.killing import Calls, compile_library
from tests.support import scenes
from tests.verification.assurance.evidence import find_login
from tests.verification.assurance.fleet import write_reader

POINTS = 5
IS_WHOLE = os.environ.get('SWEEP') == 'all'
SHARDS = 24 if IS_WHOLE else 1
# Where a shard leaves word of what it did, one JSON document a line.
FIGURES = os.environ.get('SWEEP_FIGURES')


class Work(NamedTuple):
    """What waits for a daemon that is about to start: plans of each kind, and a new name."""
    replaced: scenes.Subject
    removed: scenes.Subject
    added: scenes.Subject


class Repair(NamedTuple):
    """How long it took until the VMs were right: from the login on, and from the start on."""
    seconds: float
    seconds_in_all: float


def _prepare(world: World) -> Work:
    """While no daemon runs: a changed row, a deleted one, a new one, a renamed VM."""
    replaced, removed, added = scenes.register(world, 3)
    for subject in (replaced, removed):
        world.xapi.call('VM.remove_from_platform', subject.ref, KEY)
        world.xapi.call('VM.add_to_platform', subject.ref, KEY, subject.value())
    scenes.prioritise(world, [replaced])
    with world.registry.edit(who='test', command='remove-vm') as edit:
        edit.remove_vm(world.uuid(removed.ref))
    world.xapi.call('VM.set_name_label', replaced.ref, 'renamed %d' % replaced.number)
    return Work(replaced, removed, added)


def _list_wanted(work: Work) -> Tuple[Tuple[str, str], ...]:
    return ((work.replaced.ref, work.replaced.value('high')),
            (work.removed.ref, scenes.FOREIGN), (work.added.ref, work.added.value()))


def _is_right(world: World, work: Work) -> bool:
    return not any(world.args(ref) != value or world.xapi.vm(ref)['blocked_operations']
                   for ref, value in _list_wanted(work))


def _is_done(world: World, work: Work) -> bool:
    if not _is_right(world, work):
        return False
    names = {vm.vm_id: vm.vm_name for vm in world.registry.read().vms}
    return names[work.replaced.number] == 'renamed %d' % work.replaced.number


def _run_until_dead(world: World, library: str, kill_at: int, work: Work) -> int:
    """Run a daemon that dies at this call, or until all is done; how many calls it made."""
    calls = Calls(world.directory, library)
    mortal = Daemon(world.config_path, calls.arm(kill_at)).start()
    assert mortal.process is not None
    process = mortal.process
    try:
        wait_until(lambda: process.poll() is not None or _is_done(world, work),
                   lambda: 'the end, or all done: %s' % '\n'.join(mortal.raw[-20:]))
        assert process.poll() in (None, -9), mortal.raw
    finally:
        mortal.kill()
    return calls.made


@pytest.fixture(scope='module')
def library(tmp_path_factory: Any) -> str:
    """The calls that kill, compiled."""
    return compile_library(str(tmp_path_factory.mktemp('kill')))


@pytest.mark.parametrize('shard', range(SHARDS))
def test_a_daemon_killed_at_a_call_that_writes_is_repaired_by_the_next(
        build_world: Callable[..., World], library: str, shard: int) -> None:
    world = build_world(cutoff_seconds=0.02)
    world.write_config(interval_seconds=1)
    world.start(with_daemon=False)
    write_reader(world)
    total = _run_until_dead(world, library, 0, _prepare(world))
    assert total > 50
    points, kills = _choose(total, shard), 0
    repairs = [Repair(0.0, 0.0)]
    for kill_at in points:
        work = _prepare(world)
        kills += _run_until_dead(world, library, kill_at, work) == kill_at
        repairs.append(_repair(world, work, kill_at))
    if FIGURES:
        with open(FIGURES, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps({'calls': total, 'points': len(points), 'kills': kills,
                                     'boots': 3 * len(points),
                                     'longest': max(item.seconds for item in repairs),
                                     'longest_restart': max(
                                         item.seconds_in_all for item in repairs)}) + '\n')


def _repair(world: World, work: Work, kill_at: int) -> Repair:
    """Have the next daemon bring all in order, and hold the boots against it."""
    _assert_nothing_is_lost(world, work, kill_at)
    began = time.monotonic()
    world.start_daemon()
    wait_until(lambda: _is_right(world, work), lambda: 'repair after %d: %r; log:\n%s' % (
        kill_at, [world.args(ref) for ref, _value in _list_wanted(work)],
        '\n'.join(world.daemon.raw[-20:])))
    ended = time.monotonic()
    repair = Repair(ended - (find_login(world, began) or began), ended - began)
    wait_until(lambda: _is_done(world, work), 'the name, with the next scan')
    for ref, value in _list_wanted(work):
        assert world.start_vm(ref).args == value, kill_at
    assert world.daemon.stop() == 0
    for ref, _value in _list_wanted(work):
        world.xapi.call('VM.hard_shutdown', ref)
        world.xapi.call('VM.destroy', ref)
    return repair


def _choose(total: int, shard: int) -> List[int]:
    """Every call, and some more than were counted: no two runs make quite as many."""
    if IS_WHOLE:
        return list(range(1 + shard, total + total // 10, SHARDS))
    return [1 + (2 * index + 1) * total // (2 * POINTS) for index in range(POINTS)]


def _assert_nothing_is_lost(world: World, work: Work, kill_at: int) -> None:
    """Foreign text is there, whole, and nothing keeps the VM from starting."""
    for ref, _value in _list_wanted(work):
        value, blocked = world.args(ref), world.xapi.vm(ref)['blocked_operations']
        assert (value or '').startswith(scenes.FOREIGN) and not blocked, (kill_at, ref, value)
