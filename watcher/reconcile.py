"""The scan: all VMs as XAPI has them, held against the registry (P25).

The reading is one call, made by a worker (`jobs.read_scan`); what follows from it is here.

Pure: no clock, no I/O, no logging.
"""

from typing import Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from registry.values import clean_name
from watcher.plan import Assignment, Plan, State
from watcher.records import VmRecord

NO_POOL = '-'


class Summary(NamedTuple):
    """How many VMs are in each state, in all and per vGPU pool."""
    states: Mapping[str, int]
    pools: Mapping[str, Mapping[str, int]]


def summarise(plans: Iterable[Tuple[Plan, Optional[Assignment]]],
              vanished: Iterable[Assignment]) -> Summary:
    """Count the plans' states; a row whose VM is gone counts as orphaned."""
    pools: Dict[str, Dict[str, int]] = {}
    for plan, assignment in plans:
        _count(pools, assignment.pool_id if assignment else NO_POOL, plan.state)
    for assignment in vanished:
        _count(pools, assignment.pool_id, State.ORPHANED)
    states: Dict[str, int] = {}
    for counts in pools.values():
        for state, number in counts.items():
            states[state] = states.get(state, 0) + number
    return Summary(states, pools)


def find_renamed(vms: Iterable[VmRecord], names: Mapping[str, Optional[str]]) -> Dict[str, str]:
    """The new names of registered VMs that were renamed in XAPI, by UUID."""
    return {vm.uuid: vm.name for vm in vms
            if vm.uuid in names and names[vm.uuid] != clean_name(vm.name)}


def _count(pools: Dict[str, Dict[str, int]], pool_id: str, state: State) -> None:
    counts = pools.setdefault(pool_id, {})
    counts[state.value] = counts.get(state.value, 0) + 1
