"""The scan's schedule: APScheduler's wall clock is in the test's hands, and so is the other one."""

import datetime
import threading

import pytest

from tests.support.waiting import wait_until
from watcher.staging.scan_schedule import Schedule, Trigger
from watcher.xapi.event_stream import ThreadDied

DECADES = datetime.timedelta(days=26 * 365)
STEPS = [DECADES, -DECADES, datetime.timedelta(hours=1), datetime.timedelta(hours=-1),
         datetime.timedelta(seconds=-3)]


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wall(monkeypatch):
    """APScheduler's wall clock, and ours there; `wall.offset` moves it."""
    class Wall(datetime.datetime):
        offset = datetime.timedelta(0)

        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) + cls.offset

    monkeypatch.setattr('apscheduler.schedulers.base.datetime', Wall)
    monkeypatch.setattr('watcher.staging.scan_schedule.datetime', Wall)
    return Wall


@pytest.fixture
def scans():
    return []


@pytest.fixture
def deaths():
    return []


@pytest.fixture
def build(scans, deaths):
    schedules = []

    def build_schedule(interval_seconds, on_scan=None, **kwargs):
        schedules.append(Schedule(
            interval_seconds, on_scan or (lambda: scans.append(threading.current_thread())),
            deaths.append, **kwargs))
        return schedules[-1]

    yield build_schedule
    for schedule in schedules:
        schedule.stop()


def test_scan_is_called_again_and_again_in_another_thread(build, scans, deaths):
    build(1).start()
    wait_until(lambda: len(scans) >= 2, timeout=60)
    assert threading.main_thread() not in scans and deaths == []


def test_first_scan_comes_after_one_interval(clock):
    trigger = Trigger(60, clock)
    assert trigger.left_seconds == 60.0
    clock.now += 59.0
    assert trigger.left_seconds == 1.0
    clock.now += 1.5
    assert trigger.left_seconds == 0.0


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_step_of_the_wall_clock_delays_no_scan(build, scans, wall, step):
    build(1).start()
    wait_until(lambda: scans)
    wall.offset = step
    seen = len(scans)
    wait_until(lambda: len(scans) > seen + 1, timeout=60)


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_step_in_the_middle_of_a_scan_delays_no_scan(build, wall, step):
    calls = []

    def scan():
        calls.append(1)
        wall.offset = -wall.offset if wall.offset else step
    build(1, scan).start()
    wait_until(lambda: len(calls) > 3, timeout=60)


def test_trigger_names_one_time_after_now_however_late_it_is(clock):
    """APScheduler asks for the next time until it gets one that is not in the past."""
    trigger = Trigger(60, clock)
    clock.now += 100 * 365 * 86400.0
    now = datetime.datetime(2026, 11, 29, tzinfo=datetime.timezone.utc)
    assert trigger.get_next_fire_time(now - DECADES, now) > now
    assert trigger.get_next_fire_time(None, now) > now


def test_scan_that_is_late_moves_no_later_one_and_missed_ones_are_not_made_up_for(clock):
    now = datetime.datetime(2026, 11, 29, tzinfo=datetime.timezone.utc)
    trigger = Trigger(60, clock)
    clock.now += 65.0
    trigger.get_next_fire_time(now, now)
    assert trigger.left_seconds == 55.0
    clock.now += 655.0
    trigger.get_next_fire_time(now, now)
    assert trigger.left_seconds == 60.0


def test_new_interval_counts_from_now(build, scans):
    schedule = build(3600)
    schedule.start()
    schedule.change_interval(1)
    wait_until(lambda: scans)


def test_same_interval_changes_nothing(build):
    schedule = build(60)
    schedule.change_interval(60)
    assert schedule._intervals.take(0) == []
    schedule.change_interval(600)
    assert schedule._intervals.take(0) == [600]


def test_nobody_waits_for_a_scan_that_hangs(build):
    """Neither whoever changes the interval nor whoever stops: no lock is shared."""
    release, calls = threading.Event(), []

    def scan():
        calls.append(1)
        release.wait(60)
    schedule = build(1, scan)
    schedule.start()
    try:
        wait_until(lambda: calls)
        schedule.change_interval(7)
        schedule.stop()
        assert schedule.thread.is_alive()
    finally:
        release.set()
    schedule.thread.join(10.0)
    assert not schedule.thread.is_alive() and len(calls) == 1


def test_stopping_twice_or_before_the_start_is_harmless(build, scans, deaths):
    schedule = build(1)
    schedule.stop()
    schedule.start()
    schedule.stop()
    schedule.stop()
    schedule.thread.join(10.0)
    assert not schedule.thread.is_alive() and scans == [] and deaths == []


def test_failing_scan_does_not_end_the_schedule(build, deaths):
    calls = []

    def scan():
        calls.append(1)
        raise ValueError('boo')
    build(1, scan).start()
    wait_until(lambda: len(calls) >= 2, timeout=60)
    assert deaths == []


def test_thread_that_dies_says_so(build, deaths, monkeypatch):
    error = MemoryError()

    def fail(self, *args, **kwargs):
        raise error
    monkeypatch.setattr('watcher.staging.scan_schedule.BaseScheduler.modify_job', fail)
    build(1).start()
    wait_until(lambda: deaths)
    assert deaths == [ThreadDied('schedule', error)]
