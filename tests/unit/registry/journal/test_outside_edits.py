"""Telling other programs' edits from ours, and an accident from a deletion."""

import os

import pytest

from registry.errors import RegistryUnavailable
from registry.store import Registry
from registry.values import Priority
from tests.unit.registry.helpers import other_program, uuid_of
from tests.unit.registry.shapes import SHAPES

INSERT = 'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)'


@pytest.fixture
def two_vms(registry):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
        edit.add_vm(uuid_of(2))
    return registry


def whats(entries):
    return [(entry.who, entry.what, entry.vm_uuid) for entry in entries]


def test_first_look_at_a_file_is_one_entry(tmp_path, journal):
    path = str(tmp_path / 'later.db')
    SHAPES['later'](path)
    contents = Registry(path, timeout_seconds=0.1).read()
    entries = journal.note_contents(contents)
    assert whats(entries) == [('another program', 'registry_found', None)]
    assert entries[0].after == {'version': 0, 'vms': 5, 'faults': 0}
    assert journal.note_contents(contents) == ()
    assert journal.largest_number() == 4242


def test_our_own_edits_are_not_those_of_another_program(two_vms, journal):
    assert journal.note_contents(two_vms.read()) == ()


@pytest.mark.parametrize('sql, what', [
    pytest.param('UPDATE vms SET priority = 2 WHERE vm_id = 1', 'vm_changed', id='changed'),
    pytest.param("UPDATE vms SET vm_name = 'x' WHERE vm_id = 1", 'vm_changed', id='renamed'),
    pytest.param('DELETE FROM vms WHERE vm_id = 1', 'vm_removed', id='removed'),
])
def test_edit_of_another_program_is_recorded_once(two_vms, journal, sql, what):
    with other_program(two_vms.path) as other:
        other.execute(sql)
    entries = journal.note_contents(two_vms.read())
    assert whats(entries) == [('another program', what, uuid_of(1))]
    assert journal.list_history()[:1] == entries
    assert journal.note_contents(two_vms.read()) == ()


def test_added_row_and_pool_edit_of_another_program_are_recorded(two_vms, journal):
    with other_program(two_vms.path) as other:
        other.execute(INSERT, (9, uuid_of(9), None, 'B', 0))
        other.execute("UPDATE pools SET enabled = 0 WHERE pool_id = 'B'")
    entries = journal.note_contents(two_vms.read())
    assert [entry.what for entry in entries] == ['vm_added', 'pool_changed']
    assert entries[1].before['enabled'] and not entries[1].after['enabled']
    assert journal.largest_number() == 9


def test_row_deleted_by_another_program_leaves_an_orphan(two_vms, journal):
    with other_program(two_vms.path) as other:
        other.execute('DELETE FROM vms WHERE vm_id = 1')
    journal.note_contents(two_vms.read())
    assert journal.orphans()[uuid_of(1)].vm_id == 1
    with other_program(two_vms.path) as other:
        other.execute(INSERT, (1, uuid_of(1), None, 'A', 1))
    journal.note_contents(two_vms.read())
    assert journal.orphans() == {}


def test_row_that_became_faulty_is_not_taken_for_deleted(two_vms, journal):
    with other_program(two_vms.path) as other:
        other.execute('UPDATE vms SET vm_id = -5 WHERE vm_id = 1')
    assert journal.note_contents(two_vms.read()) == ()
    assert journal.orphans() == {}
    with other_program(two_vms.path) as other:
        other.execute('UPDATE vms SET vm_id = 1 WHERE vm_id = -5')
    assert journal.note_contents(two_vms.read()) == ()


def register(registry, count):
    with registry.edit(who='me', command='x') as edit:
        for number in range(1, count + 1):
            edit.add_vm(uuid_of(number), vm_name=f'vm{number}')


@pytest.mark.parametrize('count, sql, missing', [
    pytest.param(2, 'DELETE FROM vms', 0, id='both-of-two'),
    pytest.param(3, 'DELETE FROM vms', 3, id='all-of-three'),
    pytest.param(3, 'DELETE FROM vms WHERE vm_id > 1', 0, id='two-of-three'),
    pytest.param(9, 'DELETE FROM vms WHERE vm_id > 1', 0, id='eight-of-nine'),
    pytest.param(10, 'DELETE FROM vms WHERE vm_id > 5', 0, id='half-of-ten'),
    pytest.param(10, 'DELETE FROM vms WHERE vm_id > 4', 6, id='more-than-half-of-ten'),
    pytest.param(4, "UPDATE vms SET vm_uuid = 'f' || substr(vm_uuid, 2)", 4, id='other-uuids'),
    pytest.param(4, 'DELETE FROM vms; INSERT INTO vms (vm_id, vm_uuid) VALUES '
                 f"(9, '{uuid_of(99)}')", 4, id='all-but-another-added'),
    pytest.param(12, 'DELETE FROM vms WHERE vm_id > 2; INSERT INTO vms (vm_id, vm_uuid) VALUES '
                 f"(90, '{uuid_of(90)}'); INSERT INTO vms (vm_id, vm_uuid) VALUES "
                 f"(91, '{uuid_of(91)}')", 10, id='most-and-others-added'),
    pytest.param(4, 'UPDATE vms SET vm_id = -vm_id', 0, id='all-became-faulty'),
    pytest.param(4, 'UPDATE vms SET vm_uuid = upper(vm_uuid)', 0, id='other-case'),
])
def test_file_that_lost_too_many_rows_at_once_is_doubtful(registry, journal, count, sql, missing):
    register(registry, count)
    with other_program(registry.path) as other:
        other.executescript(f'BEGIN; {sql}; COMMIT')
    assert len(registry.inspect().missing) == missing
    if not missing:
        registry.read()
        journal.note_contents(registry.read())
        return
    history = journal.list_history()
    for look in (registry.read, lambda: journal.note_contents(registry.inspect())):
        with pytest.raises(RegistryUnavailable, match='doubtful.*registry rebuild.*accept') as caught:
            look()
        assert caught.value.reason == 'doubtful'
    assert journal.list_history() == history and journal.orphans() == {}
    journal.note_contents(registry.inspect(), allow_loss=True)
    assert journal.note_contents(registry.read()) == () and not registry.inspect().missing


def test_rows_that_come_back_end_the_doubt(registry, journal):
    register(registry, 3)
    with other_program(registry.path) as other:
        other.execute('BEGIN')
        rows = other.execute('SELECT vm_id, vm_uuid, vm_name, pool_id, priority FROM vms').fetchall()
        other.execute('DELETE FROM vms')
        other.execute('COMMIT')
        assert registry.inspect().missing
        other.executemany(INSERT, rows)
    assert journal.note_contents(registry.read()) == ()


def test_losses_are_taken_as_they_are_where_that_is_configured(registry, journal):
    register(registry, 3)
    trusting = Registry(registry.path, timeout_seconds=0.25, trust_mass_removals=True)
    with other_program(registry.path) as other:
        other.execute('DELETE FROM vms')
    assert trusting.read().vms == ()
    with trusting.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(9))
    assert not registry.inspect().missing


def test_a_command_of_ours_may_remove_all(registry, journal):
    register(registry, 4)
    with registry.edit(who='me', command='x') as edit:
        for number in range(1, 5):
            edit.remove_vm(uuid_of(number))
    assert registry.read().vms == () and journal.note_contents(registry.read()) == ()


def test_losing_the_only_row_is_an_ordinary_deletion(registry, journal):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    with other_program(registry.path) as other:
        other.execute('DELETE FROM vms')
    assert len(journal.note_contents(registry.read())) == 1


def test_reading_older_than_our_edit_is_not_taken_for_another_programs_edit(two_vms, journal):
    older = two_vms.read()
    with two_vms.edit(who='me', command='x') as edit:
        edit.change_vm(uuid_of(1), priority=Priority.HIGH)
        edit.remove_vm(uuid_of(2))
    assert journal.note_contents(older) == ()
    assert set(journal.orphans()) == {uuid_of(2)}
    assert journal.note_contents(two_vms.read()) == ()


def test_empty_reading_older_than_our_edit_is_to_be_repeated(registry, journal):
    older = registry.read()
    register(registry, 3)
    with pytest.raises(RegistryUnavailable, match='read it again') as caught:
        journal.note_contents(older)
    assert caught.value.reason == 'outdated'
    assert journal.note_contents(registry.read()) == ()


def test_copy_with_another_name_in_the_same_directory_is_another_file(two_vms, journal):
    copy = Registry(two_vms.path + '.copy', timeout_seconds=0.1)
    copy.create('me')
    with copy.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(3))
    assert journal.note_contents(two_vms.read()) == ()
    assert journal.orphans() == {}


def test_registry_created_anew_orphans_the_vms_of_the_one_before(two_vms, journal):
    os.remove(two_vms.path)
    assert two_vms.create('me')
    assert set(journal.orphans()) == {uuid_of(1), uuid_of(2)}
    assert journal.note_contents(two_vms.read()) == ()
