"""Fixtures of the tests that run the real daemon against the simulator."""

from typing import Callable, Iterator

import pytest

from tests.integration.daemon.world import World
from tests.support.building import building


@pytest.fixture
def build_world() -> Iterator[Callable[..., World]]:
    """Builds worlds."""
    with building(World) as build:
        yield build


@pytest.fixture
def world(build_world: Callable[..., World]) -> World:
    """A running pool, an empty registry, a daemon in sync."""
    return build_world().start()
