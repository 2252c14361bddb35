"""The programs of the demo: the embedded XAPI, the daemon, and vgpu-admin, run as programs."""

import json
import os
import signal
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STOP_SECONDS = 5.0
CONFIGURATION = '''[xapi]
url = unix:{place}/xapi
[registry]
path = {place}/vgpu_config.db
[host]
xenstore_read = {place}/host/bin/xenstore-read
proc = {place}/host/proc
'''


class Ended(Exception):
    """A program ended that should not have."""


class Programs:
    """What runs, below one directory."""

    def __init__(self, place: str) -> None:
        self.socket = os.path.join(place, 'xapi')
        self.log = os.path.join(place, 'vgpu-watcher.log')
        self._place = place
        self._config = os.path.join(place, 'vgpu-watcher.conf')
        self._read = 0
        self._xapi: Optional[subprocess.Popen] = None
        self._watcher: Optional[subprocess.Popen] = None
        with open(self._config, 'w', encoding='utf-8') as stream:
            stream.write(CONFIGURATION.format(place=place))

    def check_watcher(self) -> None:
        """Raise when the daemon has ended by itself."""
        if self._watcher is not None and self._watcher.poll() is not None:
            status, self._watcher = self._watcher.poll(), None
            raise Ended(f'the daemon ended by itself with {status}')

    def start_xapi(self, seed: int) -> None:
        """Start the embedded XAPI, with a second host; returns when it listens."""
        self._xapi = self._start(
            ['simulator', 'serve', '--socket', self.socket, '--vms', '0', '--hosts', '2',
             '--host-directory', os.path.join(self._place, 'host'), '--seed', str(seed),
             '--consumer-configuration', self._config], stdout=subprocess.PIPE)
        if self._xapi.stdout is None or not self._xapi.stdout.readline():
            raise Ended('the embedded XAPI did not start')

    def start_watcher(self) -> None:
        """Start the daemon; its log goes on in the same file."""
        with open(self.log, 'ab') as log:
            self._watcher = self._start(['watcher', 'run', '--config', self._config], stderr=log)

    def kill_watcher(self) -> None:
        """Kill the daemon where it stands."""
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            self._watcher = None

    def stop_watcher(self) -> int:
        """Ask the daemon to end; the exit status, or -1 when it did not in time."""
        if self._watcher is None:
            return 0
        self._watcher.send_signal(signal.SIGTERM)
        try:
            return self._watcher.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return -1

    def start_admin(self, *words: str) -> subprocess.Popen:
        """Start vgpu-admin."""
        return self._start(['cli', '--config', self._config] + list(words),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, name: str, lines: List[str]) -> str:
        """Write a file for vgpu-admin; its path."""
        path = os.path.join(self._place, name)
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('\n'.join(lines) + '\n')
        return path

    def read_log(self) -> Iterator[Dict[str, Any]]:
        """Yield the lines that the daemon has logged since the last time."""
        if not os.path.exists(self.log):
            return
        with open(self.log, 'rb') as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b'\n'):
                    return
                self._read += len(line)
                try:
                    yield json.loads(line.decode('utf-8'))
                except ValueError:
                    continue  # a traceback, say; the file is there to be read

    def close(self) -> None:
        """End what still runs."""
        for process in (self._watcher, self._xapi):
            if process is not None:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def _start(self, words: List[str], **streams: Any) -> subprocess.Popen:
        path = [ROOT] + list(filter(None, [os.environ.get('PYTHONPATH')]))
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path))
        environment.pop('NOTIFY_SOCKET', None)
        return subprocess.Popen([sys.executable, '-m'] + words, stdin=subprocess.DEVNULL,
                                env=environment, **streams)
