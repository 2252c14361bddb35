"""Copies of VMs and the way back: clone, copy, snapshot, checkpoint, revert, provision, destroy."""

from typing import Any, Dict

from simulator.database import NULL
from simulator.domains import forget_image
from simulator.failures import Failure
from simulator.lifecycle import drop_suspended, halt, load_image, save_image
from simulator.operations import Operation, list_devices, operation, refresh_allowed
from simulator.records import build_device, build_vdi, build_vm_metrics
from simulator.state import State, now

# A copy starts with these of its own; all else, platform included, comes from its parent.
FRESH = {
    'power_state': 'Halted', 'resident_on': NULL, 'scheduled_to_be_resident_on': NULL,
    'domid': -1, 'consoles': [], 'VIFs': [], 'VBDs': [], 'VUSBs': [], 'VTPMs': [],
    'crash_dumps': [], 'guest_metrics': NULL, 'snapshots': [], 'children': [], 'parent': NULL,
    'snapshot_info': {}, 'allowed_operations': [], 'blobs': {}, 'VGPUs': [], 'attached_PCIs': [],
    'last_booted_record': '', 'is_default_template': False, 'is_control_domain': False,
    'ha_always_run': False, 'ha_restart_priority': ''}

# What a revert leaves alone.
KEPT_BY_REVERT = {
    'uuid', 'name_label', 'allowed_operations', 'current_operations', 'power_state', 'resident_on',
    'scheduled_to_be_resident_on', 'domid', 'consoles', 'VIFs', 'VBDs', 'VUSBs', 'VTPMs',
    'crash_dumps', 'metrics', 'guest_metrics', 'snapshots', 'snapshot_of', 'snapshot_time',
    'is_a_snapshot', 'is_a_template', 'is_default_template', 'is_control_domain', 'parent',
    'children', 'suspend_VDI', 'suspend_SR', 'snapshot_info', 'snapshot_metadata', 'blobs',
    'transportable_snapshot_id', 'VGPUs', 'attached_PCIs', 'is_vmss_snapshot', 'ha_always_run',
    'ha_restart_priority', 'last_booted_record', 'memory_target'}


def clone(state: State, task: str, ref: str, name: str, kind: str) -> str:
    """Clone or copy a VM: the platform map goes along, blocked_operations do not."""
    with operation(state, ref, kind, task) as running:
        changes = {'name_label': name, 'is_a_snapshot': False, 'snapshot_of': NULL,
                   'blocked_operations': {}}
        if not running.read('is_a_snapshot'):
            changes['is_a_template'] = running.read('is_a_template')
        return _copy(running, changes, kind)


def snapshot(state: State, task: str, ref: str, name: str) -> str:
    """Take a disk snapshot: blocked_operations go along too."""
    with operation(state, ref, 'snapshot', task) as running:
        return _copy(running, _as_snapshot(ref, name), 'snapshot')


def checkpoint(state: State, task: str, ref: str, name: str) -> str:
    """Take a snapshot with memory: suspend, copy, resume."""
    with operation(state, ref, 'checkpoint', task) as running:
        host = running.read('resident_on')
        save_image(running)
        copied = _copy(running, _as_snapshot(ref, name), 'checkpoint')
        load_image(running, host)
        return copied


def revert(state: State, task: str, ref: str) -> None:
    """Take a VM back to a snapshot, in dozens of separate writes."""
    fields = state.database.get('VM', ref).fields
    target = fields['snapshot_of']
    if not fields['is_a_snapshot'] or state.database.find('VM', target) is None:
        raise Failure('VM_REVERT_FAILED' if fields['is_a_snapshot'] else 'OPERATION_NOT_ALLOWED',
                      [ref, target])
    with operation(state, ref, 'revert', task):
        with operation(state, target, 'reverting', task) as running:
            _stop(running)
            _restore(running, state.database.get('VM', ref).fields)


def provision(state: State, task: str, ref: str) -> None:
    """Make a VM of a clone of a template."""
    with operation(state, ref, 'provision', task) as running:
        running.write('is_a_template', False)


def destroy(state: State, task: str, ref: str) -> None:
    """Remove a VM with its devices."""
    with operation(state, ref, 'destroy', task) as running:
        with state.database.lock:
            running.check()
            remove_rows(state, ref)


def create(state: State, fields: Dict[str, Any]) -> str:
    """Add a VM row with its metrics and devices; fields are complete."""
    database, names = state.database, state.names
    ref, metrics = names.ref(), names.ref()
    with database.lock:
        database.create('VM_metrics', metrics, build_vm_metrics(names.uuid()))
        database.create('VM', ref, dict(fields, metrics=metrics, VBDs=[], VIFs=[]))
        for position in range(state.settings.disks_per_vm):
            database.create('VBD', names.ref(), dict(
                build_device(names.uuid(), ref, position), VDI=NULL, userdevice=str(position),
                bootable=not position, mode='RW', type='Disk', unpluggable=True,
                storage_lock=False, empty=False))
        for position in range(state.settings.interfaces_per_vm):
            database.create('VIF', names.ref(), dict(
                build_device(names.uuid(), ref, position), network=NULL, MAC='', MTU=1500,
                locking_mode='network_default', ipv4_allowed=[], ipv6_allowed=[]))
    return ref


def remove_rows(state: State, ref: str) -> None:
    """Destroy a VM's rows."""
    fields = state.database.get('VM', ref).fields
    forget_image(state, fields['suspend_VDI'])
    for table, device in list_devices(state, ref):
        state.database.destroy(table, device)
    for console in list(fields['consoles']):
        state.database.destroy('console', console)
    for table, field in (('VM_metrics', 'metrics'), ('VM_guest_metrics', 'guest_metrics')):
        if state.database.find(table, fields[field]) is not None:
            state.database.destroy(table, fields[field])
    state.hypervisor.destroy(state.hypervisor.domains.get(ref))
    state.database.destroy('VM', ref)


def _copy(running: Operation, changes: Dict[str, Any], kind: str) -> str:
    state = running.state
    with state.database.lock:
        running.check()
        parent = state.database.get('VM', running.ref).fields
        fields = dict(parent, **FRESH)
        fields.update(changes)
        fields['uuid'] = state.names.uuid()
        fields['other_config'] = dict(parent['other_config'], mac_seed=state.names.uuid())
        fields['current_operations'] = {running.task: kind}
        fields['suspend_VDI'] = _copy_image(state, parent['suspend_VDI'])
        if fields['suspend_VDI'] != NULL:
            fields['power_state'] = 'Suspended'
        copied = create(state, fields)
    running.pause(state.settings.step_seconds)
    with state.database.lock:
        running.check()
        state.database.write('VM', copied, 'current_operations', {})
        refresh_allowed(state, copied)
    return copied


def _copy_image(state: State, image: str) -> str:
    platform = state.hypervisor.images.get(image)
    if platform is None:
        return NULL
    copied = state.names.ref()
    state.database.create('VDI', copied, build_vdi(state.names.uuid(), 'Suspend image'))
    state.hypervisor.images[copied] = platform
    return copied


def _as_snapshot(ref: str, name: str) -> Dict[str, Any]:
    return {'name_label': name, 'is_a_snapshot': True, 'is_a_template': True, 'snapshot_of': ref,
            'snapshot_time': now()}


def _stop(running: Operation) -> None:
    """Bring the VM to a halt before it is reverted."""
    power_state = running.read('power_state')
    if power_state == 'Suspended':
        drop_suspended(running)
    elif power_state != 'Halted':
        halt(running)


def _restore(running: Operation, wanted: Dict[str, Any]) -> None:
    state = running.state
    for field, value in wanted.items():
        if field not in KEPT_BY_REVERT:
            running.write(field, value)
    image = _copy_image(state, wanted['suspend_VDI'])
    if image != NULL:
        running.write('suspend_VDI', image)
        running.write('power_state', 'Suspended')
