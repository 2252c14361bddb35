"""One kept-alive HTTP/1.1 connection: a request is one `send`, and its answer is read in parts.

Stands under `connection.py`, on a socket that does not block. The standard library's client sends
head and body one after the other and parses the answer's head as if it were a mail; on the way from
an event to the write that it needs, that was half of the time, and importing it takes a command as
long as its work.
What comes off the wire is input: every length has a bound, and what is not HTTP is NotHttp.
"""

import socket
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

from watcher.loop.steps import READ, WRITE, Steps

# Heads of XAPI have a few hundred bytes.
_MAX_HEAD = 64 * 1024
_RECEIVE_BYTES = 256 * 1024
# Of what is read ahead: more, and each answer has memory mapped and given back.
_AHEAD_BYTES = 64 * 1024
# Longer than any line between two chunks.
_MAX_LINE = 4096
_MAX_SIZE_DIGITS = 15
_BETWEEN = 'a line between two chunks'
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

    def __init__(self, sock: socket.socket, wait: Callable[[socket.socket, int], Steps[None]],
                 would_block: Tuple[Type[Exception], ...] = (BlockingIOError,)) -> None:
        self.sock = sock
        self._wait = wait
        """Waits for the socket, and raises when a call takes too long as a whole."""
        self._would_block = would_block
        self._buffer = bytearray()
        self._at = 0
        self._left = 0
        """Of the body, or of its chunk that is being read."""
        self._has_begun = False
        self._head = _Head(0, 0, False, True)
        self._is_complete = True

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, head: bytes, body: bytes) -> Steps[None]:
        """Send one request, in one piece where the kernel takes it."""
        self._is_complete = self._has_begun = False
        data = b'%sContent-Length: %d\r\n\r\n%s' % (head, len(body), body)
        sent = 0
        while sent < len(data):
            try:
                sent += self.sock.send(data[sent:] if sent else data)
            except self._would_block:
                yield from self._wait(self.sock, WRITE)

    def read_status(self) -> Steps[int]:
        """Read the head of the answer; its status."""
        while True:
            self._head = yield from self._read_head()
            if self._head.status >= 200:
                self._left = self._head.length or 0
                return self._head.status

    @property
    def is_read(self) -> bool:
        """Whether nothing is left of the answer before, and nothing came behind it."""
        return self._is_complete and self._at == len(self._buffer)

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow once the answer has been read."""
        return self._head.keeps_alive

    def read_part(self) -> Steps[bytes]:
        """More of the body, some hundred kilobytes at most; b'' at its end.

        NotHttp when it breaks off.
        """
        if self._head.is_chunked:
            part = yield from self._read_chunk()
        elif self._head.length is None:
            if self._at == len(self._buffer):
                yield from self._receive()
            part = self._take_buffered(len(self._buffer) - self._at)
        else:
            part = yield from self._take_left()
        self._is_complete = not part
        return part

    def _read_head(self) -> Steps[_Head]:
        lines: List[bytes] = []
        size = 0
        while True:
            line = yield from self._take_line(_MAX_HEAD - size, 'a head')
            size += len(line) + 2
            if not line:
                return _parse_head(lines)
            lines.append(line)

    def _read_chunk(self) -> Steps[bytes]:
        if not self._left:
            self._left = _parse_size((yield from self._take_line(_MAX_LINE, _BETWEEN)))
            if not self._left:
                while (yield from self._take_line(_MAX_LINE, 'a trailer')):
                    continue  # trailers say nothing to us
                return b''
        part = yield from self._take_left()
        if not self._left:
            yield from self._take_line(_MAX_LINE, _BETWEEN)
        return part

    def _take_left(self) -> Steps[bytes]:
        """As many of the bytes that are left as are taken at once."""
        length = min(self._left, _RECEIVE_BYTES)
        parts = [self._take_buffered(min(length, len(self._buffer) - self._at))]
        missing = length - len(parts[0])
        while missing:
            part = yield from self._receive_bytes(missing)
            if not part:
                raise NotHttp(f'the answer breaks off, {missing} bytes short')
            parts.append(part)
            missing -= len(part)
        self._left -= length
        return b''.join(parts)

    def _take_buffered(self, length: int) -> bytes:
        taken = bytes(self._buffer[self._at:self._at + length])
        self._at += length
        return taken

    def _take_line(self, most: int, what: str) -> Steps[bytes]:
        """One line, without its end; each byte is looked at once, however slowly they come."""
        looked_at = self._at
        while True:
            end = self._buffer.find(b'\n', looked_at)
            if (len(self._buffer) if end < 0 else end) - self._at > most:
                raise NotHttp(f'{what} without an end')
            if end >= 0:
                line = self._take_buffered(end - self._at)
                self._at += 1
                return line[:-1] if line.endswith(b'\r') else line
            looked_at = len(self._buffer) - self._at
            if not (yield from self._receive()):
                self._raise_broken_off(what)

    def _raise_broken_off(self, what: str) -> None:
        if what == 'a head' and not self._buffer and not self._has_begun:
            raise Disconnected('the connection was closed without an answer')
        raise NotHttp(f'{what} that breaks off: {bytes(self._buffer[:80])!r}')

    def _receive(self) -> Steps[bool]:
        """More bytes behind those that are left; False when the other side has closed."""
        del self._buffer[:self._at]
        self._at = 0
        data = yield from self._receive_bytes(_AHEAD_BYTES)
        self._buffer += data
        self._has_begun = self._has_begun or bool(data)
        return bool(data)

    def _receive_bytes(self, most: int) -> Steps[bytes]:
        """What has come; waited for each time, so that no answer keeps others waiting."""
        while True:
            yield from self._wait(self.sock, READ)
            try:
                return self.sock.recv(most)
            except self._would_block:
                continue


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
        raise NotHttp(f'no answer of HTTP: {line[:80]!r}')
    return protocol[-1:], int(status)


def _parse_length(text: Optional[bytes]) -> Optional[int]:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise NotHttp(f'a content-length that is no number: {text[:40]!r}')
    return int(text)


def _parse_size(line: bytes) -> int:
    text = line.partition(b';')[0].rstrip(b' \t')
    if not 1 <= len(text) <= _MAX_SIZE_DIGITS or not _HEX_DIGITS.issuperset(text):
        raise NotHttp(f'a chunk whose size is no number: {line[:40]!r}')
    return int(text, 16)
