"""What every VM operation goes through: the checks, current_operations, writes with pauses."""

import contextlib
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from simulator import versions
from simulator.database import NULL
from simulator.failures import Failure, XapiGone, bad_power_state, operation_in_progress
from simulator.state import State

# The power states in which each operation may begin.
POWER_STATES = {
    'start': ('Halted',), 'start_on': ('Halted',), 'pause': ('Running',), 'unpause': ('Paused',),
    'clean_shutdown': ('Running',), 'clean_reboot': ('Running',), 'suspend': ('Running',),
    'hard_shutdown': ('Paused', 'Suspended', 'Running'), 'hard_reboot': ('Paused', 'Running'),
    'resume': ('Suspended',), 'resume_on': ('Suspended',), 'pool_migrate': ('Running',),
    'migrate_send': ('Halted', 'Running', 'Suspended'), 'checkpoint': ('Running',),
    'snapshot': ('Halted', 'Running', 'Suspended', 'Paused'), 'clone': ('Halted', 'Suspended'),
    'copy': ('Halted', 'Suspended'), 'provision': ('Halted',), 'export': ('Halted', 'Suspended'),
    'destroy': ('Halted', 'Suspended'), 'revert': ('Halted', 'Suspended'),
    'reverting': ('Halted', 'Suspended', 'Running', 'Paused'),
}
FOR_TEMPLATES = ('clone', 'copy', 'provision', 'export', 'destroy')
FOR_SNAPSHOTS = FOR_TEMPLATES + ('revert',)
# These run beside others, and cancel them.
FORCEFUL = ('hard_shutdown', 'hard_reboot')
NEVER_LISTED = ('reverting', 'migrate_send')
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
            state.site.assert_reachable(resident)
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
    elif not is_null(host) and state.site.rules(host):
        found = {'power_state': 'Halted', 'resident_on': NULL, 'domid': -1}
    for field, value in found.items():
        state.database.write('VM', ref, field, value)


def check_allowed(state: State, ref: str, name: str) -> None:
    """Raise what XAPI raises when an operation may not begin, in XAPI's order of checks."""
    fields = state.database.get('VM', ref).fields
    if name in fields['blocked_operations']:
        raise Failure('OPERATION_BLOCKED', [ref, fields['blocked_operations'][name]])
    if fields['power_state'] not in POWER_STATES[name]:
        raise bad_power_state(ref, POWER_STATES[name], fields['power_state'])
    current = list(fields['current_operations'].items())
    if current and name not in FORCEFUL:
        raise operation_in_progress(state.settings.version, ref, current, name)
    if fields['is_a_snapshot']:
        if name not in FOR_SNAPSHOTS:
            raise Failure('VM_IS_SNAPSHOT', [ref, name])
    elif fields['is_a_template'] and name not in FOR_TEMPLATES:
        raise Failure('VM_IS_TEMPLATE', [ref, name])
    if fields['is_control_domain']:
        raise Failure('OPERATION_NOT_ALLOWED', ['a control domain'])


def refresh_allowed(state: State, ref: str) -> None:
    """Recompute allowed_operations."""
    state.database.write('VM', ref, 'allowed_operations', list_allowed(
        state.database.get('VM', ref).fields))


def list_allowed(fields: Dict[str, Any]) -> List[str]:
    """Compute what may be done with a VM as it is."""
    names = [name for name, states in POWER_STATES.items()
             if fields['power_state'] in states and name not in fields['blocked_operations']
             and name not in NEVER_LISTED]
    if fields['is_control_domain']:
        return []
    if fields['current_operations']:
        names = [name for name in names if name in FORCEFUL]
    if fields['is_a_snapshot']:
        return [name for name in names if name in FOR_SNAPSHOTS]
    if fields['is_a_template']:
        return [name for name in names if name in FOR_TEMPLATES]
    return [name for name in names if name not in ('revert', 'provision')]


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
            and versions.is_like_master(state, host)]
    affinity = database.read('VM', ref, 'affinity')
    if affinity in live:
        return affinity
    if not live:
        raise Failure('NO_HOSTS_AVAILABLE')
    return min(live, key=lambda host: len(database.read('host', host, 'resident_VMs')))


def is_null(ref: str) -> bool:
    """Ask whether a reference points nowhere."""
    return ref in (NULL, '')
