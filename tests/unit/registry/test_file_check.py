"""What a check of the whole file finds, and what in it older programs cannot read."""

import os
import shutil
import sqlite3
import subprocess

import pytest

from registry.file_check import describe_leftover
from tests.unit.registry.helpers import other_program, uuid_of

NEW = sqlite3.sqlite_version_info


def execute(registry, sql):
    with other_program(registry.path) as other:
        other.executescript(sql)


def has_module(name):
    connection = sqlite3.connect(':memory:')
    try:
        return (name,) in connection.execute('PRAGMA module_list').fetchall()
    except sqlite3.Error:
        return False
    finally:
        connection.close()


def test_new_registry_has_nothing_odd(registry):
    found = registry.check()
    assert (found.problems, found.warnings) == ((), ())


@pytest.mark.parametrize('sql, said, since', [
    pytest.param('CREATE TABLE x (a TEXT) STRICT', 'table x: STRICT', (3, 37), id='strict'),
    pytest.param('CREATE TABLE x (a TEXT PRIMARY KEY) WITHOUT ROWID', 'table x: WITHOUT ROWID',
                 (3, 8, 2), id='without-rowid'),
    pytest.param('CREATE TABLE x (a INT, b INT GENERATED ALWAYS AS (a + 1))',
                 'table x: a generated column', (3, 31), id='generated'),
    pytest.param('ALTER TABLE vms ADD COLUMN double INT AS (vm_id * 2)',
                 'table vms: a generated column', (3, 31), id='generated-in-vms'),
    pytest.param('CREATE INDEX x ON vms (vm_id) WHERE priority = 2', 'index x: for some rows',
                 (3, 8), id='partial-index'),
    pytest.param('CREATE INDEX x ON vms (lower(vm_name))', 'index x: of an expression', (3, 9),
                 id='expression-index'),
])
def test_what_makes_the_file_unreadable_to_older_programs_is_a_problem(registry, sql, said,
                                                                       since):
    if NEW < since:
        pytest.skip('this SQLite does not know it')
    execute(registry, sql)
    found = registry.check()
    assert [problem for problem in found.problems if said in problem], found


def test_virtual_table_is_a_problem(registry):
    if not has_module('fts5'):
        pytest.skip('this SQLite has no fts5')
    execute(registry, 'CREATE VIRTUAL TABLE notes USING fts5(body)')
    assert [p for p in registry.check().problems if 'notes: a virtual table' in p]


@pytest.mark.parametrize('sql, said', [
    pytest.param('CREATE TRIGGER t AFTER INSERT ON vms BEGIN SELECT 1; END', 'trigger t on vms',
                 id='trigger'),
    pytest.param('CREATE VIEW v AS SELECT vm_id FROM vms', 'view v', id='view'),
    pytest.param('ALTER TABLE vms ADD COLUMN rowid TEXT', 'a column rowid', id='column-rowid'),
    pytest.param(';'.join(
        f"INSERT INTO vms (vm_id, vm_uuid) VALUES ({n}, '{uuid_of(n)}')" for n in range(1, 66)),
        '65 rows: the GPU mediator takes 64', id='more-than-the-mediator-takes'),
])
def test_what_may_be_meant_is_a_warning(registry, sql, said):
    execute(registry, sql)
    found = registry.check()
    assert [text for text in found.warnings if said in text] and found.problems == (), found


def test_second_name_of_the_file_is_a_warning(registry, tmp_path):
    os.link(registry.path, str(tmp_path / 'other'))
    found = registry.check()
    assert [text for text in found.warnings if '2 names (hard links)' in text], found


@pytest.mark.parametrize('sql', [
    "CREATE TABLE x (a TEXT DEFAULT ') STRICT', \"b STRICT\" INT) -- WITHOUT ROWID",
    "CREATE TABLE x (a TEXT CHECK (a <> 'GENERATED ALWAYS AS (1)'), bias INT)",
    'CREATE INDEX x ON vms (vm_id, priority)',
    'CREATE TABLE x AS SELECT vm_id AS y FROM vms',
])
def test_what_only_looks_like_it_is_nothing(registry, sql):
    execute(registry, sql)
    found = registry.check()
    assert (found.problems, found.warnings) == ((), ())


@pytest.mark.parametrize('sql, said', [
    pytest.param("UPDATE vms SET priority = 'high'", "'high'", id='word-for-a-priority'),
    pytest.param("UPDATE vms SET vm_uuid = vm_uuid || ' '", 'vm_uuid', id='blank-behind-a-uuid'),
    pytest.param("UPDATE vms SET pool_id = 'C'", 'pool', id='pool'),
    pytest.param("UPDATE vms SET vm_id = '7x'", 'vm_id', id='number'),
])
def test_row_that_is_no_assignment_is_a_problem_that_shows_what_stands_there(registry, sql, said):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    execute(registry, f'PRAGMA ignore_check_constraints = 1; {sql}')
    assert [p for p in registry.check().problems if said in p and uuid_of(1) in p]


@pytest.fixture
def interrupted(registry, tmp_path):
    """A registry with the rollback journal of a writer that was killed in the middle."""
    with registry.edit(who='me', command='x') as edit:
        for number in range(1, 200):
            edit.add_vm(uuid_of(number), vm_name='x' * 200)
    good = str(tmp_path / 'good.db')
    shutil.copy(registry.path, good)
    other = sqlite3.connect(registry.path, isolation_level=None)
    other.execute('PRAGMA cache_size = 5')
    other.execute('BEGIN')
    other.execute("UPDATE vms SET vm_name = 'y' || vm_name")
    torn = [str(tmp_path / name) for name in ('torn.db', 'torn.db-journal')]
    # Not in this process: closing the file here would drop SQLite's locks.
    subprocess.check_call(['cp', registry.path, torn[0]])
    subprocess.check_call(['cp', registry.path + '-journal', torn[1]])
    assert describe_leftover(registry.path) == ''
    other.execute('ROLLBACK')
    other.close()
    shutil.copy(torn[0], registry.path)
    shutil.copy(torn[1], registry.path + '-journal')
    return good


def test_rollback_journal_is_told_before_it_is_used_up(registry, interrupted):
    old = os.stat(registry.path + '-journal').st_mtime - 3600
    os.utime(registry.path + '-journal', (old, old))
    shutil.copy(interrupted, registry.path)
    found = registry.check()
    assert 'was put there later' in found.problems[0] and '-journal' in found.problems[0]
    assert os.path.getsize(registry.path + '-journal')
    os.unlink(registry.path + '-journal')
    assert registry.check().problems == () and len(registry.read().vms) == 199


def test_rollback_journal_of_an_interrupted_change_is_told_too(registry, interrupted):
    assert 'undoes an interrupted change' in registry.check().problems[0]
    assert len(registry.read().vms) == 199
    assert registry.check().problems == ()
