"""SIGKILL at each step of the restart: what is left is whole, and the next command goes on."""

import os
import pty
import signal
from typing import Any

import pytest

from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, span, wait_until

BEFORE, AFTER = span(1), span(1, 'B')
# The call in which the command is killed: the row, the power state and the value at that moment.
STEPS = [
    pytest.param('VM.get_by_uuid', 'A', 'Running', BEFORE, id='looking'),
    pytest.param('Async.VM.clean_shutdown', 'B', 'Running', BEFORE, id='asking-for-the-stop'),
    pytest.param('VM.get_all_records', 'B', 'Halted', BEFORE, id='stopped'),
    pytest.param('VM.set_platform', 'B', 'Halted', BEFORE, id='before-the-write'),
    pytest.param('Async.VM.start', 'B', 'Halted', AFTER, id='before-the-start'),
]


# What XAPI shows once it has carried out the call that hung: it does so without its caller.
CARRIED_OUT = {
    'Async.VM.clean_shutdown': lambda pool, ref: pool.power(ref) == 'Halted',
    'VM.set_platform': lambda pool, ref: pool.args(ref) == AFTER,
    'Async.VM.start': lambda pool, ref: pool.power(ref) == 'Running',
}


def _run_to_the_call(pool: Place, method: str) -> Any:
    pool.xapi.add_fault('hang', method=method)
    seen = len(pool.xapi.calls)
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    wait_until(lambda: any(call.method == method for call in pool.xapi.calls[seen:])
               or process.poll() is not None, method)
    assert process.poll() is None, process.communicate()
    return process


def _assert_whole(pool: Place) -> None:
    assert pool.run('check').status == 0
    with WriterLock(pool.db) as lock:
        assert lock.acquire()


@pytest.mark.parametrize('method,row,power,args', STEPS)
def test_what_a_killed_restart_leaves_is_whole_and_the_next_command_goes_on(
        pool: Place, method: str, row: str, power: str, args: Any) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    pool.start_vm(ref)
    process = _run_to_the_call(pool, method)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert (pool.rows()[0][3], pool.power(ref), pool.args(ref)) == (row, power, args)
    _assert_whole(pool)
    # What XAPI had received it still does; then an administrator looks, and repeats the command.
    pool.xapi.faults.clear()
    is_carried_out = CARRIED_OUT.get(method, lambda *_: True)
    wait_until(lambda: is_carried_out(pool, ref)
               and not pool.xapi.vm(ref)['current_operations'], 'quiet')
    assert pool.run('reconcile').status == 0
    assert pool.run('set-pool', '--vm-name=web', '--pool=B', '--yes').status == 0
    if pool.power(ref) == 'Halted':
        assert pool.args(ref) == AFTER
        pool.start_vm(ref)
    assert pool.rows()[0][3] == 'B' and pool.xapi.vm(ref)['blocked_operations'] == {}
    shown = pool.run('show-vm', '--vm-name=web', '--json').document['vm']
    assert shown['state'] in ('as_desired', 'pending')


def test_killed_while_the_vm_stops_the_change_is_pending_and_the_stop_goes_on(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    fault = pool.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    wait_until(lambda: pool.xapi.vm(ref)['current_operations'], 'the stop')
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    _assert_whole(pool)
    assert (pool.rows()[0][3], pool.power(ref), pool.args(ref)) == ('B', 'Running', BEFORE)
    assert pool.run('show-vm', '--vm-name=web', '--json').document['vm']['state'] == 'pending'
    pool.xapi.faults.remove(fault)


def test_killed_while_the_boot_is_verified_the_vm_runs_with_the_change(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    wait_until(lambda: len(pool.xapi.boots) == 2, 'the start')
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: pool.power(ref) == 'Running', 'running')
    _assert_whole(pool)
    assert pool.xapi.boots[-1].args == AFTER and pool.rows()[0][3] == 'B'


def test_killed_at_the_question_nothing_has_changed(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    ours, theirs = pty.openpty()
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', stdin=theirs)
    seen = b''
    while b'(yes/no): ' not in seen:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    _assert_whole(pool)
    assert (pool.rows()[0][3], pool.power(ref), pool.args(ref)) == ('A', 'Running', BEFORE)
