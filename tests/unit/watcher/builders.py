"""What several tests of the watcher's core need: a template, a policy, records, an XAPI."""

import copy

from watcher.errors import AnswerTooOld, VmVanished, XapiFailure, XapiUnreachable
from watcher.state.write_permit import WritePermit
from watcher.vm.device_args import parse_template
from watcher.vm.plan import Assignment, Policy
from watcher.vm.record import ARGS_KEY, PowerState, VmKind, VmRecord
from watcher.xapi.record_parser import parse_vm
from watcher.xapi.role import Role

TEMPLATE = parse_template(
    '-device vgpu-stub,pool_id={pool_id},priority={priority},vm_id={vm_id}')
NAMES = frozenset(['vgpu-stub', 'vgpu-cuda'])
POLICY = Policy(TEMPLATE, NAMES)
HOST, OTHER_HOST = 'OpaqueRef:host-1', 'OpaqueRef:host-2'


def uuid_of(number):
    return '0000%04x-1111-2222-3333-44444444abcd' % number


UUID = uuid_of(10)
REF = 'OpaqueRef:vm-10'
ASSIGNMENT = Assignment(UUID, 10, 'A', 2)
SPAN = '-device vgpu-stub,pool_id=A,priority=high,vm_id=10'
OTHER_SPAN = '-device vgpu-stub,pool_id=B,priority=low,vm_id=10'


def build_vm(args=None, *, operation=None, **fields):
    """A halted VM with nothing of ours, unless told otherwise."""
    if operation is not None:
        fields['operations'] = (('OpaqueRef:task-1', operation),)
    vm = VmRecord(REF, UUID, 'web-01', VmKind.VM, PowerState.HALTED, args=args)
    return vm._replace(**fields)


def build_permit(role=Role(True, True, HOST, '26.1.4', master=HOST)):
    """The permit of a daemon that has seen all VMs and holds the lock."""
    permit = WritePermit()
    permit.role, permit.is_locked, permit.is_synced = role, True, True
    return permit


def build_raw(**fields):
    """A VM record as it comes off the wire, with the fields that we read."""
    raw = {
        'uuid': UUID, 'name_label': 'web-01', 'power_state': 'Halted', 'is_a_template': False,
        'is_default_template': False, 'is_a_snapshot': False, 'is_vmss_snapshot': False,
        'is_control_domain': False, 'current_operations': {}, 'blocked_operations': {},
        'platform': {'timeoffset': '0', 'device-model': 'qemu-upstream-uefi'}, 'domid': '-1', 'resident_on': 'OpaqueRef:NULL'}
    raw.update(copy.deepcopy(fields))
    return raw


class FakeXapi:
    """One VM, as a client sees it: counts the calls, fails at one, lets others meddle.

    `fail_at` is the number of the call that fails (1 is the first) and `is_executed` whether
    XAPI had done it by then: a lost answer rather than a lost request. `meddle` is called before
    each call with its number and this object.
    """

    handle = 'OpaqueRef:session'

    def __init__(self, args=None, **fields):
        platform = fields.pop('platform', {'timeoffset': '0', 'device-model': 'qemu-upstream-uefi'})
        if args is not None:
            platform[ARGS_KEY] = args
        self.raw = build_raw(platform=platform, **fields)
        self.calls = []
        self.fail_at = None
        self.is_executed = False
        self.is_down_for_good = False
        self.error = XapiUnreachable('cut')
        self.meddle = None
        self.is_gone = False
        self.reads = []
        self.late_writes = 0
        """How many maps come too late to be sent."""

    @property
    def args(self):
        return self.raw['platform'].get(ARGS_KEY)

    @args.setter
    def args(self, value):
        self.raw['platform'].pop(ARGS_KEY, None)
        if value is not None:
            self.raw['platform'][ARGS_KEY] = value

    @property
    def blocks(self):
        return self.raw['blocked_operations']

    @property
    def names(self):
        return [call[0] for call in self.calls]

    def last_read_before(self, index):
        """The record that the last read before a call (an index of `calls`) has shown."""
        shown = [vm for number, vm in self.reads if number <= index]
        return shown[-1] if shown else None

    def read_vm(self, ref):
        vm = self._do('read_vm', ref, lambda: parse_vm(ref, copy.deepcopy(self.raw)))
        self.reads.append((len(self.calls), vm))
        return vm

    def read_platform(self, ref):
        vm = self.read_vm(ref)
        return vm, dict(self.raw['platform'])

    def set_platform(self, ref, platform):
        if self.late_writes:
            self.late_writes -= 1
            raise AnswerTooOld('late')
        self._do('set_platform', ref, lambda: self.raw.update(platform=dict(platform)))

    def add_args(self, ref, value):
        self._do('add_args', ref, lambda: self._add(self.raw['platform'], ARGS_KEY, value))

    def remove_args(self, ref):
        self._do('remove_args', ref, lambda: self.raw['platform'].pop(ARGS_KEY, None))

    def remove_block(self, ref, operation):
        self._do('remove_block', ref, lambda: self.blocks.pop(operation, None))

    def _do(self, name, ref, action):
        number = len(self.calls) + 1
        if self.meddle is not None:
            self.meddle(number, self)
        self.calls.append((name, ref))
        is_failing = self.fail_at is not None and (
            number == self.fail_at or self.is_down_for_good and number > self.fail_at)
        if is_failing and not (self.is_executed and number == self.fail_at):
            raise self.error
        if self.is_gone:
            raise VmVanished('HANDLE_INVALID', ('VM', ref))
        result = action()
        if is_failing:
            raise self.error
        return result

    @staticmethod
    def _add(mapping, key, value):
        if key in mapping:
            raise XapiFailure('MAP_DUPLICATE_KEY', ('VM', 'platform', REF, key))
        mapping[key] = value
