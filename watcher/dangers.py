"""What cannot be prevented and must be seen: numbers that run twice, or will; moves of our device.

XAPI holds nothing up for our sake, and we hold up nothing ourselves: a VM held back by a
forgotten fence is worse than one that starts wrong and says so. So these are told, in the log by
the daemon and by `vgpu-admin scan-vms`, each with its remedy in docs/troubleshooting.md.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import Iterable, List, NamedTuple, Optional, Tuple

from watcher.records import Kind, PowerState, VmRecord

_RUNNING = (PowerState.RUNNING, PowerState.PAUSED)
_MOVES = frozenset(['pool_migrate', 'migrate_send'])


class DangerKind(enum.Enum):
    """What threatens."""
    NUMBER_RUNS_TWICE = 'number_runs_twice'
    """The QEMUs of two VMs carry one number at the same time."""
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


def find_dangers(vm: VmRecord, vm_id: Optional[int], carriers: Iterable[VmRecord],
                 owner: Optional[str]) -> Tuple[Danger, ...]:
    """What threatens a VM that carries this number.

    A VM that does not rest carries what its QEMU was started with: nobody writes to it.
    `carriers` are the ordinary VMs that carry the number, `owner` is the VM whose row has it.
    """
    if vm_id is None or vm.kind is not Kind.VM:
        return ()
    found: List[Danger] = []
    if vm.power_state in _RUNNING:
        others = tuple(sorted(other.uuid for other in carriers
                              if other.uuid != vm.uuid and other.power_state in _RUNNING))
        if others:
            found.append(Danger(DangerKind.NUMBER_RUNS_TWICE, vm_id, others))
    if vm.power_state is PowerState.SUSPENDED and owner not in (None, vm.uuid):
        found.append(Danger(DangerKind.RESUMES_WITH_ANOTHERS_NUMBER, vm_id, (str(owner),)))
    if vm.operation_names & _MOVES and vm.power_state is not PowerState.HALTED:
        found.append(Danger(DangerKind.MIGRATES_WITH_DEVICE, vm_id))
    return tuple(found)
