"""HTTP as XAPI speaks it: POST only, Content-Length mandatory, connections kept for ever."""

import socket
import struct
from typing import Any, BinaryIO, Dict, NamedTuple, Optional

BODY_LIMIT = 300 * 1024
TCP_HEADER_LIMIT = 1024
UNIX_HEADER_LIMIT = 64 * 1024
ERROR_PAGE = (b'<html><body><h1>HTTP 500 internal server error</h1>An unexpected error occurred; '
              b'please wait a while and try again. If the problem persists, please contact your '
              b'support representative.<h1> Additional information </h1></body></html>')
REASONS = {200: 'OK', 400: 'Bad Request', 403: 'Forbidden', 404: 'Not Found',
           411: 'Length Required', 413: 'Request Entity Too Large',
           431: 'Request Header Fields Too Large', 500: 'Internal Server Error'}


class Request(NamedTuple):
    """One request."""
    method: str
    path: str
    headers: Dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Ask whether another request may follow on the connection."""
        return self.headers.get('connection', 'keep-alive').lower() != 'close'


class Refused(Exception):
    """A request that is answered with a status of HTTP and the end of the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read_request(stream: BinaryIO, header_limit: int) -> Optional[Request]:
    """Read one request; None when the client has closed the connection."""
    line = stream.readline(header_limit + 1)
    if not line:
        return None
    words = line.decode('latin-1').split()
    if len(words) != 3:
        raise Refused(400)
    headers = _read_headers(stream, header_limit - len(line))
    if words[0] != 'POST':
        raise Refused(404 if words[0] == 'GET' else 400)
    length = headers.get('content-length', '')
    if not length.isdigit():
        raise Refused(411)
    if int(length) > BODY_LIMIT:
        raise Refused(413)
    body = stream.read(int(length))
    if len(body) < int(length):
        return None
    return Request(words[0], words[1], headers, body)


def render_response(status: int, body: bytes, content_type: str, keep: bool) -> bytes:
    """Render status line, headers and body."""
    return ('HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: {}\r\ncache-control: no-cache, '
            'no-store\r\ncontent-type: {}\r\n\r\n').format(
                status, REASONS[status], len(body), 'keep-alive' if keep else 'close',
                content_type).encode('ascii') + body


def reset(connection: socket.socket) -> None:
    """Close a connection with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


def shut(connection: Any) -> None:
    """Close a socket so that a thread that is blocked on it wakes up."""
    for act in (lambda: connection.shutdown(socket.SHUT_RDWR), connection.close):
        try:
            act()
        except OSError:
            continue


def _read_headers(stream: BinaryIO, limit: int) -> Dict[str, str]:
    headers: Dict[str, str] = {}
    while True:
        line = stream.readline(limit + 1)
        limit -= len(line)
        if limit < 0:
            raise Refused(431)
        text = line.decode('latin-1').strip()
        if not text:
            return headers
        name, _, value = text.partition(':')
        headers[name.strip().lower()] = value.strip()
