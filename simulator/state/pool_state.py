"""Everything one simulated pool consists of, and the small acts that all operations share."""

import contextlib
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Tuple

from simulator.database.event_from import Events
from simulator.database.event_next import LegacyEvents
from simulator.database.messages import Messages
from simulator.database.rows import NULL, Database
from simulator.database.schema import RELATIONS, TABLES, build_task
from simulator.database.sessions import Sessions
from simulator.hypervisor.domains import Hypervisor
from simulator.hypervisor.hardware import Hardware
from simulator.settings import Settings
from simulator.state.host_access import HostAccess
from simulator.wire.failures import XapiGone
from simulator.wire.rpc import Date

SHORT = 0.05  # seconds; longer pauses can be cut short by a stop
LOOK_AGAIN = 0.02  # seconds; conditions may hang on what is no write
TASK_LIMIT = 200  # finished tasks beyond this number are collected


class State:
    """The parts, wired together; the database's lock is the only lock."""

    def __init__(self, settings: Settings, hardware: Optional[Hardware] = None) -> None:
        self.settings = settings
        self.hardware = hardware or Hardware(settings.seed, settings.consumer)
        self.names = self.hardware.names
        self.faults = self.hardware.faults
        self.database = Database(TABLES, RELATIONS, self.hardware.lock)
        self.host_access: Any = HostAccess(self)
        self.messages = Messages(self.database, self.names)
        self.events = Events(self.database, self.messages, self.faults, settings)
        self.legacy_events = LegacyEvents(self.database)
        self.sessions = Sessions(self.database, self.names, settings)
        self.hypervisor = Hypervisor(settings.push_seconds, self.hardware,
                                     lambda host: bool(self.host_access.rules(host)))
        self.changed = threading.Condition(self.database.lock)
        self.stopping = threading.Event()
        self.epoch = 0
        self.emergency: Optional[List[str]] = None
        self.hosts: List[str] = []
        self.reigning: Optional[str] = None
        self.pool = NULL
        self.underway: List[Any] = []
        self.database.observers.append(self._notice)
        self.database.forgets = self._forgets

    @property
    def is_master(self) -> bool:
        """Ask whether this host is the pool's master."""
        return self.master == self.this_host

    @property
    def this_host(self) -> str:
        """Return the host whose xapi this is: the master of a pool, else whose socket it is."""
        return self.reigning or self.hosts[0]

    @property
    def master(self) -> str:
        """Return the pool's master."""
        return str(self.database.read('pool', self.pool, 'master'))

    def pause(self, seconds: float, epoch: Optional[int] = None) -> None:
        """Let time go by; raise when the xapi of that epoch has ended meanwhile."""
        if seconds > SHORT:
            self.stopping.wait(seconds)
        elif seconds > 0:
            time.sleep(seconds)
        if self.stopping.is_set() or epoch not in (None, self.epoch):
            raise XapiGone()

    def wait_for(self, condition: Callable[[], Any], timeout: float) -> bool:
        """Wait until a condition holds, looking again after each write to the database."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not condition():
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self.changed.wait(min(remaining, LOOK_AGAIN))
            return True

    def tell(self) -> None:
        """Wake who waits for a condition."""
        with self.changed:
            self.changed.notify_all()

    def end_waits(self) -> None:
        """Cut off all calls that wait: xapi ends."""
        with self.database.lock:
            self.epoch += 1
            self.events.end_all()
            self.legacy_events.end_all()
            self.changed.notify_all()

    def create_task(self, name: str, description: str = '') -> str:
        """Add a task row."""
        ref = self.names.ref()
        with self.database.lock:
            self.database.create('task', ref, build_task(
                self.names.uuid(), name, description, now(), self.this_host))
            self._collect_tasks()
        return ref

    def destroy_task(self, ref: str) -> None:
        """Remove a task row if it is still there."""
        with self.database.lock:
            if self.database.find('task', ref) is not None:
                self.database.destroy('task', ref)

    def finish_task(self, ref: str, fields: List[Tuple[str, Any]]) -> None:
        """Write a task's end, field by field, status last."""
        for field, value in fields:
            with self.database.lock:
                if self.database.find('task', ref) is None:
                    return
                self.database.write('task', ref, field, value)

    @contextlib.contextmanager
    def inner_task(self, name: str) -> Iterator[None]:
        """Have a task of xapi's own for a part of an operation, as its inner calls have."""
        task = self.create_task(name)
        try:
            yield
            self.finish_task(task, end_of_task())
        finally:
            self.destroy_task(task)

    def _collect_tasks(self) -> None:
        rows = self.database.tables['task'].rows
        finished = [row for row in rows.values() if row.fields['status'] != 'pending']
        for row in finished[:max(0, len(rows) - TASK_LIMIT)]:
            self.database.destroy('task', row.ref)

    def _notice(self, table: str, ref: str) -> None:
        if table == 'VM' and ref in self.hypervisor.domains:
            row = self.database.find('VM', ref)
            if row is not None:
                self.hypervisor.push(ref, row.fields['platform'])
        self.changed.notify_all()

    def _forgets(self, table: str, ref: str) -> bool:
        return bool(self.faults.take(('forget_deletion',), table, ref))


def end_of_task(result: str = '') -> List[Tuple[str, Any]]:
    """List what is written into a task that succeeds, its status last."""
    return [('allowed_operations', []), ('finished', now()), ('progress', 1.0),
            ('result', result), ('status', 'success')]


def now() -> Date:
    """Return this instant as XAPI writes it."""
    return Date(time.strftime('%Y%m%dT%H:%M:%SZ', time.gmtime()))
