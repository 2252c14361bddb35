"""Migration to another pool: the VM arrives there under its own UUID, and is gone here.

Both pools must live in one process: what host.migrate_receive hands out leads to the other.
"""

from typing import Any, Dict, Tuple

from simulator.database.rows import NULL
from simulator.database.schema import build_vdi
from simulator.state.pool_state import State, now
from simulator.vms import copies, lifecycle
from simulator.vms.operations import Operation, operation, refresh_allowed
from simulator.wire.failures import Failure

KIND = 'migrate_send'
SETTLES_HALTED_SINCE = (25, 31)  # before it, a VM that came halted kept its host until it started
# Where a migration may go: the session that a pool opened for it -> (its state, the host).
_RECEIVERS: Dict[str, Tuple[State, str]] = {}


def receive(state: State, caller: Any, host: str, network: str,
            options: Dict[str, str]) -> Dict[str, str]:
    """Make ready for a VM of another pool; what comes back leads its pool here."""
    state.database.get('host', host)
    session = state.sessions.login('root', '', superuser=True, now=now(), role='pool-admin',
                                   host=state.this_host)
    _RECEIVERS[session] = (state, host)
    address = state.database.read('host', host, 'address')
    return {'session_id': session, 'host': host, 'SM': f'http://{address}/services/SM',
            'xenops': f'http://{address}/services/xenops', 'master': f'http://{address}'}


def send(state: State, task: str, ref: str, target: Dict[str, str], live: Any,
         options: Dict[str, str]) -> str:
    """Move a VM to another pool, or to another host of this one; return its reference there."""
    if target.get('session_id') not in _RECEIVERS:
        raise Failure('INVALID_VALUE', ['dest', 'no host has made ready for this'])
    there, host = _RECEIVERS[target['session_id']]
    there.sessions.check(target['session_id'])
    if there.hardware is state.hardware:
        lifecycle.migrate(state, task, ref, host, KIND)
        return ref
    with operation(state, ref, KIND, task) as running:
        is_copy = options.get('copy') == 'true'
        _check_free(there, running.read('uuid'), is_copy)
        arrived = _arrive(there, running, host, is_copy)
        if not is_copy:
            _leave(running)
    return arrived


def _check_free(there: State, uuid: str, is_copy: bool) -> None:
    with there.database.lock:
        taken = [row.ref for row in there.database.tables['VM'].rows.values()
                 if row.fields['uuid'] == uuid]
    if taken and not is_copy:
        raise Failure('DUPLICATE_VM', taken)


def _arrive(there: State, here: Operation, host: str, is_copy: bool) -> str:
    """Import the record, under a fresh UUID first, and take the domain in when it runs.

    No operation tells of it there: all that is seen is the host that the VM is to come to.
    """
    fields = dict(here.state.database.get('VM', here.ref).fields)
    uuid, power_state = fields['uuid'], fields['power_state']
    fields.update(copies.FRESH, blocked_operations={}, current_operations={}, suspend_VDI=NULL,
                  affinity=NULL, snapshot_of=NULL, appliance=NULL, uuid=there.names.uuid())
    with there.database.lock:
        ref = copies.create(there, fields)
        refresh_allowed(there, ref)
    there.pause(there.settings.step_seconds * 5)
    task = there.create_task('VM.' + KIND)
    arriving = Operation(there, ref, KIND, task)
    if not is_copy:
        arriving.write('uuid', uuid)
    if power_state == 'Running':
        _take_in(there, here, arriving, host)
    elif power_state == 'Suspended':
        _take_image(there, here, arriving)
    elif there.settings.version < SETTLES_HALTED_SINCE:
        arriving.write('scheduled_to_be_resident_on', host)
    there.destroy_task(task)
    return ref


def _take_in(there: State, here: Operation, arriving: Operation, host: str) -> None:
    there.host_access.assert_reachable(host)
    with here.state.database.lock:
        domain = here.state.hypervisor.domains.get(here.ref)
        platform = domain.platform if domain is not None else here.read('platform')
    image = there.names.ref()
    with there.database.lock:
        there.hypervisor.images[image] = platform
    lifecycle.take_in(arriving, image, host)
    with there.database.lock:
        refresh_allowed(there, arriving.ref)


def _take_image(there: State, here: Operation, arriving: Operation) -> None:
    """Take a suspended VM in: its memory image, with the map of its boot, comes along."""
    image = there.names.ref()
    with there.database.lock:
        there.database.create('VDI', image, build_vdi(there.names.uuid(), 'Suspend image'))
        there.hypervisor.images[image] = here.state.hypervisor.images.get(
            here.read('suspend_VDI'), here.read('platform'))
    arriving.write('suspend_VDI', image)
    arriving.write('power_state', 'Suspended')


def _leave(here: Operation) -> None:
    if here.read('power_state') == 'Running':
        lifecycle.halt(here)
    with here.state.database.lock:
        here.check()
        copies.remove_rows(here.state, here.ref)
