"""An answer that trickles, or stops half-way: the limit of a call is on the whole of it (P14)."""

import contextlib
import select
import socket
import threading
import time

import pytest

from tests.support.waiting import LOADED
from watcher.config.settings import XapiSettings
from watcher.errors import XapiUnreachable
from watcher.loop.loop import Loop
from watcher.loop.steps import pause
from watcher.xapi.blocking_client import BlockingClient

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n'
PAUSE_SECONDS = 0.02


@pytest.fixture
def is_answering():
    """Set once the head of an answer was sent."""
    return threading.Event()


@pytest.fixture(params=[PAUSE_SECONDS, 1000.0], ids=['trickles', 'stops'])
def url(tmp_path, request, is_answering):
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
            is_answering.set()
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

    def build(timeout_seconds=30.0, **options):
        clients.append(BlockingClient(XapiSettings(url=url), handle='OpaqueRef:session',
                                      timeout_seconds=timeout_seconds, speaks_json=True,
                                      **options))
        return clients[-1]
    yield build
    for client in clients:
        client.close()


def test_limited_call_ends_in_its_time(build_client):
    client, began_at = build_client(), time.monotonic()
    with client.limited(0.9), pytest.raises(XapiUnreachable):
        client.read_vm('OpaqueRef:1')
    assert 0.8 < time.monotonic() - began_at < 3.0 * LOADED


def test_every_call_ends(build_client):
    began_at = time.monotonic()
    with pytest.raises(XapiUnreachable):
        build_client(timeout_seconds=0.5).read_vm('OpaqueRef:1')
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


def test_call_ends_in_the_middle_of_its_answer_when_all_that_it_belongs_to_has_to(build_client):
    began_at = time.monotonic()
    with pytest.raises(XapiUnreachable, match='XAPI did not answer within'):
        build_client(ends_at=began_at + 0.3).read_vm('OpaqueRef:1')
    assert 0.2 < time.monotonic() - began_at < 3.0 * LOADED


def test_call_is_given_up_in_the_middle_of_its_answer(build_client, is_answering):
    loop, errors = Loop(), []

    def read():
        try:
            yield from build_client().steps.read_vm('OpaqueRef:1')
        except XapiUnreachable as error:
            errors.append(error)
    task = loop.start('read', read())
    while not is_answering.is_set():
        loop.turn(0.01)
    loop.turn(0.05)  # takes what has come
    given_up = XapiUnreachable('given up')
    loop.interrupt(task, given_up)
    loop.turn(0.0)
    assert errors == [given_up]


def test_others_go_on_meanwhile(build_client, is_answering):
    loop, ended = Loop(), []

    def read():
        with pytest.raises(XapiUnreachable):
            yield from build_client(timeout_seconds=0.6).steps.read_vm('OpaqueRef:1')

    def go_on():
        while not ended:
            yield from pause(0.01)
            turns.append(1)
    turns = []
    loop.start('read', read(), ended.append)
    loop.start('go on', go_on())
    while not ended:
        loop.turn(1.0)
    assert len(turns) >= 10


@pytest.mark.parametrize('url', [PAUSE_SECONDS], indirect=True, ids=['trickles'])
def test_call_ends_in_its_time_although_there_is_always_more_to_read(build_client):
    """Whoever runs the steps may find the socket ready each time."""
    began_at = time.monotonic()
    steps = build_client(timeout_seconds=0.5).steps.read_vm('OpaqueRef:1')
    wait = steps.send(None)
    with pytest.raises(XapiUnreachable):
        while time.monotonic() - began_at < 3.0 * LOADED:
            poller = select.poll()
            poller.register(wait.descriptor, wait.events)
            assert poller.poll(60000)
            wait = steps.send(True)
