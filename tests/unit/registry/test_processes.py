"""Several processes at once, and processes that die: no edit is lost, none is half done."""

import os
import shutil
import signal
import time

import pytest

from registry.journal.journal import Journal
from registry.store import Registry
from tests.unit.registry.helpers import other_program, run_child, start_child, uuid_of

REGISTER = '''
import sys
from registry.store import Registry
with Registry(sys.argv[1], timeout_seconds=10).edit(who='child', command='register-vm') as edit:
    print(edit.add_vm(sys.argv[2]).vm_id)
'''

# Dies by SIGKILL as statement number N begins; prints the number of statements when N is 0.
COUNT_AND_DIE = '''
import os, signal, sqlite3, sys
from registry.store import Registry
path, last, count = sys.argv[1], int(sys.argv[2]), 0
def trace(statement):
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
def traced(*arguments, **keywords):
    connection = connect(*arguments, **keywords)
    connection.set_trace_callback(trace)
    return connection
sqlite3.connect = traced
'''
EDIT_AND_DIE = COUNT_AND_DIE + '''
with Registry(path, timeout_seconds=1).edit(who='child', command='x') as edit:
    edit.add_vm(sys.argv[4])
    edit.remove_vm(sys.argv[3])
print(count)
'''
CREATE_AND_DIE = COUNT_AND_DIE + '''
print(Registry(path, timeout_seconds=1).create('child'), count)
'''

# Dies by SIGALRM, which ends the process at any instant, also in the middle of a commit.
DIE_AT_AN_INSTANT = '''
import signal, sys, uuid
from registry.store import Registry
registry = Registry(sys.argv[1], timeout_seconds=1)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
while True:
    with registry.edit(who='child', command='x') as edit:
        edit.add_vm(str(uuid.uuid4()))
'''

# Another program that dies with half of its rows written into the file itself.
DIE_WITH_A_HOT_JOURNAL = '''
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('PRAGMA cache_size=1')
connection.execute('BEGIN IMMEDIATE')
for number in range(2000):
    connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (?, ?, ?)',
                       (100 + number, 'uuid %d' % number, 'x' * 200))
os.kill(os.getpid(), signal.SIGKILL)
'''

WAIT_TEN_SECONDS = '''
import signal, sys
from registry.store import Registry
signal.signal(signal.SIGINT, signal.default_int_handler)
print('waiting', flush=True)
with Registry(sys.argv[1], timeout_seconds=10).edit(who='child', command='x'):
    pass
'''


def state_of(registry):
    """Read both files: which VMs there are, and which changes the history and orphans tell."""
    with Journal(registry.journal_path, timeout_seconds=1) as journal:
        changes = [(entry.what, entry.vm_uuid) for entry in journal.list_history()]
        orphans = set(journal.orphans())
    return {vm.vm_uuid for vm in registry.read().vms}, changes, orphans


def test_eight_registrations_at_once_make_eight_rows_with_eight_numbers(registry):
    children = [start_child(REGISTER, registry.path,
                            uuid_of(number)) for number in range(8)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 8, outputs
    vms = registry.read().vms
    assert {vm.vm_uuid for vm in vms} == {uuid_of(number) for number in range(8)}
    assert sorted(vm.vm_id for vm in vms) == list(range(1, 9))
    assert sorted(int(output) for output, _ in outputs) == list(range(1, 9))


def test_kill_at_any_statement_leaves_all_or_nothing_in_both_files(registry, tmp_path):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    untouched = state_of(registry)
    directory = os.path.dirname(registry.path)
    kept = str(tmp_path / 'kept')
    shutil.copytree(directory, kept)
    status, output, errors = run_child(
        EDIT_AND_DIE, registry.path, 0, uuid_of(1), uuid_of(2))
    assert status == 0, errors
    done = state_of(registry)
    assert done[0] == {uuid_of(2)} and done[2] == {uuid_of(1)}
    for last in range(1, int(output) + 1):
        shutil.rmtree(directory)
        shutil.copytree(kept, directory)
        status, output, errors = run_child(
            EDIT_AND_DIE, registry.path, last, uuid_of(1), uuid_of(2))
        assert status == -9, errors
        assert state_of(registry) == untouched, f'killed at statement {last}'
        assert registry.check().problems == ()


def test_creation_killed_at_any_statement_is_completed_by_the_next(tmp_path):
    status, output, errors = run_child(CREATE_AND_DIE, tmp_path / 'whole' / 'vgpu_config.db', 0)
    assert (status, output.split()[0]) == (0, 'True'), errors
    for last in range(1, int(output.split()[1]) + 1):
        path = str(tmp_path / str(last) / 'vgpu_config.db')
        status, _, errors = run_child(CREATE_AND_DIE, path, last)
        assert status == -9, errors
        registry = Registry(path, timeout_seconds=1)
        assert registry.create('me'), f'killed at statement {last}'
        assert registry.create('me') is False
        assert registry.read().accepted and registry.check().problems == ()
        assert [what for what, _ in state_of(registry)[1]] == ['registry_created']


@pytest.mark.parametrize('milliseconds', range(1, 25, 2))
def test_kill_at_any_instant_leaves_as_many_rows_as_the_history_tells(registry, milliseconds):
    status, _, errors = run_child(DIE_AT_AN_INSTANT, registry.path, milliseconds / 1000)
    assert status == -14, errors
    uuids, changes, _ = state_of(registry)
    assert uuids == {vm_uuid for what, vm_uuid in changes if what == 'vm_added'}
    assert Registry(registry.path, timeout_seconds=0).check().problems == ()


def test_transaction_of_another_program_that_died_is_rolled_back_by_reading(registry):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    before = registry.read()
    status, _, errors = run_child(DIE_WITH_A_HOT_JOURNAL, registry.path)
    assert status == -9, errors
    assert os.stat(registry.path + '-journal').st_size > 0
    assert registry.read() == before
    assert registry.check().problems == ()


def test_waiting_for_a_lock_can_be_interrupted(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN EXCLUSIVE')
        # Not recorded: Python swallows an interrupt that arrives within a trace callback.
        child = start_child(WAIT_TEN_SECONDS, registry.path, without=('VGPU_SQL_RECORDING',))
        assert child.stdout.readline() == 'waiting\n'
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert time.monotonic() - started < 8
    assert 'KeyboardInterrupt' in errors


def test_editing_waits_patiently_for_another_writer(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN EXCLUSIVE')
        child = start_child(REGISTER, registry.path, uuid_of(2))
        other.execute("INSERT INTO vms (vm_id, vm_uuid) VALUES (30, ?)", (uuid_of(1),))
        assert child.poll() is None
        other.execute('COMMIT')
    output, errors = child.communicate(timeout=60)
    assert output == '31\n', errors
