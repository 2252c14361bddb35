"""registry compare, registry rebuild, and VMs that arrived from another resource pool."""

import contextlib
import os
import sqlite3
from typing import Any, Tuple

import pytest

from registry.journal.journal import Journal
from registry.values import Priority, Vm
from registry.writer_lock import WriterLock
from tests.integration.cli.mirror import POOLS, give_entry, mirror
from tests.integration.cli.program import Place, span
from watcher.mirror.entries import Generation, digest_contents
from watcher.vm.mirror_keys import SLOTS

ELSEWHERE = 'ffff0000-1111-2222-3333-444455556666'


@pytest.fixture
def two(pool: Place) -> Tuple[Place, str, str]:
    """Two VMs in XAPI and their UUIDs; the first is registered with the number 1."""
    uuids = [pool.xapi.vm(pool.create_vm(name=name))['uuid'] for name in ('one', 'two')]
    with pool.registry.edit(who='test', command='test') as edit:
        edit.add_vm(uuids[0], vm_name='one', vm_id=1)
    return pool, uuids[0], uuids[1]


def vm_of(vm_uuid: str, vm_id: int, pool_id: str = 'A') -> Vm:
    return Vm(vm_id, vm_uuid, None, pool_id, Priority.MEDIUM)


def numbers(place: Place) -> Any:
    return {row[1]: row[0] for row in place.rows()}


def test_without_a_mirror_there_is_nothing_to_rebuild_from(two: Any) -> None:
    place, one, _two = two
    run = place.run('registry', 'compare', '--exit-code', '--json')
    assert (run.status, run.document['result'], run.document['mirror']) == (6, 'no_mirror', None)
    run = place.run('registry', 'rebuild', '--yes', '--json')
    assert (run.status, run.error['kind']) == (3, 'not_found')
    assert numbers(place) == {one: 1}


def test_differences_are_shown_and_nothing_is_done_without_a_yes(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 4, 'B'), vm_of(other, 1))
    run = place.run('registry', 'compare', '--exit-code')
    assert run.status == 6 and 'Nothing here tells which is newer' in run.out
    assert 'changed  one (%s): pool A → B, vm_id 1 → 4' % one in run.out
    assert 'added    two (%s): pool A, priority medium, vm_id 1' % other in run.out
    assert run.out.endswith("(the registry counts) decides it.\n")
    kept = place.run('registry', 'keep', '--dry-run').out
    assert 'the mirror needs:\n  changed  one (%s): pool B → A, vm_id 4 → 1\n' % one in kept
    assert 'removed  two (%s)' % other in kept and 'decides it' not in kept
    assert place.run('registry', 'compare').status == 0
    for words, status in ((('--dry-run',), 0), ((), 2)):
        assert place.run('registry', 'rebuild', *words).status == status
    run = place.answer('no\n', 'registry', 'rebuild')
    assert run.status == 1 and 'Do you want to rebuild' in run.err
    assert numbers(place) == {one: 1}


def test_rebuilding_swaps_rows_keeps_the_old_file_and_is_told_in_the_history(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 2), vm_of(other, 1))
    run = place.answer('yes\n', 'registry', 'rebuild', '--json')
    assert run.status == 0 and numbers(place) == {one: 2, other: 1}
    kept = run.document['kept']
    assert os.stat(kept).st_mode & 0o777 == 0o600
    assert numbers(Place_at(kept)) == {one: 1}
    assert run.document['staging'] == {one: 'staged', other: 'staged'}
    assert place.xapi.vm(place.xapi.find(one))['platform']['device-model-args'] == span(vm_id=2)
    told = {(entry.what, entry.vm_uuid) for entry in place.history()
            if entry.command == 'registry rebuild'}
    assert told == {('registry_rebuilt', None), ('vm_changed', one), ('vm_added', other)}
    run = place.run('registry', 'compare', '--exit-code', '--json')
    assert (run.status, run.document['result'], run.document['changes']) == (0, 'same', [])
    assert place.run('registry', 'rebuild', '--yes', '--json').document['result'] == 'unchanged'


def test_what_cannot_be_told_is_no_choice(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 4), vm_of(other, 1))
    with open(place.registry.journal_path, 'wb') as stream:
        stream.write(b'garbage' * 1000)
    run = place.run('registry', 'compare')
    assert run.status == 5 and 'is not known without the journal.' in run.out
    assert run.out.count('damaged') == 0 and run.err.count('damaged') == 1
    assert 'decides it' not in run.out


def test_a_registry_that_lost_its_rows_was_not_just_edited(two: Any) -> None:
    place, one, other = two
    with place.registry.edit(who='test', command='test') as edit:
        for number in range(3):
            edit.add_vm('%08d-0000-4000-8000-000000000000' % number)
    mirror(place, vm_of(one, 1), vm_of(other, 2))
    with contextlib.closing(sqlite3.connect(place.db)) as connection, connection:
        connection.execute('DELETE FROM vms')
    run = place.run('registry', 'compare')
    assert run.status == 5 and 'doubtful' in run.out and 'edited since' not in run.out


def test_where_the_unusable_file_went_stands_in_the_history(two: Any) -> None:
    place, one, _other = two
    mirror(place, vm_of(one, 1))
    with open(place.db, 'wb') as stream:
        stream.write(b'garbage' * 1000)
    kept = place.run('registry', 'rebuild', '--yes', '--json').document['kept']
    told = [entry.after for entry in place.history() if entry.what == 'registry_rebuilt']
    assert kept and told == [{'vms': 1, 'kept': kept, 'is_new': True}]


def test_keeping_the_registry_makes_it_count_and_changes_no_row(two: Any) -> None:
    place, one, other = two
    assert place.run('registry', 'keep', '--yes').status == 3
    mirror(place, vm_of(one, 2), vm_of(other, 1))
    run = place.answer('no\n', 'registry', 'keep')
    assert run.status == 1 and 'Keep the registry and overwrite the mirror? (yes/no): ' in run.err
    assert place.run('registry', 'compare', '--json').document['result'] == 'undecided'
    run = place.answer('yes\n', 'registry', 'keep', '--json')
    assert (run.status, run.document['result'], numbers(place)) == (0, 'kept', {one: 1})
    assert place.run('registry', 'compare', '--json').document['result'] == 'edited'
    assert place.run('registry', 'keep', '--yes', '--json').document['result'] == 'unchanged'


class Place_at:
    """A registry file somewhere, for `numbers`."""

    def __init__(self, path: str) -> None:
        self.db = path

    rows = Place.rows


def test_an_edit_since_is_shown_and_taken_back(two: Any) -> None:
    place, one, _other = two
    mirror(place, vm_of(one, 1))
    assert place.run('registry', 'rebuild', '--yes').status == 0
    assert place.run('set-pool', '--vm-uuid', one, '--pool=B', '--no-restart').status == 0
    run = place.run('registry', 'compare', '--json')
    assert run.document['result'] == 'undecided'
    assert place.run('registry', 'rebuild', '--yes').status == 0
    assert [row[3] for row in place.rows()] == ['A']
    assert place.run('set-pool', '--vm-uuid', one, '--pool=B', '--no-restart').status == 0
    run = place.run('registry', 'compare', '--json')
    assert run.document['result'] == 'edited'


def damage_file(path: str) -> None:
    with open(path, 'w', encoding='ascii') as file:
        file.write('x' * 4096)


@pytest.mark.parametrize('damage, problem', [
    pytest.param(os.remove, 'missing', id='deleted'),
    pytest.param(lambda path: os.truncate(path, 0), 'empty', id='emptied'),
    pytest.param(damage_file, 'corrupt', id='damaged')])
def test_a_registry_that_is_gone_or_damaged_comes_back(two: Any, damage: Any,
                                                       problem: str) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 1), vm_of(other, 9))
    damage(place.db)
    run = place.run('registry', 'compare', '--json')
    assert (run.document['result'], run.document['registry']['problem']) \
        == ('no_registry', problem)
    run = place.run('registry', 'rebuild', '--yes', '--json')
    assert run.status == 0 and numbers(place) == {one: 1, other: 9}
    assert os.stat(place.db).st_mode & 0o777 == 0o644
    assert bool(run.document['kept']) == (problem != 'missing')


def test_a_wiped_host_gets_its_registry_and_numbers_are_not_given_twice(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 12))
    for name in os.listdir(place.directory):
        if name.startswith(('vgpu_config', 'vgpu_journal')):
            os.remove(os.path.join(place.directory, name))
    assert place.run('registry', 'rebuild', '--yes').status == 0
    assert numbers(place) == {one: 12}
    assert place.run('register-vm', '--vm-uuid', other).status == 0
    assert numbers(place) == {one: 12, other: 13}


def test_a_mirror_that_is_not_whole_is_shown_to_be_so(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 1), vm_of(other, 2))
    place.xapi.call('VM.remove_from_other_config', place.xapi.find(other), SLOTS[0])
    run = place.run('registry', 'compare', '--json', '--exit-code')
    assert run.status == 6
    mirror_said = run.document['mirror']
    assert (mirror_said['vm_count'], mirror_said['is_complete']) == (2, False)
    assert run.document['changes'] == []


def test_a_mirror_of_another_line_that_says_the_same_is_no_news(two: Any) -> None:
    place, one, _other = two
    mirror(place, vm_of(one, 1), number=5)
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.note_generation('9-0000000a', '0' * 32)
    run = place.run('registry', 'compare', '--json', '--exit-code')
    assert (run.status, run.document['judgement'], run.document['changes']) == (0, 'same', [])
    assert 'say the same' in place.run('registry', 'compare').out
    # Nothing is refused for it where no daemon runs.
    assert place.run('set-pool', 'one', '--pool=B').status == 0


def test_odd_entries_are_shown(two: Any) -> None:
    place, one, other = two
    mirror(place, vm_of(one, 1))
    give_entry(place, vm_of(other, 3), Generation(1, '00000000'), ELSEWHERE)
    copy = place.xapi.call('VM.clone', place.xapi.find(one), 'copy of one')
    run = place.run('registry', 'compare', '--json')
    assert {item['vm_uuid']: item['problem'].split(' (')[0] for item in run.document['entries']} \
        == {other: 'an entry of another resource pool',
            place.xapi.vm(copy)['uuid']: "another VM's entry"}


# VMs that arrived.

@pytest.fixture
def arrived(two: Any) -> Any:
    """The second VM brings the number 1, which the first has, from another resource pool."""
    place, _one, other = two
    give_entry(place, vm_of(other, 1, 'B'), Generation(3, '00000000'), ELSEWHERE)
    return two


def test_an_arrived_vm_is_shown_and_not_registered(arrived: Any) -> None:
    place, one, other = arrived
    brought = {'resource_pool': ELSEWHERE, 'vm_id': 1, 'pool_id': 'B', 'priority': 'medium'}
    for command in ('scan-vms', 'status'):
        vms = {vm['vm_uuid']: vm for vm in place.run(command, '--json').document['vms']}
        assert (vms[other]['arrived'], vms[other]['state']) == (brought, 'unregistered')
        assert 'arrived' not in vms[one]
    shown = place.run('show-vm', '--vm-uuid', other, '--json').document['vm']
    assert shown['arrived'] == brought
    assert 'from another resource pool, with vm_id 1' in place.run(
        'show-vm', '--vm-uuid', other).out
    assert "Run 'vgpu-admin adopt'" in place.run('scan-vms').out
    assert numbers(place) == {one: 1}


def test_adopt_gives_an_arrived_vm_a_number_that_is_free_here(arrived: Any) -> None:
    place, one, other = arrived
    run = place.run('adopt', '--dry-run')
    assert 'a new vm_id (1 is taken by VM %s)' % one in run.out and numbers(place) == {one: 1}
    run = place.run('adopt', '--yes', '--json')
    assert run.document['adopted'] == [{
        'vm_uuid': other, 'vm_name': 'two', 'vm_id': 2, 'pool_id': 'B', 'priority': 'medium',
        'arrived': True}]
    assert numbers(place) == {one: 1, other: 2}
    assert place.xapi.vm(place.xapi.find(other))['platform']['device-model-args'] \
        == span(2, 'B')


def test_adopt_keeps_a_number_that_is_free(two: Any) -> None:
    place, one, other = two
    give_entry(place, vm_of(other, 40), Generation(3, '00000000'), ELSEWHERE)
    assert place.run('adopt', '--yes').status == 0
    assert numbers(place) == {one: 1, other: 40}


def test_adopt_avoids_a_number_that_is_borne_and_one_that_two_bring(two: Any) -> None:
    place, one, other = two
    third = place.xapi.vm(place.create_vm(name='three'))['uuid']
    place.create_vm(name='bearer', args=span(vm_id=40) + ',oddity')
    give_entry(place, vm_of(other, 40), Generation(3, '00000000'), ELSEWHERE)
    give_entry(place, vm_of(third, 40), Generation(3, '00000000'), ELSEWHERE)
    assert place.run('adopt', '--yes').status == 0
    found = numbers(place)
    assert len(set(found.values())) == len(found) and {found[other], found[third]} == {41, 42}


def test_comparing_nothing_with_nothing_names_what_else_there_is(place: Place) -> None:
    place.start_xapi()
    run = place.run('registry', 'compare')
    assert run.status == 0 and 'makes one from the mirror' not in run.out
    assert 'There is no mirror either.' in run.out and "'vgpu-admin init'" in run.out
    place.registry.create('test')
    assert place.run('registry', 'compare').out.endswith(
        "There is no mirror in the database of XAPI; no daemon is running to make one: "
        "'systemctl start vgpu-watcher'.\n")


def test_no_daemon_is_promised_where_none_runs(two: Any) -> None:
    place, one, _other = two
    mirror(place, vm_of(one, 1))
    assert place.run('registry', 'rebuild', '--yes').status == 0
    assert place.run('set-pool', '--vm-uuid', one, '--pool=B', '--no-restart').status == 0
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.note_generation('5-0123abcd', 'what it was before the edit')
    with WriterLock(place.db) as lock:
        for line, is_running in (("no daemon is running to mirror it: 'systemctl start", False),
                                 ('the daemon on the master will mirror it.', True)):
            assert not is_running or lock.acquire()
            run = place.run('registry', 'compare')
            assert line in run.out
            assert f'{place.db}: edited since generation 5-0123abcd, 1 VM' in run.out
            assert place.run('registry', 'keep', '--yes').out.endswith(
                'Nothing to do: the registry counts already.\n')


def test_a_journal_that_does_not_tell_where_the_registry_has_been_keeps_no_edit(two: Any) -> None:
    place, one, _other = two
    mirror(place, vm_of(one, 1, 'B'))
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.note_generation('9-0000000a', '0' * 32)
    words = ('set-priority', 'one', '--priority=high')
    run = place.run(*words)
    assert run.status == 4 and 'another host has gone on' in run.err
    with contextlib.closing(sqlite3.connect(place.registry.journal_path)) as connection, connection:
        connection.execute("UPDATE lineage SET generation = x'00'")
    assert place.run(*words).status == 0


def test_no_mirror_is_promised_where_it_is_switched_off(two: Any) -> None:
    place, one, _other = two
    with open(place.config, 'a', encoding='utf-8') as stream:
        stream.write('[mirror]\nenabled = no\n')
    off = "the mirror is switched off here ('[mirror] enabled = no')"
    with WriterLock(place.db) as lock:
        assert lock.acquire()
        assert f'{off}: this host will not make one' in place.run('registry', 'compare').out
        assert off in place.run('registry', 'keep', '--yes').err
        mirror(place, vm_of(one, 1, 'B'))
        run = place.run('registry', 'keep', '--yes')
        assert run.status == 0 and f'{off}: this host will not mirror it.' in run.out, run
        assert off in place.run('registry', 'compare').out


def test_a_row_that_is_not_valid_is_no_edit_and_keeps_its_entry(two: Any) -> None:
    place, one, other = two
    with place.registry.edit(who='test', command='test') as edit:
        edit.add_vm(other, vm_name='two', vm_id=2)
    mirror(place, vm_of(one, 1), vm_of(other, 2))
    assert place.run('registry', 'rebuild', '--yes').status == 0
    with contextlib.closing(sqlite3.connect(place.db)) as connection, connection:
        connection.execute('PRAGMA ignore_check_constraints=ON')
        connection.execute('UPDATE vms SET priority = 7 WHERE vm_uuid = ?', (other,))
        connection.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (9, 'not', 'ghost')")
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        rows = [vm_of(one, 1), vm_of(other, 2)]
        journal.note_generation('5-0123abcd', digest_contents(rows, POOLS))
    run = place.run('registry', 'compare', '--exit-code')
    assert run.status == 6 and 'edited' not in run.out and 'not registered' not in run.out
    assert 'generation 5-0123abcd, 1 VM, 2 rows that are not valid\n' in run.out
    assert 'say the same, but for rows that are not valid.\n' in run.out
    mended = '  mended   two (%s): a row' % other
    ghost = 'VM not: its row is not valid (vm_uuid: '
    assert mended in run.out and ghost in run.out
    assert run.out.endswith("'vgpu-admin registry rebuild' makes the registry as the mirror is.\n")
    rebuilt = place.run('registry', 'rebuild', '--dry-run').out
    assert mended in rebuilt and ghost in rebuilt
    run = place.run('registry', 'keep', '--yes')
    assert run.status == 0 and 'the mirror needs' not in run.out
    assert 'two (%s): its row is not valid (priority: ' % other in run.out
    assert '; the mirror keeps pool A, priority medium, vm_id 2\n' in run.out
    assert run.out.endswith('Nothing to do.\n')
