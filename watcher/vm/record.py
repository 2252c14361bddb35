"""What XAPI keeps of VMs and of the resource pool, as values; decoded by `xapi/record_parser.py`.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import NamedTuple, Optional, Tuple

from watcher.errors import MalformedRecord
from watcher.vm.device_args import MAX_READ

ARGS_KEY = 'device-model-args'
# What 0.1 put into blocked_operations: some hundred characters, and a value of ours behind them.
BLOCK_MARK = 'vgpu-watcher:'
MAX_BLOCK = 2 * MAX_READ
START_OPERATIONS = frozenset(['start', 'start_on'])
MIGRATIONS = frozenset(['pool_migrate', 'migrate_send'])


class PowerState(enum.Enum):
    """VM.power_state, as XAPI spells it."""
    HALTED = 'Halted'
    PAUSED = 'Paused'
    RUNNING = 'Running'
    SUSPENDED = 'Suspended'


class VmKind(enum.Enum):
    """What a row of XAPI's VM table is; only an ordinary VM is ever written to."""
    VM = 'vm'
    TEMPLATE = 'template'
    SNAPSHOT = 'snapshot'
    CONTROL_DOMAIN = 'control_domain'


class VmRecord(NamedTuple):
    """The fields of one VM record that decisions need."""
    ref: str
    uuid: str
    name: str
    kind: VmKind
    power_state: PowerState
    operations: Tuple[Tuple[str, str], ...] = ()
    """(task ref, operation) of each current operation."""
    args: Optional[str] = None
    """platform:device-model-args, None when the key is absent; of a long one the beginning."""
    start_blocks: Tuple[Tuple[str, str], ...] = ()
    """(operation, text) of blocked_operations for start and start_on; a long one is cut."""
    domid: int = -1
    resident_on: Optional[str] = None
    mirror: Tuple[Tuple[str, str], ...] = ()
    """(key, text) of our keys in other_config."""
    settles_platform: bool = False
    """The VM's next start writes the whole platform map back: see `xapi/record_parser.py`."""
    has_qemu: bool = True
    """False for a domain type (PV, PVH) without a QEMU that could take our arguments."""
    is_awaited: bool = False
    """Halted without operations, and a host has room set aside for it: it may be on its way from
    another resource pool, with a QEMU that has what it had there. Before xapi 25.31 one that came
    halted is shown so until its first start."""

    @property
    def operation_names(self) -> frozenset:
        """The names of the current operations."""
        return frozenset(name for _task, name in self.operations)

    @property
    def is_up(self) -> bool:
        """It runs or is paused: a domain of it is there."""
        return self.power_state in (PowerState.RUNNING, PowerState.PAUSED)

    @property
    def is_at_rest(self) -> bool:
        """Halted, with no operation under way, and no host that still has it."""
        return (self.power_state is PowerState.HALTED and not self.operations
                and self.resident_on is None)

    @property
    def is_halted_resident(self) -> bool:
        """Halted, and a host still has it: a shutdown for a moment, or a record gone wrong."""
        return (self.power_state is PowerState.HALTED and not self.operations
                and self.resident_on is not None)

    @property
    def is_starting(self) -> bool:
        """Halted, with a start under way and nothing else; on no host yet."""
        return (self.power_state is PowerState.HALTED and bool(self.operations)
                and self.operation_names <= START_OPERATIONS and self.resident_on is None)

    @property
    def start_task(self) -> Optional[str]:
        """The task of the start under way: one start, one task."""
        return next((task for task, name in self.operations if name in START_OPERATIONS), None)

    @property
    def domain(self) -> Optional[Tuple[str, int]]:
        """(host, domid) of the running domain; None while XAPI does not name both."""
        if self.is_up and self.domid >= 0 and self.resident_on:
            return self.resident_on, self.domid
        return None

    def as_halted(self) -> 'VmRecord':
        """The same VM, once it is shut down."""
        return self._replace(power_state=PowerState.HALTED, operations=(), resident_on=None,
                             domid=-1)


class PoolRecord(NamedTuple):
    """The fields of the resource pool's record that we need."""
    ref: str
    uuid: str
    master: str
    mirror: Tuple[Tuple[str, str], ...] = ()


class Batch(NamedTuple):
    """One event.from answer."""
    token: str
    vms: Tuple[VmRecord, ...] = ()
    gone: Tuple[str, ...] = ()
    """Refs of deleted VMs."""
    malformed: Tuple[MalformedRecord, ...] = ()
    vm_count: Optional[int] = None
    """Rows of XAPI's VM table (valid_ref_counts), to notice forgotten deletions."""
    is_first: bool = False
    """True when the batch was asked for with the empty token: it names every VM there is."""
    pools: Tuple[PoolRecord, ...] = ()
    """The resource pool's record, when it was told."""
