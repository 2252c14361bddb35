"""Creating and reading the shared file, and every way in which it can be unusable."""

import os
import stat
import threading
import time

import pytest

from registry.errors import Conflict, JournalUnavailable, RegistryUnavailable, SchemaTooNew
from registry.store import Registry
from registry.values import Priority
from tests.support.waiting import LOADED
from tests.unit.registry.helpers import other_program, run_child, uuid_of

INSERT = 'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)'


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_created_registry_is_readable_for_all_and_its_journal_for_nobody(path, journal_path):
    old_umask = os.umask(0o077)
    try:
        assert Registry(path, timeout_seconds=0).create('somebody')
    finally:
        os.umask(old_umask)
    modes = [mode_of(name) for name in (path, os.path.dirname(path), journal_path)]
    assert modes == [0o644, 0o755, 0o600]


def test_created_registry_has_both_pools_and_is_accepted(registry):
    contents = registry.read()
    assert [(pool.pool_id, pool.pool_name, pool.enabled) for pool in contents.pools] == [
        ('A', 'Pool A', True), ('B', 'Pool B', True)]
    assert contents.accepted and contents.vms == () and contents.faults == ()
    assert registry.check().problems == ()


def test_creating_twice_changes_nothing(registry):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    os.chmod(registry.path, 0o640)
    os.chmod(os.path.dirname(registry.path), 0o700)
    assert registry.create('somebody') is False
    assert len(registry.read().vms) == 1
    assert (mode_of(registry.path), mode_of(os.path.dirname(registry.path))) == (0o640, 0o700)


def test_path_with_odd_characters_is_taken_as_it_is(tmp_path):
    path = str(tmp_path / 'a?b=c#d%20e é' / 'x y;&.db')
    registry = Registry(path, timeout_seconds=0.1)
    assert registry.create('somebody') and registry.read().accepted
    assert os.path.exists(path)


def test_creation_that_died_after_making_the_file_is_completed(path):
    os.makedirs(os.path.dirname(path))
    open(path, 'wb').close()
    registry = Registry(path, timeout_seconds=0)
    with pytest.raises(RegistryUnavailable):
        registry.read()
    assert registry.create('somebody')
    assert registry.read().accepted


def test_reading_never_creates_anything(path):
    os.makedirs(os.path.dirname(path))
    with pytest.raises(RegistryUnavailable):
        Registry(path, timeout_seconds=0).read()
    assert os.listdir(os.path.dirname(path)) == []


def make_directory(path):
    os.makedirs(path)


def make_text(path):
    with open(path, 'w') as file:
        file.write('this is no database, but it is longer than the header of one\n' * 100)


def make_short_text(path):
    with open(path, 'w') as file:
        file.write('short')


def make_empty(path):
    open(path, 'wb').close()


def make_one_table(path):
    with other_program(path) as connection:
        connection.execute('CREATE TABLE pools (pool_id)')


def make_view(path):
    Registry(path, timeout_seconds=0).create('x')
    with other_program(path) as connection:
        connection.execute('ALTER TABLE vms RENAME TO rows_of_vms')
        connection.execute('CREATE VIEW vms AS SELECT * FROM rows_of_vms')


def make_wal(path):
    Registry(path, timeout_seconds=0).create('x')
    with other_program(path) as connection:
        connection.execute('PRAGMA journal_mode=WAL')


def make_damaged(path):
    Registry(path, timeout_seconds=0).create('x')
    with open(path, 'r+b') as file:
        file.seek(4096)
        file.write(b'\xa5' * 8192)


def make_fifo(path):
    os.mkfifo(path)


@pytest.mark.parametrize('make, reason', [
    pytest.param(lambda path: None, 'missing', id='missing'),
    pytest.param(make_empty, 'empty', id='no-bytes'),
    pytest.param(make_directory, 'unreadable', id='directory'),
    pytest.param(make_fifo, 'unreadable', id='fifo'),
    pytest.param(make_text, 'corrupt', id='text-file'),
    pytest.param(make_short_text, 'corrupt', id='short-text-file'),
    pytest.param(make_damaged, 'corrupt', id='damaged-pages'),
    pytest.param(make_one_table, 'foreign', id='one-table-of-two'),
    pytest.param(make_view, 'foreign', id='vms-is-a-view'),
    pytest.param(make_wal, 'wal', id='wal'),
])
def test_unusable_file_is_unavailable_and_says_why(path, make, reason):
    os.makedirs(os.path.dirname(path))
    make(path)
    registry = Registry(path, timeout_seconds=0.25)
    started = time.monotonic()
    for attempt in (registry.read, lambda: registry.edit(who='x', command='x').__enter__()):
        with pytest.raises(RegistryUnavailable, match=path) as caught:
            attempt()
        assert caught.value.reason == reason
        assert f'{caught.value.reason}' == reason
    assert time.monotonic() - started < 8


def test_file_in_wal_mode_that_is_in_use_is_not_joined(registry):
    with other_program(registry.path) as connection:
        connection.execute('PRAGMA journal_mode=WAL')
        connection.execute(INSERT, (1, uuid_of(1), None, 'A', 1))
        with pytest.raises(RegistryUnavailable) as caught:
            registry.read()
    assert caught.value.reason == 'wal'


def test_newer_file_is_refused_and_left_alone(registry):
    with other_program(registry.path) as connection:
        connection.execute('PRAGMA user_version=2')
    with pytest.raises(SchemaTooNew, match='version 2.*upgrade'):
        registry.read()
    with pytest.raises(SchemaTooNew):
        with registry.edit(who='me', command='accept') as edit:
            edit.accept()
    with other_program(registry.path) as connection:
        assert connection.execute('PRAGMA user_version').fetchone() == (2,)


def test_short_text_file_is_not_written_over(path):
    os.makedirs(os.path.dirname(path))
    make_short_text(path)
    with pytest.raises(RegistryUnavailable):
        Registry(path, timeout_seconds=0).create('somebody')
    with open(path) as file:
        assert file.read() == 'short'


def test_foreign_database_is_not_made_a_registry(path):
    os.makedirs(os.path.dirname(path))
    with other_program(path) as connection:
        connection.execute('CREATE TABLE recipes (title)')
    with pytest.raises(RegistryUnavailable) as caught:
        Registry(path, timeout_seconds=0).create('somebody')
    assert caught.value.reason == 'foreign'


@pytest.mark.parametrize('begin', ['BEGIN EXCLUSIVE', 'BEGIN IMMEDIATE'])
def test_locked_registry_is_reported_in_time(registry, begin):
    with other_program(registry.path) as other:
        other.execute(begin)
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable) as caught:
            with registry.edit(who='me', command='x'):
                pass
        assert caught.value.reason == 'locked'
        assert 0.15 < time.monotonic() - started < 2 * LOADED
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    assert len(registry.read().vms) == 1


def test_reading_waits_for_the_time_allowed_and_no_longer(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN EXCLUSIVE')
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable) as caught:
            registry.read()
        assert 0.15 < time.monotonic() - started < 2 * LOADED
    assert caught.value.reason == 'locked'
    assert registry.read().vms == ()


def test_reading_goes_on_while_another_program_prepares_a_write(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN IMMEDIATE')
        other.execute(INSERT, (1, uuid_of(1), None, 'A', 1))
        assert registry.read().vms == ()
        other.execute('COMMIT')
    assert len(registry.read().vms) == 1


def test_a_reader_that_does_not_end_makes_the_commit_fail_as_locked(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN')
        other.execute('SELECT * FROM vms').fetchall()
        with pytest.raises(RegistryUnavailable) as caught:
            with registry.edit(who='me', command='x') as edit:
                edit.add_vm(uuid_of(1))
    assert caught.value.reason == 'locked'
    assert registry.read().vms == ()


READ_AS_NOBODY = '''
import os, sys
from registry.store import Registry
from registry.errors import RegistryUnavailable
from tests.support.waiting import LOADED
os.setgroups([]); os.setgid(65534); os.setuid(65534)
registry = Registry(sys.argv[1], timeout_seconds=0.25)
print(len(registry.read().vms))
try:
    with registry.edit(who='me', command='x') as edit:
        edit.remove_vm(sys.argv[2])
except RegistryUnavailable as error:
    print(error.reason)
'''


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become somebody else')
def test_a_user_without_permission_reads_and_cannot_edit(tmp_path_factory):
    directory = tmp_path_factory.mktemp('open')
    for parent in [directory] + list(directory.parents)[:-2]:
        os.chmod(str(parent), 0o755)
    registry = Registry(str(directory / 'vgpu_config.db'), timeout_seconds=0.25)
    registry.create('root')
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    status, output, errors = run_child(READ_AS_NOBODY, registry.path, uuid_of(1))
    assert (status, output.split()) == (0, ['1', 'unwritable']), errors


@pytest.mark.parametrize('name', [
    pytest.param('with\nnewline', id='newline'),
    pytest.param('with\0nul', id='nul'),
    pytest.param('x' * 1000000, id='a-million-characters'),
    pytest.param(b'\xff\xfe blob', id='blob-that-is-not-utf-8'),
    pytest.param(17, id='number'),
])
def test_hostile_name_does_not_break_reading(registry, name):
    with other_program(registry.path) as other:
        other.execute(INSERT, (1, uuid_of(1), name, 'A', 1))
        other.execute(INSERT, (2, uuid_of(2), 'good', 'A', 1))
    vms = registry.read().vms
    assert [vm.vm_id for vm in vms] == [1, 2]
    assert len(vms[0].vm_name.encode()) <= 255 and '\0' not in vms[0].vm_name
    assert vms[1].vm_name == 'good'


def test_name_in_text_that_is_not_utf_8_does_not_break_reading(registry):
    with other_program(registry.path) as other:
        other.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name) "
                      "VALUES (1, ?, CAST(x'41ff42' AS TEXT))", (uuid_of(1),))
    assert registry.read().vms[0].vm_name == 'A\ufffdB'


@pytest.mark.parametrize('vm_id, vm_uuid, problem', [
    pytest.param(-5, uuid_of(1), 'vm_id', id='negative-vm_id'),
    pytest.param(2147483647, uuid_of(1), 'vm_id', id='vm_id-too-large'),
    pytest.param('abc', uuid_of(1), 'vm_id', id='vm_id-is-text'),
    pytest.param(1, '$(reboot)', 'vm_uuid', id='command-for-a-uuid'),
    pytest.param(1, b'\xff\x00', 'vm_uuid', id='blob-for-a-uuid'),
    pytest.param(1, 'x' * 1000000, 'vm_uuid', id='huge-uuid'),
])
def test_row_that_does_not_validate_is_a_fault_and_hides_no_other(
        registry, vm_id, vm_uuid, problem):
    with other_program(registry.path) as other:
        other.execute(INSERT, (vm_id, vm_uuid, 'bad', 'A', 1))
        other.execute(INSERT, (2, uuid_of(2), 'good', 'B', 2))
    contents = registry.read()
    assert [vm.vm_name for vm in contents.vms] == ['good']
    assert [fault.problem.split(':')[0] for fault in contents.faults] == [problem]
    assert len(contents.faults[0].vm_uuid) <= 255
    assert len(registry.check().problems) == 1


def test_rows_that_differ_in_case_only_are_both_faults(registry):
    with other_program(registry.path) as other:
        other.execute(INSERT, (1, uuid_of(1), None, 'A', 1))
        other.execute(INSERT, (2, uuid_of(1).upper(), None, 'A', 1))
    contents = registry.read()
    assert contents.vms == ()
    assert {fault.vm_uuid for fault in contents.faults} == {uuid_of(1), uuid_of(1).upper()}
    with pytest.raises(Conflict, match='remove-vm'):
        with registry.edit(who='me', command='x') as edit:
            edit.change_vm(uuid_of(1), priority=Priority.HIGH)
    with registry.edit(who='me', command='remove-vm') as edit:
        edit.remove_vm(uuid_of(1))
    assert registry.read().faults == ()


def test_pool_without_a_value_for_enabled_has_the_default(registry):
    with other_program(registry.path) as other:
        other.execute("UPDATE pools SET enabled = NULL, description = x'ff' WHERE pool_id = 'A'")
        other.execute("DELETE FROM pools WHERE pool_id = 'B'")
    assert [pool[:4] for pool in registry.read().pools] == [
        ('A', 'Pool A', '\ufffd', True), ('B', 'Pool B', None, True)]


def test_uuid_in_upper_case_is_matched_and_given_in_lower_case(registry):
    with other_program(registry.path) as other:
        other.execute(INSERT, (1, uuid_of(1).upper(), None, 'A', 1))
    assert registry.read().vms[0].vm_uuid == uuid_of(1)
    with registry.edit(who='me', command='x') as edit:
        edit.change_vm(uuid_of(1).upper(), priority=Priority.HIGH)
    with other_program(registry.path) as other:
        assert other.execute('SELECT vm_uuid, priority FROM vms').fetchall() == [(uuid_of(1), 2)]


def test_vms_come_in_the_order_of_the_lists_people_know(registry):
    rows = [(5, 'B', 0), (4, 'A', 1), (3, 'B', 2), (2, 'A', 2), (1, 'A', 1)]
    with other_program(registry.path) as other:
        for vm_id, pool_id, priority in rows:
            other.execute(INSERT, (vm_id, uuid_of(vm_id), None, pool_id, priority))
    assert [vm.vm_id for vm in registry.read().vms] == [2, 1, 4, 3, 5]


def test_a_table_of_others_cannot_shadow_one_of_ours(registry, journal):
    with other_program(registry.path) as other:
        other.execute('CREATE TABLE history (id)')
        other.execute('CREATE TABLE bearers (vm_id)')
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    assert journal.list_history()[0].what == 'vm_added'


def _damage(path):
    with open(path, 'wb') as file:
        file.write(b'no database, but long enough to be taken for one' * 100)


def _damage_a_page(path):
    """The header is well, and a page further down is not."""
    with other_program(path) as journal:
        page = journal.execute("SELECT rootpage FROM sqlite_master WHERE name = 'history'"
                               ).fetchone()[0]
        size = journal.execute('PRAGMA page_size').fetchone()[0]
    with open(path, 'r+b') as file:
        file.seek((page - 1) * size)
        file.write(b'x' * size)


def _replace(path, make):
    os.unlink(path)
    make(path)


def _run(sql):
    def run(path):
        with other_program(path) as journal:
            journal.executescript(sql)
    return run


@pytest.mark.parametrize('damage', [
    pytest.param(_damage, id='damaged'),
    pytest.param(_damage_a_page, id='damaged-page'),
    pytest.param(_run('PRAGMA user_version = 99'), id='too-new'),
    pytest.param(_run('DROP TABLE counters'), id='without-a-table'),
    pytest.param(lambda path: _replace(path, os.mkdir), id='directory'),
    pytest.param(lambda path: _replace(path, os.mkfifo), id='pipe'),
    pytest.param(lambda path: _replace(path, lambda path: os.symlink('/nowhere/x', path)),
                 id='link-to-nowhere'),
])
def test_journal_in_any_state_leaves_the_registry_to_be_read_and_edited(registry, damage):
    damage(registry.journal_path)
    assert registry.read().vms == ()
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
        assert 'journal' in edit.journal_problem
    assert [vm.vm_id for vm in registry.read().vms] == [1]
    with pytest.raises(JournalUnavailable):
        with registry.edit(who='me', command='x', needs_journal=True):
            pass


def test_locked_journal_costs_an_edit_the_history_and_little_patience(registry):
    with other_program(registry.journal_path) as holder:
        holder.execute('BEGIN EXCLUSIVE')
        assert registry.read().vms == ()
        with registry.edit(who='me', command='x') as edit:
            edit.add_vm(uuid_of(1))
            assert 'locked' in edit.journal_problem
        holder.execute('ROLLBACK')
    assert [vm.vm_id for vm in registry.read().vms] == [1]


def test_locked_journal_is_waited_for_and_told_once(path, registry):
    told = []
    patient = Registry(path, timeout_seconds=10, on_wait=told.append)
    with other_program(registry.journal_path) as holder:
        holder.execute('BEGIN EXCLUSIVE')
        waits = []
        for number in (1, 2):
            began_at = time.monotonic()
            assert patient.read().accepted
            with patient.edit(who='me', command='x') as edit:
                edit.add_vm(uuid_of(number))
                assert 'locked' in edit.journal_problem
            waits.append(time.monotonic() - began_at)
    assert len(told) == 1 and told[0].startswith(f'waiting for {registry.journal_path}, which is')
    assert waits[1] < waits[0] / 2
    with patient.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(3))
        assert edit.journal_problem == ''


def test_peer_that_holds_both_files_is_waited_for(registry, path):
    patient = Registry(path, timeout_seconds=10)
    is_held, may_end = threading.Event(), threading.Event()

    def hold():
        with registry.edit(who='peer', command='x') as edit:
            edit.add_vm(uuid_of(1))
            is_held.set()
            may_end.wait(20)
    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(20)
    threading.Timer(0.5, may_end.set).start()
    with patient.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(2))
        assert edit.journal_problem == ''
    holder.join()
    assert [vm.vm_id for vm in registry.read().vms] == [1, 2]


def _write_utf_16(path):
    with other_program(path) as other:
        other.execute("PRAGMA encoding = 'UTF-16'")
        other.execute('CREATE TABLE vms (x)')


def _without_rowid(path):
    with other_program(path) as other:
        other.executescript(
            'DROP TABLE vms; CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT PRIMARY '
            "KEY NOT NULL, vm_name TEXT, pool_id CHAR(1) NOT NULL DEFAULT 'A', priority INTEGER "
            'NOT NULL DEFAULT 1, created_at TIMESTAMP, updated_at TIMESTAMP) WITHOUT ROWID')


def test_file_in_utf_16_is_not_blamed_on_the_disk(registry):
    _replace(registry.path, _write_utf_16)
    with pytest.raises(RegistryUnavailable, match='is encoded in UTF-16.*registry rebuild') as found:
        registry.read()
    assert 'check the disk' not in str(found.value) and found.value.reason == 'foreign'


def test_table_without_rowid_is_used_and_told_by_the_check(registry):
    _without_rowid(registry.path)
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    assert [vm.vm_id for vm in registry.read().vms] == [1]
    assert 'table vms: WITHOUT ROWID' in registry.check().problems[0]


def test_trigger_on_a_missing_table_is_a_conflict_that_names_it(registry):
    with other_program(registry.path) as other:
        other.execute('CREATE TRIGGER odd AFTER INSERT ON vms BEGIN '
                      'INSERT INTO nowhere VALUES (1); END')
    with pytest.raises(Conflict, match='odd') as caught:
        with registry.edit(who='me', command='x') as edit:
            edit.add_vm(uuid_of(1))
    assert 'check the disk' not in str(caught.value) and registry.read().vms == ()
