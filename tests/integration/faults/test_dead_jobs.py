"""P25: a job that dies ends the daemon with a line, whichever it is and whatever it dies of."""

import json
import socket
import subprocess
import sys
from typing import Callable

import pytest

from tests.integration.daemon.world import World
from tests.support import programs

PROGRAM = '''
import sys
import {module}
from watcher.loop.steps import TURN

def die(*args):
    {begins}
    raise {error}

{module}.{method} = die
from watcher.__main__ import main
sys.exit(main(['run', '--config', sys.argv[1]]))
'''

STREAM = ('watcher.xapi.event_stream', 'Stream.forever')


def run_until_it_ends(world: World, module: str, method: str, error: str,
                      begins: str = 'yield TURN') -> bytes:
    """Run a daemon in which such a job dies; what it has logged."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    world.write_config('[metrics]\nlisten = 127.0.0.1:%d\n' % port, interval_seconds=1)
    world.start(with_daemon=False)
    vm = world.create_vm()
    world.register(vm)
    world.start_vm(vm)
    program = PROGRAM.format(module=module, method=method, error=error,
                             begins=begins)
    process = subprocess.run(
        [sys.executable, '-c', program, world.config_path], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=60, **programs.surroundings())
    assert process.returncode == 1
    return process.stderr


@pytest.mark.parametrize('module, method, job', [
    STREAM + ('stream',),
    ('watcher.service', 'read_scan', 'caller'),
    ('watcher.boots.receipts', 'inspect_domain', 'inspector'),
    ('watcher.metrics.http_endpoint', 'MetricsPort._answer_all', 'metrics')])
def test_a_job_that_dies_ends_the_daemon_with_a_line(
        build_world: Callable[..., World], module: str, method: str, job: str) -> None:
    said = run_until_it_ends(build_world(), module, method, "RuntimeError('boo')")
    lines = [json.loads(line) for line in said.splitlines()]
    died, = [line for line in lines if line['event'] == 'job.died']
    assert died['job'] == job and died['exception'].endswith('RuntimeError: boo')
    assert [line['event'] for line in lines[-2:]] == ['service.stopped', 'service.failed']


def test_a_job_that_no_memory_is_left_for_ends_the_daemon_with_a_line(
        build_world: Callable[..., World]) -> None:
    said = run_until_it_ends(build_world(), *STREAM, 'MemoryError()')
    failed = json.loads(said.splitlines()[-1])
    assert (failed['event'], failed['error']) == ('service.failed', 'no memory is left')
    assert b'job.died' not in said


def test_a_fault_of_ours_in_the_main_loop_ends_the_daemon_with_a_line(
        build_world: Callable[..., World]) -> None:
    said = run_until_it_ends(build_world(), 'watcher.daemon', 'Watcher.pump',
                             "RuntimeError('boo')", begins='')
    failed = json.loads(said.splitlines()[-1])
    assert (failed['event'], failed['error']) == ('service.failed', repr(RuntimeError('boo')))
    assert failed['exception'].endswith('RuntimeError: boo')
