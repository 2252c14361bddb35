"""P28: nobody can make the daemon busy, however long and odd what they write on their VMs is."""

import os
import socket
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from registry.values import Priority
from tests.integration.daemon.world import KEY, Daemon, World, wait_until
from tests.support import scenes

VMS = 900
# What XAPI takes and no consumer does: each word of it quoted, and our device in it all over.
HOSTILE = ('"\'\' " ' + '-device vgpu-stub,a=b ' * 3000)[:65536 - 64]
# The contract has 5 s and 2 s, on a machine that does nothing else; that of the tests does six
# things at once. Before, an edit took 33 s here, and the daemon was killed again and again.
LONGEST_GAP_SECONDS = 12.0
LARGEST_DELAY_SECONDS = 8.0


class Manager:
    """The service manager's end of NOTIFY_SOCKET: when the daemon said that it is alive."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.alive: List[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            message = self._socket.recv(4096)
            if message == b'over':
                return
            if b'WATCHDOG=1' in message:
                self.alive.append(time.monotonic())

    @property
    def longest_gap(self) -> float:
        """The longest time between two signs of life, in seconds."""
        return max([later - earlier for earlier, later in zip(self.alive, self.alive[1:])],
                   default=0.0)

    def close(self) -> None:
        """Hear no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.sendto(b'over', self.path)
        self._thread.join(10.0)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Any) -> Iterator[Manager]:
    """A service manager that listens."""
    listening = Manager(str(tmp_path / 'notify'))
    yield listening
    listening.close()


def test_900_vms_with_hostile_text_hold_up_neither_an_edit_nor_the_watchdog(
        build_world: Callable[..., World], manager: Manager) -> None:
    """While somebody goes on writing such text on one VM after another."""
    world = build_world()
    world.daemon = Daemon(world.config_path, {
        'NOTIFY_SOCKET': manager.path, 'WATCHDOG_USEC': '1000000'})
    world.xapi.start()
    hostile = [world.xapi.create_vm(name='h%d' % number, platform={
        KEY: '%s %d' % (HOSTILE, number)}) for number in range(VMS)]
    world.registry.create('test')
    world.start_daemon()
    subject, = scenes.stage(world, foreign='')
    is_over = threading.Event()

    def write_on() -> None:
        for number in range(10 ** 6):
            if is_over.wait(0.05):
                return
            world.xapi.set_field(hostile[number % VMS], 'platform', {
                KEY: '%s %d' % (HOSTILE, VMS + number)})
    writing = threading.Thread(target=write_on)
    writing.start()
    delays = []
    try:
        for priority in (Priority.HIGH, Priority.LOW, Priority.HIGH, Priority.MEDIUM):
            began = time.monotonic()
            scenes.prioritise(world, [subject], priority)
            world.wait_args(subject.ref, subject.value(priority.word), timeout_seconds=60.0)
            delays.append(time.monotonic() - began)
        wait_until(lambda: len(manager.alive) > 5, 'signs of life')
    finally:
        is_over.set()
        writing.join(10.0)
    print('longest gap %.2f s, largest delay %.2f s' % (manager.longest_gap, max(delays)))
    _write_figures(manager.longest_gap, max(delays))
    assert manager.longest_gap < LONGEST_GAP_SECONDS
    assert max(delays) < LARGEST_DELAY_SECONDS


def _write_figures(longest_gap: float, largest_delay: float) -> None:
    """For `make assurance`, which asks for them by this variable."""
    path = os.environ.get('VGPU_FIGURES')
    if path:
        with open(path, 'a', encoding='ascii') as stream:
            stream.write('watchdog_gap %.2f\nedit_delay %.2f\n' % (longest_gap, largest_delay))
