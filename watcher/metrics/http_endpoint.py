"""The metrics on a local port: a task that answers `GET /metrics`, one request at a time.

It sleeps until a request comes. A request has a limit on the whole of it, from the connection to
the last byte of the answer, and what comes is looked at once: a slow client keeps others from
asking for that long, and nothing else.
"""

import socket
import time
from typing import Callable

from watcher.loop.loop import Loop
from watcher.loop.steps import FOREVER, WRITE, Steps, Wait, pause

# A scrape on the loopback takes some milliseconds.
TIMEOUT_SECONDS = 2.0
NAME = 'metrics'
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
# Prometheus sends a few hundred bytes.
_MAX_REQUEST = 16 * 1024
_WAITING = 16
_PAUSE_SECONDS = 0.1
_REASONS = {200: 'OK', 400: 'Bad Request', 404: 'Not Found', 501: 'Not Implemented'}


class MetricsPort:
    """Listens on one address of the loopback; raises OSError when it cannot."""

    def __init__(self, host: str, port: int, render: Callable[[], str], loop: Loop) -> None:
        self._render = render
        self._loop = loop
        self._listener = _listen(host, port)
        self.port = self._listener.getsockname()[1]
        self._task = loop.start(NAME, self._answer_all())

    def close(self) -> None:
        """Stop answering, and free the port."""
        self._loop.cancel(self._task)

    def _answer_all(self) -> Steps[None]:
        with self._listener:
            while True:
                yield Wait(FOREVER, self._listener.fileno())
                try:
                    connection = self._listener.accept()[0]
                except OSError:  # the caller has gone again, or no descriptor is free
                    yield from pause(_PAUSE_SECONDS)
                    continue
                with connection:
                    yield from self._answer(connection, time.monotonic() + TIMEOUT_SECONDS)

    def _answer(self, connection: socket.socket, until: float) -> Steps[None]:
        try:
            connection.setblocking(False)
            request = yield from _read_request(connection, until)
            status = _judge(request)
            body = self._render() if status == 200 else _REASONS[status] + '\n'
            yield from _send(connection, _render_answer(status, body), until)
        except OSError:
            return  # the client has gone, or took too long


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET,
                             socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_WAITING)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _read_request(connection: socket.socket, until: float) -> Steps[bytes]:
    """The head of a request; a body is not waited for, since nothing here takes one."""
    request = bytearray()
    while len(request) < _MAX_REQUEST:
        if not (yield Wait(until, connection.fileno())):
            raise socket.timeout('a request that does not end')
        data = connection.recv(_MAX_REQUEST)
        looked_at = max(0, len(request) - 3)
        request += data
        if not data or request.find(b'\n\r\n', looked_at) >= 0 \
                or request.find(b'\n\n', looked_at) >= 0:
            break
    return bytes(request)


def _send(connection: socket.socket, data: bytes, until: float) -> Steps[None]:
    """All of it within the time that is left, however the other side reads."""
    while data:
        if not (yield Wait(until, connection.fileno(), WRITE)):
            raise socket.timeout('an answer that the client does not read')
        data = data[connection.send(data):]


def _judge(request: bytes) -> int:
    """The status of the answer."""
    words = request.partition(b'\n')[0].split()
    if len(words) != 3 or not words[2].startswith(b'HTTP/1.'):
        return 400
    if words[0] != b'GET':
        return 501
    return 200 if words[1].partition(b'?')[0] == b'/metrics' else 404


def _render_answer(status: int, body: str) -> bytes:
    content = body.encode('utf-8')
    head = (f'HTTP/1.0 {status} {_REASONS[status]}\r\nContent-Type: {CONTENT_TYPE}\r\n'
            f'Content-Length: {len(content)}\r\nConnection: close\r\n\r\n')
    return head.encode('ascii') + content
