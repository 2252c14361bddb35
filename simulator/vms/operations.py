"""What every VM operation goes through: the checks, current_operations, writes with pauses."""

import contextlib
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from simulator.database.rows import NULL
from simulator.state import upgrade_rules
from simulator.state.pool_state import State
from simulator.wire.failures import Failure, XapiGone, bad_power_state, operation_in_progress

ANY_STATE = ('Halted', 'Paused', 'Suspended', 'Running')
# The power states in which each operation may begin, in the order of XAPI's lists.
POWER_STATES = {
    'create_vtpm': ('Halted',), 'sysprep': ('Running',), 'destroy': ('Halted', 'Suspended'),
    'metadata_export': ANY_STATE, 'export': ('Halted', 'Suspended'),
    'make_into_template': ('Halted',), 'changing_NVRAM': ('Halted',),
    'changing_shadow_memory': ('Halted',), 'changing_static_range': ('Halted',),
    'changing_dynamic_range': ('Halted', 'Running'),
    'migrate_send': ('Halted', 'Suspended', 'Running'), 'pool_migrate': ('Running',),
    'resume_on': ('Suspended',), 'resume': ('Suspended',), 'suspend': ('Running',),
    'hard_reboot': ('Paused', 'Running'), 'hard_shutdown': ('Paused', 'Suspended', 'Running'),
    'clean_reboot': ('Running',), 'clean_shutdown': ('Running',), 'unpause': ('Paused',),
    'pause': ('Running',), 'start_on': ('Halted',), 'start': ('Halted',),
    'provision': ('Halted',), 'reverting': ANY_STATE, 'revert': ('Halted', 'Suspended'),
    'copy': ('Halted',), 'clone': ('Halted',), 'checkpoint': ('Running',),
    'snapshot': ANY_STATE,
}
# What a suspended VM can be as well when it is a snapshot, or when the pool allows it.
OF_SUSPENDED = ('clone', 'copy')
ALLOW_SUSPENDED = 'allow_clone_suspended_vm'
# What takes a guest that answers, once it runs.
WITH_TOOLS = ('clean_shutdown', 'clean_reboot', 'suspend', 'pool_migrate', 'migrate_send',
              'checkpoint')
TOOLS = 'feature-shutdown'
FOR_TEMPLATES = ('destroy', 'metadata_export', 'export', 'changing_NVRAM',
                 'changing_shadow_memory', 'changing_static_range', 'changing_dynamic_range',
                 'migrate_send', 'provision', 'copy', 'clone')
FOR_SNAPSHOTS = ('destroy', 'metadata_export', 'export', 'revert', 'copy', 'clone')
# These run beside others, and cancel them.
FORCEFUL = ('hard_shutdown', 'hard_reboot')
# These begin beside a migration that copies disks, and leave it alone.
BESIDE_MIGRATION = ('metadata_export', 'clean_shutdown', 'clean_reboot')
FOR_VMS = tuple(name for name in POWER_STATES if name not in ('reverting', 'revert', 'provision'))
WITHOUT_TOOLS = tuple(name for name in FOR_VMS if name not in WITH_TOOLS)
CANCEL_POINTS = 'debug_info:cancel_points_seen'
SLICE = 0.05  # seconds between two looks whether the operation has been cancelled


class Operation:
    """One operation under way; it dies at its next step when cancelled or when xapi ends."""

    def __init__(self, state: State, ref: str, name: str, task: str) -> None:
        self.state = state
        self.ref = ref
        self.name = name
        self.task = task
        self.epoch = state.epoch
        self.is_cancelled = False
        # Writes with a deadline hurry: their pauses shrink to what is left until then.
        self.deadline: Optional[float] = None

    def write(self, field: str, value: Any, table: str = 'VM', ref: Optional[str] = None) -> None:
        """Make one write of its own, and let a little time go by."""
        with self.state.database.lock:
            self.check()
            self.state.database.write(table, ref or self.ref, field, value)
        seconds = self.state.settings.step_seconds
        if self.deadline is not None:
            seconds = min(seconds, self.deadline - time.monotonic())
        self.pause(seconds)

    def read(self, field: str) -> Any:
        """Read one field of the VM."""
        return self.state.database.read('VM', self.ref, field)

    def pause(self, seconds: float) -> None:
        """Let time go by."""
        while seconds > SLICE:
            self.state.pause(SLICE, self.epoch)
            self.check()
            seconds -= SLICE
        self.state.pause(seconds, self.epoch)
        self.check()

    def pass_points(self, count: int) -> None:
        """Pass points at which a task can be cancelled: each of them is written into it."""
        database = self.state.database
        for _ in range(count):
            with database.lock:
                if database.find('task', self.task) is not None:
                    seen = database.read('task', self.task, 'other_config')
                    number = int(seen.get(CANCEL_POINTS, '0')) + 1
                    database.write('task', self.task, 'other_config',
                                   dict(seen, **{CANCEL_POINTS: str(number)}))

    def refresh_allowed(self) -> None:
        """Recompute the VM's allowed_operations in the middle of the operation."""
        with self.state.database.lock:
            self.check()
            refresh_allowed(self.state, self.ref)

    def check(self) -> None:
        """Raise when this operation has no future."""
        if self.epoch != self.state.epoch:
            raise XapiGone()
        if self.is_cancelled:
            raise Failure('TASK_CANCELLED', [self.task])


@contextlib.contextmanager
def operation(state: State, ref: str, name: str, task: str) -> Iterator[Operation]:
    """Check an operation, show it in current_operations while it lasts, and take it out again."""
    running = _begin(state, ref, name, task)
    try:
        resident = running.read('resident_on')
        if not is_null(resident):
            state.host_access.assert_reachable(resident)
        _suffer(running)
        yield running
    finally:
        end(running)


def _suffer(running: Operation) -> None:
    """Let the faults that strike inside an operation strike."""
    faults, method = running.state.faults, 'VM.' + running.name
    for fault in faults.take(('operation_hang',), method, running.ref):
        while fault in faults.list():
            running.pause(SLICE)
    for fault in faults.take(('operation_failure',), method, running.ref):
        raise Failure(fault.parameters.get('code', 'INTERNAL_ERROR'),
                      fault.parameters.get('params', ()))


def end(running: Operation) -> None:
    """Take an operation out of current_operations; a xapi that has ended takes nothing out."""
    state = running.state
    with state.database.lock:
        if running in state.underway:
            state.underway.remove(running)
        row = state.database.find('VM', running.ref)
        if row is None or running.epoch != state.epoch:
            return
        left = dict(row.fields['current_operations'])
        left.pop(running.task, None)
        state.database.write('VM', running.ref, 'current_operations', left)
        if not left:
            _follow_domain(state, running.ref, row.fields)
        refresh_allowed(state, running.ref)


def _follow_domain(state: State, ref: str, fields: Dict[str, Any]) -> None:
    """What became of the domain while xapi was busy with the VM, as on a host that fell: it is
    heard of now, from xenopsd."""
    host, domain = fields['resident_on'], state.hypervisor.domains.get(ref)
    if fields['power_state'] not in ('Running', 'Paused'):
        return
    found: Dict[str, Any] = {}
    if domain is not None:
        found = {'resident_on': domain.host, 'domid': domain.domid}
    elif not is_null(host) and state.host_access.rules(host):
        found = {'power_state': 'Halted', 'resident_on': NULL, 'domid': -1}
    for field, value in found.items():
        state.database.write('VM', ref, field, value)


def check_allowed(state: State, ref: str, name: str) -> None:
    """Raise what XAPI raises when an operation may not begin, in XAPI's order of checks."""
    fields = state.database.get('VM', ref).fields
    if name in fields['blocked_operations']:
        raise Failure('OPERATION_BLOCKED', [ref, fields['blocked_operations'][name]])
    states = list_states(state, fields, name)
    if fields['power_state'] not in states:
        raise bad_power_state(ref, states, fields['power_state'])
    current = list(fields['current_operations'].items())
    is_beside = (name in BESIDE_MIGRATION
                 and list(fields['current_operations'].values()) == ['migrate_send'])
    if current and name not in FORCEFUL and not is_beside:
        raise operation_in_progress(state.settings.version, ref, current, name)
    if fields['is_a_snapshot']:
        if name not in FOR_SNAPSHOTS:
            raise Failure('VM_IS_SNAPSHOT', [ref, name])
    elif fields['is_a_template'] and name not in FOR_TEMPLATES:
        raise Failure('VM_IS_TEMPLATE', [ref, name])
    if fields['is_control_domain']:
        raise Failure('OPERATION_NOT_ALLOWED', ['a control domain'])
    if name in WITH_TOOLS and lacks_tools(state, fields):
        raise Failure('VM_LACKS_FEATURE', [ref])


def list_states(state: State, fields: Dict[str, Any], name: str) -> Sequence[str]:
    """List the power states in which an operation may begin with this VM."""
    states = POWER_STATES[name]
    if name in OF_SUSPENDED and (fields['is_a_snapshot'] or state.database.read(
            'pool', state.pool, 'other_config').get(ALLOW_SUSPENDED) == 'true'):
        states += ('Suspended',)
    return states


def lacks_tools(state: State, fields: Dict[str, Any]) -> bool:
    """Ask whether a guest runs that has no agent to answer."""
    if fields['power_state'] != 'Running':
        return False
    row = state.database.find('VM_guest_metrics', fields['guest_metrics'])
    return not (state.settings.guest_tools if row is None else TOOLS in row.fields['other'])


def refresh_allowed(state: State, ref: str) -> None:
    """Recompute allowed_operations."""
    fields = state.database.get('VM', ref).fields
    state.database.write('VM', ref, 'allowed_operations', list_allowed(state, fields))


def list_allowed(state: State, fields: Dict[str, Any]) -> List[str]:
    """Compute what may be done with a VM as it is."""
    if fields['is_control_domain']:
        return []
    if fields['current_operations']:
        chosen: Sequence[str] = FORCEFUL
    elif fields['is_a_snapshot']:
        chosen = FOR_SNAPSHOTS
    elif fields['is_a_template']:
        chosen = FOR_TEMPLATES
    else:
        chosen = WITHOUT_TOOLS if lacks_tools(state, fields) else FOR_VMS
    return [name for name in POWER_STATES if name in chosen
            and name not in fields['blocked_operations']
            and fields['power_state'] in list_states(state, fields, name)]


def cancel_others(running: Operation) -> None:
    """Cancel what else is under way on the VM, and wait until it has let go."""
    state = running.state
    with state.database.lock:
        others = [other for other in state.underway
                  if other.ref == running.ref and other is not running]
        for other in others:
            other.is_cancelled = True
    state.wait_for(lambda: not any(other in state.underway for other in others), 5.0)


def _begin(state: State, ref: str, name: str, task: str) -> Operation:
    deadline = time.monotonic() + state.settings.conflict_wait_seconds
    epoch = state.epoch
    while True:
        with state.changed:
            if epoch != state.epoch:
                raise XapiGone()
            try:
                check_allowed(state, ref, name)
                return _show(state, ref, name, task)
            except Failure as failure:
                # XAPI does not answer conflicts: it tries again by itself.
                remaining = deadline - time.monotonic()
                if failure.code != 'OTHER_OPERATION_IN_PROGRESS' or remaining <= 0:
                    raise
            state.changed.wait(min(remaining, 0.5))


def _show(state: State, ref: str, name: str, task: str) -> Operation:
    running = Operation(state, ref, name, task)
    state.underway.append(running)
    current = dict(state.database.read('VM', ref, 'current_operations'))
    current[task] = name
    state.database.write('VM', ref, 'current_operations', current)
    refresh_allowed(state, ref)
    return running


def list_devices(state: State, ref: str) -> List[Tuple[str, str]]:
    """List a VM's VBDs and VIFs as (table, reference)."""
    fields = state.database.get('VM', ref).fields
    return [(table, device) for table in ('VBD', 'VIF') for device in fields[table + 's']
            if state.database.find(table, device) is not None]


def pick_host(state: State, ref: str) -> str:
    """Choose the host that a start goes to: the VM's affinity, or the emptiest live one."""
    database = state.database
    live = [host for host in state.hosts if database.read('host', host, 'enabled')
            and upgrade_rules.is_like_master(state, host)]
    affinity = database.read('VM', ref, 'affinity')
    if affinity in live:
        return affinity
    if not live:
        raise Failure('NO_HOSTS_AVAILABLE')
    return min(live, key=lambda host: len(database.read('host', host, 'resident_VMs')))


def is_null(ref: str) -> bool:
    """Ask whether a reference points nowhere."""
    return ref in (NULL, '')
