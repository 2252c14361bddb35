"""What must not be seen: passwords and sessions; and whom we talk to over TLS."""

import shutil
import socket
import ssl
import subprocess
import threading
from typing import Any, Callable, Iterator, Tuple

import pytest

from registry.values import Priority
from tests.integration.daemon.conftest import build_world as build_world  # noqa: F401
from tests.integration.daemon.world import World, span, wait_until
from watcher.config.settings import XapiSettings
from watcher.errors import XapiError, XapiUnreachable
from watcher.xapi.blocking_client import BlockingClient


def test_no_session_is_logged_open_or_refused(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    former = {call.session for call in world.xapi.calls}
    world.xapi.restart()
    current = wait_until(lambda: {call.session for call in world.xapi.calls
                                  if call.method == 'event.from'} - former, 'a new session')
    world.change(ref, priority=Priority.HIGH)
    world.wait_settled(ref, span(5, priority='high'))
    refused = world.xapi.add_fault('failure', method='VM.*', parameters={
        'code': 'SESSION_INVALID', 'params': sorted(former | current)})
    world.change(ref, priority=Priority.LOW)
    wait_until(lambda: 'SESSION_INVALID' in ' '.join(world.daemon.raw), 'a session is refused')
    world.xapi.faults.remove(refused)
    world.wait_settled(ref, span(5, priority='low'))
    assert world.daemon.stop() == 0
    sessions = {call.session for call in world.xapi.calls} - {None, ''}
    assert len(sessions) >= 3
    assert [line for line in world.daemon.raw for session in sessions if session in line] == []


def test_password_that_is_refused_is_not_logged(build_world: Callable[..., World]) -> None:
    world = build_world(listen=('127.0.0.1', 0), password='right')
    world.xapi.start()
    world.registry.create('test')
    with open(world.config_path + '.password', 'w', encoding='utf-8') as stream:
        stream.write('sesame\n')
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('unix:' + world.socket_path, 'http://%s:%d\npassword_file = %s'
                                  % (tuple(world.xapi.address) + (stream.name + '.password',))))
    world.daemon.start()
    world.daemon.wait_for('stream.broken')
    assert not any('sesame' in line for line in world.daemon.raw)


# TLS.

@pytest.fixture(scope='module')
def certificate(tmp_path_factory: Any) -> Tuple[str, str]:
    """A certificate that nobody has signed, and its key."""
    program = shutil.which('openssl')
    if program is None:
        pytest.skip('openssl makes the certificate')
    directory = tmp_path_factory.mktemp('tls')
    paths = str(directory / 'cert.pem'), str(directory / 'key.pem')
    subprocess.run([program, 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-out', paths[0], '-keyout', paths[1]], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return paths


class Impostor:
    """Answers TLS with a certificate of its own, and keeps what it is told."""

    def __init__(self, certificate: Tuple[str, str]) -> None:
        self.heard = b''
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._listening = socket.socket()
        self._listening.bind(('127.0.0.1', 0))
        self._listening.listen(1)
        self.url = 'https://localhost:%d' % self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait until it has heard everything."""
        self._thread.join(10.0)
        self._listening.close()

    def _serve(self) -> None:
        connection, _address = self._listening.accept()
        connection.settimeout(5.0)
        try:
            with self._context.wrap_socket(connection, server_side=True) as secured:
                while b'</methodCall>' not in self.heard:
                    data = secured.recv(65536)
                    if not data:
                        return
                    self.heard += data
        except OSError:
            return
        finally:
            connection.close()


@pytest.fixture
def impostor(certificate: Tuple[str, str]) -> Iterator[Impostor]:
    impostor = Impostor(certificate)
    yield impostor
    impostor.close()


@pytest.fixture
def password_path(tmp_path: Any) -> str:
    path = tmp_path / 'password'
    path.write_text('sesame\n')
    return str(path)


def log_in(impostor: Impostor, password_path: str, verify_tls: bool) -> None:
    client = BlockingClient(XapiSettings(impostor.url, 'root', password_path, verify_tls))
    try:
        client.login()
    finally:
        client.close()


def test_no_password_goes_to_whoever_cannot_show_a_certificate(
        impostor: Impostor, password_path: str) -> None:
    with pytest.raises(XapiUnreachable):
        log_in(impostor, password_path, True)
    impostor.close()
    assert impostor.heard == b''


def test_without_the_check_the_password_goes_to_anybody(
        impostor: Impostor, password_path: str) -> None:
    with pytest.raises(XapiError):
        log_in(impostor, password_path, False)
    impostor.close()
    assert b'sesame' in impostor.heard
