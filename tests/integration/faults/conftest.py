"""A world that the tests of one file share: each is left with the daemon running, in sync."""

import tempfile
from typing import Any, Iterator

import pytest

from tests.integration.daemon.conftest import build_world  # noqa: F401  (worlds of one test's own)
from tests.integration.daemon.world import World


@pytest.fixture(scope='module')
def shared_world(request: Any) -> Iterator[World]:
    """A running pool, an empty registry, a daemon in sync.

    A file whose tests need slow starts says so: CUTOFF_SECONDS, from event to reading the map.
    """
    cutoff_seconds = getattr(request.module, 'CUTOFF_SECONDS', 0.1)
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        world = World(directory, cutoff_seconds=cutoff_seconds)
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
    if shared_world.daemon.process is not None and shared_world.daemon.process.poll() is None:
        shared_world.daemon.thaw()
    shared_world.xapi.faults.clear()
    shared_world.xapi.set_emergency(None)
