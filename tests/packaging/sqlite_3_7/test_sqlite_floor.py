"""The replay itself: it passes what 3.7.17 runs, and fails what it does not, also silently."""

import json
import os
import subprocess
import sys

import pytest

from registry.journal.journal import Journal
from registry.store import Registry
from registry.values import Priority
from tests.packaging.sqlite_3_7 import recording
from tests.packaging.sqlite_3_7.library import VERSION, Floor
from tests.packaging.sqlite_3_7.marks import needs_the_floor
from tests.packaging.sqlite_3_7.recording import Statement
from tests.packaging.sqlite_3_7.replay import main, make_databases, replay

UUIDS = tuple(f'0000000{number}-1111-2222-3333-444444444444' for number in range(3))

pytestmark = needs_the_floor


def test_floor_is_the_version_of_dom0():
    with Floor(':memory:') as floor:
        assert floor.execute('SELECT sqlite_version()') == [(VERSION,)]


@pytest.mark.parametrize('role, sql', [
    pytest.param('journal', 'SELECT id FROM history WHERE (1 IS NULL OR id < 3)', id='select'),
    pytest.param('journal', 'CREATE TABLE notes (key TEXT PRIMARY KEY)', id='table-that-is-there'),
    pytest.param('journal', "INSERT OR REPLACE INTO notes VALUES ('a', 'b')", id='insert'),
    pytest.param('memory+registry', 'PRAGMA registry.user_version', id='pragma'),
    pytest.param('journal+registry', 'PRAGMA registry.journal_mode=TRUNCATE', id='pragma-set'),
    pytest.param('journal+registry',
                 "INSERT INTO registry.vms (vm_id, vm_uuid, pool_id) VALUES (1, 'x', 'C')",
                 id='constraint-that-holds'),
    pytest.param('memory', "ATTACH 'file:/no/such/place?mode=rw' AS registry", id='attach'),
    pytest.param('journal', 'BEGIN IMMEDIATE', id='begin'),
    pytest.param('journal', 'COMMIT', id='commit'),
])
def test_statement_that_3_7_17_knows_passes(role, sql):
    assert replay([Statement(role, sql)]) == []


@pytest.mark.parametrize('role, sql', [
    pytest.param('journal', "INSERT INTO notes VALUES ('a', 'b') ON CONFLICT DO NOTHING",
                 id='upsert'),
    pytest.param('journal', "INSERT INTO notes VALUES ('a', 'b') RETURNING key", id='returning'),
    pytest.param('journal', 'WITH x AS (SELECT 1) SELECT * FROM x', id='cte'),
    pytest.param('journal', 'SELECT row_number() OVER (ORDER BY id) FROM history', id='window'),
    pytest.param('journal', "SELECT iif(1, 2, 3)", id='function'),
    pytest.param('journal', 'CREATE INDEX x ON history (id) WHERE id > 1', id='partial-index'),
    pytest.param('journal', 'CREATE TABLE x (y PRIMARY KEY) WITHOUT ROWID', id='without-rowid'),
    pytest.param('journal', 'PRAGMA data_version', id='pragma-ignored-silently'),
    pytest.param('journal', 'PRAGMA synchronous=EXTRA', id='pragma-that-becomes-another'),
    pytest.param('journal', 'SELECT * FROM registry.vms', id='table-of-another-database'),
    pytest.param('journal', 'SELECT nothing FROM history', id='column-that-is-not-there'),
])
def test_statement_that_3_7_17_does_not_run_fails(role, sql):
    assert [failure.statement.sql for failure in replay([Statement(role, sql)])] == [sql]


@pytest.mark.parametrize('sql, status, closing', [
    pytest.param('SELECT 1', 0, '1 distinct statements, 1 ran on SQLite 3.7.17, 0 failed',
                 id='good'),
    pytest.param("INSERT INTO notes VALUES ('a', 'b') ON CONFLICT (key) DO UPDATE SET value = 1",
                 1, '1 distinct statements, 0 ran on SQLite 3.7.17, 1 failed', id='upsert'),
    pytest.param(None, 2, '0 distinct statements, 0 ran on SQLite 3.7.17, 0 failed', id='empty'),
])
def test_replay_closes_with_a_summary_and_its_status(tmp_path, capsys, sql, status, closing):
    path = tmp_path / 'recording.jsonl'
    path.write_text('' if sql is None else json.dumps({'role': 'journal', 'sql': sql}) + '\n')
    assert main([str(path)]) == status
    assert capsys.readouterr().out.splitlines()[-1] == f'sqlite floor: {closing}'


def test_recording_that_is_not_there_is_no_success(tmp_path, capsys):
    assert main([str(tmp_path / 'none')]) == 2
    assert 'cannot replay' in capsys.readouterr().out


def do_everything(path):
    registry = Registry(path, timeout_seconds=1)
    registry.create('me')
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(UUIDS[0], vm_name='Café 中文')
        edit.add_vm(UUIDS[1], pool_id='B')
        edit.change_vm(UUIDS[0], priority=Priority.HIGH)
        edit.change_pool('B', enabled=False)
        edit.remove_vm(UUIDS[1])
    with Journal(registry.journal_path, timeout_seconds=1) as journal:
        journal.note_contents(registry.read())
        journal.note_staged(UUIDS[0], 1, 'x')
    return registry


def test_files_written_here_are_whole_for_3_7_17(tmp_path):
    registry = do_everything(str(tmp_path / 'vgpu_config.db'))
    with Floor(registry.path) as floor:
        assert floor.execute('PRAGMA integrity_check') == [('ok',)]
        assert floor.execute('SELECT vm_uuid, vm_name, priority FROM vms') == [
            (UUIDS[0], 'Café 中文', '2')]
    with Floor(registry.journal_path) as floor:
        assert floor.execute('PRAGMA integrity_check') == [('ok',)]
        # What came and went within one edit is not told.
        assert floor.execute('SELECT count(*) FROM history') == [('3',)]


def test_files_made_by_3_7_17_are_used_here(tmp_path):
    make_databases(str(tmp_path))
    registry = Registry(str(tmp_path / 'registry.db'), timeout_seconds=1,
                        journal_path=str(tmp_path / 'journal.db'))
    with registry.edit(who='me', command='x') as edit:
        assert edit.add_vm(UUIDS[0]).vm_id == 1
    assert registry.check().problems == ()


# The alarm is the process's own: a thread that sends the signal would be interrupted while it
# starts. What is interrupted is a function of its own: Python 3.12 leaves the jump back of a loop
# within `try` out of what the `try` covers.
INTERRUPTED = '''
import signal, time
from tests.packaging.sqlite_3_7 import recording
tracing = recording.load_tracing()
connection = tracing.RecordingConnection(':memory:')
connection.begin(':memory:')
signal.signal(signal.SIGALRM, signal.default_int_handler)

def is_lost():
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        connection.execute('SELECT 1').fetchall()
    return True

lost = 0
for _ in range(60):
    try:
        lost += is_lost()
    except KeyboardInterrupt:
        pass
print(lost)
'''


def test_a_ctrl_c_that_meets_the_recording_is_not_lost(tmp_path, monkeypatch):
    """From Python 3.11 on one in three is where Python code listens to SQLite."""
    monkeypatch.setenv(recording.VARIABLE, str(tmp_path / 'recording.jsonl'))
    done = subprocess.run([sys.executable, '-c', INTERRUPTED], cwd=recording.ROOT, timeout=400,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout.split() == [b'0'], done.stdout.decode()


def test_recordings_of_runs_that_are_over_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, 'CACHE', str(tmp_path))
    monkeypatch.delenv(recording.VARIABLE, raising=False)
    monkeypatch.setenv('PYTHONPATH', 'somewhere')
    kept = tmp_path / f'recording-{os.getppid()}.jsonl'
    over = tmp_path / 'recording-999999999.jsonl'
    for path in (kept, over):
        path.write_text('')
    recording.start()
    assert (kept.exists(), over.exists()) == (True, False)
    assert os.environ[recording.VARIABLE] == str(tmp_path / f'recording-{os.getpid()}.jsonl')
    assert os.environ['PYTHONPATH'].split(os.pathsep) == [recording.TRACING, 'somewhere']


RECORDED = '''
import sys
from registry.store import Registry
registry = Registry(sys.argv[1], timeout_seconds=1)
registry.create('me')
with registry.edit(who='me', command='x') as edit:
    edit.add_vm(sys.argv[2], vm_name="it's" + 'x' * 5000)
registry.read()
'''


def test_statements_of_child_processes_are_recorded_with_their_roles(tmp_path, monkeypatch):
    path = tmp_path / 'recording.jsonl'
    monkeypatch.setenv(recording.VARIABLE, str(path))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([recording.TRACING, recording.ROOT]))
    subprocess.run([sys.executable, '-c', RECORDED, str(tmp_path / 'registry.db'), UUIDS[0]],
                   check=True, timeout=60)
    statements = recording.read(str(path))
    assert {statement.role for statement in statements} == {
        'journal', 'journal+registry', 'memory', 'memory+registry'}
    inserts = [statement.sql for statement in statements if 'INTO registry.vms' in statement.sql]
    assert len(inserts) == 1 and "'long'" in inserts[0]
    assert replay(statements) == []
