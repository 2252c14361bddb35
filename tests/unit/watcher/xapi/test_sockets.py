"""Sockets that do not block: whoever does not answer, is not there, or is not who it says."""

import contextlib
import errno
import http.server
import json
import os
import socket
import ssl
import threading
import time

import pytest

from tests.support.serving import serving
from tests.support.waiting import LOADED
from watcher.config.settings import XapiSettings
from watcher.errors import XapiUnreachable
from watcher.loop.loop import Loop
from watcher.loop.steps import FOREVER, pause, run
from watcher.xapi import sockets
from watcher.xapi.blocking_client import BlockingClient
from watcher.xapi.sockets import open_tcp, open_unix, start_tls

# Of nobody: made for these tests, for the name localhost and a hundred years.
CERTIFICATE = '''\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxWfziBXE9JmQM7MI
ZabbjM92sxm+uTO29mphSFXb7M+hRANCAAQGwUQ7bQv3BV18yaneh43oEr5lgrfI
M64ZatuqK4fwUCBLbT+8/PfQekiQjVKjgTTXbBFAWfbDtVfmrbvDa+q6
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUMWgdM/xqrRpyRE6a7sdweSwUjBQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTIyMDUyM1oYDzIxMjYxMTA1
MjIwNTIzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQGwUQ7bQv3BV18yaneh43oEr5lgrfIM64ZatuqK4fwUCBLbT+8/PfQ
ekiQjVKjgTTXbBFAWfbDtVfmrbvDa+q6o2kwZzAdBgNVHQ4EFgQUo79yfV7m8NlJ
VAVtpllJpJlLBFswHwYDVR0jBBgwFoAUo79yfV7m8NlJVAVtpllJpJlLBFswDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgUk80jsMYFNt0UsAB5eeR7O7XLMp2fz1hywWLeQ91Jz0CIQDwH0Vpl/Px
4W7mmIDrdA/ls6R1mTWOT5bddMMw7SkrcA==
-----END CERTIFICATE-----
'''
LOCAL = '127.0.0.1'


def soon(seconds=0.2):
    return time.monotonic() + seconds


@pytest.fixture
def sockets_closed(monkeypatch):
    """Whatever was opened by the code under test is closed when a test asks."""
    opened = []

    class Noted(socket.socket):
        """A socket that is noted."""

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.append(self)
    monkeypatch.setattr(sockets.socket, 'socket', Noted)
    yield lambda: [sock.fileno() for sock in opened] == [-1] * len(opened) and bool(opened)
    for sock in opened:
        sock.close()


# Unix.

@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'xapi_socket')


@pytest.fixture
def listener(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(path)
        sock.listen(0)
        yield sock


@pytest.fixture
def full(listener, path):
    """The listener, with so many in its queue that no more fit into it."""
    waiting = []
    with contextlib.ExitStack() as stack:
        while True:
            waiting.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(path)
            except BlockingIOError:
                break
        yield listener


def test_unix_socket_is_opened_and_does_not_block(listener, path):
    with run(open_unix(path, FOREVER)) as sock:
        connection, _address = listener.accept()
        with connection:
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            connection.sendall(b'x')
            assert sock.recv(1) == b'x'


def test_full_queue_is_waited_for(full, path):
    loop, opened = Loop(), []
    loop.start('open', open_unix(path, FOREVER), opened.append)
    for _turn in range(3):
        assert loop.turn(60.0) and not opened
    accepted = []
    while not opened:
        # Whoever gave up before is in the queue no more.
        with contextlib.suppress(BlockingIOError):
            full.setblocking(False)
            accepted.append(full.accept()[0])
        loop.turn(60.0)
    opened[0].close()
    for connection in accepted:
        connection.close()


def test_full_queue_is_not_waited_for_longer_than_said(full, path, sockets_closed):
    began_at = time.monotonic()
    with pytest.raises(socket.timeout):
        run(open_unix(path, soon(0.1)))
    assert 0.1 <= time.monotonic() - began_at < 5.0 * LOADED
    assert sockets_closed()


def test_full_queue_keeps_nobody_else_from_going_on(full, path):
    loop, ended, paused = Loop(), [], []

    def open_late():
        with pytest.raises(socket.timeout):
            yield from open_unix(path, soon(0.3))

    def go_on():
        while not ended:
            yield from pause(0.01)
            paused.append(1)
    loop.start('open', open_late(), ended.append)
    loop.start('go on', go_on())
    while not ended:
        loop.turn(60.0)
    assert len(paused) >= 5


def test_who_is_ended_while_the_queue_is_full_leaves_no_socket(full, path, sockets_closed):
    loop = Loop()
    loop.start('open', open_unix(path, FOREVER))
    assert not sockets_closed()
    loop.close()
    assert sockets_closed()


@pytest.mark.parametrize('is_there', [False, True], ids=['missing', 'no-listener'])
def test_socket_that_nobody_listens_on_is_named(path, is_there, sockets_closed):
    if is_there:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(path)
    with pytest.raises(ConnectionRefusedError if is_there else FileNotFoundError, match=path):
        run(open_unix(path, FOREVER))
    assert sockets_closed()


def test_path_that_is_too_long_for_a_socket_is_an_error_of_the_system(sockets_closed):
    with pytest.raises(OSError, match='too long'):
        run(open_unix('/' + 'x' * 200, FOREVER))
    assert sockets_closed()


# TCP.

@pytest.fixture
def port():
    """A port that nobody listens on, and that nobody else is given."""
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        yield sock.getsockname()[1]


@pytest.fixture
def server():
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        sock.listen(5)
        yield sock


@pytest.fixture
def deaf():
    """A port that answers no more: its queue is full, and what comes is dropped."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((LOCAL, 0))
        sock.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.1)
            try:
                waiting.connect(sock.getsockname())
            except socket.timeout:
                break
        yield sock.getsockname()[1]


@pytest.fixture
def have_addresses(monkeypatch):
    """Have a name stand for these addresses."""
    def have(*addresses):
        monkeypatch.setattr(sockets, '_list_addresses', lambda *_asked: addresses)
    return have


def is_connected(sock, server):
    with sock, server.accept()[0] as connection:
        connection.sendall(b'x')
        sock.setblocking(True)
        return sock.recv(1) == b'x' and bool(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_address_is_connected_to_without_a_thread(server, monkeypatch):
    monkeypatch.setattr(threading.Thread, 'start', lambda _thread: pytest.fail('a thread'))
    sock = run(open_tcp(*server.getsockname(), FOREVER))
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    assert is_connected(sock, server)


def test_port_that_refuses_is_told(port, sockets_closed):
    with pytest.raises(ConnectionRefusedError):
        run(open_tcp(LOCAL, port, FOREVER))
    assert sockets_closed()


def test_port_that_does_not_answer_is_given_up(deaf, sockets_closed):
    began_at = time.monotonic()
    with pytest.raises(socket.timeout):
        run(open_tcp(LOCAL, deaf, soon(0.2)))
    assert 0.2 <= time.monotonic() - began_at < 5.0 * LOADED
    assert sockets_closed()


def test_who_is_ended_while_a_port_does_not_answer_leaves_no_socket(deaf, sockets_closed):
    loop = Loop()
    loop.start('open', open_tcp(LOCAL, deaf, FOREVER))
    assert not sockets_closed()
    loop.close()
    assert sockets_closed()


def test_second_address_is_tried_when_the_first_refuses(port, server, have_addresses):
    have_addresses((socket.AF_INET, (LOCAL, port)), (socket.AF_INET, server.getsockname()))
    assert is_connected(run(open_tcp('xapi', 443, FOREVER)), server)


def test_second_address_has_its_time_when_the_first_does_not_answer(deaf, server, have_addresses):
    have_addresses((socket.AF_INET, (LOCAL, deaf)), (socket.AF_INET, server.getsockname()))
    began_at = time.monotonic()
    steps = open_tcp('xapi', 443, began_at + 60.0)
    assert next(steps).until < began_at + 30.0 + LOADED
    with pytest.raises(StopIteration) as caught:
        second = steps.send(False)
        assert second.until == began_at + 60.0
        steps.send(True)  # on one host a connection is there at once
    assert is_connected(caught.value.value, server)


def test_second_address_is_tried_when_this_host_cannot_speak_to_the_first(server, have_addresses,
                                                                          monkeypatch):
    """Where IPv6 is switched off, names have addresses of it all the same."""
    really_build = socket.socket

    def build(family, *options):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, 'Address family not supported by protocol')
        return really_build(family, *options)
    have_addresses((socket.AF_INET6, ('::1', 443, 0, 0)), (socket.AF_INET, server.getsockname()))
    monkeypatch.setattr(sockets.socket, 'socket', build)
    opened = run(open_tcp('xapi', 443, FOREVER))
    monkeypatch.undo()
    assert is_connected(opened, server)


def test_what_the_last_address_says_is_told(port, deaf, have_addresses):
    have_addresses((socket.AF_INET, (LOCAL, deaf)), (socket.AF_INET, (LOCAL, port)))
    with pytest.raises(ConnectionRefusedError):
        run(open_tcp('xapi', 443, soon(0.2)))


def test_name_without_an_address_is_an_error(have_addresses):
    have_addresses()
    with pytest.raises(OSError, match='xapi has no address'):
        run(open_tcp('xapi', 443, FOREVER))


# Names.

def test_name_is_looked_up(server):
    assert is_connected(run(open_tcp('localhost', server.getsockname()[1], FOREVER)), server)


@pytest.fixture
def slow_name(monkeypatch):
    """A name that is not found, for as long as nobody lets it be; the event that does."""
    may_answer = threading.Event()

    def list_addresses(_host, _port, flags):
        if not flags:
            may_answer.wait(60.0)
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    monkeypatch.setattr(sockets, '_list_addresses', list_addresses)
    yield may_answer
    may_answer.set()


def list_threads():
    return [thread for thread in threading.enumerate() if thread.name == 'question']


def test_name_that_is_not_found_is_told(slow_name):
    slow_name.set()
    with pytest.raises(socket.gaierror, match='not known'):
        run(open_tcp('nobody.invalid', 443, FOREVER))


def test_name_that_is_looked_up_for_long_holds_up_nobody_and_is_given_up(slow_name, monkeypatch):
    pipes, really_open = [], os.pipe

    def open_pipe():
        pipes.extend(really_open())
        return pipes[-2:]
    loop, errors, paused = Loop(), [], []

    def look_up():
        try:
            yield from open_tcp('slow.invalid', 443, soon(0.3))
        except socket.timeout as error:
            errors.append(str(error))

    def go_on():
        while not errors:
            yield from pause(0.01)
            paused.append(1)
    monkeypatch.setattr(os, 'pipe', open_pipe)
    loop.start('look up', look_up())
    loop.start('go on', go_on())
    while not errors:
        loop.turn(60.0)
    assert errors == ['the name slow.invalid was not found in time'] and len(paused) >= 5
    thread, = list_threads()
    slow_name.set()
    thread.join(60.0)
    for descriptor in pipes:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_end_of_the_process_waits_for_no_name(slow_name):
    steps = open_tcp('slow.invalid', 443, FOREVER)
    next(steps)
    assert [thread.daemon for thread in list_threads()] == [True]
    steps.close()
    slow_name.set()
    for thread in list_threads():
        thread.join(60.0)


# TLS.

TEXT = 'x' * 1000000


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers every call by JSON-RPC with a long text."""

    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': TEXT}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Say nothing."""


class Server(http.server.HTTPServer):
    """Counts connections, and says nothing of those that end in the handshake."""

    connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def handle_error(self, _request, _address):
        """Say nothing."""


@pytest.fixture
def certificate(tmp_path):
    path = tmp_path / 'certificate.pem'
    path.write_text(CERTIFICATE)
    return str(path)


@pytest.fixture
def tls_server(certificate):
    server = Server((LOCAL, 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, 'PROTOCOL_TLS_SERVER')
                             else ssl.PROTOCOL_TLS)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


@pytest.fixture
def build_client():
    clients = []

    def build(host, port, timeout_seconds=30.0, **fields):
        settings = XapiSettings(url='https://%s:%d' % (host, port), **fields)
        clients.append(BlockingClient(settings, handle='OpaqueRef:session', speaks_json=True,
                                      timeout_seconds=timeout_seconds))
        return clients[-1]
    yield build
    for client in clients:
        client.close()


@pytest.mark.parametrize('verify_tls', [False, True])
def test_calls_are_answered_over_tls(tls_server, build_client, certificate, monkeypatch,
                                     verify_tls):
    if verify_tls:
        monkeypatch.setenv('SSL_CERT_FILE', certificate)
    client = build_client('localhost', tls_server.server_port, verify_tls=verify_tls)
    for _call in range(3):
        assert client.call('VM.get_name_label', 'OpaqueRef:vm') == TEXT
    assert tls_server.connections == 1


@pytest.mark.parametrize('host, is_trusted', [('localhost', False), (LOCAL, True)],
                         ids=['unknown', 'of-another-name'])
def test_certificate_that_proves_nothing_is_refused(tls_server, build_client, certificate,
                                                    monkeypatch, host, is_trusted):
    if is_trusted:
        monkeypatch.setenv('SSL_CERT_FILE', certificate)
    client = build_client(host, tls_server.server_port, verify_tls=True)
    with pytest.raises(XapiUnreachable, match='(?i)certificate'):
        client.call('VM.get_name_label', 'OpaqueRef:vm')


def test_handshake_that_is_not_answered_is_given_up(server, build_client):
    client, began_at = build_client(*server.getsockname(), timeout_seconds=0.3), time.monotonic()
    with pytest.raises(XapiUnreachable, match='timed out'):
        client.call('VM.get_name_label', 'OpaqueRef:vm')
    assert 0.3 <= time.monotonic() - began_at < 5.0 * LOADED


@pytest.mark.parametrize('ending', ['late', 'closed', 'ended'])
def test_handshake_that_fails_leaves_no_socket(ending):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    descriptor = ours.fileno()
    steps = start_tls(ours, 'localhost', verify=False, until=soon(0.0))
    with theirs:
        if ending == 'ended':
            next(steps)
            steps.close()
        else:
            if ending == 'closed':
                theirs.shutdown(socket.SHUT_RDWR)
            with pytest.raises(OSError):
                run(steps)
    with pytest.raises(OSError):
        os.fstat(descriptor)
