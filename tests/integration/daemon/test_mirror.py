"""The registry in XAPI's database: it outlives its host, and what others write there is input."""

import contextlib
import json
import os
import sqlite3
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from registry.errors import RegistryError
from registry.journal.journal import Journal
from tests.integration.daemon.world import World, span, wait_until
from watcher.mirror.entries import PoolEntry, VmEntry, parse_pool_entry
from watcher.mirror.slots import find_current

SLOTS = ('vgpu-watcher-1', 'vgpu-watcher-2')


def slots_of(world: World, ref: str) -> Dict[str, str]:
    found = world.xapi.vm(ref)['other_config']
    return {slot: found[slot] for slot in SLOTS if slot in found}


def entry_of(world: World, ref: str) -> Optional[VmEntry]:
    return find_current(slots_of(world, ref).items()).entry


def pool_entry(world: World) -> Optional[PoolEntry]:
    ref, = world.xapi.call('pool.get_all')
    found = world.xapi.call('pool.get_other_config', ref)
    return find_current([(slot, found[slot]) for slot in SLOTS if slot in found],
                        parse_pool_entry).entry


def assignments(world: World) -> Dict[str, Tuple[Any, ...]]:
    try:
        contents = world.registry.read()
    except RegistryError:
        return {}
    return {vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority) for vm in contents.vms}


def says(world: World, ref: str, **fields: Any) -> bool:
    """Whether the VM has one whole entry of ours with these values."""
    entry = entry_of(world, ref)
    return (entry is not None and entry.is_ours and len(slots_of(world, ref)) == 1
            and entry.vm_uuid == world.uuid(ref)
            and all(getattr(entry, name) == value for name, value in fields.items()))


def wait_says(world: World, ref: str, **fields: Any) -> None:
    wait_until(lambda: says(world, ref, **fields), lambda: '%r; log:\n%s' % (
        slots_of(world, ref), '\n'.join(world.daemon.raw[-20:])))


def wait_mirrored(world: World) -> PoolEntry:
    """Wait until the mirror is whole and says what the registry does."""
    def is_mirrored() -> bool:
        entry = pool_entry(world)
        return (entry is not None and entry.vms == len(assignments(world)) and bool(
            world.daemon.events('mirror.written', generation=entry.generation.text)))
    wait_until(is_mirrored, lambda: '\n'.join(world.daemon.raw[-20:]))
    entry = pool_entry(world)
    assert entry is not None
    return entry


def write_by_hand(world: World, ref: str, **changes: Any) -> None:
    """As `xe vm-param-set other-config:…` does it: the whole entry, without a checksum."""
    slot, text = next(iter(slots_of(world, ref).items()))
    fields = {name: value for name, value in json.loads(text).items() if name != 'sum'}
    world.xapi.call('VM.remove_from_other_config', ref, slot)
    world.xapi.call('VM.add_to_other_config', ref, slot, json.dumps(dict(fields, **changes)))


@pytest.fixture
def mirrored(world: World) -> Tuple[World, str, str]:
    """Two registered VMs, mirrored."""
    refs = [world.create_vm('vm%d' % number) for number in (1, 2)]
    for number, ref in enumerate(refs, 1):
        world.register(ref, number)
    for number, ref in enumerate(refs, 1):
        wait_says(world, ref, vm_id=number)
    wait_mirrored(world)
    return (world,) + tuple(refs)  # type: ignore


def test_each_edit_is_mirrored_and_nothing_else_is_touched(mirrored) -> None:
    world, ref, other = mirrored
    world.xapi.call('VM.add_to_other_config', ref, 'folder', '/mine')
    untouched = slots_of(world, other)
    before = wait_mirrored(world)
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_until(lambda: pool_entry(world).generation.number == before.generation.number + 1, 'it')
    assert slots_of(world, other) == untouched
    assert world.xapi.vm(ref)['other_config']['folder'] == '/mine'


def test_a_wiped_host_has_its_registry_back(mirrored) -> None:
    world, ref, other = mirrored
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_mirrored(world)
    before = assignments(world)
    world.daemon.stop()
    for name in os.listdir(world.directory):
        if name.startswith('vgpu_'):
            os.unlink(os.path.join(world.directory, name))
    world.start_daemon()
    wait_until(lambda: assignments(world) == before, '\n'.join(world.daemon.raw))
    assert world.daemon.wait_for('registry.rebuilt')['is_complete']
    assert world.registry.read().accepted
    third = world.create_vm('third')
    assert world.register(third) == 3
    wait_says(world, third, vm_id=3)
    world.change(other, vm_id=9)
    world.wait_args(other, span(9))


def test_a_registry_that_somebody_deleted_is_not_made_anew(mirrored) -> None:
    world, ref, _other = mirrored
    os.unlink(world.registry_path)
    world.daemon.wait_for('registry.unavailable')
    world.daemon.stop()
    world.start_daemon()
    world.daemon.wait_for('registry.unavailable')
    assert not os.path.exists(world.registry_path) and world.args(ref) == span(1)
    assert says(world, ref, vm_id=1)


def test_a_clone_loses_the_entry_that_names_its_parent(mirrored) -> None:
    world, ref, _other = mirrored
    clone = world.xapi.call('VM.clone', ref, 'clone')
    wait_until(lambda: not slots_of(world, clone), 'the entry to go')
    world.daemon.wait_for('mirror.corrected', vm_uuid=world.uuid(clone), reason='copy')
    assert says(world, ref, vm_id=1)


def test_a_reverted_entry_is_put_right(mirrored) -> None:
    world, ref, _other = mirrored
    snapshot = world.xapi.call('VM.snapshot', ref, 'before')
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_mirrored(world)
    world.xapi.call('VM.revert', snapshot)
    world.daemon.wait_for('mirror.corrected', vm_uuid=world.uuid(ref), reason='reverted')
    wait_says(world, ref, pool_id='B')
    assert len(world.daemon.events('mirror.corrected')) == 1
    assert entry_of(world, snapshot).pool_id == 'A', 'snapshots are never written to'


@pytest.mark.parametrize('text', ['', '{"format":1}', 'x' * 5000])
def test_a_damaged_entry_is_put_right(mirrored, text) -> None:
    world, ref, _other = mirrored
    slot, = slots_of(world, ref)
    world.xapi.call('VM.remove_from_other_config', ref, slot)
    world.xapi.call('VM.add_to_other_config', ref, slot, text)
    wait_says(world, ref, vm_id=1)


def test_an_entry_that_was_taken_away_comes_back(mirrored) -> None:
    world, ref, _other = mirrored
    slot, = slots_of(world, ref)
    world.xapi.call('VM.remove_from_other_config', ref, slot)
    wait_says(world, ref, vm_id=1)
    world.daemon.wait_for('mirror.corrected', vm_uuid=world.uuid(ref), reason='taken_away')


def test_a_removed_row_takes_its_entry_along(mirrored) -> None:
    world, ref, other = mirrored
    world.remove(ref)
    wait_until(lambda: not slots_of(world, ref), 'the entry to go')
    assert wait_mirrored(world).vms == 1 and says(world, other, vm_id=2)


def test_a_vm_that_is_destroyed_keeps_its_assignment_in_the_pools_entry(mirrored) -> None:
    world, ref, _other = mirrored
    uuid = world.uuid(ref)
    generation = wait_mirrored(world).generation
    world.xapi.call('VM.destroy', ref)
    wait_until(lambda: [row.vm_uuid for row in pool_entry(world).absent] == [uuid], 'its row')
    assert pool_entry(world).generation == generation


def test_an_edit_by_hand_is_refused_and_undone(mirrored) -> None:
    world, ref, _other = mirrored
    write_by_hand(world, ref, pool='B', vm_id=7)
    line = world.daemon.wait_for('mirror.edit_refused', vm_uuid=world.uuid(ref))
    assert (line['vm_id'], line['pool'], line['reason']) == (7, 'B', 'not_accepted')
    wait_says(world, ref, vm_id=1, pool_id='A')
    assert assignments(world)[world.uuid(ref)][:2] == (1, 'A')


def test_an_edit_by_hand_is_taken_with_its_origin_when_that_is_allowed(mirrored) -> None:
    world, ref, _other = mirrored
    world.daemon.stop()
    world.write_config('[mirror]\naccept_edits = yes\n')
    world.start_daemon()
    write_by_hand(world, ref, pool='B', vm_id=7)
    world.daemon.wait_for('mirror.edit_taken', vm_uuid=world.uuid(ref))
    wait_says(world, ref, vm_id=7, pool_id='B')
    world.wait_args(ref, span(7, pool='B'))
    # A number that another VM has is refused.
    write_by_hand(world, ref, vm_id=2)
    line = world.daemon.wait_for('mirror.edit_refused', vm_uuid=world.uuid(ref))
    assert 'taken' in line['reason']
    wait_says(world, ref, vm_id=7, pool_id='B')


def test_a_vm_of_another_resource_pool_is_shown_and_left(mirrored) -> None:
    world, ref, _other = mirrored
    text = next(iter(slots_of(world, ref).values()))
    stranger = world.create_vm('stranger')
    fields = {name: value for name, value in json.loads(text).items() if name != 'sum'}
    fields.update(vm=world.uuid(stranger), **{'in': world.uuid(stranger), 'vm_id': 5})
    world.xapi.call('VM.add_to_other_config', stranger, SLOTS[0], json.dumps(fields))
    line = world.daemon.wait_for('vm.arrived', vm_uuid=world.uuid(stranger))
    assert line['vm_id'] == 5
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    assert json.loads(slots_of(world, stranger)[SLOTS[0]]) == fields
    assert world.uuid(stranger) not in assignments(world)


def test_an_older_database_is_brought_up_to_date(mirrored) -> None:
    """As after `xe pool-restore-database`: entries of before come back, xapi restarts."""
    world, ref, other = mirrored
    pool, = world.xapi.call('pool.get_all')
    before = world.xapi.call('pool.get_other_config', pool)
    entries = {vm: world.xapi.vm(vm)['other_config'] for vm in (ref, other)}
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    newest = wait_mirrored(world).generation
    world.daemon.kill()
    world.xapi.call('pool.set_other_config', pool, before)
    for vm, other_config in entries.items():
        world.xapi.call('VM.set_other_config', vm, other_config)
    world.start_daemon()
    world.daemon.wait_for('mirror.older')
    wait_says(world, ref, pool_id='B')
    assert assignments(world)[world.uuid(ref)][1] == 'B'
    wait_until(lambda: pool_entry(world).generation.number > newest.number, 'a new generation')


@pytest.mark.parametrize('kind', ['http_500_before', 'http_500', 'drop_before', 'drop_after'])
def test_a_write_of_the_pools_entry_that_failed_is_made_again(mirrored, kind: str) -> None:
    world, ref, _other = mirrored
    before = wait_mirrored(world)
    world.xapi.add_fault(kind, method='pool.add_to_other_config', count=1)
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_until(lambda: wait_mirrored(world).generation.number > before.generation.number,
               'the mirror')
    assert len(world.daemon.events('stream.resynced')) == 1


def test_an_edit_whose_session_is_lost_before_the_pools_entry_is_no_older_database(
        mirrored) -> None:
    world, ref, _other = mirrored
    before = wait_mirrored(world)
    world.xapi.add_fault('evict_session', method='pool.add_to_other_config', count=1)
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_until(lambda: len(world.daemon.events('stream.resynced')) > 1
               and wait_mirrored(world).generation.number > before.generation.number, 'the mirror')
    assert not world.daemon.events('mirror.older')


def test_a_generation_that_was_taken_over_is_made_the_masters_own_once(mirrored) -> None:
    """Whoever was master before may have gone on from it, and must find something newer."""
    world, _ref, _other = mirrored
    before = wait_mirrored(world)
    world.daemon.stop()
    with Journal(os.path.join(world.directory, 'vgpu_journal.db'),
                 timeout_seconds=10.0) as journal:
        journal.note_generation(before.generation.text, before.digest, is_own=False)
    for _start in range(2):
        world.start_daemon()
        wait_until(lambda: pool_entry(world).generation.number == before.generation.number + 1,
                   'a generation of its own')
        assert before.generation.text in pool_entry(world).line
        world.daemon.stop()


def test_a_mirror_of_another_line_wins_and_the_file_is_kept(mirrored) -> None:
    """As for a host that was away while another was master."""
    world, ref, other = mirrored
    world.daemon.stop()
    kept = {name: _read(os.path.join(world.directory, name))
            for name in ('vgpu_config.db', 'vgpu_journal.db')}
    world.start_daemon()
    world.change(ref, pool_id='B')
    wait_says(world, ref, pool_id='B')
    wait_mirrored(world)
    world.daemon.stop()
    for name, content in kept.items():
        with open(os.path.join(world.directory, name), 'wb') as stream:
            stream.write(content)
    # Known to this file only.
    world.change(other, vm_id=77)
    world.start_daemon()
    line = world.daemon.wait_for('registry.rebuilt')
    assert line['level'] == 'error' and 'vm_id 77' in ' '.join(line['replaced'])
    assert assignments(world)[world.uuid(ref)][1] == 'B'
    assert assignments(world)[world.uuid(other)][0] == 2
    copies = [name for name in os.listdir(world.directory) if '.replaced-' in name]
    assert len(copies) == 1
    assert os.stat(os.path.join(world.directory, copies[0])).st_mode & 0o077 == 0


def test_an_xapi_that_refuses_switches_the_mirror_off_and_nothing_else(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    world.xapi.start()
    world.xapi.add_fault('failure', method='*.add_to_other_config',
                         parameters={'code': 'MESSAGE_METHOD_UNKNOWN', 'params': ['x']})
    world.registry.create('test')
    world.start_daemon()
    world.daemon.wait_for('mirror.unavailable')
    ref = world.create_vm('vm')
    world.register(ref, 1)
    world.wait_args(ref, span(1))
    assert len(world.daemon.events('mirror.unavailable')) == 1
    assert len([call for call in world.xapi.calls if 'other_config' in call.method]) == 1


def test_a_start_is_rescued_while_every_other_write_hangs(
        build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=2.0).start()
    starts, *others = [world.create_vm('vm%d' % number) for number in range(13)]
    world.register(starts, 1)
    world.wait_args(starts, span(1))
    wait_mirrored(world)
    mirrored, staged = others[:4], others[4:]
    for number, ref in enumerate(mirrored, 2):
        world.xapi.add_fault('hang', method='VM.add_to_other_config', ref=ref)
        world.register(ref, number)
    _wait_called(world, mirrored, 'VM.add_to_other_config')
    for number, ref in enumerate(staged, 6):
        world.xapi.add_fault('hang', method='VM.*', ref=ref)
        world.register(ref, number)
    _wait_called(world, staged, 'VM.')
    starting = world.begin_start(starts)
    world.xapi.call('VM.remove_from_platform', starts, 'device-model-args')
    starting.join()
    assert world.last_boot(starts).args == span(1)


def _wait_called(world: World, refs: List[str], method: str) -> None:
    """Wait until a call that hangs has arrived for each."""
    wait_until(lambda: all(any(call.method.startswith(method) and ref in call.params
                               for call in list(world.xapi.calls)) for ref in refs),
               lambda: '\n'.join(world.daemon.raw[-20:]))


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def test_without_its_journal_the_file_is_staged_from_until_somebody_says_which_counts(
        mirrored) -> None:
    world, ref, _other = mirrored
    generation = wait_mirrored(world).generation
    world.daemon.stop()
    _lose_journal(world)
    world.change(ref, pool_id='B')
    world.start_daemon()
    world.daemon.wait_for('mirror.undecided')
    world.wait_args(ref, span(1, pool='B'))
    assert says(world, ref, pool_id='A') and pool_entry(world).generation == generation
    entry = pool_entry(world)
    with Journal(os.path.join(world.directory, 'vgpu_journal.db'),
                 timeout_seconds=10.0) as journal:
        journal.note_generation(entry.generation.text, entry.digest, is_own=False,
                                line=entry.line)
    wait_says(world, ref, pool_id='B')


@pytest.mark.parametrize('text', ['foo', '0-0badf00d', '9999999999999-0badf00d'])
def test_what_is_no_generation_in_the_journal_costs_the_mirror_only(mirrored, text) -> None:
    world, ref, _other = mirrored
    world.daemon.stop()
    with contextlib.closing(sqlite3.connect(world.registry.journal_path)) as journal, journal:
        journal.execute('UPDATE lineage SET generation = ? WHERE id = (SELECT max(id) FROM lineage)',
                        (text,))
    before = pool_entry(world)
    world.start_daemon()
    assert text in world.daemon.wait_for('mirror.waiting')['error']
    world.change(ref, pool_id='B')
    world.wait_args(ref, span(1, pool='B'))
    assert pool_entry(world) == before and world.daemon.stop() == 0


def test_a_journal_that_is_lost_while_the_daemon_runs_costs_no_edit(mirrored) -> None:
    world, ref, _other = mirrored
    wait_mirrored(world)
    _lose_journal(world)
    world.change(ref, pool_id='B')
    world.wait_args(ref, span(1, pool='B'))
    wait_says(world, ref, pool_id='B')
    assert not world.daemon.events('mirror.undecided') + world.daemon.events('registry.rebuilt')


def _lose_journal(world: World) -> None:
    for name in os.listdir(world.directory):
        if name.startswith('vgpu_journal.db'):
            os.unlink(os.path.join(world.directory, name))
