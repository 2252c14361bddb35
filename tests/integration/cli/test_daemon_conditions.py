"""What is promised for the daemon is what it does: its own conditions are asked first."""

import json
import os
import sqlite3
from typing import Any, Iterator, List

import pytest

from registry.journal.journal import Journal
from registry.schema import MIRROR_NOTE, WATCH_NOTE
from registry.writer_lock import WriterLock
from tests.integration.cli.program import KEY, Place, span
from tests.integration.cli.test_doctor import daemon  # noqa: F401 - a fixture

PROMISE = 'saved; the running daemon stages it'


@pytest.fixture
def web(pool: Place) -> str:
    """A registered VM that carries what it should; its UUID."""
    ref = pool.create_vm('web', args=span(1))
    pool.registry_row(ref, 1)
    return pool.uuid(ref)


@pytest.fixture
def holder(pool: Place) -> Iterator[Any]:
    """Somebody holds the writer's lock and leaves the notes of a daemon."""
    def leave(since: Any, last_answer: Any, **mirror: Any) -> None:
        with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
            journal.write_note(WATCH_NOTE, json.dumps({
                'pid': os.getpid(), 'version': '0', 'since': since, 'last_answer': last_answer}))
            journal.write_note(MIRROR_NOTE, json.dumps(dict(
                {'state': 'mirrored', 'generation': '7-0123abcd', 'is_master': True}, **mirror)))
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        yield leave


def change(pool: Place, vm_uuid: str) -> Any:
    run = pool.run('set-priority', vm_uuid, '--priority=high', '--no-wait', '--json')
    assert run.status == 0, run
    return run.document['staging']


def test_what_the_daemon_does_is_promised(pool: Place, web: str, holder: Any) -> None:
    import time
    holder(time.time(), time.time())
    assert change(pool, web) == {'result': 'by_daemon', 'message': PROMISE}


@pytest.mark.parametrize('notes, said', [
    pytest.param((None, 1.0, {}), 'not in sync with XAPI', id='not-in-sync'),
    pytest.param((1.0, 1.0, {}), 'XAPI has not answered', id='late'),
    pytest.param((9e9, 9e9, {'state': 'incomplete'}), 'nothing is staged', id='overtaken'),
])
def test_what_keeps_the_daemon_is_told(pool: Place, web: str, holder: Any, notes: Any,
                                       said: str) -> None:
    since, answer, mirror = notes
    holder(since, answer, **mirror)
    staging = change(pool, web)
    assert staging['result'] == 'pending' and said in staging['message']
    run = pool.run('show-vm', '--vm-uuid=' + web)
    assert 'staging it' not in run.out


@pytest.mark.parametrize('words', [
    ['set-pool', 'web', '--pool=B'], ['update-vm', 'web', 'db', '--priority=low'],
    ['remove-vm', 'web'], ['remove-vm', 'web', 'db']], ids=' '.join)
def test_no_vm_is_stopped_that_the_daemon_would_not_stage(pool: Place, holder: Any,
                                                          words: List[str]) -> None:
    """It was stopped, waited for, and left stopped."""
    refs = [pool.create_vm(name, args=span(number)) for number, name in ((1, 'web'), (2, 'db'))]
    for number, ref in enumerate(refs, 1):
        pool.registry_row(ref, number)
        pool.xapi.call('VM.start', ref, False, False)
    holder(9e9, 9e9, state='incomplete')
    before = pool.rows()
    run = pool.run(*words, '--yes')
    assert run.status == 1 and 'nothing is staged' in run.err, run
    assert 'nothing was changed' in run.err and pool.rows() == before
    assert pool.run(*words, '--no-restart').status == 0
    assert [pool.power(ref) for ref in refs] == ['Running'] * 2


def test_a_vm_that_is_registered_then_is_not_restarted(pool: Place, holder: Any) -> None:
    ref = pool.create_vm('new')
    pool.xapi.call('VM.start', ref, False, False)
    holder(9e9, 9e9, state='incomplete')
    run = pool.run('register-vm', 'new', '--restart')
    assert run.status == 1 and 'was not stopped' in run.err and 'nothing is staged' in run.err
    assert 'go on with: vgpu-admin register-vm' in run.err
    assert pool.power(ref) == 'Running' and len(pool.rows()) == 1


def test_reconcile_says_whether_the_daemon_does_it(pool: Place, web: str, holder: Any) -> None:
    import time
    pool.xapi.call('VM.remove_from_platform', pool.xapi.find(web), KEY)
    holder(time.time(), time.time())
    run = pool.run('reconcile')
    assert run.out == f'web ({web}): the running daemon stages it\n'
    assert pool.run('reconcile', '--json').document['result'] == 'left_to_daemon'
    holder(None, 1.0)
    run = pool.run('reconcile')
    assert f'web ({web}): not staged' in run.out and 'not in sync with XAPI' in run.out
    assert pool.run('reconcile', '--json').document['result'] == 'not_reconciled'


def import_two(pool: Place, first: str, second: str) -> Any:
    with open(pool.directory + '/in.csv', 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid,priority\n%s,low\n%s,low\n' % (first, second))
    run = pool.run('import', pool.directory + '/in.csv', '--json')
    assert run.status == 0, run
    return run.document['staging']


def test_of_many_vms_each_is_told_what_is_known(pool: Place, web: str, holder: Any) -> None:
    import time
    holder(time.time(), time.time())
    other = pool.create_vm('other', args=span(2))
    pool.registry_row(other, 2)
    pool.start_vm(other)
    assert import_two(pool, web, pool.uuid(other)) == {web: 'by_daemon',
                                                       pool.uuid(other): 'pending'}
    gone = pool.create_vm('gone')
    pool.registry_row(gone, 3)
    uuid = pool.uuid(gone)
    pool.xapi.call('VM.destroy', gone)
    assert import_two(pool, web, uuid)[uuid] == 'unknown'


def test_of_many_vms_none_is_promised_to_a_daemon_that_stages_nothing(
        pool: Place, web: str, holder: Any) -> None:
    holder(None, 1.0)
    other = pool.create_vm('other', args=span(2))
    pool.registry_row(other, 2)
    assert import_two(pool, web, pool.uuid(other)) == {web: 'pending',
                                                       pool.uuid(other): 'pending'}


def test_numbers_that_many_vms_get_are_claimed_at_the_commit(
        pool: Place, web: str, holder: Any) -> None:
    """Before any daemon sees the rows: whoever takes such a number by hand afterwards is late."""
    holder(None, 1.0)
    new, other = (pool.uuid(pool.create_vm(name)) for name in ('new', 'other'))
    with open(pool.directory + '/in.csv', 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid,vm_id\n%s,31\n' % new)
    assert pool.run('import', pool.directory + '/in.csv').status == 0
    assert _claims(pool) == {31}
    assert pool.run('transfer-vm', '--from=' + web, '--to=' + other).status == 0
    assert _claims(pool) == {31, 1}
    with open(pool.directory + '/list', 'w', encoding='utf-8') as stream:
        stream.write(web + '\n')
    assert pool.run('register-vm', '--from-file=' + pool.directory + '/list').status == 0
    assert _claims(pool) == {31, 1, 32}


def _claims(pool: Place) -> Any:
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        return set(journal.claims())


def set_version(pool: Place, version: int) -> None:
    connection = sqlite3.connect(pool.db)
    connection.execute('PRAGMA user_version = %d' % version)
    connection.commit()
    connection.close()


def test_registry_that_is_not_accepted_promises_nothing(
        pool: Place, web: str, daemon: Any) -> None:  # noqa: F811
    set_version(pool, 0)
    staging = change(pool, web)
    assert staging['result'] == 'drift' and 'vgpu-admin accept' in staging['message']
    run = pool.run('remove-vm', '--vm-uuid=' + web)
    assert run.status == 0 and 'vgpu-admin accept' in run.out and 'staging it' not in run.out


def test_registered_template_promises_nothing(pool: Place, web: str,
                                              daemon: Any) -> None:  # noqa: F811
    pool.xapi.call('VM.set_is_a_template', pool.xapi.find(web), True)
    staging = change(pool, web)
    assert 'template' in staging['message'] and staging['result'] == 'pending'


def test_halted_vm_waits_for_the_operation_that_hangs(pool: Place, web: str) -> None:
    """Whoever is told to wait until it rests, and sees it Halted, would wait for ever."""
    pool.xapi.set_field(pool.xapi.find(web), 'current_operations', {'OpaqueRef:task': 'export'})
    waits = 'waits for the end of export; if that hangs: xe task-list'
    staging = change(pool, web)
    assert staging['result'] == 'pending' and waits in staging['message']
    assert waits in pool.run('show-vm', '--vm-uuid=' + web).out


@pytest.mark.parametrize('words', [
    ['set-priority', 'web', '--priority=high'], ['remove-vm', 'web'],
    ['register-vm', '--vm-uuid=0a0b0c0d-1111-2222-3333-444455556666'],
    ['disable-pool', '--pool-id=A', '--yes'], ['set-pool', 'web', 'db', '--pool=B', '--yes']])
def test_a_member_whose_xapi_is_away_edits_no_copy_that_the_mirror_replaces(
        pool: Place, web: str, holder: Any, words: Any) -> None:
    other = pool.create_vm('db')
    pool.registry_row(other, 2)
    uuids = {'web': web, 'db': pool.uuid(other)}
    words = [uuids.get(word, word) for word in words]
    holder(9e9, 9e9)
    pool.xapi.stop()
    before = pool.rows()
    assert pool.run(*words, '--dry-run').status == 0  # a master's edits need no XAPI
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.write_note(WATCH_NOTE, json.dumps({'pid': os.getpid(), 'is_member': True}))
    run = pool.run(*words, '--json')
    assert run.status == 1 and 'this host is a member' in run.error['message'], run
    assert 'nothing was changed' in run.error['message'] and pool.rows() == before
    assert pool.run('show-vm', web).status == 0
