"""P4, P16, P18: SIGKILL at the system calls that write, to files and to XAPI.

A bounded part runs here; SWEEP=all tries every single one (`make assurance`).
"""

import os
import struct
import subprocess
from typing import Any, Callable, List, NamedTuple, Tuple

import pytest

from tests import scenes
from tests.simulated.world import KEY, Daemon, World, wait_until

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'kill.c')
POINTS = 5


class Work(NamedTuple):
    """What waits for a daemon that is about to start: plans of each kind, and a new name."""
    replaced: scenes.Subject
    removed: scenes.Subject
    added: scenes.Subject


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


def _is_done(world: World, work: Work) -> bool:
    names = {vm.vm_id: vm.vm_name for vm in world.registry.read().vms}
    return (all(world.args(ref) == value for ref, value in _list_wanted(work))
            and not any(world.xapi.vm(ref)['blocked_operations']
                        for ref, _value in _list_wanted(work))
            and names[work.replaced.number] == 'renamed %d' % work.replaced.number)


def _write_counts(path: str, kill_at: int) -> None:
    with open(path, 'wb') as stream:
        stream.write(struct.pack('qq', kill_at, 0))


def _run_until_dead(world: World, library: str, kill_at: int, work: Work) -> int:
    """Run a daemon that dies at this call, or until all is done; how many calls it made."""
    counts = os.path.join(world.directory, 'counts')
    _write_counts(counts, kill_at)
    mortal = Daemon(world.config_path, {'LD_PRELOAD': library, 'KILL_AT': counts}).start()
    assert mortal.process is not None
    process = mortal.process
    try:
        wait_until(lambda: process.poll() is not None or _is_done(world, work),
                   lambda: 'the end, or all done: %s' % '\n'.join(mortal.raw[-20:]))
        assert process.poll() in (None, -9), mortal.raw
    finally:
        mortal.kill()
    with open(counts, 'rb') as stream:
        return int(struct.unpack('qq', stream.read())[1])


@pytest.fixture(scope='module')
def library(tmp_path_factory: Any) -> str:
    """The calls that kill, compiled."""
    path = str(tmp_path_factory.mktemp('kill') / 'kill.so')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', path, SOURCE, '-ldl'], check=True)
    return path


def test_a_daemon_killed_at_a_call_that_writes_is_repaired_by_the_next(
        build_world: Callable[..., World], library: str) -> None:
    world = build_world(cutoff_seconds=0.02)
    world.write_config(interval_seconds=1)
    world.start(with_daemon=False)
    total = _run_until_dead(world, library, 0, _prepare(world))
    assert total > 50
    for kill_at in _choose(total):
        work = _prepare(world)
        _run_until_dead(world, library, kill_at, work)
        _assert_nothing_is_lost(world, work, kill_at)
        world.start_daemon()
        wait_until(lambda: _is_done(world, work), lambda: 'repair after %d: %r; log:\n%s' % (
            kill_at, [world.args(ref) for ref, _value in _list_wanted(work)],
            '\n'.join(world.daemon.raw[-20:])))
        for ref, value in _list_wanted(work):
            assert world.start_vm(ref).args == value, kill_at
        assert world.daemon.stop() == 0


def _choose(total: int) -> List[int]:
    if os.environ.get('SWEEP') == 'all':
        return list(range(1, total + 1))
    return [1 + (2 * index + 1) * total // (2 * POINTS) for index in range(POINTS)]


def _assert_nothing_is_lost(world: World, work: Work, kill_at: int) -> None:
    """Foreign text is there, or the VM cannot start until it is."""
    for ref, _value in _list_wanted(work):
        value, blocked = world.args(ref), world.xapi.vm(ref)['blocked_operations']
        assert (value or '').startswith(scenes.FOREIGN) or set(blocked) == {'start', 'start_on'}, \
            (kill_at, ref, value)
