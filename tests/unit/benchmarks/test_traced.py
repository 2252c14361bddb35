"""`python -m benchmarks profile` wraps parts of the daemon by name: each of them is there."""

import importlib
from operator import attrgetter

import pytest

from benchmarks.traced import PARTS


@pytest.mark.parametrize('module, name', [part[:2] for part in PARTS])
def test_each_part_that_is_timed_is_there(module: str, name: str) -> None:
    assert callable(attrgetter(name)(importlib.import_module(module)))
