"""Fixtures of the tests that run one daemon on each host of a pool."""

import tempfile
from typing import Any, Callable, Iterator, List

import pytest

from tests.pool.world import PoolWorld


@pytest.fixture
def build_pool() -> Iterator[Callable[..., PoolWorld]]:
    """Builds pools, in short directories: a socket's path has 107 bytes at most."""
    worlds: List[PoolWorld] = []
    directories: List[Any] = []

    def build(**settings: Any) -> PoolWorld:
        directories.append(tempfile.TemporaryDirectory(prefix='vgpu'))
        worlds.append(PoolWorld(directories[-1].name, **settings))
        return worlds[-1]

    yield build
    for world in worlds:
        world.close()
    for directory in directories:
        directory.cleanup()


@pytest.fixture
def pool(build_pool: Callable[..., PoolWorld]) -> PoolWorld:
    """Three hosts, a daemon in sync on each, an empty registry on the master."""
    return build_pool().start()
