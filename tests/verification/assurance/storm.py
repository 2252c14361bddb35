"""The storm: rounds of starts, reboots and resumes of all VMs at once, with faults in between.

In each round some assignments change, all VMs come to rest and are staged; then they start,
reboot in every way, are suspended and resumed, and stop. Starts have 1 to 60 ms from their first
event to the moment in which XAPI reads the map, as was measured on a real one. A fault begins at
a random point of the round and ends before the next one. Repeatable but for the scheduling of
threads: one seed, one plan.
"""

import collections
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from registry.values import Priority
from simulator.faults import Fault
from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.verification.assurance.evidence import find_login, keep
from tests.verification.assurance.fleet import FOREIGN, KEYLESS, RESTART, Fleet, Wrong, write_reader

# Nothing of the real times is needed to find the wrong orders; all else is XAPI's own.
QUICK = dict(step_seconds=0.0, build_seconds=0.002, running_seconds=0.001,
             shutdown_seconds=0.005, suspend_seconds=0.005, push_seconds=0.001,
             event_from_delay=(0.01, 0.01), disks_per_vm=0, interfaces_per_vm=0,
             # 15 ms of a processor for each QEMU are too dear for tens of thousands of them.
             consumer='reading')
CALL_FAULTS = ('drop_before', 'drop_after', 'reset_before', 'reset_after', 'http_500_before',
               'http_500', 'truncate', 'garbage', 'failure', 'failure_after', 'late')
REBOOTS_PER_ROUND = 8
LOST_IN_A_CRASH = 3
# From a start's first event to the reading of the map: the median, and what load makes of it.
WINDOWS_MS = (1, 5, 20, 60)
# From the rest of a VM to its start: staging takes 60 ms, and longer when all come at once.
GAPS_SECONDS = (0.0, 0.0, 0.02, 0.05, 0.1, 0.3)
# On a disk the files of 100,000 domains would be most of the work.
MEMORY = '/dev/shm'


class Figures(NamedTuple):
    """What a storm has come to."""
    boots: Dict[str, int]
    wrong: Tuple[Wrong, ...]
    unreported: Tuple[Wrong, ...]
    refused: int
    outrun: int
    """Boots that took the old arguments, whole: the restart was quicker than the staging."""
    bare: int
    """Boots without any of ours: the key was absent when the start began."""
    windows: Dict[str, int]
    """Starts by the window that they had."""
    faults: Dict[str, int]
    recoveries: Dict[str, float]
    """The longest by kind of fault, in seconds, until all that rests is right: from the login that
    succeeded again, and where none was needed from the end of the fault (P14)."""
    restarts: Dict[str, float]
    """The same with what came before the login: the start of a new daemon, where one was dead."""
    repeated: int
    """Boots told once more by the next daemon, which found no receipt."""
    unsaid: int
    """Boots told by their receipt alone: lines of a VM that boots all the time are damped (P30)."""
    rounds: int
    seconds: float


def weather(boots: int, seconds: float, seed: int, vms: int,
            tell: Callable[[str], None] = lambda _text: None) -> Figures:
    """Have a storm, in memory where the machine has a place for that."""
    place = MEMORY if os.path.isdir(MEMORY) else None
    with tempfile.TemporaryDirectory(prefix='vgpu', dir=place) as directory:
        storm = Storm(directory, vms, seed)
        try:
            storm.begin()
            return storm.run(boots, seconds, tell)
        finally:
            storm.close()


class Storm:
    """One world, its fleet, and the dice."""

    def __init__(self, directory: str, vms: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.world = World(directory, **QUICK)
        self.world.write_config()
        _say_less(self.world)
        self._pause = threading.Event()
        self._faults: Dict[str, int] = collections.Counter()
        self._recoveries: Dict[str, float] = {}
        self._restarts: Dict[str, float] = {}
        self._windows: Dict[str, int] = collections.Counter()
        self._vms = vms
        self.fleet: Any = None

    def begin(self) -> None:
        """Start the pool and the daemon, and have all VMs staged."""
        self.world.start()
        write_reader(self.world)
        self.fleet = Fleet(self.world, self._vms)
        self.fleet.wait_staged()

    def run(self, boots: int, seconds: float,
            tell: Callable[[str], None] = lambda _text: None) -> Figures:
        """Go on until so many boots were seen, or so much time is over."""
        began, rounds = time.monotonic(), 0
        while sum(self.fleet.boots.values()) < boots and time.monotonic() - began < seconds:
            self._round()
            rounds += 1
            tell('%d boots of %d, %d wrong, %d unreported, %.0f s' % (
                sum(self.fleet.boots.values()), boots, len(self.fleet.wrong),
                len(self.fleet.unreported), time.monotonic() - began))
        return Figures(dict(self.fleet.boots), tuple(self.fleet.wrong),
                       tuple(self.fleet.unreported), self.fleet.refused,
                       self.fleet.outrun, self.fleet.bare, dict(self._windows),
                       dict(self._faults), self._recoveries, self._restarts,
                       self.fleet.repeated, len(self.fleet.unsaid), rounds,
                       time.monotonic() - began)

    def close(self) -> None:
        """End daemon, simulator and threads."""
        if self.fleet is not None:
            self.fleet.close()
        self.world.close()

    def _round(self) -> None:
        """From rest to rest."""
        fleet, dice = self.fleet, self._random
        self._disturb(dice.choice(_AT_REST))
        fleet.wait_staged()
        self._start(dice.choice(('alive', 'alive', 'dead', 'killed', 'frozen', 'answers lost')))
        for number in range(REBOOTS_PER_ROUND):
            if number == REBOOTS_PER_ROUND // 2:
                self._edit_some()
            self._reboot_all(dice.choice((self._reboot_inside, self._crash_guest, self._reboot)),
                             dice.choice((None,) * 6 + ('answers lost', 'killed')))
        self._suspend_and_resume()
        if dice.random() < 0.5:
            self._edit_some()
        if dice.random() < 0.5:
            self.start_again_at_once()
        fleet.each('VM.hard_shutdown')
        if dice.random() < 0.3:
            self.start_without_key()

    def _start(self, daemon: str) -> None:
        """All VMs rest and are staged: whatever becomes of the daemon, each start is right."""
        fleet, world = self.fleet, self.world
        promised = {member.ref: member.value for member in fleet.members}
        self._open_window()
        fleet.begin_wave()
        if daemon == 'dead':
            self._kill()
        elif daemon == 'frozen':
            world.daemon.freeze()
            self._faults['daemon stands still'] += 1
        elif daemon == 'answers lost':
            self._spoil_calls()
        if daemon == 'killed':
            half = len(fleet.members) // 2
            fleet.each('VM.start', False, False, members=fleet.members[:half])
            self._kill()
            fleet.each('VM.start', False, False, members=fleet.members[half:])
        else:
            fleet.each('VM.start', False, False)
        self._end_faults()
        if daemon == 'frozen':
            world.daemon.thaw()
        if daemon in ('dead', 'killed'):
            self._recover('daemon killed', world.start_daemon)
        fleet.end_wave('start', promised)

    def _reboot_all(self, reboot: Callable[[Any], None], trouble: Optional[str]) -> None:
        """Nobody writes to what runs: each reboot takes what the VM was started with."""
        fleet = self.fleet
        promised = fleet.begin_wave()
        if trouble == 'answers lost':
            self._spoil_calls()
        elif trouble == 'killed':
            self._kill()
        fleet.run(reboot)
        self._end_faults()
        if trouble == 'killed':
            self._recover('daemon killed', self.world.start_daemon)
        fleet.end_wave('reboot', promised)

    def start_again_at_once(self) -> None:
        """A stop, and a start a little later: what was staged, or what is desired, never nothing.

        Changes wait when the VMs stop, and none comes meanwhile; no start is refused.
        """
        fleet, refused = self.fleet, self.fleet.refused
        self._edit_some(Fleet.edit_and_wait)
        self._open_window()
        before = fleet.begin_wave()
        gaps = {member.ref: self._random.choice(GAPS_SECONDS) for member in fleet.members}

        def stop_and_start(member: Any) -> None:
            self.world.xapi.call('VM.hard_shutdown', member.ref)
            self._pause.wait(gaps[member.ref])
            self.world.xapi.call('VM.start', member.ref, False, False)
        fleet.run(stop_and_start)
        if fleet.refused > refused:
            fleet.wrong.append(Wrong(RESTART, None, None, 'refused'))
        fleet.end_wave(RESTART, before, lambda member: {member.value})

    def start_without_key(self) -> None:
        """All rest. A second program removes the whole key, and the VM is started at once.

        The key is added during the start; whether in time is the window's to say. Afterwards the
        other program's text comes back.
        """
        fleet = self.fleet
        fleet.wait_staged()
        self._open_window()
        fleet.begin_wave()
        self._faults['key removed before a start'] += len(fleet.members)

        def start(member: Any) -> None:
            self.world.xapi.call('VM.remove_from_platform', member.ref, KEY)
            self.world.xapi.call('VM.start', member.ref, False, False)
        fleet.run(start)
        bare = {member.ref: None for member in fleet.members}
        fleet.end_wave(KEYLESS, bare, lambda member: {member.span})
        fleet.each('VM.hard_shutdown')
        fleet.run(self._write_foreign)
        # A crash takes the last writes back, and the text of others would be among them.
        for _ in range(LOST_IN_A_CRASH):
            # An earlier crash may have brought it back.
            self.world.xapi.call('VM.remove_from_other_config', fleet.members[0].ref, 'storm')
            self.world.xapi.call('VM.add_to_other_config', fleet.members[0].ref, 'storm', '')
        self._recover('second writer')

    def _write_foreign(self, member: Any) -> None:
        """Put text of others beside our span, in one call."""
        platform = dict(self.world.xapi.vm(member.ref)['platform'], **{KEY: member.value})
        self.world.xapi.call('VM.set_platform', member.ref, platform)

    def _open_window(self) -> None:
        """The starts that follow have so long until XAPI reads the map."""
        window_ms = self._random.choice(WINDOWS_MS)
        state = self.world.xapi.state
        state.settings = state.settings._replace(cutoff_seconds=window_ms / 1000.0)
        self._windows['%d ms' % window_ms] += len(self.fleet.members)

    def _suspend_and_resume(self) -> None:
        """The frozen copy comes back."""
        frozen = {ref: domain.platform.get('device-model-args') for ref, domain
                  in self.world.xapi.state.hypervisor.domains.items()}
        self.fleet.begin_wave()
        self.fleet.each('VM.suspend')
        self.fleet.each('VM.resume', False, False)
        self.fleet.end_wave('resume', frozen)

    def _edit_some(self, edit: Callable[..., None] = Fleet.edit) -> None:
        chosen = [member for member in self.fleet.members if self._random.random() < 0.3]
        edit(self.fleet, chosen, lambda: self._random.choice(list(Priority)))

    def _reboot_inside(self, member: Any) -> None:
        self.world.xapi.guest_reboot(member.ref)

    def _crash_guest(self, member: Any) -> None:
        self.world.xapi.guest_crash(member.ref)

    def _reboot(self, member: Any) -> None:
        self.world.xapi.call('VM.hard_reboot', member.ref)

    # Faults.

    def _disturb(self, name: str) -> None:
        getattr(self, '_' + name)()

    def _nothing(self) -> None:
        """A round without a fault of its own."""

    def _kill_while_it_writes(self) -> None:
        self._edit_some()
        world, marked = self.world, len(self.world.xapi.calls)
        wait_until(lambda: not self.fleet.list_unstaged()
                   or len(world.xapi.calls) > marked + self._random.randrange(2, 40), 'calls')
        self._kill()
        self._recover('daemon killed while it writes', world.start_daemon)

    def _restart_xapi(self) -> None:
        self._edit_some()
        mode = self._random.choice(('clean', 'crash'))
        self._faults['xapi restart, %s' % mode] += 1
        # A rollback takes edits of the map back: nothing that was staged may be lost for good.
        self.world.xapi.restart(mode, 0.1, LOST_IN_A_CRASH if mode == 'crash' else 0)
        self._recover('xapi restart, %s' % mode)

    def _refuse_logins(self) -> None:
        self._faults['login refused'] += 1
        self.world.xapi.set_emergency('HOST_STILL_BOOTING')
        self.world.xapi.restart('clean', 0.05)
        self._edit_some()
        self.world.xapi.set_emergency(None)
        self._recover('login refused')

    def _spoil_calls(self) -> None:
        for kind in CALL_FAULTS:
            self.world.xapi.faults.add(Fault(
                kind, method='VM.*', skip=self._random.randrange(6), count=2,
                parameters={'code': 'INTERNAL_ERROR', 'params': [], 'seconds': 0.1}))

    def _end_faults(self) -> None:
        """Lift all faults, and count the calls that they have struck: not all that are armed do."""
        for armed in self.world.xapi.faults._armed:
            struck = max(0, armed.seen - armed.fault.skip)
            self._faults['call: ' + armed.fault.kind] += min(struck, armed.fault.count)
        self.world.xapi.faults.clear()

    def _spoil_calls_at_rest(self) -> None:
        self._spoil_calls()
        self._edit_some()
        self._recover('calls spoiled')
        self._end_faults()

    def _lock_registry(self) -> None:
        self._faults['registry locked'] += 1
        connection = sqlite3.connect(self.world.registry_path, isolation_level=None)
        connection.execute('BEGIN EXCLUSIVE')
        self._pause.wait(0.6)  # longer than the daemon waits for it
        connection.execute('ROLLBACK')
        connection.close()
        self._edit_some()
        self._recover('registry locked')

    def _meddle(self) -> None:
        self._faults['second writer'] += 1
        for member in self._random.sample(self.fleet.members, 5):
            xapi = self.world.xapi
            xapi.call('VM.remove_from_platform', member.ref, 'device-model-args')
            xapi.call('VM.add_to_platform', member.ref, 'device-model-args',
                      '%s %s' % (FOREIGN, span(member.number, 'B', 'low')))
        self._recover('second writer')

    def _kill(self) -> None:
        self._faults['daemon killed'] += 1
        self.world.daemon.stop(signal.SIGKILL)
        self.fleet.take_last_lines()

    def _recover(self, kind: str, begin: Callable[[], Any] = lambda: None) -> None:
        """Measure how long it takes until all VMs that rest are right again."""
        began = time.monotonic()
        begin()
        resting = [member for member in self.fleet.members
                   if self.world.xapi.vm(member.ref)['power_state'] == 'Halted']
        wait_until(lambda: not set(self.fleet.list_unstaged()) & set(resting),
                   lambda: self._say_unrecovered(kind), 40.0)
        ended = time.monotonic()
        login = find_login(self.world, began)
        for longest, since in ((self._recoveries, login or began), (self._restarts, began)):
            longest[kind] = max(longest.get(kind, 0.0), ended - since)


    def _say_unrecovered(self, kind: str) -> str:
        """What is not as it should be, and where the daemon's log lies."""
        left = self.fleet.list_unstaged()
        return 'recovery from %s: %d VMs, %r; see %s' % (
            kind, len(left), [(member.uuid, self.world.args(member.ref), member.value)
                              for member in left[:3]],
            keep(self.world, 'unrecovered.log', ()))


_AT_REST: List[str] = ['nothing', 'edit_some', 'kill_while_it_writes', 'restart_xapi',
                       'refuse_logins', 'spoil_calls_at_rest', 'lock_registry', 'meddle']


def _say_less(world: World) -> None:
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('level = debug', 'level = info'))
