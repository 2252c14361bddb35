"""Worlds in which version 0.1 runs."""

import tempfile
from typing import Callable, Iterator

import pytest

from tests.integration.daemon.world import World
from tests.integration.pool.conftest import build_pool  # noqa: F401
from tests.support.building import building
from tests.support.release_0_1 import Release, extract, why_not


@pytest.fixture(scope='session')
def release() -> Iterator[Release]:
    """The programs of version 0.1."""
    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        extract(directory)
        yield Release(directory)


@pytest.fixture
def build_world() -> Iterator[Callable[..., World]]:
    """Builds pools of one host."""
    with building(World) as build:
        yield build
