"""A record that was asked for before a write of ours, and comes after it, causes no second one."""

from typing import Any

import pytest

from tests.unit.watcher.builders import HOST, SPAN, UUID, build_vm
from tests.unit.watcher.watchers import build_writer
from watcher.daemon import Watcher
from watcher.staging.injector import Outcome, OutcomeKind
from watcher.staging.jobs import BlocksLifted, VmRead
from watcher.vm.record import Batch, PowerState

STARTING = build_vm(None, operation='start')


@pytest.fixture
def watcher(tmp_path: Any) -> Watcher:
    """A Watcher in sync whose only VM carries its span and begins to start without it."""
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    watcher.handle(Batch('1', (build_vm(render()),), is_first=True))
    watcher.handle(Batch('2', (STARTING,)))
    return watcher


def render() -> str:
    """The span that the row asks for."""
    return SPAN.replace('priority=high', 'priority=medium')


def end_rescue(watcher: Watcher) -> None:
    """The rescue under way has written, says its job."""
    plan = watcher.staging.busy[STARTING.ref]
    assert plan.is_rescue and plan.value == render()
    watcher.handle(Outcome(OutcomeKind.WRITTEN, plan))
    assert not watcher.staging.busy


def test_read_that_began_before_the_write_is_made_again(watcher: Watcher) -> None:
    end_rescue(watcher)
    jobs = len(watcher._callers.jobs)
    watcher.handle(VmRead(STARTING.ref, STARTING, began_at=99.9))
    assert not watcher.staging.busy and len(watcher._callers.jobs) == jobs + 1


def test_read_that_began_after_the_write_shows_that_somebody_took_it(watcher: Watcher) -> None:
    end_rescue(watcher)
    watcher.handle(VmRead(STARTING.ref, STARTING, began_at=100.0))
    assert watcher.staging.busy[STARTING.ref].is_rescue


RUNNING = build_vm(None, power_state=PowerState.RUNNING, domid=7, resident_on=HOST)
RESTING = build_vm(None)


def test_read_that_comes_behind_a_newer_event_is_made_again(watcher: Watcher) -> None:
    end_rescue(watcher)
    watcher.staging._progress.clear()  # long ago
    watcher.handle(Batch('3', (RUNNING,)))
    jobs = len(watcher._callers.jobs)
    watcher.handle(VmRead(RESTING.ref, RESTING, began_at=99.9))
    assert not watcher.staging.busy and len(watcher._callers.jobs) == jobs + 1
    assert watcher.inventory.find(RUNNING.ref) == RUNNING


def test_what_a_job_read_before_a_newer_event_is_not_believed(watcher: Watcher) -> None:
    plan = watcher.staging.busy[STARTING.ref]
    watcher.handle(Batch('3', (RUNNING,)))
    watcher.handle(Outcome(OutcomeKind.OVERTAKEN, plan, RESTING))
    assert not watcher.staging.busy
    assert watcher.inventory.find(RUNNING.ref) == RUNNING


def test_what_was_read_while_blocks_were_lifted_is_not_believed_behind_a_newer_event(
        watcher: Watcher) -> None:
    end_rescue(watcher)
    watcher.handle(Batch('3', (RUNNING,)))
    watcher.handle(BlocksLifted(RESTING.ref, RESTING, (), began_at=99.9))
    assert not watcher.staging.busy
    assert watcher.inventory.find(RUNNING.ref) == RUNNING
