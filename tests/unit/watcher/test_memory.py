"""Memory that runs out in the main thread ends the process; a fault met at one VM does not."""

from typing import Any

import pytest

from tests.unit.watcher.builders import POLICY, REF
from watcher.books import Books
from watcher.daemon import Watcher


class _Nobody:
    """Takes a job and does nothing."""

    def submit(self, _job: Any, _urgency: int = 0) -> None:
        """Take it."""

    def give_way(self) -> None:
        """There is nobody to give way to."""


def build_watcher(monkeypatch: Any, tmp_path: Any, error: BaseException) -> Watcher:
    """A Watcher whose look at any VM fails."""
    watcher = Watcher(Books(str(tmp_path / 'vgpu_config.db')), POLICY, callers=_Nobody(),
                      lookers=_Nobody(), clients=None,
                      restart_stream=lambda: None)

    def fail(*_args: Any, **_options: Any) -> None:
        raise error
    monkeypatch.setattr(watcher.staging, 'look', fail)
    return watcher


def test_memory_error_ends_the_process(monkeypatch: Any, tmp_path: Any) -> None:
    with pytest.raises(MemoryError):
        build_watcher(monkeypatch, tmp_path, MemoryError()).looks.at(REF, 0.0)


def test_another_error_holds_its_vm_off(monkeypatch: Any, tmp_path: Any) -> None:
    watcher = build_watcher(monkeypatch, tmp_path, ValueError('odd'))
    watcher.looks.at(REF, 10.0)
    assert watcher.staging.next_due == 40.0
