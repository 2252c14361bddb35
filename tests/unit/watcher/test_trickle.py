"""An answer that trickles: each byte comes in time, and the end never does."""

import contextlib
import socket
import threading
import time

import pytest

from watcher import transport
from watcher.config import XapiSettings
from watcher.errors import XapiUnreachable
from watcher.xapi import Client

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n'
PAUSE_SECONDS = 0.02


@pytest.fixture
def url(tmp_path):
    """An XAPI that sends one byte after the other."""
    path, is_over = str(tmp_path / 'xapi'), threading.Event()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(5)

    def trickle():
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(HEAD)
            while not is_over.wait(PAUSE_SECONDS):
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

    def build(is_given_up=lambda: False):
        clients.append(Client(XapiSettings(url=url), handle='OpaqueRef:session',
                              timeout_seconds=30.0, is_given_up=is_given_up, speaks_json=True))
        return clients[-1]
    yield build
    for client in clients:
        client.close()


def test_limited_call_ends_in_its_time(build_client):
    client, began_at = build_client(), time.monotonic()
    with client.limited(0.3), pytest.raises(XapiUnreachable, match='does not end'):
        client.read_vm('OpaqueRef:1')
    assert time.monotonic() - began_at < 10.0


def test_every_call_ends(build_client, monkeypatch):
    monkeypatch.setattr(transport, '_ANSWER_SECONDS', 0.3)
    with pytest.raises(XapiUnreachable, match='does not end'):
        build_client().read_vm('OpaqueRef:1')


def test_call_is_given_up_in_the_middle_of_its_answer(build_client):
    until = time.monotonic() + 0.3
    with pytest.raises(XapiUnreachable, match='given up'):
        build_client(lambda: time.monotonic() > until).read_vm('OpaqueRef:1')
