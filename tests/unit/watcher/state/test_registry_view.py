"""The registry and the journal as the daemon has them in front of it."""

import contextlib
import os
import sqlite3
import time

import pytest

from registry.journal.journal import Bearer
from registry.store import Registry
from registry.values import Priority
from tests.support.waiting import LOADED
from tests.unit.registry.helpers import locked_elsewhere
from tests.unit.watcher.builders import SPAN, uuid_of
from watcher.state.inventory import Claim
from watcher.state.registry_view import RegistryView
from watcher.vm.plan import Assignment

ONE, TWO = uuid_of(1), uuid_of(2)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'vgpu_config.db')


@pytest.fixture
def registry(path):
    registry = Registry(path, timeout_seconds=5.0)
    registry.create('the test')
    with registry.edit(who='the test', command='register-vm') as edit:
        edit.add_vm(ONE, vm_name='one', vm_id=10, pool_id='B', priority=Priority.HIGH)
    return registry


@pytest.fixture
def build_view(path):
    """Build books; all of them are closed at the end."""
    built = []

    def build(**options):
        built.append(RegistryView(path, **options))
        return built[-1]
    yield build
    for view in built:
        view.close()


@pytest.fixture
def view(registry, build_view):
    view = build_view()
    view.poll()
    return view


def execute(path, *statements):
    """Edit the file as another program does, and make sure that its status shows it."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000000))


def test_first_poll_reads_the_rows(registry, build_view):
    view = build_view()
    assert not view.is_available
    change = view.poll()
    assert change.is_changed and change.became_available and view.is_available
    assert view.is_accepted and view.unavailable == ''
    assert view.assignments == {ONE: Assignment(ONE, 10, 'B', 2, True)}
    assert view.owners == {10: ONE} and view.names == {ONE: 'one'}


def test_poll_of_an_unchanged_file_finds_nothing(view):
    assert not view.poll().is_changed


@pytest.mark.parametrize('statement, touched', [
    pytest.param('UPDATE vms SET priority = 0', {ONE}, id='priority'),
    pytest.param('UPDATE vms SET vm_id = 11', {ONE}, id='number'),
    pytest.param("UPDATE pools SET enabled = 0 WHERE pool_id = 'B'", {ONE}, id='pool-disabled'),
    pytest.param("INSERT INTO vms (vm_id, vm_uuid, pool_id) VALUES (12, '%s', 'A')" % TWO, {TWO},
                 id='row-added'),
    pytest.param('DELETE FROM vms', {ONE}, id='row-deleted')])
def test_edit_of_another_program_is_found_with_the_vms_it_touches(view, path, statement, touched):
    execute(path, statement)
    change = view.poll()
    assert (change.is_changed, change.touched, change.edits) == (True, touched, 1)
    assert not view.poll().is_changed


@pytest.mark.parametrize('statement', [
    pytest.param("UPDATE pools SET enabled = 0 WHERE pool_id = 'A'", id='pool-of-nobody'),
    pytest.param("UPDATE pools SET pool_name = 'x' WHERE pool_id = 'A'", id='name-of-a-pool'),
    pytest.param("UPDATE pools SET description = 'x'", id='description-of-pools')])
def test_edit_of_a_pool_is_a_change_that_concerns_no_vm(view, path, statement):
    execute(path, statement)
    change = view.poll()
    assert change.is_changed and not change.touched and not change.concerns_all


def test_name_of_a_vm_is_no_change(view, path):
    execute(path, "UPDATE vms SET vm_name = 'other'")
    assert not view.poll().is_changed and view.is_available


def test_deleted_row_leaves_an_orphan(view, path):
    execute(path, 'DELETE FROM vms')
    view.poll()
    assert view.orphans == {ONE} and view.assignments == {}
    view.forget_orphan(ONE)
    assert view.orphans == frozenset()


def test_row_that_cannot_be_taken_sets_its_vm_aside(view, path):
    execute(path, 'PRAGMA ignore_check_constraints = 1', 'UPDATE vms SET priority = 7')
    view.poll()
    assert view.is_available and view.faulty == {ONE} and view.assignments == {}


def test_uuid_of_another_program_is_read_in_any_case(view, path):
    execute(path, "UPDATE vms SET vm_uuid = '%s'" % ONE.upper())
    view.poll()
    assert set(view.assignments) == {ONE}


# A file that cannot be used (P17).

@pytest.mark.parametrize('spoil', [
    pytest.param(os.unlink, id='missing'),
    pytest.param(lambda path: open(path, 'wb').close(), id='empty'),
    pytest.param(lambda path: execute(path, 'DROP TABLE vms'), id='without-a-table'),
    pytest.param(lambda path: execute(path, 'PRAGMA user_version = 99'), id='too-new')])
def test_unusable_file_is_told_once_and_the_rows_stay_in_memory(view, path, spoil):
    spoil(path)
    change = view.poll()
    assert change.is_changed and change.became_unavailable and not view.is_available
    assert not view.poll().is_changed and set(view.assignments) == {ONE}


def test_file_that_comes_back_is_available_again(view, path):
    os.rename(path, path + '.away')
    assert view.poll().became_unavailable
    os.rename(path + '.away', path)
    assert view.poll().became_available and view.is_available


def test_locked_file_is_unavailable_until_it_is_free(view, path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    connection.execute('UPDATE vms SET priority = 0')
    view.reread()
    assert view.poll().became_unavailable
    connection.execute('COMMIT')
    connection.close()
    assert view.poll().became_available
    assert view.assignments[ONE].priority == 0


@pytest.fixture
def calm_view(registry, build_view):
    """One that has looked a second time at what it saw first."""
    now = [0.0]
    view = build_view(clock=lambda: now[0])
    view.poll()
    now[0] += 1.0
    view.poll()
    return view


def test_lock_that_no_status_shows_is_met_at_the_second_look(calm_view, path):
    view = calm_view
    with locked_elsewhere(path, 'BEGIN EXCLUSIVE'):
        view.look_for_lock()
        assert not view.poll().is_changed
        view.look_for_lock()
        assert view.poll().reason == 'locked' and not view.is_available
        view.look_for_lock()
        assert not view.poll().is_changed  # told once
    view.look_for_lock()
    assert view.poll().became_available


def test_program_that_writes_and_lets_others_read_is_no_lock(calm_view, path):
    view = calm_view
    with locked_elsewhere(path, 'BEGIN IMMEDIATE'):
        for _look in range(3):
            view.look_for_lock()
            assert not view.poll().is_changed
    assert view.is_available


def test_registry_is_never_created(build_view, path):
    view = build_view()
    assert view.poll().became_unavailable
    assert os.listdir(os.path.dirname(path)) == []


def test_file_of_others_is_not_accepted(registry, build_view, path):
    execute(path, 'PRAGMA user_version = 0')
    view = build_view()
    view.poll()
    assert view.is_available and not view.is_accepted


# A file that lost many rows, and a journal that is of no help (P17).

THREE = tuple(uuid_of(number) for number in (1, 2, 3))


@pytest.fixture
def three_vms(registry):
    with registry.edit(who='the test', command='register-vm') as edit:
        for vm_uuid in THREE[1:]:
            edit.add_vm(vm_uuid)


def lock_journal(path):
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute('BEGIN EXCLUSIVE')
    return contextlib.closing(connection)


def spoil(path):
    with open(path, 'r+b') as stream:
        stream.write(b'x' * 4096)


def replace_by_directory(path):
    os.unlink(path)
    os.mkdir(path)


def make_too_new(path):
    execute(path, 'PRAGMA user_version = 99')


def test_doubtful_file_is_told_and_its_rows_stay_in_memory(three_vms, build_view, path):
    view = build_view()
    view.poll()
    execute(path, 'DELETE FROM vms', "INSERT INTO vms (vm_id, vm_uuid) VALUES (9, '%s')"
            % uuid_of(9))
    change = view.poll()
    assert change.reason == 'doubtful' and not view.is_available
    assert set(view.assignments) == set(THREE)
    assert not view.poll().is_changed
    view.trust_mass_removals = True
    view.reread()
    assert view.poll().became_available and set(view.assignments) == {uuid_of(9)}


def test_daemon_that_was_not_running_notices_at_its_start(three_vms, build_view, path, view):
    view.close()
    execute(path, 'DELETE FROM vms')
    assert build_view().poll().reason == 'doubtful'


@pytest.mark.parametrize('damage', [
    pytest.param(spoil, id='damaged'),
    pytest.param(make_too_new, id='too-new'),
    pytest.param(replace_by_directory, id='directory')])
def test_journal_in_any_state_leaves_the_registry_available(three_vms, build_view, registry,
                                                            path, damage):
    view = build_view()
    view.poll()
    view.close()
    damage(registry.journal_path)
    execute(path, 'UPDATE vms SET priority = 0 WHERE vm_id = 10')
    assert view.poll().touched == {ONE} and view.is_available and view.journal_problem
    execute(path, 'DELETE FROM vms')
    assert view.poll().reason == 'doubtful'


@pytest.mark.parametrize('table, statement', [
    ('staged', "UPDATE staged SET vm_id = 'x', sequence = 'y'"),
    ('staged', "UPDATE staged SET value = x'ff00'"),
    ('claims', "UPDATE claims SET sequence = 'x'"),
    ('counters', "UPDATE counters SET value = 'x'"),
    ('seen_vms', 'UPDATE seen_vms SET priority = 7'),
    ('bearers', "INSERT INTO bearers VALUES ('z', NULL, 'q', 'vm', 'w', '')"),
    ('orphans', "INSERT INTO orphans VALUES ('z', 'q', '')"),
    ('removed', "INSERT INTO removed VALUES ('z', x'ff00', '')"),
    ('written', "INSERT INTO written VALUES ('z', x'ff00', '', '')")])
def test_journal_with_an_odd_cell_is_unavailable_and_says_where(three_vms, build_view, registry,
                                                                path, table, statement):
    view = build_view()
    view.poll()
    view.journal.note_staged(ONE, 10, SPAN)
    view.journal.note_claims([10])
    view.close()
    execute(registry.journal_path, statement)
    execute(path, 'UPDATE vms SET priority = 0 WHERE vm_id = 10')
    assert view.poll().touched == {ONE} and view.is_available
    assert f'table {table} holds' in view.journal_problem
    with registry.edit(who='the test', command='update-vm') as edit:
        edit.change_vm(ONE, priority=Priority.HIGH)
    assert view.poll().touched == {ONE} and view.is_available


def test_locked_journal_leaves_the_registry_available(three_vms, build_view, registry, path):
    view = build_view()
    view.poll()
    with lock_journal(registry.journal_path):
        execute(path, 'UPDATE vms SET priority = 0 WHERE vm_id = 10')
        began = time.monotonic()
        assert view.poll().touched == {ONE} and view.is_available
        assert 'journal' in view.journal_problem and 'locked' in view.journal_problem
        assert time.monotonic() - began < 0.25 * LOADED
        execute(path, 'DELETE FROM vms')
        assert view.poll().reason == 'doubtful'
    assert view.poll().reason == '' and not view.is_available


def test_edit_of_another_program_while_the_journal_was_locked_is_recorded_later(
        build_view, registry, path):
    now = [0.0]
    view = build_view(clock=lambda: now[0])
    view.poll()
    with lock_journal(registry.journal_path):
        execute(path, 'UPDATE vms SET priority = 0')
        assert view.poll().edits == 0 and view.is_journal_readable
    now[0] += 5
    assert view.poll().edits == 1 and not view.journal_problem


# Claims on numbers.

def test_claims_in_memory_keep_their_order_and_their_place(view):
    view.note_bearer(TWO, 10, 'vm')
    view.note_staged(ONE, 10, SPAN)
    view.note_bearer(TWO, 10, 'vm')
    assert view.bearers[TWO].sequence < view.staged[ONE].sequence
    assert (view.staged[ONE].vm_id, view.staged_values[ONE]) == (10, SPAN)
    view.note_staged(ONE, 10, SPAN + ',addr=5')
    assert view.staged[ONE] == Claim(10, 2) and view.staged_values[ONE] == SPAN + ',addr=5'
    view.note_bearer(TWO, None, '')
    assert view.bearers == {}


def test_another_number_is_a_later_claim(view):
    view.note_staged(ONE, 10, SPAN)
    before = view.staged[ONE].sequence
    view.note_staged(ONE, 11, SPAN)
    assert view.staged[ONE].sequence > before


def test_claims_of_the_journal_come_before_all_later_ones(view, build_view):
    view.journal.note_staged(ONE, 10, SPAN)
    view.journal.note_bearers([Bearer(TWO, 'two', 10)])
    view.close()
    successor = build_view()
    successor.poll()
    assert successor.staged[ONE].vm_id == 10 and successor.staged_values == {ONE: SPAN}
    assert successor.staged[ONE].sequence < successor.bearers[TWO].sequence
    successor.note_bearer(uuid_of(3), 10, 'vm')
    assert successor.bearers[uuid_of(3)].sequence > successor.bearers[TWO].sequence


# Names.

def test_names_are_written_into_the_registry(view, registry):
    assert view.rename({ONE: 'renamed'}) == 1 and view.rename({}) == 0
    assert registry.read().by_uuid[ONE].vm_name == 'renamed'


def test_names_wait_while_the_file_is_locked(view, registry, path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    assert view.rename({ONE: 'renamed'}) == 0
    connection.execute('ROLLBACK')
    connection.close()
    assert registry.read().by_uuid[ONE].vm_name == 'one'


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='no /proc')
def test_a_view_that_is_closed_keeps_no_descriptor(registry, path):
    def count():
        return len(os.listdir('/proc/self/fd'))
    before, views = count(), []
    for _ in range(3):
        view = RegistryView(path)
        view.listen()
        view.poll()
        view.close()
        view.close()
        assert view.watch.descriptor is None and not view.watch.is_told
        view.poll()
        view.close()
        views.append(view)
    assert count() == before
