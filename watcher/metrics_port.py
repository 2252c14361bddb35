"""The metrics on a local port: one thread that answers `GET /metrics`, one request at a time.

It sleeps until somebody asks. Whoever asks slowly keeps others from asking, and nothing else.
"""

import http.server
import socket
import threading
from typing import Any, Callable

TIMEOUT_SECONDS = 5.0
# The main loop waits so long for the thread; a slow reader may keep it longer.
CLOSE_SECONDS = 0.5
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


class MetricsPort:
    """Listens on one address of the loopback; raises OSError when it cannot."""

    def __init__(self, host: str, port: int, render: Callable[[], str]) -> None:
        self._is_closed = False
        self._server = _build_server(host, port, render)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._serve, name='metrics', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and free the port."""
        self._is_closed = True
        try:
            # Its wait ends only when somebody calls.
            socket.create_connection(self._server.server_address[:2], CLOSE_SECONDS).close()
        except OSError:
            return
        self._thread.join(CLOSE_SECONDS)

    def _serve(self) -> None:
        with self._server:
            while not self._is_closed:
                self._server.handle_request()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    timeout = TIMEOUT_SECONDS
    server_version = 'vgpu-watcher'
    sys_version = ''

    def do_GET(self) -> None:
        """Give the metrics; there is nothing else here."""
        if self.path.partition('?')[0] != '/metrics':
            self.send_error(404)
            return
        body = self.server.render().encode('utf-8')  # type: ignore
        self.send_response(200)
        self.send_header('Content-Type', CONTENT_TYPE)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """Say nothing: who asks for metrics is no event."""


class _Server(http.server.HTTPServer):
    """An HTTP server that looks up no names and complains to nobody."""

    render: Callable[[], str]

    def server_bind(self) -> None:
        """Bind without asking the resolver what the address is called."""
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, *_request: Any) -> None:
        """Whoever asked has gone; nobody is left to be told."""


class _Server6(_Server):
    """The same on ::1."""

    address_family = socket.AF_INET6


def _build_server(host: str, port: int, render: Callable[[], str]) -> _Server:
    server = (_Server6 if ':' in host else _Server)((host, port), _Handler)
    server.render = render
    return server
