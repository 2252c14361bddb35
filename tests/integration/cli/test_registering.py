"""register-vm and remove-vm as programs: output, exit status, registry and XAPI afterwards."""

import os
import signal
import sqlite3

import pytest

from registry.journal.journal import Journal
from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, span, wait_until

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
UUID_2 = UUID[:-1] + ('0' if UUID[-1] != '0' else '1')
OTHER = '0a0b0c0d-1111-2222-3333-444455557777'


def test_an_xapi_to_which_nothing_is_written_is_told_each_time(place: Place) -> None:
    place.registry.create('test')
    place.start_xapi(xapi_version='22.6')
    place.create_vm('web')
    for words in (['register-vm'], ['register-vm'], ['set-pool', '--pool=A']):
        run = place.run(*words, 'web')
        assert run.status == 0 and 'XAPI 22.6 is older than 22.7' in run.out


def test_the_first_registration_creates_the_registry_and_says_so(place: Place) -> None:
    run = place.run('register-vm', '--vm-uuid=' + UUID.upper())
    assert run.status == 0 and 'is created' in run.err
    assert place.rows() == [(1, UUID, None, 'A', 1)]
    assert 'Saved, not checked and not staged: XAPI ' in run.out
    assert os.stat(place.db).st_mode & 0o777 == 0o644


def test_the_first_registration_takes_an_empty_file_for_no_registry(pool: Place) -> None:
    pool.create_vm('web')
    os.truncate(pool.db, 0)
    os.remove(pool.registry.journal_path)
    run = pool.run('register-vm', 'web')
    assert run.status == 0 and f'the registry {pool.db} is created' in run.err
    assert [row[2] for row in pool.rows()] == ['web']


def test_a_registration_is_staged_when_no_daemon_runs(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo')
    run = pool.run('register-vm', '--vm-name=web', '--pool', 'B', '--priority', 'high', '--json')
    assert (run.status, run.err) == (0, '')
    assert run.document['result'] == 'registered' and run.document['format'] == 1
    vm = run.document['vm']
    assert (vm['vm_uuid'], vm['vm_name'], vm['vm_id'], vm['pool_id'], vm['priority']) == (
        pool.uuid(ref), 'web', 1, 'B', 'high')
    assert vm['state'] == 'as_desired' and vm['carried'] == span(1, 'B', 'high')
    assert pool.args(ref) == '-foo ' + span(1, 'B', 'high')
    assert pool.xapi.vm(ref)['blocked_operations'] == {}


def test_with_a_daemon_the_daemon_stages(pool: Place) -> None:
    ref = pool.create_vm('web')
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        run = pool.run('register-vm', '--vm-name=web', '--no-wait', '--json')
    assert run.document['staging']['result'] == 'by_daemon'
    assert pool.args(ref) is None


def test_registering_the_same_again_changes_nothing(pool: Place) -> None:
    pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    before = pool.history()
    run = pool.run('register-vm', '--vm-name=web', '--vm-id=1', '--json')
    assert run.status == 0 and run.document['result'] == 'already_registered'
    assert pool.history() == before


def test_a_different_assignment_is_a_conflict_that_names_the_command(pool: Place) -> None:
    pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    run = pool.run('register-vm', '--vm-name=web', '--pool=B', '--json')
    assert run.status == 4 and run.error['kind'] == 'conflict'
    assert 'update-vm' in run.error['message'] and pool.rows()[0][3] == 'A'


@pytest.mark.parametrize('fields', [
    pytest.param({'is_a_template': True}, id='template'),
    pytest.param({'is_control_domain': True}, id='control-domain'),
])
def test_what_is_no_ordinary_vm_is_refused(place: Place, fields: dict) -> None:
    place.start_xapi()
    ref = place.create_vm('odd', **fields)
    run = place.run('register-vm', '--vm-uuid=' + place.uuid(ref))
    assert run.status == 1 and 'not an ordinary VM' in run.err
    assert not os.path.exists(place.db)


def test_a_uuid_that_xapi_does_not_know_is_not_found(place: Place) -> None:
    place.start_xapi()
    assert place.run('register-vm', '--vm-uuid=' + UUID).status == 3
    assert not os.path.exists(place.db)


@pytest.mark.parametrize('number', ['7', '0x7', '07'])
def test_a_number_that_an_unregistered_vm_bears_is_taken(place: Place, number: str) -> None:
    place.start_xapi()
    bearer = place.create_vm('bearer', args='-device vgpu-stub,vm_id=' + number)
    ref = place.create_vm('web')
    run = place.run('register-vm', '--vm-uuid=' + place.uuid(ref), '--vm-id=7')
    assert run.status == 4 and place.uuid(bearer) in run.err
    assert not os.path.exists(place.db) and place.args(ref) is None


@pytest.mark.parametrize('is_destroyed', [False, True])
def test_a_number_that_was_taken_off_an_unregistered_vm_by_hand_is_free_without_a_daemon(
        pool: Place, is_destroyed: bool) -> None:
    bearer, ref = pool.create_vm('bearer', args=span(7)), pool.create_vm('web')
    assert pool.run('reconcile').status == 0
    with Journal(pool.registry.journal_path, timeout_seconds=10.0) as journal:
        assert [item.vm_id for item in journal.bearers().values()] == [7]
    if is_destroyed:
        pool.xapi.call('VM.destroy', bearer)
    else:
        pool.xapi.call('VM.remove_from_platform', bearer, 'device-model-args')
    run = pool.run('register-vm', '--vm-name=web', '--vm-id=7')
    assert run.status == 0, run.err
    assert pool.args(ref) == span(7)


def test_without_xapi_and_with_a_daemon_a_number_is_taken_as_the_journal_says(pool: Place) -> None:
    bearer, ref = pool.create_vm('bearer', args=span(7)), pool.create_vm('web')
    assert pool.run('reconcile').status == 0
    pool.xapi.call('VM.remove_from_platform', bearer, 'device-model-args')
    words = ['register-vm', '--vm-uuid=' + pool.uuid(ref), '--vm-id=7', '--no-wait']
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        assert pool.run(*words).status == 4
    pool.xapi.stop()
    assert pool.run(*words).status == 4


def test_an_automatic_number_is_above_any_on_vms_templates_and_snapshots(pool: Place) -> None:
    pool.create_vm('manual', args=span(7))
    pool.create_vm('template', args=span(41), is_a_template=True)
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    assert pool.args(ref) == span(42)
    pool.run('remove-vm', '--vm-name=web')
    other = pool.create_vm('other')
    pool.run('register-vm', '--vm-name=other')
    assert pool.args(other) == span(43)


def test_a_name_that_fits_several_vms_is_a_conflict_that_lists_them(pool: Place) -> None:
    refs = [pool.create_vm('twin'), pool.create_vm('twin')]
    run = pool.run('register-vm', '--vm-name=twin')
    assert run.status == 4 and all(pool.uuid(ref) in run.err for ref in refs)
    assert pool.rows() == []


@pytest.mark.parametrize('words,status', [
    pytest.param(['--vm-name=nobody'], 3, id='nobody-has-the-name'),
    pytest.param(['--vm-uuid=' + UUID, '--pool=C'], 2, id='no-such-pool'),
    pytest.param(['--vm-uuid=' + UUID, '--priority=urgent'], 2, id='no-such-priority'),
    pytest.param(['--vm-uuid=' + UUID, '--vm-id=abc'], 2, id='no-number'),
    pytest.param(['--vm-uuid=' + UUID, '--vm-id=-5'], 2, id='negative-number'),
    pytest.param(['--vm-uuid=' + UUID, '--vm-id=2147483647'], 2, id='number-too-large'),
    pytest.param(['--vm-uuid=x;reboot'], 2, id='no-uuid'),
    pytest.param([], 2, id='no-vm'),
])
def test_bad_input_is_refused_and_changes_nothing(pool: Place, words: list, status: int) -> None:
    run = pool.run('register-vm', *words)
    assert run.status == status and run.out == '' and run.err
    assert pool.rows() == []


def test_a_name_without_xapi_is_unavailable(place: Place) -> None:
    assert place.run('register-vm', '--vm-name=web').status == 5
    assert not os.path.exists(place.db)


def test_a_dry_run_changes_nothing(pool: Place) -> None:
    ref = pool.create_vm('web')
    run = pool.run('register-vm', '--vm-name=web', '--dry-run', '--json')
    assert run.status == 0 and run.document['result'] == 'would_be_registered'
    assert pool.rows() == [] and pool.args(ref) is None


def test_a_running_vm_is_registered_and_stays_running(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.start_vm(ref)
    run = pool.run('register-vm', '--vm-name=web', '--json')
    assert run.status == 0 and run.document['staging']['result'] == 'pending'
    assert run.document['vm']['state'] == 'pending'
    assert pool.power(ref) == 'Running' and pool.args(ref) is None


def test_first_registrations_at_once_are_all_made(place: Place) -> None:
    place.start_xapi()
    refs = [place.create_vm(f'vm-{number}') for number in range(8)]
    words = [['register-vm', f'vm-{number}'] for number in range(6)] + [
        ['register-vm', 'vm-6', 'vm-7'], ['init']]
    processes = [place.start(*item) for item in words]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, said
    assert [row[0] for row in place.rows()] == list(range(1, 9))
    place.run('reconcile')  # what took longer than a command waits
    assert sorted(str(place.args(ref)) for ref in refs) == sorted(map(span, range(1, 9))), said


def test_eight_registrations_at_once_get_eight_numbers(place: Place) -> None:
    place.registry.create('test')
    uuids = ['0a0b0c0d-1111-2222-3333-44445555000%d' % index for index in range(8)]
    processes = [place.start('register-vm', '--vm-uuid=' + uuid) for uuid in uuids]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(row[0] for row in place.rows()) == list(range(1, 9))
    assert sorted(row[1] for row in place.rows()) == uuids


def test_a_removed_vm_at_rest_loses_our_span_and_keeps_foreign_text(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo')
    pool.run('register-vm', '--vm-name=web')
    run = pool.run('remove-vm', '--vm-name=web', '--json')
    assert run.status == 0 and run.document['result'] == 'removed'
    assert pool.args(ref) == '-foo' and pool.rows() == []


@pytest.mark.parametrize('args', [None, '-foo'])
def test_a_number_is_free_when_its_vm_is_removed_while_no_daemon_runs(
        pool: Place, args: str) -> None:
    pool.create_vm('web', args=args)
    other = pool.create_vm('db')
    pool.run('register-vm', 'web', '--vm-id=4')
    assert pool.run('remove-vm', 'web').status == 0
    run = pool.run('register-vm', 'db', '--vm-id=4')
    assert run.status == 0, run.err
    assert pool.args(other) == span(4)


def test_removing_what_is_not_registered_is_not_found(pool: Place) -> None:
    pool.create_vm('web')
    assert pool.run('remove-vm', '--vm-name=web').status == 3
    assert pool.run('remove-vm', '--vm-uuid=' + UUID).status == 3


def test_the_row_of_a_vanished_vm_is_removed_by_name(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.xapi.call('VM.destroy', ref)
    assert pool.run('remove-vm', '--vm-name=web').status == 0
    assert pool.rows() == []


def test_a_faulty_row_is_removed(pool: Place) -> None:
    connection = sqlite3.connect(pool.db)
    with connection:
        connection.execute("INSERT INTO vms (vm_id, vm_uuid, pool_id, priority) "
                           "VALUES (-5, ?, 'A', 1)", (UUID,))
    connection.close()
    assert pool.run('remove-vm', '--vm-uuid=' + UUID).status == 0
    assert pool.rows() == []


def test_a_locked_registry_is_unavailable_after_ten_seconds_at_most(place: Place) -> None:
    place.registry.create('test')
    connection = sqlite3.connect(place.db, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    try:
        process = place.start('register-vm', '--vm-uuid=' + UUID, '--json')
        _out, err = process.communicate(timeout=60)
    finally:
        connection.close()
    assert process.returncode == 5 and b'locked' in err
    assert place.rows() == []


def test_the_history_says_who_and_by_which_command(place: Place) -> None:
    place.run('register-vm', '--vm-uuid=' + UUID, environment={'SUDO_USER': 'alice'})
    entry = place.history()[0]
    assert (entry.who, entry.command, entry.what) == ('alice', 'register-vm', 'vm_added')


def test_an_xapi_that_does_not_answer_costs_two_seconds_and_no_failure(place: Place) -> None:
    xapi = place.start_xapi()
    xapi.add_fault('hang', method='session.login_with_password')
    run = place.run('register-vm', '--vm-uuid=' + UUID)
    assert run.status == 0 and 'Saved, not checked and not staged: XAPI ' in run.out
    assert place.rows() == [(1, UUID, None, 'A', 1)]


def test_on_a_member_edits_are_refused_and_the_master_is_named(place: Place) -> None:
    place.registry.create('test')
    xapi = place.start_xapi(hosts=2, is_master=False)
    ref = place.create_vm('web')
    run = place.run('register-vm', '--vm-uuid=' + place.uuid(ref))
    master = xapi.call('host.get_name_label', xapi.call('pool.get_master', xapi.pool))
    assert run.status == 1 and master in run.err and place.rows() == []


def test_vm_that_is_restored_later_is_registered_when_told(pool: Place) -> None:
    assert pool.run('register-vm', '--vm-uuid=' + UUID).status == 3
    assert pool.run('register-vm', UUID, UUID_2).status == 3 and pool.rows() == []
    run = pool.run('register-vm', '--vm-uuid=' + UUID, '--vm-name=later', '--pool=B',
                   '--missing-ok')
    assert run.status == 0 and pool.rows() == [(1, UUID, 'later', 'B', 1)]
    assert 'orphaned' not in run.out and 'XAPI' in run.out
    assert pool.run('register-vm', UUID, UUID_2, '--missing-ok', '--pool=B').status == 0
    assert [row[:2] for row in pool.rows()] == [(1, UUID), (2, UUID_2)]


def test_uuid_and_name_together_must_agree(pool: Place) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-uuid=' + pool.uuid(ref), '--vm-name=db').status == 4
    assert pool.run('register-vm', '--vm-uuid=' + pool.uuid(ref), '--vm-name=web').status == 0


def test_no_shell_ever_sees_a_name(place: Place) -> None:
    victim = os.path.join(place.directory, 'victim')
    place.run('register-vm', '--vm-uuid=' + UUID, '--vm-name=$(touch %s)' % victim)
    assert place.run('show-vm', '--vm-name=$(touch %s)' % victim).status == 0
    assert not os.path.exists(victim)


def test_waiting_for_a_locked_registry_can_be_interrupted(place: Place) -> None:
    place.registry.create('test')
    connection = sqlite3.connect(place.db, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    try:
        process = place.start('register-vm', '--vm-uuid=' + UUID)
        # From here on it only waits for the lock.
        wait_until(lambda: _has_open(process.pid, place.db), 'the command at the lock')
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=8)
    finally:
        connection.close()
    assert process.returncode == 130 and b'nothing was changed' in err
    assert place.rows() == []


def _has_open(pid: int, path: str) -> bool:
    """Whether a process has a file open."""
    directory = '/proc/%d/fd' % pid
    for name in os.listdir(directory):
        try:
            if os.readlink(os.path.join(directory, name)) == path:
                return True
        except OSError:
            continue
    return False
