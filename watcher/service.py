"""The service around the Watcher: threads, signals, schedule, systemd, reload and stop.

`Service.run` is the main loop. It wakes for a message, for the next VM that is due, when the kernel
tells that the registry file was written, and once or twice a second to look at what tells nobody
when it changes: the wall clock, flags set by signal handlers, a file that nothing was told of.
"""

import random
import signal
import sys
import threading
import time
from typing import Any, Callable, NamedTuple, Optional, Tuple

from registry.errors import RegistryError
from registry.writer_lock import WriterLock
from watcher.boots.host import Host
from watcher.boots.other_hosts import RemoteHosts
from watcher.config.policy import build_policy
from watcher.config.settings import Settings
from watcher.daemon import Watcher
from watcher.errors import WatcherError
from watcher.metrics.exporter import Reporter
from watcher.runtime import backoff, logs
from watcher.runtime.clock_jumps import ClockJumps
from watcher.runtime.logs import get_logger
from watcher.runtime.systemd import Notifier
from watcher.runtime.waiting import Inbox, StopFlag
from watcher.staging.jobs import Scan, read_scan
from watcher.staging.notices import describe_watch
from watcher.staging.scan_schedule import Schedule
from watcher.state.registry_view import RegistryView
from watcher.xapi.event_stream import Stream, StreamBroken, StreamStarted, ThreadDied
from watcher.xapi.role import Role
from watcher.xapi.sessions import SessionOpened, Sessions
from watcher.xapi.workers import (CALLERS, INSPECTORS, Clients, ThreadLost, Urgency, Workers,
                                  check_threads)

READY_SECONDS = 15.0
# The latter once ready, where the kernel tells of edits.
TICK_SECONDS, QUIET_TICK_SECONDS = 0.5, 1.0
# What a call in flight may still take once we are told to stop; a replacement ends in this time.
STOP_GRACE_SECONDS = 2.0
STATUS_SECONDS = 30.0
# A worker that shall write for a starting VM waits so long at most for the interpreter; Python's
# 5 ms are as long as the whole way from the event to the write.
_SWITCH_SECONDS = 0.0005
_ASK_AGAIN_SECONDS = 60.0


class ScanDue(NamedTuple):
    """The scheduler says that it is time for a scan."""


class RegistryTold(NamedTuple):
    """The kernel says that the registry file may have changed."""


class WriterLockTaken(WatcherError):
    """Another program holds the writer's lock of the registry."""


class Service:
    """Everything that runs, and the order in which it starts and stops."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], *, notifier: Notifier,
                 clock: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time,
                 reporter: Optional[Reporter] = None) -> None:
        self._settings = settings
        self._reporter = reporter or Reporter(settings.metrics, clock=clock, wall=wall)
        self._load = load
        self._notifier = notifier
        self._clock = clock
        self._wall = wall
        self._inbox = Inbox()
        self._stop = StopFlag()
        self._stop_at: Optional[float] = None
        self._must_reload = False
        self._is_scanning = False
        self._clients = Clients(self._is_given_up, self._reporter.count_call)
        self._callers = Workers('caller', CALLERS, self._inbox.put)
        self._inspectors = Workers('inspector', INSPECTORS, self._inbox.put)
        self._other_hosts = RemoteHosts(self._clients, self._inbox.put, clock)
        self._sessions = Sessions(lambda: self._settings.xapi, self._inbox.put,
                                  self._is_given_up, self._reporter.count_call)
        self._stream = Stream(self._sessions.open, self._inbox.put, stop=self._stop,
                              build_delays=self._build_delays, clock=clock,
                              read_ahead=lambda vms: self.watcher.staging.policy.read_ahead(vms))
        self._schedule = Schedule(settings.scan.interval_seconds,
                                  lambda: self._inbox.put(ScanDue()), self._inbox.put)
        self._lock = WriterLock(settings.registry.path)
        self._view = _build_view(settings)
        self.watcher = self._build_watcher()
        self._threads: Tuple[threading.Thread, ...] = ()
        self._started_at = clock()
        self._jumps = ClockJumps(clock, wall)
        self._is_ready = False
        self._told_status = (-STATUS_SECONDS, '')
        self._told_broken: Optional[str] = None
        self._session_at = clock()
        self._told_lock = ''
        self._next_tick = clock()

    def run(self) -> int:
        """Run until told to stop; the exit status."""
        self._install_signals()
        if not self._take_lock(wait_seconds=3.0):
            raise WriterLockTaken('another program writes for the registry %s: %s; stop it first'
                                  % (self._settings.registry.path, self._lock.holder()))
        get_logger().info('service.started', registry=self._settings.registry.path,
                          xapi=str(self._settings.xapi.url))
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._schedule.start()
        self._reporter.start(self._inbox.put)
        stream = threading.Thread(target=self._stream.forever, name='stream', daemon=True)
        self._threads = (stream, self._schedule.thread)
        stream.start()
        try:
            while not self._stop.is_set():
                self._turn()
            return 0
        finally:
            self._shut_down()

    def stop(self, *_signal: Any) -> None:
        """End the main loop; what a signal handler may do is set flags."""
        if self._stop_at is None:
            self._stop_at = self._clock()
        self._stop.set()
        self._inbox.wake()

    def reload(self, *_signal: Any) -> None:
        """Have the configuration read again by the main loop."""
        self._must_reload = True
        self._next_tick = self._clock()
        self._inbox.wake()

    # The main loop.

    def _turn(self) -> None:
        self._inbox.listen(self._view.watch.descriptor, RegistryTold())
        for message in self._inbox.take(self._wait_seconds()):
            self._handle(message)
        if self._clock() >= self._next_tick:
            self._tick()
        self.watcher.pump()
        if self.watcher.scanning.is_under_way:
            self._advance_scan()

    def _wait_seconds(self) -> float:
        if self.watcher.scanning.is_under_way:
            return 0.0
        until, due = self._next_tick, self.watcher.next_due
        if due is not None:
            until = min(until, due)
        return max(0.001, until - self._clock())

    def _handle(self, message: Any) -> None:
        if isinstance(message, ThreadDied):
            get_logger().error('thread.died', thread=message.name, exc_info=message.error)
            raise ThreadLost('the thread %s died: %r' % (message.name, message.error))
        if isinstance(message, SessionOpened):
            self._begin_session(message)
        elif isinstance(message, StreamBroken):
            self._tell_broken(message)
            self.watcher.handle(message)
        elif isinstance(message, RegistryTold):
            self._view.watch.hear()
        elif isinstance(message, ScanDue):
            if not (self._is_scanning or self.watcher.scanning.is_under_way):
                self._is_scanning = True
                self._callers.submit(lambda: read_scan(self._clients, self._clock),
                                     Urgency.LATER)
        elif isinstance(message, Scan):
            self._is_scanning = False
            self._callers.note_finished()
            self._begin_scan(message)
        elif not isinstance(message, StreamStarted):
            self.watcher.handle(message)

    def _tick(self) -> None:
        now = self._clock()
        is_quiet = self._is_ready and self._view.watch.is_told
        self._next_tick = now + (QUIET_TICK_SECONDS if is_quiet else TICK_SECONDS)
        check_threads(self._threads + self._callers.threads + self._inspectors.threads
                      + self._other_hosts.threads + self._reporter.threads)
        if self._must_reload:
            self._must_reload = False
            self._reload()
        if not self._lock.is_held:
            self._take_late_lock()
        step = self._jumps.notice()
        if step is not None:
            self.watcher.note_watch(step)
        self.watcher.poll_registry()
        self._ask_again_who_answers(now)
        self._notify(now)
        self._reporter.tick(self.watcher, self._view)

    def _ask_again_who_answers(self, now: float) -> None:
        """XAPI has failed to say who it is, and may do so by now."""
        role = self.watcher.role
        if role is not None and not role.is_certain \
                and now - self._session_at > _ASK_AGAIN_SECONDS:
            self._session_at = now
            self._stream.restart()

    # Sessions.

    def _begin_session(self, opened: SessionOpened) -> None:
        role, settings = opened.role, self._settings
        self._told_broken = None
        self._session_at = self._clock()
        self._clients.begin(settings.xapi, opened.handle, opened.speaks_json)
        self.watcher.begin_session(role)
        self._attend(role)
        get_logger().info('session.opened', xapi_version=role.xapi_version,
                          writes=role.is_writer)
        if role.refusal:
            get_logger().warning('role.read_only', reason=role.refusal,
                                 xapi_version=role.xapi_version)

    def _attend(self, role: Role) -> None:
        """Where receipts look, and for which devices."""
        settings = self._settings
        host = Host(settings.host.xenstore_read, settings.host.proc,
                    settings.run_directory) if role.is_local else None
        # Every host verifies its own VMs; the master, whom everybody asks, those of all hosts.
        other_hosts = self._other_hosts if role.is_local and role.is_writer else None
        self.watcher.numbers.use(settings.run_directory if role.is_local else None)
        self.watcher.receipts.attend(host, role.host, settings.device.known_names, other_hosts,
                                     is_member=role.is_member)

    def _tell_broken(self, broken: StreamBroken) -> None:
        """Once per outage and kind of error, not once per attempt."""
        if self._told_broken != broken.error:
            get_logger().warning('stream.broken', error=broken.error,
                                 retry_seconds=round(broken.retry_seconds, 2))
        self._told_broken = broken.error

    def _build_delays(self) -> Any:
        return backoff.delays(self._settings.xapi.address.scheme == 'unix', random.random)

    def _is_given_up(self) -> bool:
        return (self._stop_at is not None
                and self._clock() - self._stop_at > STOP_GRACE_SECONDS)

    # Registry, scan, configuration.

    def _take_lock(self, wait_seconds: float) -> bool:
        """Try to become the one writer; False when another program is."""
        try:
            self.watcher.is_locked = self._lock.acquire(wait_seconds)
        except RegistryError as error:  # no directory, or none that takes a file: tried again
            self._tell_lock(str(error))
            return True
        if self.watcher.is_locked:
            self._tell_lock('')
        return self.watcher.is_locked

    def _tell_lock(self, problem: str) -> None:
        """Say once why nothing is written, and when that is over."""
        if problem and problem != self._told_lock:
            get_logger().error('lock.unavailable', path=self._lock.path, error=problem)
        elif self._told_lock and not problem:
            get_logger().info('lock.available', path=self._lock.path)
        self._told_lock = problem

    def _take_late_lock(self) -> None:
        """The registry's directory was missing at the start: begin afresh once it is there.

        Whoever has created it may still hold the lock: it is tried again with the next tick.
        """
        if not self._take_lock(wait_seconds=0.0):
            self._tell_lock('held by %s' % (self._lock.holder() or 'another program'))
        elif self._lock.is_held:
            self._stream.restart()

    def _begin_scan(self, scan: Scan) -> None:
        if scan.error:
            get_logger().warning('scan.failed', error=scan.error)
            self.watcher.note_lost(scan.lost_session)
            return
        self.watcher.scanning.begin(scan)

    def _advance_scan(self) -> None:
        """Go on with a scan, between what is more urgent."""
        scanned = self.watcher.scanning.advance()
        if scanned is None:
            return
        get_logger().info('scan.completed', vms=scanned.vms, states=scanned.summary.states,
                          pools=scanned.summary.pools, differing=scanned.differing,
                          renamed=scanned.renamed,
                          elapsed_ms=round((self._clock() - scanned.began_at) * 1000, 1))
        self.watcher.note_watch()
        self._reporter.tick(self.watcher, self._view, is_due=True)

    def _reload(self) -> None:
        try:
            settings = self._load()
            if settings.registry != self._settings.registry and self.watcher.staging.busy:
                self._must_reload = True  # what is being written belongs to the registry there
                return
            self._apply(settings)
        except MemoryError:
            raise  # no fault of the file; half of it may be in force
        except Exception as error:  # whatever is wrong with it, the old settings stay in force
            get_logger().error('settings.rejected', error=str(error))
        if self.watcher.is_synced:
            # What events did not show, whatever it was: all VMs are read again.
            self._inbox.put(ScanDue())

    def _apply(self, settings: Settings) -> None:
        before = self._settings
        if settings.registry.path != before.registry.path:
            self._reopen_registry(settings)
        self._view.trust_mass_removals = settings.registry.trust_mass_removals
        self._view.reread()
        self._settings = settings
        self._schedule.change_interval(settings.scan.interval_seconds)
        if settings.xapi != before.xapi or settings.registry != before.registry:
            self._stream.restart()
        self.watcher.set_policy(build_policy(settings, self._view.is_accepted))
        self.watcher.mirroring.change_settings(settings.mirror)
        if self.watcher.role is not None:
            self._attend(self.watcher.role)
        self._reporter.change(settings.metrics)
        logs.configure(settings.log.format, settings.log.level, self._reporter.tap)
        get_logger().info('settings.reloaded')

    def _reopen_registry(self, settings: Settings) -> None:
        lock = WriterLock(settings.registry.path)
        if not lock.acquire(1.0):
            raise WriterLockTaken('another program writes for the registry %s: %s'
                                  % (settings.registry.path, lock.holder()))
        self.watcher.flush()
        self._view.close()
        self._lock.release()
        self._lock, self._view = lock, _build_view(settings)
        self.watcher = self._build_watcher()

    def _build_watcher(self) -> Watcher:
        self._view.listen()
        watcher = Watcher(
            self._view, build_policy(self._settings, False), callers=self._callers,
            inspectors=self._inspectors, clients=self._clients,
            restart_stream=self._stream.restart, clock=self._clock, wall=self._wall,
            mirror=self._settings.mirror)
        watcher.is_locked = self._lock.is_held
        return watcher

    # systemd, signals, the end.

    def _notify(self, now: float) -> None:
        self._notifier.watchdog()
        if not self._is_ready and (self.watcher.is_settled
                                   or now - self._started_at > READY_SECONDS):
            self._is_ready = True
            self._notifier.ready()
        watcher = self.watcher
        text = describe_watch(
            self._view, watcher.role if watcher.is_synced else None,
            known=len(watcher.inventory), waiting=watcher.staging.waiting,
            since=self._wall() - now + (watcher.synced_at or 0.0), is_locked=watcher.is_locked,
            silent_seconds=now - (watcher.last_answer or 0.0))
        told_at, told = self._told_status
        if now - told_at >= STATUS_SECONDS or (text.partition(';')[0] != told):
            self._told_status = (now, text.partition(';')[0])
            self._notifier.status(text)

    def _install_signals(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGHUP, self.reload)

    def _shut_down(self) -> None:
        """Let what is under way end, close what is open; all within the grace."""
        self._notifier.stopping()
        self.stop()
        self._schedule.stop()
        self._reporter.stop()
        self._stream.restart()
        began = self._clock() if self._stop_at is None else self._stop_at
        deadline = began + STOP_GRACE_SECONDS + 0.5
        while self.watcher.staging.busy and self._clock() < deadline:
            for message in self._inbox.take(0.1):
                self.watcher.handle_last(message)
        self.watcher.flush()
        self._view.close()
        self._sessions.log_out()
        self._lock.release()
        get_logger().info('service.stopped')


def _build_view(settings: Settings) -> RegistryView:
    return RegistryView(settings.registry.path,
                 trust_mass_removals=settings.registry.trust_mass_removals)
