"""The journal: private, durable, bounded, and exact about what it is given."""

import os
import sqlite3
import stat
from concurrent import futures

import pytest

from registry import schema
from registry.errors import JournalUnavailable, RegistryError
from registry.journal import history, numbers, receipts
from registry.journal.journal import Bearer, Boot, Journal, Replacement
from tests.support.left_by_0_1 import add_replacement
from tests.unit.registry.helpers import other_program, run_child, uuid_of

BOOT = Boot(0, uuid_of(1), 'one', 'start', 'host', 7, 'boot', 'task', '2027-01-15 07:00:00',
            desired='-device x', carried='-device x')
HOSTILE = 'a\'"\n\t中\ud800 -device vgpu-stub,pool_id=A' + 'x' * 200000


def test_journal_is_created_for_nobody_else_whatever_the_umask(tmp_path, monkeypatch):
    # Making it private afterwards comes too late for whoever opens it at once.
    monkeypatch.setattr(schema, '_make_private', lambda _path: None)
    path = str(tmp_path / 'vgpu_journal.db')
    old_umask = os.umask(0)
    try:
        with Journal(path, timeout_seconds=0):
            modes = {stat.S_IMODE(os.stat(str(name)).st_mode) for name in tmp_path.iterdir()}
    finally:
        os.umask(old_umask)
    assert modes == {0o600}


def test_journal_that_came_back_readable_for_all_is_made_private(journal):
    journal.close()
    os.chmod(journal.path, 0o644)
    journal.open()
    assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o600


def test_journal_refuses_to_be_used_by_another_thread(journal):
    with futures.ThreadPoolExecutor(1) as executor:
        with pytest.raises(RegistryError, match='thread'):
            executor.submit(journal.orphans).result()


def test_journal_settings_are_those_that_survive_a_power_cut(journal):
    settings = [journal._connection.execute(f'PRAGMA {name}')[0][0]
                for name in ('journal_mode', 'synchronous', 'foreign_keys')]
    assert settings == ['truncate', 2, 1]


def make_missing_directory(path):
    os.rmdir(os.path.dirname(path))


def make_directory(path):
    os.mkdir(path)


def make_text(path):
    with open(path, 'w') as file:
        file.write('no database, but long enough to be taken for one' * 100)


def make_newer(path):
    with other_program(path) as connection:
        connection.execute('PRAGMA user_version=99')


@pytest.mark.parametrize('make, reason', [
    pytest.param(make_missing_directory, 'missing', id='no-directory'),
    pytest.param(make_directory, 'unreadable', id='directory'),
    pytest.param(make_text, 'corrupt', id='text-file'),
    pytest.param(make_newer, 'too_new', id='newer'),
])
def test_unusable_journal_is_unavailable_and_says_why(tmp_path, make, reason):
    (tmp_path / 'vgpu').mkdir()
    path = str(tmp_path / 'vgpu' / 'vgpu_journal.db')
    make(path)
    with pytest.raises(JournalUnavailable, match=path) as caught:
        Journal(path, timeout_seconds=0.1).open()
    assert caught.value.reason == reason


@pytest.mark.parametrize('change', [
    'DROP TABLE bearers', 'DROP TABLE notes', 'ALTER TABLE staged RENAME TO other',
    'DROP TABLE claims; CREATE TABLE claims (vm_id INTEGER PRIMARY KEY, at TEXT)'])
def test_journal_that_lacks_something_is_damaged_as_soon_as_it_is_opened(journal, change):
    journal.close()
    connection = sqlite3.connect(journal.path)
    connection.executescript(change)
    connection.close()
    with pytest.raises(JournalUnavailable, match='move it away') as refused:
        journal.open()
    assert refused.value.reason == 'corrupt'


@pytest.mark.parametrize('version, change', [
    (2, 'CREATE TABLE claims (vm_id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, at TEXT)'),
    (2, 'CREATE TABLE written (vm_uuid TEXT)'), (2, 'DROP TABLE receipts'),
    (3, "ALTER TABLE history ADD COLUMN source TEXT NOT NULL DEFAULT ''"),
    (0, 'CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT)')])
def test_journal_of_an_earlier_version_with_other_tables_is_damaged(tmp_path, version, change):
    path = str(tmp_path / 'vgpu_journal.db')
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    with other_program(path) as connection:
        for _number, statements in schema.JOURNAL_MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(change)
    with pytest.raises(JournalUnavailable, match='is damaged; move it away') as refused:
        Journal(path, timeout_seconds=0.25).open()
    assert refused.value.reason == 'corrupt'


def test_creation_that_died_after_making_the_file_is_completed(tmp_path):
    path = str(tmp_path / 'vgpu_journal.db')
    open(path, 'wb').close()
    with Journal(path, timeout_seconds=0) as journal:
        assert journal.list_history() == ()


FILL_THE_DISK = '''
import os, resource, sys
from registry.errors import JournalUnavailable
from registry.journal.journal import Journal
with Journal(sys.argv[1], timeout_seconds=1) as journal:
    limit = os.stat(sys.argv[1]).st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        journal.write_note('large', 'x' * 1000000)
    except JournalUnavailable as error:
        print(error.reason)
'''


def test_full_disk_makes_the_journal_unavailable_and_keeps_what_was_there(journal):
    journal.add_history('me', 'x', 'first')
    status, output, errors = run_child(FILL_THE_DISK, journal.path)
    assert (status, output) == (0, 'failed\n'), errors
    assert journal.read_note('large') is None
    assert journal.list_history()[0].what == 'first'


def test_locked_journal_is_unavailable_until_it_is_free(journal):
    with other_program(journal.path) as other:
        other.execute('BEGIN EXCLUSIVE')
        for attempt in (lambda: journal.note_orphan(uuid_of(1), 1), journal.orphans):
            with pytest.raises(JournalUnavailable) as caught:
                attempt()
            assert caught.value.reason == 'locked'
    journal.note_orphan(uuid_of(1), 1)
    assert set(journal.orphans()) == {uuid_of(1)}


def test_closed_journal_says_so(journal):
    journal.close()
    with pytest.raises(RegistryError, match='closed'):
        journal.staged()


def test_batch_is_one_transaction(journal):
    with pytest.raises(ZeroDivisionError):
        with journal.batch():
            journal.write_note('key', 'value')
            journal.add_history('me', 'x', 'y')
            with journal.batch():
                journal.note_orphan(uuid_of(1), 7)
            raise ZeroDivisionError
    assert journal.read_note('key') is None and journal.orphans() == {}
    with journal.batch():
        journal.write_note('key', 'value')
        journal.note_orphan(uuid_of(1), 7)
    assert journal.read_note('key') == 'value' and set(journal.orphans()) == {uuid_of(1)}


def test_what_is_in_a_batch_is_seen_by_others_only_at_its_end(journal):
    with Journal(journal.path, timeout_seconds=0.1) as other:
        with journal.batch():
            journal.write_note('key', 'value')
            assert other.read_note('key') is None
        assert other.read_note('key') == 'value'


def test_sequence_never_repeats_also_after_reopening(journal):
    journal.note_staged(uuid_of(1), 5, '')
    journal.note_staged(uuid_of(2), 6, '')
    journal.forget_staged(uuid_of(2))
    journal.close()
    journal.open()
    journal.note_staged(uuid_of(3), 7, '')
    assert {uuid: item.sequence for uuid, item in journal.staged().items()} == {
        uuid_of(1): 1, uuid_of(3): 3}


def test_staged_keeps_its_place_in_the_sequence_while_the_number_stays(journal):
    journal.note_staged(uuid_of(1).upper(), 5, 'first')
    journal.note_bearers([Bearer(uuid_of(2), 'clone', 5)])
    journal.note_staged(uuid_of(1), 5, 'second')
    staged, bearer = journal.staged()[uuid_of(1)], journal.bearers()[uuid_of(2)]
    assert staged.value == 'second' and staged.sequence < bearer.sequence
    journal.note_staged(uuid_of(1), 6, 'third')
    assert journal.staged()[uuid_of(1)].sequence > bearer.sequence
    journal.forget_staged(uuid_of(1))
    assert journal.staged() == {}


def test_bearer_keeps_its_place_in_the_sequence_while_the_number_stays(journal, clock):
    journal.note_bearers([Bearer(uuid_of(2), 'two', 5), Bearer(uuid_of(3), 'three', 6)])
    first = journal.bearers()
    clock.now += 60
    journal.note_bearers([Bearer(uuid_of(2), 'zwei', 5, 'template'),
                          Bearer(uuid_of(3), 'three', 7)])
    second = journal.bearers()
    assert second[uuid_of(2)] == first[uuid_of(2)]._replace(vm_name='zwei', kind='template')
    assert second[uuid_of(3)].sequence > first[uuid_of(3)].sequence
    assert second[uuid_of(3)].at > first[uuid_of(3)].at
    journal.note_bearers([], gone=[uuid_of(2).upper(), uuid_of(3)])
    assert journal.bearers() == {}


def test_orphans_forget_the_oldest_beyond_their_bound(journal, monkeypatch):
    monkeypatch.setattr(numbers, 'ORPHANS_KEPT', 3)
    for number in (1, 2, 3, 4, 2, 5):
        journal.note_orphan(uuid_of(number), number)
    assert set(journal.orphans()) == {uuid_of(4), uuid_of(2), uuid_of(5)}


def test_claim_keeps_its_place_while_a_row_has_the_number(journal):
    journal.note_claims([5, 6])
    journal.note_bearers([Bearer(uuid_of(2), 'clone', 5)])
    first, borne = journal.claims(), journal.bearers()[uuid_of(2)].sequence
    journal.note_claims([6, 5])
    assert journal.claims() == first and first[5] < first[6] < borne
    journal.note_claims([5], gone=[5])
    assert journal.claims()[5] > borne and journal.claims()[6] == first[6]


def test_what_was_removed_is_kept_until_it_is_back(journal, monkeypatch):
    monkeypatch.setattr(numbers, 'REMOVED_KEPT', 2)
    for number in (1, 2, 1, 3):
        journal.note_removed(uuid_of(number).upper(), 'value %d' % number)
    assert journal.removed() == {uuid_of(1): 'value 1', uuid_of(3): 'value 3'}
    journal.forget_removed(uuid_of(1))
    assert journal.removed() == {uuid_of(3): 'value 3'}


@pytest.mark.parametrize('number, largest', [(1000000, 1000000), (1000001, 0)])
def test_number_that_only_vms_bear_counts_up_to_a_bound(journal, number, largest):
    journal.note_bearers([Bearer(uuid_of(2), None, number)])
    assert journal.largest_number() == largest


def test_bearers_count_for_the_largest_number_while_they_are_there(journal):
    journal.note_bearers([Bearer(uuid_of(2), None, 500, 'snapshot')])
    assert journal.largest_number() == 500
    journal.note_bearers([], gone=[uuid_of(2)])
    assert journal.largest_number() == 0


@pytest.mark.parametrize('before, after', [
    pytest.param('foreign -device vgpu-stub,vm_id=1', 'foreign', id='ordinary'),
    pytest.param('foreign', None, id='shall-be-gone'),
    pytest.param(None, '', id='was-not-there-shall-be-empty'),
    pytest.param(HOSTILE, HOSTILE + '\0', id='hostile'),
])
def test_what_0_1_left_is_read_to_the_character_until_it_ends(journal, before, after):
    add_replacement(journal.path, uuid_of(1), 'ref', before, after)
    with Journal(journal.path, timeout_seconds=0.1) as after_a_crash:
        found = after_a_crash.replacements()
        assert found == (Replacement(uuid_of(1), before, after),)
        after_a_crash.end_replacement(uuid_of(1))
    assert journal.replacements() == ()


@pytest.mark.parametrize('text', ['{', '1', '{}', '[' * 100000])
def test_what_0_1_cannot_have_left_is_left_out(journal, text):
    add_replacement(journal.path, uuid_of(1), 'ref', 'a', 'b')
    journal._connection.execute('UPDATE replacements SET after_json = ?', (text,))
    add_replacement(journal.path, uuid_of(2), 'ref', 'a', None)
    assert journal.replacements() == (Replacement(uuid_of(2), 'a', None),)


def test_a_boot_with_an_odd_cell_is_left_out(journal):
    number = journal.open_boot(BOOT)
    journal.open_boot(BOOT._replace(vm_uuid=uuid_of(2)))
    journal._connection.execute("UPDATE receipts SET domid = 'x' WHERE id = ?", (number,))
    for boots in (journal.open_boots(), journal.list_boots(), journal.last_boots().values()):
        assert [boot.vm_uuid for boot in boots] == [uuid_of(2)]


@pytest.mark.parametrize('value', [
    pytest.param(None, id='nothing'),
    pytest.param('text\n"', id='text'),
    pytest.param({'vm_id': 1, 'vm_name': None}, id='fields'),
    pytest.param('\ud800', id='lone-surrogate'),
])
def test_history_gives_back_what_it_was_given(journal, value):
    entry = journal.add_history('me', 'x', 'y', uuid_of(1), before=value, after=value)
    assert journal.list_history()[0] == entry
    assert entry.before == entry.after == value


def test_history_is_listed_newest_first_and_by_vm(journal):
    for number in range(10):
        journal.add_history('me', 'x', str(number), uuid_of(number % 2))
    assert [entry.what for entry in journal.list_history(limit=3)] == ['9', '8', '7']
    assert [entry.what for entry in journal.list_history(uuid_of(1), limit=2)] == ['9', '7']


def test_history_forgets_the_oldest_beyond_its_bound(journal, monkeypatch):
    monkeypatch.setattr(history, 'HISTORY_ROWS', 5)
    for number in range(9):
        journal.add_history('me', 'x', str(number))
    assert [entry.what for entry in journal.list_history()] == ['8', '7', '6', '5', '4']


def test_what_the_daemon_does_cannot_push_out_what_people_did(journal, monkeypatch):
    monkeypatch.setattr(history, 'ROUTINE_ROWS', 3)
    monkeypatch.setattr(history, 'HISTORY_ROWS', 4)
    journal.add_history('root', 'set-pool', 'vm_changed', uuid_of(1))
    for _ in range(50):
        journal.add_history('vgpu-watcher', 'stage', 'args_added', uuid_of(2))
        journal.add_history('vgpu-watcher', 'scan', 'vm_changed', uuid_of(2))
        journal.add_history('root', 'reconcile', 'args_added', uuid_of(2))
    assert [entry.what for entry in journal.list_history()] == [
        'args_added', 'vm_changed', 'args_added', 'vm_changed', 'registry_created']
    assert [entry.who for entry in journal.list_history(is_routine=False)] == [
        'root', 'the test']


def test_history_is_listed_by_time_and_by_who(journal, clock):
    for number in range(4):
        journal.add_history('me' if number % 2 else 'you', 'x', str(number))
        clock.now += 60
    at = [entry.at for entry in reversed(journal.list_history(limit=4))]
    assert [entry.what for entry in journal.list_history(since=at[1], until=at[3])] == ['2', '1']
    assert [entry.what for entry in journal.list_history(who='me')] == ['3', '1']
    assert journal.list_history(who='nobody') == ()


def test_huge_name_of_who_did_it_is_cut(journal):
    journal.add_history('x' * 100000, 'x', 'y')
    assert journal.list_history()[0].who == 'x' * 200


def test_huge_text_in_the_history_is_cut(journal):
    journal.add_history('me', 'x', 'y', before='x' * 10000000, after={'key': 'x' * 10000000})
    entry = journal.list_history()[0]
    assert len(entry.before) < 132000 and entry.before.endswith('[cut]')
    assert len(entry.after['key']) < 132000


def test_boot_is_open_until_it_has_a_verdict(journal):
    number = journal.open_boot(BOOT)
    assert journal.open_boots() == (BOOT._replace(id=number),)
    closed = journal.open_boots()[0]._replace(
        closed_at='2027-01-15 08:00:05', verdict='as_desired', found='-device x', rescued=True,
        elapsed_ms=12)
    journal.write_boot(number, closed)
    assert journal.open_boots() == ()
    assert journal.last_boot(uuid_of(1)) == closed


def test_open_boots_survive_a_restart(journal):
    number = journal.open_boot(BOOT)
    journal.close()
    journal.open()
    assert [boot.id for boot in journal.open_boots()] == [number]


def test_boot_that_did_not_happen_is_closed_without_a_verdict(journal):
    number = journal.open_boot(BOOT)
    journal.write_boot(number, BOOT._replace(closed_at='2027-01-15 08:00:05'))
    assert journal.open_boots() == () and journal.count_verdicts() == {}


def test_last_boot_of_each_vm_is_its_newest(journal):
    for vm, domid in ((1, 7), (2, 8), (1, 9)):
        journal.open_boot(BOOT._replace(vm_uuid=uuid_of(vm), domid=domid))
    assert {vm_uuid: boot.domid for vm_uuid, boot in journal.last_boots().items()} == {
        uuid_of(1): 9, uuid_of(2): 8}
    assert journal.last_boot(uuid_of(3)) is None
    assert [boot.domid for boot in journal.list_boots(limit=2)] == [9, 8]
    assert [boot.domid for boot in journal.list_boots(uuid_of(1))] == [9, 7]


def test_verdicts_are_counted_since_a_time(journal):
    for minute, verdict in enumerate(('as_desired', 'stale', 'as_desired'), start=1):
        journal.open_boot(BOOT._replace(verdict=verdict,
                                        closed_at='2027-01-15 08:%02d:00' % minute))
    assert journal.count_verdicts() == {'as_desired': 2, 'stale': 1}
    assert journal.count_verdicts('2027-01-15 08:02:00') == {'as_desired': 1, 'stale': 1}


def test_receipts_forget_the_oldest_beyond_both_bounds(journal, monkeypatch):
    monkeypatch.setattr(receipts, 'RECEIPTS_PER_VM', 3)
    monkeypatch.setattr(receipts, 'RECEIPTS_IN_ALL', 5)
    for number in range(6):
        journal.open_boot(BOOT._replace(domid=number))
    assert [boot.domid for boot in journal.list_boots()] == [5, 4, 3]
    for number in range(6, 10):
        journal.open_boot(BOOT._replace(vm_uuid=uuid_of(number), domid=number))
    assert [boot.domid for boot in journal.list_boots()] == [9, 8, 7, 6, 5]


def test_note_is_replaced_and_read_back(journal):
    journal.write_note('key', 'one')
    journal.write_note('key', 'two')
    assert (journal.read_note('key'), journal.read_note('other')) == ('two', None)


def test_no_exception_of_sqlite_leaves_the_package(journal):
    with other_program(journal.path) as other:
        other.execute('DROP TABLE staged')
    with pytest.raises(JournalUnavailable) as caught:
        journal.staged()
    assert isinstance(caught.value.__cause__, sqlite3.Error)
