"""The test stand: the simulator in this process, and one contender at a time in its own.

The simulator notes when each call arrived; the stand adds when each answer of event.from was
ready. From the one to the other is what a contender took, by one clock.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, Optional, Sequence

from registry.store import Registry
from registry.values import Priority
from simulator.server import Simulator
from simulator.settings import Settings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEY = 'device-model-args'
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.005  # more often would take the simulator's time
CONFIGURATION = '''[xapi]
url = unix:{place}/xapi
[registry]
path = {place}/vgpu_config.db
[host]
xenstore_read =
[consumer]
run_directory = {place}/run
'''


def span(vm_id: int, priority: str = 'medium') -> str:
    """Write the span of an assignment."""
    return f'-device vgpu-stub,pool_id=A,priority={priority},vm_id={vm_id}'


class Stand:
    """A pool, a registry, and the contenders' common place."""

    def __init__(self, **settings: Any) -> None:
        # XAPI's own package takes paths without underscores only.
        self.place = os.path.join(tempfile.gettempdir(), 'bench' + uuid.uuid4().hex[:8])
        os.mkdir(self.place)
        self.socket = os.path.join(self.place, 'xapi')
        settings.setdefault('event_from_delay', (0.0, 0.0))
        self.xapi = Simulator(Settings(socket_path=self.socket, **settings))
        self.answers: List[float] = []
        self._time_answers()
        self.registry = Registry(os.path.join(self.place, 'vgpu_config.db'), timeout_seconds=10.0)
        self.config = os.path.join(self.place, 'watcher.conf')
        self.table = os.path.join(self.place, 'spans.json')
        with open(self.config, 'w', encoding='utf-8') as stream:
            stream.write(CONFIGURATION.format(place=self.place))
        self.refs: List[str] = []
        self.xapi.start()

    def __enter__(self) -> 'Stand':
        return self

    def __exit__(self, *unused: Any) -> None:
        self.xapi.stop()
        shutil.rmtree(self.place, ignore_errors=True)

    def fill(self, registered: int, others: int = 0, *, staged: bool = True) -> None:
        """Add VMs and their rows; number and position agree."""
        for number in range(1, registered + 1):
            platform = {KEY: span(number)} if staged else {}
            self.refs.append(self.xapi.create_vm(f'vm-{number:05}', platform=platform))
        for number in range(others):
            self.xapi.create_vm(f'other-{number:05}')
        self.registry.create('benchmark')
        uuids = [self.xapi.vm(ref)['uuid'] for ref in self.refs]
        with self.registry.edit(who='benchmark', command='import') as edit:
            for number, vm_uuid in enumerate(uuids, 1):
                edit.add_vm(vm_uuid, vm_id=number)
        with open(self.table, 'w', encoding='utf-8') as stream:
            json.dump({vm_uuid: span(number) for number, vm_uuid in enumerate(uuids, 1)}, stream)

    def set_priority(self, refs: Sequence[str], priority: Priority) -> None:
        """Change assignments in one edit."""
        with self.registry.edit(who='benchmark', command='update-vm') as edit:
            for ref in refs:
                edit.change_vm(self.xapi.vm(ref)['uuid'], priority=priority)

    def show_starts(self, refs: Sequence[str]) -> None:
        """Have VMs without a span show a start, all at one instant."""
        state = self.xapi.state
        with state.database.lock:
            for ref in refs:
                self.xapi.call('VM.remove_from_platform', ref, KEY)
                self.xapi.set_field(ref, 'current_operations', {'OpaqueRef:' + ref[-8:]: 'start'})

    def end_starts(self, refs: Sequence[str]) -> None:
        """Have them rest again."""
        for ref in refs:
            self.xapi.set_field(ref, 'current_operations', {})

    def writes(self) -> List[Any]:
        """List the calls that wrote platform keys."""
        return [call for call in self.xapi.calls
                if '_platform' in call.method or '_blocked_operations' in call.method]

    def wait(self, condition: Callable[[], Any], what: str,
             seconds: float = PATIENCE_SECONDS, look_seconds: float = LOOK_SECONDS) -> Any:
        """Wait for a condition; its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f'waited {seconds:g} s in vain for {what}')
            time.sleep(look_seconds)

    def wait_calm(self) -> None:
        """Wait until the contender is blocked in event.from and does nothing else."""
        def is_calm() -> bool:
            calls = self.xapi.calls
            return bool(calls) and time.monotonic() - calls[-1].at > 0.3 and any(
                waiter.session for waiter in self.xapi.state.events.waiters)
        self.wait(is_calm, 'calm')

    def wait_quiet(self, seconds: float) -> None:
        """Wait until nothing was answered for so long: an echo is none of the next event's."""
        self.wait(lambda: time.monotonic() - self.answers[-1] > seconds, 'the last echo')

    def _time_answers(self) -> None:
        answer = self.xapi.dispatcher.answer

        def timed(incoming: Any, caller: Any) -> bytes:
            body = answer(incoming, caller)
            if incoming.method == 'event.from':
                self.answers.append(time.monotonic())
            return body
        self.xapi.dispatcher.answer = timed  # type: ignore


class Contender:
    """One program that sees to the VMs, as a process."""

    def __init__(self, stand: Stand, name: str) -> None:
        commands = {
            'ours': ['-m', 'watcher', 'run', '--config', stand.config],
            'traced': ['-m', 'benchmarks.traced', 'run', '--config', stand.config],
            'floor': ['-m', 'benchmarks.floor', stand.socket, stand.table],
            'plain': ['-m', 'benchmarks.plain', stand.socket, stand.table]}
        self._stand = stand
        self.ready_seconds: Optional[float] = None
        self._ready = threading.Event()
        self.log_path = os.path.join(stand.place, name + '.log')
        self._log = open(self.log_path, 'ab')
        environment = dict(os.environ, PYTHONPATH=ROOT, NOTIFY_SOCKET=self._listen(name))
        # What another contender waited for ends with its session only: it must not count.
        stand.wait(lambda: not stand.xapi.state.events.waiters, 'the end of the one before', 40.0)
        self._began = time.monotonic()
        self.process = subprocess.Popen([sys.executable] + commands[name], cwd=ROOT,
                                        env=environment, stdin=subprocess.DEVNULL,
                                        stderr=self._log)
        threading.Thread(target=self._hear, daemon=True).start()

    def __enter__(self) -> 'Contender':
        self._stand.wait(lambda: self._ready.is_set() or self.process.poll() is not None, 'READY')
        if self.process.poll() is not None:
            raise RuntimeError(f'{self.process.args} ended with {self.process.returncode}')
        return self

    def __exit__(self, *unused: Any) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10.0)
        self._log.close()
        self._hearing.close()
        for session in list(self._stand.xapi.state.database.tables['session'].rows):
            self._stand.xapi.state.sessions.end(session)

    def read_status(self) -> Dict[str, str]:
        """Read /proc/<pid>/status."""
        with open(f'/proc/{self.process.pid}/status', encoding='utf-8') as stream:
            return {name: value.strip() for name, _, value in
                    (line.partition(':') for line in stream)}

    def read_megabytes(self, field: str) -> float:
        """Read a size from /proc/<pid>/status."""
        return int(self.read_status()[field].split()[0]) / 1024.0

    def read_cpu_seconds(self) -> float:
        """Add up what all threads have run, to the nanosecond."""
        return sum(int(self._read_task(task, 'schedstat').split()[0])
                   for task in self._list_tasks()) / 1e9

    def count_wakeups(self) -> int:
        """Add up how often all threads have gone to sleep by themselves."""
        return sum(int(line.split()[1]) for task in self._list_tasks()
                   for line in self._read_task(task, 'status').splitlines()
                   if line.startswith('voluntary_ctxt_switches'))

    def count_logged(self, event: str) -> int:
        """Count the lines of an event in the log."""
        with open(self.log_path, encoding='utf-8') as stream:
            return sum(f'"{event}"' in line for line in stream)

    def measure_events(self, count: int) -> float:
        """Show events that need no action, one by one; processor time for one, in ms."""
        stand, before = self._stand, self.read_cpu_seconds()
        for number in range(count):
            ref, shown = stand.refs[number % len(stand.refs)], len(stand.answers)
            stand.xapi.set_field(ref, 'memory_target', 1 << 30 | number)
            stand.wait(lambda: len(stand.answers) > shown and stand.xapi.state.events.waiters,
                       'the next long poll')
        stand.wait_calm()
        return (self.read_cpu_seconds() - before) / count * 1000.0

    def _list_tasks(self) -> List[str]:
        return os.listdir(f'/proc/{self.process.pid}/task')

    def _read_task(self, task: str, name: str) -> str:
        with open(f'/proc/{self.process.pid}/task/{task}/{name}', encoding='utf-8') as stream:
            return stream.read()

    def _listen(self, name: str) -> str:
        path = os.path.join(self._stand.place, f'notify-{name}')
        if os.path.exists(path):
            os.unlink(path)
        self._hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._hearing.bind(path)
        return path

    def _hear(self) -> None:
        while not self._ready.is_set():
            try:
                message = self._hearing.recv(4096)
            except OSError:
                return
            if message == b'READY=1':
                self.ready_seconds = time.monotonic() - self._began
                self._ready.set()
        # A full queue may hold no daemon up.
        self._hearing.shutdown(socket.SHUT_RD)
