"""The programs of the playground: the simulated pool, and a daemon on each of its hosts.

They run in sessions of their own, so that Ctrl-C in the shell is none of their business.
"""

import os
import subprocess
import sys
import time
from typing import Any, List

from simulator.demo.xapi_client import Xapi
from simulator.playground import files, vms
from simulator.playground.held_signals import held_signals

STOP_SECONDS = 6.0
READY_SECONDS = 60.0
LOOK_SECONDS = 0.05
READY = b'stream.resynced'


class Failed(Exception):
    """A program did not start, or ended by itself; the message says which, and what it said."""


class Programs:
    """What runs below one directory."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._running: List[subprocess.Popen] = []

    def start(self) -> None:
        """Start everything; returns when each daemon follows its XAPI."""
        self._start_pool()
        vms.create_vms(Xapi(files.find_socket(self._place)))
        daemons = [self._start_daemon(host) for host in files.HOSTS]
        for host, daemon in zip(files.HOSTS, daemons):
            self._wait_ready(host, daemon)

    def close(self) -> None:
        """End everything: the daemons first, in order, then the pool."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._running = []

    def _start_pool(self) -> None:
        log = os.path.join(self._place, 'simulator.log')
        with open(log, 'ab') as errors:
            process = self._start(
                [sys.executable, '-m', 'simulator', 'serve', '--pool-directory', self._place,
                 '--hosts', str(len(files.HOSTS)), '--vms', '0', '--snapshots', '0'],
                stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed(f'the simulated XAPI did not start: {_read_end(log)}')

    def _start_daemon(self, host: str) -> subprocess.Popen:
        with open(files.find_log(self._place, host), 'ab') as log:
            return self._start([files.find_program(self._place, 'vgpu-watcher'), 'run', '--config',
                                files.find_configuration(self._place, host)],
                               stdout=log, stderr=log)

    def _wait_ready(self, host: str, daemon: subprocess.Popen) -> None:
        log = files.find_log(self._place, host)
        deadline = time.monotonic() + READY_SECONDS
        while READY not in _read(log):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise Failed(f'the daemon of {host} did not start: {_read_end(log)}')
            time.sleep(LOOK_SECONDS)

    def _start(self, words: List[str], **streams: Any) -> subprocess.Popen:
        path = [files.ROOT] + list(filter(None, [os.environ.get('PYTHONPATH')]))
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path))
        environment.pop('NOTIFY_SOCKET', None)
        with held_signals():
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                       env=environment, start_new_session=True, **streams)
            self._running.append(process)
        return process


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def _read_end(path: str) -> str:
    return _read(path)[-2000:].decode('utf-8', 'replace').strip() or 'it said nothing'
