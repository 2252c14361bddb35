"""What the mirror takes for meddling, what for an edit, and what it writes again."""

from typing import Any, Callable, Dict, List

import pytest

from registry.values import Priority
from tests.unit.watcher.builders import POLICY, build_vm
from tests.unit.watcher.test_growth import Mirror
from watcher.mirror.codes import NO_TRUST
from watcher.mirror.entries import Generation, VmEntry
from watcher.mirror.push import VM
from watcher.mirror.slots import attach_vm
from watcher.mirror.writes import POOL, MirrorWritten
from watcher.vm.record import VmKind, VmRecord

ROUNDS = 8


def edit(mirror: Mirror, pool_id: str) -> None:
    """Somebody moves the first VM to a vGPU pool."""
    target = mirror.push.target
    uuid = mirror.vms[0].uuid
    generation = Generation(target.generation.number + 1, 'aabbccdd')
    mirror.push.aim(target._replace(
        generation=generation, entry=target.entry._replace(generation=generation),
        rows=dict(target.rows, **{uuid: target.rows[uuid]._replace(pool_id=pool_id)})))


def echo(mirror: Mirror, now: float) -> None:
    """Events show what was written."""
    for vm in mirror.vms:
        mirror.inventory.update(vm._replace(mirror=mirror.push.seen.slots_of(vm.ref)), POLICY, now)
    mirror.push.note_pool(mirror.push.seen.pool._replace(
        mirror=mirror.push.seen.slots_of(mirror.push.seen.pool.ref)))


def test_many_edits_of_a_vm_are_no_fight(log_output: List[Dict[str, Any]]) -> None:
    mirror = Mirror(2)
    for step in range(ROUNDS):
        echo(mirror, float(step))
        edit(mirror, 'BA'[step % 2])
        assert mirror.vms[0].ref in mirror.pump_until_whole(float(step))
    assert log_output == []


def test_an_edit_ends_the_pause_of_an_entry_that_is_fought_over(
        log_output: List[Dict[str, Any]]) -> None:
    mirror = Mirror(2)
    ref = mirror.vms[0].ref
    for step in range(ROUNDS):
        echo(mirror, 2.0 + step)
        mirror.inventory.update(mirror.vms[0], POLICY, 2.0 + step)  # the entry is taken away
        mirror.push.seen._claims.clear()
        mirror.push.note(mirror.vms[0])
        mirror.pump_until_whole(2.0 + step)
    assert 'mirror.contended' in {line['event'] for line in log_output}
    assert ref in mirror.push._held
    edit(mirror, 'B')
    assert ref in mirror.pump_until_whole(2.0 + ROUNDS)


def test_an_edit_that_is_taken_back_while_it_is_written_accuses_nobody(
        log_output: List[Dict[str, Any]]) -> None:
    mirror = Mirror(2)
    echo(mirror, 2.0)
    assert mirror.pump_until_whole(2.0) == []
    edit(mirror, 'B')
    mirror.push.pump(2.0, 0)
    (table, ref, change), = mirror.writes
    assert (table, ref) == (VM, mirror.vms[0].ref)
    del mirror.writes[:]
    edit(mirror, 'A')
    mirror.push.take(MirrorWritten(table, ref, change, is_done=True), 2.0)
    assert ref in mirror.pump_until_whole(2.0)
    assert log_output == []


def bring(mirror: Mirror, uuid: str, entry: VmEntry, now: float) -> List[str]:
    """XAPI shows a VM with an entry; the refs that are written for it."""
    text = attach_vm(entry, NO_TRUST)[0]
    vm = build_vm(ref='OpaqueRef:brought', uuid=uuid, mirror=(('vgpu-watcher-1', text),))
    mirror.inventory.update(vm, POLICY, now)
    mirror.push.note(vm)
    return mirror.pump_until_whole(now)


FRESH, OWN = ('%08x-1111-4222-8333-444455556666' % number for number in (1, 2))
ELSEWHERE = VmEntry(OWN, '99999999-8888-4777-8666-555544443333', Generation(3, 'aabbccdd'), 'B',
                    Priority.HIGH, 9)


def test_a_vm_that_is_first_shown_under_a_fresh_uuid_keeps_what_it_brought(
        log_output: List[Dict[str, Any]]) -> None:
    mirror = Mirror(2)
    echo(mirror, 2.0)
    assert mirror.pump_until_whole(2.0) == []
    assert bring(mirror, FRESH, ELSEWHERE, 10.0) == []
    assert bring(mirror, OWN, ELSEWHERE, 10.5) == []
    assert mirror.pump_until_whole(20.0) == []
    assert [line['event'] for line in log_output] == ['vm.arrived']


def test_the_entry_of_a_copy_goes_when_its_uuid_has_settled() -> None:
    mirror = Mirror(2)
    echo(mirror, 2.0)
    assert mirror.pump_until_whole(2.0) == []
    assert bring(mirror, FRESH, ELSEWHERE, 10.0) == []
    assert mirror.push.next_due == 11.0
    assert mirror.pump_until_whole(11.0) == ['OpaqueRef:brought']


def write_one(mirror: Mirror, now: float, *, is_done: bool = True) -> MirrorWritten:
    """One write goes out, and XAPI takes it or fails."""
    mirror.push.pump(now, 0)
    (table, ref, change), = mirror.writes
    del mirror.writes[:]
    written = MirrorWritten(table, ref, change, is_done,
                            error='' if is_done else 'XAPI answered HTTP 500')
    mirror.push.take(written, now)
    return written


def test_a_write_of_the_pools_entry_that_failed_is_tried_again() -> None:
    mirror = Mirror(2)
    echo(mirror, 2.0)
    edit(mirror, 'B')
    write_one(mirror, 2.0)
    echo(mirror, 2.5)
    for now in (3.0, 10.0, 60.0, 120.0):
        failed = write_one(mirror, now, is_done=False)
        assert failed.table == POOL
    assert failed.ref in mirror.pump_until_whole(180.0)


def test_an_old_entry_that_could_not_be_taken_away_holds_no_edit_up() -> None:
    """It is taken away when the pool's entry stands, which must not wait for that."""
    mirror = Mirror(2)
    echo(mirror, 2.0)
    edit(mirror, 'B')
    for is_done in (True, True, False):
        last = write_one(mirror, 2.0, is_done=is_done)
    assert last.table == VM and last.change.slot is None
    target = mirror.push.target
    generation = Generation(target.generation.number + 1, 'aabbccdd')
    row = target.rows[mirror.vms[1].uuid]._replace(pool_id='B')
    mirror.push.aim(target._replace(
        generation=generation, entry=target.entry._replace(generation=generation),
        rows=dict(target.rows, **{row.vm_uuid: row})))
    echo(mirror, 2.0)
    mirror.push.pump(10.0, 0)
    assert mirror.push.seen.pool.ref in mirror.pump_until_whole(10.0)


@pytest.mark.parametrize('become', [
    pytest.param(lambda mirror, vm: mirror.inventory.update(
        vm._replace(kind=VmKind.TEMPLATE), POLICY, 2.0), id='template'),
    pytest.param(lambda mirror, vm: mirror.inventory.aside.add(vm.ref), id='aside')])
def test_a_vm_that_is_judged_no_more_after_its_write_failed_holds_no_edit_up(
        become: Callable[[Mirror, VmRecord], Any]) -> None:
    mirror = Mirror(2)
    echo(mirror, 2.0)
    edit(mirror, 'B')
    failed = write_one(mirror, 2.0, is_done=False)
    become(mirror, mirror.vms[0])
    mirror.push.note(mirror.inventory.find(failed.ref))
    assert mirror.push.seen.pool.ref in mirror.pump_until_whole(10.0)
