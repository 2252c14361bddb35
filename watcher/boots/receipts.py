"""Receipts: follows the boots of VMs and has the last word on each.

Between the records (`boot.py` says what they mean), the host that runs the VM (`host.py` says
what it really runs) and the journal, where open boots survive a restart of the daemon. Every
boot of a registered VM ends in exactly one line `vm.booted`. Of a VM that only carries our
arguments, and of one that got its row while it ran, there is a quiet receipt: what it found is
what the VM has (P6).
"""

from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from registry.journal.journal import Boot, Journal
from registry.sqlite.timestamps import parse_timestamp, render_timestamp
from watcher.boots.host import Host
from watcher.boots.inspection import inspect_domain
from watcher.boots.newest_boots import NewestBoots
from watcher.boots.other_hosts import OtherHosts
from watcher.loop.steps import TURN, Steps
from watcher.runtime.line_damper import Damper
from watcher.runtime.logs import get_logger
from watcher.vm.boot import (GOOD_VERDICTS, BootFinding, BootKind, Sign, Track, Verdict, follow,
                             is_understood, judge, resume_track)
from watcher.vm.record import VmRecord
from watcher.xapi.client import Client
from watcher.xapi.plugin_protocol import InspectionRequest

# So long more than five boots of a VM are lines of one kind.
_BOOTS_SECONDS = 60.0
# So many domains of a VM are remembered: a xapi that crashed may show an older one for a moment.
_DOMAINS_KEPT = 4


class Inspected(NamedTuple):
    """What the host showed of one domain."""
    vm_uuid: str
    domain: Tuple[str, int]
    finding: BootFinding


_NOT_HERE = BootFinding(is_readable=False, problem='this host cannot look where the VM runs')
_GONE = BootFinding(is_readable=False, problem='the host has booted since')


class _Open:
    """A boot without a verdict: its number in the journal (once written), and when it began."""

    def __init__(self, boot: Boot, began: float, number: Optional[int] = None) -> None:
        self.boot = boot
        self.began = began
        self.number = number

    def write(self, journal: Journal) -> None:
        """Write what is known by now."""
        if self.number is None:
            self.number = journal.open_boot(self.boot)
        else:
            self.number = journal.write_boot(self.number, self.boot)


class Receipts:
    """The tracks of all VMs, the boots under way, and those that wait to be looked at."""

    def __init__(self, *, inspect: Callable[[Callable[[], Steps[Inspected]]], None],
                 write: Callable[[Callable[[Journal], None]], None],
                 clock: Callable[[], float], wall: Callable[[], float],
                 say: Callable[[Callable[[], None]], None] = lambda line: line()) -> None:
        self._submit = inspect
        self._write = write
        self._say = say
        self._clock = clock
        self._wall = wall
        self._tracks: Dict[str, Track] = {}
        self._recalled: Dict[str, Optional[Tuple[str, int]]] = {}
        """Of VMs whose boot an earlier daemon left open: the domain that runs now."""
        self._seen: Dict[str, Tuple[Tuple[str, int], ...]] = {}
        self._ended: Set[str] = set()
        """VMs whose domain was watched to its end: the next one is new, whatever its number."""
        self._held_back: Optional[List[Tuple[Any, ...]]] = None
        self._past: Dict[str, Track] = {}
        self.newest = NewestBoots()
        self._under_way: Dict[str, _Open] = {}
        self._arrived: Dict[Tuple[str, str, int], _Open] = {}
        self._host: Optional[Host] = None
        self._other_hosts: Optional[OtherHosts] = None
        self._local_host: Optional[str] = None
        self._is_member = False
        self._boot_id = ''
        self._names: FrozenSet[str] = frozenset()
        # A VM that boots again and again: its receipts are all kept (P30).
        self._lines = Damper(_BOOTS_SECONDS)

    def attend(self, host: Optional[Host], local_host: Optional[str], names: FrozenSet[str],
               other_hosts: Optional[OtherHosts] = None, *, is_member: bool = False) -> None:
        """From now on domains on `local_host` are inspected by `host`, others by `other_hosts`.

        On a member the master verifies what boots elsewhere.
        """
        self._other_hosts = other_hosts
        self._is_member = is_member
        self._names = names
        self._host = host if host is not None and host.is_available else None
        self._local_host = local_host
        boot_id = self._host.read_boot_id() if self._host is not None else ''
        if boot_id != self._boot_id:
            self._seen.clear()
        self._boot_id = boot_id

    def hold_back(self) -> None:
        """Keep the records until it is known, or cannot be, what an earlier daemon has told."""
        self._held_back = []

    def go_on(self) -> None:
        """Take the records that were held back, in their order."""
        held_back, self._held_back = self._held_back, None
        for record in held_back or ():
            self.note_record(*record)

    def recall(self, journal: Journal, local_host: Optional[str]) -> None:
        """Take up what an earlier daemon knew: the last domain of each VM, and open boots."""
        # What no daemon of ours has written is left out.
        for boot in filter(is_understood, journal.last_boots().values()):
            vm_uuid = boot.vm_uuid
            if self.newest.find(vm_uuid) is None:
                self.newest.note(boot)
            track = self._past[vm_uuid] = self._recall_track(boot, local_host)
            if track.domain is not None and boot.closed_at:
                self._note_seen(vm_uuid, track.domain)
        for boot in filter(is_understood, journal.open_boots()):
            opened = _Open(boot, self._guess_beginning(boot), boot.id)
            if boot.domid is not None and self._is_of_earlier_host_boot(boot, local_host):
                self._conclude(opened, _GONE, frozenset())
            elif boot.host is not None and boot.domid is not None:
                domain = boot.host, boot.domid
                if not self._note_seen(boot.vm_uuid, domain):
                    self._close(opened)  # told meanwhile: the journal was locked for long
                    continue
                self._recalled[boot.vm_uuid] = domain
                self._await_inspection(opened, self._build_check(boot.vm_uuid, domain))
            else:
                self._under_way[boot.vm_uuid] = opened
                before = self._past.get(boot.vm_uuid, resume_track(None))
                self._past[boot.vm_uuid] = resume_track(
                    before.domain, BootKind(boot.kind), boot.task)

    def doubt(self) -> None:
        """The stream was interrupted: how the next new domains came up was not watched."""
        self._ended.clear()
        for ref, track in self._tracks.items():
            self._tracks[ref] = track._replace(is_certain=False)

    def note_record(self, vm: VmRecord, desired: Optional[str], carried: Optional[str],
                    is_registered: bool, had_ours: bool = False) -> None:
        """Take the next record of an ordinary VM.

        `had_ours` when our arguments were removed from it: a start of which nothing was seen, since
        xapi was restarted meanwhile, may have taken them.
        """
        if self._held_back is not None:
            self._held_back.append((vm, desired, carried, is_registered, had_ours))
            return
        before = self._tracks.get(vm.ref)
        if before is None:
            before = self._past.pop(vm.uuid, Track())
        track, sign, kind = follow(before, vm)
        self._tracks[vm.ref] = track
        if before.is_certain and before.domain is not None and track.domain is None:
            self._ended.add(vm.uuid)
        if vm.is_at_rest:
            self.newest.note_rest(vm.uuid)
        if vm.uuid in self._recalled:
            self._recalled[vm.uuid] = vm.domain
        is_wanted = is_registered or carried is not None or had_ours
        if sign is Sign.UNDER_WAY and is_wanted and vm.uuid not in self._under_way:
            self._begin(vm, kind, desired, carried, quiet=not is_registered)
        elif sign is Sign.ARRIVED and (is_wanted or vm.uuid in self._under_way):
            self._arrive(vm, kind, desired, carried, quiet=not is_registered)
        elif sign is Sign.GIVEN_UP:
            self._give_up(vm.uuid)
        elif is_wanted and track.domain is not None and track.domain == vm.domain:
            self._attend_running(vm, carried)

    def _attend_running(self, vm: VmRecord, carried: Optional[str]) -> None:
        """Look at what runs in a domain that was none of our business when it came up."""
        last = self.newest.find(vm.uuid)
        if (last is None or (last.host, last.domid) != vm.domain) \
                and (vm.uuid,) + (vm.domain or ()) not in self._arrived:
            self._arrive(vm, BootKind.UNKNOWN, None, carried, quiet=True)

    def note_gone(self, vm: VmRecord, *, is_replaced: bool = False) -> None:
        """The VM does not exist any more; a boot that arrived still has its line.

        One that another record has replaced (an import under the same UUID) may be coming up.
        """
        self._tracks.pop(vm.ref, None)
        if is_replaced:
            return
        self._seen.pop(vm.uuid, None)
        self._ended.discard(vm.uuid)
        self.newest.forget(vm.uuid)
        if vm.uuid in self._recalled:
            self._recalled[vm.uuid] = None
        self._give_up(vm.uuid)

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """The first batch names every VM: boots of others that were under way came to nothing."""
        for vm_uuid in set(self._under_way) - known:
            self._give_up(vm_uuid)

    def note_rescued(self, vm_uuid: str) -> None:
        """The boot under way, or just arrived, had its args written after its start was seen."""
        under_way = self._under_way.get(vm_uuid)
        for opened in [under_way] if under_way is not None else self._list_arrived(vm_uuid)[-1:]:
            opened.boot = opened.boot._replace(rescued=True)
            self._write(opened.write)

    def note_looked(self, looked: Inspected, staged: FrozenSet[str]) -> None:
        """The host has shown what runs: judge, record, tell.

        It is compared with what was desired when the QEMU came up: a later edit waits.
        """
        opened = self._arrived.pop((looked.vm_uuid,) + looked.domain, None)
        if opened is None:
            return
        self._conclude(opened, looked.finding, staged)

    def _conclude(self, opened: _Open, finding: BootFinding, staged: FrozenSet[str]) -> None:
        boot = opened.boot
        if boot.verdict is not None and not finding.is_readable:
            # It is over; vgpu-admin, which started it while no daemon ran, had looked.
            finding, verdict = BootFinding(boot.found), Verdict(boot.verdict)
        else:
            expected = boot.carried if boot.quiet else boot.desired
            verdict = judge(BootKind(boot.kind), expected, staged, finding)
        boot = opened.boot = boot._replace(
            closed_at=self._now_text(), found=finding.found, verdict=verdict.value,
            elapsed_ms=int((self._clock() - opened.began) * 1000))
        self.newest.note(boot)
        self._write(opened.write)
        if not boot.quiet or verdict is Verdict.WITHHELD:
            is_the_masters = self._is_member and boot.host != self._local_host
            if self._lines.admit(boot.vm_uuid, self._clock()):
                is_well = verdict in GOOD_VERDICTS or is_the_masters
                self._say(lambda: _tell(boot, verdict, finding, is_well=is_well))

    def _begin(self, vm: VmRecord, kind: BootKind, desired: Optional[str],
               carried: Optional[str], *, quiet: bool) -> _Open:
        opened = _Open(self._build(vm, kind, desired, carried, quiet), self._clock())
        self._under_way[vm.uuid] = opened
        self._write(opened.write)
        return opened

    def _arrive(self, vm: VmRecord, kind: BootKind, desired: Optional[str],
                carried: Optional[str], *, quiet: bool) -> None:
        domain = vm.domain or ('', -1)
        if not self._note_seen(vm.uuid, domain) and vm.uuid not in self._ended:
            self.newest.note_again(vm.uuid, domain)
            return
        self._ended.discard(vm.uuid)
        opened = (self._under_way.get(vm.uuid)
                  or self._begin(vm, kind, desired, carried, quiet=quiet))
        del self._under_way[vm.uuid]
        opened.boot = opened.boot._replace(
            kind=kind.value, host=domain[0], domid=domain[1], carried=carried, desired=desired,
            vm_name=vm.name, boot_id=self._boot_id if domain[0] == self._local_host else '',
            quiet=quiet and opened.boot.quiet)
        self.newest.note(opened.boot)
        self._write(opened.write)
        self._await_inspection(opened, lambda: self._is_running(vm.ref, domain))

    def _note_seen(self, vm_uuid: str, domain: Tuple[str, int]) -> bool:
        """Remember a domain of our own host; False when it was seen before.

        The database of a xapi that crashed is older than what it has shown: until xenopsd tells,
        a VM may seem to run in the domain before. Numbers of domains hardly come again while this
        host runs; of other hosts we do not know for how long they have.
        """
        seen = self._seen.get(vm_uuid, ())
        if domain[0] == self._local_host and domain not in seen:
            self._seen[vm_uuid] = (seen + (domain,))[-_DOMAINS_KEPT:]
        return domain not in seen

    def _list_arrived(self, vm_uuid: str) -> List[_Open]:
        return [opened for key, opened in self._arrived.items() if key[0] == vm_uuid]

    def _await_inspection(self, opened: _Open, is_running: Callable[[], bool]) -> None:
        boot = opened.boot
        domain = (boot.host or '', -1 if boot.domid is None else boot.domid)
        self._arrived[(boot.vm_uuid,) + domain] = opened
        is_here = domain[0] == self._local_host
        elsewhere = None if is_here or not domain[0] else self._other_hosts
        inspector = _Inspector(self._host if is_here else None, self._names, boot.vm_uuid, domain,
                               is_running)
        if elsewhere is None:
            self._submit(inspector.inspect)
        else:
            elsewhere.callers.submit(lambda client: inspector.ask(client, elsewhere))

    def _is_running(self, ref: str, domain: Tuple[str, int]) -> bool:
        track = self._tracks.get(ref)
        return track is not None and track.domain == domain

    def _build_check(self, vm_uuid: str, domain: Tuple[str, int]) -> Callable[[], bool]:
        """Whether a boot of before may still run: until its VM was seen, it may.

        After a kill in a storm there are hundreds, and most are gone: waiting for each would keep
        those that run from being looked at.
        """
        return lambda: self._recalled.get(vm_uuid) == domain

    def _give_up(self, vm_uuid: str) -> None:
        """The boot did not happen: no line, and a receipt without a verdict."""
        opened = self._under_way.pop(vm_uuid, None)
        if opened is not None:
            self._close(opened)

    def _close(self, opened: _Open) -> None:
        opened.boot = opened.boot._replace(closed_at=self._now_text())
        self._write(opened.write)

    def _build(self, vm: VmRecord, kind: BootKind, desired: Optional[str],
               carried: Optional[str], quiet: bool) -> Boot:
        task = self._tracks[vm.ref].task
        return Boot(id=0, vm_uuid=vm.uuid, vm_name=vm.name, kind=kind.value, host=None,
                    domid=None, boot_id=None, task=task, opened_at=self._now_text(),
                    desired=desired, carried=carried, quiet=quiet)

    def _recall_track(self, boot: Boot, local_host: Optional[str]) -> Track:
        if boot.domid is None or boot.host is None \
                or self._is_of_earlier_host_boot(boot, local_host):
            return resume_track(None)
        return resume_track((boot.host, boot.domid), task=boot.task)

    def _is_of_earlier_host_boot(self, boot: Boot, local_host: Optional[str]) -> bool:
        return bool(boot.host == local_host and self._boot_id and boot.boot_id
                    and boot.boot_id != self._boot_id)

    def _guess_beginning(self, boot: Boot) -> float:
        try:
            opened_at = parse_timestamp(boot.opened_at)
        except ValueError:
            return self._clock()
        # Not before the host booted, whatever a clock that was wrong has written there.
        return max(0.0, self._clock() - max(0.0, self._wall() - opened_at))

    def _now_text(self) -> str:
        return render_timestamp(self._wall())


class _Inspector:
    """Reads what one domain runs with: here, or where it runs."""

    def __init__(self, host: Optional[Host], names: FrozenSet[str], vm_uuid: str,
                 domain: Tuple[str, int], is_running: Callable[[], bool]) -> None:
        self._host = host
        self._is_running = is_running
        self._names = names
        self._vm_uuid = vm_uuid
        self._domain = domain

    def inspect(self) -> Steps[Inspected]:
        """Look here, and say what was found."""
        yield TURN  # before a program is started, what starting VMs wait for is sent
        finding = _NOT_HERE
        if self._host is not None:
            finding = yield from inspect_domain(self._host, self._names, self._domain[1],
                                                self._is_running)
        return Inspected(self._vm_uuid, self._domain, finding)

    def ask(self, client: Client, other_hosts: OtherHosts) -> Steps[Inspected]:
        """Ask the host where it runs."""
        finding = _NOT_HERE
        if self._is_running():
            finding = yield from other_hosts.inspect(client, self._domain[0], InspectionRequest(
                self._domain[1], self._vm_uuid, self._names))
        return Inspected(self._vm_uuid, self._domain, finding)


def _tell(boot: Boot, verdict: Verdict, finding: BootFinding, *, is_well: bool) -> None:
    log = get_logger()
    say = log.info if is_well else log.warning
    fields = dict(vm_uuid=boot.vm_uuid, vm_name=boot.vm_name, kind=boot.kind, domid=boot.domid,
                  desired=boot.desired, carried=boot.carried, found=boot.found,
                  verdict=verdict.value, rescued=boot.rescued, elapsed_ms=boot.elapsed_ms)
    if finding.problem:
        fields['problem'] = finding.problem
    say('vm.booted', **fields)
