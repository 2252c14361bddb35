"""A fence that the first answer shows was left by somebody: it goes before anything is written."""

from typing import Any

import pytest

from tests.unit.watcher.builders import REF, UUID, build_vm, uuid_of
from tests.unit.watcher.watchers import build_writer
from watcher.daemon import Watcher
from watcher.jobs import FencesLifted
from watcher.records import Batch

FENCED = build_vm(None, start_blocks=(('start', 'vgpu-watcher: dom0, 1'),))
OTHER = build_vm(None, ref='OpaqueRef:other', uuid=uuid_of(11))


@pytest.fixture
def watcher(tmp_path: Any) -> Watcher:
    """A Watcher with a session and two registered VMs that it has not seen yet."""
    return build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10, OTHER.uuid: 11})


def test_a_fence_that_the_first_answer_shows_goes_before_anything_is_written(
        watcher: Watcher) -> None:
    watcher.handle(Batch('1', (FENCED, OTHER), is_first=True))
    assert len(watcher._callers.jobs) == 1 and not watcher.staging.busy
    assert not watcher.may_write
    watcher.handle(FencesLifted(REF, FENCED, ('start',)))
    assert sorted(watcher.staging.busy) == sorted([FENCED.ref, OTHER.ref])


def test_without_one_writing_begins_at_once(watcher: Watcher) -> None:
    watcher.handle(Batch('1', (build_vm(None), OTHER), is_first=True))
    assert sorted(watcher.staging.busy) == sorted([FENCED.ref, OTHER.ref])
