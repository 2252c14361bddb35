"""set-pool and its kin as programs: what changes, what is asked, what restarts."""

import json
import os
import pty
import signal

import pytest

from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, span, wait_until


def _registered(pool: Place, running: bool = False) -> str:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    if running:
        pool.start_vm(ref)
    return ref


@pytest.mark.parametrize('words,expected', [
    pytest.param(['set-pool', '--pool=B'], span(1, 'B'), id='set-pool'),
    pytest.param(['set-priority', '--priority=low'], span(1, 'A', 'low'), id='set-priority'),
    pytest.param(['set-vm-id', '--vm-id=9'], span(9), id='set-vm-id'),
    pytest.param(['update-vm', '--pool=B', '--priority', 'high', '--vm-id=9'],
                 span(9, 'B', 'high'), id='update-vm'),
])
def test_a_vm_at_rest_carries_the_new_arguments(pool: Place, words: list, expected: str) -> None:
    ref = _registered(pool)
    run = pool.run(*words, '--vm-name=web', '--json')
    assert run.status == 0 and run.document['result'] == 'changed'
    assert run.document['staging']['result'] == 'staged'
    assert pool.args(ref) == expected and pool.power(ref) == 'Halted'
    assert pool.xapi.vm(ref)['blocked_operations'] == {}


def test_what_is_so_already_is_not_written(pool: Place) -> None:
    _registered(pool)
    before = pool.history()
    run = pool.run('set-pool', '--vm-name=web', '--pool=A', '--json')
    assert run.status == 0 and run.document['result'] == 'unchanged'
    assert pool.history() == before


def test_without_a_terminal_and_without_an_answer_nothing_changes(pool: Place) -> None:
    ref = _registered(pool, running=True)
    run = pool.run('set-pool', '--vm-name=web', '--pool=B')
    assert run.status == 2 and '--yes' in run.err and '--no-restart' in run.err
    assert pool.rows()[0][3] == 'A' and pool.power(ref) == 'Running'


@pytest.mark.parametrize('answer', ['no\n', '\n', 'x\n', '\x04'])
def test_any_answer_but_yes_changes_nothing(pool: Place, answer: str) -> None:
    ref = _registered(pool, running=True)
    run = pool.answer(answer, 'set-pool', '--vm-name=web', '--pool=B')
    assert run.status == 1 and 'nothing was changed' in run.err
    for line in ('Current configuration:', 'New configuration:',
                 'This change requires stopping and restarting the VM.',
                 'Do you want to apply these settings? (yes/no):'):
        assert line in run.err
    assert pool.rows()[0][3] == 'A' and pool.power(ref) == 'Running'


def test_what_follows_a_question_stands_on_a_line_of_its_own(pool: Place) -> None:
    _registered(pool, running=True)
    run = pool.answer('no\n', 'set-pool', '--vm-name=web', '--pool=B', '--json')
    assert json.loads(run.err.splitlines()[-1])['error']['kind'] == 'declined'


def test_yes_restarts_the_vm_with_the_new_arguments(pool: Place) -> None:
    ref = _registered(pool, running=True)
    run = pool.answer('yes\n', 'set-pool', '--vm-name=web', '--pool=B')
    assert run.status == 0, run.err
    assert pool.power(ref) == 'Running' and pool.xapi.boots[-1].args == span(1, 'B')
    assert 'runs with what is assigned' in run.out


def test_after_each_restart_the_vm_is_told_as_it_runs_by_now(pool: Place) -> None:
    _registered(pool, running=True)
    for priority in ('low', 'high'):
        run = pool.run('set-priority', 'web', f'--priority={priority}', '--yes', '--json')
        assert run.document['staging']['result'] == 'as_desired', run.err
        assert (run.document['vm']['state'], run.document['vm']['carried']) \
            == ('as_desired', span(1, 'A', priority))


def test_no_restart_leaves_the_vm_running_and_pending(pool: Place) -> None:
    ref = _registered(pool, running=True)
    run = pool.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart', '--json')
    assert run.status == 0 and run.document['staging']['result'] == 'pending'
    assert run.document['vm']['state'] == 'pending'
    assert pool.args(ref) == span(1) and pool.power(ref) == 'Running'
    assert pool.rows()[0][3] == 'B'


def test_a_pending_change_is_taken_back_without_a_restart(pool: Place) -> None:
    ref = _registered(pool, running=True)
    pool.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart')
    boots = len(pool.xapi.boots)
    run = pool.run('set-pool', '--vm-name=web', '--pool=A')
    assert run.status == 0 and len(pool.xapi.boots) == boots and pool.power(ref) == 'Running'


def test_a_paused_vm_stays_paused_whatever_is_allowed(pool: Place) -> None:
    ref = _registered(pool, running=True)
    pool.xapi.call('VM.pause', ref)
    for words in (['set-pool', '--pool=B'], ['set-pool', '--pool=A', '--yes', '--force'],
                  ['remove-vm', '--yes', '--force'], ['register-vm', '--restart', '--force']):
        run = pool.run(*words, 'web')
        assert run.status == 0 and pool.power(ref) == 'Paused', run
    assert pool.args(ref) == span(1)


def test_a_suspended_vm_stays_suspended_and_the_change_is_said_to_be_pending(pool: Place) -> None:
    ref = _registered(pool, running=True)
    pool.xapi.call('VM.suspend', ref)
    run = pool.run('set-pool', '--vm-name=web', '--pool=B')
    assert run.status == 0 and 'pending' in run.out and 'is Suspended: a resume' in run.out
    assert 'pending (suspended: a resume keeps the old arguments; ' in pool.run('status').out
    assert pool.power(ref) == 'Suspended' and pool.args(ref) == span(1)


def test_without_xapi_the_change_is_committed_and_it_says_so(pool: Place) -> None:
    ref = _registered(pool)
    vm_uuid = pool.uuid(ref)
    pool.xapi.stop()
    run = pool.run('set-pool', '--vm-uuid=' + vm_uuid, '--pool=B')
    assert run.status == 0 and 'not checked and not staged: XAPI ' in run.out and pool.rows()[0][3] == 'B'


def test_a_taken_number_is_a_conflict_before_anything_is_asked(pool: Place) -> None:
    ref = _registered(pool, running=True)
    other = pool.create_vm('other')
    pool.run('register-vm', '--vm-name=other')
    run = pool.run('set-vm-id', '--vm-name=web', '--vm-id=2', '--yes', '--json')
    assert run.status == 4 and pool.uuid(other) in run.error['message']
    assert pool.power(ref) == 'Running' and len(pool.xapi.boots) == 1


def test_a_dry_run_changes_nothing(pool: Place) -> None:
    ref = _registered(pool, running=True)
    run = pool.run('set-pool', '--vm-name=web', '--pool=B', '--dry-run', '--json')
    assert run.status == 0 and run.document['result'] == 'would_be_changed'
    assert run.document['vm']['pool_id'] == 'B'
    assert pool.rows()[0][3] == 'A' and pool.args(ref) == span(1)


def test_what_is_not_registered_is_not_found(pool: Place) -> None:
    pool.create_vm('web')
    run = pool.run('set-pool', '--vm-name=web', '--pool=B')
    assert run.status == 3 and 'register-vm' in run.err


def test_removing_a_running_vm_asks_and_stops_it(pool: Place) -> None:
    ref = _registered(pool, running=True)
    assert pool.run('remove-vm', '--vm-name=web').status == 2
    assert pool.answer('no\n', 'remove-vm', '--vm-name=web').status == 1
    assert pool.power(ref) == 'Running' and len(pool.rows()) == 1
    assert pool.answer('yes\n', 'remove-vm', '--vm-name=web').status == 0
    assert pool.power(ref) == 'Halted' and pool.args(ref) is None and pool.rows() == []


def test_a_removed_vm_is_started_again_when_told(pool: Place) -> None:
    ref = _registered(pool, running=True)
    assert pool.run('remove-vm', '--vm-name=web', '--yes', '--restart').status == 0
    assert pool.power(ref) == 'Running' and pool.xapi.boots[-1].args is None


def test_registering_restarts_when_told(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.start_vm(ref)
    assert pool.run('register-vm', '--vm-name=web', '--restart').status == 0
    assert pool.power(ref) == 'Running' and pool.xapi.boots[-1].args == span(1)


def test_a_stop_that_takes_too_long_is_cancelled_and_the_change_stays_pending(
        place: Place) -> None:
    xapi = place.start_xapi(shutdown_seconds=30.0)
    ref = _registered(place, running=True)
    run = place.run('set-pool', '--vm-name=web', '--pool=B', '--yes', '--timeout=1')
    assert run.status == 1 and 'was cancelled' in run.err and 'take it back' in run.err
    assert place.power(ref) == 'Running' and xapi.vm(ref)['current_operations'] == {}
    assert place.rows()[0][3] == 'B' and place.args(ref) == span(1)
    run = place.run('set-priority', '--vm-name=web', '--priority=low', '--yes', '--timeout=1',
                    '--force')
    assert run.status == 0, run.err
    assert xapi.boots[-1].args == span(1, 'B', 'low')


def test_a_start_that_fails_says_that_the_vm_is_stopped(pool: Place) -> None:
    ref = _registered(pool, running=True)
    pool.xapi.add_fault('failure', method='*VM.start', count=1,
                        parameters={'code': 'HOST_NOT_ENOUGH_FREE_MEMORY'})
    run = pool.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 1 and 'STOPPED' in run.err and 'xe vm-start' in run.err, run.err
    assert pool.power(ref) == 'Halted' and pool.args(ref) == span(1, 'B')


def test_an_interrupted_stop_is_cancelled_and_says_what_was_done(place: Place) -> None:
    xapi = place.start_xapi(shutdown_seconds=30.0)
    ref = _registered(place, running=True)
    process = place.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    wait_until(lambda: xapi.vm(ref)['current_operations'], 'the stop under way')
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b'committed' in err and b'cancelled' in err
    assert place.power(ref) == 'Running' and xapi.vm(ref)['current_operations'] == {}


def test_with_a_lock_held_the_restart_waits_for_whoever_stages(pool: Place) -> None:
    ref = _registered(pool, running=True)
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        process = pool.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
        wait_until(lambda: pool.power(ref) == 'Halted', 'stopped')
        pool.xapi.call('VM.remove_from_platform', ref, 'device-model-args')
        pool.xapi.call('VM.add_to_platform', ref, 'device-model-args', span(1, 'B'))
        wait_until(lambda: pool.power(ref) == 'Running', 'started')
        assert pool.xapi.boots[-1].args == span(1, 'B')
        process.communicate(timeout=40)
    assert process.returncode == 0


def test_a_change_by_somebody_else_while_the_question_is_open_is_a_conflict(pool: Place) -> None:
    ref = _registered(pool, running=True)
    ours, theirs = pty.openpty()
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', stdin=theirs)
    with process.stderr as stream:
        seen = b''
        while b'(yes/no): ' not in seen:
            seen += stream.read(1)
        assert pool.run('set-priority', '--vm-name=web', '--priority=low', '--no-restart'
                        ).status == 0
        os.write(ours, b'yes\n')
        assert b'was changed meanwhile by another' in stream.read()
    process.stdout.close()
    assert process.wait(30) == 4
    os.close(ours)
    os.close(theirs)
    assert pool.rows()[0][3:] == ('A', 0) and pool.power(ref) == 'Running'


def test_a_vm_is_not_stopped_for_a_change_that_would_not_be_applied(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo "bar')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    pool.xapi.set_field(ref, 'power_state', 'Running')
    run = pool.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 1 and 'would not apply' in run.err and pool.rows()[0][3] == 'A'
    assert pool.power(ref) == 'Running'
    assert pool.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart').status == 0


def test_an_xapi_that_goes_away_during_the_stop_is_told_with_what_was_done(place: Place) -> None:
    xapi = place.start_xapi(shutdown_seconds=30.0)
    ref = _registered(place, running=True)
    process = place.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    wait_until(lambda: xapi.vm(ref)['current_operations'], 'the stop under way')
    xapi.stop()
    _out, err = process.communicate(timeout=40)
    assert process.returncode == 1 and b'committed' in err and b'take it back' in err, err
    assert place.rows()[0][3] == 'B'


def test_somebody_who_starts_the_vm_first_is_no_failure(pool: Place) -> None:
    ref = _registered(pool, running=True)
    pool.xapi.add_fault('run_before', method='*VM.start', count=1,
                        parameters={'method': 'VM.start', 'params': [ref, False, False]})
    run = pool.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 0, run.err
    assert pool.power(ref) == 'Running' and pool.xapi.boots[-1].args == span(1, 'B')


def test_ctrl_c_between_stop_and_start_says_that_the_vm_is_stopped(pool: Place) -> None:
    ref = _registered(pool, running=True)
    process = pool.start('set-pool', '--vm-name=web', '--pool=B', '--yes')
    with process.stderr as stream:
        seen = b''
        while b'staging ' not in seen:
            seen += stream.read(1)
        process.send_signal(signal.SIGINT)
        told = stream.read()
    process.stdout.close()
    assert process.wait(30) == 130 and b'xe vm-start uuid=' in told
    assert pool.power(ref) == 'Halted' and pool.rows()[0][3] == 'B'


def test_a_number_that_a_running_vm_still_carries_is_not_given_to_another(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web', '--vm-id=5')
    pool.start_vm(ref)
    assert pool.run('set-vm-id', '--vm-name=web', '--vm-id=9', '--no-restart').status == 0
    pool.create_vm('other')
    run = pool.run('register-vm', '--vm-name=other', '--vm-id=5')
    assert run.status == 4 and 'runs with this one until it is shut down' in run.err
    pool.xapi.call('VM.hard_shutdown', ref)
    assert pool.run('reconcile').status == 0
    assert pool.run('register-vm', '--vm-name=other', '--vm-id=5').status == 0
