"""What an event makes the daemon do does not depend on how many VMs there are."""

from typing import Any, Iterator, List

import pytest

from registry.values import Pool, Priority
from tests.unit.watcher.builders import POLICY, build_vm, uuid_of
from tests.unit.watcher.watchers import build_watcher, build_writer, create_registry
from watcher.mirror.absentees import Absentees
from watcher.mirror.entries import Generation, MirrorContent, MirroredRow, PoolEntry
from watcher.mirror.push import Push
from watcher.mirror.writes import MirrorWritten
from watcher.runtime.timers import DueTimes
from watcher.state.inventory import Inventory
from watcher.vm.record import Batch, PoolRecord

VMS = 300
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B'))
POOL_UUID = '0e0e0e0e-0000-4000-8000-000000000000'


class _Counting(dict):
    """A dict that counts the entries it is asked for, one by one or in a walk."""

    touched = 0

    def get(self, *args: Any) -> Any:
        self.touched += 1
        return super().get(*args)

    def values(self) -> Any:
        self.touched += len(self)
        return super().values()

    def items(self) -> Any:
        self.touched += len(self)
        return super().items()

    def __iter__(self) -> Iterator[Any]:
        self.touched += len(self)
        return super().__iter__()


def build_vms(count: int) -> Any:
    return tuple(build_vm(None, ref='OpaqueRef:%d' % number, uuid=uuid_of(number))
                 for number in range(1, count + 1))


def count_touched(tmp_path: Any, count: int) -> int:
    """How many records one event touches in a pool of so many VMs."""
    path = str(tmp_path / 'vgpu_config.db')
    vms = build_vms(count)
    create_registry(path, {vm.uuid: number for number, vm in enumerate(vms, 1)})
    watcher = build_watcher(path)
    watcher.handle(Batch('1', vms, is_first=True))
    # The numbers of new rows get their places once, which is a walk.
    watcher.handle(Batch('2', (vms[1]._replace(name='other'),)))
    watcher.pump()
    counting = watcher.inventory._vms = _Counting(watcher.inventory._vms)
    watcher.handle(Batch('3', (vms[0]._replace(name='other'),)))
    watcher.pump()
    assert watcher.next_due is None or watcher.next_due > 0.0
    return counting.touched


def test_an_event_touches_as_many_records_in_a_large_pool(tmp_path: Any) -> None:
    assert 0 < count_touched(tmp_path, VMS) < 20


def test_each_vm_is_looked_at_once_when_the_daemon_starts(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, vms = str(tmp_path / 'vgpu_config.db'), build_vms(VMS)
    create_registry(path, {vm.uuid: number for number, vm in enumerate(vms, 1)})
    watcher = build_watcher(path)
    looked: List[str] = []
    real = watcher.staging.review

    def look(ref: str, now: float, **options: Any) -> None:
        looked.append(ref)
        real(ref, now, **options)
    monkeypatch.setattr(watcher.staging, 'review', look)
    watcher.poll_registry()
    watcher.handle(Batch('1', vms, is_first=True))
    watcher.poll_registry()
    watcher.pump()
    assert sorted(looked) == sorted(vm.ref for vm in vms)


def test_who_has_a_number_is_asked_of_few_while_many_are_written_to(tmp_path: Any) -> None:
    path = str(tmp_path / 'vgpu_config.db')
    vms = build_vms(VMS)
    watcher = build_writer(path, {vm.uuid: number for number, vm in enumerate(vms, 1)})
    watcher.handle(Batch('1', vms, is_first=True))
    number_claims = watcher._number_claims
    for vm in vms:
        number_claims.note_writing(watcher.staging.planner.assess(vm))
    assert all(number_claims.is_unproven(vm.uuid) for vm in vms)
    counting = watcher.inventory._vms = _Counting(watcher.inventory._vms)
    assert [vm.uuid for vm in number_claims.list_having(7)] == [vms[6].uuid]
    assert number_claims.list_having(VMS + 1) == ()
    assert counting.touched < 10


class Mirror:
    """The mirror of so many VMs, whole, and an XAPI that takes every write at once."""

    def __init__(self, count: int) -> None:
        self.inventory = Inventory()
        self.vms = build_vms(count)
        for vm in self.vms:
            self.inventory.update(vm, POLICY, 0.0)
        self.writes: List[Any] = []
        view = type('NoView', (), {'faulty': frozenset(), 'orphans': frozenset(), 'owners': {}})()
        self.push = Push(view, self.inventory, submit=lambda *task: self.writes.append(task),
                         take_edit=lambda _vm, _entry: '', note_orphan=lambda _vm, _number: None)
        self.push.note_pool(PoolRecord('OpaqueRef:pool', POOL_UUID, 'OpaqueRef:host'))
        generation = Generation(1, 'aabbccdd')
        rows = {vm.uuid: MirroredRow(vm.uuid, number, 'A', Priority.LOW)
                for number, vm in enumerate(self.vms, 1)}
        self.push.aim(MirrorContent(
            generation, rows, PoolEntry(POOL_UUID, generation, count, 'd' * 32, count, POOLS)))
        self.pump_until_whole(0.0)

    def pump_until_whole(self, now: float) -> List[str]:
        """Carry out what is handed out, until nothing is missing; the refs that were written."""
        written = []
        for _turn in range(len(self.vms) + 10):
            self.push.pump(now, 0)
            for table, ref, change in self.writes:
                written.append(ref)
                self.push.take(MirrorWritten(table, ref, change, is_done=True), now)
            del self.writes[:]
            if self.push.is_mirrored:
                return written
        raise AssertionError('the mirror does not become whole')

    def spoil(self, now: float) -> List[str]:
        """Somebody takes the entry of one VM away: what is written for it."""
        for vm in self.vms:
            self.inventory.update(vm._replace(mirror=self.push.seen.slots_of(vm.ref)), POLICY, now)
        self.push.note_pool(self.push.seen.pool._replace(mirror=self.push.seen.slots_of('OpaqueRef:pool')))
        assert self.pump_until_whole(now) == []  # what was written is no echo any more
        counting = self.inventory._vms = _Counting(self.inventory._vms)
        self.rows = _Counting(self.push.target.rows)
        self.push.target = self.push.target._replace(rows=self.rows)
        spoilt = self.vms[0]
        self.inventory.update(spoilt, POLICY, now)
        self.push.note(spoilt)
        written = self.pump_until_whole(now)
        self.touched = counting.touched + self.rows.touched
        return written


def test_an_entry_that_is_spoilt_costs_as_much_in_a_large_mirror() -> None:
    touched = {}
    for count in (VMS // 10, VMS):
        mirror = Mirror(count)
        written = mirror.spoil(100.0)
        assert mirror.vms[0].ref in written and len(written) <= 2
        touched[count] = mirror.touched
    assert 0 < touched[VMS] == touched[VMS // 10] < 40


def test_due_times_give_the_earliest_and_forget_what_was_put_off() -> None:
    due = DueTimes()
    for number in range(200):
        due.set('b', 5.0 + number)
    due.set('a', 7.0)
    due.set('c', 1.0)
    due.pop('c')
    due.set_earlier('a', 9.0)
    assert due.first == 7.0 and len(due) == 2 and len(due._heap) < 100
    assert due.take(7.0) == ['a'] and due.take(203.9) == [] and due.take(204.0) == ['b']
    assert due.first is None and not due


@pytest.mark.parametrize('order', [('one', 'two'), ('two', 'one')])
def test_a_row_is_absent_when_the_last_of_its_vms_is_gone(order: Any) -> None:
    absentees = Absentees()
    absentees.begin(['u', 'v'])
    for ref in ('one', 'two'):
        absentees.note(ref, 'u')
    absentees.note('three', 'stray', is_gone=True)
    assert absentees.absent == {'v'} and absentees.gone == {'stray'}
    absentees.note(order[0], None)
    assert absentees.absent == {'v'}
    absentees.note(order[1], 'other')
    absentees.note('three', None)
    assert absentees.absent == {'u', 'v'} and absentees.gone == set()
