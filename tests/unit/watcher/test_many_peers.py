"""VMs that carry one number, or wait for one another, cost in proportion to how many they are."""

import sys
from typing import Any, Callable, Dict, List

import pytest

from tests.unit.watcher.builders import HOST, build_vm, uuid_of
from tests.unit.watcher.watchers import build_writer
from watcher.staging.review import SLICE_SECONDS
from watcher.vm.record import Batch, PowerState

FEW = 40
STRANGER = 60000


def count_calls(run: Callable[[], Any]) -> int:
    """How many calls it takes, of functions in Python and of built-in ones."""
    calls = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ('call', 'c_call')
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def carry(number: int) -> str:
    """Our span, as a halted VM of a row carries it."""
    return '-device vgpu-stub,pool_id=A,priority=medium,vm_id=%d' % number


def build_vms(count: int, value_of: Callable[[int], str], **fields: Any) -> List[Any]:
    """So many VMs with such values, numbered from 1."""
    return [build_vm(value_of(number), ref='OpaqueRef:%d' % number, uuid=uuid_of(number),
                     name='v%d' % number, **dict(fields, domid=number if fields else -1))
            for number in range(1, count + 1)]


class Crowd:
    """A Watcher that knows many VMs with one number, and one with a row of its own."""

    def __init__(self, directory: Any, count: int, state: PowerState) -> None:
        fields: Dict[str, Any] = {}
        if state is PowerState.RUNNING:
            fields = {'power_state': state, 'resident_on': HOST}
        self.watcher = build_writer(str(directory / ('%d.db' % count)), {uuid_of(STRANGER): 7})
        self.vms = build_vms(count, lambda _number: carry(500), **fields)
        stranger = build_vm(carry(7), ref='OpaqueRef:stranger', uuid=uuid_of(STRANGER))
        self.watcher.poll_registry()
        self.watcher.handle(Batch('1', (*self.vms, stranger), is_first=True))
        self.watcher.pump()

    def handle(self, *vms: Any, gone: Any = ()) -> None:
        """A batch comes, and the main loop goes on until nothing waits."""
        self.watcher.handle(Batch('2', vms, gone=gone))
        self.watcher.pump()
        assert not self.watcher.reviews.is_waiting


STATES = [PowerState.HALTED, PowerState.RUNNING]


@pytest.mark.parametrize('state', STATES)
@pytest.mark.parametrize('change', [
    pytest.param(lambda crowd: crowd.handle(crowd.vms[5]._replace(args=None)), id='one-loses-it'),
    pytest.param(lambda crowd: crowd.handle(*(vm._replace(args=carry(501)) for vm in crowd.vms)),
                 id='all-change'),
    pytest.param(lambda crowd: crowd.handle(gone=tuple(vm.ref for vm in crowd.vms[1:])),
                 id='all-but-one-go')])
def test_change_among_many_with_one_number_costs_linear_time(
        change: Callable[[Crowd], None], state: PowerState, tmp_path: Any) -> None:
    crowds = [Crowd(tmp_path, count, state) for count in (FEW, 2 * FEW)]
    few, many = [count_calls(lambda: change(crowd)) for crowd in crowds]
    assert FEW < few and many <= 2.2 * few


@pytest.mark.parametrize('state', STATES)
def test_vm_that_joins_or_leaves_many_with_its_number_is_told_once(
        state: PowerState, tmp_path: Any, log_output: Any) -> None:
    crowd = Crowd(tmp_path, FEW, state)
    told = [line for line in log_output if line['event'] == 'vm.endangered']
    assert [line['vm_uuid'] for line in told] == [vm.uuid for vm in crowd.vms]
    assert all((len(line['others']), line['others_count']) == (10, FEW - 1) for line in told)
    del log_output[:]
    crowd.handle(crowd.vms[5]._replace(args=None))
    assert log_output == []
    crowd.handle(crowd.vms[5])
    # One that runs has what it was started with, whatever its record says.
    told_again = [crowd.vms[5].uuid] if state is PowerState.HALTED else []
    assert [line['vm_uuid'] for line in log_output] == told_again


def rotate(directory: Any, count: int, step: int) -> Any:
    """A Watcher in whose registry each row has just got another number that a VM still has."""
    rows = {uuid_of(number): number for number in range(1, count + 1)}
    watcher = build_writer(str(directory / ('%d.db' % count)), rows)
    watcher.poll_registry()
    watcher.handle(Batch('1', tuple(build_vms(count, carry)), is_first=True))
    watcher.pump()
    with watcher._view.registry.edit(who='the test', command='import') as edit:
        for number in range(1, count + 1):
            edit.change_vm(uuid_of(number), vm_id=100000 + number)
        for number in range(1, count + 1):
            edit.change_vm(uuid_of(number), vm_id=(number - 1 + step) % count + 1)
    watcher._view.reread()
    return watcher


@pytest.mark.parametrize('step', [1, FEW // 2], ids=['one-circle', 'several'])
def test_rotated_numbers_cost_linear_time(step: int, tmp_path: Any) -> None:
    watchers = [rotate(tmp_path, count, step) for count in (FEW, 2 * FEW)]
    few, many = [count_calls(watcher.poll_registry) for watcher in watchers]
    assert FEW < few and many <= 2.2 * few
    started = [build_vms(6, carry)[-1]._replace(power_state=PowerState.RUNNING, resident_on=HOST,
                                                domid=9) for _watcher in watchers]
    few, many = [count_calls(lambda: watcher.handle(Batch('2', (vm,))))
                 for watcher, vm in zip(watchers, started)]
    assert many <= 2.2 * few


def test_edited_vm_is_looked_at_before_many_that_wait(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(tmp_path, FEW, PowerState.HALTED)
    reviews, looked = crowd.watcher.reviews, []
    now = 100.0

    def look(ref: str, *_args: Any, **_options: Any) -> None:
        nonlocal now
        looked.append(ref)
        now += SLICE_SECONDS / 4
    monkeypatch.setattr(crowd.watcher.staging, 'review', look)
    monkeypatch.setattr(reviews, '_clock', lambda: now)
    crowd.watcher.handle(Batch('2', (crowd.vms[0]._replace(args=None),)))
    assert looked[0] == crowd.vms[0].ref and len(looked) == 5 and reviews.is_waiting
    assert crowd.watcher.next_due == 0.0 and not crowd.watcher.is_settled
    reviews.at_touched([uuid_of(STRANGER)])
    assert looked[5] == 'OpaqueRef:stranger' and len(looked) == 9
    while reviews.is_waiting:
        crowd.watcher.pump()
    assert sorted(looked) == sorted([vm.ref for vm in crowd.vms] + ['OpaqueRef:stranger'])
