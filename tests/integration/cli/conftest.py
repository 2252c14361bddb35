"""Fixtures of the tests that run vgpu-admin as a program."""

import tempfile
from typing import Iterator

import pytest

from tests.integration.cli.program import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """A short directory (a socket's path has 107 bytes at most) without registry and XAPI."""
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        place = Place(directory)
        yield place
        place.close()


@pytest.fixture
def pool(place: Place) -> Place:
    """The same, with a registry and an XAPI."""
    place.registry.create('test')
    place.start_xapi()
    return place
