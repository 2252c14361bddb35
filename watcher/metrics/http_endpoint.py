"""The metrics on a local port: one thread that answers `GET /metrics`, one request at a time.

It sleeps until a request comes. A request has a limit on the whole of it, from the connection to
the last byte of the answer, and what comes is looked at once: a slow client keeps others from
asking for that long, and nothing else.
"""

import socket
import threading
import time
from typing import Callable

from watcher.xapi.event_stream import ThreadDied

# A scrape on the loopback takes some milliseconds.
TIMEOUT_SECONDS = 2.0
# The main loop waits so long for the thread; a slow reader may keep it longer.
CLOSE_SECONDS = 0.5
NAME = 'metrics'
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
# Prometheus sends a few hundred bytes.
_MAX_REQUEST = 16 * 1024
_WAITING = 16
_REASONS = {200: 'OK', 400: 'Bad Request', 404: 'Not Found', 501: 'Not Implemented'}


class MetricsPort:
    """Listens on one address of the loopback; raises OSError when it cannot."""

    def __init__(self, host: str, port: int, render: Callable[[], str],
                 on_death: Callable[[ThreadDied], None]) -> None:
        self._is_closed = False
        self._render = render
        self._on_death = on_death
        self._listener = _listen(host, port)
        self.port = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, name=NAME, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop answering, and free the port."""
        self._is_closed = True
        try:
            # Its wait ends only with a connection.
            socket.create_connection(self._listener.getsockname()[:2], CLOSE_SECONDS).close()
        except OSError:
            return
        self.thread.join(CLOSE_SECONDS)

    def _serve(self) -> None:
        try:
            self._answer_all()
        except BaseException as error:  # the thread's body: the main thread ends the process
            self._on_death(ThreadDied(NAME, error))

    def _answer_all(self) -> None:
        with self._listener:
            while not self._is_closed:
                try:
                    connection = self._listener.accept()[0]
                except OSError:
                    continue  # who called has gone again
                with connection:
                    self._answer(connection, time.monotonic() + TIMEOUT_SECONDS)

    def _answer(self, connection: socket.socket, deadline: float) -> None:
        try:
            request = _read_request(connection, deadline)
            status = _judge(request)
            body = self._render() if status == 200 else _REASONS[status] + '\n'
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            # All of it within the time that is left, however the other side reads.
            connection.sendall(_render_answer(status, body))
        except OSError:
            return  # the client has gone, or took too long


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET,
                             socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_WAITING)
    except BaseException:
        listener.close()
        raise
    return listener


def _read_request(connection: socket.socket, deadline: float) -> bytes:
    """The head of a request; a body is not waited for, since nothing here takes one."""
    request = bytearray()
    while len(request) < _MAX_REQUEST:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise socket.timeout('a request that does not end')
        connection.settimeout(left)
        data = connection.recv(_MAX_REQUEST)
        looked_at = max(0, len(request) - 3)
        request += data
        if not data or request.find(b'\n\r\n', looked_at) >= 0 \
                or request.find(b'\n\n', looked_at) >= 0:
            break
    return bytes(request)


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
    head = ('HTTP/1.0 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n'
            % (status, _REASONS[status], CONTENT_TYPE, len(content)))
    return head.encode('ascii') + content
