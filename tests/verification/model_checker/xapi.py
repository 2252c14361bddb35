"""The model of XAPI and its hypervisor: one VM as a value, and the steps that its life is made of.

Every operation is a chain of phases (docs/reference/boot-path.md); each writes once, so that an
event, a call of ours or somebody else's write may fall between any two. What starts with `ghost` is
known to the model only and says what the daemon is held to.
"""

from typing import Dict, NamedTuple, Optional, Tuple

from tests.unit.watcher.builders import HOST, OTHER_HOST
from watcher.vm.record import PowerState, VmKind, VmRecord

FOREIGN = '-a'
# What xapi does within milliseconds: nothing waits for it, and no time of ours passes.
QUICK = frozenset(['built', 'running', 'ending', 'stopped', 'restored', 'resumed', 'moved',
                   'rebooted', 'mapped', 'suspended'])


class Vm(NamedTuple):
    """What XAPI and the hypervisor hold of one VM."""
    record: VmRecord
    phase: str = ''
    """How far the operation under way is."""
    frozen: Optional[str] = None
    """What its QEMU took; of a suspended VM, what its memory image holds."""
    pushed: Optional[str] = None
    """What xapi last told xenopsd: a reboot inside the guest takes it."""
    map_read: Tuple[Optional[str], ...] = ()
    """Step 5 of a start: the map as read, until it is written back whole."""
    domids: int = 0
    ghost_promised: Optional[str] = None
    """What P2 says that the start under way takes; None where it says nothing."""
    ghost_foreign: Optional[str] = FOREIGN
    """The text of others as they left it; None where XAPI itself has lost it."""
    ghost_took: Tuple[Tuple[str, int, Optional[str]], ...] = ()
    """(host, domid, what it took) of each domain."""
    ghost_whole: Tuple[Optional[str], ...] = ()
    """The values that the start under way may take: what stood there, and what is staged; () where
    P7 says nothing."""
    ghost_had_row: bool = False
    is_withheld: bool = False
    """The consumer gave its QEMU none of our arguments."""
    ghost_is_guarded: bool = False
    """Its QEMU came up afresh, with the consumer on and the file of the numbers confirmed."""
    ghost_is_copy: bool = False
    """It was cloned from a VM that had been staged: P10 says that it loses the span."""
    ghost_broken: str = ''
    """The promise that the boot just made has broken."""

    @property
    def has_qemu(self) -> bool:
        """Whether a QEMU of it runs: from the building of the domain to the end of it."""
        return self.phase == 'built' or self.record.power_state in (PowerState.RUNNING,
                                                                    PowerState.PAUSED)

    @property
    def taken(self) -> Optional[str]:
        """What its QEMU has, of what XAPI gave."""
        return foreign_in(self.frozen) if self.is_withheld else self.frozen

    def write(self, **fields: object) -> 'Vm':
        """XAPI writes the record."""
        return self._replace(record=self.record._replace(**fields))


def foreign_in(args: Optional[str]) -> str:
    """The text of others: in these worlds it stands in front."""
    return (args or '').partition('-device')[0].strip()


def make_template(vm: Vm) -> Vm:
    """Somebody makes a template of it: nothing of ours is written to it any more."""
    return vm.write(kind=VmKind.TEMPLATE)


def begin(vm: Vm, operation: str, phase: str, task: str) -> Vm:
    """The operation is recorded: the first event that anybody may see."""
    return vm.write(operations=((task, operation),))._replace(phase=phase)


def proceed(vm: Vm) -> Vm:
    """Take the next step of the operation under way."""
    return _STEPS[vm.phase](vm)


def read_map(vm: Vm) -> Vm:
    """A start that will write the whole platform map back has read it."""
    return vm._replace(phase='mapped', map_read=(vm.record.args, vm.ghost_foreign))


def give_up(vm: Vm) -> Vm:
    """A start fails before it has read the map."""
    return vm.write(operations=())._replace(phase='', ghost_promised=None, ghost_whole=())


def reboot_inside(vm: Vm) -> Vm:
    """A reboot inside the guest: no operation, only another domid."""
    return _build(vm, vm.pushed, vm.record.resident_on or HOST).write(domid=vm.domids + 1)


def push(vm: Vm) -> Vm:
    """xapi tells xenopsd of an edit of a running VM, unannounced."""
    return vm._replace(pushed=vm.record.args)


def halt(vm: Vm) -> Vm:
    """The guest shuts down from inside."""
    return vm.write(power_state=PowerState.HALTED, domid=-1, resident_on=None)


def _build(vm: Vm, value: Optional[str], host: str) -> Vm:
    domid = vm.domids + 1
    return vm._replace(domids=domid, frozen=value,
                       ghost_took=vm.ghost_took[-3:] + ((host, domid, value),))


def _write_map(vm: Vm) -> Vm:
    """What was written since the map was read is lost."""
    args, foreign = vm.map_read
    return vm.write(args=args, settles_platform=False)._replace(
        phase='late', map_read=(), ghost_foreign=foreign)


def _cut_off(vm: Vm) -> Vm:
    """The metadata push: the record is read, once."""
    if vm.record.settles_platform:
        return read_map(vm)
    args, broken = vm.record.args, ''
    if vm.ghost_whole and args not in vm.ghost_whole:
        broken = 'a boot took %r, which is neither the old value nor the new one: %r' % (
            args, vm.ghost_whole)
    if vm.ghost_promised is not None and args != vm.ghost_promised:
        broken = 'a boot took %r, although %r was staged while it rested' % (
            args, vm.ghost_promised)
    return _build(vm, args, HOST)._replace(phase='built', pushed=args, ghost_promised=None,
                                           ghost_whole=(), ghost_broken=broken)


def _run(vm: Vm) -> Vm:
    return vm.write(power_state=PowerState.RUNNING, resident_on=HOST)._replace(phase='running')


def _tell_domid(vm: Vm) -> Vm:
    return vm.write(domid=vm.domids)._replace(phase='ending')


def _end(vm: Vm) -> Vm:
    return vm.write(operations=())._replace(phase='')


def _reboot(vm: Vm) -> Vm:
    return _build(vm, vm.pushed, vm.record.resident_on or HOST).write(
        domid=vm.domids + 1)._replace(phase='ending')


def _suspend(vm: Vm) -> Vm:
    return vm.write(power_state=PowerState.SUSPENDED, domid=-1,
                    resident_on=None)._replace(phase='ending')


def _resume(vm: Vm) -> Vm:
    return _run(_build(vm, vm.frozen, HOST))


def _move(vm: Vm) -> Vm:
    """The host changes before the domid does."""
    return _build(vm, vm.frozen, OTHER_HOST).write(resident_on=OTHER_HOST)._replace(
        phase='running')


def _stop_for_revert(vm: Vm) -> Vm:
    """Halting a suspended VM empties its operations, also those of the revert around it."""
    is_suspended = vm.record.power_state is PowerState.SUSPENDED
    vm = vm.write(power_state=PowerState.HALTED, domid=-1, resident_on=None)
    return (vm.write(operations=()) if is_suspended else vm)._replace(phase='stopped')


def _restore(vm: Vm) -> Vm:
    args, foreign = vm.map_read
    return vm.write(args=args)._replace(phase='ending', map_read=(), ghost_foreign=foreign)


_STEPS = {'early': _cut_off, 'late': _cut_off, 'mapped': _write_map, 'built': _run,
          'running': _tell_domid, 'ending': _end, 'reboot': _reboot, 'suspend': _suspend,
          'resume': _resume, 'migrate': _move, 'revert': _stop_for_revert, 'stopped': _restore}
STEP_NAMES: Dict[str, str] = {
    'early': 'cut-off', 'late': 'cut-off', 'mapped': 'whole map written', 'built': 'Running',
    'running': 'domid', 'ending': 'operation ends', 'reboot': 'new domain',
    'suspend': 'Suspended', 'resume': 'built from the image', 'migrate': 'on the other host',
    'revert': 'stopped to be reverted', 'stopped': 'map of the snapshot'}
