"""event.register and event.next: the old way, a queue per session instead of a difference.

Unlike event.from it tells every write, needs a registration, and says EVENTS_LOST when the queue
has grown too long.
"""

import hashlib
import itertools
import threading
import time
from typing import Any, Dict, List, Sequence, Tuple

from simulator.database.event_from import Subscription
from simulator.database.rows import Database
from simulator.database.schema import SILENT_TABLES
from simulator.wire.failures import Failure, XapiGone, session_invalid
from simulator.wire.rpc import Snapshot, render_xml

QUEUE_BYTES = 10000000


class Registration:
    """What one session wants to hear, and what it has not fetched yet."""

    def __init__(self, lock: Any) -> None:
        self.words: List[str] = []
        self.queue: List[Dict[str, Any]] = []
        self.size = 0
        self.is_lost = False
        self.condition = threading.Condition(lock)

    @property
    def subscription(self) -> Subscription:
        """Return the classes registered so far."""
        return Subscription(self.words)


class LegacyEvents:
    """The registrations of all sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._registrations: Dict[str, Registration] = {}
        self._known: Dict[Tuple[str, str], Snapshot] = {}
        self._numbers = itertools.count(1)
        self.current = 0
        database.observers.append(self.notice)

    def register(self, session: str, classes: Sequence[str]) -> None:
        """Add classes to a session's registration."""
        with self._database.lock:
            found = self._registrations.setdefault(session, Registration(self._database.lock))
            found.words += list(classes)
            for name, table in self._database.tables.items():
                if found.subscription.wants_class(name.lower()):
                    self._known.update({(name, row.ref): row.snapshot
                                        for row in table.rows.values()})

    def unregister(self, session: str, classes: Sequence[str]) -> None:
        """Take classes out of a session's registration."""
        with self._database.lock:
            found = self._get(session)
            found.words = [word for word in found.words if word not in classes]

    def next(self, session: str) -> List[Dict[str, Any]]:
        """Wait for events without a limit of time."""
        with self._database.lock:
            found = self._get(session)
            while not found.queue and not found.is_lost:
                if session not in self._registrations:
                    raise XapiGone()
                if session and self._database.find('session', session) is None:
                    raise session_invalid(session)
                found.condition.wait()
            events, found.queue, found.size = found.queue, [], 0
            if found.is_lost:
                found.is_lost = False
                raise Failure('EVENTS_LOST')
            return events

    def notice(self, table: str, ref: str) -> None:
        """Queue a write for the sessions that registered its class; called under the lock."""
        if not self._registrations:
            return
        if table == 'session' and ref in self._registrations:
            self._registrations[ref].condition.notify_all()
        elif table in self._database.tables and table not in SILENT_TABLES:
            self._queue(table, ref)

    def end_all(self) -> None:
        """Forget all registrations: xapi ends."""
        with self._database.lock:
            ended, self._registrations = self._registrations, {}
            for registration in ended.values():
                registration.condition.notify_all()

    def _queue(self, table: str, ref: str) -> None:
        self.current = next(self._numbers)
        event = self._build(table, ref)
        for registration in self._registrations.values():
            if registration.subscription.wants(table.lower(), ref):
                registration.size += len(render_xml(event))
                registration.queue.append(event)
                if registration.size > QUEUE_BYTES:
                    registration.queue, registration.size = [], 0
                    registration.is_lost = True
                registration.condition.notify_all()

    def _build(self, table: str, ref: str) -> Dict[str, Any]:
        row = self._database.find(table, ref)
        operation = 'del'
        if row is not None:
            operation = 'mod' if (table, ref) in self._known else 'add'
            self._known[(table, ref)] = row.snapshot
        snapshot = self._known[(table, ref)] if row is not None else \
            self._known.pop((table, ref), Snapshot({}, {}))
        return {'id': str(self.current), 'timestamp': f'{int(time.time())}.',
                'class': table.lower(), 'operation': operation, 'ref': ref, 'snapshot': snapshot}

    def _get(self, session: str) -> Registration:
        if session not in self._registrations:
            track = hashlib.md5(session.encode('utf-8')).hexdigest()
            raise Failure('SESSION_NOT_REGISTERED', ['trackid=' + track])
        return self._registrations[session]
