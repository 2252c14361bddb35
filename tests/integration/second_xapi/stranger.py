"""What a stranger has in hand: the two programs, a configuration, a host that is made of files."""

import json
import os
import signal
import socket
import subprocess
import threading
from typing import Any, Dict, List, NamedTuple, Optional

from tests.integration.second_xapi.serving import Served
from tests.integration.second_xapi.tables import Row
from tests.integration.second_xapi.xapi import Manner, Xapi
from tests.support import programs
from tests.support.waiting import LOADED, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PATIENCE_SECONDS = 60.0


def span(vm_id: int, pool: str = 'A', priority: str = 'medium') -> str:
    """What the contract's default template makes of an assignment."""
    return '-device vgpu-stub,pool_id=%s,priority=%s,vm_id=%d' % (pool, priority, vm_id)


class Run(NamedTuple):
    """One run of a program."""
    status: int
    out: str
    err: str


class Stranger:
    """A directory with everything in it; nothing of ours but the programs is used."""

    def __init__(self, directory: str, manner: Manner = Manner(), *, software: Any = None,
                 is_tcp: bool = False) -> None:
        self.directory = directory
        self.registry = os.path.join(directory, 'vgpu_config.db')
        self.config = os.path.join(directory, 'vgpu-watcher.conf')
        self.xapi = Xapi(manner, software)
        self.xapi.on_boot = self._boot
        self.served = Served(self.xapi, '' if is_tcp else os.path.join(directory, 'xapi'))
        self.process: Optional[subprocess.Popen] = None
        self.lines: List[Dict[str, Any]] = []
        self.raw: List[str] = []
        self.notes: List[str] = []
        self.consumes = True
        self._build_host()
        self._listen()

    # Configuration and programs.

    def configure(self, text: str = '', **sections: Dict[str, Any]) -> None:
        """Write the configuration; sections add to what is needed here."""
        wanted: Dict[str, Dict[str, Any]] = {
            'xapi': {'url': self.served.address}, 'registry': {'path': self.registry},
            'host': {'xenstore_read': os.path.join(self.directory, 'xenstore-read'),
                     'proc': os.path.join(self.directory, 'proc')}}
        for name, keys in sections.items():
            wanted.setdefault(name, {}).update(keys)
        with open(self.config, 'w', encoding='utf-8') as stream:
            for name, keys in wanted.items():
                stream.write('[%s]\n' % name)
                stream.writelines('%s = %s\n' % item for item in keys.items())
            stream.write(text)

    def admin(self, *words: str, **options: Any) -> Run:
        """Run vgpu-admin to its end."""
        return self.run_program('cli', '--config', self.config, *words, **options)

    def run_program(self, module: str, *words: str, **options: Any) -> Run:
        """Run one of our programs to its end, without a terminal."""
        options.setdefault('input', '')
        timeout = options.pop('timeout', 60)
        process = programs.start(
            module, words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self._environment())
        out, err = process.communicate(options['input'].encode('utf-8'), timeout)
        return Run(process.returncode, out.decode('utf-8'), err.decode('utf-8'))

    def start(self, *, waits: bool = True) -> 'Stranger':
        """Start the daemon; unless told, wait until it is ready."""
        del self.lines[:], self.raw[:], self.notes[:]
        self.process = programs.start(
            'watcher', ['run', '--config', self.config], cwd=ROOT, stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=self._environment())
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        if waits:
            wait_until(lambda: 'READY=1' in self.notes, PATIENCE_SECONDS + 5)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(5.0 * LOADED)

    def close(self) -> None:
        """End everything."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.served.stop()
        self._notify.shutdown(socket.SHUT_RDWR)  # closing it alone would leave who reads waiting
        self._taking.join()
        self._notify.close()

    # What can be seen.

    def events(self, name: str, **fields: Any) -> List[Dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in list(self.lines) if line.get('event') == name
                and all(line.get(key) == value for key, value in fields.items())]

    def wait_line(self, name: str, **fields: Any) -> Dict[str, Any]:
        """Wait for a line."""
        try:
            return wait_until(lambda: self.events(name, **fields), PATIENCE_SECONDS)[0]
        except AssertionError:
            raise AssertionError('no %s %r in\n%s' % (
                name, fields, '\n'.join(self.raw[-30:]))) from None

    def wait_args(self, ref: str, value: Optional[str],
                  timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until a VM carries this, and no fence stands."""
        try:
            wait_until(lambda: self.xapi.args(ref) == value
                       and not self.xapi.vm(ref).get('blocked_operations'), timeout)
        except AssertionError:
            raise AssertionError('%r is not %r; %s\n%s' % (
                self.xapi.args(ref), value, self.xapi.vm(ref).get('blocked_operations'),
                '\n'.join(self.raw[-30:]))) from None

    def register(self, ref: str, *words: str) -> int:
        """Register a VM; its number."""
        run = self.admin('register-vm', '--vm-uuid', self.xapi.vm(ref)['uuid'], '--json', *words)
        assert run.status == 0, run
        return json.loads(run.out)['vm']['vm_id']

    # The host.

    def _build_host(self) -> None:
        script = os.path.join(self.directory, 'xenstore-read')
        with open(script, 'w', encoding='utf-8') as stream:
            stream.write('#!/bin/sh\nfile="%s/store$1"\n[ -f "$file" ] || '
                         '{ echo "couldn\'t read path $1" >&2; exit 1; }\ncat "$file"\necho\n'
                         % self.directory)
        os.chmod(script, 0o755)

    def _boot(self, _ref: str, row: Row) -> None:
        """A QEMU comes up, by a patched wrapper: with what was taken, or without."""
        domid = int(row['domid'])
        store = os.path.join(self.directory, 'store', 'local', 'domain', str(domid))
        process = os.path.join(self.directory, 'proc', str(10000 + domid))
        words = ['qemu-system-i386', '-xen-domid', str(domid), '-m', '64']
        os.makedirs(os.path.join(store, 'platform'))
        os.makedirs(process)
        self._write(os.path.join(store, 'qemu-pid'), str(10000 + domid))
        self._write(os.path.join(store, 'vm'), '/vm/%s' % row['uuid'])
        if row['booted'] is not None:
            self._write(os.path.join(store, 'platform', 'device-model-args'), row['booted'])
            words += row['booted'].split() if self.consumes else []
        self._write(os.path.join(process, 'cmdline'), '\0'.join(words) + '\0')

    @staticmethod
    def _write(path: str, text: str) -> None:
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(text)

    # The daemon's other ends.

    def _environment(self) -> Dict[str, str]:
        environment = dict(os.environ, NOTIFY_SOCKET=self._notify_path, PYTHONPATH=ROOT)
        if os.environ.get('PYTHONPATH'):
            environment['PYTHONPATH'] += os.pathsep + os.environ['PYTHONPATH']
        return environment

    def _listen(self) -> None:
        self._notify_path = os.path.join(self.directory, 'notify')
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._notify_path)
        self._taking = threading.Thread(target=self._take_notes, daemon=True)
        self._taking.start()

    def _take_notes(self) -> None:
        while True:
            try:
                data = self._notify.recv(4096)
            except OSError:
                return
            if not data:
                return
            self.notes += data.decode('utf-8').splitlines()

    def _read(self, process: subprocess.Popen) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                text = line.decode('utf-8', 'replace').rstrip('\n')
                self.raw.append(text)
                try:
                    self.lines.append(json.loads(text))
                except ValueError:
                    self.lines.append({'event': '(no JSON)', 'text': text})
