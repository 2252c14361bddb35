"""The service around the Watcher: the loop, signals, schedule, systemd, reload and stop.

`Service.run` is the main loop. It goes on with whatever waits for XAPI and is ready, and has the
Watcher take note of what came of it. It also wakes for the next VM that is due, when the kernel
reports that the registry file was written, and once or twice a second to look at what changes
without a sign: the wall clock, flags set by signal handlers, a file whose change the kernel did not
report.
"""

import random
import signal
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Set

from watcher.assembly import build_watcher
from watcher.boots.host import Host
from watcher.boots.other_hosts import OtherHosts
from watcher.config.policy import build_policy
from watcher.config.settings import Settings
from watcher.daemon import Watcher
from watcher.loop.loop import Inbox, JobDied, JobQueue, Loop, Urgency
from watcher.metrics.exporter import Reporter
from watcher.runtime import backoff, logs
from watcher.runtime.clock_jumps import ClockJumps
from watcher.runtime.logs import get_logger
from watcher.runtime.systemd import Notifier
from watcher.staging.jobs import Scan, read_scan
from watcher.staging.notices import describe_watch
from watcher.staging.scan_schedule import Schedule
from watcher.state.registry_view import RegistryView
from watcher.vm.record import Batch
from watcher.writer_guard import WriterGuard, WriterLockTaken
from watcher.xapi.callers import CALLERS, URGENT_SECONDS, Callers
from watcher.xapi.event_stream import Stream, StreamBroken
from watcher.xapi.role import Role
from watcher.xapi.sessions import SessionOpened, Sessions

READY_SECONDS = 15.0
# While answers and events come one after the other, what can wait is looked at so often: what is
# due, and the commit of what was learned.
BUSY_SECONDS = 0.02
# The latter once ready, where the kernel tells of edits.
TICK_SECONDS, QUIET_TICK_SECONDS = 0.5, 1.0
# What a call in flight may still take once we are told to stop; a replacement ends in this time.
STOP_GRACE_SECONDS = 2.0
STATUS_SECONDS = 30.0
# Reading what a host runs costs a process per boot, and patience where a domain is gone.
INSPECTORS = 4
_ASK_AGAIN_SECONDS = 60.0
# So many errors are logged in one outage: what XAPI answers may be another text each time.
_ERRORS_AT_MOST = 20


class ScanDue(NamedTuple):
    """The scheduler says that it is time for a scan."""


class Service:
    """Everything that runs, and the order in which it starts and stops."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], *, notifier: Notifier,
                 reporter: Reporter) -> None:
        self._settings = settings
        self._reporter = reporter
        self._load = load
        self._notifier = notifier
        self._loop = Loop()
        self._events, self._inbox = Inbox(), Inbox()
        self._stop_at: Optional[float] = None
        self._is_busy = False
        self._put_off_since: Optional[float] = None
        self._must_reload = False
        self._is_scanning = False
        self._callers = Callers('caller', CALLERS, self._loop, self._inbox.put,
                                self._reporter.count_call)
        self._inspectors = JobQueue('inspector', INSPECTORS, self._loop, self._inbox.put)
        self._other_hosts = OtherHosts(self._loop, self._inbox.put, time.monotonic,
                                        self._reporter.count_call)
        self._sessions = Sessions(lambda: self._settings.xapi, self._events.put,
                                  beside=lambda steps: self._loop.start('logout', steps),
                                  note_call=self._reporter.count_call)
        self._stream = Stream(self._sessions.open, self._events.put,
                              build_delays=self._build_delays,
                              has_starts=lambda: self._callers.is_urgent_waiting)
        self._schedule = Schedule(settings.scan.interval_seconds,
                                  lambda: self._inbox.put(ScanDue()))
        self._guard = WriterGuard(settings.registry.path)
        self._view = _build_view(settings)
        self.watcher = self._build_watcher()
        self._started_at = time.monotonic()
        self._jumps = ClockJumps(time.monotonic, time.time)
        self._is_ready = False
        self._told_status = (-STATUS_SECONDS, '')
        self._told_broken: Set[str] = set()
        self._told_role: Optional[Role] = None
        self._session_at = time.monotonic()
        self._next_tick = time.monotonic()
        self._handlers: Dict[type, Callable[[Any], None]] = {
            SessionOpened: self._on_session, StreamBroken: self._on_broken, Batch: self._on_batch,
            ScanDue: self._on_scan_due, Scan: self._on_scan}

    def run(self) -> int:
        """Run until told to stop; the exit status."""
        self._install_signals()
        try:
            self._guard.demand(3.0, '; stop it first', is_patient=True)
        except WriterLockTaken:
            if self._stop_at is None:
                raise
            get_logger().info('service.stopped')
            return 0
        self.watcher.permit.is_locked = self._guard.is_held
        get_logger().info('service.started', registry=self._settings.registry.path,
                          xapi=str(self._settings.xapi.url))
        self._schedule.start()
        self._reporter.start(self._loop)
        self._stream.start(self._loop)
        try:
            while self._stop_at is None:
                self._turn()
            return 0
        finally:
            self._shut_down()

    def stop(self, *_signal: Any) -> None:
        """End the main loop; what a signal handler may do is set flags."""
        if self._stop_at is None:
            self._stop_at = time.monotonic()
        self._loop.wake()

    def reload(self, *_signal: Any) -> None:
        """Have the configuration read again by the main loop."""
        self._must_reload = True
        self._next_tick = time.monotonic()
        self._loop.wake()

    # The main loop.

    def _turn(self) -> None:
        self._loop.listen(self._view.watch.descriptor, self._view.watch.hear)
        self._is_busy = self._loop.turn(self._wait_seconds())
        for message in self._events.take():
            self._handle(message)
        # Writes for starting VMs come first, then the results of jobs, then what can wait.
        if self._callers.is_urgent_waiting and self._may_put_off(URGENT_SECONDS):
            return
        self._schedule.run_due()
        for message in self._inbox.take():
            self._handle(message)
        if self._is_busy and self._may_put_off(BUSY_SECONDS):
            return
        self._put_off_since = None
        if time.monotonic() >= self._next_tick:
            self._tick()
        self.watcher.pump()
        self._tell_ready()
        if self.watcher.scanning.is_under_way:
            self._advance_scan()

    def _may_put_off(self, seconds: float) -> bool:
        """Whether the rest of a turn may wait, for so long since it was first put off."""
        if self._put_off_since is None:
            self._put_off_since = time.monotonic()
        return time.monotonic() < self._put_off_since + seconds

    def _wait_seconds(self) -> float:
        if self._is_busy or self._events:
            return 0.0
        if self._put_off_since is not None and self._callers.is_urgent_waiting:
            return max(0.001, self._put_off_since + URGENT_SECONDS - time.monotonic())
        if self._inbox or self.watcher.scanning.is_under_way:
            return 0.0
        until, due = min(self._next_tick, self._schedule.due_at), self.watcher.next_due
        if due is not None:
            until = min(until, due)
        return max(0.001, until - time.monotonic())

    def _handle(self, message: Any) -> None:
        """What is not the service's own is the Watcher's."""
        self._handlers.get(type(message), self.watcher.handle)(message)

    def _tick(self) -> None:
        now = time.monotonic()
        is_quiet = self._is_ready and self._view.watch.is_told
        self._next_tick = now + (QUIET_TICK_SECONDS if is_quiet else TICK_SECONDS)
        if self._must_reload:
            self._must_reload = False
            self._reload()
        self._guard.give_up_lost()
        if not self._guard.is_held:
            self.watcher.permit.is_locked = self._guard.try_late()
            if self.watcher.permit.is_locked:
                self._stream.restart()  # begin afresh
        step = self._jumps.notice()
        if step is not None:
            self.watcher.note_watch(step)
        self._view.look_for_lock()
        self.watcher.poll_registry()
        self._ask_again_who_answers(now)
        self._notify(now)
        self._reporter.tick(self.watcher, self._view)

    def _ask_again_who_answers(self, now: float) -> None:
        """XAPI has failed to say who it is, and may do so by now."""
        role = self.watcher.permit.role
        if role is not None and not role.is_certain \
                and now - self._session_at > _ASK_AGAIN_SECONDS:
            self._session_at = now
            self._stream.restart()

    # Sessions.

    def _on_session(self, opened: SessionOpened) -> None:
        role, settings = opened.role, self._settings
        self._session_at = time.monotonic()
        for callers in (self._callers, self._other_hosts.callers):
            callers.begin(settings.xapi, opened.handle, opened.speaks_json)
        self.watcher.begin_session(role)
        self._attend(role)
        if self._told_role == role:
            return  # the session before delivered nothing
        self._told_role = role
        get_logger().info('session.opened', xapi_version=role.xapi_version,
                          writes=role.is_writer)
        if role.refusal:
            get_logger().warning('role.read_only', reason=role.refusal,
                                 xapi_version=role.xapi_version)

    def _on_batch(self, batch: Batch) -> None:
        """What delivers is no outage any more; a session alone may break at once, each time."""
        self._told_broken.clear()
        self._told_role = None
        self.watcher.handle(batch)

    def _attend(self, role: Role) -> None:
        """Where receipts look, and for which devices."""
        settings = self._settings
        host = Host(settings.host.xenstore_read, settings.host.proc,
                    settings.run_directory) if role.is_local else None
        # Every host verifies its own VMs; the master, which answers for the pool, those of all
        # hosts.
        other_hosts = self._other_hosts if role.is_local and role.is_writer else None
        self.watcher.numbers.use(settings.run_directory if role.is_local else None)
        self.watcher.receipts.attend(host, role.host, settings.device.known_names, other_hosts,
                                     is_member=role.is_member)

    def _on_broken(self, broken: StreamBroken) -> None:
        """Say it once per outage and kind of error, not once per attempt."""
        if broken.error not in self._told_broken and len(self._told_broken) < _ERRORS_AT_MOST:
            self._told_broken.add(broken.error)
            get_logger().warning('stream.broken', error=broken.error,
                                 retry_seconds=round(broken.retry_seconds, 2))
        self.watcher.handle(broken)

    def _build_delays(self) -> Any:
        return backoff.delays(self._settings.xapi.address.scheme == 'unix', random.random)

    # Registry, scan, configuration.

    def _on_scan_due(self, _due: ScanDue) -> None:
        if not (self._is_scanning or self.watcher.scanning.is_under_way):
            self._is_scanning = True
            self._callers.submit(lambda client: read_scan(client, time.monotonic), Urgency.LATER)

    def _on_scan(self, scan: Scan) -> None:
        self._is_scanning = False
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
                          elapsed_ms=round((time.monotonic() - scanned.began_at) * 1000, 1))
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
        if self.watcher.permit.is_synced:
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
        if self.watcher.permit.role is not None:
            self._attend(self.watcher.permit.role)
        self._reporter.change(settings.metrics)
        logs.configure(settings.log.format, settings.log.level, self._reporter.tap)
        get_logger().info('settings.reloaded')

    def _reopen_registry(self, settings: Settings) -> None:
        guard = WriterGuard(settings.registry.path)
        guard.demand(1.0)
        self.watcher.flush()
        self._view.close()
        self._guard.release()
        self._guard, self._view = guard, _build_view(settings)
        self.watcher = self._build_watcher()

    def _build_watcher(self) -> Watcher:
        self._view.listen()
        watcher = build_watcher(
            self._view, build_policy(self._settings, False), callers=self._callers,
            inspectors=self._inspectors, restart_stream=self._stream.restart,
            mirror=self._settings.mirror)
        watcher.permit.is_locked = self._guard.is_held
        return watcher

    # systemd, signals, the end.

    def _tell_ready(self) -> None:
        if not self._is_ready and (self.watcher.is_settled
                                   or time.monotonic() - self._started_at > READY_SECONDS):
            self._is_ready = True
            self._notifier.ready()
            # The status follows at once, also one that was sent before.
            self._next_tick, self._told_status = time.monotonic(), (-STATUS_SECONDS, '')

    def _notify(self, now: float) -> None:
        self._notifier.watchdog()
        watcher, permit = self.watcher, self.watcher.permit
        text = describe_watch(
            self._view, permit.role if permit.is_synced else None,
            known=len(watcher.inventory), waiting=watcher.staging.waiting,
            since=time.time() - now + (watcher.synced_at or 0.0), is_locked=permit.is_locked,
            silent_seconds=now - (watcher.last_answer or 0.0))
        told_at, told = self._told_status
        if now - told_at >= STATUS_SECONDS or (text.partition(';')[0] != told):
            self._told_status = (now, text.partition(';')[0])
            self._notifier.status(text)

    def _install_signals(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGHUP, self.reload)

    def _take_last(self) -> None:
        for message in self._inbox.take():
            self.watcher.handle_last(message)

    def _shut_down(self) -> None:
        """Let what is under way end, close what is open; all within the grace."""
        self._notifier.stopping()
        self.stop()
        self._schedule.stop()
        self._reporter.stop()
        self._stream.stop()
        began = time.monotonic() if self._stop_at is None else self._stop_at
        deadline = began + STOP_GRACE_SECONDS + 0.5
        try:
            self.watcher.begin_held()
            self._take_last()
            while self.watcher.staging.busy and time.monotonic() < deadline:
                self._loop.turn(deadline - time.monotonic())
                self._take_last()
        except JobDied:
            pass  # it was said
        self._loop.close()
        self.watcher.flush()
        self._view.close()
        self._sessions.log_out()
        self._guard.release()
        get_logger().info('service.stopped')


def _build_view(settings: Settings) -> RegistryView:
    return RegistryView(settings.registry.path,
                        trust_mass_removals=settings.registry.trust_mass_removals)
