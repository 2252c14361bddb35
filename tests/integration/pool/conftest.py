"""Fixtures of the tests that run one daemon on each host of a pool."""

from typing import Callable, Iterator

import pytest

from tests.integration.pool.world import PoolWorld
from tests.support.building import building


@pytest.fixture
def build_pool() -> Iterator[Callable[..., PoolWorld]]:
    """Builds pools."""
    with building(PoolWorld) as build:
        yield build


@pytest.fixture
def pool(build_pool: Callable[..., PoolWorld]) -> PoolWorld:
    """Three hosts, a daemon in sync on each, an empty registry on the master."""
    return build_pool().start()
