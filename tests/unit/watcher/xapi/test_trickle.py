"""An answer that trickles, or stops half-way: the limit of a call is on the whole of it (P14)."""

import contextlib
import socket
import threading
import time

import pytest

from tests.support.waiting import LOADED
from watcher.config.settings import XapiSettings
from watcher.errors import XapiUnreachable
from watcher.xapi.client import Client

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n'
PAUSE_SECONDS = 0.02


@pytest.fixture(params=[PAUSE_SECONDS, 1000.0], ids=['trickles', 'stops'])
def url(tmp_path, request):
    """An XAPI that sends one byte after the other, or no more after the head."""
    path, is_over = str(tmp_path / 'xapi'), threading.Event()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(5)

    def trickle():
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(HEAD)
            while not is_over.wait(request.param):
                connection.sendall(b' ')

    thread = threading.Thread(target=trickle)
    thread.start()
    yield 'unix:' + path
    is_over.set()
    thread.join(10.0)
    listener.close()


@pytest.fixture
def build_client(url):
    clients = []

    def build(is_given_up=lambda: False, timeout_seconds=30.0):
        clients.append(Client(XapiSettings(url=url), handle='OpaqueRef:session',
                              timeout_seconds=timeout_seconds, is_given_up=is_given_up,
                              speaks_json=True))
        return clients[-1]
    yield build
    for client in clients:
        client.close()


@pytest.mark.parametrize('is_given_up', [lambda: False, None], ids=['call', 'long-poll'])
def test_limited_call_ends_in_its_time(build_client, is_given_up):
    client, began_at = build_client(is_given_up), time.monotonic()
    with client.limited(0.9), pytest.raises(XapiUnreachable):
        client.read_vm('OpaqueRef:1')
    assert 0.8 < time.monotonic() - began_at < 3.0 * LOADED


@pytest.mark.parametrize('is_given_up', [lambda: False, None], ids=['call', 'long-poll'])
def test_every_call_ends(build_client, is_given_up):
    began_at = time.monotonic()
    with pytest.raises(XapiUnreachable):
        build_client(is_given_up, timeout_seconds=0.5).read_vm('OpaqueRef:1')
    assert time.monotonic() - began_at < 3.0 * LOADED


def test_reading_all_vms_has_more_time_and_an_end_as_well(build_client):
    began_at = time.monotonic()
    client = build_client(timeout_seconds=0.3)
    with pytest.raises(XapiUnreachable):
        client.read_vms()
    assert 0.6 < time.monotonic() - began_at < 4.0 * LOADED
    with client.limited(0.2), pytest.raises(XapiUnreachable):
        client.read_vms()
    assert time.monotonic() - began_at < 5.0 * LOADED


def test_call_is_given_up_in_the_middle_of_its_answer(build_client):
    until = time.monotonic() + 0.3
    with pytest.raises(XapiUnreachable, match='given up'):
        build_client(lambda: time.monotonic() > until).read_vm('OpaqueRef:1')
