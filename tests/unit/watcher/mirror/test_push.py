"""What the mirror takes for meddling, and what for an edit."""

from typing import Any, Dict, List

from tests.unit.watcher.builders import POLICY
from tests.unit.watcher.test_growth import Mirror
from watcher.mirror.entries import Generation
from watcher.mirror.push import VM
from watcher.mirror.writes import MirrorWritten

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
