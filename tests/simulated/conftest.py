"""Fixtures of the tests that run the real daemon against the simulator."""

import tempfile
from typing import Any, Callable, Iterator, List

import pytest

from tests.simulated.world import World


@pytest.fixture
def build_world() -> Iterator[Callable[..., World]]:
    """Builds worlds, in short directories: a socket's path has 107 bytes at most."""
    worlds: List[World] = []
    directories: List[Any] = []

    def build(**settings: Any) -> World:
        directories.append(tempfile.TemporaryDirectory(prefix='vgpu'))
        worlds.append(World(directories[-1].name, **settings))
        return worlds[-1]

    yield build
    for world in worlds:
        world.close()
    for directory in directories:
        directory.cleanup()


@pytest.fixture
def world(build_world: Callable[..., World]) -> World:
    """A running pool, an empty registry, a daemon in sync."""
    return build_world().start()
