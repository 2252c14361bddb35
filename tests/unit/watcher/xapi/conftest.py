"""Simulated XAPIs, and clients that wait for each of their calls."""

import pytest

from simulator.server import Simulator
from simulator.settings import Settings
from watcher.config.settings import XapiSettings
from watcher.loop.steps import FOREVER, run
from watcher.xapi.blocking_client import BlockingClient


class Blocking(BlockingClient):
    """Waits for each of the client's calls, those of the daemon alone too."""

    def __getattr__(self, name):
        steps = getattr(self.steps, name)
        return lambda *params, **options: run(steps(*params, **options))


@pytest.fixture
def build_simulator(tmp_path):
    """Start a simulated XAPI on a Unix socket whose path has an underscore in it."""
    simulators = []

    def build(**fields):
        fields.setdefault('socket_path', str(tmp_path / 'xapi_socket'))
        simulators.append(Simulator(Settings(**fields)))
        simulators[-1].start()
        return simulators[-1]
    yield build
    for simulator in simulators:
        simulator.stop()


@pytest.fixture
def simulator(build_simulator):
    return build_simulator()


@pytest.fixture
def build_client():
    """Build a client; all of them are closed at the end."""
    clients = []

    def build(url, handle=None, timeout_seconds=5.0, ends_at=FOREVER, **fields):
        clients.append(Blocking(XapiSettings(url=url, **fields), handle=handle,
                                timeout_seconds=timeout_seconds, ends_at=ends_at))
        return clients[-1]
    yield build
    for client in clients:
        client.close()


@pytest.fixture
def url(simulator):
    return 'unix:' + simulator.settings.socket_path


@pytest.fixture
def client(build_client, url):
    client = build_client(url)
    client.login()
    return client


@pytest.fixture
def ref(simulator):
    return simulator.create_vm('web', platform={'timeoffset': '5'})
