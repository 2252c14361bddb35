"""event.from, by the reference algorithm: a difference of states by generation, not a log.

A blocked call is a Waiter; a write wakes only the waiters that asked for its class. Sessions that
end, and a xapi that ends, wake them too.
"""

import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from simulator.database import releases as releases
from simulator.database.messages import Messages
from simulator.database.rows import Database
from simulator.database.schema import SILENT_TABLES
from simulator.faults import Faults
from simulator.settings import Settings
from simulator.wire.failures import Failure, XapiGone, session_invalid
from simulator.wire.rpc import Int32, Snapshot

BETWEEN = 0.05                # seconds between two looks of one call
LONGEST = 86400.0             # what a negative or huge time-out means since 25.5
HUGE = 104 * 86400.0
GRAINS = 16                   # the first pause of eras B and C is a 16th of BETWEEN

Found = Tuple[str, str, int]  # table, reference, generation


class Batch(NamedTuple):
    """What one scan found, for each kind of event."""
    messages: List[Dict[str, Any]]
    adds: List[Found]
    mods: List[Found]
    dels: List[Found]
    counts: Dict[str, Int32]
    last: int
    last_message: int

    @property
    def is_empty(self) -> bool:
        """Ask whether there is nothing to tell."""
        return not (self.messages or self.adds or self.mods or self.dels)


class Subscription:
    """The classes and objects that a client wants to hear of."""

    def __init__(self, words: Sequence[str]) -> None:
        pairs = [word.split('/', 1) for word in words]
        self._classes = {pair[0].lower() for pair in pairs if len(pair) == 1}
        self._objects = {(pair[0].lower(), pair[1]) for pair in pairs if len(pair) == 2}
        self._object_classes = {name for name, _ in self._objects}
        self.is_tasks_only = {pair[0].lower() for pair in pairs} <= {'task'}

    def wants_class(self, name: str) -> bool:
        """Ask whether anything of a class can match."""
        return '*' in self._classes or name in self._classes or name in self._object_classes

    def wants(self, name: str, ref: str) -> bool:
        """Ask whether one object matches."""
        return ('*' in self._classes or name in self._classes
                or (name, ref) in self._objects)


class Waiter:
    """One blocked call."""

    def __init__(self, lock: Any, session: str, subscription: Subscription) -> None:
        self.session = session
        self.subscription = subscription
        self.condition = threading.Condition(lock)
        self.is_woken = False
        self.is_ended = False


class Events:
    """Everything about event.from."""

    def __init__(self, database: Database, messages: Messages, faults: Faults,
                 settings: Settings) -> None:
        self._database = database
        self._messages = messages
        self._faults = faults
        self._settings = settings
        self.waiters: Set[Waiter] = set()
        self._tables = [name for name in database.tables if name not in SILENT_TABLES]
        database.observers.append(self.notice)

    def event_from(self, session: str, classes: Sequence[str], token: str,
                   timeout: float) -> Dict[str, Any]:
        """Answer with what changed since the token, or with nothing once the time is up."""
        since = parse_token(token)
        deadline = time.monotonic() + self._effective(timeout)
        waiter = Waiter(self._database.lock, session, Subscription(classes))
        with self._database.lock:
            self.waiters.add(waiter)
        try:
            self._pause_before(waiter)
            while True:
                batch = self._collect(waiter, since, deadline)
                events = self._render(batch)
                if events or time.monotonic() >= deadline:
                    return self._answer(batch, events)
        finally:
            with self._database.lock:
                self.waiters.discard(waiter)

    def notice(self, table: str, ref: str) -> None:
        """Wake who asked for this row; called under the lock for each write."""
        name = table.lower()
        for waiter in self.waiters:
            if name == 'session' and waiter.session == ref:
                waiter.condition.notify_all()
            elif waiter.subscription.wants(name, ref) and not waiter.is_woken:
                if not self._faults.take(('lost_wakeup',), table, ref):
                    waiter.is_woken = True
                    waiter.condition.notify_all()

    def end_all(self) -> None:
        """Cut every blocked call off: xapi ends."""
        with self._database.lock:
            for waiter in self.waiters:
                waiter.is_ended = True
                waiter.condition.notify_all()

    def _collect(self, waiter: Waiter, since: Tuple[int, int], deadline: float) -> Batch:
        pause = BETWEEN / GRAINS
        is_first, position = True, since
        while True:
            with self._database.lock:
                self._check(waiter)
                waiter.is_woken = False
                batch = self._scan(waiter.subscription, position)
                if not batch.is_empty or time.monotonic() >= deadline:
                    return batch
                position = (batch.last, batch.last_message)
                self._wait(waiter, deadline)
            if self._settings.era == 'A':
                time.sleep(self._between)
            elif not is_first:
                pause = min(self._between, 2 * pause)
                time.sleep(pause)
            is_first = False

    def _wait(self, waiter: Waiter, deadline: float) -> None:
        while not waiter.is_woken:
            self._check(waiter)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            waiter.condition.wait(remaining)

    def _check(self, waiter: Waiter) -> None:
        if waiter.is_ended:
            raise XapiGone()
        if waiter.session and self._database.find('session', waiter.session) is None:
            raise session_invalid(waiter.session)

    def _scan(self, subscription: Subscription, since: Tuple[int, int]) -> Batch:
        generation, last = since[0], since[0]
        adds: List[Found] = []
        mods: List[Found] = []
        dels: List[Found] = []
        for name in self._tables:
            if not subscription.wants_class(name.lower()):
                continue
            table = self._database.tables[name]
            for row in table.changed_since(generation):
                if subscription.wants(name.lower(), row.ref):
                    last = max(last, row.modified)
                    if row.created > generation:
                        adds.append((name, row.ref, row.created))
                    else:
                        mods.append((name, row.ref, row.modified))
            for deletion in table.deleted_since(generation):
                if subscription.wants(name.lower(), deletion.ref):
                    last = max(last, deletion.deleted)
                    dels.append((name, deletion.ref, deletion.deleted))
        messages, last_message = self._scan_messages(subscription, since[1])
        return Batch(messages, adds, mods, dels, self._counts(), last, last_message)

    def _scan_messages(self, subscription: Subscription,
                       since: int) -> Tuple[List[Dict[str, Any]], int]:
        if not subscription.wants_class('message'):
            return [], 0
        return self._messages.since(since)

    def _counts(self) -> Dict[str, Int32]:
        counts = {name.lower(): len(table.rows) for name, table in self._database.tables.items()
                  if releases.has_table(name, self._settings.version)}
        counts['message'] = self._messages.count
        for fault in self._faults.take(('counts',)):
            for name, difference in fault.parameters.items():
                counts[name] = counts.get(name, 0) + difference
        return {name: Int32(count) for name, count in counts.items()}

    def _render(self, batch: Batch) -> List[Dict[str, Any]]:
        events = list(batch.messages)
        with self._database.lock:
            for operation, found in (('add', batch.adds), ('mod', batch.mods)):
                for table, ref, generation in found:
                    row = self._database.find(table, ref)
                    # What vanished after the scan is dropped without a word.
                    if row is not None:
                        snapshot = self._faults.dress(table, ref, row.snapshot)
                        events.append(build_event(table, operation, ref, generation, snapshot))
        for table, ref, generation in batch.dels:
            events.append(build_event(table, 'del', ref, generation, None))
        for fault in self._faults.take(('phantom',)) if events else ():
            events.append(dict({'id': '1', 'timestamp': '0.0', 'class': 'vm', 'operation': 'del'},
                               **fault.parameters))
        return events

    def _answer(self, batch: Batch, events: List[Dict[str, Any]]) -> Dict[str, Any]:
        return {'events': events, 'valid_ref_counts': batch.counts,
                'token': f'{batch.last:020d},{batch.last_message:020d}'}

    def _pause_before(self, waiter: Waiter) -> None:
        before = 0.05 if self._settings.era == 'C' else 0.0
        if self._settings.event_from_delay is not None:
            before = self._settings.event_from_delay[0]
        if before and not waiter.subscription.is_tasks_only:
            time.sleep(before)

    @property
    def _between(self) -> float:
        delay = self._settings.event_from_delay
        return BETWEEN if delay is None else delay[1]

    def _effective(self, timeout: float) -> float:
        if self._settings.era == 'A':
            return max(timeout, 0.0)
        return LONGEST if timeout < 0 or timeout > HUGE else timeout


def build_event(table: str, operation: str, ref: str, generation: int,
                snapshot: Optional[Snapshot]) -> Dict[str, Any]:
    """Build one event as it goes over the wire."""
    event: Dict[str, Any] = {'id': str(generation), 'timestamp': '0.0', 'class': table.lower(),
                             'operation': operation, 'ref': ref}
    if snapshot is not None:
        event['snapshot'] = snapshot
    return event


def parse_token(token: str) -> Tuple[int, int]:
    """Read a token: empty, or two integers with a comma between them."""
    if token == '':
        return (0, 0)
    try:
        first, second = str(token).split(',')
        return (int(first), int(second))
    except ValueError as error:
        raise Failure('EVENT_FROM_TOKEN_PARSE_FAILURE', [str(token)]) from error
