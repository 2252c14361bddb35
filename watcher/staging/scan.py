"""What follows from a scan: every VM is compared with the registry, some at a time (P25).

The reading is one call, made by a job (`jobs.read_scan`). Going through thousands of records
takes tens of milliseconds; so it goes a few at a time, and takes what came into the inbox in
between: a VM that starts meanwhile waits no longer than one slice.
"""

import collections
from typing import (Any, Callable, Counter, Dict, Generator, List, Mapping, NamedTuple, Optional,
                    Set, Tuple)

from registry.values import clean_name
from watcher.staging.jobs import Scan
from watcher.staging.stager import Staging
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.vm.plan import State
from watcher.vm.record import VmKind, VmRecord

# How long the daemon stays with it at a stretch.
SLICE_SECONDS = 0.002
NO_POOL = '-'


class Summary(NamedTuple):
    """How many VMs are in each state, in all and per vGPU pool."""
    states: Mapping[str, int]
    pools: Mapping[str, Mapping[str, int]]


class Scanned(NamedTuple):
    """What a scan has found."""
    vms: int
    summary: Summary
    differing: int
    """How many were not as events had shown, and are read again."""
    renamed: int
    began_at: float


class Scanning:
    """Goes through the records of one scan at a time."""

    def __init__(self, view: RegistryView, inventory: Inventory, staging: Staging,
                 permit: WritePermit, *, review: Callable[[str, float], None],
                 reread: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._view = view
        self._inventory = inventory
        self._staging = staging
        self._review = review
        self._reread = reread
        self._permit = permit
        self._clock = clock
        self._walk: Optional[Generator[None, None, Scanned]] = None

    @property
    def is_under_way(self) -> bool:
        """Whether there are records still to be gone through."""
        return self._walk is not None

    def begin(self, scan: Scan) -> None:
        """Take a scan; `advance` goes through it."""
        self._walk = self._go_through(scan)

    def advance(self) -> Optional[Scanned]:
        """Go on for one slice; what was found, when that was the last."""
        until = self._clock() + SLICE_SECONDS
        while self._walk is not None:
            try:
                next(self._walk)
            except StopIteration as end:
                self._walk = None
                found: Scanned = end.value
                return found
            if self._clock() >= until:
                break
        return None

    def _go_through(self, scan: Scan) -> Generator[None, None, Scanned]:
        known: Set[str] = {error.ref for error in scan.malformed}
        uuids: Set[str] = set()
        counts: Counter[Tuple[str, State]] = collections.Counter()
        differing, renamed, names = 0, {}, self._view.names
        for vm in scan.vms:
            known.add(vm.ref)
            differing += self._compare(vm)
            if vm.kind is VmKind.VM:
                uuids.add(vm.uuid)
                self._count(vm, counts)
                if is_renamed(vm, names):
                    renamed[vm.uuid] = vm.name
            yield
        for ref in [vm.ref for vm in self._inventory.vms if vm.ref not in known]:
            self._reread(ref)
            differing += 1
        yield
        # Whatever kept a VM from being looked at in its time: here it ends (P25).
        for ref in (yield from self._order()):
            self._review(ref, self._clock())
            yield
        self._count_vanished(uuids, counts)
        yield
        return Scanned(len(scan.vms), sum_up(counts), differing, self._rename(renamed),
                       scan.began_at)

    def _compare(self, vm: VmRecord) -> bool:
        """Read a VM again that is not as events have shown it."""
        ref = vm.ref
        differs = ref not in self._staging.busy and (
            self._inventory.find(ref) != vm or ref in self._inventory.aside)
        if differs:
            self._reread(ref)
        return differs

    def _order(self) -> Generator[None, None, List[str]]:
        """Those first that start, then those that rested longest."""
        keys: List[Tuple[Tuple[bool, float], str]] = []
        now = self._clock()
        for vm in tuple(self._inventory.vms):
            keys.append((self._inventory.precedence_of(vm, now), vm.ref))
            yield
        keys.sort()
        yield
        return [ref for _precedence, ref in keys]

    def _count(self, vm: VmRecord, counts: Any) -> None:
        plan = self._staging.planner.assess(vm)
        if plan is not None:
            assignment = self._view.assignments.get(vm.uuid)
            counts[assignment.pool_id if assignment else NO_POOL, plan.state] += 1

    def _count_vanished(self, uuids: Set[str], counts: Any) -> None:
        """Rows whose VM is gone."""
        for item in self._view.assignments.values() if self._view.is_available else ():
            if item.vm_uuid not in uuids:
                counts[item.pool_id, State.ORPHANED] += 1

    def _rename(self, names: Dict[str, str]) -> int:
        """Bring the names in the registry up to date; how many were not."""
        if not (names and self._view.is_accepted and self._permit.may_write):
            return 0
        return self._view.rename(names)


def sum_up(counts: Mapping[Tuple[str, State], int]) -> Summary:
    """Sum up what was counted by vGPU pool and state."""
    pools: Dict[str, Dict[str, int]] = {}
    states: Dict[str, int] = {}
    for (pool_id, state), number in counts.items():
        pools.setdefault(pool_id, {})[state.value] = number
        states[state.value] = states.get(state.value, 0) + number
    return Summary(states, pools)


def is_renamed(vm: VmRecord, names: Mapping[str, Optional[str]]) -> bool:
    """Whether a registered VM is called otherwise in XAPI."""
    return vm.uuid in names and names[vm.uuid] != clean_name(vm.name)
