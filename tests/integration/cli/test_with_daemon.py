"""vgpu-admin beside the real daemon, and what is left when vgpu-admin is killed."""

import os
import signal
import sqlite3
import subprocess
from typing import Any, Iterator

import pytest

from registry.writer_lock import WriterLock
from tests.integration.cli.program import KEY, Place, span, wait_until
from tests.support import programs


@pytest.fixture
def watched(pool: Place) -> Iterator[Place]:
    """A pool with a daemon that has taken its first look."""
    with open(os.path.join(pool.directory, 'log'), 'wb') as log:
        process = programs.start('watcher', ['run', '--config', pool.config], stderr=log,
                                 **programs.surroundings())
    wait_until(lambda: _is_synced(pool, process), 'the daemon in sync')
    yield pool
    process.terminate()
    process.wait(10)


def _is_synced(pool: Place, process: Any) -> bool:
    with open(os.path.join(pool.directory, 'log'), 'rb') as log:
        text = log.read()
    assert process.poll() is None, text
    return b'session.opened' in text


def test_the_daemon_stages_what_was_registered(watched: Place) -> None:
    ref = watched.create_vm('web')
    run = watched.run('register-vm', '--vm-name=web', '--no-wait', '--json')
    assert run.document['staging']['result'] == 'by_daemon'
    wait_until(lambda: watched.args(ref) == span(1), 'staged')
    daemon = wait_until(lambda: _read_daemon(watched), 'the note')
    assert daemon['watching'] is True and daemon['is_late'] is False
    assert daemon['silent_seconds'] <= 60


def test_an_edit_waits_until_the_daemon_has_staged_it_and_says_staged_only_then(
        watched: Place) -> None:
    refs = [watched.create_vm(name) for name in 'ab']
    staging = watched.run('register-vm', 'a', '--json').document['staging']
    # On a machine that is too busy it says that it is not staged yet.
    assert staging['result'] in ('staged', 'by_daemon')
    if staging['result'] == 'staged':
        assert watched.args(refs[0]) == span(1)
    run = watched.run('register-vm', 'a', 'b', '--json')
    assert run.status == 0, run
    words = watched.run('set-priority', 'a', 'b', '--priority=low', '--json').document['staging']
    for number, ref in enumerate(refs, 1):
        if words[watched.uuid(ref)] == 'staged':
            assert watched.args(ref) == span(number, 'A', 'low')
        wait_until(lambda: watched.args(ref) == span(number, 'A', 'low'), 'staged')


def test_numbers_that_halted_vms_pass_on_are_waited_for(watched: Place) -> None:
    refs = [watched.create_vm(name) for name in 'abc']
    uuids = [watched.uuid(ref) for ref in refs]
    watched.run('register-vm', 'a', 'b')
    path = os.path.join(watched.directory, 'swapped.csv')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid,vm_id\n%s,2\n%s,1\n' % (uuids[0], uuids[1]))
    run = watched.run('import', path)
    assert run.status == 0 and 'Each of 2 VMs: staged: its next start takes it' in run.out, run
    assert [watched.args(ref) for ref in refs] == [span(2), span(1), None]
    run = watched.run('transfer-vm', '--from=' + uuids[0], '--to=c')
    assert run.status == 0 and 'c: staged: its next start takes it' in run.out, run
    assert [watched.args(ref) for ref in refs] == [None, span(1), span(2)]


def test_number_that_a_halted_vm_does_not_pass_on_is_named(watched: Place) -> None:
    refs = [watched.create_vm(name) for name in 'ab']
    uuids = [watched.uuid(ref) for ref in refs]
    watched.run('register-vm', 'a', 'b')
    # Its next start completes its map: until then it is not replaced.
    watched.xapi.call('VM.add_to_platform', refs[0], 'secureboot', 'auto')
    path = os.path.join(watched.directory, 'passed.csv')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid,vm_id\n%s,3\n%s,1\n' % (uuids[0], uuids[1]))
    run = watched.run('import', path, '--no-wait')  # the daemon is not waited for in vain
    assert run.status == 0 and 'a: not staged: XAPI completes its platform map' in run.out, run
    assert f'b: not staged: VM {uuids[0]} still has its vm_id' in run.out
    assert [watched.args(ref) for ref in refs] == [span(1), span(2)]


@pytest.mark.parametrize('keep, said', [
    pytest.param(lambda watched, ref: watched.start_vm(ref),
                 'a: saved; applied at its next boot: pending', id='running'),
    pytest.param(lambda watched, ref: watched.xapi.call(
        'VM.add_to_platform', ref, 'secureboot', 'auto'),
        'a: not staged: XAPI completes its platform map', id='platform-to-be-completed'),
])
def test_vm_that_waits_itself_is_not_called_staged_when_a_halted_one_passes_its_number_on(
        watched: Place, keep: Any, said: str) -> None:
    refs = [watched.create_vm(name) for name in 'ab']
    uuids = [watched.uuid(ref) for ref in refs]
    watched.run('register-vm', 'a', 'b')
    keep(watched, refs[0])
    path = os.path.join(watched.directory, 'passed.csv')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid,vm_id\n%s,2\n%s,3\n' % (uuids[0], uuids[1]))
    run = watched.run('import', path)
    assert run.status == 0 and said in run.out and 'b: staged: its next start' in run.out, run
    assert [watched.args(ref) for ref in refs] == [span(1), span(3)]


def test_a_removal_of_which_the_journal_cannot_know_is_not_called_staged(watched: Place) -> None:
    ref = watched.create_vm('a')
    watched.run('register-vm', 'a')
    wait_until(lambda: watched.args(ref) == span(1), 'staged')
    other = sqlite3.connect(watched.registry.journal_path, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    run = watched.run('remove-vm', 'a', '--yes')
    assert run.status == 0 and 'Not staged: the daemon has not done it within 3 s' in run.out, run
    assert watched.args(ref) == span(1)
    other.close()


def _read_daemon(watched: Place) -> Any:
    """What `status` says of the daemon, once it knows since when it watches."""
    daemon = watched.run('status', '--json').document['daemon']
    return daemon if daemon['since'] and daemon['is_synced'] else None


def test_a_restart_is_staged_by_the_daemon_and_verified_by_its_receipt(watched: Place) -> None:
    ref = watched.create_vm('web')
    watched.run('register-vm', '--vm-name=web')
    wait_until(lambda: watched.args(ref) == span(1), 'staged')
    watched.start_vm(ref)
    run = watched.run('set-pool', '--vm-name=web', '--pool=B', '--yes', '--json')
    assert run.status == 0, run.err
    assert run.document['staging']['result'] == 'as_desired'
    assert watched.xapi.boots[-1].args == span(1, 'B')
    vm = watched.run('show-vm', '--vm-name=web', '--json').document['vm']
    assert vm['last_boot']['verdict'] == 'as_desired' and vm['state'] == 'as_desired'
    name = watched.xapi.call('host.get_name_label', vm['last_boot']['host'])
    assert vm['last_boot']['host_name'] == name
    assert vm['last_boot']['at'] == vm['last_boot']['opened_at']
    for command in ('show-vm', 'explain'):
        assert f' on {name}: as_desired' in watched.run(command, '--vm-name=web').out
    explained = watched.run('explain', '--vm-name=web')
    assert explained.status == 0 and 'pool A → B' in explained.out


def test_a_removal_says_what_the_next_start_takes_and_waits_for_no_receipt(
        watched: Place) -> None:
    refs = [watched.create_vm(name) for name in 'ab']
    assert watched.run('register-vm', 'a', 'b').status == 0
    for number, ref in enumerate(refs, 1):
        wait_until(lambda: watched.args(ref) == span(number), 'staged')
    run = watched.run('remove-vm', 'a')
    assert run.status == 0 and 'its next start takes it' not in run.out, run.out
    watched.start_vm(refs[1])
    run = watched.run('remove-vm', 'b', '--yes', '--restart', '--json')
    assert run.status == 0, run.err
    assert run.document['staging'] == {
        'result': 'restarted', 'message': 'restarted, with none of our arguments'}
    assert watched.xapi.boots[-1].args is None and watched.power(refs[1]) == 'Running'


def test_of_many_edits_at_once_none_is_lost(watched: Place) -> None:
    names = ['vm%d' % index for index in range(4)]
    refs = [watched.create_vm(name) for name in names]
    for name in names:
        assert watched.run('register-vm', '--vm-name=' + name).status == 0
    commands = [words for name in names for words in (
        ['set-pool', '--vm-name=' + name, '--pool=B'],
        ['set-priority', '--vm-name=' + name, '--priority=high'])]
    processes = [watched.start(*words) for words in commands]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(commands), answers
    assert [row[3:] for row in watched.rows()] == [('B', 2)] * len(names)
    for number, ref in enumerate(refs, 1):
        wait_until(lambda: watched.args(ref) == span(number, 'B', 'high'), 'staged')


def test_a_registry_that_is_rebuilt_beside_the_daemon_is_noticed(watched: Place) -> None:
    first, second = watched.create_vm('web'), watched.create_vm('db')
    for name in ('web', 'db'):
        assert watched.run('register-vm', '--vm-name=' + name).status == 0
    # Not just any generation: that of both rows.
    wait_until(lambda: watched.run('registry', 'compare', '--exit-code').status == 0, 'mirrored')
    wait_until(lambda: watched.args(second) == span(2), 'staged')
    os.remove(watched.db)
    wait_until(lambda: _read_log(watched).count(b'registry.unavailable') == 1, 'noticed')
    # What a VM lost meanwhile is left as it is, and brought back with the registry.
    watched.xapi.call('VM.remove_from_platform', second, KEY)
    run = watched.run('registry', 'rebuild', '--yes', '--json')
    assert run.status == 0, run.err
    assert run.document['result'] == 'rebuilt'
    staging = run.document['staging']
    assert staging[watched.uuid(first)] == 'as_desired'
    # The daemon may have been quicker than the question.
    assert staging[watched.uuid(second)] in ('staged', 'by_daemon', 'as_desired')
    wait_until(lambda: watched.args(second) == span(2), 'staged by the daemon')
    assert watched.args(first) == span(1)
    # It goes on from the file that is there now.
    generation = wait_until(lambda: _is_mirrored(watched), 'mirrored again')
    assert watched.run('set-pool', '--vm-name=web', '--pool=B').status == 0
    wait_until(lambda: watched.args(first) == span(1, 'B'), 'staged by the daemon')
    wait_until(lambda: _is_mirrored(watched) not in (None, generation), 'the edit mirrored')
    assert watched.run('registry', 'compare', '--exit-code').status == 0
    assert b'registry.rebuilt' not in _read_log(watched)


def _read_log(watched: Place) -> bytes:
    with open(os.path.join(watched.directory, 'log'), 'rb') as log:
        return log.read()


def _is_mirrored(watched: Place) -> Any:
    """The generation that is mirrored; None while one is under way."""
    run = watched.run('status', '--json')
    mirror = run.document['mirror'] if run.status == 0 else None
    return mirror['generation'] if mirror and mirror['state'] == 'mirrored' else None


@pytest.mark.parametrize('kind', ['hang', 'half_open'])
def test_what_a_killed_command_leaves_is_whole(pool: Place, kind: str) -> None:
    ref = pool.create_vm('web', args='-foo')
    pool.run('register-vm', '--vm-name=web')
    pool.xapi.clear_calls()
    # The call does not come back: the command waits in the middle.
    pool.xapi.clear_calls()
    pool.xapi.add_fault(kind, method='VM.set_platform')
    process = pool.start('set-pool', '--vm-name=web', '--pool=B')
    wait_until(lambda: any(call.method == 'VM.set_platform' for call in pool.xapi.calls),
               'the call')
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert pool.rows()[0][3] == 'B'
    assert pool.args(ref) == '-foo ' + span(1)
    pool.xapi.faults.clear()
    assert pool.run('reconcile').status == 0
    assert pool.args(ref) == '-foo ' + span(1, 'B')
    assert pool.xapi.vm(ref)['blocked_operations'] == {}
    with WriterLock(pool.db) as lock:
        assert lock.acquire()


def test_ctrl_c_in_a_replacement_waits_for_its_end(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo')
    pool.run('register-vm', '--vm-name=web')
    pool.xapi.clear_calls()
    pool.xapi.add_fault('delay', method='VM.set_platform', parameters={'seconds': 0.5})
    process = pool.start('set-pool', '--vm-name=web', '--pool=B')
    wait_until(lambda: any(call.method == 'VM.set_platform' for call in pool.xapi.calls),
               'the call')
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b'committed' in err
    assert pool.xapi.vm(ref)['platform'].get(KEY) == '-foo ' + span(1, 'B')


def test_ctrl_c_at_the_question_changes_nothing(pool: Place) -> None:
    import pty
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    ours, theirs = pty.openpty()
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', stdin=theirs)
    with process.stderr as stream:
        seen = b''
        while b'(yes/no): ' not in seen:
            seen += stream.read(1)
        process.send_signal(signal.SIGINT)
        assert b'nothing was changed' in stream.read()
    process.stdout.close()
    assert process.wait(30) == 130
    os.close(ours)
    os.close(theirs)
    assert pool.rows()[0][3] == 'A' and pool.power(ref) == 'Running'


def test_a_daemon_that_does_not_run_is_in_sync_with_nothing(pool: Place) -> None:
    daemon = pool.run('status', '--json').document['daemon']
    assert (daemon['watching'], daemon['is_synced'], daemon['holder']) == (False, False, None)


def test_a_second_spelling_of_the_path_means_the_same_registry(watched: Place) -> None:
    link = os.path.join(watched.directory, 'elsewhere')
    os.mkdir(link)
    path, config = os.path.join(link, 'registry.db'), os.path.join(link, 'watcher.conf')
    os.symlink(watched.db, path)
    with open(watched.config, encoding='utf-8') as stream:
        text = stream.read().replace(watched.db, path)
    with open(config, 'w', encoding='utf-8') as stream:
        stream.write(text)
    # A second daemon finds the lock taken.
    second = programs.start('watcher', ['run', '--config', config], stderr=subprocess.PIPE,
                            **programs.surroundings())
    _out, err = second.communicate(timeout=60)
    assert second.returncode == 1 and b'another program writes for the registry' in err, err
    # vgpu-admin leaves the staging to the first one.
    ref = watched.create_vm('web')
    run = watched.run('register-vm', '--vm-name=web', '--db', path, '--no-wait', '--json')
    assert run.document['staging']['result'] == 'by_daemon'
    wait_until(lambda: watched.args(ref) == span(1), 'staged')
    assert sorted(os.listdir(link)) == ['registry.db', 'watcher.conf']


def test_a_vm_with_a_row_that_took_the_number_of_another_is_told_of_both(watched: Place) -> None:
    """The consumer gives a VM with a row what its key holds: its administrator may write that."""
    refs = [watched.create_vm(name) for name in ('web', 'own')]
    assert watched.run('register-vm', 'web', 'own').status == 0
    wait_until(lambda: watched.args(refs[1]) == span(2), 'staged')
    watched.start_vm(refs[0])
    watched.xapi.call('VM.remove_from_platform', refs[1], KEY)
    watched.xapi.call('VM.add_to_platform', refs[1], KEY, span(1))
    watched.start_vm(refs[1])
    assert watched.xapi.boots[-1].args == span(1)
    wait_until(lambda: watched.run('status').out.count('runs in another QEMU') == 2, 'told')
    assert watched.run('status').out.count('shut down the VM whose row does not have it') == 2
