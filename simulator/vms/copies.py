"""Copies of VMs and the way back: clone, copy, snapshot, checkpoint, revert, provision, destroy."""

from typing import Any, Dict

from simulator.database import metadata, releases
from simulator.database.rows import NULL
from simulator.database.schema import (DEVICE_MODEL, UPSTREAM, build_device, build_vdi, build_vm,
                                       build_vm_metrics, coerce)
from simulator.state.pool_state import State, now
from simulator.vms.domain_writes import forget_image
from simulator.vms.lifecycle import drop_suspended, halt, load_image, save_image
from simulator.vms.operations import Operation, list_devices, operation, refresh_allowed
from simulator.wire.failures import Failure, internal_error

CREATE_MANDATORY = (
    'user_version', 'is_a_template', 'affinity', 'memory_static_max', 'memory_dynamic_max',
    'memory_dynamic_min', 'memory_static_min', 'VCPUs_params', 'VCPUs_max', 'VCPUs_at_startup',
    'actions_after_shutdown', 'actions_after_reboot', 'actions_after_crash', 'PV_bootloader',
    'PV_kernel', 'PV_ramdisk', 'PV_args', 'PV_bootloader_args', 'PV_legacy_args',
    'HVM_boot_policy', 'HVM_boot_params', 'platform', 'PCI_bus', 'other_config', 'recommendations')
NOT_GIVEN = ('uuid', 'metrics', 'domid', 'power_state')

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
    'uuid', 'allowed_operations', 'current_operations', 'power_state', 'resident_on',
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
        changes['generation_id'] = state.names.generation_id()
        return _copy(running, changes, kind)


def snapshot(state: State, task: str, ref: str, name: str) -> str:
    """Take a disk snapshot: blocked_operations go along too."""
    with operation(state, ref, 'snapshot', task) as running:
        return _take_snapshot(running, name, running.read('power_state'))


def checkpoint(state: State, task: str, ref: str, name: str) -> str:
    """Take a snapshot with memory: suspend, copy, resume."""
    with operation(state, ref, 'checkpoint', task) as running:
        host, power_state = running.read('resident_on'), running.read('power_state')
        save_image(running)
        copied = _take_snapshot(running, name, power_state)
        load_image(running, host)
        return copied


def revert(state: State, task: str, ref: str) -> None:
    """Take a VM back to a snapshot, in dozens of separate writes."""
    fields = state.database.get('VM', ref).fields
    target = fields['snapshot_of']
    is_gone = state.database.find('VM', target) is None
    if not fields['is_a_snapshot'] or (is_gone and not fields['snapshot_metadata']):
        raise Failure('VM_REVERT_FAILED', [ref, target])
    if is_gone:
        target = _recreate(state, ref)
    with operation(state, ref, 'revert', task):
        with operation(state, target, 'reverting', task) as running:
            _stop(running)
            _restore(running, ref)
            running.pass_points(9)


def _recreate(state: State, snapshot: str) -> str:
    """Make the VM of a snapshot again that was destroyed: a template, under a fresh UUID, at first.

    No operation tells of it; then it is what it was, field by field.
    """
    record = state.database.get('VM', snapshot).fields
    former, names = record['snapshot_of'], state.names
    ref = create(state, dict(record, **FRESH, uuid=names.uuid(), is_a_snapshot=False,
                             snapshot_of=NULL, blocked_operations={}, current_operations={},
                             suspend_VDI=NULL))
    running = Operation(state, ref, '', NULL)
    wanted = metadata.read(record['snapshot_metadata'], record)
    for field in ['uuid'] + [name for name in wanted if name not in KEPT_BY_REVERT]:
        running.write(field, wanted[field])
    for field in ('is_a_template', 'is_default_template'):
        running.write(field, wanted[field])
    for row in list(state.database.tables['VM'].rows.values()):
        if row.fields['snapshot_of'] == former:
            state.database.write('VM', row.ref, 'snapshot_of', ref)
    return ref


def provision(state: State, task: str, ref: str) -> None:
    """Make a VM of a clone of a template."""
    with operation(state, ref, 'provision', task) as running:
        running.write('is_a_template', False)


def destroy(state: State, task: str, ref: str) -> None:
    """Remove a VM with its devices."""
    with operation(state, ref, 'destroy', task) as running:
        running.pass_points(2)
        with state.database.lock:
            running.check()
            remove_rows(state, ref)


def create_from_wire(state: State, task: str, given: Dict[str, Any]) -> str:
    """Make a VM as its creator describes it; xapi adds what it knows better."""
    for name in CREATE_MANDATORY:
        if name not in given:
            raise internal_error(f'Server_helpers.Dispatcher_FieldNotFound("{name}")')
    record = releases.drop_newer('VM', build_vm(
        state.names.uuid(), str(given.get('name_label', ''))), state.settings.version)
    record.update({name: coerce(record[name], value) for name, value in given.items()
                   if name in record and name not in NOT_GIVEN})
    record['other_config'] = dict({'mac_seed': state.names.uuid()}, **record['other_config'])
    if given.get('domain_type', 'unspecified') == 'unspecified':
        record['domain_type'] = 'hvm' if record['HVM_boot_policy'] else 'pv'
    if record['domain_type'] == 'hvm' and not record['is_a_template']:
        record['platform'] = dict({DEVICE_MODEL: UPSTREAM}, **record['platform'])
    ref = create(state, dict(record, memory_overhead=0, hardware_platform_version=0))
    with state.database.lock:
        refresh_allowed(state, ref)
        for field, value in (('memory_overhead', record['memory_overhead']),
                             ('hardware_platform_version', 2)):
            state.database.write('VM', ref, field, value)
    return ref


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


def _take_snapshot(running: Operation, name: str, power_state: str) -> str:
    """Copy the VM, with its record as it is now; the snapshot then is the VM's parent."""
    state, names = running.state, running.state.names
    record = state.database.get('VM', running.ref).fields
    copied = _copy(running, {
        'name_label': name, 'is_a_snapshot': True, 'is_a_template': True,
        'snapshot_of': running.ref, 'snapshot_time': now(), 'parent': record['parent'],
        'other_config': record['other_config'], 'generation_id': names.generation_id(),
        'snapshot_info': {'power-state-at-snapshot': power_state,
                          'disk-snapshot-type': 'crash_consistent'},
        'snapshot_metadata': metadata.write(running.ref, dict(record, snapshot_metadata=''))},
        running.name)
    running.write('parent', copied)
    return copied


def _copy(running: Operation, changes: Dict[str, Any], kind: str) -> str:
    state, names = running.state, running.state.names
    running.pass_points(2)
    with state.database.lock:
        running.check()
        parent = state.database.get('VM', running.ref).fields
        fields = dict(parent, **FRESH)
        fields['other_config'] = dict(parent['other_config'], mac_seed=names.uuid())
        fields.update(changes)
        fields.update(uuid=names.uuid(), current_operations={running.task: kind},
                      suspend_VDI=_copy_image(state, parent['suspend_VDI']),
                      guest_metrics=_copy_row(state, 'VM_guest_metrics', parent['guest_metrics']))
        if fields['suspend_VDI'] != NULL:
            fields['power_state'] = 'Suspended'
        copied = create(state, fields)
    running.pause(state.settings.step_seconds)
    with state.database.lock:
        running.check()
        state.database.write('VM', copied, 'current_operations', {})
        refresh_allowed(state, copied)
    return copied


def _copy_row(state: State, table: str, ref: str) -> str:
    """Make a row like another, under a UUID of its own; return NULL when there is none."""
    row = state.database.find(table, ref)
    if row is None:
        return NULL
    copied = state.names.ref()
    state.database.create(table, copied, dict(row.fields, uuid=state.names.uuid()))
    return copied


def _copy_image(state: State, image: str) -> str:
    platform = state.hypervisor.images.get(image)
    if platform is None:
        return NULL
    copied = state.names.ref()
    state.database.create('VDI', copied, build_vdi(state.names.uuid(), 'Suspend image'))
    state.hypervisor.images[copied] = platform
    return copied


def _stop(running: Operation) -> None:
    """Bring the VM to a halt before it is reverted."""
    power_state = running.read('power_state')
    if power_state == 'Suspended':
        drop_suspended(running)
    elif power_state != 'Halted':
        halt(running)


def _restore(running: Operation, snapshot: str) -> None:
    """Write back what the VM was when the snapshot was taken, whatever became of its row."""
    state = running.state
    kept = state.database.get('VM', snapshot).fields
    current = state.database.get('VM', running.ref).fields
    wanted = kept
    if kept['snapshot_metadata']:
        wanted = metadata.read(kept['snapshot_metadata'], current)
    for field, value in wanted.items():
        if field == 'generation_id':
            value = state.names.generation_id()
        if field not in KEPT_BY_REVERT:
            running.write(field, value)
    for table, field in (('VM_guest_metrics', 'guest_metrics'), ('VM_metrics', 'metrics')):
        _replace_row(running, table, field, kept[field])
    image = _copy_image(state, kept['suspend_VDI'])
    if image != NULL:
        running.write('suspend_VDI', image)
        running.write('power_state', 'Suspended')


def _replace_row(running: Operation, table: str, field: str, source: str) -> None:
    database, old = running.state.database, running.read(field)
    with database.lock:
        running.check()
        new = _copy_row(running.state, table, source)
    running.write(field, new)
    with database.lock:
        if database.find(table, old) is not None:
            database.destroy(table, old)
