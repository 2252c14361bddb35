"""A registry that is lost, or lost rows: it is told, nothing is acted on, and the cure is named."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from typing import Any, List

import pytest

from registry.journal.journal import Journal
from registry.values import Priority, Vm
from registry.writer_lock import WriterLock
from tests.integration.cli.mirror import mirror
from tests.integration.cli.program import Place, span, wait_until
from tests.integration.cli.test_doctor import daemon  # noqa: F401 - a fixture

NAMES = ('db1', 'db2', 'web1', 'web2')


@pytest.fixture
def four(pool: Place) -> Place:
    """Four VMs that are registered and carry what they should."""
    for number, name in enumerate(NAMES, 1):
        ref = pool.create_vm(name, args=span(number))
        with pool.registry.edit(who='test', command='test') as edit:
            edit.add_vm(pool.uuid(ref), vm_name=name)
    return pool


def execute(place: Place, sql: str) -> None:
    connection = sqlite3.connect(place.db)
    connection.executescript(sql)
    connection.close()


def lose(place: Place) -> None:
    """All rows but one that is new, as in a file that was mixed up."""
    execute(place, "BEGIN; DELETE FROM vms; INSERT INTO vms (vm_id, vm_uuid) VALUES "
                   "(9, '99999999-1111-2222-3333-444455556666'); COMMIT")


def carried(place: Place) -> List[Any]:
    return [place.args(ref) for name in NAMES
            for ref in place.xapi.call('VM.get_by_name_label', name)]


def damage(place: Place) -> None:
    with open(place.db, 'r+b') as stream:
        stream.write(b'x' * 8192)


@pytest.mark.parametrize('command, status', [
    ('list-vms', 5), ('list-pools', 5), ('scan-vms', 5), ('plan', 5), ('reconcile', 5),
    ('verify', 5), ('export', 5), ('show-vm --vm-name=web1', 5), ('adopt --yes', 5),
    ('set-pool --vm-name=db1 --pool=B --no-restart', 5), ('status', 5), ('check', 1)])
def test_each_command_says_that_the_registry_is_doubtful_and_changes_nothing(
        four: Place, command: str, status: int) -> None:
    lose(four)
    rows = four.rows()
    run = four.run(*command.split())
    assert run.status == status, run
    said = run.out + run.err
    assert 'doubtful' in said and '4 VMs lost their rows' in said
    assert said.index('registry rebuild') < said.index('vgpu-admin accept')
    assert four.rows() == rows and None not in carried(four)


def test_doctor_says_it_too(four: Place) -> None:
    lose(four)
    run = four.run('doctor', '--json', '--root', four.directory)
    finding, = [item for item in run.document['checks'] if item['check'] == 'registry']
    assert finding['verdict'] == 'fail' and 'doubtful' in finding['saw']


def test_accept_shows_what_is_missing_and_takes_the_file_as_it_is(four: Place) -> None:
    lose(four)
    run = four.answer('no\n', 'accept')
    assert run.status == 1 and all(name in run.err for name in NAMES)
    assert four.run('list-vms').status == 5
    assert four.run('accept', '--dry-run', '--json').document['result'] == 'would_be_accepted'
    run = four.answer('yes\n', 'accept', '--json')
    assert run.status == 0 and len(run.document['missing']) == 4
    assert four.run('list-vms').status == 0 and len(four.rows()) == 1
    assert four.run('accept', '--json').document['result'] == 'already_accepted'
    told = [(entry.what, entry.command) for entry in four.history()][:5]
    assert told.count(('vm_removed', 'accept')) == 4


def test_accept_that_cannot_be_remembered_is_none(four: Place) -> None:
    lose(four)
    holder = sqlite3.connect(four.registry.journal_path, isolation_level=None)
    holder.execute('BEGIN IMMEDIATE')  # it can be read; as on a full disk
    try:
        run = four.run('accept', '--yes')
        assert run.status == 5 and 'nothing was changed' in run.err
    finally:
        holder.close()
    assert four.run('list-vms').status == 5
    assert four.run('accept', '--yes').status == 0 and four.run('list-vms').status == 0


def test_losses_that_are_configured_are_taken_as_they_are(four: Place) -> None:
    with open(four.config, encoding='utf-8') as stream:
        text = stream.read()
    with open(four.config, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('[registry]\n', '[registry]\ntrust_mass_removals = yes\n'))
    lose(four)
    assert four.run('list-vms').status == 0


@pytest.mark.parametrize('spoil, said', [
    pytest.param(lambda place: os.unlink(place.db), 'does not exist', id='missing'),
    pytest.param(lambda place: os.truncate(place.db, 0), 'no content', id='empty'),
    pytest.param(damage, 'is damaged', id='damaged'),
    pytest.param(lambda place: execute(place, 'DROP TABLE vms'), 'does not have the tables',
                 id='without-a-table'),
    pytest.param(lambda place: execute(place, 'PRAGMA user_version = 99'), 'has version 99',
                 id='too-new'),
    pytest.param(lose, 'is doubtful', id='doubtful'),
])
def test_status_shows_the_whole_panel_with_the_trouble_and_its_cure(
        four: Place, spoil: Any, said: str) -> None:
    spoil(four)
    run = four.run('status')
    assert run.status == 5 and said in run.out and 'registry rebuild' in run.out
    for part in ('vGPU Control Panel', 'Pool A', 'Unregistered VMs', 'Needs attention',
                 'Summary', 'Mirror:') + NAMES:
        assert part in run.out, part
    run = four.run('status', '--json')
    assert run.status == 5 and said in run.document['registry']['problem']
    assert {vm['vm_name'] for vm in run.document['vms']} >= set(NAMES)
    run = four.run('list-vms')
    assert run.status == 5 and said in run.err and 'registry rebuild' in run.err


def test_a_journal_that_is_locked_for_long_costs_the_history_only(four: Place) -> None:
    holder = sqlite3.connect(four.registry.journal_path, isolation_level=None)
    holder.execute('BEGIN EXCLUSIVE')
    try:
        run = four.run('list-vms')
        assert run.status == 0 and 'web1' in run.out
        run = four.run('set-pool', '--vm-name=web1', '--pool=B', '--no-restart')
        assert run.status == 0 and 'the history does not have this: journal' in run.err
        # It is said that it is waited for, and in the end what that cost; each once.
        assert run.err.count(f'waiting for {four.registry.journal_path}, which is locked') == 1
        assert run.err.count(' is locked by ') == 2 and 'try again' not in run.err
        assert 'database is locked' not in run.err
        run = four.run('history')
        assert run.status == 5 and run.err.startswith('waiting for ')
        assert run.err.endswith('; try again when that has finished\n')
    finally:
        holder.close()
    assert ('web1', 'B') in [(row[2], row[3]) for row in four.rows()]
    assert four.run('history').status == 0


@pytest.mark.parametrize('command', [
    'init', 'register-vm --vm-name=db1', 'register-vm --vm-name=db1 --dry-run'])
def test_what_the_journal_holds_is_not_forgotten_unasked(four: Place, command: str) -> None:
    os.unlink(four.db)
    run = four.run(*command.split())
    assert run.status == 4 and 'the journal holds 4 VMs' in run.err and 'web2' in run.err
    assert 'registry rebuild' in run.err and 'init --empty' in run.err
    assert not os.path.exists(four.db) and None not in carried(four)


@pytest.mark.parametrize('command', ['init', 'register-vm --vm-name=one'])
def test_what_the_mirror_holds_is_not_forgotten_unasked(place: Place, command: str) -> None:
    place.start_xapi()
    uuids = [place.uuid(place.create_vm(name, args=span(number)))
             for number, name in enumerate(('one', 'two'), 1)]
    mirror(place, *[Vm(number, uuid, None, 'A', Priority.MEDIUM)
                    for number, uuid in enumerate(uuids, 1)])
    run = place.run(*command.split())
    assert run.status == 4 and 'the mirror in XAPI holds 2 VMs (one, two)' in run.err
    assert 'vgpu-admin registry rebuild' in run.err and not os.path.exists(place.db)
    assert place.run('registry', 'rebuild', '--yes').status == 0
    assert [row[0] for row in place.rows()] == [1, 2]


def test_init_empty_starts_over_and_says_what_it_gave_up(four: Place) -> None:
    os.unlink(four.db)
    run = four.run('init', '--empty', '--json')
    assert run.status == 0 and run.document['result'] == 'created'
    assert run.document['given_up'] == 4 and four.rows() == []
    entries = [(entry.who != 'another program', entry.command) for entry in four.history()
               if entry.what == 'vm_removed']
    assert entries == [(True, 'init')] * 4


def test_init_empty_does_not_call_kept_what_only_the_mirror_has(place: Place) -> None:
    place.start_xapi()
    uuid = place.uuid(place.create_vm('one', args=span(1)))
    mirror(place, Vm(1, uuid, None, 'A', Priority.MEDIUM))
    run = place.run('init', '--empty')
    assert run.status == 0 and 'history' not in run.out
    assert 'Given up, and kept nowhere else: the mirror in XAPI holds 1 VM (one).' in run.out


def test_an_automatic_number_without_the_journal_may_have_been_given_out(four: Place) -> None:
    four.create_vm('late')
    holder = sqlite3.connect(four.registry.journal_path, isolation_level=None)
    holder.execute('BEGIN EXCLUSIVE')
    try:
        run = four.run('register-vm', '--vm-name=late', '--json')
        assert run.status == 0
        assert [note for note in run.document['notes'] if 'may have been given out' in note]
    finally:
        holder.close()


def test_the_history_of_a_disk_that_is_read_only_is_read(
        four: Place, tmp_path: Any) -> None:
    """As after an error of the disk: the kernel mounts it so."""
    mounted = str(tmp_path / 'disk')
    os.mkdir(mounted)
    if subprocess.call(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'none', mounted],
                       stderr=subprocess.DEVNULL) != 0:
        pytest.skip('nothing may be mounted here')
    try:
        for name in ('vgpu_config.db', 'vgpu_journal.db'):
            shutil.copy(os.path.join(four.directory, name), mounted)
        subprocess.check_call(['mount', '-o', 'remount,ro', mounted])
        run = four.run('history', '--db=' + os.path.join(mounted, 'vgpu_config.db'))
        assert run.status == 0 and 'registry_created' in run.out
        assert 'cannot be written' in run.err
    finally:
        subprocess.check_call(['umount', mounted])


def test_init_of_a_registry_that_is_there_changes_nothing(four: Place) -> None:
    for words in (['init'], ['init', '--empty']):
        assert four.run(*words, '--json').document['result'] == 'already_there'
    assert len(four.rows()) == 4


def test_spans_on_vms_do_not_make_init_refuse_and_adopt_is_named(place: Place) -> None:
    place.start_xapi()
    place.create_vm('one', args=span(1))
    run = place.run('init')
    assert run.status == 0 and '1 VM' in run.err and 'vgpu-admin adopt' in run.err


def test_more_rows_than_the_mediator_takes_are_told(place: Place) -> None:
    place.registry.create('test')
    with place.registry.edit(who='test', command='test') as edit:
        for number in range(1, 66):
            edit.add_vm('%08d-1111-2222-3333-444455556666' % number)
    for words in (['status'], ['check']):
        run = place.run(*words)
        assert '65' in run.out and 'the GPU mediator takes 64' in run.out


# Every edit is mirrored, and `status` says which are not yet.

@pytest.fixture
def mirrored(four: Place, daemon: Any) -> Place:  # noqa: F811
    """A registry with its mirror whole."""
    wait_until(lambda: state(four)['state'] == 'mirrored' and not state(four)['edits_waiting'],
               'a mirror')
    return four


def state(place: Place) -> Any:
    return place.run('status', '--json').document['mirror'] or {'state': None}


@pytest.mark.parametrize('command', [
    "set-pool-name --pool-id=B --name=Render", "set-pool-description --pool-id=B --description=x",
    'disable-pool --pool-id=B --yes', 'set-priority --vm-name=web1 --priority=high'])
def test_each_edit_reaches_the_mirror(mirrored: Place, command: str) -> None:
    before = state(mirrored)['generation']
    assert mirrored.run(*command.split()).status == 0
    wait_until(lambda: state(mirrored)['generation'] != before
               and state(mirrored)['state'] == 'mirrored', 'another generation')
    assert 'whole' in mirrored.run('status').out
    run = mirrored.run('registry', 'compare', '--exit-code', '--json')
    assert (run.status, run.document['result']) == (0, 'same'), run


def test_status_says_that_an_edit_waits_while_xapi_is_away(mirrored: Place) -> None:
    mirrored.xapi.stop()
    assert mirrored.run('set-priority', '--vm-name=web1', '--priority=high',
                        '--no-restart').status == 0
    run = mirrored.run('status')
    assert 'one edit waits' in run.out and 'whole' not in run.out
    assert mirrored.run('set-priority', '--vm-name=web2', '--priority=low',
                        '--no-restart').status == 0
    run = mirrored.run('status', '--json')
    assert run.document['mirror']['edits_waiting'] == 2


def test_edits_that_wait_are_told_without_a_daemon(four: Place) -> None:
    with Journal(four.registry.journal_path, timeout_seconds=5) as journal:
        journal.note_generation('7-0123abcd', 'x' * 32)
    assert four.run('set-priority', '--vm-name=web1', '--priority=high').status == 0
    assert 'no daemon is running; one edit waits' in four.run('status').out


# What is lost comes back: from the history, and from a copy.

def assignments(place: Place) -> Any:
    return sorted((row[2], row[0], row[3], row[4]) for row in place.rows())


@pytest.mark.parametrize('spoil', [
    pytest.param(lambda place: os.unlink(place.db), id='missing'),
    pytest.param(lambda place: os.truncate(place.db, 0), id='empty'),
    pytest.param(damage, id='damaged'),
    pytest.param(lambda place: execute(place, 'DROP TABLE vms'), id='without-a-table'),
    pytest.param(lambda place: execute(place, 'PRAGMA user_version = 99'), id='too-new'),
    pytest.param(lose, id='doubtful'),
])
@pytest.mark.parametrize('is_xapi_there', [True, False], ids=['xapi', 'no-xapi'])
def test_the_history_brings_the_assignments_back(four: Place, spoil: Any,
                                                 is_xapi_there: bool) -> None:
    before = assignments(four)
    spoil(four)
    if not is_xapi_there:
        four.xapi.stop()
    run = four.run('registry', 'rebuild', '--yes')
    assert run.status == (3 if is_xapi_there else 5) and '--source=history' in run.err
    run = four.run('registry', 'rebuild', '--source=history')
    assert run.status == 2 and 'web2' in run.err
    run = four.run('registry', 'rebuild', '--source=history', '--yes', '--json')
    assert run.status == 0 and run.document['result'] == 'rebuilt', run
    assert assignments(four) == before
    assert four.run('list-vms').status == 0
    assert four.run('registry', 'rebuild', '--source=history', '--json').document[
        'result'] == 'unchanged'


def test_a_kept_copy_is_listed_shown_and_taken(four: Place) -> None:
    before = assignments(four)
    assert 'No copy is kept' in four.run('registry', 'copies').out
    damage(four)
    assert four.run('registry', 'rebuild', '--source=history', '--yes').status == 0
    assert four.run('set-priority', '--vm-name=db1', '--priority=high').status == 0
    lose(four)
    assert four.run('registry', 'rebuild', '--source=history', '--yes').status == 0
    run = four.run('registry', 'copies', '--json')
    copies = run.document['copies']
    assert sorted(str(copy['vm_count']) for copy in copies) == ['1', 'None']
    unreadable, = [copy for copy in copies if copy['vm_count'] is None]
    assert 'corrupt' in unreadable['problem']
    four.run('backup', four.directory + '/good.json')
    copy, = [copy for copy in copies if copy['vm_count'] == 1]
    run = four.answer('no\n', 'registry', 'rebuild', '--source=' + copy['path'])
    assert run.status == 1 and run.err.count('removed  ') == 4
    name = os.path.basename(copy['path'])
    assert four.run('registry', 'rebuild', '--source=' + name, '--yes').status == 0
    assert len(four.rows()) == 1
    assert four.run('restore', four.directory + '/good.json', '--yes').status == 0
    assert [row[:3] for row in assignments(four)] == [row[:3] for row in before]
    assert four.run('registry', 'rebuild', '--source=nothing').status == 3
    for source, said in ((four.registry.journal_path, 'cannot be read (too_new)'),
                         (os.devnull, 'there is no copy')):
        run = four.run('registry', 'rebuild', '--source=' + source)
        assert said in run.err and 'registry copies' in run.err, run
        assert 'upgrade this program' not in run.err


def test_the_registry_of_a_time_is_restored(four: Place) -> None:
    before = assignments(four)
    with Journal(four.registry.journal_path, timeout_seconds=5) as journal:
        at = journal.list_history()[0].at
    connection = sqlite3.connect(four.registry.journal_path)
    connection.execute("UPDATE history SET at = datetime(at, '-1 hour')")
    connection.commit()
    connection.close()
    assert four.run('remove-vm', '--vm-name=web1', '--no-restart').status == 0
    assert four.run('set-pool', '--vm-name=db1', '--pool=B', '--no-restart').status == 0
    earlier = sqlite_time(at)
    run = four.run('restore', '--at=' + earlier, '--dry-run')
    assert run.status == 0 and 'web1' in run.out and 'db1' in run.out
    assert four.run('restore', '--at=' + earlier).status == 2
    run = four.run('restore', '--at=' + earlier, '--yes')
    assert run.status == 0 and assignments(four) == before, run
    run = four.run('show-vm', '--vm-name=web1', '--at=' + earlier, '--json')
    assert run.document['vm']['vm_id'] == 3
    assert four.run('restore', '--at=2001-01-01', '--yes').status == 3
    assert four.run('restore', 'x.json', '--at=2001-01-01').status == 2
    assert four.run('restore').status == 2


def sqlite_time(at: str) -> str:
    """Half an hour before, as people write it."""
    connection = sqlite3.connect(':memory:')
    try:
        return connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ?, '-30 minutes')",
                                  (at,)).fetchone()[0]
    finally:
        connection.close()


def test_a_copy_is_of_the_time_in_its_name_and_an_empty_one_is_called_so(four: Any) -> None:
    path = four.db + '.replaced-20261130T212530Z'
    for name, at in ((path, 0), (path.replace('30T', '29T'), None)):
        with open(name, 'wb'):
            pass
        if at is not None:
            os.utime(name, (at, at))
    assert four.run('registry', 'copies').out.splitlines()[:2] == [
        f'2026-11-30 21:25:30Z  {path}: an empty file',
        f"2026-11-29 21:25:30Z  {path.replace('30T', '29T')}: an empty file"]


def test_a_journal_that_cannot_be_read_is_no_fault_of_the_daemon_and_told_once(
        four: Place) -> None:
    path = four.registry.journal_path
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other, \
            WriterLock(four.db) as lock:
        assert lock.acquire()
        other.execute('BEGIN EXCLUSIVE')
        run = four.run('doctor', '--json')
        found = {item['check']: item for item in run.document['checks']}
        for check in ('boots', 'daemon.watching', 'daemon.version', 'mirror'):
            assert (found[check]['verdict'], found[check]['saw']) \
                == ('skip', 'the journal cannot be read')
        for command in ('doctor', 'status'):
            run = four.run(command)
            assert run.out.count(f'journal {path} is locked') == 1
            assert f'journal {path}' not in run.err
        assert f'journal {path} is locked' in four.run('status', '--json').document['notes'][0]
