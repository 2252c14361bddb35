"""Fixtures of the registry's tests: a real file, a journal beside it, a clock that stands still."""

import os

import pytest

from registry.journal.journal import Journal
from registry.store import Registry


class FakeClock:
    """A wall clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'vgpu' / 'vgpu_config.db')


@pytest.fixture
def registry(path, clock):
    registry = Registry(path, timeout_seconds=0.25, clock=clock)
    registry.create('the test')
    return registry


@pytest.fixture
def journal_path(path):
    return os.path.join(os.path.dirname(path), 'vgpu_journal.db')


@pytest.fixture
def journal(registry, clock):
    with Journal(registry.journal_path, timeout_seconds=0.25, clock=clock) as journal:
        yield journal
