"""The scan's schedule, with the wall clock in the test's hands where it matters."""

import datetime
import threading

import pytest

from tests.waiting import wait_until
from watcher.schedule import Schedule


@pytest.fixture
def wall(monkeypatch):
    """APScheduler's wall clock; `wall.offset` moves it."""
    class Wall(datetime.datetime):
        offset = datetime.timedelta(0)

        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) + cls.offset

    monkeypatch.setattr('apscheduler.schedulers.base.datetime', Wall)
    monkeypatch.setattr('apscheduler.triggers.interval.datetime', Wall)
    return Wall


@pytest.fixture
def scans():
    return []


@pytest.fixture
def build(scans):
    schedules = []

    def build_schedule(interval_seconds):
        schedules.append(Schedule(interval_seconds, lambda: scans.append(
            threading.current_thread())))
        return schedules[-1]

    yield build_schedule
    for schedule in schedules:
        schedule.stop()


def seconds_until_next(schedule, wall):
    job, = schedule._scheduler.get_jobs()
    return (job.next_run_time - wall.now(datetime.timezone.utc)).total_seconds()


def test_scan_is_called_again_and_again_in_another_thread(build, scans):
    build(1).start()
    wait_until(lambda: len(scans) >= 2)
    assert threading.main_thread() not in scans


def test_first_scan_comes_after_one_interval(build, scans, wall):
    schedule = build(60)
    schedule.start()
    assert 55 < seconds_until_next(schedule, wall) <= 60
    assert scans == []


def test_after_a_step_back_of_an_hour_only_rearming_brings_the_next_scan(build, scans, wall):
    schedule = build(1)
    schedule.start()
    wait_until(lambda: scans)
    wall.offset = datetime.timedelta(hours=-1)
    # What was armed before counts by the clock of before. One run may still be under way.
    seen = wait_until(lambda: seconds_until_next(schedule, wall) > 3000 and len(scans))
    schedule.rearm()
    assert seconds_until_next(schedule, wall) <= 1
    wait_until(lambda: len(scans) > seen)


def test_after_a_step_forward_missed_scans_are_made_up_for_once(build, scans, wall):
    schedule = build(30)
    schedule.start()
    wall.offset = datetime.timedelta(hours=1)
    schedule._scheduler.wakeup()
    wait_until(lambda: scans)
    wait_until(lambda: seconds_until_next(schedule, wall) > 0)
    assert len(scans) == 1


def test_new_interval_counts_from_now(build, wall):
    schedule = build(60)
    schedule.start()
    schedule.change_interval(600)
    assert 590 < seconds_until_next(schedule, wall) <= 600


def test_same_interval_changes_nothing(build, wall):
    schedule = build(60)
    schedule.start()
    wall.offset = datetime.timedelta(seconds=30)
    schedule.change_interval(60)
    assert seconds_until_next(schedule, wall) <= 30


def test_slow_scan_is_not_run_twice_at_once(build):
    release, calls = threading.Event(), []

    def scan():
        calls.append(threading.current_thread())
        release.wait(10)

    schedule = Schedule(1, scan)
    schedule.start()
    try:
        wait_until(lambda: calls)
        wall_job, = schedule._scheduler.get_jobs()
        assert (wall_job.max_instances, wall_job.coalesce, wall_job.misfire_grace_time) == (
            1, True, None)
        assert len(calls) == 1
    finally:
        release.set()
        schedule.stop()


def test_stopping_twice_or_before_the_start_is_harmless(build):
    schedule = build(1)
    schedule.stop()
    schedule.start()
    schedule.stop()
    schedule.stop()
    assert not schedule._scheduler.running


def test_failing_scan_does_not_end_the_schedule():
    calls = []

    def scan():
        calls.append(1)
        raise ValueError('boo')

    schedule = Schedule(1, scan)
    schedule.start()
    try:
        wait_until(lambda: len(calls) >= 2)
    finally:
        schedule.stop()
