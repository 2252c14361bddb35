"""P28: nobody can make the daemon busy, however long and odd what they write on their VMs is."""

import os
import socket
import struct
import threading
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence

import pytest

from registry.values import Priority
from tests.integration.daemon.world import KEY, Daemon, World, wait_until
from tests.support import scenes
from tests.support.figures import leave

VMS = 900
# What XAPI takes and no consumer does: each word of it quoted, and our device in it all over.
HOSTILE = ('"\'\' " ' + '-device vgpu-stub,a=b ' * 3000)[:65536 - 64]
# So many at once, before the daemon must have looked: on a machine that is busy an answer with all
# of them would take longer than the 38 s that one is waited for.
SLICE = 50
# The contract has these for a machine that does nothing else. How long the machine lets the daemon
# wait is not the daemon's doing: it is held to them by the processor time that it has used, and by
# the clock to what no machine needs that goes on at all. An edit took 33 s of both, before.
LONGEST_GAP_SECONDS, LARGEST_DELAY_SECONDS = 5.0, 2.0
PATIENCE_SECONDS = 90.0
TICKS_PER_SECOND = os.sysconf('SC_CLK_TCK')


class Moment(NamedTuple):
    """A point in time, by the clock and by what a process has used of processors."""
    clock: float
    used: float


def look_at_clocks(process: int) -> Moment:
    """Now."""
    with open('/proc/%d/stat' % process, encoding='utf-8', errors='replace') as stream:
        fields = stream.read().rpartition(')')[2].split()
    return Moment(time.monotonic(), sum(map(int, fields[11:13])) / TICKS_PER_SECOND)


def find_longest(moments: Sequence[Moment]) -> Moment:
    """The longest time from one to the next, by each of the two."""
    pairs = list(zip(moments, moments[1:]))
    return Moment(max(later.clock - earlier.clock for earlier, later in pairs),
                  max(later.used - earlier.used for earlier, later in pairs))


class Manager:
    """The service manager's end of NOTIFY_SOCKET: when the daemon said that it is alive."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.alive: List[Moment] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        # With each message comes who has sent it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            message, sent, _flags, _address = self._socket.recvmsg(4096, 4096)
            if message == b'over':
                return
            if b'WATCHDOG=1' in message:
                self.alive.append(look_at_clocks(struct.unpack('3i', sent[0][2])[0]))

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
    world.start()
    hostile: List[str] = []
    while len(hostile) < VMS:
        hostile += [world.xapi.create_vm(name='h%d' % number, platform={
            KEY: '%s %d' % (HOSTILE, number)}) for number in range(SLICE)]
        _wait_for_look(world)
    subject, = scenes.stage(world, foreign='')
    is_over = threading.Event()

    def write_on() -> None:
        for number in range(10 ** 6):
            if is_over.wait(0.05):
                return
            world.xapi.set_field(hostile[number % VMS], 'platform', {
                KEY: '%s %d' % (HOSTILE, VMS + number)})
            if number % SLICE == SLICE - 1:
                _wait_for_look(world)
    writing = threading.Thread(target=write_on)
    writing.start()
    assert world.daemon.process is not None
    process = world.daemon.process.pid
    delays = []
    try:
        for priority in (Priority.HIGH, Priority.LOW, Priority.HIGH, Priority.MEDIUM):
            began = look_at_clocks(process)
            scenes.prioritise(world, [subject], priority)
            world.wait_args(subject.ref, subject.value(priority.word),
                            timeout_seconds=PATIENCE_SECONDS)
            delays.append(find_longest([began, look_at_clocks(process)]))
        wait_until(lambda: len(manager.alive) > 5, 'signs of life')
    finally:
        is_over.set()
        writing.join(PATIENCE_SECONDS)
    gap = find_longest(manager.alive)
    leave(watchdog_gap=round(gap.clock, 2), edit_delay=round(max(delays).clock, 2))
    assert gap.used < LONGEST_GAP_SECONDS and gap.clock < PATIENCE_SECONDS
    assert max(delay.used for delay in delays) < LARGEST_DELAY_SECONDS


def _wait_for_look(world: World) -> None:
    """Until the daemon has taken what there was, and asks for more."""
    def count() -> int:
        return [call.method for call in world.xapi.calls].count('event.from')
    before = count()
    wait_until(lambda: count() > before, 'the daemon to look', PATIENCE_SECONDS)
