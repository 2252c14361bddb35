"""A fence that the first answer shows was left by somebody: it goes before anything is written."""

from typing import Any, List

import pytest

from registry.store import Registry
from tests.unit.watcher.builders import HOST, POLICY, REF, UUID, build_vm, uuid_of
from watcher.books import Books
from watcher.daemon import Watcher
from watcher.jobs import FencesLifted
from watcher.records import Batch
from watcher.roles import Role

FENCED = build_vm(None, start_blocks=(('start', 'vgpu-watcher: dom0, 1'),))
OTHER = build_vm(None, ref='OpaqueRef:other', uuid=uuid_of(11))


class Callers:
    """Keeps what it is given; nothing runs."""

    def __init__(self) -> None:
        self.jobs: List[Any] = []

    def submit(self, job: Any, _urgency: int = 0) -> None:
        """Take it."""
        self.jobs.append(job)

    def give_way(self) -> None:
        """There is nobody to give way to."""

    def note_finished(self) -> None:
        """A message was taken."""


@pytest.fixture
def watcher(tmp_path: Any) -> Watcher:
    """A Watcher with a session and two registered VMs that it has not seen yet."""
    path = str(tmp_path / 'vgpu_config.db')
    registry = Registry(path, timeout_seconds=1.0)
    registry.create('the test')
    with registry.edit(who='the test', command='register-vm') as edit:
        edit.add_vm(UUID, vm_id=10)
        edit.add_vm(OTHER.uuid, vm_id=11)
    watcher = Watcher(Books(path), POLICY, callers=Callers(), lookers=Callers(), clients=None,
                      restart_stream=lambda: None, clock=lambda: 100.0)
    watcher.begin_session(Role(True, True, HOST, '26.1.4'))
    watcher.is_locked = True
    return watcher


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
