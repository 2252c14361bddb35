"""When start blocks of 0.1 are lifted: whenever a record shows one, and with pauses."""

from typing import Any, List

import pytest

from tests.unit.watcher.builders import REF, UUID, build_vm, uuid_of
from tests.unit.watcher.watchers import build_writer
from watcher.daemon import Watcher
from watcher.staging.block_lifting import Lifting
from watcher.staging.jobs import BlocksLifted
from watcher.vm.record import Batch, VmKind

BLOCKED = build_vm(None, start_blocks=(('start', 'vgpu-watcher: dom0, 1'),))
FREE = BLOCKED._replace(start_blocks=())
OTHER = build_vm(None, ref='OpaqueRef:other', uuid=uuid_of(11))


@pytest.fixture
def submitted() -> List[str]:
    """The refs handed to the callers."""
    return []


@pytest.fixture
def lifting(submitted: List[str]) -> Lifting:
    """One that only takes note."""
    return Lifting(submitted.append)


def test_block_is_lifted_once_however_often_it_shows(lifting, submitted):
    for now in (100.0, 100.1, 100.2):
        lifting.note(BLOCKED, now)
    assert submitted == [REF]


def test_block_that_a_revert_brings_back_is_lifted_again(lifting, submitted, log_output):
    lifting.note(BLOCKED, 100.0)
    lifting.take(BlocksLifted(REF, FREE, ('start',)), 100.1)
    lifting.note(BLOCKED, 105.0)
    assert submitted == [REF, REF]
    assert [line['event'] for line in log_output] == ['fence.lifted']


@pytest.mark.parametrize('vm', [
    FREE, BLOCKED._replace(kind=VmKind.SNAPSHOT), BLOCKED._replace(kind=VmKind.TEMPLATE),
    BLOCKED._replace(start_blocks=(('start', 'a replica'),))])
def test_others_are_left_alone(lifting, submitted, vm):
    lifting.note(vm, 100.0)
    assert submitted == [] and lifting.next_due is None


def test_refusal_is_tried_again_with_growing_pauses_and_told_once_a_minute(
        lifting, submitted, log_output):
    lifting.note(BLOCKED, 100.0)
    pauses, now = [], 100.0
    for _attempt in range(8):
        lifting.take(BlocksLifted(REF, error='INTERNAL_ERROR'), now)
        pauses.append(round(lifting.next_due - now, 3))
        now = lifting.next_due
        lifting.check(now)
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 30.0]
    assert len(submitted) == 9
    assert [line['event'] for line in log_output] == ['fence.not_lifted']


def test_text_that_another_program_puts_there_again_and_again_is_a_fight(
        lifting, submitted, log_output):
    now = 100.0
    for _second in range(600):
        lifting.note(BLOCKED, now)
        lifting.check(now)
        if len(submitted) and REF in lifting._failures and lifting.next_due is None:
            lifting.take(BlocksLifted(REF, FREE, ('start',)), now)
        now += 0.1
    assert len(submitted) < 15
    assert len(log_output) <= 2


# In the daemon.

@pytest.fixture
def watcher(tmp_path: Any) -> Watcher:
    """A Watcher with a session and two registered VMs that it has not seen yet."""
    return build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10, OTHER.uuid: 11})


def test_block_holds_up_no_writing(watcher):
    watcher.handle(Batch('1', (BLOCKED, OTHER), is_first=True))
    assert sorted(watcher.staging.busy) == sorted([REF, OTHER.ref])
    watcher.pump()
    assert len(watcher._callers.jobs) == 3


def test_block_that_shows_later_is_lifted_too(watcher):
    watcher.handle(Batch('1', (FREE, OTHER), is_first=True))
    jobs = len(watcher._callers.jobs)
    watcher.handle(Batch('2', (BLOCKED,)))
    assert len(watcher._callers.jobs) == jobs + 1


def test_member_lifts_nothing(watcher):
    watcher.permit.role = watcher.permit.role._replace(is_writer=False)
    watcher.handle(Batch('1', (BLOCKED, OTHER), is_first=True))
    assert watcher._callers.jobs == []
