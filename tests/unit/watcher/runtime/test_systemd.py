"""Notification of the service manager, over real datagram sockets."""

import os
import socket

import pytest

from watcher.runtime.systemd import MAX_STATUS_CHARACTERS, Notifier


@pytest.fixture(params=['path', 'abstract'])
def manager(request, tmp_path):
    """A service manager's socket: (receive, environment)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = '@vgpu-test-%d' % os.getpid() if request.param == 'abstract' else str(
            tmp_path / 'notify')
        receiver.bind('\0' + name[1:] if name.startswith('@') else name)
        receiver.settimeout(5)
        yield lambda: receiver.recv(4096).decode('utf-8'), {'NOTIFY_SOCKET': name}


class Clock:
    """A clock that stands still until told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize('send, message', [
    pytest.param(lambda notifier: notifier.ready(), 'READY=1', id='ready'),
    pytest.param(lambda notifier: notifier.stopping(), 'STOPPING=1', id='stopping'),
    pytest.param(lambda notifier: notifier.watchdog(), 'WATCHDOG=1', id='watchdog'),
    pytest.param(lambda notifier: notifier.status('watching since 12:00'),
                 'STATUS=watching since 12:00', id='status'),
    pytest.param(lambda notifier: notifier.status('a\nREADY=1\r\x00b\ud800'),
                 'STATUS=a READY=1 b?', id='status-of-several-lines-stays-one-line'),
    pytest.param(lambda notifier: notifier.status('x' * 9999),
                 'STATUS=' + 'x' * MAX_STATUS_CHARACTERS, id='long-status-is-cut'),
])
def test_message_reaches_the_service_manager(manager, send, message):
    receive, environ = manager
    send(Notifier(environ))
    assert receive() == message


def test_watchdog_is_throttled_however_often_it_is_called(manager):
    receive, environ = manager
    clock = Clock()
    notifier = Notifier(dict(environ, WATCHDOG_USEC='4000000'), clock=clock)
    for now in (100.0, 100.5, 101.9, 102.0, 102.1):
        clock.now = now
        notifier.watchdog()
    notifier.stopping()
    assert [receive() for _message in range(3)] == ['WATCHDOG=1', 'WATCHDOG=1', 'STOPPING=1']


@pytest.mark.parametrize('environ', [
    pytest.param({}, id='no-socket'),
    pytest.param({'NOTIFY_SOCKET': ''}, id='empty'),
    pytest.param({'NOTIFY_SOCKET': '/no/such/socket'}, id='nobody-there'),
    pytest.param({'NOTIFY_SOCKET': 'relative'}, id='relative'),
    pytest.param({'NOTIFY_SOCKET': '/' + 'x' * 500}, id='too-long'),
    pytest.param({'NOTIFY_SOCKET': 'vsock:2:1'}, id='another-family'),
])
def test_without_somebody_who_listens_nothing_is_raised(environ):
    notifier = Notifier(environ)
    assert [notifier.ready(), notifier.status('x'), notifier.watchdog(),
            notifier.stopping()] == [None] * 4


def test_full_queue_does_not_block(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / 'notify'))
        notifier = Notifier({'NOTIFY_SOCKET': str(tmp_path / 'notify')})
        for _message in range(2000):
            notifier.ready()
        assert receiver.recv(100) == b'READY=1'


@pytest.mark.parametrize('environ, seconds', [
    pytest.param({}, None, id='none'),
    pytest.param({'WATCHDOG_USEC': '60000000'}, 30.0, id='half-of-it'),
    pytest.param({'WATCHDOG_USEC': '60000000', 'WATCHDOG_PID': str(os.getpid())}, 30.0, id='ours'),
    pytest.param({'WATCHDOG_USEC': '60000000', 'WATCHDOG_PID': '1'}, None, id='another-process'),
    pytest.param({'WATCHDOG_USEC': '0'}, None, id='zero'),
    pytest.param({'WATCHDOG_USEC': '-5'}, None, id='negative'),
    pytest.param({'WATCHDOG_USEC': 'soon'}, None, id='no-number'),
    pytest.param({'WATCHDOG_USEC': '1000', 'WATCHDOG_PID': 'x'}, None, id='no-process-number'),
])
def test_watchdog_interval_is_half_of_what_the_manager_allows(environ, seconds):
    assert Notifier(environ).watchdog_interval_seconds == seconds


def test_ready_that_found_no_room_is_said_again(tmp_path):
    """Many services are started while a host boots, and those behind us wait for it."""
    clock = Clock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / 'notify'))
        receiver.setblocking(False)
        notifier = Notifier({'NOTIFY_SOCKET': str(tmp_path / 'notify')}, clock=clock)
        for number in range(2000):
            notifier.status(str(number))
        notifier.ready()
        assert not any('READY' in message for message in take_all(receiver))
        for _ in range(3):
            clock.now += 60
            notifier.watchdog()
        assert take_all(receiver) == ['READY=1'] + 3 * ['WATCHDOG=1']


def take_all(receiver):
    messages = []
    try:
        while True:
            messages.append(receiver.recv(4096).decode('ascii'))
    except BlockingIOError:
        return messages
