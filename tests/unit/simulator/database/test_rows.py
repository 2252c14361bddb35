"""The database: generations, deletions, relations, and what a restart makes of them."""

import threading

import pytest

from simulator.database.rows import NULL, Database, valid_prefix
from simulator.wire.failures import Failure

TABLES = ('host', 'VM')
RELATIONS = {('VM', 'resident_on'): ('host', 'resident_VMs')}


@pytest.fixture
def database() -> Database:
    database = Database(TABLES, RELATIONS, threading.RLock())
    database.create('host', 'H1', {'resident_VMs': []})
    database.create('VM', 'V1', {'resident_on': NULL, 'platform': {'a': '1'}, 'domid': -1})
    return database


def test_each_write_is_one_generation(database: Database) -> None:
    before = database.generation
    database.write('VM', 'V1', 'domid', 3)
    assert database.generation == before + 1
    assert database.get('VM', 'V1').modified == database.generation


def test_a_write_that_changes_nothing_makes_no_generation(database: Database) -> None:
    before = database.generation
    assert not database.write('VM', 'V1', 'domid', -1)
    assert database.generation == before


def test_true_and_one_are_different_values(database: Database) -> None:
    database.write('VM', 'V1', 'domid', 1)
    assert database.write('VM', 'V1', 'domid', True)


def test_an_injection_bumps_the_generation_twice(database: Database) -> None:
    before = database.generation
    assert database.touch('VM', 'V1') == before + 1
    assert database.generation == before + 2


def test_a_relation_touches_the_other_row(database: Database) -> None:
    before = database.generation
    database.write('VM', 'V1', 'resident_on', 'H1')
    assert database.read('host', 'H1', 'resident_VMs') == ['V1']
    assert [row.ref for row in database.tables['host'].changed_since(before)] == ['H1']
    database.destroy('VM', 'V1')
    assert database.read('host', 'H1', 'resident_VMs') == []


def test_adding_a_key_that_is_there_is_refused_even_with_the_same_value(
        database: Database) -> None:
    with pytest.raises(Failure) as caught:
        database.add_to_map('VM', 'V1', 'platform', 'a', '1')
    assert caught.value.description == ['MAP_DUPLICATE_KEY', 'VM', 'platform', 'V1', 'a']


def test_removing_an_absent_key_is_no_write(database: Database) -> None:
    before = database.generation
    database.remove_from_map('VM', 'V1', 'platform', 'b')
    assert database.generation == before


def test_a_snapshot_does_not_change_afterwards(database: Database) -> None:
    snapshot = database.get('VM', 'V1').snapshot
    database.add_to_map('VM', 'V1', 'platform', 'b', '2')
    assert snapshot.fields['platform'] == {'a': '1'}


def test_the_memory_of_deletions_is_cut_from_512_to_256(database: Database) -> None:
    before = database.generation
    names = [f'V{number:04}' for number in range(513)]
    for name in names:
        database.create('VM', name, {'resident_on': NULL})
    known = database.generation
    for name in names[:512]:
        database.destroy('VM', name)
    assert len(list(database.tables['VM'].deleted_since(known))) == 512
    database.destroy('VM', names[512])
    remembered = [deletion.ref for deletion in database.tables['VM'].deleted_since(known)]
    assert remembered == list(reversed(names))[:256]
    assert list(database.tables['VM'].deleted_since(before)) == []


def test_loading_makes_the_rows_that_relations_point_to_new(database: Database) -> None:
    database.create('VM', 'V2', {'resident_on': NULL})
    token = database.generation
    database.destroy('VM', 'V2')
    database.reload()
    assert [row.ref for row in database.tables['host'].changed_since(token)] == ['H1']
    assert database.get('host', 'H1').created > token
    assert list(database.tables['VM'].deleted_since(token)) == []


def test_a_crash_takes_the_last_writes_back(database: Database) -> None:
    database.write('VM', 'V1', 'domid', 3)
    kept = database.generation
    database.write('VM', 'V1', 'domid', 4)
    database.create('VM', 'V2', {'resident_on': 'H1'})
    database.destroy('VM', 'V1')
    database.roll_back(kept)
    assert database.generation == kept
    assert database.read('VM', 'V1', 'domid') == 3
    assert database.find('VM', 'V2') is None
    assert database.read('host', 'H1', 'resident_VMs') == []


def test_what_changed_is_found_in_order_after_a_crash(database: Database) -> None:
    database.create('VM', 'V2', {'resident_on': NULL, 'domid': -1})
    known = database.generation
    database.write('VM', 'V1', 'domid', 5)
    database.write('VM', 'V2', 'domid', 6)
    database.roll_back(database.generation - 1)
    assert [row.ref for row in database.tables['VM'].changed_since(known)] == ['V1']


@pytest.mark.parametrize('value, kept', [
    pytest.param('plain', 'plain', id='plain'),
    pytest.param('a\x01b', 'a', id='control-character'),
    pytest.param('\x7f', '\x7f', id='delete'),
    pytest.param('a b', 'a b', id='space'),
])
def test_a_value_is_cut_at_its_first_character_that_xml_does_not_allow(
        value: str, kept: str) -> None:
    assert valid_prefix(value) == kept
