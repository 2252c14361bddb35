"""Which hosts a VM may go to while a pool is upgraded host by host, as helpers.ml has it.

The master is upgraded first; until all follow, VMs start on hosts of its version only, and never
move to an older one.
"""

import re
from typing import List

from simulator.state.pool_state import State
from simulator.wire.failures import Failure


def read_version(state: State, host: str) -> List[int]:
    """Return the numbers of a host's xapi."""
    text = str(state.database.read('host', host, 'software_version').get('xapi_build', '0'))
    return [int(word) for word in re.findall('[0-9]+', text)]


def is_like_master(state: State, host: str) -> bool:
    """Ask whether a host has the master's version."""
    return host == state.master or read_version(state, host) == read_version(state, state.master)


def assert_newest(state: State, host: str) -> None:
    """Raise what start_on says of a host that is not upgraded yet."""
    if read_version(state, host) < max(read_version(state, other) for other in state.hosts):
        raise Failure('NOT_SUPPORTED_DURING_UPGRADE')


def assert_not_older(state: State, source: str, target: str, vm: str) -> None:
    """Raise what a migration says of a target that is older than the source."""
    if read_version(state, target) < read_version(state, source):
        raise Failure('VM_HOST_INCOMPATIBLE_VERSION', [target, vm])
