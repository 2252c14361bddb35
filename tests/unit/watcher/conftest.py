"""What tests of the daemon's modules share, and what each leaves behind is put away."""

from typing import Any, Iterator, List

import pytest

from registry.sqlite.connection import Connection
from simulator.server import Simulator
from simulator.settings import Settings
from watcher.loop.loop import Loop


@pytest.fixture(autouse=True)
def connections_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the SQLite connections that the test's objects have opened.

    A Watcher keeps its journal open for life. Python 3.13 warns of one that is never closed, in
    whichever test the collector runs.
    """
    opened: List[Connection] = []
    really_open = Connection.open

    def note_and_open(connection: Connection) -> None:
        opened.append(connection)
        really_open(connection)

    monkeypatch.setattr(Connection, 'open', note_and_open)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def simulator(tmp_path: Any) -> Iterator[Simulator]:
    """A simulated XAPI without VMs, on a Unix socket."""
    simulator = Simulator(Settings(socket_path=str(tmp_path / 'xapi')))
    simulator.start()
    yield simulator
    simulator.stop()
