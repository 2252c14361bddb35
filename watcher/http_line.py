"""One kept-alive HTTP/1.1 connection: a request is one `send`, and its answer is read in chunks.

Stands under `transport.py`. The standard library's client sends head and body one after the
other and parses the answer's head as if it were a mail; on the way from an event to the write
that it needs, that was half of the time, and importing it takes a command as long as its work.
What comes off the wire is input: every length has a bound, and what is not HTTP is NotHttp.
"""

import re
import socket
from typing import Callable, Iterator, NamedTuple, Optional

# Heads of XAPI have a few hundred bytes.
_MAX_HEAD = 64 * 1024
_RECEIVE_BYTES = 256 * 1024
# Of what is read ahead: more, and each answer has memory mapped and given back.
_AHEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb'HTTP/1\.([01]) ([0-9]{3})(?: [^\r\n]*)?\r?\n')
_HEADER = re.compile(rb'(?mi)^(content-length|transfer-encoding|connection)[ \t]*:[ \t]*'
                     rb'([^\r\n]*?)[ \t]*\r?$')
_SIZE = re.compile(rb'[0-9A-Fa-f]{1,15}[ \t]*(;|\Z)')
_END_OF_HEAD = re.compile(rb'\r?\n\r?\n')


class NotHttp(Exception):
    """What came is no whole answer of HTTP."""


class Disconnected(NotHttp, ConnectionResetError):
    """The connection was closed before anything came."""


class _Head(NamedTuple):
    """What the head of an answer says of its body and of the connection."""
    status: int
    length: Optional[int]
    is_chunked: bool
    keeps_alive: bool


class Line:
    """A connection, and at most one answer that is being read from it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.before_read: Callable[[], None] = lambda: None
        """Called before each wait for more: raises when an answer takes too long as a whole."""
        self._buffer = b''
        self._head = _Head(0, 0, False, True)
        self._is_complete = True

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, head: bytes, body: bytes) -> None:
        """Send one request, in one piece."""
        self._is_complete = False
        self.sock.sendall(b'%sContent-Length: %d\r\n\r\n%s' % (head, len(body), body))

    def read_status(self) -> int:
        """Read the head of the answer; its status."""
        while True:
            self._head = self._read_head()
            if self._head.status >= 200:
                return self._head.status

    @property
    def is_read(self) -> bool:
        """Whether nothing is left of the answer before, and nothing came behind it."""
        return self._is_complete and not self._buffer

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow once the answer has been read."""
        return self._head.keeps_alive

    def read_chunks(self) -> Iterator[bytes]:
        """The body, some hundred kilobytes at a time; NotHttp when it breaks off."""
        if self._head.is_chunked:
            chunks = self._read_chunked()
        elif self._head.length is None:
            chunks = self._read_until_closed()
        else:
            chunks = self._read_length(self._head.length)
        for chunk in chunks:
            yield chunk
        self._is_complete = True

    def _read_head(self) -> _Head:
        end = _END_OF_HEAD.search(self._buffer)
        while end is None:
            if len(self._buffer) > _MAX_HEAD:
                raise NotHttp('a head without an end')
            if not self._receive():
                if self._buffer:
                    raise NotHttp('a head that breaks off: %r' % self._buffer[:80])
                raise Disconnected('the connection was closed without an answer')
            end = _END_OF_HEAD.search(self._buffer, 0, _MAX_HEAD + 4)
        head, self._buffer = self._buffer[:end.start() + 2], self._buffer[end.end():]
        return _parse_head(head)

    def _read_length(self, length: int) -> Iterator[bytes]:
        while length:
            chunk = self._take(min(length, _RECEIVE_BYTES))
            length -= len(chunk)
            yield chunk

    def _read_chunked(self) -> Iterator[bytes]:
        while True:
            size = _parse_size(self._take_line())
            if size == 0:
                break
            for chunk in self._read_length(size):
                yield chunk
            self._take_line()
        while self._take_line():
            continue  # trailers say nothing to us

    def _read_until_closed(self) -> Iterator[bytes]:
        while self._buffer or self._receive():
            chunk, self._buffer = self._buffer, b''
            yield chunk

    def _take(self, length: int) -> bytes:
        """So many bytes."""
        if len(self._buffer) < length:
            parts, missing = [self._buffer], length - len(self._buffer)
            self._buffer = b''
            while missing:
                self.before_read()
                part = self.sock.recv(missing)
                if not part:
                    raise NotHttp('the answer breaks off, %d bytes short' % missing)
                parts.append(part)
                missing -= len(part)
            return b''.join(parts)
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _take_line(self) -> bytes:
        while True:
            line, ending, rest = self._buffer.partition(b'\n')
            if ending:
                self._buffer = rest
                return line.rstrip(b'\r')
            if len(self._buffer) > _MAX_HEAD:
                raise NotHttp('a chunk without a size')
            if not self._receive():
                raise NotHttp('the answer breaks off between two chunks')

    def _receive(self) -> bool:
        """More bytes into the buffer; False when the other side has closed."""
        self.before_read()
        data = self.sock.recv(_AHEAD_BYTES)
        self._buffer = self._buffer + data if self._buffer else data
        return bool(data)


def open_unix(path: str, connect_seconds: float, timeout_seconds: float) -> socket.socket:
    """Connect to a Unix socket, with an end; the path is taken as it is, underscores included."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        return _connected(sock, lambda: sock.connect(path), connect_seconds, timeout_seconds)
    except OSError as error:
        if error.errno is None:
            raise
        # The kernel does not say which socket it was.
        raise OSError(error.errno, error.strerror, path) from error


def open_tcp(host: str, port: int, connect_seconds: float,
             timeout_seconds: float) -> socket.socket:
    """Connect over TCP, with an end."""
    sock = socket.create_connection((host, port), connect_seconds)
    return _connected(sock, lambda: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                      connect_seconds, timeout_seconds)


def _connected(sock: socket.socket, connect: Callable[[], object], connect_seconds: float,
               timeout_seconds: float) -> socket.socket:
    try:
        sock.settimeout(min(connect_seconds, timeout_seconds))
        connect()
        sock.settimeout(timeout_seconds)
    except BaseException:
        sock.close()
        raise
    return sock


def _parse_head(head: bytes) -> _Head:
    status = _STATUS.match(head)
    if status is None:
        raise NotHttp('no answer of HTTP: %r' % head[:80])
    fields = {name.lower(): value.lower() for name, value in _HEADER.findall(head)}
    is_chunked = b'chunked' in fields.get(b'transfer-encoding', b'')
    length = None if is_chunked else _parse_length(fields.get(b'content-length'))
    connection = fields.get(b'connection', b'')
    keeps_alive = b'close' not in connection and (
        status.group(1) == b'1' or b'keep-alive' in connection)
    number = int(status.group(2))
    if number < 200 or number in (204, 304):
        length = 0
    return _Head(number, length, is_chunked, keeps_alive and (is_chunked or length is not None))


def _parse_length(text: Optional[bytes]) -> Optional[int]:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise NotHttp('a content-length that is no number: %r' % text[:40])
    return int(text)


def _parse_size(line: bytes) -> int:
    if not _SIZE.match(line):
        raise NotHttp('a chunk whose size is no number: %r' % line[:40])
    return int(line.partition(b';')[0], 16)
