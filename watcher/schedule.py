"""When the next scan is due; the only module that knows APScheduler.

The job does nothing but call `on_scan`, which puts a message into the inbox. APScheduler runs on
the wall clock: after a step back of one hour a job of one second did not run for that hour
(tried). The main loop notices such a jump on its monotonic clock and calls `rearm`.
"""

from datetime import timezone
from typing import Callable

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

_JOB = 'scan'


class Schedule:
    """Calls `on_scan` in a thread of its own, first after one interval, until it is stopped."""

    def __init__(self, interval_seconds: int, on_scan: Callable[[], None]) -> None:
        self._interval_seconds = interval_seconds
        self._scheduler = BackgroundScheduler(
            # In UTC: a change to summer time would be one more jump. One thread: the pool of
            # Python 3.6 grows to its maximum whatever the load.
            timezone=timezone.utc, daemon=True, executors={'default': ThreadPoolExecutor(1)},
            # A scan that is late is wanted all the same, and only once.
            job_defaults={'coalesce': True, 'max_instances': 1, 'misfire_grace_time': None})
        self._scheduler.add_job(on_scan, self._build_trigger(), id=_JOB)

    def start(self) -> None:
        """Begin; the first scan is due after one interval."""
        self._scheduler.start()
        self.rearm()

    def rearm(self) -> None:
        """Count one interval from now on, by the wall clock as it stands now."""
        self._scheduler.reschedule_job(_JOB, trigger=self._build_trigger())

    def change_interval(self, interval_seconds: int) -> None:
        """Scan at another interval from now on; the same one changes nothing."""
        if interval_seconds != self._interval_seconds:
            self._interval_seconds = interval_seconds
            self.rearm()

    def stop(self) -> None:
        """Call `on_scan` no more; does not wait for a call under way."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _build_trigger(self) -> IntervalTrigger:
        # As an object: the string form needs installed entry points (dom0.md).
        return IntervalTrigger(seconds=self._interval_seconds, timezone=timezone.utc)
