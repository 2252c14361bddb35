"""The installed program as a process, a registry file, and the simulator on a real socket."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from registry.journal.journal import Journal
from registry.store import Registry
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.support import programs

ROOT = programs.ROOT
KEY = 'device-model-args'
PATIENCE_SECONDS = 60.0


class Run(NamedTuple):
    """One run of vgpu-admin."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Dict[str, Any]:
        """The JSON document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> Dict[str, Any]:
        """The JSON error on standard error."""
        return json.loads(self.err)['error']


class Place:
    """A directory with a registry, a configuration and, where wanted, an XAPI."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.db = os.path.join(directory, 'vgpu_config.db')
        self.socket = os.path.join(directory, 'xapi.sock')
        self.config = os.path.join(directory, 'watcher.conf')
        self.host = os.path.join(directory, 'host')
        self.registry = Registry(self.db, timeout_seconds=10.0)
        self.xapi: Optional[Simulator] = None
        with open(self.config, 'w', encoding='utf-8') as stream:
            stream.write('[xapi]\nurl = unix:%s\n[registry]\npath = %s\n[host]\n'
                         'xenstore_read = %s/bin/xenstore-read\nproc = %s/proc\n'
                         % (self.socket, self.db, self.host, self.host))

    def start_xapi(self, **settings: Any) -> Simulator:
        """Start an XAPI on the socket of the configuration."""
        self.xapi = Simulator(SimulatorSettings(socket_path=self.socket,
                                                host_directory=self.host, **settings))
        self.xapi.start()
        return self.xapi

    def close(self) -> None:
        """Stop what runs."""
        if self.xapi is not None:
            self.xapi.stop()

    def start(self, *words: str, **options: Any) -> subprocess.Popen:
        """Start vgpu-admin; its standard input is no terminal unless told."""
        options.setdefault('stdin', subprocess.DEVNULL)
        options.update(self.surroundings(options.pop('environment', {})))
        return programs.start('cli', self.command(*words)[3:], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options)

    def command(self, *words: str) -> List[str]:
        """The words that run vgpu-admin here."""
        return [sys.executable, '-m', 'cli', '--config', self.config] + list(words)

    def surroundings(self, variables: Dict[str, str]) -> Dict[str, Any]:
        """Directory and environment of a run, for Popen."""
        return programs.surroundings(dict(programs.UTF_8, **variables))

    def run(self, *words: str, **options: Any) -> Run:
        """Run vgpu-admin to its end."""
        return _finish(self.start(*words, **options))

    def answer(self, text: str, *words: str) -> Run:
        """Run vgpu-admin with a terminal on which somebody types."""
        ours, theirs = pty.openpty()
        try:
            process = self.start(*words, stdin=theirs)
            os.write(ours, text.encode('utf-8'))
            return _finish(process)
        finally:
            os.close(ours)
            os.close(theirs)

    def rows(self) -> List[Any]:
        """The rows of vms, as another program reads them."""
        connection = sqlite3.connect(self.db)
        try:
            return connection.execute('SELECT vm_id, vm_uuid, vm_name, pool_id, priority '
                                      'FROM vms ORDER BY vm_id').fetchall()
        finally:
            connection.close()

    def history(self) -> Any:
        """What the journal says was changed, the newest first."""
        with Journal(self.registry.journal_path, timeout_seconds=5.0) as journal:
            return journal.list_history()

    def create_vm(self, name: str = 'vm', args: Optional[str] = None, **fields: Any) -> str:
        """A Halted VM in XAPI; its ref."""
        platform = {'timeoffset': '0', 'device-model': 'qemu-upstream-compat'}
        if args is not None:
            platform[KEY] = args
        return self.xapi.create_vm(name=name, platform=platform, **fields)

    def registry_row(self, ref: str, vm_id: int) -> None:
        """Give a VM its row without the command line."""
        with self.registry.edit(who='test', command='test') as edit:
            edit.add_vm(self.uuid(ref), vm_id=vm_id)

    def uuid(self, ref: str) -> str:
        """The UUID of a VM."""
        return self.xapi.vm(ref)['uuid']

    def args(self, ref: str) -> Optional[str]:
        """What the VM record carries."""
        return self.xapi.vm(ref)['platform'].get(KEY)

    def power(self, ref: str) -> str:
        """The VM's power state."""
        return self.xapi.vm(ref)['power_state']

    def start_vm(self, ref: str) -> None:
        """Start the VM and wait for the end."""
        self.xapi.call('VM.start', ref, False, False)


def span(vm_id: int, pool: str = 'A', priority: str = 'medium') -> str:
    """The span of an assignment, written here once more as an independent witness."""
    return '-device vgpu-stub,pool_id=%s,priority=%s,vm_id=%d' % (pool, priority, vm_id)


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition with a deadline; its value."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, 'waited in vain: ' + what
        pause.wait(0.01)


def _finish(process: subprocess.Popen) -> Run:
    out, err = process.communicate(timeout=60)
    return Run(process.returncode, out.decode('utf-8', 'replace'), err.decode('utf-8', 'replace'))
