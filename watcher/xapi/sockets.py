"""Sockets to XAPI that do not block: opened, over TLS too, before a time on the monotonic clock.

Each function gives steps, and raises OSError.
"""

import errno
import os
import socket
import time
from typing import Any, Sequence, Tuple, Type

from watcher.loop.blocking import ask
from watcher.loop.steps import READ, WRITE, Steps, Wait

# Where the queue of a Unix socket is full, nothing tells when it is not.
_QUEUE_FULL_SECONDS = 0.01


def open_unix(path: str, until: float) -> Steps[socket.socket]:
    """Connect to a Unix socket; the path is taken as it is, underscores included."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
                return sock
            except BlockingIOError:
                _check_time(until)
                yield Wait(min(until, time.monotonic() + _QUEUE_FULL_SECONDS))
    except OSError as error:
        sock.close()
        if error.errno is None:
            raise
        # The kernel does not say which socket it was.
        raise OSError(error.errno, error.strerror, path) from error
    except BaseException:
        sock.close()
        raise


def open_tcp(host: str, port: int, until: float) -> Steps[socket.socket]:
    """Connect over TCP, to the first address of the host that answers."""
    problem = OSError(f'{host} has no address')
    addresses = yield from _look_up(host, port, until)
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses):
        # One that does not answer leaves the others their share of the time.
        now = time.monotonic()
        try:
            return (yield from _connect(family, address, now + (until - now) / left))
        except OSError as error:
            problem = error
    raise problem


def start_tls(sock: socket.socket, host: str, *, verify: bool, until: float) -> Steps[Any]:
    """The socket, spoken over in TLS from now on; it is closed when that fails."""
    import ssl
    wrapped: Any = sock
    try:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLWantReadError:
                yield from _await(wrapped, READ, until)
            except ssl.SSLWantWriteError:
                yield from _await(wrapped, WRITE, until)
    except ssl.CertificateError as error:  # a ValueError
        wrapped.close()
        raise OSError(f'the certificate of XAPI is refused: {error}') from error
    except BaseException:
        wrapped.close()
        raise


def list_would_block(is_tls: bool) -> Tuple[Type[Exception], ...]:
    """What a socket raises that is not ready."""
    if not is_tls:
        return (BlockingIOError,)
    import ssl
    return BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError


def _connect(family: int, address: Any, until: float) -> Steps[socket.socket]:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        status = sock.connect_ex(address)
        if status == errno.EINPROGRESS:
            yield from _await(sock, WRITE, until)
            status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            raise OSError(status, os.strerror(status))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    except BaseException:
        sock.close()
        raise


def _look_up(host: str, port: int, until: float) -> Steps[Sequence[Tuple[int, Any]]]:
    """The addresses of a host; only a name has to be looked up."""
    try:
        return _list_addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    try:
        return (yield from ask(lambda: _list_addresses(host, port, 0), until))
    except socket.timeout:
        raise socket.timeout(f'the name {host} was not found in time') from None


def _list_addresses(host: str, port: int, flags: int) -> Sequence[Tuple[int, Any]]:
    return [(item[0], item[4]) for item in
            socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)]


def _await(sock: socket.socket, events: int, until: float) -> Steps[None]:
    if not (yield Wait(until, sock.fileno(), events)):
        raise socket.timeout('timed out')


def _check_time(until: float) -> None:
    if time.monotonic() >= until:
        raise socket.timeout('timed out')
