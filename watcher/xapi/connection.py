"""One HTTP connection to XAPI: over the Unix socket, plain TCP or TLS.

Stands under `rpc.py`. It differs from the standard library's XML-RPC transport in three ways,
each the answer to a trap of docs/reference/wire.md: it waits in steps, and every wait has an end;
a request is sent exactly once (the standard one repeats a call when a kept connection drops, so
that a start was executed twice); and the one who runs the steps may end them at any wait.
"""

import codecs
import json
import select
import socket
import time
from typing import Any, Callable, Optional, Tuple

from watcher.config.settings import XapiAddress
from watcher.errors import AnswerTooOld, NoAnswer, XapiNonsense, XapiUnreachable
from watcher.loop.steps import FOREVER, READ, Steps, Wait
from watcher.version import USER_AGENT
from watcher.xapi.http1 import Line
from watcher.xapi.json_stream import ReadText
from watcher.xapi.sockets import list_would_block, open_tcp, open_unix, start_tls

_CONNECT_SECONDS = 10.0
_encode_json = json.JSONEncoder(separators=(',', ':')).encode


class Refused(NoAnswer):
    """The other side answered, with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f'XAPI answered HTTP {status}')
        self.status = status

    @property
    def is_passing(self) -> bool:
        """Whether another moment may bring another answer: 501 is no such word, 500 is one."""
        return self.status >= 500 and self.status != 501


class Transport:
    """A kept-alive connection that sends each request once and never waits for ever."""

    def __init__(self, address: XapiAddress, *, timeout_seconds: float, verify_tls: bool = True,
                 ends_at: float = FOREVER) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._verify_tls = verify_tls
        self._ends_at = ends_at
        self._line: Optional[Line] = None
        host = f'[{address.host}]' if ':' in address.host else address.host
        self._host = f'{host}:{address.port}' if host else 'localhost'
        self.limit_seconds: Optional[float] = None
        """Another limit for the calls of the moment."""
        self._seconds = 0.0
        """How long the call of the moment may take, and until when."""
        self._deadline = 0.0
        self.freshness_seconds: Optional[float] = None
        """A request is not sent when the last answer is older than this."""
        self._answered_at = self._heard_at = time.monotonic()

    def post_xml(self, path: str, body: bytes) -> Steps[Any]:
        """Send one XML-RPC request, once; its answer. On any error the connection is closed."""
        import xmlrpc.client
        try:
            yield from self._send(path, body, 'text/xml')
            parser, unmarshaller = xmlrpc.client.getparser()
            part = yield from self._receive()
            while part:
                parser.feed(part)
                part = yield from self._read_part()
            parser.close()
            answer = unmarshaller.close()
            return answer[0] if len(answer) == 1 else answer
        except AnswerTooOld:
            raise
        except BaseException:
            self.close()
            raise

    def post_json(self, path: str, method: str, params: Tuple[Any, ...],
                  decode: Callable[[ReadText], Steps[Any]]) -> Steps[Any]:
        """Call by JSON-RPC 2.0 and return what `decode` makes of the answer's text.

        XapiNonsense when that is no JSON; on any error the connection is closed.
        """
        body = _encode_json({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1})
        try:
            yield from self._send(path, body.encode('ascii'), 'application/json')
            return (yield from decode(_Text(self).read))
        except AnswerTooOld:
            raise
        except (ValueError, RecursionError) as error:
            self.close()
            raise XapiNonsense(f'not JSON: {error}') from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _send(self, path: str, body: bytes, content_type: str) -> Steps[None]:
        """The limit is on the whole of a call: on connecting, sending, waiting and reading."""
        now = time.monotonic()
        self._seconds = max(0.0, min(self._limit, self._ends_at - now))
        self._deadline = now + self._seconds
        if self._line is not None and not self._is_quiet(self._line):
            self.close()  # XAPI has closed it meanwhile
        if self._line is None:
            self._line = Line((yield from self._open()), self._wait,
                              list_would_block(self._address.scheme == 'https'))
        head = (f'POST {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {USER_AGENT}\r\n'
                f'Content-Type: {content_type}\r\n').encode('ascii')
        limit = self.freshness_seconds
        # Last of all: opening another connection may have taken its time.
        if limit is not None and time.monotonic() - self._answered_at > limit:
            raise AnswerTooOld(f'the answer that this rests on is older than {limit:g} s')
        self._check_time()
        yield from self._line.send(head, body)

    def _receive(self) -> Steps[bytes]:
        """The first part of the answer's body; Refused when its status is not 200."""
        status = yield from self._line.read_status()  # type: ignore
        if status != 200:
            raise Refused(status)
        return (yield from self._read_part())

    def _read_part(self) -> Steps[bytes]:
        """More of the body; b'' at its end."""
        line = self._line
        part = yield from line.read_part()  # type: ignore
        if not part:
            self._answered_at = self._heard_at
            if not line.keeps_alive:  # type: ignore
                self.close()
        return part

    def _is_quiet(self, line: Line) -> bool:
        """Whether nothing lies there: it would be the connection's end, or another's answer."""
        poller = select.poll()
        poller.register(line.sock, READ)
        return line.is_read and not poller.poll(0)

    def _open(self) -> Steps[socket.socket]:
        self._check_time()
        address = self._address
        until = min(time.monotonic() + _CONNECT_SECONDS, self._deadline)
        if address.scheme == 'unix':
            return (yield from open_unix(address.path, until))
        sock = yield from open_tcp(address.host, address.port, until)
        if address.scheme == 'http':
            return sock
        return (yield from start_tls(sock, address.host, verify=self._verify_tls,
                                     until=self._deadline))

    @property
    def _limit(self) -> float:
        return self._timeout_seconds if self.limit_seconds is None else self.limit_seconds

    def _check_time(self) -> None:
        if time.monotonic() >= self._deadline:
            self._raise_late()

    def _raise_late(self) -> None:
        raise XapiUnreachable(f'XAPI did not answer within {self._seconds:.2g} s')

    def _wait(self, sock: socket.socket, events: int) -> Steps[None]:
        """Wait for the socket, as long as the call has time, however much there is to read.

        Over TLS what has come may be more than what the socket shows.
        """
        self._check_time()
        if events == READ and getattr(sock, 'pending', int)():
            return
        heard_at = yield Wait(self._deadline, sock.fileno(), events)
        if not heard_at:
            self._raise_late()
        self._heard_at = heard_at


class _Text:
    """The text of an answer, as it arrives; a character may be cut by the end of a part."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._decoder = codecs.getincrementaldecoder('utf-8')()
        self._read_part = transport._receive
        self._has_ended = False

    def read(self) -> Steps[str]:
        """More of it; '' at its end, and from then on."""
        text = ''
        while not (text or self._has_ended):
            part = yield from self._read_part()
            self._read_part = self._transport._read_part
            self._has_ended = not part
            text = self._decoder.decode(part, self._has_ended)
        return text
