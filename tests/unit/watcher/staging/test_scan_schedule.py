"""The scan's schedule: APScheduler's wall clock is in the test's hands, and so is the other one."""

import datetime

import pytest

from watcher.staging.scan_schedule import Schedule, Trigger

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
    """When each scan was called."""
    return []


@pytest.fixture
def build(clock, scans):
    schedules = []

    def build_schedule(interval_seconds, on_scan=None):
        schedules.append(Schedule(
            interval_seconds, on_scan or (lambda: scans.append(clock.now)), clock=clock))
        return schedules[-1]

    yield build_schedule
    for schedule in schedules:
        schedule.stop()


@pytest.fixture
def go_on(clock):
    """Let time pass, second by second, as the main loop does."""
    def pass_time(schedule, seconds):
        for _second in range(seconds):
            clock.now += 1.0
            schedule.run_due()
    return pass_time


def test_scan_is_called_again_and_again_when_it_is_due(build, go_on, scans):
    schedule = build(60)
    schedule.start()
    assert schedule.due_at == 1060.0
    go_on(schedule, 200)
    assert scans == [1060.0, 1120.0, 1180.0] and schedule.due_at == 1240.0
    schedule.run_due()
    assert len(scans) == 3


def test_first_scan_comes_after_one_interval(clock):
    trigger = Trigger(60, clock)
    assert trigger.left_seconds == 60.0
    clock.now += 59.0
    assert trigger.left_seconds == 1.0
    clock.now += 1.5
    assert trigger.left_seconds == 0.0


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_step_of_the_wall_clock_delays_no_scan(build, go_on, scans, wall, step):
    schedule = build(10)
    schedule.start()
    go_on(schedule, 15)
    wall.offset = step
    go_on(schedule, 15)
    wall.offset = -step
    go_on(schedule, 30)
    assert scans == [1010.0, 1020.0, 1030.0, 1040.0, 1050.0, 1060.0]


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_step_in_the_middle_of_a_scan_delays_no_scan(build, go_on, clock, wall, step):
    calls = []

    def scan():
        calls.append(clock.now)
        wall.offset = -wall.offset if wall.offset else step
    schedule = build(10, scan)
    schedule.start()
    go_on(schedule, 50)
    assert calls == [1010.0, 1020.0, 1030.0, 1040.0, 1050.0]


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_step_between_two_looks_at_the_wall_clock_delays_a_scan_by_one_turn(
        build, go_on, scans, wall, monkeypatch, step):
    """The time that is named for the scan may not have come, when APScheduler looks."""
    schedule = build(10)
    schedule.start()
    modify = schedule._scheduler.modify_job

    def modify_and_step(*words, **fields):
        modify(*words, **fields)
        if not wall.offset:
            wall.offset = step
    monkeypatch.setattr(schedule._scheduler, 'modify_job', modify_and_step)
    go_on(schedule, 40)
    first = 1010.0 if step > datetime.timedelta(0) else 1011.0
    assert scans == [first, 1020.0, 1030.0, 1040.0]


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


def test_new_interval_counts_from_now(build, go_on, scans):
    schedule = build(3600)
    schedule.start()
    go_on(schedule, 100)
    schedule.change_interval(30)
    assert schedule.due_at == 1130.0
    go_on(schedule, 70)
    assert scans == [1130.0, 1160.0]


def test_same_interval_changes_nothing(build, clock):
    schedule = build(60)
    schedule.start()
    clock.now += 10.0
    schedule.change_interval(60)
    assert schedule.due_at == 1060.0
    schedule.change_interval(600)
    assert schedule.due_at == 1610.0


def test_what_was_stopped_or_not_started_calls_nothing_and_may_be_stopped_again(
        build, go_on, scans):
    schedule = build(10)
    schedule.stop()
    go_on(schedule, 30)
    schedule.start()
    go_on(schedule, 5)
    schedule.stop()
    go_on(schedule, 30)
    schedule.stop()
    assert scans == []


def test_failing_scan_does_not_end_the_schedule(build, go_on):
    calls = []

    def scan():
        calls.append(1)
        raise ValueError('boo')
    schedule = build(10, scan)
    schedule.start()
    go_on(schedule, 30)
    assert len(calls) == 3


def test_schedule_that_fails_tells_the_main_loop(build, clock, mocker):
    schedule = build(10)
    schedule.start()
    mocker.patch.object(schedule._scheduler, 'modify_job', autospec=True, side_effect=MemoryError)
    clock.now += 10.0
    with pytest.raises(MemoryError):
        schedule.run_due()
