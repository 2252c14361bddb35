"""What both prototypes share: answers read as they arrive, jobs as generators, who sends when.

A job is a generator: it yields an Ask and is sent the answer. It knows no socket and no loop. A
driver owns the wires and steps the jobs. `bare` decides with the parser and `plan_vm` alone;
`whole` has the real Watcher decide, with inventory, receipts and journal.
"""

import codecs
import heapq
import itertools
import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from benchmarks.floor import KEY, tell_ready
from registry.store import Registry
from watcher.config import settings as config
from watcher.config.policy import build_policy
from watcher.daemon import Watcher
from watcher.runtime import logs
from watcher.staging.injector import Outcome, OutcomeKind, is_current
from watcher.state.inventory import Standing
from watcher.state.registry_view import RegistryView
from watcher.vm.plan import Action, Assignment, plan_vm
from watcher.vm.record import parse_batch, reduce_event
from watcher.xapi import json_stream
from watcher.xapi.role import Role

WIRES = int(os.environ.get('PROTOTYPE_WIRES', '4'))
CALL_SECONDS = 15.0
FLUSH_SECONDS = 0.02
_HEAD = 'POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n'
_EVENTS = json_stream.list_parts('events', reduce_event)
_LARGE = 64 * 1024
_STREAM, _RESCUE, _OTHER = 'stream', 0, 1
Job = Iterator[Any]


class Ask(NamedTuple):
    """One call: what a job yields."""
    method: str
    params: Tuple[Any, ...]
    urgency: Any = _RESCUE
    seconds: float = CALL_SECONDS


class Answer:
    """Reads one answer of HTTP as its bytes come; JSON part by part when it is large."""

    def __init__(self, parts: Optional[json_stream.Parts]) -> None:
        self._parts = parts
        self._buffer = bytearray()
        self._missing = -1
        self._decoding: Any = None
        self.value: Any = None

    def feed(self, data: bytes) -> bool:
        """Take bytes; whether the answer is whole."""
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b'\r\n\r\n')
            if end < 0:
                return False
            head = bytes(self._buffer[:end]).lower()
            self._missing = int(head.partition(b'content-length:')[2].split(None, 1)[0])
            data = bytes(self._buffer[end + 4:])
            self._buffer = bytearray()
            if self._parts is not None and self._missing > _LARGE:
                self._text = codecs.getincrementaldecoder('utf-8')()
                self._decoding = decode_steps(self._parts)
                next(self._decoding)
        self._missing -= len(data)
        if self._decoding is not None:
            return self._decode(data)
        self._buffer += data
        if self._missing:
            return False
        chunks = iter([self._buffer.decode('utf-8')])
        answer = (json_stream.decode(chunks, self._parts) if self._parts
                  else json_stream.decode_whole(chunks))
        self.value = answer.get('result')
        return True

    def _decode(self, data: bytes) -> bool:
        try:
            self._decoding.send(self._text.decode(data))
            if self._missing:
                return False
            self._decoding.send('')
        except StopIteration as stopped:
            self.value = stopped.value['result']
        return not self._missing


def decode_steps(parts: json_stream.Parts) -> Any:
    """As `json_stream.decode`, but it is sent each piece of text; '' is the end."""
    decoder = json.JSONDecoder(strict=False)
    text = ''
    match = None
    while match is None:
        text += yield
        match = parts.beginning.search(text, 0, 4096)
    head, kept, at = text[:match.end()], [], match.end()
    while True:
        at = json_stream._SPACE.match(text, at).end()
        if text[at:at + 1] == ']':
            break
        try:
            part, at = decoder.raw_decode(text, at)
            kept.append(parts.reduce('', part))
        except ValueError:
            more = yield
            text, at = text[at:] + more, 0
    rest = [text[at:]]
    while rest[-1]:
        rest.append((yield))
    envelope = decoder.decode(head + ''.join(rest))
    envelope['result'][parts.name] = kept
    return envelope


class Driver:
    """Steps jobs and gives each call a wire; the loop beneath it is another's."""

    def __init__(self) -> None:
        self.idle: List[Any] = []
        self.stream: Any = None
        self._waiting: List[Any] = []
        self._order = itertools.count()

    def spawn(self, job: Job) -> None:
        """Begin a job: its first call is on its way when this returns, if a wire is free."""
        self.step(job, None)

    def step(self, job: Job, value: Any) -> None:
        """Give a job what it waited for."""
        try:
            ask = job.send(value)
        except StopIteration:
            return
        if ask.urgency == _STREAM:
            self.stream.begin(job, ask)
        elif self.idle:
            self.idle.pop().begin(job, ask)
        else:
            heapq.heappush(self._waiting, (ask.urgency, next(self._order), job, ask))

    def give_back(self, wire: Any) -> None:
        """A wire has done its call: the next that waits has it."""
        if wire is self.stream:
            return
        if self._waiting:
            _urgency, _order, job, ask = heapq.heappop(self._waiting)
            wire.begin(job, ask)
        else:
            self.idle.append(wire)


class Wire:
    """One kept connection: the job that waits on it, and the answer that arrives."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._job: Any = None
        self._answer: Any = None

    def request(self, job: Job, ask: Ask) -> bytes:
        """Note who waits; the bytes to send."""
        self._job = job
        self._answer = Answer(_EVENTS if ask.method == 'event.from' else None)
        body = json.dumps({'jsonrpc': '2.0', 'method': ask.method, 'params': ask.params,
                           'id': 1}).encode('ascii')
        return (_HEAD % len(body)).encode('ascii') + body

    def take(self, data: bytes) -> bool:
        """Take bytes; whether the answer was whole, and its job has gone on."""
        if not data:
            raise SystemExit('XAPI has closed the connection')
        if not self._answer.feed(data):
            return False
        job, value = self._job, self._answer.value
        self.finish()
        # The next that waits sends before this answer is thought about.
        self.driver.give_back(self)
        self.driver.step(job, value)
        return True

    def finish(self) -> None:
        """Called when the answer is whole."""


# The jobs.

def follow(driver: Driver, build: Callable[[Driver, str], Any]) -> Job:
    """Follow the events for ever."""
    session = yield Ask('session.login_with_password', ('root', '', '1.0', 'loop'), _STREAM)
    decider = build(driver, session)
    token = ''
    while True:
        answer = yield Ask('event.from', (session, ['vm'], token, 30.0), _STREAM, 40.0)
        is_first = not token
        batch = parse_batch(answer, is_first=is_first)
        token = batch.token
        decider.take(batch)
        if is_first:
            tell_ready()


class Bare:
    """Parses, plans, adds."""

    def __init__(self, driver: Driver, session: str) -> None:
        settings = config.load(sys.argv[1])
        self._driver, self._session = driver, session
        self._policy = build_policy(settings, True)
        contents = Registry(settings.registry.path, timeout_seconds=1.0).read()
        self._rows = {vm.vm_uuid: Assignment(vm.vm_uuid, vm.vm_id, vm.pool_id, int(vm.priority))
                      for vm in contents.vms}

    def take(self, batch: Any) -> None:
        """Plan each VM; what lacks its arguments while it starts gets them."""
        for vm in batch.vms:
            plan = plan_vm(vm, self._rows.get(vm.uuid), Standing.CLEAR, self._policy)
            if plan.action is Action.ADD:
                self._driver.spawn(self._add(plan))

    def _add(self, plan: Any) -> Job:
        yield Ask('VM.add_to_platform', (self._session, plan.vm.ref, KEY, plan.value))


class Whole:
    """The real Watcher decides; its plans are carried out by jobs of the loop."""

    def __init__(self, driver: Any, session: str) -> None:
        settings = config.load(sys.argv[1])
        logs.configure('json', 'error')
        self._driver, self._session = driver, session
        view = RegistryView(settings.registry.path)
        self._watcher = Watcher(view, build_policy(settings, True), callers=self,  # type: ignore
                                inspectors=self, clients=self,  # type: ignore
                                restart_stream=lambda: None)
        self._watcher.staging._carry_out = lambda plan: driver.spawn(self._carry_out(plan))
        self._watcher.begin_session(Role(True, True, 'OpaqueRef:host', '26.1.4'))
        self._watcher.is_locked = True
        self._watcher.poll_registry()
        self._is_flush_due = False

    # In the place of callers, inspectors and clients: what else they are given is not carried out.

    def submit(self, _job: Any, _urgency: int = 0) -> None:
        """Mirror and host are not part of this."""

    def give_way(self) -> None:
        """There is nobody to give way to."""

    def note_finished(self) -> None:
        """Nobody counts."""

    def is_current(self, _handle: Any) -> bool:
        """There is one session."""
        return True

    def take(self, batch: Any) -> None:
        """Have it decided; what is to be written down waits until the wires are quiet."""
        self._watcher.handle(batch)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._driver.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._watcher.pump()

    def _carry_out(self, plan: Any) -> Job:
        began = time.monotonic()
        if not is_current(plan, self._watcher.inventory.find(plan.vm.ref)):
            self._watcher.handle(Outcome(OutcomeKind.OVERTAKEN, plan))
            return
        yield Ask('VM.add_to_platform', (self._session, plan.vm.ref, KEY, plan.value))
        self._watcher.handle(Outcome(
            OutcomeKind.WRITTEN, plan, None, '', (time.monotonic() - began) * 1000.0, None, 0.0,
            True))
        self._flush_soon()


DECIDERS: Dict[str, Any] = {'bare': Bare, 'whole': Whole}
