"""A pool, a registry and the real daemon, for tests that assert what VMs booted with.

The simulator runs in this process on a real Unix socket; the daemon is the real program in a
process of its own; the registry is a real SQLite file. Nothing in here looks into the daemon but
by what it writes to its log and to XAPI.
"""

import fcntl
import json
import os
import signal
import subprocess
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from registry.store import Registry
from registry.values import Priority
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.support import programs, waiting

ROOT = programs.ROOT
KEY = 'device-model-args'
# How long a test waits for what shall happen; deliberate faults need not be waited for so long.
PATIENCE_SECONDS = float(os.environ.get('TEST_PATIENCE_SECONDS', '60'))
# Of Linux; fcntl has its name from Python 3.10 on. As large as the kernel lets everybody have it.
_F_SETPIPE_SZ = 1031
PIPE_BYTES = 1024 * 1024


def span(vm_id: int, pool: str = 'A', priority: str = 'medium', name: str = 'vgpu-stub') -> str:
    """The span of an assignment, written here once more as an independent witness."""
    return '-device %s,pool_id=%s,priority=%s,vm_id=%d' % (name, pool, priority, vm_id)


def wait_until(condition: Callable[[], Any], what: Any,
               timeout_seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for a condition with a deadline; its value. `what`, or what it gives, is the message."""
    try:
        return waiting.wait_until(condition, timeout_seconds)
    except AssertionError:
        raise AssertionError('waited %g s in vain: %s' % (
            timeout_seconds, what() if callable(what) else what)) from None


class Daemon:
    """The real vgpu-watcher as a process, and what it has logged so far."""

    def __init__(self, config: str, environment: Optional[Dict[str, str]] = None) -> None:
        self._config = config
        self._surroundings = programs.surroundings(environment)
        self.lines: List[Dict[str, Any]] = []
        self.raw: List[str] = []
        self._runs: List[List[Dict[str, Any]]] = []
        self.process: Optional[subprocess.Popen] = None
        self._reader: Optional[threading.Thread] = None

    def start(self) -> 'Daemon':
        """Start it; what an earlier run has logged shows `events_ever` only."""
        self.lines, self.raw = [], []
        self._runs.append(self.lines)
        self.process = programs.start('watcher', ['run', '--config', self._config],
                                      stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                      **self._surroundings)
        # The daemon drops lines that nobody reads in time; here the reader may have to wait for
        # the threads of the simulator.
        assert self.process.stderr is not None
        fcntl.fcntl(self.process.stderr, _F_SETPIPE_SZ, PIPE_BYTES)
        self._reader = threading.Thread(
            target=self._read, args=(self.process, self.lines, self.raw), daemon=True)
        self._reader.start()
        return self

    def stop(self, number: int = signal.SIGTERM, timeout_seconds: float = 5.0) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout_seconds)
        self._hear_out()
        return status

    def freeze(self) -> None:
        """Have it stand still, as on a host that swaps."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self._hear_out()

    def _hear_out(self) -> None:
        """What it had said before its end counts, however late it is read."""
        if self._reader is not None:
            self._reader.join(PATIENCE_SECONDS)

    def events(self, name: str, **fields: Any) -> List[Dict[str, Any]]:
        """The lines of an event with these fields."""
        return _select(self.lines, name, fields)

    def events_ever(self, name: str, **fields: Any) -> List[Dict[str, Any]]:
        """The same, with those of earlier runs."""
        return [line for lines in self._runs for line in _select(lines, name, fields)]

    def wait_for(self, name: str, **fields: Any) -> Dict[str, Any]:
        """Wait for a line of an event with these fields."""
        return wait_until(lambda: self.events(name, **fields),
                          lambda: '%s %r in the log:\n%s' % (
                              name, fields, '\n'.join(self.raw[-30:])))[0]

    @staticmethod
    def _read(process: subprocess.Popen, lines: List[Dict[str, Any]], raw: List[str]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                text = line.decode('utf-8', 'replace').rstrip('\n')
                raw.append(text)
                try:
                    lines.append(json.loads(text))
                except ValueError:
                    lines.append({'event': 'not-json', 'text': text})


def _select(lines: List[Dict[str, Any]], name: str, fields: Dict[str, Any]) \
        -> List[Dict[str, Any]]:
    return [line for line in list(lines) if line.get('event') == name
            and all(line.get(key) == value for key, value in fields.items())]


class World:
    """One pool with its registry and its daemon."""

    def __init__(self, directory: str, **settings: Any) -> None:
        self.directory = directory
        self.socket_path = os.path.join(directory, 'xapi.sock')
        self.registry_path = os.path.join(directory, 'vgpu_config.db')
        self.host_directory = os.path.join(directory, 'host')
        self.config_path = os.path.join(directory, 'watcher.conf')
        self.xapi = Simulator(SimulatorSettings(
            socket_path=self.socket_path, host_directory=self.host_directory, **settings))
        self.registry = Registry(self.registry_path, timeout_seconds=10.0)
        self.write_config()
        self.daemon = Daemon(self.config_path)

    def write_config(self, extra: str = '', interval_seconds: int = 60) -> None:
        """Write the daemon's configuration."""
        with open(self.config_path, 'w', encoding='utf-8') as stream:
            stream.write(
                '[xapi]\nurl = unix:%s\n[registry]\npath = %s\n[host]\nxenstore_read = %s\n'
                'proc = %s\n[scan]\ninterval_seconds = %d\n[log]\nlevel = debug\n%s' % (
                    self.socket_path, self.registry_path,
                    os.path.join(self.host_directory, 'bin', 'xenstore-read'),
                    os.path.join(self.host_directory, 'proc'), interval_seconds,
                    extra if '[mirror]' in extra else extra + self._share_secret()))

    def _share_secret(self) -> str:
        """The pool's secret, with which the mirror is signed: the same on all hosts."""
        path = os.path.join(self.directory, 'ptoken')
        with open(path, 'w', encoding='ascii') as stream:
            stream.write('the secret of the pool')
        os.chmod(path, 0o600)
        return '[mirror]\nkey_file = %s\n' % path

    def start(self, with_daemon: bool = True) -> 'World':
        """Start the pool, create the registry, start the daemon and wait until it is in sync."""
        self.xapi.start()
        self.registry.create('test')
        if with_daemon:
            self.start_daemon()
        return self

    def start_daemon(self) -> None:
        """Start the daemon and wait until it has taken its first snapshot."""
        self.daemon.start()
        self.daemon.wait_for('stream.resynced')

    def close(self) -> None:
        """End everything, however the test went."""
        self.daemon.kill()
        self.xapi.stop()

    def create_vm(self, name: str = 'vm', args: Optional[str] = None, **fields: Any) -> str:
        """A Halted VM; its ref."""
        platform = dict(fields.pop('platform', {'timeoffset': '0', 'device-model':
                                                'qemu-upstream-compat', 'viridian': 'true'}))
        if args is not None:
            platform[KEY] = args
        return self.xapi.create_vm(name=name, platform=platform, **fields)

    def uuid(self, ref: str) -> str:
        """The UUID of a VM."""
        return self.xapi.vm(ref)['uuid']

    def args(self, ref: str) -> Optional[str]:
        """What the VM record carries now."""
        return self.xapi.vm(ref)['platform'].get(KEY)

    def register(self, ref: str, vm_id: Optional[int] = None, pool: str = 'A',
                 priority: Priority = Priority.MEDIUM) -> int:
        """Give the VM a row, as vgpu-admin does; its number."""
        with self.registry.edit(who='test', command='register-vm') as edit:
            return edit.add_vm(self.uuid(ref), vm_name=self.xapi.vm(ref)['name_label'],
                               pool_id=pool, priority=priority, vm_id=vm_id).vm_id

    def change(self, ref: str, **changes: Any) -> None:
        """Change the VM's row, as vgpu-admin does."""
        with self.registry.edit(who='test', command='update-vm') as edit:
            edit.change_vm(self.uuid(ref), **changes)

    def remove(self, ref: str) -> None:
        """Remove the VM's row, as vgpu-admin does."""
        with self.registry.edit(who='test', command='remove-vm') as edit:
            edit.remove_vm(self.uuid(ref))

    def wait_args(self, ref: str, value: Optional[str],
                  timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the VM carries exactly this value."""
        try:
            wait_until(lambda: self.args(ref) == value, '', timeout_seconds)
        except AssertionError:
            raise AssertionError('%s carries %r, not %r; log:\n%s' % (
                ref, self.args(ref), value, '\n'.join(self.daemon.raw[-30:]))) from None

    def wait_settled(self, ref: str, value: Optional[str]) -> None:
        """Wait until the VM carries the value and no start block stands."""
        self.wait_args(ref, value)
        wait_until(lambda: not self.xapi.vm(ref)['blocked_operations'],
                   lambda: 'no block on %s; log:\n%s' % (ref, '\n'.join(
                       line for line in self.daemon.raw if ref in line or self.uuid(ref) in line)))

    def start_vm(self, ref: str) -> Any:
        """Start the VM and wait for the end; the boot as the simulator saw it."""
        self.xapi.call('VM.start', ref, False, False)
        return self.last_boot(ref)

    def begin_start(self, ref: str) -> Any:
        """Have the VM start in the background; returns when XAPI has recorded the operation."""
        starting = self.xapi.spawn('VM.start', ref, False, False)
        wait_until(lambda: self.xapi.vm(ref)['current_operations'], 'the start of %s' % ref)
        return starting

    def last_boot(self, ref: str) -> Any:
        """The newest boot of a VM."""
        return [boot for boot in self.xapi.boots if boot.ref == ref][-1]

    def booted(self, ref: str, **fields: Any) -> Dict[str, Any]:
        """Wait for the line that tells of a boot of the VM."""
        return self.daemon.wait_for('vm.booted', vm_uuid=self.uuid(ref), **fields)

    def writes(self) -> List[Tuple[str, Tuple[Any, ...]]]:
        """The calls that changed platform keys or start blocks, by whomever over the socket."""
        return [(call.method, tuple(call.params)) for call in self.xapi.calls
                if 'platform' in call.method or 'blocked_operations' in call.method]
