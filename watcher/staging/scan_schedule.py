"""When the next scan is due; the only module that knows APScheduler.

The job does nothing but call `on_scan`, which puts a message into the inbox. APScheduler goes by
the wall clock: after a step back of an hour a job did not run for that hour, and after one of 26
years it listed every run that it had missed, for a minute and in 1.6 GB, under a lock for which
others waited (tried). So here it has a trigger on the monotonic clock that never names a time in
the past, and no thread: the main loop asks when it is due.
"""

import time
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Optional

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger

_JOB = 'scan'


class Schedule:
    """Calls `on_scan` from `run_due`, first after one interval, until it is stopped."""

    def __init__(self, interval_seconds: int, on_scan: Callable[[], None], *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._on_scan = on_scan
        self._trigger = Trigger(interval_seconds, clock)
        self._scheduler = _Scheduler(self._trigger)

    def start(self) -> None:
        """Begin; the first scan is due after one interval."""
        self._scheduler.add_job(self._on_scan, self._trigger, id=_JOB)
        self._trigger.begin(self._interval_seconds)
        self._scheduler.start()

    @property
    def due_at(self) -> float:
        """When `run_due` has something to do, on the monotonic clock."""
        return self._trigger.due_at

    def run_due(self) -> None:
        """Call `on_scan` if it is time."""
        self._scheduler.run_due()

    def change_interval(self, interval_seconds: int) -> None:
        """Scan at another interval from now on; the same one changes nothing."""
        if interval_seconds != self._interval_seconds:
            self._interval_seconds = interval_seconds
            self._trigger.begin(interval_seconds)

    def stop(self) -> None:
        """Call `on_scan` no more."""
        if self._scheduler.running:
            self._scheduler.shutdown()


class Trigger(BaseTrigger):
    """Due again and again on the monotonic clock; the wall clock only names the time."""

    def __init__(self, interval_seconds: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin(interval_seconds)

    def begin(self, interval_seconds: int) -> None:
        """Count one interval from now on."""
        self._interval_seconds = interval_seconds
        self.due_at = self._clock() + interval_seconds

    @property
    def left_seconds(self) -> float:
        """How long until it is due; 0 when it is."""
        return max(0.0, self.due_at - self._clock())

    def get_next_fire_time(self, previous_fire_time: Optional[datetime],
                           now: datetime) -> datetime:
        """Give a time after `now`; APScheduler asks when the job is added, and twice per run."""
        if previous_fire_time is not None and not self.left_seconds:
            self.due_at += self._interval_seconds
            if not self.left_seconds:  # what was missed while the host slept is not made up for
                self.begin(self._interval_seconds)
        return now + timedelta(seconds=max(self.left_seconds, 0.001))


class _Scheduler(BaseScheduler):
    """APScheduler, worked by the caller of `run_due`, which runs the job as well."""

    def __init__(self, trigger: Trigger) -> None:
        # In UTC: local time needs what dom0 may lack.
        super().__init__(
            timezone=timezone.utc, executors={'default': DebugExecutor()},
            # A scan that is late is wanted all the same, and only once.
            job_defaults={'coalesce': True, 'max_instances': 1, 'misfire_grace_time': None})
        self._trigger = trigger

    def run_due(self) -> None:
        """Run the job if it is due by the trigger, whatever the wall clock was set to since.

        A clock that is set back between the two calls leaves it due, and it is asked again.
        """
        if self.running and not self._trigger.left_seconds:
            self.modify_job(_JOB, next_run_time=datetime.now(timezone.utc))
            self._process_jobs()

    def shutdown(self, wait: bool = True) -> None:
        """End it; required of a scheduler, and all is done by the class itself."""
        super().shutdown(wait)

    def wakeup(self, *_nothing: Any) -> None:
        """Required of a scheduler: here the thread that changes something is the one that waits."""
