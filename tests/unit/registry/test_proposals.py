"""One path for every change: judged by its end, applied as it was shown, read back."""

import os
import shlex
import sqlite3
import time

import pytest

from registry.errors import Conflict, InvalidValue, NotFound, Reason, RegistryUnavailable
from registry.journal.journal import Journal
from registry.journal.numbers import ORDINARY, Bearer
from registry.sqlite import connection as connections
from registry.store import Registry
from registry.values import Image, Pool, Priority, Vm
from tests.unit.registry.helpers import other_program, uuid_of
from tests.unit.registry.shapes import SHAPES

INSERT = 'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)'


def numbers(registry):
    with other_program(registry.path) as other:
        return dict(other.execute('SELECT vm_uuid, vm_id FROM vms').fetchall())


def propose(registry, build, **keywords):
    with registry.edit(who='me', command='test', dry_run=True, **keywords) as edit:
        build(edit)
    return edit.proposal


def apply(registry, proposal, **keywords):
    with registry.applying(proposal, who='me', command='test', **keywords):
        pass


@pytest.fixture
def four(registry):
    with registry.edit(who='me', command='test') as edit:
        for number in (1, 2, 3, 4):
            edit.add_vm(uuid_of(number), vm_id=number, vm_name=f'vm {number}')
    return registry


# The set is judged by its end.

@pytest.mark.parametrize('wanted', [
    pytest.param({1: 2, 2: 1}, id='swapped'),
    pytest.param({1: 2, 2: 3, 3: 4, 4: 1}, id='rotated'),
    pytest.param({1: 2, 2: 3, 3: 9}, id='chained'),
    pytest.param({3: 9, 2: 3, 1: 2}, id='chained-the-other-way'),
    pytest.param({1: 2, 2: 1, 3: 4, 4: 3}, id='two-swaps'),
    pytest.param({1: 3, 3: 1, 2: 7}, id='a-swap-and-a-move'),
])
@pytest.mark.parametrize('shape', sorted(SHAPES) + ['ours'])
def test_numbers_go_over_in_any_order(tmp_path, shape, wanted):
    path = str(tmp_path / 'vgpu_config.db')
    registry = Registry(path, timeout_seconds=1.0)
    if shape == 'ours':
        registry.create('me')
    else:
        SHAPES[shape](path)
    with other_program(path) as other:
        other.execute('DELETE FROM vms')
        for number in (1, 2, 3, 4):
            other.execute(INSERT, (number, uuid_of(number), None, 'A', 1))
    with registry.edit(who='me', command='test') as edit:
        for old, new in wanted.items():
            edit.change_vm(uuid_of(old), vm_id=new)
    assert numbers(registry) == {uuid_of(old): wanted.get(old, old) for old in (1, 2, 3, 4)}


def test_numbers_swapped_keep_to_the_rules_of_the_file(four):
    """Others may allow fewer numbers than we do, and refer to them from tables of their own."""
    with other_program(four.path) as other:
        other.execute('ALTER TABLE vms RENAME TO old')
        other.execute('CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE '
                      'CHECK (vm_id BETWEEN 1 AND 5), vm_uuid TEXT UNIQUE NOT NULL, vm_name TEXT, '
                      "pool_id CHAR(1) NOT NULL DEFAULT 'A', priority INTEGER NOT NULL DEFAULT 1, "
                      'created_at TEXT, updated_at TEXT, weight INTEGER DEFAULT 7)')
        other.execute('INSERT INTO vms SELECT vm_id, vm_uuid, vm_name, pool_id, priority, '
                      'created_at, updated_at, 50 + vm_id FROM old')
        other.execute('DROP TABLE old')
        other.execute('CREATE TABLE jobs (of_vm INTEGER REFERENCES vms (vm_id))')
        other.execute('INSERT INTO jobs VALUES (1), (2), (3), (4)')
    with four.edit(who='me', command='test') as edit:
        for old, new in ((1, 2), (2, 3), (3, 4), (4, 1)):
            edit.change_vm(uuid_of(old), vm_id=new)
    with other_program(four.path) as other:
        assert other.execute('SELECT vm_id, weight FROM vms ORDER BY weight').fetchall() \
            == [(2, 51), (3, 52), (4, 53), (1, 54)]
        assert other.execute('PRAGMA foreign_key_check').fetchall() == []


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 8), reason='no deferred foreign keys')
def test_number_that_another_table_refers_to_cannot_vanish(four):
    with other_program(four.path) as other:
        other.execute('CREATE TABLE jobs (of_vm INTEGER REFERENCES vms (vm_id))')
        other.execute('INSERT INTO jobs VALUES (1)')
    before = numbers(four)
    with pytest.raises(Conflict):
        with four.edit(who='me', command='test') as edit:
            edit.change_vm(uuid_of(1), vm_id=9)
    assert numbers(four) == before


def test_row_takes_the_number_of_one_that_goes(four):
    with four.edit(who='me', command='test') as edit:
        edit.add_vm(uuid_of(9), vm_id=1)
        edit.remove_vm(uuid_of(1))
    assert numbers(four)[uuid_of(9)] == 1


def test_number_that_two_have_at_the_end_is_a_conflict_that_names_the_owner(four):
    with pytest.raises(Conflict, match=f'vm_id 2 is taken by VM {uuid_of(2)}'):
        with four.edit(who='me', command='test') as edit:
            edit.change_vm(uuid_of(1), vm_id=2)


def test_conflicts_are_told_for_each_vm(four):
    proposed = {}
    with pytest.raises(Conflict):
        with four.edit(who='me', command='test') as edit:
            edit.add_vm(uuid_of(8), vm_id=1)
            edit.change_vm(uuid_of(4), vm_id=2)
            proposed = edit.find_conflicts()
    assert set(proposed) == {uuid_of(8), uuid_of(4)}


# What was shown is what is applied.

def disable_pool(edit):
    edit.change_pool('A', enabled=False)


def replace_all(edit):
    edit.keep_only(frozenset([uuid_of(1)]))


@pytest.mark.parametrize('build', [disable_pool, replace_all])
@pytest.mark.parametrize('statement', [
    pytest.param("INSERT INTO vms (vm_id, vm_uuid) VALUES (60, '%s')" % uuid_of(60), id='added'),
    pytest.param('DELETE FROM vms WHERE vm_id = 4', id='removed'),
    pytest.param('UPDATE vms SET vm_id = 40 WHERE vm_id = 4', id='number'),
    pytest.param("UPDATE vms SET pool_id = 'B' WHERE vm_id = 4", id='pool'),
    pytest.param('UPDATE vms SET priority = 2 WHERE vm_id = 1', id='priority'),
    pytest.param("UPDATE pools SET pool_name = 'x' WHERE pool_id = 'B'", id='vgpu-pool'),
])
def test_registry_that_changed_meanwhile_is_a_conflict(four, build, statement):
    proposal = propose(four, build)
    with other_program(four.path) as other:
        other.execute(statement)
    before = numbers(four), four.read().pools
    with pytest.raises(Conflict, match='changed meanwhile'):
        apply(four, proposal)
    assert (numbers(four), four.read().pools) == before


def test_names_and_columns_of_others_do_not_count_and_are_kept(four):
    proposal = propose(four, lambda edit: edit.change_vm(uuid_of(1), vm_id=9))
    with other_program(four.path) as other:
        other.execute("UPDATE vms SET vm_name = 'renamed', weight = 77, quarantined = 1")
    apply(four, proposal)
    with other_program(four.path) as other:
        assert other.execute('SELECT vm_name, weight, quarantined FROM vms WHERE vm_id = 9'
                             ).fetchall() == [('renamed', 77, 1)]


def test_dry_run_and_application_come_to_the_same_difference(four, journal):
    proposal = propose(four, lambda edit: [edit.add_vm(uuid_of(7)), edit.remove_vm(uuid_of(2)),
                                           edit.change_pool('B', description='x')])
    assert numbers(four).get(uuid_of(7)) is None
    apply(four, proposal)
    assert numbers(four)[uuid_of(7)] == proposal.difference.added[0].vm_id == 5
    assert [entry.what for entry in journal.list_history()[:3]] \
        == ['pool_changed', 'vm_added', 'vm_removed']


def test_registry_that_was_lost_is_made_as_it_was_proposed(path, clock):
    registry = Registry(path, timeout_seconds=1.0, clock=clock)
    draft = registry.draft()
    draft.add_vm(uuid_of(1), vm_id=7)
    draft.change_pool('B', pool_name='Slow', enabled=False)
    proposal = draft.settle()._replace(creates=True)
    assert not os.path.exists(path)
    apply(registry, proposal)
    assert numbers(registry) == {uuid_of(1): 7}
    assert [pool[1:4:2] for pool in registry.read().pools] == [('Pool A', True), ('Slow', False)]
    with pytest.raises(Conflict, match='meanwhile'):
        apply(registry, proposal)


def test_file_without_content_is_filled_and_stays_the_same_file(path, clock):
    registry = Registry(path, timeout_seconds=1.0, clock=clock)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'wb').close()
    inode = os.stat(path).st_ino
    draft = registry.draft()
    draft.add_vm(uuid_of(1))
    apply(registry, draft.settle()._replace(creates=True))
    assert (numbers(registry), os.stat(path).st_ino) == ({uuid_of(1): 1}, inode)


# What the file swallows or changes.

SWALLOWING = {
    'insert': 'BEFORE INSERT ON vms BEGIN SELECT RAISE(IGNORE); END',
    'update': 'BEFORE UPDATE ON vms BEGIN SELECT RAISE(IGNORE); END',
    'delete': 'BEFORE DELETE ON vms BEGIN SELECT RAISE(IGNORE); END',
    'changed': "AFTER UPDATE ON vms BEGIN UPDATE vms SET pool_id = 'B' "
               'WHERE vm_id = new.vm_id; END',
    'others': 'AFTER UPDATE ON vms BEGIN UPDATE vms SET priority = 0 WHERE vm_id = 4; END',
    'more': "AFTER INSERT ON vms BEGIN DELETE FROM vms WHERE vm_id = 4; END",
    'refused': "BEFORE UPDATE ON vms BEGIN SELECT RAISE(ABORT, 'not now'); END",
    'rolled-back': "BEFORE UPDATE ON vms BEGIN SELECT RAISE(ROLLBACK, 'not now'); END",
    'nowhere': 'AFTER UPDATE ON vms BEGIN INSERT INTO audit VALUES (new.vm_id); END',
}


def all_of_it(edit):
    edit.add_vm(uuid_of(9))
    edit.change_vm(uuid_of(1), priority=Priority.HIGH)
    edit.remove_vm(uuid_of(2))


@pytest.mark.parametrize('trigger', sorted(SWALLOWING))
def test_trigger_that_keeps_a_write_from_being_made_is_named(four, journal, trigger):
    with other_program(four.path) as other:
        other.execute('CREATE TRIGGER "of others" ' + SWALLOWING[trigger])
    before, entries = numbers(four), journal.list_history()
    with pytest.raises(Conflict, match='of others'):
        with four.edit(who='me', command='test') as edit:
            all_of_it(edit)
    assert numbers(four) == before and journal.list_history() == entries


def test_command_against_a_trigger_is_harmless_whatever_its_name(four, tmp_path):
    with other_program(four.path) as other:
        other.execute('CREATE TRIGGER "x""; \'; touch %s; \'" BEFORE DELETE ON vms BEGIN '
                      'SELECT RAISE(IGNORE); END' % (tmp_path / 'pwned'))
    with pytest.raises(Conflict) as caught:
        with four.edit(who='me', command='test') as edit:
            edit.remove_vm(uuid_of(1))
    words = shlex.split(str(caught.value).rsplit('if no program needs it: ', 1)[1])
    assert words[:2] == ['sqlite3', four.path] and len(words) == 3
    with other_program(four.path) as other:
        other.execute(words[2])
        assert other.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
                             ).fetchall() == [(0,)]


def test_trigger_on_vgpu_pools_is_named_too(four):
    with other_program(four.path) as other:
        other.execute('CREATE TRIGGER guard BEFORE UPDATE ON pools BEGIN '
                      'SELECT RAISE(IGNORE); END')
    with pytest.raises(Conflict, match='guard'):
        with four.edit(who='me', command='test') as edit:
            edit.change_pool('A', enabled=False)
    assert four.read().pools[0].enabled


def test_trigger_that_forbids_taking_a_file_over_is_named(tmp_path):
    path = str(tmp_path / 'vgpu_config.db')
    SHAPES['scripted'](path)
    with other_program(path) as other:
        other.execute("CREATE TRIGGER guard BEFORE INSERT ON pools BEGIN "
                      "SELECT RAISE(ABORT, 'no'); END")
    registry = Registry(path, timeout_seconds=1.0)
    with pytest.raises(Conflict, match='guard'):
        with registry.edit(who='me', command='accept') as edit:
            edit.accept()
    assert not registry.read().accepted


def test_trigger_that_only_keeps_books_does_no_harm(four):
    with other_program(four.path) as other:
        other.execute('CREATE TABLE audit (vm_id)')
        other.execute('CREATE TRIGGER audit AFTER UPDATE ON vms BEGIN '
                      'INSERT INTO audit VALUES (new.vm_id); '
                      "UPDATE vms SET weight = 3, updated_at = '2000-01-01 00:00:00' "
                      'WHERE vm_id = new.vm_id; END')
    with four.edit(who='me', command='test') as edit:
        edit.change_vm(uuid_of(1), priority=Priority.HIGH)
    with other_program(four.path) as other:
        assert other.execute('SELECT vm_id FROM audit').fetchall() == [(1,)]
    assert four.read().by_uuid[uuid_of(1)].priority is Priority.HIGH


def test_trigger_that_never_ends_is_ended(four, monkeypatch):
    monkeypatch.setattr(connections, 'STATEMENT_SECONDS', 0.3)
    with other_program(four.path) as other:
        other.execute('CREATE TABLE many (n)')
        other.executemany('INSERT INTO many VALUES (?)', [(n,) for n in range(300)])
        other.execute('CREATE TRIGGER endless BEFORE INSERT ON vms BEGIN SELECT count(*) FROM '
                      'many a, many b, many c, many d, many e; END')
    began_at = time.monotonic()
    with pytest.raises(Conflict, match='endless'):
        with four.edit(who='me', command='test') as edit:
            edit.add_vm(uuid_of(9))
    assert time.monotonic() - began_at < 20
    assert uuid_of(9) not in numbers(four)


# Odd rows, and files that are odd.

@pytest.mark.parametrize('column', ["rowid TEXT DEFAULT 'x'", 'rowid INTEGER DEFAULT 1',
                                    '_rowid_ TEXT', 'oid INTEGER'])
def test_column_named_like_the_rowid_is_nothing_to_us(four, column):
    with other_program(four.path) as other:
        other.execute('ALTER TABLE vms ADD COLUMN ' + column)
    with four.edit(who='me', command='test') as edit:
        edit.remove_vm(uuid_of(1))
        edit.change_vm(uuid_of(2), vm_id=20)
    assert numbers(four) == {uuid_of(2): 20, uuid_of(3): 3, uuid_of(4): 4}


ODD = {
    'blank': (50, uuid_of(50) + ' '), 'line': (50, uuid_of(50) + '\n'),
    'braces': (50, '{%s}' % uuid_of(50)), 'number': (-5, uuid_of(50)),
    'bytes': (50, uuid_of(50).encode()), 'large': (2 ** 40, uuid_of(50).upper()),
}


@pytest.mark.parametrize('kind', sorted(ODD))
def test_odd_row_is_mended_in_place_and_can_be_removed(four, kind):
    with other_program(four.path) as other:
        other.execute(INSERT, ODD[kind] + ('odd', 'A', 1))
        other.execute('UPDATE vms SET weight = 99 WHERE vm_id = ?', ODD[kind][:1])
    proposal = propose(four, lambda edit: edit.put_vm(uuid_of(50), pool_id='B', vm_id=50))
    assert [row.what for row in proposal.difference.rows] == ['mended']
    apply(four, proposal)
    with other_program(four.path) as other:
        assert other.execute('SELECT vm_uuid, pool_id, weight FROM vms WHERE vm_id = 50'
                             ).fetchall() == [(uuid_of(50), 'B', 99)]


@pytest.mark.parametrize('kind', sorted(ODD))
def test_odd_row_can_be_removed_by_its_uuid(four, kind):
    with other_program(four.path) as other:
        other.execute(INSERT, ODD[kind] + ('odd', 'A', 1))
    with four.edit(who='me', command='test') as edit:
        edit.remove_vm(uuid_of(50))
    assert len(numbers(four)) == 4 and four.read().faults == ()


@pytest.mark.parametrize('value', ['', 'no uuid', 'x' * 300, 'tab\there', b'\xff\xfe', 12345])
def test_row_can_be_removed_by_what_check_shows(four, value):
    with other_program(four.path) as other:
        other.execute(INSERT, (50, value, 'odd', 'A', 1))
    shown = four.read().faults[0].vm_uuid
    with four.edit(who='me', command='test') as edit:
        edit.remove_vm(shown)
    assert len(numbers(four)) == 4


def test_what_is_no_row_is_refused_as_before(four):
    for text, error in (('no uuid', InvalidValue), (uuid_of(70), NotFound)):
        with pytest.raises(error):
            with four.edit(who='me', command='test') as edit:
                edit.remove_vm(text)


def test_text_where_a_number_should_be_is_mended(four):
    with other_program(four.path) as other:
        other.execute('PRAGMA ignore_check_constraints = 1')
        other.execute("UPDATE vms SET priority = 'high' WHERE vm_id = 1")
    with four.edit(who='me', command='test') as edit:
        edit.put_vm(uuid_of(1), priority=Priority.HIGH)
    assert four.read().by_uuid[uuid_of(1)].priority is Priority.HIGH


def test_rows_that_cannot_be_told_apart_become_one(path):
    os.makedirs(os.path.dirname(path))
    with other_program(path) as other:
        other.execute('CREATE TABLE pools (pool_id, pool_name, description, enabled, created_at, '
                      'updated_at)')
        other.execute('CREATE TABLE vms (vm_id, vm_uuid, vm_name, pool_id, priority, created_at, '
                      'updated_at)')
        for number in (1, 2):
            other.execute(INSERT, (number, uuid_of(1), 'double', 'A', 1))
    registry = Registry(path, timeout_seconds=1.0)
    with registry.edit(who='me', command='test') as edit:
        edit.put_vm(uuid_of(1), vm_id=1)
    assert [vm.vm_id for vm in registry.read().vms] == [1]


@pytest.mark.parametrize('change', ["vm_uuid || ' '", "'{' || upper(vm_uuid) || '}'"])
def test_row_that_became_odd_is_not_gone(four, journal, change):
    """Its VM keeps what it carries until somebody has mended or removed the row."""
    journal.note_contents(four.read())
    with other_program(four.path) as other:
        other.execute(f'UPDATE vms SET vm_uuid = {change} WHERE vm_id = 1')
    assert journal.note_contents(four.read()) == () and journal.orphans() == {}
    with four.edit(who='me', command='test') as edit:
        edit.remove_vm(uuid_of(1))
    assert set(journal.orphans()) == {uuid_of(1)}


# A row moves.

def test_row_moves_to_another_vm_with_all_that_others_keep_in_it(four, journal):
    with other_program(four.path) as other:
        other.execute('UPDATE vms SET weight = 91, quarantined = 1 WHERE vm_id = 2')
    with four.edit(who='me', command='transfer-vm') as edit:
        edit.move_vm(uuid_of(2), uuid_of(22), 'restored')
    with other_program(four.path) as other:
        assert other.execute('SELECT vm_id, vm_name, weight, quarantined FROM vms WHERE '
                             'vm_uuid = ?', (uuid_of(22),)).fetchall() == [(2, 'restored', 91, 1)]
    assert uuid_of(2) not in numbers(four) and set(journal.orphans()) == {uuid_of(2)}
    assert [(entry.what, entry.vm_uuid) for entry in journal.list_history()[:2]] \
        == [('vm_added', uuid_of(22)), ('vm_removed', uuid_of(2))]


def test_row_does_not_move_over_another(four):
    with pytest.raises(Conflict, match='vm_id 3'):
        with four.edit(who='me', command='test') as edit:
            edit.move_vm(uuid_of(2), uuid_of(3))
    with pytest.raises(NotFound):
        with four.edit(who='me', command='test') as edit:
            edit.move_vm(uuid_of(70), uuid_of(71))


# Numbers that only VMs bear do not use up the automatic ones.

def test_huge_number_that_a_vm_bears_is_stepped_over(registry, journal):
    def add(number, **keywords):
        with registry.edit(who='me', command='test') as edit:
            return edit.add_vm(uuid_of(number), **keywords).vm_id

    journal.note_bearers([Bearer(uuid_of(9), 'nine', 2147483645),
                          Bearer(uuid_of(8), 'eight', 1000001)])
    assert [add(1), add(2, vm_id=1000000), add(3)] == [1, 1000000, 1000002]


def test_thousands_of_rows_take_seconds(registry):
    vms = tuple(Vm(number, f'{number:08x}-1111-2222-3333-44444444abcd', None, 'A',
                   Priority.MEDIUM) for number in range(1, 3001))
    pools = (Pool('A', 'Pool A'), Pool('B', 'Pool B'))
    turned = tuple(vm._replace(vm_id=vm.vm_id % 3000 + 1) for vm in vms)
    began_at = time.process_time()
    for image in (vms, turned):
        registry.replace_contents(Image(image, pools, 0), who='me', command='x', keep_copy=False)
    assert time.process_time() - began_at < 60
    assert len(registry.read().vms) == 3000


def test_locked_registry_names_who_has_it(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(RegistryUnavailable) as caught:
            with registry.edit(who='me', command='test') as edit:
                edit.add_vm(uuid_of(1))
    assert caught.value.reason is Reason.LOCKED


# Numbers that are claimed at the commit.

def test_numbers_that_an_edit_gives_are_claimed_in_its_transaction(registry, journal):
    with registry.edit(who='me', command='x') as edit:
        edit.claim_numbers({5: 'VM of somebody else'})
        edit.add_vm(uuid_of(1), vm_id=4)
        edit.add_vm(uuid_of(2), vm_id=5)
    assert set(journal.claims()) == {4}
    with registry.edit(who='me', command='x') as edit:
        edit.claim_numbers()
        edit.change_vm(uuid_of(1), vm_id=9)
        edit.change_vm(uuid_of(2), pool_id='B')
    assert set(journal.claims()) == {4, 9}
    with registry.edit(who='me', command='x') as edit:
        edit.claim_numbers()
        edit.move_vm(uuid_of(2), uuid_of(3))
    assert set(journal.claims()) == {4, 5, 9}


def test_who_does_not_know_who_bears_numbers_claims_none(registry, journal):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1), vm_id=4)
    assert journal.claims() == {}


def test_what_was_shown_is_claimed_when_it_is_applied(registry, journal):
    with registry.edit(who='me', command='x', dry_run=True) as edit:
        edit.claim_numbers()
        edit.add_vm(uuid_of(1), vm_id=4)
    assert journal.claims() == {}
    with registry.applying(edit.proposal, who='me', command='x'):
        pass
    assert set(journal.claims()) == {4}


def test_first_row_of_a_new_registry_is_claimed(path):
    registry = Registry(path, timeout_seconds=0.25)
    draft = registry.draft()
    draft.claim_numbers()
    draft.add_vm(uuid_of(1), vm_id=4)
    with registry.applying(draft.settle()._replace(creates=True), who='me', command='x'):
        pass
    assert numbers(registry) == {uuid_of(1): 4}
    with Journal(registry.journal_path, timeout_seconds=0.25) as journal:
        assert set(journal.claims()) == {4}


def test_vms_that_were_noted_without_a_row_and_have_it_again_keep_nobody_from_their_numbers(
        four, journal):
    """As after a rebuild: the daemon noted them while there was no registry."""
    journal.note_bearers([Bearer(uuid_of(1), 'one', 1, ORDINARY, 0, ''),
                          Bearer(uuid_of(9), 'stranger', 7, ORDINARY, 0, '')])
    with four.edit(who='me', command='x') as edit:
        edit.change_vm(uuid_of(1), vm_id=2)
        edit.change_vm(uuid_of(2), vm_id=1)
    assert numbers(four) == {uuid_of(1): 2, uuid_of(2): 1, uuid_of(3): 3, uuid_of(4): 4}
    with pytest.raises(Conflict, match='stranger'):
        with four.edit(who='me', command='x') as edit:
            edit.change_vm(uuid_of(3), vm_id=7)
