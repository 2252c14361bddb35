"""What the demo asked for, compared with what the simulated QEMUs took.

The ledger is the demo's own table of expectations: it renders the arguments itself and judges
each boot by what the simulator saw. The daemon's receipt is kept beside, and never decides.
"""

import enum
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple


class Verdict(enum.Enum):
    """What the simulator's own view says of a boot."""
    RIGHT = 'right'
    PENDING = 'pending'
    """It took the assignment before, whole: the restart was quicker than the staging."""
    WRONG = 'WRONG'


class Vm(NamedTuple):
    """A VM of the demo; foreign is the text of others in its arguments."""
    ref: str
    uuid: str
    name: str
    foreign: Optional[str] = None


class Assignment(NamedTuple):
    """What the demo had registered for a VM."""
    pool: str
    priority: str
    vm_id: int

    def render(self) -> str:
        """Write the span, as an independent witness."""
        return (f'-device vgpu-stub,pool_id={self.pool},priority={self.priority},'
                f'vm_id={self.vm_id}')


class Expectation(NamedTuple):
    """What the next boot of a VM shall take."""
    kind: str
    args: Optional[str]
    or_else: Optional[str] = None
    """The arguments before a change: complete, so not wrong, where the restart is quick."""
    is_stolen: bool = False
    """The VM brings another's number, with which no QEMU may start."""


class Boot(NamedTuple):
    """What one QEMU took, as the simulator saw it."""
    vm_uuid: str
    name: str
    kind: str
    domid: int
    args: Optional[str]
    qemu_arguments: Tuple[str, ...]


class Entry:
    """One boot in the ledger."""

    def __init__(self, boot: Boot, verdict: Verdict, needs_receipt: bool) -> None:
        self.boot = boot
        self.verdict = verdict
        self.needs_receipt = needs_receipt
        self.receipt = ''


class Ledger:
    """Assignments, expectations, boots and receipts."""

    def __init__(self, *, with_receipts: bool) -> None:
        self._with_receipts = with_receipts
        self.assignments: Dict[str, Assignment] = {}
        self.disabled_pools: List[str] = []
        self.entries: List[Entry] = []
        self.problems: List[str] = []
        self._open: Dict[str, List[Expectation]] = {}

    def desired(self, vm: Vm) -> Optional[str]:
        """Render what a VM shall carry at rest: the text of others, then our span."""
        assignment = self.assignments.get(vm.uuid)
        if assignment is None or assignment.pool in self.disabled_pools:
            return vm.foreign
        return ' '.join(filter(None, (vm.foreign, assignment.render())))

    def expect(self, vm: Vm, kind: str, args: Optional[str],
               or_else: Optional[str] = None) -> None:
        """Expect a boot, before it is asked for."""
        self._open.setdefault(vm.uuid, []).append(Expectation(kind, args, or_else))

    def expect_withheld(self, vm: Vm) -> None:
        """Expect a start of a VM that brings another's number: QEMU gets no device of ours."""
        self._open.setdefault(vm.uuid, []).append(Expectation('start', None, is_stolen=True))

    def is_awaited(self, vm: Vm) -> bool:
        """Ask whether a boot of the VM is still to come."""
        return bool(self._open.get(vm.uuid))

    def add_boot(self, boot: Boot) -> Entry:
        """Judge a boot."""
        entry = Entry(boot, self._judge(boot),
                      self._with_receipts and boot.vm_uuid in self.assignments)
        self.entries.append(entry)
        return entry

    def add_receipt(self, line: Dict[str, Any]) -> None:
        """Put the daemon's receipt beside the boot that it tells of."""
        for entry in self.entries:
            if (entry.boot.vm_uuid, entry.boot.domid) == (line['vm_uuid'], line['domid']) \
                    and not entry.receipt:
                entry.receipt = line['verdict'] + (', rescued' if line['rescued'] else '')
                if entry.verdict is Verdict.PENDING and line['verdict'] == 'as_desired':
                    self.problems.append(f'{entry.boot.name} took what stood there before its '
                                         f'change, and the receipt does not say so')
                return

    @property
    def is_complete(self) -> bool:
        """Ask whether every awaited boot has come, and its receipt."""
        return not any(self._open.values()) and not any(map(self.lacks, self.entries))

    def lacks(self, entry: Entry) -> bool:
        """Ask whether a receipt is still to come."""
        return entry.needs_receipt and not entry.receipt

    def list_without_receipt(self) -> List[Entry]:
        """List the boots whose receipt is still to come."""
        return [entry for entry in self.entries if self.lacks(entry)]

    def count(self, verdict: Verdict) -> int:
        """Count the boots with a verdict."""
        return len([entry for entry in self.entries if entry.verdict is verdict])

    def count_withheld(self, vms: Sequence[Vm]) -> int:
        """Count the boots of VMs whose record carried a device that their QEMU did not get."""
        uuids = [vm.uuid for vm in vms]
        return len([entry for entry in self.entries if entry.boot.vm_uuid in uuids
                    and find_devices((entry.boot.args or '').split())
                    and not find_devices(entry.boot.qemu_arguments)])

    def close(self, names: Dict[str, str]) -> None:
        """Write off what has not come."""
        for uuid, expectations in self._open.items():
            for expectation in expectations:
                self.problems.append(f'{names[uuid]} did not boot ({expectation.kind})')
            del expectations[:]

    def _judge(self, boot: Boot) -> Verdict:
        expectations = self._open.get(boot.vm_uuid)
        if not expectations:
            return Verdict.WRONG
        expected = expectations.pop(0)
        if boot.kind != expected.kind:
            return Verdict.WRONG
        if expected.is_stolen:
            taken = find_devices(boot.qemu_arguments)
            return Verdict.WRONG if taken else Verdict.RIGHT
        if _took(boot, expected.args):
            return Verdict.RIGHT
        if expected.or_else is not None and _took(boot, expected.or_else):
            return Verdict.PENDING
        return Verdict.WRONG


def _took(boot: Boot, args: Optional[str]) -> bool:
    """Ask whether exactly these arguments reached QEMU, through the record and in its list."""
    return boot.args == args and find_devices(boot.qemu_arguments) == find_devices(
        (args or '').split())


def find_devices(arguments: Sequence[str]) -> List[str]:
    """Find the vGPU devices in a list of arguments."""
    return [device for option, device in zip(arguments, arguments[1:])
            if option == '-device' and device.startswith('vgpu')]
