"""P25: a thread that dies ends the daemon with a line, even one that cannot say so itself."""

import socket
import subprocess
import sys
from typing import Callable

import pytest

from tests.integration.daemon.world import World
from tests.support import programs

# As for want of memory: the thread is gone, and no message of it has reached the main thread.
PROGRAM = '''
import sys
import {module}
{module}.{method} = lambda *args: None
from watcher.__main__ import main
sys.exit(main(['run', '--config', sys.argv[1]]))
'''


@pytest.mark.parametrize('module, method, thread', [
    ('watcher.staging.scan_schedule', 'Schedule._run', 'schedule'),
    ('watcher.xapi.event_stream', 'Stream.forever', 'stream'),
    ('watcher.xapi.workers', 'Workers._work', 'caller-1'),
    ('watcher.metrics.http_endpoint', 'MetricsPort._serve', 'metrics')])
def test_a_thread_that_dies_without_a_word_ends_the_daemon_with_a_line(
        build_world: Callable[..., World], module: str, method: str, thread: str) -> None:
    world = build_world()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    world.write_config('[metrics]\nlisten = 127.0.0.1:%d\n' % port, interval_seconds=1)
    world.start(with_daemon=False)
    process = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(module=module, method=method), world.config_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **programs.surroundings())
    assert process.returncode == 1
    assert b'"event": "thread.died"' in process.stderr.replace(b'":"', b'": "')
    assert thread.encode() in process.stderr and b'Traceback' not in process.stderr
