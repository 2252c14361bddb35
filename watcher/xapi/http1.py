"""One kept-alive HTTP/1.1 connection: a request is one `send`, and its answer is read in chunks.

Stands under `connection.py`. The standard library's client sends head and body one after the
other and parses the answer's head as if it were a mail; on the way from an event to the write
that it needs, that was half of the time, and importing it takes a command as long as its work.
What comes off the wire is input: every length has a bound, and what is not HTTP is NotHttp.
"""

import socket
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

# Heads of XAPI have a few hundred bytes.
_MAX_HEAD = 64 * 1024
_RECEIVE_BYTES = 256 * 1024
# Of what is read ahead: more, and each answer has memory mapped and given back.
_AHEAD_BYTES = 64 * 1024
# Longer than any line between two chunks.
_MAX_LINE = 4096
_MAX_SIZE_DIGITS = 15
_HEX_DIGITS = frozenset(b'0123456789abcdefABCDEF')
_FIELDS = frozenset([b'content-length', b'transfer-encoding', b'connection'])


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
        self._buffer = bytearray()
        self._at = 0
        self._has_begun = False
        self._head = _Head(0, 0, False, True)
        self._is_complete = True

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, head: bytes, body: bytes) -> None:
        """Send one request, in one piece."""
        self._is_complete = self._has_begun = False
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
        return self._is_complete and self._at == len(self._buffer)

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
        lines: List[bytes] = []
        size = 0
        while True:
            line = self._take_line(_MAX_HEAD - size, 'a head')
            size += len(line) + 2
            if not line:
                return _parse_head(lines)
            lines.append(line)

    def _read_length(self, length: int) -> Iterator[bytes]:
        while length:
            chunk = self._take(min(length, _RECEIVE_BYTES))
            length -= len(chunk)
            yield chunk

    def _read_chunked(self) -> Iterator[bytes]:
        while True:
            size = _parse_size(self._take_line(_MAX_LINE, 'a line between two chunks'))
            if size == 0:
                break
            for chunk in self._read_length(size):
                yield chunk
            self._take_line(_MAX_LINE, 'a line between two chunks')
        while self._take_line(_MAX_LINE, 'a trailer'):
            continue  # trailers say nothing to us

    def _read_until_closed(self) -> Iterator[bytes]:
        while self._at < len(self._buffer) or self._receive():
            yield self._take_buffered(len(self._buffer) - self._at)

    def _take(self, length: int) -> bytes:
        """So many bytes."""
        parts = [self._take_buffered(min(length, len(self._buffer) - self._at))]
        missing = length - len(parts[0])
        while missing:
            self.before_read()
            part = self.sock.recv(missing)
            if not part:
                raise NotHttp('the answer breaks off, %d bytes short' % missing)
            parts.append(part)
            missing -= len(part)
        return b''.join(parts)

    def _take_buffered(self, length: int) -> bytes:
        taken = bytes(self._buffer[self._at:self._at + length])
        self._at += length
        return taken

    def _take_line(self, most: int, what: str) -> bytes:
        """One line, without its end; each byte is looked at once, however slowly they come."""
        looked_at = self._at
        while True:
            end = self._buffer.find(b'\n', looked_at)
            if (len(self._buffer) if end < 0 else end) - self._at > most:
                raise NotHttp('%s without an end' % what)
            if end >= 0:
                line = self._take_buffered(end - self._at)
                self._at += 1
                return line[:-1] if line.endswith(b'\r') else line
            looked_at = len(self._buffer) - self._at
            if not self._receive():
                self._raise_broken_off(what)

    def _raise_broken_off(self, what: str) -> None:
        if what == 'a head' and not self._buffer and not self._has_begun:
            raise Disconnected('the connection was closed without an answer')
        raise NotHttp('%s that breaks off: %r' % (what, bytes(self._buffer[:80])))

    def _receive(self) -> bool:
        """More bytes behind those that are left; False when the other side has closed."""
        del self._buffer[:self._at]
        self._at = 0
        self.before_read()
        data = self.sock.recv(_AHEAD_BYTES)
        self._buffer += data
        self._has_begun = self._has_begun or bool(data)
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


def _parse_head(lines: Sequence[bytes]) -> _Head:
    version, number = _parse_status(lines[0] if lines else b'')
    fields: Dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b':')
        name = name.rstrip(b' \t').lower()
        if colon and name in _FIELDS:
            fields[name] = value.strip(b' \t').lower()
    is_chunked = b'chunked' in fields.get(b'transfer-encoding', b'')
    length = None if is_chunked else _parse_length(fields.get(b'content-length'))
    connection = fields.get(b'connection', b'')
    keeps_alive = b'close' not in connection and (
        version == b'1' or b'keep-alive' in connection)
    if number < 200 or number in (204, 304):
        length = 0
    return _Head(number, length, is_chunked, keeps_alive and (is_chunked or length is not None))


def _parse_status(line: bytes) -> Tuple[bytes, int]:
    """The minor version, and the status."""
    protocol, _blank, rest = line.partition(b' ')
    status = rest.partition(b' ')[0]
    if protocol not in (b'HTTP/1.0', b'HTTP/1.1') or len(status) != 3 or not status.isdigit():
        raise NotHttp('no answer of HTTP: %r' % line[:80])
    return protocol[-1:], int(status)


def _parse_length(text: Optional[bytes]) -> Optional[int]:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise NotHttp('a content-length that is no number: %r' % text[:40])
    return int(text)


def _parse_size(line: bytes) -> int:
    text = line.partition(b';')[0].rstrip(b' \t')
    if not 1 <= len(text) <= _MAX_SIZE_DIGITS or not _HEX_DIGITS.issuperset(text):
        raise NotHttp('a chunk whose size is no number: %r' % line[:40])
    return int(text, 16)
