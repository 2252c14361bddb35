"""A world that the tests of one file share: each is left with the daemon running, in sync."""

import tempfile
from typing import Iterator

import pytest

from tests.simulated.world import World


@pytest.fixture(scope='module')
def shared_world() -> Iterator[World]:
    """A running pool, an empty registry, a daemon in sync; starts are slow to read the map."""
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        world = World(directory, cutoff_seconds=0.6)
        try:
            yield world.start()
        finally:
            world.close()


@pytest.fixture
def pool(shared_world: World) -> Iterator[World]:
    """The shared world, with all faults of earlier tests lifted and the daemon alive."""
    process = shared_world.daemon.process
    if process is None or process.poll() is not None:
        shared_world.start_daemon()
    yield shared_world
    shared_world.xapi.faults.clear()
    shared_world.xapi.set_emergency(None)
