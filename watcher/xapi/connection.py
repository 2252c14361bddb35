"""One HTTP connection to XAPI: over the Unix socket, plain TCP or TLS.

Stands under `client.py`. It differs from the standard library's XML-RPC transport in three ways,
each the answer to a trap of xapi-events.md section 4: every wait has an end; a request is sent
exactly once (the standard one repeats a call when a kept connection drops, so that a start was
executed twice); and a waiting call can be given up, from the same thread or from another.
"""

import codecs
import json
import select
import socket
import time
from typing import Any, Callable, Iterator, Optional, Tuple

from watcher.config.settings import XapiAddress
from watcher.errors import AnswerTooOld, NoAnswer, XapiNonsense, XapiUnreachable
from watcher.version import USER_AGENT
from watcher.xapi.http1 import Line, open_tcp, open_unix

# How often a waiting call looks whether it is to be given up.
_LOOK_SECONDS = 0.2
_CONNECT_SECONDS = 10.0
_HEAD = 'POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nContent-Type: %s\r\n'
_encode_json = json.JSONEncoder(separators=(',', ':')).encode


class Refused(NoAnswer):
    """Somebody answered, with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__('XAPI answered HTTP %d' % status)
        self.status = status

    @property
    def is_passing(self) -> bool:
        """Whether another moment may bring another answer: 501 is no such word, 500 is one."""
        return self.status >= 500 and self.status != 501


class Transport:
    """A kept-alive connection that sends each request once and never waits for ever.

    Fits `XenAPI.Session` as its transport, and imports nothing of it: on the local socket all
    goes by JSON, and XML-RPC with what it needs takes 50 ms and 8 MB to import.
    """

    def __init__(self, address: XapiAddress, *, timeout_seconds: float, verify_tls: bool = True,
                 is_given_up: Optional[Callable[[], bool]] = None) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._verify_tls = verify_tls
        self._is_given_up = is_given_up
        self._is_aborted = False
        self._line: Optional[Line] = None
        host = '[%s]' % address.host if ':' in address.host else address.host
        self._host = '%s:%d' % (host, address.port) if host else 'localhost'
        self.limit_seconds: Optional[float] = None
        """Another limit for the calls of the moment."""
        self._deadline = 0.0
        self.freshness_seconds: Optional[float] = None
        """A request is not sent when the last answer is older than this."""
        self._answered_at = time.monotonic()

    def request(self, host: Any, handler: str, request_body: bytes,
                verbose: bool = False) -> Any:
        """Send one XML-RPC request, once; on any error the connection is closed."""
        self._send(handler, request_body, 'text/xml')
        try:
            import xmlrpc.client
            parser, unmarshaller = xmlrpc.client.getparser()
            for chunk in self._receive():
                parser.feed(chunk)
            parser.close()
            return unmarshaller.close()
        except BaseException:
            self.close()
            raise

    def post_json(self, path: str, method: str, params: Tuple[Any, ...],
                  decode: Callable[[Iterator[str]], Any]) -> Any:
        """Call by JSON-RPC 2.0 and return what `decode` makes of the answer's text.

        XapiNonsense when that is no JSON.
        """
        body = _encode_json({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1})
        self._send(path, body.encode('ascii'), 'application/json')
        try:
            return decode(_read_text(self._receive()))
        except (ValueError, RecursionError) as error:
            self.close()
            raise XapiNonsense('not JSON: %s' % error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def abort(self) -> None:
        """Make a call that waits in another thread fail now, and all later ones."""
        self._is_aborted = True
        line = self._line
        if line is not None:
            try:
                line.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already, which is what was wanted

    def _send(self, path: str, body: bytes, content_type: str) -> None:
        """The limit is on the whole of a call: on connecting, sending, waiting and reading."""
        self._deadline = time.monotonic() + self._limit
        line = self._find_line()
        head = (_HEAD % (path, self._host, USER_AGENT, content_type)).encode('ascii')
        limit = self.freshness_seconds
        # Last of all: opening another connection may have taken its time.
        if limit is not None and time.monotonic() - self._answered_at > limit:
            raise AnswerTooOld('the answer that this rests on is older than %g s' % limit)
        try:
            line.sock.settimeout(self._left())
            line.send(head, body)
        except BaseException:
            self.close()
            raise

    def _receive(self) -> Iterator[bytes]:
        """The body of the answer; Refused when its status is not 200."""
        line = self._line
        if line is None:
            raise XapiUnreachable('the connection was closed')
        line.before_read = lambda: self._await_more(line.sock)
        status = line.read_status()
        if status != 200:
            raise Refused(status)
        for chunk in line.read_chunks():
            yield chunk
        self._answered_at = time.monotonic()
        if not line.keeps_alive:
            self.close()

    def _find_line(self) -> Line:
        """The kept connection, or a new one when there is none or XAPI has closed it meanwhile."""
        if self._line is not None and not self._is_quiet(self._line):
            self.close()
        if self._is_aborted:
            raise XapiUnreachable('the connection was given up')
        if self._line is None:
            self._line = Line(self._open())
            if self._is_aborted:
                self.close()
                raise XapiUnreachable('the connection was given up')
        return self._line

    def _is_quiet(self, line: Line) -> bool:
        """Whether nothing lies there: it would be the connection's end, or another's answer."""
        return line.is_read and not select.select([line.sock], [], [], 0)[0]

    def _open(self) -> socket.socket:
        address = self._address
        left = self._left()
        if address.scheme == 'unix':
            return open_unix(address.path, _CONNECT_SECONDS, left)
        sock = open_tcp(address.host, address.port, min(_CONNECT_SECONDS, left), left)
        if address.scheme == 'http':
            return sock
        try:
            import ssl
            context = ssl.create_default_context()
            if not self._verify_tls:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return context.wrap_socket(sock, server_hostname=address.host)
        except BaseException:
            sock.close()
            raise

    @property
    def _limit(self) -> float:
        return self._timeout_seconds if self.limit_seconds is None else self.limit_seconds

    def _left(self) -> float:
        """What is left of the call's time; XapiUnreachable when nothing is."""
        left = self._deadline - time.monotonic()
        if left <= 0.0:
            raise XapiUnreachable('no whole answer within %g s' % self._limit)
        return left

    def _await_more(self, sock: socket.socket) -> None:
        """Wait for the next bytes, looking now and then whether to give up.

        What is left of the time is the socket's limit too: over TLS what has come may be less
        than what can be read.
        """
        if self._is_given_up is not None and self._is_given_up():
            raise XapiUnreachable('the call was given up')
        left = self._left()
        sock.settimeout(left)
        if self._is_given_up is None or getattr(sock, 'pending', int)():
            return
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        while not poller.poll(int(min(_LOOK_SECONDS, left) * 1000) + 1):
            if self._is_given_up():
                raise XapiUnreachable('the call was given up')
            left = self._left()


def _read_text(chunks: Iterator[bytes]) -> Iterator[str]:
    """The answer's text; a character may be cut by the end of a chunk."""
    decoder = codecs.getincrementaldecoder('utf-8')()
    for chunk in chunks:
        yield decoder.decode(chunk)
    decoder.decode(b'', True)
