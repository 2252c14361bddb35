"""The restart, broken at each of its steps while a daemon runs: what is left is right, and said."""

import signal
import sqlite3
from typing import Any, Iterator

import pytest

from registry.journal.journal import Journal
from tests.integration.cli.breaking import AFTER, BEFORE, STEPS, Daemon, Restart
from tests.integration.cli.program import Place, span, wait_until

# When the edit is committed, the VM at rest and started, as the steps follow each other.
COMMITTED = STEPS[1:]
STOPPED = ('staging', 'asking_for_the_start', 'starting')


@pytest.fixture
def watched(pool: Place) -> Iterator[Place]:
    """A pool with a daemon, and a registered VM that runs."""
    pool.daemon = Daemon(pool)
    pool.daemon.start()
    pool.ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    wait_until(lambda: pool.args(pool.ref) == BEFORE, 'staged')
    pool.start_vm(pool.ref)
    yield pool
    pool.xapi.faults.clear()
    pool.daemon.close()


def _is_settled(pool: Place, desired: Any) -> bool:
    """Whether nothing is under way, nothing is blocked, and a VM at rest carries its row."""
    vm = pool.xapi.vm(pool.ref)
    return (not vm['current_operations'] and not vm['blocked_operations']
            and (vm['power_state'] != 'Halted' or pool.args(pool.ref) == desired))


def _assert_right(pool: Place, restart: Restart, desired: Any) -> None:
    """What holds whatever happened; `restart` has ended."""
    wait_until(lambda: _is_settled(pool, desired), 'a pool that is settled')
    assert pool.run('check').status == 0
    if pool.power(pool.ref) == 'Halted' and restart.process.returncode > 0:
        assert 'xe vm-start uuid=' + pool.uuid(pool.ref) in restart.told
    if restart.process.returncode not in (0, -signal.SIGKILL):
        assert 'vgpu-admin: ' in restart.told


@pytest.mark.parametrize('step', STEPS)
def test_killed(watched: Place, step: str) -> None:
    restart = Restart(watched, watched.ref, step)
    restart.process.kill()
    restart.finish()
    watched.xapi.faults.clear()
    row = 'B' if step in COMMITTED else 'A'
    assert watched.rows()[0][3] == row
    _assert_right(watched, restart, AFTER if row == 'B' else BEFORE)
    # Whoever repeats the command gets what was wanted.
    if watched.power(watched.ref) == 'Running' and watched.args(watched.ref) == BEFORE:
        assert watched.run('set-pool', '--vm-name=web', '--pool=B', '--yes').status == 0
        # It boots with it, or rests with it: the stop that was asked for may come through late.
        wait_until(lambda: (watched.args(watched.ref) if watched.power(watched.ref) == 'Halted'
                            else watched.xapi.boots[-1].args) == AFTER, 'what was wanted')


@pytest.mark.parametrize('step', STEPS)
def test_ctrl_c(watched: Place, step: str) -> None:
    restart = Restart(watched, watched.ref, step)
    restart.process.send_signal(signal.SIGINT)
    if step.startswith('asking'):
        restart.let_go()  # a call that is under way is waited for: else nobody knows what it did
    assert restart.finish() == 130, restart.told
    assert 'Traceback' not in restart.told
    row, power = watched.rows()[0][3], watched.power(watched.ref)
    if step == 'question':
        assert (row, power) == ('A', 'Running') and 'nothing was changed' in restart.told
    else:
        assert row == 'B' and 'is committed to the registry' in restart.told
    if step in ('asking_for_the_stop', 'stopping'):
        assert 'cancelled' in restart.told
        wait_until(lambda: not watched.xapi.vm(watched.ref)['current_operations'], 'cancelled')
        assert watched.power(watched.ref) == 'Running'
    if step == 'staging':
        assert power == 'Halted'
    watched.xapi.faults.clear()
    _assert_right(watched, restart, AFTER if row == 'B' else BEFORE)


@pytest.mark.parametrize('step', STEPS)
def test_a_daemon_that_is_killed(watched: Place, step: str) -> None:
    """The daemon dies in the middle, and systemd starts it again."""
    restart = Restart(watched, watched.ref, step)
    watched.daemon.kill()
    if step == 'staging':
        restart.let_go()  # the command stages the VM itself, and the daemon waits for that
    watched.daemon.start()
    restart.answer('yes\n')
    restart.let_go()
    assert restart.finish() == 0, restart.told
    assert (watched.rows()[0][3], watched.power(watched.ref)) == ('B', 'Running')
    assert watched.xapi.boots[-1].args == AFTER
    _assert_right(watched, restart, AFTER)


@pytest.mark.parametrize('step', STEPS)
def test_a_daemon_that_is_killed_and_stays_away(watched: Place, step: str) -> None:
    """The command waited for the daemon: it stages the VM itself, or says that it is stopped."""
    restart = Restart(watched, watched.ref, step)
    watched.daemon.kill()
    restart.answer('yes\n')
    restart.let_go()
    status = restart.finish()
    assert watched.rows()[0][3] == 'B'
    assert (status, watched.power(watched.ref)) == (0, 'Running'), restart.told
    assert watched.xapi.boots[-1].args == AFTER
    watched.daemon.start()
    _assert_right(watched, restart, AFTER)


@pytest.mark.parametrize('step', COMMITTED)
def test_a_second_administrator_who_edits_the_row(watched: Place, step: str) -> None:
    restart = Restart(watched, watched.ref, step)
    second = watched.run('set-priority', '--vm-name=web', '--priority=low', '--no-restart')
    assert second.status == 0, second.err
    restart.let_go()
    status = restart.finish()
    assert watched.rows()[0][3:] == ('B', 0)
    assert watched.power(watched.ref) == 'Running', restart.told
    took = watched.xapi.boots[-1].args
    assert took in (AFTER, span(1, 'B', 'low'))
    # Whether the daemon had seen the second edit when the boot was judged, is between those two.
    with Journal(watched.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = journal.last_boot(watched.uuid(watched.ref))
    good = boot.verdict in (None, 'as_desired', 'unverified')
    assert status == (0 if good else 1), (boot, restart.told)
    assert good or boot.found == took == AFTER, (boot, restart.told)
    _assert_right(watched, restart, span(1, 'B', 'low'))


@pytest.mark.parametrize('step', STEPS)
def test_a_second_administrator_who_removes_the_row(watched: Place, step: str) -> None:
    restart = Restart(watched, watched.ref, step)
    assert watched.run('remove-vm', '--vm-name=web', '--no-restart').status == 0
    restart.answer('yes\n')
    restart.let_go()
    status = restart.finish()
    assert watched.rows() == []
    if step == 'question':
        assert status in (3, 4) and watched.power(watched.ref) == 'Running', restart.told
    elif step == 'verifying':
        # What the boot took is all that is left to say.
        assert status in (0, 4) and watched.power(watched.ref) == 'Running', restart.told
    else:
        assert watched.power(watched.ref) == 'Running', restart.told
        assert status == 4 and 'is not registered any more' in restart.told, restart.told
    _assert_right(watched, restart, None)


@pytest.mark.parametrize('step', STEPS)
def test_a_second_administrator_who_stops_the_vm(watched: Place, step: str) -> None:
    restart = Restart(watched, watched.ref, step)
    if watched.power(watched.ref) == 'Running':
        watched.xapi.faults.clear() if step == 'stopping' else None
        watched.xapi.call('VM.hard_shutdown', watched.ref)
    restart.answer('yes\n')
    restart.let_go()
    status = restart.finish()
    assert watched.rows()[0][3] == 'B'
    assert status in (0, 1), restart.told
    if watched.power(watched.ref) == 'Halted':
        assert 'does not run' in restart.told or 'STOPPED' in restart.told, restart.told
    _assert_right(watched, restart, AFTER)


@pytest.mark.parametrize('step', STOPPED)
def test_a_second_administrator_who_starts_the_vm(watched: Place, step: str) -> None:
    # However quick vgpu-admin is, the other one starts the VM first.
    held = watched.xapi.add_fault('hang', method='Async.VM.start') if step == 'staging' else None
    restart = Restart(watched, watched.ref, step)
    if step == 'staging':
        restart.let_go()
    if step != 'starting':
        # Long enough for the daemon to put right what is not staged yet, also on a busy machine.
        state = watched.xapi.state
        state.settings = state.settings._replace(cutoff_seconds=2.0)
        watched.start_vm(watched.ref)
    if held is not None:
        watched.xapi.faults.remove(held)
    restart.let_go()
    assert restart.finish() == 0, restart.told
    assert watched.rows()[0][3] == 'B' and watched.power(watched.ref) == 'Running'
    _assert_right(watched, restart, AFTER)


# method, kind, whether the restart comes about all the same
TROUBLES = [
    pytest.param('VM.get_by_uuid', 'failure', 'not asked', id='looking'),
    pytest.param('Async.VM.clean_shutdown', 'failure', 'running', id='the-stop-is-refused'),
    pytest.param('Async.VM.clean_shutdown', 'drop_before', 'running', id='the-stop-is-not-heard'),
    pytest.param('Async.VM.clean_shutdown', 'drop_after', 'done', id='the-stop-without-answer'),
    pytest.param('VM.clean_shutdown', 'operation_failure', 'running', id='the-stop-fails'),
    pytest.param('task.get_status', 'drop_before', 'done', id='a-dropped-look'),
    pytest.param('task.get_status', 'http_500', 'any', id='a-look-that-is-answered-by-500'),
    pytest.param('Async.VM.start', 'failure', 'stopped', id='the-start-is-refused'),
    pytest.param('Async.VM.start', 'drop_before', 'done', id='the-start-is-not-heard'),
    pytest.param('Async.VM.start', 'drop_after', 'done', id='the-start-without-answer'),
    pytest.param('VM.start', 'operation_failure', 'stopped', id='the-start-fails'),
    pytest.param('VM', 'boot_failure', 'stopped', id='the-boot-fails'),
    pytest.param('task.destroy', 'failure', 'done', id='a-task-that-stays'),
    pytest.param('VM.get_record', 'drop_before', 'any', id='a-dropped-read'),
]


@pytest.mark.parametrize('method,kind,outcome', TROUBLES)
def test_one_call_that_goes_wrong(watched: Place, method: str, kind: str, outcome: str) -> None:
    watched.xapi.add_fault(kind, method=method, count=1, parameters={'code': 'INTERNAL_ERROR'})
    run = watched.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    power = watched.power(watched.ref)
    assert 'Traceback' not in run.err
    if outcome == 'done':
        assert (run.status, power) == (0, 'Running'), run.err
        assert watched.xapi.boots[-1].args == AFTER
    elif outcome == 'running':
        assert (run.status, power) == (1, 'Running'), run.err
        assert 'take it back with' in run.err and watched.args(watched.ref) == BEFORE
    elif outcome == 'stopped':
        assert (run.status, power) == (1, 'Halted'), run.err
        assert 'STOPPED' in run.err and 'xe vm-start' in run.err
    elif outcome == 'not asked':
        assert (run.status, power) == (0, 'Running') and 'not checked and not staged: XAPI ' in run.out
    wait_until(lambda: _is_settled(watched, AFTER), 'a pool that is settled')
    assert watched.rows()[0][3] == 'B' and watched.run('check').status == 0
    if power == 'Halted':
        assert 'xe vm-start uuid=' + watched.uuid(watched.ref) in run.err


@pytest.mark.parametrize('method', ['Async.VM.clean_shutdown', 'Async.VM.start'])
def test_a_call_that_is_never_answered(watched: Place, method: str) -> None:
    watched.xapi.add_fault('hang', method=method)
    run = watched.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 1 and 'take it back with' in run.err
    assert 'may still happen' in run.err or 'xe vm-start' in run.err
    watched.xapi.faults.clear()
    wait_until(lambda: _is_settled(watched, AFTER), 'a pool that is settled')


@pytest.mark.parametrize('operation', ['stopping', 'starting'])
def test_an_operation_that_takes_too_long(watched: Place, operation: str) -> None:
    restart = Restart(watched, watched.ref, operation, ('--timeout=1',))
    if operation == 'stopping':
        assert restart.finish() == 1 and 'the stop was cancelled' in restart.told
        assert watched.power(watched.ref) == 'Running'
    else:
        # A start has more patience than a test: it is interrupted.
        restart.process.send_signal(signal.SIGINT)
        assert restart.finish() == 130 and 'xe vm-start' in restart.told
    _assert_right(watched, restart, AFTER)


def test_a_registry_that_is_locked_once_the_vm_is_stopped(watched: Place) -> None:
    restart = Restart(watched, watched.ref, 'stopping')
    other = sqlite3.connect(watched.db, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    restart.let_go()
    status = restart.finish()
    other.close()
    assert status == 5 and 'xe vm-start uuid=' in restart.told, restart.told
    _assert_right(watched, restart, AFTER)
