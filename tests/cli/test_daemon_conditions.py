"""What is promised for the daemon is what it does: its own conditions are asked first."""

import json
import os
import sqlite3
from typing import Any, Iterator

import pytest

from registry.journal import Journal
from registry.lock import WriterLock
from registry.schema import MIRROR_NOTE, WATCH_NOTE
from tests.cli.program import Place, span
from tests.cli.test_doctor import daemon  # noqa: F401 - a fixture

PROMISE = 'the daemon that is running stages it'


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
    run = pool.run('set-priority', '--vm-uuid=' + vm_uuid, '--priority=high', '--json')
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
