"""The registry made anew from an image: in place, all or nothing, told row by row."""

import glob
import os
import stat

import pytest

from registry import kept_copies as kept
from registry.creation import making
from registry.difference import find_difference
from registry.errors import Conflict, JournalUnavailable, Reason, RegistryUnavailable
from registry.journal.journal import Journal
from registry.paths import KEPT_MARK, NEW_SUFFIX, find_journal
from registry.sqlite.lock_wait import Patience
from registry.store import Registry
from registry.values import Image, Origin, Pool, Priority, Vm
from tests.unit.registry.helpers import other_program, run_child, uuid_of
from tests.unit.registry.shapes import SHAPES

POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B'))
ONE = Vm(1, uuid_of(1), 'one', 'A', Priority.MEDIUM)
TWO = Vm(2, uuid_of(2), 'two', 'B', Priority.HIGH)
THREE = Vm(3, uuid_of(3), 'three', 'A', Priority.LOW)


def image_of(*vms, pools=POOLS, largest=0):
    return Image(tuple(vms), pools, largest)


def replace(registry, image, keep_copy=True, **keywords):
    return registry.replace_contents(image, who='vgpu-watcher', command='rebuild',
                                     keep_copy=keep_copy, **keywords)


def plain(registry):
    return {vm.vm_uuid: (vm.vm_id, vm.vm_name, vm.pool_id, vm.priority)
            for vm in registry.read().vms}


def plain_of(*vms):
    return {vm.vm_uuid: (vm.vm_id, vm.vm_name, vm.pool_id, vm.priority) for vm in vms}


def kept_copies(path):
    return sorted(glob.glob(path + KEPT_MARK + '*'))


@pytest.fixture
def two_vms(registry):
    replace(registry, image_of(ONE, TWO), keep_copy=False)
    return registry


def test_rows_are_added_changed_and_removed_and_each_is_told(two_vms, journal):
    changed = TWO._replace(pool_id='A', vm_id=9)
    done = replace(two_vms, image_of(changed, THREE, largest=40)).difference
    assert plain(two_vms) == plain_of(changed, THREE)
    assert ([vm.vm_uuid for vm in done.added], [vm.vm_uuid for vm in done.removed],
            [(old.vm_id, new.vm_id) for old, new in done.changed]) \
        == ([THREE.vm_uuid], [ONE.vm_uuid], [(2, 9)])
    told = [entry for entry in journal.list_history() if entry.command == 'rebuild'][:4]
    assert {(entry.who, entry.what, entry.vm_uuid) for entry in told} == {
        ('vgpu-watcher', 'registry_rebuilt', None),
        ('vgpu-watcher', 'vm_added', THREE.vm_uuid),
        ('vgpu-watcher', 'vm_changed', TWO.vm_uuid), ('vgpu-watcher', 'vm_removed', ONE.vm_uuid)}
    assert journal.largest_number() == 40
    assert set(journal.orphans()) == {ONE.vm_uuid}


def test_numbers_are_swapped(two_vms):
    swapped = (ONE._replace(vm_id=2), TWO._replace(vm_id=1))
    replace(two_vms, image_of(*swapped))
    assert plain(two_vms) == plain_of(*swapped)


def test_numbers_go_round_and_to_a_new_row(two_vms):
    wanted = (ONE._replace(vm_id=2), THREE._replace(vm_id=1))
    replace(two_vms, image_of(*wanted))
    assert plain(two_vms) == plain_of(*wanted)


def test_pools_are_taken_over(two_vms, journal):
    pools = (Pool('A', 'fast', 'two cards', False), Pool('B', 'Pool B'))
    done = replace(two_vms, image_of(ONE, TWO, pools=pools))
    assert [pool[1:4] for pool in two_vms.read().pools] == [pool[1:4] for pool in pools]
    assert [new.pool_name for _old, new in done.difference.pools] == ['fast']
    assert journal.list_history()[0].what == 'pool_changed'


def test_same_contents_cost_no_write_no_copy_and_no_entry(two_vms, journal):
    status = os.stat(two_vms.path)
    entries = len(journal.list_history())
    done = replace(two_vms, image_of(ONE._replace(vm_name=None), TWO._replace(vm_name='renamed')))
    assert not (done.difference.has_any or done.kept)
    assert os.stat(two_vms.path).st_mtime_ns == status.st_mtime_ns
    assert len(journal.list_history()) == entries
    assert kept_copies(two_vms.path) == []


def test_the_file_stays_the_same_file_with_its_mode(two_vms):
    os.chmod(two_vms.path, 0o640)
    before = os.stat(two_vms.path)
    replace(two_vms, image_of(THREE))
    after = os.stat(two_vms.path)
    assert (before.st_ino, stat.S_IMODE(after.st_mode)) == (after.st_ino, 0o640)


def test_columns_of_others_are_kept_for_rows_that_stay(two_vms):
    with other_program(two_vms.path) as connection:
        connection.execute('UPDATE vms SET weight = 70, quarantined = 1 WHERE vm_id = 2')
        created = connection.execute('SELECT created_at FROM vms WHERE vm_id = 2').fetchone()
    replace(two_vms, image_of(TWO._replace(vm_id=7, vm_name=None)))
    with other_program(two_vms.path) as connection:
        row = connection.execute('SELECT vm_id, vm_name, weight, quarantined FROM vms').fetchall()
        assert row == [(7, 'two', 70, 1)]
        assert connection.execute('SELECT created_at FROM vms').fetchone() == created


@pytest.mark.parametrize('shape', sorted(SHAPES))
def test_files_of_all_shapes_can_be_replaced_once_accepted(tmp_path, shape):
    path = str(tmp_path / 'vgpu_config.db')
    SHAPES[shape](path)
    registry = Registry(path, timeout_seconds=0.25)
    with pytest.raises(Conflict, match='accept'):
        replace(registry, image_of(ONE))
    with registry.edit(who='me', command='accept') as edit:
        edit.accept()
    done = replace(registry, image_of(ONE, TWO))
    assert plain(registry) == plain_of(ONE, TWO)
    assert len(done.difference.removed) > 0


def test_faulty_row_stays_unless_its_place_is_needed(two_vms):
    with other_program(two_vms.path) as connection:
        for number, name in ((50, 'needed'), (51, 'in nobodys way')):
            connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (?, ?, ?)',
                               (number, name, name))
    replace(two_vms, image_of(ONE, TWO, THREE._replace(vm_id=50)))
    contents = two_vms.read()
    assert [vm.vm_id for vm in contents.vms if vm.vm_uuid == THREE.vm_uuid] == [50]
    assert [fault.vm_uuid for fault in contents.faults] == ['in nobodys way']


def test_rows_that_differ_in_case_become_one(two_vms, journal):
    with other_program(two_vms.path) as connection:
        connection.execute('INSERT INTO vms (vm_id, vm_uuid) VALUES (60, ?)',
                           (ONE.vm_uuid.upper(),))
    replace(two_vms, image_of(ONE, TWO))
    assert plain(two_vms) == plain_of(ONE, TWO) and two_vms.read().faults == ()
    assert ONE.vm_uuid not in journal.orphans()


def test_copy_has_all_that_was_there_for_nobody_else_to_read(two_vms):
    with other_program(two_vms.path) as connection:
        connection.execute('CREATE TABLE "of others" (a, b BLOB)')
        connection.execute('INSERT INTO "of others" VALUES (1.5, ?)', (b'\xff\x00',))
        connection.execute("UPDATE vms SET vm_name = CAST(X'ff41' AS TEXT) WHERE vm_id = 1")
        connection.execute('CREATE INDEX of_names ON vms (vm_name)')
        connection.execute('CREATE TRIGGER t AFTER INSERT ON vms BEGIN '
                           'UPDATE vms SET weight = 1 WHERE vm_id = new.vm_id; END')
    before = everything(two_vms.path)
    done = replace(two_vms, image_of(THREE))
    assert kept_copies(two_vms.path) == [done.kept]
    assert everything(done.kept) == before
    assert stat.S_IMODE(os.stat(done.kept).st_mode) == 0o600
    assert Registry(done.kept, timeout_seconds=0.25).read().version == 1


def everything(path):
    with other_program(path) as connection:
        connection.text_factory = bytes
        made = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql <> '' ORDER BY name").fetchall()
        rows = [connection.execute('SELECT * FROM "%s"' % name.decode()).fetchall()
                for kind, name, _sql in made if kind == b'table']
        return made, rows, connection.execute('PRAGMA user_version').fetchall()


def test_copies_of_one_second_have_different_names_and_are_bounded(two_vms, monkeypatch):
    monkeypatch.setattr(kept, 'KEPT_COPIES', 3)
    made = [replace(two_vms, image_of(vm)).kept for vm in (THREE, ONE, THREE)]
    assert kept_copies(two_vms.path) == sorted(made) and len(set(made)) == 3
    newest = replace(two_vms, image_of(TWO)).kept
    assert len(kept_copies(two_vms.path)) == 3 and newest in kept_copies(two_vms.path)


def test_copy_that_a_clock_has_put_into_the_past_is_kept_all_the_same(two_vms, monkeypatch, clock):
    """It was forgotten as the oldest, in the moment in which it was said to be kept."""
    monkeypatch.setattr(kept, 'KEPT_COPIES', 2)
    for vm in (THREE, ONE):
        replace(two_vms, image_of(vm))
    clock.now = 1000.0
    newest = replace(two_vms, image_of(TWO)).kept
    assert 'replaced-1970' in newest and os.path.exists(newest)
    assert len(kept_copies(two_vms.path)) == 2


def test_copy_that_cannot_be_kept_stops_the_replacement(two_vms, monkeypatch):
    monkeypatch.setattr(kept, '_free_name', lambda path, now: '/nowhere/at/all')
    with pytest.raises(RegistryUnavailable, match='no copy could be kept') as caught:
        replace(two_vms, image_of(THREE))
    assert caught.value.reason is Reason.UNWRITABLE
    assert plain(two_vms) == plain_of(ONE, TWO)


def test_link_where_a_copy_is_to_be_made_is_not_followed(two_vms, tmp_path, monkeypatch):
    victim = tmp_path / 'victim'
    victim.write_text('precious', encoding='utf-8')
    name = str(tmp_path / 'copy')
    monkeypatch.setattr(kept, '_free_name', lambda path, now: name)
    os.symlink(str(victim), name + '.part')
    assert replace(two_vms, image_of(THREE)).kept == name
    assert victim.read_text(encoding='utf-8') == 'precious'
    assert stat.S_ISREG(os.lstat(name).st_mode)


def test_copy_that_somebody_took_away_is_no_hindrance(two_vms, monkeypatch):
    monkeypatch.setattr(kept, 'KEPT_COPIES', 1)
    os.symlink('/nowhere/at/all', two_vms.path + KEPT_MARK + 'gone')
    newest = replace(two_vms, image_of(THREE)).kept
    assert kept_copies(two_vms.path) == [newest]


def test_copy_goes_again_when_the_replacement_fails(two_vms):
    with other_program(two_vms.path) as connection:
        connection.execute("CREATE TRIGGER t BEFORE DELETE ON vms BEGIN "
                           "SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Conflict):
        replace(two_vms, image_of(THREE))
    assert kept_copies(two_vms.path) == [] and plain(two_vms) == plain_of(ONE, TWO)


def test_locked_file_is_unavailable_and_nothing_changes(two_vms, journal):
    entries = journal.list_history()
    with other_program(two_vms.path) as connection:
        connection.execute('BEGIN IMMEDIATE')
        with pytest.raises(RegistryUnavailable) as caught:
            replace(two_vms, image_of(THREE))
        connection.execute('ROLLBACK')
    assert caught.value.reason is Reason.LOCKED
    assert (plain(two_vms), journal.list_history()) == (plain_of(ONE, TWO), entries)


def test_file_that_lost_its_rows_is_replaced(two_vms):
    with two_vms.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(9))
    with other_program(two_vms.path) as connection:
        connection.execute('DELETE FROM vms')
    replace(two_vms, image_of(THREE))
    assert plain(two_vms) == plain_of(THREE)


def test_edit_of_another_program_is_told_as_theirs_before_it_is_undone(two_vms, journal):
    with other_program(two_vms.path) as connection:
        connection.execute("UPDATE vms SET pool_id = 'A' WHERE vm_id = 2")
    replace(two_vms, image_of(ONE, TWO))
    told = [(entry.who, entry.before['pool_id'], entry.after['pool_id'])
            for entry in journal.list_history(TWO.vm_uuid) if entry.what == 'vm_changed']
    assert told == [('vgpu-watcher', 'A', 'B'), ('another program', 'B', 'A')]


# A registry that is not there.

def test_missing_file_stays_missing_unless_it_may_be_created(path, clock):
    with pytest.raises(RegistryUnavailable) as caught:
        replace(Registry(path, timeout_seconds=0.25), image_of(ONE))
    assert caught.value.reason is Reason.MISSING
    assert not os.path.exists(path)


def test_wiped_host_gets_file_directory_and_journal(path):
    registry = Registry(path, timeout_seconds=0.25)
    old_umask = os.umask(0o077)
    try:
        done = replace(registry, image_of(ONE, TWO, largest=12)._replace(
            origin=Origin('4-0123abcd', 'd' * 32, (), 'a pool')), may_create=True)
    finally:
        os.umask(old_umask)
    assert done.kept == ''
    assert plain(registry) == plain_of(ONE, TWO)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o755
    assert not os.path.exists(path + NEW_SUFFIX)
    with Journal(registry.journal_path, timeout_seconds=0.25) as journal:
        assert journal.generation() == ('4-0123abcd', 'd' * 32)
        assert journal.largest_number() == 12 and not journal.has_own_generation()
        assert journal.note_contents(registry.read()) == ()
        assert [entry.what for entry in journal.list_history()] \
            == ['vm_added', 'vm_added', 'registry_rebuilt']


def test_file_lost_beside_its_journal_comes_back_and_the_lost_rows_are_told(two_vms, journal):
    os.remove(two_vms.path)
    replace(two_vms, image_of(TWO, THREE), may_create=True)
    assert plain(two_vms) == plain_of(TWO, THREE)
    assert set(journal.orphans()) == {ONE.vm_uuid}
    assert {(entry.what, entry.vm_uuid) for entry in journal.list_history()[:2]} \
        == {('vm_added', THREE.vm_uuid), ('vm_removed', ONE.vm_uuid)}


def test_what_a_killed_rebuild_left_beside_is_no_hindrance(path):
    registry = Registry(path, timeout_seconds=0.25)
    os.makedirs(os.path.dirname(path))
    with open(path + NEW_SUFFIX, 'w', encoding='ascii') as file:
        file.write('half')
    replace(registry, image_of(ONE), may_create=True)
    assert plain(registry) == plain_of(ONE) and not os.path.exists(path + NEW_SUFFIX)


def test_file_that_came_meanwhile_is_not_overwritten(path, clock, monkeypatch):
    registry = Registry(path, timeout_seconds=0.25, clock=clock)
    link = os.link

    def somebody_is_faster(source, target):
        with other_program(target) as connection:
            connection.execute('CREATE TABLE recipes (title)')
        link(source, target)
    monkeypatch.setattr(os, 'link', somebody_is_faster)
    with pytest.raises(Conflict, match='created meanwhile'):
        replace(registry, image_of(ONE), may_create=True)
    assert not os.path.exists(path + NEW_SUFFIX)
    with other_program(path) as connection:
        assert connection.execute('SELECT name FROM sqlite_master').fetchall() == [('recipes',)]


def test_unusable_file_is_set_aside(two_vms):
    with open(two_vms.path, 'r+b') as file:
        file.write(b'x' * 2000)
    name = two_vms.set_aside()
    assert not os.path.exists(two_vms.path) and name in kept_copies(two_vms.path)
    replace(two_vms, image_of(ONE), may_create=True)


KILLED = '''
import os, signal, sys
from registry import commit, row_writer
from registry.journal import generations, outside_edits
from registry.values import Image, Origin
from registry.store import Registry
from registry.values import Pool, Priority, Vm

path, place = sys.argv[1:]
def die(*_arguments, **_keywords):
    os.kill(os.getpid(), signal.SIGKILL)
owner, name = place.rsplit('.', 1)
setattr({'commit': commit, 'row_writer': row_writer, 'outside_edits': outside_edits, 'os': os,
         'generations': generations}[owner], name, die)
image = Image((Vm(3, '00000003-1111-2222-3333-44444444abcd', 'three', 'A', Priority.LOW),),
              (Pool('A', 'Pool A'), Pool('B', 'Pool B')), 3, Origin('3-0', 'd', (), 'a pool'))
Registry(path, timeout_seconds=1).replace_contents(
    image, who='w', command='rebuild', keep_copy=True, may_create=True)
'''


@pytest.mark.parametrize('place', ['commit.write_difference', 'row_writer._update_all',
                                   'outside_edits.refresh', 'generations.note_generation', 'os.rename'])
def test_replacement_killed_half_way_has_changed_nothing(two_vms, journal, place):
    entries = journal.list_history()
    code, _output, errors = run_child(KILLED, two_vms.path, place)
    assert code == -9, errors
    assert plain(two_vms) == plain_of(ONE, TWO)
    assert (journal.list_history(), journal.generation()) == (entries, None)
    replace(two_vms, image_of(THREE))
    assert plain(two_vms) == plain_of(THREE)


@pytest.mark.parametrize('place, is_named, is_made', [
    ('outside_edits.refresh', False, False), ('generations.note_generation', False, False),
    ('os.link', False, True), ('os.fsync', True, True)])
def test_creation_killed_half_way_is_finished_or_was_never_begun(path, place, is_named, is_made):
    """Whoever finds the registry finds a journal that knows at which generation it is."""
    code, _output, errors = run_child(KILLED, path, place)
    assert code == -9, errors
    registry = Registry(path, timeout_seconds=0.25)
    assert os.path.exists(path) == is_named
    if is_made:
        assert plain(registry) == plain_of(THREE)
    else:
        with pytest.raises(RegistryUnavailable) as caught:
            registry.read()
        assert caught.value.reason is Reason.MISSING
    with Journal(registry.journal_path, timeout_seconds=0.25) as journal:
        assert journal.is_blank() == (not is_made)
        assert journal.generation() == (('3-0', 'd') if is_made else None)
    replace(registry, image_of(ONE), may_create=True)
    assert plain(registry) == plain_of(ONE)
    assert not os.path.exists(path + NEW_SUFFIX)


def test_registry_whose_journal_is_locked_is_not_created_where_it_is_needed(path):
    """An edit that came then would find a journal that does not know where the file came from."""
    registry, image = Registry(path, timeout_seconds=0.1), image_of(ONE)._replace(
        origin=Origin('3-0', 'd', (), 'a pool'))
    with Journal(other_journal(path), timeout_seconds=0.1):
        pass
    with other_program(registry.journal_path) as other:
        other.execute('BEGIN EXCLUSIVE')
        with pytest.raises(JournalUnavailable):
            replace(registry, image, may_create=True, needs_journal=True)
        assert not os.path.exists(path) and not os.path.exists(path + NEW_SUFFIX)
        other.execute('ROLLBACK')
    replace(registry, image, may_create=True, needs_journal=True)
    with registry.edit(who='me', command='set-pool') as edit:
        edit.change_vm(ONE.vm_uuid, pool_id='B')
    with Journal(registry.journal_path, timeout_seconds=0.1) as journal:
        assert journal.generation() == ('3-0', 'd') and journal.waiting_edits() == 1


def other_journal(path):
    os.makedirs(os.path.dirname(path))
    return find_journal(path)


def test_of_two_that_create_one_waits_and_finds_it_there(path):
    registry = Registry(path, timeout_seconds=5.0)
    with making(path, Patience(0.0)) as beside:
        with pytest.raises(RegistryUnavailable) as caught:
            Registry(path, timeout_seconds=0.05).create('me')
        assert caught.value.reason is Reason.LOCKED and os.path.getsize(beside) == 0
        with other_program(beside) as connection:
            connection.execute('CREATE TABLE recipes (title)')
    with pytest.raises(RegistryUnavailable) as caught:
        registry.read()
    assert caught.value.reason is Reason.FOREIGN


def test_other_name_that_was_left_is_removed_by_the_next_edit(two_vms):
    os.link(two_vms.path, two_vms.path + NEW_SUFFIX)
    with two_vms.edit(who='me', command='x') as edit:
        edit.change_vm(ONE.vm_uuid, pool_id='B')
    assert not os.path.exists(two_vms.path + NEW_SUFFIX)
    # And one that never became the registry.
    make_stale(two_vms.path + NEW_SUFFIX)
    with two_vms.edit(who='me', command='x') as edit:
        edit.change_vm(ONE.vm_uuid, pool_id='A')
    assert not os.path.exists(two_vms.path + NEW_SUFFIX)
    assert len(two_vms.read().vms) == 2


def make_stale(path):
    with other_program(path) as connection:
        connection.execute('CREATE TABLE recipes (title)')


def test_differences_are_of_assignments_and_pools_not_of_names():
    other = POOLS[0]._replace(description='', created_at='then')
    found = find_difference((ONE, TWO), POOLS, image_of(
        ONE._replace(vm_name='x'), TWO._replace(priority=Priority.LOW), pools=(other, POOLS[1])))
    assert found.has_any and found.pools == () and found.added == found.removed == ()
    assert [after.priority for _before, after in found.changed] == [Priority.LOW]
