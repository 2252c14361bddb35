"""Sockets: one thread per connection, and the faults that strike a call on its way."""

import os
import socket
import threading
import time
from typing import Any, Callable, List, Optional, Set

from simulator.api.dispatch import Dispatcher, Incoming
from simulator.api.methods import Caller
from simulator.faults import AFTER_CALL, BEFORE_CALL, Fault
from simulator.state.pool_state import State
from simulator.wire import http
from simulator.wire.failures import XapiGone
from simulator.wire.http import ERROR_PAGE, Refused, Request
from simulator.wire.rpc import Malformed

BACKLOG = 1024
LONG_POLLS = ('event.from', 'event.next')


class Dropped(Exception):
    """The connection ends here, without an answer."""


class Unanswered(Exception):
    """The host to which the call was handed on did not answer: HTTP 500."""


class Strike:
    """What faults do to the answer of one call."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.body = body
        self.length: Optional[int] = None
        self.drip_seconds = 0.0


class Listener:
    """One listening socket and its connections."""

    def __init__(self, state: State, dispatcher: Dispatcher, listening: socket.socket,
                 transport: str, spawn: Callable[[Fault], None]) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._listening = listening
        self._transport = transport
        self._spawn = spawn
        self._connections: Set[socket.socket] = set()
        self._lock = threading.Lock()
        limits = {'unix': state.settings.unix_connections, 'tcp': state.settings.tcp_connections}
        self._room = threading.Semaphore(limits[transport])
        self._is_closed = False

    def start(self) -> None:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True,
                         name=f'simulator-{self._transport}').start()

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        http.shut(self._listening)
        for connection in connections:
            http.shut(connection)

    def _accept(self) -> None:
        while True:
            # When it is full xapi stops accepting: further clients connect and hear nothing.
            self._room.acquire()
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True,
                             name='simulator-connection').start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._transport == 'tcp':
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile('rb') as stream:
                while self._serve_one(connection, stream):
                    continue
        except (OSError, Dropped, XapiGone, ValueError):
            # The client went away, a fault cut the connection, or xapi ended.
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            self._room.release()
            http.shut(connection)

    def _serve_one(self, connection: socket.socket, stream: Any) -> bool:
        limit = (http.TCP_HEADER_LIMIT if self._transport == 'tcp'
                 else http.UNIX_HEADER_LIMIT)
        try:
            request = http.read_request(stream, limit)
        except Refused as refused:
            connection.sendall(http.render_response(
                refused.status, ERROR_PAGE, 'text/html', False))
            return False
        if request is None:
            return False
        try:
            incoming = self._dispatcher.parse(request.path, request.body)
        except Malformed:
            connection.sendall(http.render_response(500, ERROR_PAGE, 'text/html', False))
            return False
        return self._respond(connection, request, incoming)

    def _respond(self, connection: socket.socket, request: Request, incoming: Incoming) -> bool:
        caller = Caller(transport=self._transport,
                        user_agent=request.headers.get('user-agent', ''))
        self._dispatcher.note(incoming, caller)
        strike = self._before(connection, incoming)
        if strike is None:
            if incoming.method not in LONG_POLLS and not incoming.method.startswith('sim.'):
                self._state.pause(self._state.settings.call_delay_seconds)
            strike = self._answer(incoming, caller)
            self._after(connection, incoming, strike)
        keep = request.keeps_alive and strike.status == 200 and strike.length is None
        content = 'application/json' if incoming.json is not None else 'text/xml'
        if strike.status != 200:
            content = 'text/html'
        self._send(connection, strike, http.render_response(
            strike.status, strike.body, content, keep))
        return keep

    def _answer(self, incoming: Incoming, caller: Caller) -> Strike:
        try:
            return Strike(self._dispatcher.answer(incoming, caller))
        except Unanswered:
            return _refusal()

    def _send(self, connection: socket.socket, strike: Strike, response: bytes) -> None:
        if strike.length is not None:
            head = response.index(b'\r\n\r\n') + 4
            response = response[:head + strike.length]
        if not strike.drip_seconds:
            connection.sendall(response)
            return
        for position in range(0, len(response), 16):
            connection.sendall(response[position:position + 16])
            self._state.pause(strike.drip_seconds)

    def _before(self, connection: socket.socket, incoming: Incoming) -> Optional[Strike]:
        for fault in self._state.faults.take(BEFORE_CALL, incoming.method, incoming.ref):
            kind = fault.kind
            if kind in ('drop_before', 'reset_before'):
                self._cut(connection, kind)
            elif kind == 'delay':
                self._state.pause(fault.parameters['seconds'])
            elif kind in ('hang', 'half_open'):
                self._state.faults.wait_lifted(fault, self._is_over)
                if kind == 'half_open':
                    raise Dropped()
            elif kind == 'evict_session':
                self._state.sessions.end(str(incoming.params[0]))
            elif kind in ('spawn_before', 'run_before'):
                self._spawn(fault)
            elif kind == 'failure':
                return Strike(self._dispatcher.fail(incoming, _description(fault)))
            elif kind == 'http_500_before':
                return _refusal()
        return None

    def _after(self, connection: socket.socket, incoming: Incoming, strike: Strike) -> None:
        for fault in self._state.faults.take(AFTER_CALL, incoming.method, incoming.ref):
            kind = fault.kind
            if kind in ('drop_after', 'reset_after'):
                self._cut(connection, kind)
            elif kind in ('spawn_after', 'run_after'):
                self._spawn(fault)
            elif kind == 'late':
                self._state.pause(fault.parameters['seconds'])
            elif kind == 'drip':
                strike.drip_seconds = fault.parameters.get('seconds', 0.05)
            elif kind == 'truncate':
                strike.length = fault.parameters.get('bytes', len(strike.body) // 2)
            else:
                self._spoil(strike, fault, incoming)

    def _spoil(self, strike: Strike, fault: Fault, incoming: Incoming) -> None:
        if fault.kind == 'failure_after':
            strike.body = self._dispatcher.fail(incoming, _description(fault))
        elif fault.kind == 'http_500':
            strike.status, strike.body = 500, ERROR_PAGE
        elif fault.kind == 'garbage':
            strike.body = b'\x00\xff<<not the protocol>>\xfe'
        elif fault.kind == 'replace_body':
            body = fault.parameters['body']
            strike.body = body if isinstance(body, bytes) else body.encode('utf-8')

    def _cut(self, connection: socket.socket, kind: str) -> None:
        if kind.startswith('reset'):
            http.reset(connection)
        raise Dropped()

    def _is_over(self) -> bool:
        return self._is_closed or self._state.stopping.is_set()


def open_unix(path: str) -> socket.socket:
    """Listen on a Unix socket; what lies at the path from an earlier life is removed."""
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(BACKLOG)
    return listening


def find_port(hosts: List[str]) -> int:
    """Find a port that is free on all these addresses."""
    while True:
        first = open_tcp(hosts[0], 0)
        port = int(first.getsockname()[1])
        opened = [first]
        try:
            for host in hosts[1:]:
                opened.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                opened[-1].bind((host, port))
            return port
        except OSError:
            continue
        finally:
            for one in opened:
                one.close()


def open_tcp(host: str, port: int) -> socket.socket:
    """Listen on a TCP address; a restart takes the same one again."""
    deadline = time.monotonic() + 5.0
    while True:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(BACKLOG)
            return listening
        except OSError:
            listening.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _refusal() -> Strike:
    strike = Strike(ERROR_PAGE)
    strike.status = 500
    return strike


def _description(fault: Fault) -> List[str]:
    code = fault.parameters.get('code', 'INTERNAL_ERROR')
    return [code] + list(fault.parameters.get('params', ()))
