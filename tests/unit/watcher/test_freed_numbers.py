"""Who waits for a number is looked at when it is free, not with the next scan (P1, P10)."""

from typing import Any

from tests.unit.watcher.builders import HOST, build_vm, uuid_of
from tests.unit.watcher.watchers import build_writer
from watcher.vm.record import Batch, PowerState


def span(number: int) -> str:
    """Our arguments with a number, as the registry of the test asks for them."""
    return f'-device vgpu-stub,pool_id=A,priority=medium,vm_id={number}'


def test_a_number_that_a_vm_rested_with_before_is_free_when_it_rests_with_another(
        tmp_path: Any) -> None:
    """Its boot was not seen: until it rests it may have both."""
    first, second = (build_vm(span(carried), ref=f'OpaqueRef:{number}', uuid=uuid_of(number))
                     for number, carried in ((1, 2147483646), (2, 1)))
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {first.uuid: 2, second.uuid: 1})
    watcher._view.open_journal()
    watcher._view.note_staged(second.uuid, 2, span(2))
    falling = second._replace(power_state=PowerState.HALTED, resident_on=HOST)
    watcher.handle(Batch('1', (first, falling), is_first=True))
    watcher.pump()
    assert watcher.staging.planner.assess(first).holder == second.uuid and not watcher.staging.is_waiting
    watcher.handle(Batch('2', (second,)))
    watcher.pump()
    assert watcher.staging.planner.assess(first).holder is None
    assert watcher.staging.is_waiting


def test_a_number_of_a_vm_without_a_row_is_free_when_it_rests_without_arguments(
        tmp_path: Any) -> None:
    """Its row was moved while it ran, and its key taken away by hand."""
    path = str(tmp_path / 'vgpu_config.db')
    first, second = (build_vm(None, ref=f'OpaqueRef:{number}', uuid=uuid_of(number))
                     for number in (1, 2))
    watcher = build_writer(path, {second.uuid: 2})
    view = watcher._view
    view.poll()
    view.journal.note_staged(second.uuid, 2, span(2))
    with view.registry.edit(who='the test', command='transfer-vm') as edit:
        edit.remove_vm(second.uuid)
        edit.add_vm(first.uuid, vm_id=2)
    view.refresh_claims()
    assert second.uuid in view.orphans
    falling = second._replace(power_state=PowerState.HALTED, resident_on=HOST)
    watcher.handle(Batch('1', (first, falling), is_first=True))
    watcher.pump()
    assert watcher.staging.planner.assess(first).holder == second.uuid and not watcher.staging.is_waiting
    watcher.handle(Batch('2', (second,)))
    watcher.pump()
    assert watcher.staging.planner.assess(first).holder is None
    assert watcher.staging.is_waiting
