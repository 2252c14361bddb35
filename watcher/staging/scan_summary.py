"""The summary of a scan, and which VMs were renamed (P25).

The reading is one call, made by a job (`jobs.read_scan`); `scan.py` goes through it.

Pure: no clock, no I/O, no logging.
"""

from typing import Dict, Mapping, NamedTuple, Optional, Tuple

from registry.values import clean_name
from watcher.vm.plan import State
from watcher.vm.record import VmRecord

NO_POOL = '-'
# vGPU pool and state.
Count = Tuple[str, State]


class Summary(NamedTuple):
    """How many VMs are in each state, in all and per vGPU pool."""
    states: Mapping[str, int]
    pools: Mapping[str, Mapping[str, int]]


def sum_up(counts: Mapping[Count, int]) -> Summary:
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
