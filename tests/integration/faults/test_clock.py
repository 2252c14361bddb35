"""P25: a wall clock that is set delays neither the scan nor the notice of an edit."""

import itertools
import threading
import time
from typing import Any, Callable, Iterator, Tuple

import pytest

from registry.values import Priority
from tests.integration.daemon.world import Daemon, World, wait_until
from tests.support import programs, scenes
from tests.support.figures import leave
from tests.support.wall_clock import YEAR, WallClock, until

Setting = Callable[..., Tuple[World, WallClock]]
STEPS = [-30, 3600, -3600, 26 * YEAR, -26 * YEAR, -56 * YEAR + 86400]
# What a daemon takes on 3.13 is 34 MB; a list of all scans that were missed took 1.6 GB.
LARGEST_MEMORY_MB = 150


@pytest.fixture
def set_up(build_world: Callable[..., World]) -> Iterator[Setting]:
    """A world whose daemon is not started yet, and goes by a clock of its own."""
    clocks = []

    def build(seconds: int = 0, interval_seconds: int = 1) -> Tuple[World, WallClock]:
        world = build_world()
        clock = WallClock(world.directory, seconds)
        clocks.append(clock)
        world.write_config(interval_seconds=interval_seconds)
        world.daemon = Daemon(world.config_path, clock.environment)
        return world, clock
    yield build
    leave(clock_steps=sum(clock.steps for clock in clocks))


def _edit_and_wait(world: World, subject: Any, priority: Priority) -> None:
    """Nothing but the file tells of it: no event of XAPI wakes the daemon."""
    scenes.prioritise(world, [subject], priority)
    world.wait_args(subject.ref, subject.value(priority.word), timeout_seconds=20.0)


def _wait_for_scans(world: World, more: int = 2) -> None:
    seen = len(world.daemon.events('scan.completed'))
    wait_until(lambda: len(world.daemon.events('scan.completed')) >= seen + more, 'scans', 60.0)


def _memory_mb(world: World) -> int:
    with open('/proc/%d/status' % world.daemon.process.pid) as stream:
        return next(int(line.split()[1]) // 1024 for line in stream if line.startswith('VmHWM'))


def _admin(world: World, *words: str) -> str:
    status, out, err = programs.run('cli', ['--config', world.config_path] + list(words),
                                    **programs.surroundings(programs.UTF_8))
    assert status == 0, err
    return out.decode()


@pytest.mark.parametrize('seconds', STEPS)
def test_a_clock_that_jumps_delays_neither_the_scan_nor_the_notice_of_an_edit(
        set_up: Setting, seconds: int) -> None:
    world, clock = set_up()
    world.start()
    subject, = scenes.stage(world, foreign='')
    wait_until(lambda: world.daemon.events('scan.completed'), 'a first scan')
    clock.set(seconds)
    _edit_and_wait(world, subject, Priority.HIGH)
    jumped = world.daemon.wait_for('clock.jumped')
    assert abs(jumped['seconds'] - seconds) < 5
    _wait_for_scans(world)
    assert scenes.start(world, subject) == subject.value('high')
    assert _memory_mb(world) < LARGEST_MEMORY_MB
    assert world.daemon.stop() == 0


@pytest.mark.parametrize('date', ['1970-01-02', '2000-01-01', '2052-11-29'])
def test_a_host_that_boots_with_a_dead_battery_is_served_before_and_after_its_clock_is_set(
        set_up: Setting, date: str) -> None:
    """The scan is every 60 s: some 30 million of them are missed between 1970 and now."""
    world, clock = set_up(until(date), interval_seconds=60)
    world.start()
    subject, = scenes.stage(world, foreign='')
    assert scenes.start(world, subject) == subject.value()
    wait_until(lambda: world.daemon.events('vm.booted'), 'the boot')
    world.xapi.call('VM.hard_shutdown', subject.ref)
    clock.set(0)
    _edit_and_wait(world, subject, Priority.HIGH)
    jumped = world.daemon.wait_for('clock.jumped')
    assert jumped['before'].startswith(date) and jumped['seconds'] == pytest.approx(
        -until(date), abs=60)
    assert _memory_mb(world) < LARGEST_MEMORY_MB
    assert scenes.start(world, subject) == subject.value('high')
    wait_until(lambda: len(world.daemon.events('vm.booted')) > 1, 'the second boot')
    _check_what_people_are_told(world, subject)
    assert world.daemon.stop() == 0


def _check_what_people_are_told(world: World, subject: Any) -> None:
    step = 'the clock was stepped '
    wait_until(lambda: step in _admin(world, 'history'), 'the step in the history')
    assert step in _admin(world, 'status')
    # What the wrong clock wrote counts for when it was: today, by all clocks.
    recent = _admin(world, 'history', '--since=' + _yesterday())
    assert step in recent and 'args_' in recent
    chain = _admin(world, 'explain', '--vm-uuid=' + world.uuid(subject.ref), '--boot=1')
    assert 'vm_added' in chain


def _yesterday() -> str:
    return time.strftime('%Y-%m-%d', time.gmtime(time.time() - 86400))


@pytest.fixture
def restless() -> Iterator[Callable[[WallClock], None]]:
    """Has a clock set again and again, by hours and by decades, until the test is over."""
    is_over, threads = threading.Event(), []

    def begin(clock: WallClock) -> None:
        def step() -> None:
            for seconds in itertools.cycle(STEPS + [0]):
                clock.set(seconds)
                if is_over.wait(0.07):
                    return
        threads.append(threading.Thread(target=step))
        threads[-1].start()
    yield begin
    is_over.set()
    for thread in threads:
        thread.join()


def test_a_clock_that_is_set_all_the_time_disturbs_nothing(
        set_up: Setting, restless: Callable[[WallClock], None]) -> None:
    """During the start, a poll, a scan, an edit, a boot and the end."""
    world, clock = set_up()
    restless(clock)
    world.start()
    subject, = scenes.stage(world, foreign='')
    for priority in (Priority.HIGH, Priority.LOW, Priority.HIGH, Priority.LOW):
        _edit_and_wait(world, subject, priority)
        _wait_for_scans(world, 1)
    assert scenes.start(world, subject) == subject.value('low')
    assert world.daemon.wait_for('vm.booted')['verdict'] == 'as_desired'
    assert _memory_mb(world) < LARGEST_MEMORY_MB
    assert world.daemon.stop() == 0
    # Six at once, and from then on one a minute.
    assert len(world.daemon.events('clock.jumped')) <= 8
