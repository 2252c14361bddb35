"""Copies of the registry beside it: whatever others put into the file, a copy can be made."""

import os

import pytest

from registry import kept_copies
from tests.unit.registry.helpers import other_program, uuid_of
from tests.unit.registry.test_file_check import NEW, has_module


@pytest.fixture
def two_vms(registry):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1), vm_name='one')
        edit.add_vm(uuid_of(2), vm_name='two')
    return registry


def rows(path, sql='SELECT vm_id, vm_uuid, vm_name, priority FROM vms ORDER BY vm_uuid'):
    with other_program(path) as other:
        return other.execute(sql).fetchall()


@pytest.mark.parametrize('sql, since', [
    pytest.param('ALTER TABLE vms ADD COLUMN twice INT AS (vm_id * 2)', (3, 31), id='generated'),
    pytest.param('CREATE TABLE x (a INT, b INT GENERATED ALWAYS AS (a + 1) STORED, c TEXT);'
                 "INSERT INTO x (a, c) VALUES (1, 'c')", (3, 31), id='stored-in-the-middle'),
    pytest.param('CREATE TABLE x (a TEXT) STRICT; INSERT INTO x VALUES (7)', (3, 37), id='strict'),
    pytest.param("CREATE TABLE x (a TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO x VALUES ('k')",
                 (3, 8, 2), id='without-rowid'),
    pytest.param("PRAGMA ignore_check_constraints = 1; UPDATE vms SET priority = 'high'", (3, 7),
                 id='row-that-no-rule-allows'),
    pytest.param('CREATE TRIGGER t BEFORE INSERT ON vms BEGIN SELECT raise(ignore); END', (3, 7),
                 id='trigger'),
    pytest.param('CREATE VIEW v AS SELECT absent FROM nowhere', (3, 7), id='view-of-nothing'),
    pytest.param('ALTER TABLE vms ADD COLUMN rowid TEXT', (3, 7), id='column-rowid'),
    pytest.param("UPDATE vms SET vm_name = CAST(x'ff00fe' AS TEXT) WHERE vm_id = 1", (3, 7),
                 id='not-utf-8'),
])
def test_copy_is_made_whatever_others_put_into_the_file(two_vms, clock, sql, since):
    if NEW < since:
        pytest.skip('this SQLite does not know it')
    with other_program(two_vms.path) as other:
        other.text_factory = bytes
        other.executescript(sql)
    copy = kept_copies.keep_copy(two_vms.path, clock.now)
    with other_program(two_vms.path) as one, other_program(copy) as another:
        one.text_factory = another.text_factory = bytes
        for sql in ('SELECT * FROM vms ORDER BY vm_uuid', 'SELECT * FROM pools ORDER BY pool_id',
                    "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"):
            assert one.execute(sql).fetchall() == another.execute(sql).fetchall()


@pytest.mark.parametrize('module', ['fts3', 'fts4', 'fts5', 'rtree'])
def test_virtual_tables_do_not_stand_in_the_way_of_a_copy(two_vms, clock, module):
    if not has_module(module):
        pytest.skip('this SQLite has no ' + module)
    with other_program(two_vms.path) as other:
        other.execute('CREATE VIRTUAL TABLE notes USING %s(id, low, high)' % module)
        other.execute('INSERT INTO notes (id, low, high) VALUES (1, 2, 3)')
    copy = kept_copies.keep_copy(two_vms.path, clock.now)
    assert rows(copy) == rows(two_vms.path)
    assert [tuple(map(float, row)) for row in rows(copy, 'SELECT id, low, high FROM notes')] == [
        (1, 2, 3)]


def test_copy_of_what_this_sqlite_cannot_make_has_the_assignments(two_vms, clock, monkeypatch):
    with other_program(two_vms.path) as other:
        other.execute('CREATE TABLE odd (a)')
        other.execute('PRAGMA writable_schema = 1')
        other.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE odd (a COLLATE nowhere)' "
                      "WHERE name = 'odd'")
    copy = kept_copies.keep_copy(two_vms.path, clock.now)
    assert rows(copy) == rows(two_vms.path)


def test_copies_are_listed_the_newest_first(two_vms, clock):
    made = []
    for _ in range(3):
        made.append(kept_copies.keep_copy(two_vms.path, clock.now))
        clock.now += 60
    made.append(two_vms.path + '.before-schema-2')
    kept_copies.copy_file(two_vms.path, made[-1])
    assert sorted(kept_copies.list_copies(two_vms.path)) == sorted(made)
    assert kept_copies.list_copies(two_vms.path + 'x') == []


def test_copy_before_a_migration_follows_no_link_and_is_like_the_file(two_vms, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('precious')
    target = two_vms.path + '.before-9.0.0'
    os.symlink(str(victim), target + '.part')
    os.chmod(two_vms.path, 0o664)
    os.utime(two_vms.path, ns=(1, 1234567890123456789))
    kept_copies.copy_file(two_vms.path, target)
    assert victim.read_text() == 'precious'
    before, copy = [os.lstat(path) for path in (two_vms.path, target)]
    for name in ('st_mode', 'st_uid', 'st_gid', 'st_size', 'st_mtime_ns'):
        assert getattr(copy, name) == getattr(before, name)
    assert rows(target) == rows(two_vms.path)


def test_copy_that_cannot_be_made_leaves_nothing_behind(two_vms, clock, tmp_path):
    with other_program(two_vms.path) as other:
        other.execute('BEGIN EXCLUSIVE')
        with pytest.raises(Exception, match='no copy could be kept'):
            kept_copies.keep_copy(two_vms.path, clock.now)
        other.execute('ROLLBACK')
    assert kept_copies.list_copies(two_vms.path) == []


def test_copy_that_was_not_finished_is_forgotten_by_the_next(two_vms, clock):
    left = [two_vms.path + '.replaced-20260101T000000Z' + ending for ending in
            ('.part', '.part-journal')]
    for name in left:
        with open(name, 'wb') as file:
            file.write(b'half')
    copy = kept_copies.keep_copy(two_vms.path, clock.now)
    assert kept_copies.list_copies(two_vms.path) == [copy]
    assert [name for name in left if os.path.exists(name)] == []


def test_file_that_was_set_aside_in_vain_is_put_back_with_its_rollback_journal(registry):
    for name, text in ((registry.path, b'x' * 2000), (registry.path + '-journal', b'journal')):
        with open(name, 'wb') as file:
            file.write(text)
    aside = registry.set_aside()
    assert not os.path.exists(registry.path) and not os.path.exists(registry.path + '-journal')
    registry.put_back(aside)
    assert os.path.getsize(registry.path) == 2000 and os.path.exists(registry.path + '-journal')
    assert not os.path.exists(aside)


def test_file_that_was_set_aside_is_not_put_over_another(registry):
    aside = registry.set_aside()
    registry.create('me')
    registry.put_back(aside)
    assert os.path.exists(aside) and registry.read().vms == ()


def test_time_of_a_copy_is_that_of_its_name_however_old_the_file_was(two_vms, clock):
    os.utime(two_vms.path, (1000.0, 1000.0))
    aside = kept_copies.set_aside(two_vms.path, clock.now)
    again = aside + '-2'
    os.link(aside, again)
    assert kept_copies.find_time(aside) == kept_copies.find_time(again) == int(clock.now)
    assert kept_copies.list_copies(two_vms.path) == [again, aside]
    before = two_vms.path + '.before-schema-2'
    os.link(aside, before)
    assert kept_copies.find_time(before) == 1000.0
    for name in ('.replaced-99999999T999999Z', '.replaced-20260101T000000Z.gone'):
        assert kept_copies.find_time(two_vms.path + name) == 0.0
