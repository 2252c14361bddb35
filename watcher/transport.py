"""One HTTP connection to XAPI: over the Unix socket, plain TCP or TLS.

Stands under `xapi.py`. It differs from the standard library's XML-RPC transport in three ways,
each the answer to a trap of xapi-events.md section 4: every wait has an end; a request is sent
exactly once (the standard one repeats a call when a kept connection drops, so that a start was
executed twice); and a waiting call can be given up, from the same thread or from another.
"""

import codecs
import http.client
import json
import select
import socket
import ssl
import time
import xmlrpc.client
from typing import Any, Callable, Iterator, Optional, Tuple

from watcher.config import XapiAddress
from watcher.errors import XapiNonsense, XapiUnreachable
from watcher.version import USER_AGENT

# How often a waiting call looks whether it is to be given up. Only ever while XAPI is answering.
_LOOK_SECONDS = 0.2
_CONNECT_SECONDS = 10.0
# Some records each: one that is cut off at the end of a chunk is decoded twice.
_CHUNK_BYTES = 256 * 1024


class Transport(xmlrpc.client.Transport):
    """A kept-alive connection that sends each request once and never waits for ever."""

    user_agent = USER_AGENT
    accept_gzip_encoding = False

    def __init__(self, address: XapiAddress, *, timeout_seconds: float, verify_tls: bool = True,
                 is_given_up: Optional[Callable[[], bool]] = None) -> None:
        super().__init__()
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._verify_tls = verify_tls
        self._is_given_up = is_given_up
        self._is_aborted = False
        self.limit_seconds: Optional[float] = None
        """A shorter limit for the calls of the moment; heeded where giving up is."""

    def request(self, host: Any, handler: str, request_body: bytes,
                verbose: bool = False) -> Any:
        """Send one XML-RPC request, once."""
        self._drop_stale_connection()
        return self.single_request(host, handler, request_body, verbose)

    def single_request(self, host: Any, handler: str, request_body: bytes,
                       verbose: bool = False) -> Any:
        """Send the request and parse the answer; on any error the connection is closed."""
        self.verbose = verbose
        response = self._exchange(host, handler, request_body, 'text/xml')
        try:
            if response.status != 200:
                raise XapiUnreachable('XAPI answered HTTP %d' % response.status)
            return self.parse_response(response)
        except BaseException:
            self.close()
            raise

    def post_json(self, path: str, method: str, params: Tuple[Any, ...],
                  decode: Callable[[Iterator[str]], Any]) -> Any:
        """Call by JSON-RPC 2.0 and return what `decode` makes of the answer's text.

        XapiNonsense when that is no JSON.
        """
        self._drop_stale_connection()
        body = json.dumps({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1})
        response = self._exchange('localhost', path, body.encode('ascii'), 'application/json')
        try:
            if response.status != 200:
                response.read()
                raise XapiUnreachable('XAPI answered HTTP %d' % response.status)
            return decode(_read_text(response))
        except (ValueError, RecursionError) as error:
            self.close()
            raise XapiNonsense('not JSON: %s' % error) from error
        except BaseException:
            self.close()
            raise

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """The kept connection, or a new one."""
        if self._is_aborted:
            raise XapiUnreachable('the connection was given up')
        if self._connection and self._connection[1]:
            return self._connection[1]
        connection = self._build_connection()
        self._connection = host, connection
        return connection

    def abort(self) -> None:
        """Make a call that waits in another thread fail now, and all later ones."""
        self._is_aborted = True
        connection = self._connection[1] if self._connection else None
        sock = getattr(connection, 'sock', None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already, which is what was wanted

    def _build_connection(self) -> http.client.HTTPConnection:
        address = self._address
        if address.scheme == 'unix':
            return _UnixConnection(address.path, self._timeout_seconds)
        if address.scheme == 'http':
            return http.client.HTTPConnection(address.host, address.port,
                                              timeout=self._timeout_seconds)
        context = ssl.create_default_context()
        if not self._verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(address.host, address.port, context=context,
                                           timeout=self._timeout_seconds)

    def _drop_stale_connection(self) -> None:
        """Forget a kept connection that XAPI has closed meanwhile, before anything is sent."""
        connection = self._connection[1] if self._connection else None
        sock = getattr(connection, 'sock', None)
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self.close()

    def _exchange(self, host: Any, path: str, body: bytes,
                  content_type: str) -> http.client.HTTPResponse:
        connection = self.make_connection(host)
        try:
            connection.putrequest('POST', path, skip_accept_encoding=True)
            connection.putheader('Content-Type', content_type)
            connection.putheader('User-Agent', self.user_agent)
            connection.putheader('Content-Length', str(len(body)))
            connection.endheaders(body)
            self._await_answer(connection)
            return connection.getresponse()
        except BaseException:
            self.close()
            raise

    def _await_answer(self, connection: http.client.HTTPConnection) -> None:
        """Wait for the first byte, looking now and then whether to give up."""
        if self._is_given_up is None:
            return
        limit = self._timeout_seconds if self.limit_seconds is None else self.limit_seconds
        deadline = time.monotonic() + limit
        poller = select.poll()
        poller.register(connection.sock, select.POLLIN)
        while not poller.poll(int(_LOOK_SECONDS * 1000)):
            if self._is_given_up():
                raise XapiUnreachable('the call was given up')
            if time.monotonic() > deadline:
                raise XapiUnreachable('no answer within %g s' % limit)


def _read_text(response: http.client.HTTPResponse) -> Iterator[str]:
    """The answer's text in chunks; IncompleteRead when it breaks off."""
    decoder = codecs.getincrementaldecoder('utf-8')()
    while True:
        chunk = response.read(_CHUNK_BYTES)
        if not chunk:
            break
        yield decoder.decode(chunk)
    if response.length:
        raise http.client.IncompleteRead(b'', response.length)
    yield decoder.decode(b'', True)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket. The path is taken as it is, underscores included."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__('localhost', timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Connect with a time-out: a bare socket could wait for ever."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(min(_CONNECT_SECONDS, self.timeout))
            sock.connect(self._path)
            sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
