"""Compares all VMs of the resource pool with the registry, once: a plan per VM, with its standing.

The daemon's own pure functions decide; this module only lays before them what one command has
read. Nothing is written unless the caller passes a `write` that does.
"""

import contextlib
from typing import (Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional,
                    Sequence, Set, Tuple)

from cli.output.result import VmView
from cli.output.text import name_vm
from cli.output.vm_view import view_record, view_row, view_vanished, vm_document
from cli.queries.daemon_status import find_daemon, read_fought_over
from registry.errors import RegistryError
from registry.journal.journal import Boot, Journal
from registry.journal.numbers import LARGEST_COUNTED, Bearer
from registry.values import Contents, Vm
from watcher.config.policy import build_policy
from watcher.config.settings import Settings
from watcher.errors import XapiError
from watcher.staging.start_blocks import find_taken, list_blocks
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.planner import Planner
from watcher.state.registry_view import RegistryView, build_assignments
from watcher.vm.numbers import find_numbers as read_numbers, is_live
from watcher.vm.plan import Assignment, Plan, Policy, State, list_numbers
from watcher.vm.record import VmKind, VmRecord

# Boots that need no look: a pending change shows as the state of its VM, and a resume or a
# migration keeps what it had.
EXPLAINED = (None, 'as_desired', 'pending', 'frozen')
_WRONG = ('stale', 'missing', 'withheld', 'not_consumed')
START_BLOCKED = 'start_blocked'
FOUGHT_OVER = State.FOUGHT_OVER.value
BOOTED_OTHERWISE = 'booted_otherwise'

Write = Callable[[Callable[[Journal], Any]], None]


class NumbersInXapi(NamedTuple):
    """The numbers that VMs, templates and snapshots have in XAPI."""

    taken: Mapping[int, str]
    """number -> the VM that has it without its row's saying so, in words."""
    largest: int
    """The largest that counts for automatic numbers."""


class PoolView:
    """What the registry, the journal and XAPI say, at one moment."""

    def __init__(self, settings: Settings, contents: Contents, journal: Optional[Journal],
                 vms: Iterable[VmRecord], write: Write = lambda _write: None) -> None:
        self.contents = contents
        self.policy = build_policy(settings, contents.accepted)
        self.view = _build_view(settings, contents, journal)
        self.inventory = Inventory()
        self._boots = dict(journal.last_boots()) if journal else {}
        noted = {item.vm_uuid: item.after
                 for item in journal.replacements()} if journal else {}
        self._fought_over = read_fought_over(settings.registry.path, journal)
        self.number_claims = NumberClaims(self.view, self.inventory, write, self._boots.get)
        self.number_claims.policy = self.policy
        self._planner = Planner(
            self.view, self.number_claims,
            find_left=lambda vm: find_taken(vm, noted),
            is_fought_over=lambda vm: vm.uuid in self._fought_over)
        for vm in vms:
            self.inventory.update(vm, self.policy, 0.0)
        for vm_uuid in self._boots:
            self.number_claims.note_boot(vm_uuid)
        self.number_claims.recall_writes()

    def note_all(self) -> 'PoolView':
        """Take all records as all there are: who is not among them bears nothing any more."""
        self.number_claims.note_all()
        return self

    @property
    def ordinary_vms(self) -> Tuple[VmRecord, ...]:
        """The VMs that are neither templates nor snapshots nor control domains, by name."""
        found = [vm for vm in self.inventory.vms if vm.kind is VmKind.VM]
        return tuple(sorted(found, key=lambda vm: (vm.name, vm.uuid)))

    def list_templates_with_rows(self) -> Tuple[VmRecord, ...]:
        """What has a row and is an ordinary VM no more: its number stays its row's (P10)."""
        return tuple(vm for vm in self.inventory.vms
                     if vm.kind is not VmKind.VM and vm.uuid in self.view.assignments)

    def plan(self, vm: VmRecord) -> Optional[Plan]:
        """What is to be done about the VM; None while its row cannot be read."""
        return self._planner.assess(vm)

    def plan_of(self, vm_uuid: str) -> Optional[Plan]:
        """The same by its UUID; None for a VM that XAPI does not have, too."""
        vm = self.inventory.find_by_uuid(vm_uuid)
        return self.plan(vm) if vm is not None else None

    def list_dangers(self, vm: VmRecord) -> Tuple[str, ...]:
        """What cannot be prevented and must be seen of one VM."""
        found = [danger.kind.value for danger in self._planner.find_dangers(vm)]
        if list_blocks(vm):
            found.append(START_BLOCKED)
        if vm.uuid in self._fought_over:
            found.append(FOUGHT_OVER)
        boot = self.find_boot(vm)
        if boot is not None and boot.verdict in _WRONG:
            found.append(BOOTED_OTHERWISE)
        return tuple(found)

    def find_boot(self, vm: VmRecord) -> Optional[Boot]:
        """The receipt of the domain in which a VM runs."""
        boot = self._boots.get(vm.uuid)
        return boot if boot is not None and vm.domain == (boot.host, boot.domid) else None

    def find_numbers(self, own: FrozenSet[str]) -> NumbersInXapi:
        """Find which numbers are taken in XAPI, and by whom; those of `own` VMs are not (P6)."""
        taken: Dict[int, str] = {}
        for vm in self.ordinary_vms:
            for number in self.number_claims.find_numbers(vm) if vm.uuid not in own else ():
                said = _describe_taken(self.view.assignments.get(vm.uuid), number, is_live(vm))
                if said:
                    taken[number] = f'{name_vm(vm.name, vm.uuid)}, {said}'
        seen = [number for _vm, number in list_numbers(self.inventory.vms, self.policy)
                if number <= LARGEST_COUNTED]
        return NumbersInXapi(taken, max(seen or [0]))

    def bears(self, bearer: Bearer) -> bool:
        """Whether a VM still has the number that the journal knows it by."""
        vm = self.inventory.find_by_uuid(bearer.vm_uuid)
        return vm is not None and (bearer.vm_id == self.inventory.number_of(vm.ref)
                                   or bearer.vm_id in self.number_claims.find_numbers(vm))

    def view_row(self, row: Vm, odd: Mapping[str, str]) -> VmView:
        """A row with its VM, of which `odd` says why its record cannot be understood."""
        vm = self.inventory.find_by_uuid(row.vm_uuid)
        return view_vanished(row, odd.get(row.vm_uuid, '')) if vm is None else \
            view_record(row, vm, self.plan(vm), self.policy.names)

    def list_plans(self) -> Dict[str, Optional[Plan]]:
        """The plans of all ordinary VMs, by UUID."""
        return {vm.uuid: self.plan(vm) for vm in self.ordinary_vms}


def _describe_taken(row: Optional[Assignment], number: int, runs: bool) -> str:
    """Why a number that no row has is a VM's all the same; '' when its own row has it."""
    if row is None:
        return 'which is not registered but ' + ('runs with it' if runs else 'carries it')
    if row.vm_id == number:
        return ''
    return 'which has another number by now and ' + (
        'runs with this one until it is shut down' if runs else
        'carries this one until it is staged')


def find_numbers(context: Any, contents: Contents, vms: Iterable[VmRecord],
                 own: FrozenSet[str]) -> NumbersInXapi:
    """Find which numbers these VMs, all there are, have; those of `own` are not taken."""
    with context.journal() as journal:
        return _view_whole(context, contents, journal, vms).find_numbers(own)


def read_pool(context: Any, contents: Contents) -> PoolView:
    """Read all VMs and hold them against the registry; raises XapiError."""
    vms = context.live().read_vms()
    with context.journal() as journal:
        return _view_whole(context, contents, journal, vms).note_all()


def _view_whole(context: Any, contents: Contents, journal: Optional[Journal],
                vms: Iterable[VmRecord]) -> PoolView:
    """A view of all VMs there are; edits of this run go by it, and not by what was noted earlier.

    A daemon may have noted more than was read here, and goes on to.
    """
    pool = PoolView(context.settings, contents, journal, vms)
    bearers = tuple(journal.bearers().values()) if journal is not None else ()
    if bearers and not context.live().odd and find_daemon(context.registry.path) is None:
        context.registry.disproven = frozenset(item for item in bearers if not pool.bears(item))
    return pool


def describe_rows(context: Any, rows: Sequence[Vm], after: Sequence[Vm]) -> List[Dict[str, Any]]:
    """Rows as JSON, each with its VM as it is by now where XAPI answers; `after` are all rows."""
    views = [view_row(row) for row in rows]
    if context.is_json:  # people are not shown them
        with contextlib.suppress(XapiError, RegistryError):
            contents, live = context.registry.read()._replace(vms=tuple(after)), context.live()
            with live.hurried():
                pool = read_pool(context, contents)
            views = [pool.view_row(row, live.odd) for row in rows]
    return [vm_document(view) for view in views]


def read_around(context: Any, contents: Contents, vm_uuid: str) -> PoolView:
    """Read what is needed to judge one VM; raises XapiError.

    A daemon that watches has written down who bears which number; without one, only looking at
    all VMs tells.
    """
    if find_daemon(context.settings.registry.path) is None:
        return read_pool(context, contents)
    return read_neighbourhood(context, contents, vm_uuid)


def read_neighbourhood(context: Any, contents: Contents, vm_uuid: str) -> PoolView:
    """Read one VM, and those that the journal knows to bear its number; raises XapiError."""
    live = context.live()
    vm = live.find_vm(vm_uuid)
    policy = build_policy(context.settings, contents.accepted)
    row = contents.by_uuid.get(vm_uuid)
    numbers = {row.vm_id if row else None, policy.number_of(vm) if vm else None} - {None}
    with context.journal() as journal:
        others = _find_having(journal, numbers, policy) if journal else set()
        others |= {item.vm_uuid for item in contents.vms if item.vm_id in numbers}
        found = [vm] + [live.find_vm(uuid) for uuid in sorted(others - {vm_uuid})]
        return PoolView(context.settings, contents, journal,
                        [item for item in found if item is not None])


def _find_having(journal: Journal, numbers: Set[Any], policy: Policy) -> Set[str]:
    """The VMs (UUIDs) that have one of these numbers, or had it, as far as the journal knows."""
    found = {bearer.vm_uuid for bearer in journal.bearers().values() if bearer.vm_id in numbers}
    found |= {staged.vm_uuid for staged in journal.staged().values() if staged.vm_id in numbers}
    return found | {boot.vm_uuid for boot in journal.last_boots().values()
                    if numbers & read_numbers((boot.found, boot.carried, boot.desired), policy)}


def _build_view(settings: Settings, contents: Contents,
                journal: Optional[Journal]) -> RegistryView:
    """What the daemon has in memory, filled from one reading instead of by polling."""
    view = RegistryView(settings.registry.path)
    view.contents, view.unavailable = contents, ''
    view.assignments = build_assignments(contents)
    view.owners = {item.vm_id: uuid for uuid, item in view.assignments.items()}
    view.faulty = frozenset(fault.key for fault in contents.faults)
    if journal is not None:
        view.journal = journal
        view.refresh_claims()
    return view
