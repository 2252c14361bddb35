"""Fixtures of the simulator's tests: a running simulator and clients."""

import os
import shutil
import tempfile
from typing import Any, Callable, Iterator, List

import pytest
import XenAPI

from simulator.pool import PoolSimulator
from simulator.server import Simulator
from simulator.settings import Settings

QUICK = Settings(cutoff_seconds=0.02, step_seconds=0.0, build_seconds=0.0, running_seconds=0.0,
                 shutdown_seconds=0.0, suspend_seconds=0.0, push_seconds=0.0,
                 whole_map_seconds=0.0, login_penalty_seconds=0.0, conflict_wait_seconds=0.0)


@pytest.fixture
def directory() -> Iterator[str]:
    """Give a directory without an underscore in its path: the stock transport wants it so."""
    path = tempfile.mkdtemp(prefix='sim', dir='/tmp').replace('_', '')
    os.makedirs(path, exist_ok=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def build(directory: str) -> Iterator[Callable[..., Simulator]]:
    """Build and start simulators that are stopped in the end."""
    built: List[Simulator] = []

    def build_one(**changes: Any) -> Simulator:
        changes.setdefault('socket_path', os.path.join(directory, 'xapi'))
        changes.setdefault('listen', ('127.0.0.1', 0))
        simulator = Simulator(QUICK._replace(**changes))
        simulator.start()
        built.append(simulator)
        return simulator

    yield build_one
    for simulator in built:
        simulator.stop()


@pytest.fixture
def simulator(build: Callable[..., Simulator]) -> Simulator:
    """Give a running simulator without VMs."""
    return build()


@pytest.fixture
def local(simulator: Simulator, directory: str) -> Iterator[Any]:
    """Give a session of the unmodified XenAPI package over the Unix socket."""
    url = 'http://' + directory.replace('/', '_') + '_xapi/'
    session = XenAPI.Session(url, transport=XenAPI.UDSTransport())
    session.login_with_password('root', '', '', 'tests/1')
    yield session
    session('close')()


@pytest.fixture
def remote(simulator: Simulator) -> Iterator[Any]:
    """Give a session of the unmodified XenAPI package over TCP."""
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    session.login_with_password('root', '', '', 'tests/1')
    yield session
    session('close')()


class Clients:
    """Sessions of the unmodified XenAPI package, closed in the end."""

    def __init__(self) -> None:
        self._opened: List[Any] = []

    def local(self, pool: PoolSimulator, host: str, logs_in: bool = True) -> Any:
        """A session over a host's own socket."""
        path = pool.socket_path(host).replace('/', '_')
        return self._open('http://%s/' % path, logs_in, transport=XenAPI.UDSTransport())

    def remote(self, pool: PoolSimulator, host: str, logs_in: bool = True) -> Any:
        """A session over TCP."""
        return self._open('http://%s:%d' % pool.nodes[host].listen, logs_in)

    def close(self) -> None:
        """Close the connections."""
        for session in self._opened:
            session('close')()

    def _open(self, url: str, logs_in: bool, **keywords: Any) -> Any:
        session = XenAPI.Session(url, **keywords)
        self._opened.append(session)
        if logs_in:
            session.login_with_password('root', '', '', 'tests/1')
        return session


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Opens sessions."""
    opened = Clients()
    yield opened
    opened.close()


@pytest.fixture
def build_pool(directory: str) -> Iterator[Callable[..., PoolSimulator]]:
    """Builds and starts pools that are stopped in the end."""
    built: List[PoolSimulator] = []

    def build(**changes: Any) -> PoolSimulator:
        changes.setdefault('hosts', 3)
        changes.setdefault('listen', ('127.0.0.1', 0))
        changes.setdefault('boot_seconds', 0.0)
        built.append(PoolSimulator(directory, QUICK._replace(**changes)))
        built[-1].start()
        return built[-1]

    yield build
    for pool in built:
        pool.stop()


@pytest.fixture
def pool(build_pool: Callable[..., PoolSimulator]) -> PoolSimulator:
    """A pool of three hosts."""
    return build_pool()
