"""Memory that runs out ends the process; a fault met at one VM does not."""

from typing import Any

import pytest

from tests.unit.watcher import watchers
from tests.unit.watcher.builders import REF
from watcher.daemon import Watcher


def build_watcher(monkeypatch: Any, tmp_path: Any, error: BaseException) -> Watcher:
    """A Watcher whose look at any VM fails."""
    watcher = watchers.build_watcher(str(tmp_path / 'vgpu_config.db'))

    def fail(*_args: Any, **_options: Any) -> None:
        raise error
    monkeypatch.setattr(watcher.staging, 'review', fail)
    return watcher


def test_memory_error_ends_the_process(monkeypatch: Any, tmp_path: Any) -> None:
    with pytest.raises(MemoryError):
        build_watcher(monkeypatch, tmp_path, MemoryError()).reviews.at(REF, 0.0)


def test_another_error_holds_its_vm_off(monkeypatch: Any, tmp_path: Any) -> None:
    watcher = build_watcher(monkeypatch, tmp_path, ValueError('odd'))
    watcher.reviews.at(REF, 10.0)
    assert watcher.staging.next_due == 40.0
