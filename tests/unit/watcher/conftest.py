"""What every test of the daemon's modules leaves behind is put away."""

from typing import Iterator, List

import pytest

from registry.sqlite.connection import Connection


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
