"""A change that waits for a restart: asked for again, given up, interrupted; XAPI restarted."""

import re
import shlex
import signal
import subprocess
import sys
from typing import Iterator, List

import pytest

from tests.integration.cli.breaking import AFTER, BEFORE, Daemon, Restart
from tests.integration.cli.program import Place, Run, span, wait_until

# The registry goes away in the moment after the commit.
_LOSING = """import os, sys
from cli.effects import follow_up
def find_waiting(*given, _before=follow_up._find_waiting):
    if os.path.exists(%(path)r):
        os.rename(%(path)r, %(path)r + '.away')
    return _before(*given)
follow_up._find_waiting = find_waiting
from cli.__main__ import main
sys.exit(main(%(words)r))
"""


@pytest.fixture
def running(pool: Place) -> Iterator[Place]:
    """A pool without a daemon, and a registered VM that runs."""
    pool.ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    pool.start_vm(pool.ref)
    yield pool
    pool.xapi.faults.clear()


def _advised(run: Run, head: str) -> List[str]:
    """The words of the command that a message tells to run."""
    found = re.search(r'%s: vgpu-admin (.*)' % head, run.err)
    assert found is not None, run.err
    return shlex.split(found.group(1))


@pytest.mark.parametrize('words', [
    ('set-pool', '--vm-name=web', '--pool=B'),
    ('update-vm', '--vm-name=web', '--pool=B', '--priority=medium', '--vm-id=1')])
def test_what_waits_is_applied_when_it_is_asked_for_again(running: Place, words: tuple) -> None:
    """A second `--yes` said once that it was so already, and left the VM with the old arguments."""
    assert running.run(*words, '--no-restart').status == 0
    boots = len(running.xapi.boots)
    again = running.run(*words)
    assert again.status == 0 and '--yes restarts it' in again.out
    assert running.run(*words, '--no-restart').status == 0
    assert running.run(*words, '--yes', '--dry-run').status == 0
    declined = running.answer('no\n', *words)
    assert declined.status == 1 and 'Runs with: ' + BEFORE in declined.err
    assert len(running.xapi.boots) == boots and running.args(running.ref) == BEFORE
    run = running.run(*words, '--yes')
    assert run.status == 0 and '  Restarted; ' in run.out, run.err
    assert running.xapi.boots[-1].args == AFTER and len(running.xapi.boots) == boots + 1
    assert running.run(*words, '--yes').status == 0 and len(running.xapi.boots) == boots + 1


def test_what_no_shutdown_applies_is_not_said_to_wait_for_one(running: Place) -> None:
    running.xapi.call('VM.remove_from_platform', running.ref, 'device-model-args')
    running.xapi.call('VM.add_to_platform', running.ref, 'device-model-args', '-foo "')
    said = ("ot staged: its device-model-args cannot be parsed and are left alone; 'vgpu-admin "
            "show-vm web' shows what mends them")
    for more in ((), ('--no-restart',), ('--yes',)):
        run = running.run('set-pool', 'web', '--pool=A', *more)
        assert run.status == 0 and f'already has pool A; n{said}\n' in run.out
    run = running.run('set-pool', 'web', '--pool=B', '--yes')
    assert run.status == 1 and "see 'vgpu-admin show-vm web')" in run.err
    run = running.run('set-pool', 'web', '--pool=B', '--dry-run')
    assert run.status == 0 and f'; a restart would not apply it: n{said}.' in run.out
    assert running.run('set-pool', 'web', '--pool=B', '--dry-run', '--json').document[
        'restart'] is False
    other = running.create_vm('other')
    assert running.run('register-vm', 'other', '--pool=B').status == 0
    running.start_vm(other)
    for names, pool_id in ((('web',), 'B'), (('web', 'other'), 'A')):
        run = running.run('set-pool', *names, '--pool=' + pool_id, '--no-restart')
        assert run.status == 0 and f'  N{said}' in run.out
    assert '  Saved; applied at its next boot' in run.out  # of the other one
    run = running.run('set-pool', 'web', '--pool=B', '--no-restart', '--json')
    assert (run.document['staging']['result'], run.document['vm']['power_state']) == (
        'unreadable', 'Running')


@pytest.mark.parametrize('words', [['set-pool', 'web'], ['set-pool', 'web', 'other']])
def test_an_edit_is_done_also_when_the_registry_cannot_be_read_after_it(running: Place,
                                                                        words: List[str]) -> None:
    other = running.create_vm('other')
    assert running.run('register-vm', 'other').status == 0
    running.start_vm(other)
    done = subprocess.run(
        [sys.executable, '-c', _LOSING % {'path': running.registry.path, 'words':
                                          ['--config', running.config, '--pool=B',
                                           '--no-restart'] + words}],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **running.surroundings({}))
    assert done.returncode == 0, done.stderr
    assert b'Saved; applied at its next boot' in done.stdout


def test_the_advice_after_a_stop_that_failed_can_be_followed(running: Place) -> None:
    running.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    run = running.run('set-pool', '--vm-name=web', '--pool=B', '--yes', '--timeout=1')
    assert run.status == 1 and running.power(running.ref) == 'Running'
    onward = running.run(*_advised(run, 'go on with'), '--timeout=1')
    assert onward.status == 0 and running.xapi.boots[-1].args == AFTER, onward.err


def test_the_way_back_after_a_stop_that_failed_can_be_taken(running: Place) -> None:
    running.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    run = running.run('set-pool', '--vm-name=web', '--pool=B', '--yes', '--timeout=1')
    back = running.run(*_advised(run, 'take it back with'))
    assert back.status == 0 and running.rows()[0][3] == 'A'
    assert running.run('plan', '--exit-code').status == 0


def test_a_registration_that_waits_is_applied_with_restart(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.start_vm(ref)
    assert pool.run('register-vm', '--vm-name=web').status == 0
    assert pool.xapi.boots[-1].args is None
    run = pool.run('register-vm', '--vm-name=web', '--restart')
    assert run.status == 0 and 'already registered' in run.out, run.err
    assert pool.xapi.boots[-1].args == span(1)
    boots = len(pool.xapi.boots)
    assert pool.run('register-vm', '--vm-name=web', '--restart').status == 0
    assert len(pool.xapi.boots) == boots


def test_a_removal_whose_stop_failed_tells_how_to_stop_the_vm(running: Place) -> None:
    running.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    run = running.run('remove-vm', '--vm-name=web', '--yes', '--timeout=1')
    assert run.status == 1 and 'xe vm-shutdown uuid=' + running.uuid(running.ref) in run.err
    back = running.run(*_advised(run, 'take it back with'))
    assert back.status == 0 and running.rows()[0][:4] == (1, running.uuid(running.ref), 'web', 'A')


@pytest.mark.parametrize('step,told', [('stopping', 'go on with: vgpu-admin update-vm'),
                                       ('starting', 'xe vm-start uuid=')])
def test_ctrl_c_is_told_how_to_go_on(running: Place, step: str, told: str) -> None:
    restart = Restart(running, running.ref, step)
    restart.process.send_signal(signal.SIGINT)
    assert restart.finish() == 130 and told in restart.told, restart.told
    assert 'take it back with' in restart.told


def _break_the_start(place: Place, method: str = 'VM.start') -> None:
    place.xapi.add_fault('operation_failure', method=method, ref=place.ref,
                         parameters={'code': 'OPERATION_BLOCKED'})


def test_a_start_that_fails_is_said_once_with_what_to_do(running: Place) -> None:
    _break_the_start(running)
    run = running.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 1 and running.power(running.ref) == 'Halted'
    told = [line for line in run.err.splitlines() if line.startswith('vgpu-admin: ')]
    assert len(told) == 3 and 'pending' not in run.err
    assert 'is staged, and STOPPED: XAPI could not start it (OPERATION_BLOCKED' in told[0]
    assert told[0].endswith('. The change is saved')
    assert told[1].endswith(': xe vm-start uuid=' + running.uuid(running.ref))
    assert told[2].startswith('vgpu-admin: take it back with: ')


@pytest.mark.parametrize('method,advice', [
    ('VM.start', []), ('VM.clean_shutdown', ['vgpu-admin apply-pending --yes --force'])])
def test_apply_pending_goes_on_only_where_something_is_left(running: Place, method: str,
                                                            advice: list) -> None:
    """It named a next step that did nothing, and one step twice."""
    assert running.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart').status == 0
    _break_the_start(running, method)
    run = running.run('apply-pending', '--yes')
    lines = run.out.splitlines()
    assert run.status == 1 and lines[-1] == 'None of 1 VM was restarted and verified.'
    assert [line.partition('go on with: ')[2] for line in lines if 'go on with' in line] == advice
    assert run.out.count('xe vm-start') == (0 if advice else 1) and 'is committed' not in run.out


def test_an_xapi_that_is_restarted_while_the_vm_is_down_is_waited_for(pool: Place) -> None:
    """A toolstack restart in the middle left the VM stopped once."""
    daemon = Daemon(pool)
    daemon.start()
    try:
        pool.ref = pool.create_vm('web')
        assert pool.run('register-vm', '--vm-name=web').status == 0
        wait_until(lambda: pool.args(pool.ref) == BEFORE, 'staged')
        pool.start_vm(pool.ref)
        restart = Restart(pool, pool.ref, 'staging')
        pool.xapi.restart('clean', 2.0, 0)
        restart.let_go()
        assert restart.finish() == 0, restart.told
        assert pool.power(pool.ref) == 'Running' and pool.xapi.boots[-1].args == AFTER
    finally:
        daemon.close()


@pytest.mark.parametrize('kind', ['drop_before', 'drop_after'])
def test_an_xapi_that_goes_away_when_the_vm_is_to_be_started_is_asked_once_more(
        running: Place, kind: str) -> None:
    """The VM was left stopped once. Where only the answer was lost, it is started once."""
    running.xapi.add_fault(kind, method='Async.VM.start', count=1)
    boots = len(running.xapi.boots)
    run = running.run('set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert run.status == 0, run
    assert running.power(running.ref) == 'Running' and running.xapi.boots[-1].args == AFTER
    assert len(running.xapi.boots) == boots + 1
