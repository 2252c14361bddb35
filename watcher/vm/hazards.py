"""What cannot be prevented and must be seen: numbers that run twice, or will; moves of our device.

XAPI holds nothing up for our sake, and we hold up nothing ourselves. So these are told, in the log
by the daemon and by `vgpu-admin scan-vms`, each with its remedy in docs/troubleshooting.md.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import Callable, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from watcher.vm.record import PowerState, VmKind, VmRecord

_RUNNING = (PowerState.RUNNING, PowerState.PAUSED)
_MOVES = frozenset(['pool_migrate', 'migrate_send'])


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
    """UUIDs of the VMs that have the number too."""


def find_dangers(vm: VmRecord, numbers: FrozenSet[int],
                 list_having: Callable[[int], Iterable[VmRecord]],
                 find_owner: Callable[[int], Optional[str]]) -> Tuple[Danger, ...]:
    """What threatens a VM that has these numbers.

    `list_having` gives the ordinary VMs that have a number, `find_owner` the VM whose row has it.
    """
    found: List[Danger] = []
    for vm_id in sorted(numbers) if vm.kind is VmKind.VM else ():
        others = [other for other in list_having(vm_id) if other.uuid != vm.uuid]
        owner = find_owner(vm_id)
        found += _find_doubled(vm, vm_id, others, owner)
        if vm.power_state is PowerState.SUSPENDED and owner not in (None, vm.uuid):
            found.append(Danger(DangerKind.RESUMES_WITH_ANOTHERS_NUMBER, vm_id, (str(owner),)))
        if vm.operation_names & _MOVES and vm.power_state is not PowerState.HALTED:
            found.append(Danger(DangerKind.MIGRATES_WITH_DEVICE, vm_id))
    return tuple(found)


def _find_doubled(vm: VmRecord, vm_id: int, others: Sequence[VmRecord],
                  owner: Optional[str]) -> List[Danger]:
    """Others that run with the number too, or will when they are started.

    What a row's number is doubled by is a copy or contested: the state of the VM says so.
    """
    running = tuple(sorted(other.uuid for other in others if other.power_state in _RUNNING))
    if running and vm.power_state in _RUNNING:
        return [Danger(DangerKind.NUMBER_RUNS_TWICE, vm_id, running)]
    if others and owner is None:
        return [Danger(DangerKind.NUMBER_BORNE_TWICE, vm_id,
                       tuple(sorted(other.uuid for other in others)))]
    return []
