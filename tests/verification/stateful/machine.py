"""What may happen to two registered VMs, in any order that hypothesis thinks of.

The daemon is the real program, the pool the simulator; both are shared by all examples, each of
which has VMs of its own. Nothing in here waits for the daemon but the rule that says so, so that
all steps fall into the middle of its work.
"""

import signal
from typing import Any, List, Optional

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from registry.journal.journal import Journal
from registry.values import Priority
from simulator.faults import Fault
from simulator.wire.failures import Failure
from tests.integration.daemon.world import KEY, span, wait_until
from tests.support import scenes

CALL_FAULTS = ('drop_before', 'drop_after', 'reset_before', 'reset_after', 'http_500_before',
               'http_500', 'truncate', 'garbage', 'failure', 'failure_after')
VMS = st.sampled_from([0, 1])


class Guest:
    """A VM of the example, and what it is promised."""

    def __init__(self, subject: scenes.Subject) -> None:
        self.subject = subject
        self.ref = subject.ref
        self.priority = Priority.MEDIUM
        self.power = 'Halted'
        self.is_staged = True
        self.held: Optional[str] = subject.value()

    @property
    def value(self) -> str:
        """The whole value that the VM should carry."""
        return self.subject.value(self.priority.word)


class Machine(RuleBasedStateMachine):
    """The rules; `world` is set by whoever runs it."""

    world: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.guests: List[Guest] = [Guest(subject) for subject in scenes.stage(self.world, 2)]

    @property
    def is_alive(self) -> bool:
        """Whether the daemon runs."""
        process = self.world.daemon.process
        return process is not None and process.poll() is None

    @rule(index=VMS, priority=st.sampled_from(list(Priority)))
    def edit(self, index: int, priority: Priority) -> None:
        """The administrator changes a row."""
        guest = self.guests[index]
        self.world.change(guest.ref, priority=priority)
        guest.is_staged = guest.is_staged and priority is guest.priority
        guest.priority = priority

    @rule(index=VMS)
    def start(self, index: int) -> None:
        """A start takes what was staged; who was not staged may be held up, and is told."""
        guest = self.guests[index]
        if guest.power != 'Halted':
            return
        try:
            boot = self.world.start_vm(guest.ref)
        except Failure as refusal:
            assert refusal.description[0] == 'OPERATION_BLOCKED' and not guest.is_staged, refusal
            return
        assert boot.args == guest.value or not guest.is_staged, (boot.args, guest.value)
        guest.power, guest.held = 'Running', boot.args

    @rule(index=VMS, is_inside=st.booleans())
    def reboot(self, index: int, is_inside: bool) -> None:
        """A reboot takes what XAPI holds."""
        guest = self.guests[index]
        if guest.power == 'Running':
            holds = self.world.args(guest.ref)
            if is_inside:
                self.world.xapi.guest_reboot(guest.ref)
            else:
                self.world.xapi.call('VM.hard_reboot', guest.ref)
            guest.held = self.world.last_boot(guest.ref).args
            assert guest.held == holds

    @rule(index=VMS)
    def stop(self, index: int) -> None:
        """It comes to rest; a change that waited is applied from now on."""
        guest = self.guests[index]
        if guest.power != 'Halted':
            self.world.xapi.call('VM.hard_shutdown', guest.ref)
            guest.power, guest.is_staged = 'Halted', False

    @rule(index=VMS)
    def suspend_or_resume(self, index: int) -> None:
        """What was frozen comes back."""
        guest = self.guests[index]
        if guest.power == 'Running':
            self.world.xapi.call('VM.suspend', guest.ref)
            guest.power = 'Suspended'
        elif guest.power == 'Suspended':
            self.world.xapi.call('VM.resume', guest.ref, False, False)
            guest.power = 'Running'
            assert self.world.last_boot(guest.ref).args == guest.held

    @rule(index=VMS)
    def meddle(self, index: int) -> None:
        """A second writer puts another span into a VM at rest."""
        guest = self.guests[index]
        if guest.power == 'Halted' and guest.is_staged:
            xapi, number = self.world.xapi, guest.subject.number
            xapi.call('VM.remove_from_platform', guest.ref, KEY)
            try:
                xapi.call('VM.add_to_platform', guest.ref, KEY, '%s %s' % (
                    scenes.FOREIGN, span(number, 'B', 'low')))
            except Failure as refusal:
                # The daemon was quicker: what it has added is without the text of others.
                assert refusal.description[0] == 'MAP_DUPLICATE_KEY'
                xapi.call('VM.remove_from_platform', guest.ref, KEY)
                xapi.call('VM.add_to_platform', guest.ref, KEY, guest.value)
            guest.is_staged = False

    @rule(kind=st.sampled_from(CALL_FAULTS), skip=st.integers(0, 7))
    def spoil_a_call(self, kind: str, skip: int) -> None:
        """One of the daemon's next calls goes wrong."""
        self.world.xapi.faults.add(Fault(kind, method='VM.*', skip=skip, count=1, parameters={
            'code': 'INTERNAL_ERROR', 'params': []}))

    @rule(mode=st.sampled_from(['clean', 'crash']))
    def restart_xapi(self, mode: str) -> None:
        """Sessions are gone; after a crash generations are lower. Nothing is rolled back here."""
        self.world.xapi.restart(mode)

    @rule()
    def kill_the_daemon(self) -> None:
        """In the middle of whatever it does."""
        if self.is_alive:
            self.world.daemon.stop(signal.SIGKILL)

    @precondition(lambda self: not self.is_alive)
    @rule()
    def start_the_daemon(self) -> None:
        """It repairs what it left."""
        self.world.start_daemon()

    @precondition(lambda self: not self.is_alive)
    @rule()
    def clear_fences(self) -> None:
        """What the service manager runs when the daemon has ended."""
        self.world.xapi.faults.clear()
        scenes.clear_fences(self.world)

    @rule()
    def wait_until_settled(self) -> None:
        """Undisturbed, every VM that rests is staged, and no fence stands."""
        self.world.xapi.faults.clear()
        if not self.is_alive:
            self.world.start_daemon()
        for guest in self.guests:
            if guest.power == 'Halted':
                self.world.wait_settled(guest.ref, guest.value)
                guest.is_staged = True
            assert not self.world.xapi.vm(guest.ref)['blocked_operations']

    def _wait_told(self, guest: Guest) -> None:
        """By this run of the daemon, or by one that was killed soon afterwards."""
        daemon, uuid = self.world.daemon, self.world.uuid(guest.ref)
        domid = self.world.last_boot(guest.ref).domid
        wait_until(lambda: daemon.events_ever('vm.booted', vm_uuid=uuid, domid=domid)
                   or self._has_receipt(uuid, domid), lambda: 'the line of domid %d of %s; log:\n%s' % (
                       domid, uuid, '\n'.join(daemon.raw[-30:])))

    def _has_receipt(self, vm_uuid: str, domid: int) -> bool:
        """Of a VM that boots more than five times in a minute not each is a line (P30)."""
        with Journal(self.world.registry.journal_path, timeout_seconds=5.0) as journal:
            return any(boot.domid == domid and boot.verdict
                       for boot in journal.list_boots(vm_uuid, 3))

    def teardown(self) -> None:
        """In the end all is well, and each boot that can still be seen was told."""
        self.wait_until_settled()
        for guest in self.guests:
            if guest.power == 'Running':
                self._wait_told(guest)
        for guest in self.guests:
            self.stop(self.guests.index(guest))
        self.wait_until_settled()
        for guest in self.guests:
            self.world.remove(guest.ref)
        wait_until(lambda: all(self.world.args(guest.ref) == scenes.FOREIGN
                               for guest in self.guests), 'spans removed')
