"""The VMs of a storm: what each should carry, what each boot took, and what was said of it.

The simulator is the witness of what every QEMU took; the daemon's lines and, where a kill came
between line and journal, its receipts are what was said.
"""

import contextlib
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from registry.journal.journal import Journal
from registry.values import Priority
from simulator.wire.failures import Failure, XapiGone
from tests.integration.daemon.world import World, span, wait_until
from tests.verification.assurance.evidence import keep

FOREIGN = '-foo "a  b"'
RESTART = 'stop and start at once'
KEYLESS = 'key removed and started at once'
DEVICE = 'vgpu-stub,'
PATIENCE_SECONDS = 90.0
# A line follows its receipt at once: what has only the latter after this time stays without it.
RECEIPT_SECONDS = 5.0
_CALLERS = 16
# What Python's own start costs per look would be most of the storm.
_READER = '#!/bin/sh\nread -r value <"%s$1"\n[ -n "$value" ] && printf "%%s\\n" "$value"\n'


class Wrong(NamedTuple):
    """A boot that broke its promise, or that nobody was told of."""
    kind: str
    took: Optional[str]
    promised: Optional[str]
    said: str


class Member:
    """One registered VM."""

    def __init__(self, ref: str, uuid: str, number: int) -> None:
        self.ref = ref
        self.uuid = uuid
        self.number = number
        self.priority = Priority.MEDIUM

    @property
    def span(self) -> str:
        """Our part of what it should carry."""
        return span(self.number, priority=self.priority.word)

    @property
    def value(self) -> str:
        """The whole value that it should carry."""
        return '%s %s' % (FOREIGN, self.span)


class Fleet:
    """All VMs of one storm in one world."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.members: List[Member] = []
        self.boots: Dict[str, int] = {}
        self.wrong: List[Wrong] = []
        self.unreported: List[Wrong] = []
        self.refused = 0
        self.outrun = 0
        self.bare = 0
        self._pool = ThreadPoolExecutor(_CALLERS)
        self._read_lines = 0
        self._lines: Any = None
        self._told: Dict[Tuple[str, int], int] = {}
        self._runs = 0
        self.repeated = 0
        self.unsaid: Set[Tuple[str, int]] = set()
        """Domains of whose boots there is a receipt, and no line."""
        self._said: Dict[Tuple[str, int], Dict[str, Any]] = {}
        self._register(count)

    def edit_and_wait(self, members: Sequence[Member], priority: Callable[[], Priority]) -> None:
        """The same, and wait until the daemon knows of it."""
        before, noticed = [item.priority for item in members], self._count_edits()
        self.edit(members, priority)
        if before != [item.priority for item in members]:
            wait_until(lambda: self._count_edits() > noticed, 'the edit', PATIENCE_SECONDS)

    def _count_edits(self) -> int:
        return len(self.world.daemon.events('registry.changed'))

    def edit(self, members: Sequence[Member], priority: Callable[[], Priority]) -> None:
        """Change the assignments of these VMs in one edit."""
        with self.world.registry.edit(who='test', command='update-vm') as edit:
            for member in members:
                member.priority = priority()
                edit.change_vm(member.uuid, priority=member.priority)

    def each(self, method: str, *params: Any, members: Sequence[Member] = ()) -> None:
        """Have XAPI do something to all VMs at once; wait for the end."""
        self.run(lambda member: self.world.xapi.call(method, member.ref, *params), members)

    def run(self, act: Callable[[Member], Any], members: Sequence[Member] = ()) -> None:
        """Do something to all VMs at once; what XAPI refuses is counted."""
        for refusal in self._pool.map(lambda member: _try(act, member), members or self.members):
            self.refused += refusal

    def wait_staged(self) -> None:
        """Wait until every VM rests with what it should carry."""
        wait_until(lambda: not self.list_unstaged(), lambda: 'unstaged: %r' % (
            [(member.uuid, self.world.args(member.ref), member.value)
             for member in self.list_unstaged()][:3],), PATIENCE_SECONDS)

    def list_unstaged(self) -> List[Member]:
        """The VMs that do not carry yet what they should."""
        return [member for member in self.members if self.world.args(member.ref) != member.value]

    def begin_wave(self) -> Dict[str, Optional[str]]:
        """From now on boots count; what each VM carries now, by ref."""
        self.world.xapi.state.hypervisor.boots.clear()
        self.world.xapi.state.hypervisor.cutoffs.clear()
        return {member.ref: self.world.args(member.ref) for member in self.members}

    def end_wave(self, kind: str, promised: Dict[str, Optional[str]],
                 allowed: Callable[[Member], Set[Optional[str]]] = lambda member: set()) -> None:
        """Hold each boot against its promise, and against what was said of it.

        Two kinds of boots without their desired arguments are counted, and must be told: those
        of a VM that was started again before it could be staged, with the old arguments, whole
        (`pending`), and those of a VM whose key was absent when its start began (`missing`).
        """
        boots = self.world.xapi.boots
        self.boots[kind] = self.boots.get(kind, 0) + len(boots)
        members = {member.ref: member for member in self.members}
        last = {boot.ref: boot for boot in boots}
        for boot in boots:
            if not (boot.args == promised[boot.ref] or boot.args in allowed(members[boot.ref])):
                self.wrong.append(Wrong(kind, boot.args, promised[boot.ref], ''))
        self._find_blocks(kind)
        awaited = {(boot.vm_uuid, boot.domid): boot for boot in last.values()}
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._take_lines() or awaited.keys() <= self._said.keys(), '',
                       RECEIPT_SECONDS)
        # A VM that boots all the time has a line a minute (P30); and who was killed before it none.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._take_lines() or self._recall(awaited)
                       or awaited.keys() <= self._said.keys(), '', PATIENCE_SECONDS)
        silent = [boot for domain, boot in awaited.items() if domain not in self._said]
        if silent:
            path = keep(self.world, 'unreported-%d.log' % len(self.unreported), silent)
            sys.stderr.write('%d boots of %d not told: %s\n' % (len(silent), len(awaited), path))
        for domain, boot in awaited.items():
            self._judge(kind, boot, self._said.pop(domain, None), members)
        self._said.clear()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def take_last_lines(self) -> None:
        """This run of the daemon has ended, and all that it said has been read."""
        self._take_lines()
        self._runs += 1

    def _judge(self, kind: str, boot: Any, said: Optional[Dict[str, Any]],
               members: Dict[str, Member]) -> None:
        """What was said must be what QEMU really got."""
        took = find_span(boot.qemu_arguments)
        if said is None:
            self.unreported.append(Wrong(kind, boot.args, None, 'nothing'))
        elif said['verdict'] != 'unverified' and (
                said['found'] != took
                or (said['verdict'] == 'as_desired') != (said['found'] == said['desired'])
                or not self._is_told(kind, took, said['verdict'], members[boot.ref])):
            self.unreported.append(Wrong(kind, boot.args, said['desired'], str(said)))

    def _is_told(self, kind: str, took: Optional[str], verdict: str, member: Member) -> bool:
        """Count a boot that went without what was desired; whether its verdict says so."""
        if kind == RESTART and took != member.span:
            self.outrun += 1
            return verdict == 'pending'
        if kind == KEYLESS and took is None:
            self.bare += 1
            return verdict == 'missing'
        return True

    def _find_blocks(self, kind: str) -> None:
        """Nothing of ours keeps a VM from starting, ever (P7)."""
        for member in self.members:
            blocks = self.world.xapi.vm(member.ref)['blocked_operations']
            if blocks:
                self.wrong.append(Wrong(kind, None, None, 'blocked: %r' % blocks))

    def _take_lines(self) -> None:
        lines = self.world.daemon.lines
        if lines is not self._lines:
            self._lines, self._read_lines = lines, 0
        for line in lines[self._read_lines:]:
            self._read_lines += 1
            if line.get('event') == 'vm.booted':
                self._hear(line)

    def _hear(self, line: Dict[str, Any]) -> None:
        """P20: exactly one line; the next daemon may tell a boot again of which it finds no receipt.
        """
        domain = line['vm_uuid'], line['domid']
        if self._told.get(domain) == self._runs:
            self.unreported.append(Wrong('told twice', line['found'], line['desired'], str(line)))
        self.repeated += domain in self._told
        self._told[domain] = self._runs
        self.unsaid.discard(domain)
        self._said[domain] = line

    def _recall(self, awaited: Dict[Tuple[str, int], Any]) -> None:
        """Take the receipt for the line, where there is no line."""
        with Journal(self.world.registry.journal_path, timeout_seconds=5.0) as journal:
            for vm_uuid, domid in set(awaited) - set(self._said):
                for boot in journal.list_boots(vm_uuid, 3):
                    if boot.domid == domid and boot.verdict:
                        self._said[(vm_uuid, domid)] = boot._asdict()
                        self.unsaid.add((vm_uuid, domid))

    def _register(self, count: int) -> None:
        refs = [self.world.create_vm('storm-%d' % number, args=FOREIGN)
                for number in range(count)]
        with self.world.registry.edit(who='test', command='register-vm') as edit:
            for ref in refs:
                uuid = self.world.uuid(ref)
                self.members.append(Member(ref, uuid, edit.add_vm(uuid).vm_id))


def find_span(arguments: Sequence[str]) -> Optional[str]:
    """Our device among the arguments of a QEMU, as an independent witness reads them."""
    spans = ['-device ' + value for word, value in zip(arguments, arguments[1:])
             if word == '-device' and value.startswith(DEVICE)]
    return ' '.join(spans) or None


def write_reader(world: World) -> None:
    """Put a quicker xenstore-read in the place of the simulator's."""
    path = os.path.join(world.host_directory, 'bin', 'xenstore-read')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(_READER % os.path.join(world.host_directory, 'xenstore'))
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


def _try(act: Callable[[Member], Any], member: Member) -> int:
    try:
        act(member)
        return 0
    except (Failure, XapiGone):
        return 1
