"""What a boot may have taken, while what was written has not been seen at rest."""

from typing import Any

from tests.unit.watcher.builders import HOST, SPAN, UUID, build_vm, uuid_of
from tests.unit.watcher.watchers import build_writer
from watcher.staging.injector import Outcome, OutcomeKind
from watcher.vm.plan import State
from watcher.vm.record import Batch, PowerState

STAGED = SPAN.replace('priority=high', 'priority=medium')
RESTING, STARTING = build_vm(None), build_vm(None, operation='start')
RUNNING = build_vm(None, power_state=PowerState.RUNNING, domid=7, resident_on=HOST)


def test_a_span_that_is_taken_away_before_it_was_seen_at_rest_is_still_what_was_staged(
        tmp_path: Any) -> None:
    """The boot without it is `missing`: nothing that was staged lacks it."""
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    watcher.handle(Batch('1', (RESTING,), is_first=True))
    watcher.handle(Batch('2', (STARTING,)))
    watcher.handle(Outcome(OutcomeKind.WRITTEN, watcher.staging.busy[RESTING.ref], is_sent=True))
    watcher.handle(Batch('3', (RUNNING,)))
    watcher.pump()
    assert watcher._view.find_staged(UUID) == {STAGED}


def test_a_vm_that_got_its_row_in_its_start_rested_with_what_it_carries(tmp_path: Any) -> None:
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    watcher.handle(Batch('1', (STARTING,), is_first=True))
    assert watcher.staging.busy[STARTING.ref].is_rescue
    assert '' in watcher._view.find_staged(UUID)


def test_a_vm_whose_number_is_contested_has_nothing_staged_when_it_boots_without(
        tmp_path: Any) -> None:
    """The boot is `missing`, at warning: no stop and start brings what it lacks."""
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    bearer = build_vm(STAGED, ref='OpaqueRef:bearer', uuid=uuid_of(11))
    watcher.handle(Batch('1', (RESTING, bearer), is_first=True))
    assert watcher.staging.planner.assess(RESTING).state is State.CONTESTED
    watcher.handle(Batch('2', (RUNNING,)))
    watcher.pump()
    assert watcher._view.find_staged(UUID) == frozenset()
