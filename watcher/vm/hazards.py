"""What cannot be prevented and must be seen: numbers that run twice, or will; moves of our device.

XAPI holds nothing up for our sake, and we hold up nothing ourselves. So the daemon reports these in
its log, and `vgpu-admin scan-vms` shows them; docs/troubleshooting.md has the remedy of each.

Pure: no clock, no I/O, no logging.
"""

import enum
import itertools
from typing import Callable, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from watcher.vm.record import MIGRATIONS, PowerState, VmKind, VmRecord

# So many others are named: of clones of one template there may be hundreds.
OTHERS_AT_MOST = 10


class DangerKind(enum.Enum):
    """What threatens."""
    NUMBER_RUNS_TWICE = 'number_runs_twice'
    """The QEMUs of two VMs have one number at the same time."""
    NUMBER_BORNE_TWICE = 'number_borne_twice'
    """Two unregistered VMs carry a number that no row has: when both run, it runs twice."""
    RESUMES_WITH_ANOTHERS_NUMBER = 'resumes_with_anothers_number'
    """Suspended: its resume takes the frozen number, which is another VM's; no edit mends it."""
    MIGRATES_WITH_DEVICE = 'migrates_with_device'
    """A device that cannot be migrated, on a VM that is about to be."""


class Danger(NamedTuple):
    """One of them, for one VM."""
    kind: DangerKind
    vm_id: int
    others: Tuple[str, ...] = ()
    """UUIDs of the VMs that have the number too, `OTHERS_AT_MOST` of them."""
    others_count: int = 0
    """How many have it too."""

    @property
    def key(self) -> Tuple[DangerKind, int, Optional[str]]:
        """What makes it another danger; one VM more that has the number says so itself."""
        is_resume = self.kind is DangerKind.RESUMES_WITH_ANOTHERS_NUMBER
        return self.kind, self.vm_id, self.others[0] if is_resume else None


class Having(NamedTuple):
    """The ordinary VMs that have a number, or may have it, by UUID; in order."""
    all: Tuple[str, ...]
    running: Tuple[str, ...]


def build_having(vms: Iterable[VmRecord]) -> Having:
    """Sum up the VMs that have a number: once for all of them."""
    states = sorted((vm.uuid, vm.is_up) for vm in vms)
    return Having(tuple(uuid for uuid, _runs in states),
                  tuple(uuid for uuid, runs in states if runs))


def find_dangers(vm: VmRecord, numbers: FrozenSet[int], find_having: Callable[[int], Having],
                 find_owner: Callable[[int], Optional[str]]) -> Tuple[Danger, ...]:
    """What threatens a VM that has these numbers.

    `find_having` gives who has a number, `find_owner` the VM whose row has it. The cost does not
    depend on how many have it.
    """
    found: List[Danger] = []
    for vm_id in sorted(numbers) if vm.kind is VmKind.VM else ():
        owner = find_owner(vm_id)
        found += _find_doubled(vm, vm_id, find_having(vm_id), owner)
        if vm.power_state is PowerState.SUSPENDED and owner not in (None, vm.uuid):
            found.append(Danger(DangerKind.RESUMES_WITH_ANOTHERS_NUMBER, vm_id, (str(owner),), 1))
        if vm.operation_names & MIGRATIONS and vm.power_state is not PowerState.HALTED:
            found.append(Danger(DangerKind.MIGRATES_WITH_DEVICE, vm_id))
    return tuple(found)


def _find_doubled(vm: VmRecord, vm_id: int, having: Having, owner: Optional[str]) -> List[Danger]:
    """Others that run with the number too, or will when they are started.

    What a row's number is doubled by is a copy or contested: the state of the VM says so.
    """
    running = _name_others(vm, having.running)
    if running and vm.is_up:
        return [Danger(DangerKind.NUMBER_RUNS_TWICE, vm_id, running, len(having.running) - 1)]
    others = _name_others(vm, having.all)
    if others and owner is None:
        return [Danger(DangerKind.NUMBER_BORNE_TWICE, vm_id, others, len(having.all) - 1)]
    return []


def _name_others(vm: VmRecord, uuids: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(itertools.islice((uuid for uuid in uuids if uuid != vm.uuid), OTHERS_AT_MOST))
