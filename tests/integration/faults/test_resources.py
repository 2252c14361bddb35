"""Memory and file descriptors run out, the file system takes no more writes."""

import os
import resource
import subprocess
import time
from typing import Any, Callable, Iterator

import pytest

from tests.integration.daemon.world import Daemon, World, span, wait_until
from tests.support import scenes
from tests.support.waiting import LOADED

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'readonly.c')
RECOVERY_SECONDS = 5.0 * LOADED
# So many descriptors, the lowest, are open from a daemon's beginning to its end; and the kernel
# polls for no more of them than the limit.
ALWAYS_OPEN = 6
# What is left of the address space, and a record that needs more; with one arena for all threads,
# since each of its own reserves more than a daemon ever uses.
LITTLE_BYTES = 4 << 20
LARGE = {'NVRAM': {'EFI-variables': 'V' * (20 << 20)}}


def _pid(world: World) -> int:
    assert world.daemon.process is not None
    return world.daemon.process.pid


@pytest.fixture
def limit(pool: World) -> Iterator[Callable[[int, int], None]]:
    """Lowers a limit of the daemon while it runs; lifted at the end."""
    lowered = []

    def lower(kind: int, value: int) -> None:
        lowered.append((_pid(pool), kind, resource.prlimit(_pid(pool), kind)))
        resource.prlimit(_pid(pool), kind, (value, lowered[-1][2][1]))
    yield lower
    for pid, kind, before in lowered:
        if pool.daemon.process is not None and pool.daemon.process.poll() is None:
            resource.prlimit(pid, kind, before)


def test_a_daemon_without_a_free_descriptor_goes_on_as_soon_as_there_is_one(
        pool: World, limit: Callable[[int, int], None]) -> None:
    changed, steady = scenes.stage(pool, 2)
    broken = len(pool.daemon.events('stream.broken'))
    before = resource.prlimit(_pid(pool), resource.RLIMIT_NOFILE)
    limit(resource.RLIMIT_NOFILE, ALWAYS_OPEN)
    scenes.prioritise(pool, [changed])
    pool.xapi.restart()
    wait_until(lambda: [line for line in pool.daemon.events('stream.broken')[broken:]
                        if 'Too many open files' in line['error']], 'the line')
    pool.daemon.wait_for('registry.unavailable')
    assert scenes.start(pool, steady) == steady.value()
    assert pool.args(changed.ref) == changed.value()
    resource.prlimit(_pid(pool), resource.RLIMIT_NOFILE, before)
    began = time.monotonic()
    pool.wait_settled(changed.ref, changed.value('high'))
    assert time.monotonic() - began < RECOVERY_SECONDS
    assert pool.daemon.process is not None and pool.daemon.process.poll() is None
    assert scenes.start(pool, changed) == changed.value('high')


def _read_address_space(world: World) -> int:
    with open('/proc/%d/statm' % _pid(world), encoding='ascii') as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()


def test_a_daemon_without_memory_ends_and_its_successor_finds_all_that_was_to_be_done(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    world.daemon = Daemon(world.config_path, {'MALLOC_ARENA_MAX': '1'})
    world.start()
    changed, = scenes.stage(world)
    steady = scenes.register(world, 20)
    for subject in steady:
        world.wait_settled(subject.ref, subject.value())
    little = _read_address_space(world) + LITTLE_BYTES
    resource.prlimit(_pid(world), resource.RLIMIT_AS, (little, little))
    scenes.prioritise(world, [changed])
    process = world.daemon.process
    assert process is not None
    # Without text of others its value is added: a map of which the answer takes 20 ms to read is
    # not written back (P5).
    fresh = scenes.register(world, 1, foreign='', **LARGE)
    assert process.wait(30.0) == 1
    world.daemon.wait_for('service.failed')
    world.daemon = Daemon(world.config_path)
    world.start_daemon()
    for subject, value in [(changed, changed.value('high'))] + [
            (subject, subject.value()) for subject in steady + fresh]:
        world.wait_settled(subject.ref, value)
    assert scenes.start(world, changed) == changed.value('high')


@pytest.fixture
def brittle(build_world: Callable[..., World], tmp_path: Any) -> Iterator[Any]:
    """A world whose files can be made read-only for the daemon, and the switch for that."""
    library, flag = str(tmp_path / 'readonly.so'), tmp_path / 'flag'
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', library, SOURCE, '-ldl'], check=True)
    flag.write_bytes(b'\0')
    world = build_world()
    world.daemon = Daemon(world.config_path, {
        'LD_PRELOAD': library, 'READ_ONLY': world.directory, 'READ_ONLY_FLAG': str(flag)})

    def switch(is_read_only: bool) -> None:
        with open(str(flag), 'r+b') as stream:
            stream.write(b'\1' if is_read_only else b'\0')
    yield world, switch


def test_on_a_file_system_that_turned_read_only_vms_are_staged(
        brittle: Any) -> None:
    world, switch = brittle
    world.start()
    changed, = scenes.stage(world)
    fresh = world.create_vm('fresh')
    switch(True)
    scenes.prioritise(world, [changed])
    number = world.register(fresh)
    world.wait_args(fresh, span(number))
    world.daemon.wait_for('journal.unwritable')
    assert world.start_vm(fresh).args == span(number)
    world.wait_settled(changed.ref, changed.value('high'))
    switch(False)
    assert scenes.start(world, changed) == changed.value('high')


def test_a_daemon_that_begins_on_a_read_only_file_system_writes_once_it_has_the_lock(
        brittle: Any) -> None:
    world, switch = brittle
    world.start(with_daemon=False)
    subject, = scenes.register(world, 1)
    switch(True)
    world.start_daemon()
    world.daemon.wait_for('lock.unavailable')
    assert scenes.start(world, subject) == scenes.FOREIGN
    world.xapi.call('VM.hard_shutdown', subject.ref)
    assert not world.writes()
    switch(False)
    world.wait_settled(subject.ref, subject.value())
    assert scenes.start(world, subject) == subject.value()
