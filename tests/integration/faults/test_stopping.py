"""P24, and section 2 of the contract: the end of the daemon, and what the service manager hears."""

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from registry.writer_lock import WriterLock
from simulator.faults import Fault
from tests.integration.daemon.world import Daemon, World, wait_until
from tests.support import scenes
from tests.support.waiting import LOADED
from watcher.xapi.client import CALL_TIMEOUT_SECONDS


def _hang(world: World, method: str, call: int = 1) -> None:
    """Have a replacement hang in a call that XAPI does not answer."""
    subject, = scenes.stage(world)
    reached: List[str] = []
    world.xapi.faults.add(Fault('run_before', method, subject.ref, skip=call - 1, count=1,
                                parameters={'run': lambda: reached.append(method)}))
    world.xapi.faults.add(Fault('half_open', method, subject.ref, skip=call - 1, count=1))
    scenes.prioritise(world, [subject])
    wait_until(lambda: reached, 'the call that hangs')


def _lock_registry(world: World) -> None:
    scenes.stage(world)
    lock = sqlite3.connect(world.registry_path, isolation_level=None, check_same_thread=False)
    lock.execute('BEGIN EXCLUSIVE')
    os.utime(world.registry_path)
    wait_until(lambda: world.daemon.events('registry.unavailable'), 'the lock is noticed')
    threading.Timer(8.0, lock.close).start()


def _take_xapi_away(world: World) -> None:
    world.xapi.stop()
    wait_until(lambda: world.daemon.events('stream.broken'), 'the outage is noticed')


def _minds_sigterm(daemon: Daemon) -> bool:
    """Whether the daemon has begun: its first deed is to mind signals, its second to wait."""
    assert daemon.process is not None
    with open('/proc/%d/status' % daemon.process.pid, encoding='ascii') as status:
        caught = next(line for line in status if line.startswith('SigCgt:'))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


SITUATIONS = {
    'idle-in-a-long-poll': lambda world: None,
    'in-a-hung-read': lambda world: _hang(world, 'VM.get_record'),
    'in-a-hung-write': lambda world: _hang(world, 'VM.set_platform'),
    'in-a-hung-proof': lambda world: _hang(world, 'VM.get_record', call=2),
    'with-the-registry-locked': _lock_registry,
    'without-xapi': _take_xapi_away,
    'with-a-deaf-long-poll': lambda world: world.xapi.faults.add(Fault('hang', 'event.from')),
    'with-a-logout-that-hangs': lambda world: world.xapi.faults.add(
        Fault('half_open', 'session.logout')),
}


@pytest.mark.parametrize('name', sorted(SITUATIONS))
def test_sigterm_ends_the_daemon_within_five_seconds(
        build_world: Callable[..., World], name: str) -> None:
    world = build_world().start()
    SITUATIONS[name](world)
    began = time.monotonic()
    assert world.daemon.stop(signal.SIGTERM, timeout_seconds=60.0) == 0
    # A call that hangs is not waited for until its own limit.
    assert time.monotonic() - began < min(5.0 * LOADED, 0.8 * CALL_TIMEOUT_SECONDS)
    assert world.daemon.events('service.stopped')


def test_sigterm_ends_a_daemon_that_waits_for_the_writers_lock(
        build_world: Callable[..., World]) -> None:
    world = build_world().start(with_daemon=False)
    with WriterLock(world.registry_path) as lock:
        assert lock.acquire()
        world.daemon.start()
        wait_until(lambda: _minds_sigterm(world.daemon), 'the signals are minded')
        assert world.daemon.stop(signal.SIGTERM, timeout_seconds=5.0 * LOADED) == 0
    assert world.daemon.events('service.stopped') and not world.daemon.events('service.failed')


def test_a_replacement_under_way_is_finished_before_the_end(pool: World) -> None:
    subjects = scenes.stage(pool, 3)
    checkpoint = scenes.Checkpoint(pool)
    for call, subject in enumerate(subjects, 1):
        checkpoint.hold(subject.ref, call)
    scenes.prioritise(pool, subjects)
    checkpoint.wait()
    assert pool.daemon.process is not None
    pool.daemon.process.send_signal(signal.SIGTERM)
    checkpoint.release()
    assert pool.daemon.process.wait(5.0) == 0
    for subject in subjects:
        assert pool.args(subject.ref) == subject.value('high')
        assert not pool.xapi.vm(subject.ref)['blocked_operations']


def test_a_hung_replacement_keeps_the_vm_from_nothing(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    fault = world.xapi.faults.add(Fault('half_open', 'VM.set_platform', subject.ref))
    scenes.prioritise(world, [subject])
    wait_until(lambda: [call for call in world.xapi.calls if call.method == 'VM.set_platform'],
               'the write that hangs')
    assert scenes.start(world, subject) == subject.value()
    assert world.daemon.stop() == 0
    world.xapi.faults.remove(fault)
    assert world.args(subject.ref) == subject.value()


def test_a_daemon_that_stood_still_for_a_while_goes_on(pool: World) -> None:
    subject, other = scenes.stage(pool, 2)
    pool.daemon.freeze()
    pool.xapi.call('VM.start', other.ref, False, False)
    pool.xapi.call('VM.hard_shutdown', other.ref)
    pool.daemon.thaw()
    scenes.prioritise(pool, [subject, other])
    for item in (subject, other):
        pool.wait_settled(item.ref, item.value('high'))
        assert scenes.start(pool, item) == item.value('high')


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, 'notify')
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(0.2)
        self.messages: List[str] = []

    def hears(self, start: str) -> List[str]:
        """What was heard so far that begins like this."""
        try:
            while True:
                self.messages.append(self._socket.recv(4096).decode('utf-8'))
                self._socket.settimeout(0.001)
        except socket.timeout:
            self._socket.settimeout(0.2)
        return [text for text in self.messages if text.startswith(start)]

    def close(self) -> None:
        """Be deaf from now on."""
        self._socket.close()


@pytest.fixture
def managed(build_world: Callable[..., World]) -> Iterator[Any]:
    """A world whose daemon is not started yet, and its service manager."""
    world = build_world()
    manager = Manager(world.directory)
    world.daemon = Daemon(world.config_path, {'NOTIFY_SOCKET': manager.path,
                                              'WATCHDOG_USEC': '4000000'})
    yield world, manager
    manager.close()


def test_ready_is_said_once_all_vms_are_staged(managed: Any) -> None:
    world, manager = managed
    world.start(with_daemon=False)
    subjects = scenes.register(world, 10)
    world.daemon.start()
    wait_until(lambda: manager.hears('READY=1'), 'READY=1')
    for subject in subjects:
        assert world.args(subject.ref) == subject.value()
    wait_until(lambda: [text for text in manager.hears('STATUS=watching')
                        if '10 registered, 0 wait' in text], lambda: manager.messages)
    wait_until(lambda: len(manager.hears('WATCHDOG=1')) >= 2, 'the watchdog, every two seconds')
    assert world.daemon.stop() == 0
    assert manager.hears('STOPPING=1') and len(manager.hears('READY=1')) == 1


def test_ready_waits_for_a_registry_that_is_locked(managed: Any) -> None:
    world, manager = managed
    world.start(with_daemon=False)
    subjects = scenes.register(world, 3)
    with contextlib.closing(sqlite3.connect(world.registry_path, isolation_level=None)) as other:
        other.execute('BEGIN EXCLUSIVE')
        world.daemon.start()
        world.daemon.wait_for('registry.unavailable')
        world.daemon.wait_for('stream.resynced')
        assert not manager.hears('READY=1')
    wait_until(lambda: manager.hears('READY=1'), 'READY=1')
    for subject in subjects:
        assert world.args(subject.ref) == subject.value()


def test_without_xapi_ready_comes_after_fifteen_seconds_and_says_what_it_waits_for(
        managed: Any) -> None:
    world, manager = managed
    world.registry.create('test')
    began = time.monotonic()
    world.daemon.start()
    wait_until(lambda: manager.hears('READY=1'), 'READY=1', 60.0)
    assert time.monotonic() - began > 15.0
    told = len(manager.hears('STATUS=waiting for XAPI'))
    wait_until(lambda: len(manager.hears('STATUS=waiting for XAPI')) > told
               or manager.messages[-1].startswith('STATUS=waiting for XAPI'), 'it again', 3.0)
