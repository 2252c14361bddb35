"""Where the metrics go: a file for node_exporter, a port on the loopback, or nowhere.

The main loop ticks it. With both keys of [metrics] empty nothing is counted, written or listened
to. A file that cannot be written and a port that is taken are reported and are no reason to stop.
"""

import os
import time
from typing import Any, Callable, Optional

from watcher.config.settings import MetricsSettings
from watcher.config.values import parse_listen
from watcher.daemon import Watcher
from watcher.loop.loop import Loop
from watcher.metrics.counters import Metrics
from watcher.mirror.mirror import Mirroring
from watcher.runtime.logs import Tap, get_logger
from watcher.state.registry_view import RegistryView
from watcher.version import VERSION

# Prometheus asks every 15 to 60 s.
WRITE_SECONDS = 30.0
# node_exporter runs as a user of its own; there is nothing secret in it.
FILE_MODE = 0o644


class Reporter:
    """Counts while metrics are switched on, and exports them."""

    def __init__(self, settings: MetricsSettings, *,
                 clock: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._port: Any = None
        self._loop: Any = None
        self._next_write = clock()
        self._told: Optional[str] = None
        self.metrics = Metrics(clock)
        self.metrics.set('build_info', 1, VERSION)
        self.metrics.set('start_time_seconds', wall())

    @property
    def is_on(self) -> bool:
        """Whether the settings ask for metrics."""
        return bool(self._settings.textfile or self._settings.listen)

    @property
    def tap(self) -> Optional[Tap]:
        """What gets each log line; None when metrics are off."""
        return self.metrics.count_event if self.is_on else None

    def count_call(self, method: str, error_kind: str = '') -> None:
        """Count a call of XAPI."""
        if self.is_on:
            self.metrics.count_call(method, error_kind)

    def start(self, loop: Loop) -> None:
        """Open the port, where one is wanted."""
        self._loop = loop
        if self._settings.listen:
            # Half a megabyte of modules that only a daemon with a port needs.
            from watcher.metrics.http_endpoint import MetricsPort
            try:
                self._port = MetricsPort(*parse_listen(self._settings.listen),
                                         self.metrics.render, loop)
            except OSError as error:
                get_logger().error('metrics.not_listening', address=self._settings.listen,
                                   error=str(error))

    def stop(self) -> None:
        """Close the port; take the file away, since a dead daemon's numbers mislead."""
        if self._port is not None:
            self._port.close()
            self._port = None
        if self._settings.textfile:
            _remove(self._settings.textfile)

    def change(self, settings: MetricsSettings) -> None:
        """Take a configuration that was read again."""
        if settings != self._settings:
            self.stop()
            self._settings = settings
            self._next_write = self._clock()
            self.start(self._loop)

    def tick(self, watcher: Watcher, view: RegistryView, *, is_due: bool = False) -> None:
        """Take the gauges' values; write the file when its time has come, or it `is_due`."""
        now = self._clock()
        is_due = is_due or now >= self._next_write
        if self._port is not None or (is_due and self._settings.textfile):
            self._measure(watcher, view, now)
        if is_due and self._settings.textfile:
            self._next_write = now + WRITE_SECONDS
            self._write()

    def _measure(self, watcher: Watcher, view: RegistryView, now: float) -> None:
        offset = self._wall() - now
        for name, value in (
                ('in_sync', watcher.permit.is_synced), ('writer', watcher.permit.may_write),
                ('stream_start_time_seconds', _time(watcher.synced_at, offset)),
                ('last_answer_time_seconds', _time(watcher.last_answer, offset)),
                ('registry_available', view.is_available),
                ('journal_available', view.is_journal_open),
                ('registered_vms', len(view.assignments)),
                ('waiting_vms', watcher.staging.waiting)):
            self.metrics.set(name, value)
        self._measure_mirror(watcher.mirroring)

    def _measure_mirror(self, mirroring: Mirroring) -> None:
        number = mirroring.generation.partition('-')[0]
        self.metrics.set('mirror_generation', int(number) if number.isdigit() else 0)
        self.metrics.set('mirror_waiting_entries', mirroring.push.waiting)
        self.metrics.set('mirror_writes_total', mirroring.push.all_writes)
        self.metrics.set_table('mirror_state', {(mirroring.state,): 1})

    def _write(self) -> None:
        try:
            write_textfile(self._settings.textfile, self.metrics.render())
            self._told = None
        except OSError as error:
            # Once per kind of error, not twice a minute.
            if self._told != str(error):
                get_logger().error('metrics.not_written', path=self._settings.textfile,
                                   error=str(error))
            self._told = str(error)


def write_textfile(path: str, text: str) -> None:
    """Put the text there as a whole or not at all; whatever lies in the way of it is not followed.

    Without fsync: after a crash of the host the numbers are worth nothing anyway.
    """
    # The collector reads *.prom only, so it does not see this one.
    made = path + '.new'
    _remove(made)
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with open(descriptor, 'w', encoding='utf-8') as stream:
        os.fchmod(descriptor, FILE_MODE)
        stream.write(text)
    os.rename(made, path)


def _time(at: Optional[float], offset: float) -> float:
    """Unix time of a moment on the monotonic clock; 0 when there was none."""
    return round(at + offset, 3) if at is not None else 0.0


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
