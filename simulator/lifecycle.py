"""The life of a VM as XAPI lives it: each function is one operation, write by write.

The order of writes is that of docs on XAPI's sources; between any two of them an event may fall.
A start reads VM.platform once, in _push_metadata: that is the cut-off.
"""

import time
from typing import Any, Dict, Optional

from simulator.database import NULL
from simulator.failures import Failure, XapiGone
from simulator.host import ConsumerCrashed
from simulator.hypervisor import Domain
from simulator.operations import (Operation, cancel_others, list_devices, operation, pick_host)
from simulator.records import BIOS_STRINGS, build_console, build_guest_metrics, build_vdi
from simulator.state import State, now

FREEZES_SINCE = (22, 7)  # before it, resume and migration took the map as it stood in the database


def start(state: State, task: str, ref: str, paused: bool, host: Optional[str] = None) -> None:
    """Start a halted VM, here or on a named host."""
    name = 'start' if host is None else 'start_on'
    with operation(state, ref, name, task) as running:
        try:
            _start(running, paused, host)
        except Failure:
            _undo_start(running)
            raise


def clean_shutdown(state: State, task: str, ref: str) -> None:
    """Stop a VM by asking the guest."""
    with operation(state, ref, 'clean_shutdown', task) as running:
        running.pause(state.settings.shutdown_seconds)
        halt(running)


def hard_shutdown(state: State, task: str, ref: str) -> None:
    """Stop a VM without asking, whatever else is under way."""
    with operation(state, ref, 'hard_shutdown', task) as running:
        cancel_others(running)
        if running.read('power_state') == 'Suspended':
            drop_suspended(running)
        else:
            halt(running)


def reboot(state: State, task: str, ref: str, name: str) -> None:
    """Restart a VM by the API: xapi first pushes what the database holds."""
    with operation(state, ref, name, task) as running:
        if name == 'hard_reboot':
            cancel_others(running)
        with state.database.lock:
            state.hypervisor.push(ref, running.read('platform'), at_once=True)
            platform = state.hypervisor.pushed(ref)
        running.pause(state.settings.shutdown_seconds if name == 'clean_reboot' else 0.0)
        rebuild(running, platform, 'reboot')


def suspend(state: State, task: str, ref: str) -> None:
    """Write a VM's memory away, and with it the platform map of its boot."""
    with operation(state, ref, 'suspend', task) as running:
        save_image(running)


def resume(state: State, task: str, ref: str, host: Optional[str] = None) -> None:
    """Bring a suspended VM back, with the map of the boot that was suspended."""
    name = 'resume' if host is None else 'resume_on'
    with operation(state, ref, name, task) as running:
        load_image(running, host or pick_host(state, ref))


def migrate(state: State, task: str, ref: str, host: str) -> None:
    """Move a running VM to another host of the pool, with the map of its boot."""
    state.database.get('host', host)
    with operation(state, ref, 'pool_migrate', task) as running:
        source = state.hypervisor.domains.get(ref)
        if source is None:
            raise Failure('INTERNAL_ERROR', ['Does_not_exist(["VM", "%s"])' % ref])
        running.write('scheduled_to_be_resident_on', host)
        running.pause(state.settings.suspend_seconds)
        with state.database.lock:
            running.check()
            platform = source.platform if _freezes(state) else running.read('platform')
            domain = _build(running, host, platform, 'migration')
            state.hypervisor.destroy(source)
        running.write('resident_on', host)
        running.write('scheduled_to_be_resident_on', NULL)
        running.write('domid', domain.domid)


def pause(state: State, task: str, ref: str) -> None:
    """Stop a VM's processors."""
    with operation(state, ref, 'pause', task) as running:
        running.write('power_state', 'Paused')


def unpause(state: State, task: str, ref: str) -> None:
    """Let a VM's processors go on."""
    with operation(state, ref, 'unpause', task) as running:
        running.write('power_state', 'Running')


def halt(running: Operation) -> None:
    """End the domain, then say so: power_state first, domid last."""
    state = running.state
    with state.database.lock:
        state.hypervisor.destroy(state.hypervisor.domains.get(running.ref))
    running.write('power_state', 'Halted')
    for table, device in list_devices(state, running.ref):
        running.write('currently_attached', False, table, device)
    running.write('resident_on', NULL)
    running.write('scheduled_to_be_resident_on', NULL)
    running.write('domid', -1)
    _destroy_consoles(state, running.ref)


def drop_suspended(running: Operation) -> None:
    """Halt a suspended VM; this empties current_operations, those of others too."""
    state = running.state
    with state.database.lock:
        forget_image(state, running.read('suspend_VDI'))
    running.write('suspend_VDI', NULL)
    running.write('power_state', 'Halted')
    running.write('current_operations', {})


def rebuild(running: Operation, platform: Dict[str, str], kind: str) -> None:
    """Replace a VM's domain by a new one: only domid and start_time tell of it."""
    state = running.state
    with state.database.lock:
        running.check()
        old = state.hypervisor.domains.get(running.ref)
        host = old.host if old else running.read('resident_on')
        state.hypervisor.destroy(old)
        state.hypervisor.push(running.ref, running.read('platform'))
    running.pause(state.settings.build_seconds)
    with state.database.lock:
        running.check()
        domain = _build(running, host, platform, kind)
    running.pause(state.settings.running_seconds)
    running.write('power_state', 'Running')
    running.write('domid', domain.domid)
    _write_start_time(running)


def save_image(running: Operation) -> None:
    """Suspend: the frozen map goes into the image."""
    state = running.state
    domain = state.hypervisor.domains.get(running.ref)
    image = state.names.ref()
    with state.database.lock:
        running.check()
        state.database.create('VDI', image, build_vdi(state.names.uuid(), 'Suspend image'))
    running.write('suspend_VDI', image)
    running.pause(state.settings.suspend_seconds)
    with state.database.lock:
        state.hypervisor.images[image] = domain.platform if domain else running.read('platform')
        state.hypervisor.destroy(domain)
    running.write('power_state', 'Suspended')
    running.write('resident_on', NULL)
    running.write('domid', -1)
    _destroy_consoles(state, running.ref)


def load_image(running: Operation, host: str) -> None:
    """Resume: the domain is built from the image, not from the record."""
    take_in(running, running.read('suspend_VDI'), host, 'resume')
    running.write('suspend_VDI', NULL)


def take_in(running: Operation, image: str, host: str, kind: str = 'migration') -> None:
    """Build a domain from a memory image, and tell of it."""
    state = running.state
    running.write('scheduled_to_be_resident_on', host)
    running.pause(state.settings.suspend_seconds)
    with state.database.lock:
        running.check()
        current = running.read('platform')
        platform = state.hypervisor.images.get(image, current) if _freezes(state) else current
        domain = _build(running, host, platform, kind)
        forget_image(state, image)
    _publish(running, domain, 'Running')


def forget_image(state: State, image: str) -> None:
    """Destroy a memory image."""
    state.hypervisor.images.pop(image, None)
    if state.database.find('VDI', image) is not None:
        state.database.destroy('VDI', image)


def _start(running: Operation, paused: bool, host: Optional[str]) -> None:
    state = running.state
    began = time.monotonic()
    _mark_devices(running, {running.task: 'attach'})
    running.write('bios_strings', running.read('bios_strings') or dict(BIOS_STRINGS))
    chosen = host or pick_host(state, running.ref)
    operations = dict(state.database.read('host', chosen, 'current_operations'))
    operations[running.task] = 'vm_start'
    running.write('current_operations', operations, 'host', chosen)
    try:
        running.write('scheduled_to_be_resident_on', chosen)
        _complete_platform(running)
        _destroy_guest_metrics(running)
        running.write('hardware_platform_version', 0)
        for table, device in list_devices(state, running.ref):
            running.write('currently_attached', True, table, device)
        running.pause(began + state.settings.cutoff_seconds - time.monotonic())
        platform = _push_metadata(running)
        running.pause(state.settings.build_seconds)
        with state.database.lock:
            running.check()
            domain = _build(running, chosen, platform, 'start')
        running.pause(state.settings.running_seconds)
        _publish(running, domain, 'Paused' if paused else 'Running')
        _mark_devices(running, {})
    finally:
        _forget_host_operation(running, chosen)


def _push_metadata(running: Operation) -> Dict[str, str]:
    """Read VM.platform, once: later writes miss this boot."""
    with running.state.database.lock:
        running.check()
        platform = running.read('platform')
        running.state.hypervisor.push(running.ref, platform, at_once=True)
        return platform


def _complete_platform(running: Operation) -> None:
    """Write the whole map back when xapi has something to add: edits in between are lost."""
    state = running.state
    platform = running.read('platform')
    raced = bool(state.faults.take(('whole_map_race',), 'VM', running.ref))
    completed = dict(platform)
    completed.setdefault('device-model', 'qemu-upstream-compat')
    if completed.get('secureboot') == 'auto':
        completed['secureboot'] = 'false'
    if completed != platform or raced:
        running.pause(state.settings.whole_map_seconds)
        running.write('platform', completed)


def _publish(running: Operation, domain: Domain, power_state: str) -> None:
    """Tell the database of a new domain: Running long before the domid is known."""
    state = running.state
    running.write('resident_on', domain.host)
    running.write('scheduled_to_be_resident_on', NULL)
    running.write('power_state', power_state)
    _create_guest_metrics(running)
    running.write('domid', domain.domid)
    with state.database.lock:
        running.check()
        state.database.create('console', state.names.ref(), build_console(
            state.names.uuid(), running.ref))
    running.write('memory_target', running.read('memory_dynamic_max'))
    _rewrite_timeoffset(running)
    _write_start_time(running)


def _rewrite_timeoffset(running: Operation) -> None:
    database = running.state.database
    offset = running.read('platform').get('timeoffset', '0')
    set_timeoffset(running, offset)
    with database.lock:
        running.check()
        database.write('VM', running.ref, 'last_boot_CPU_flags', {'vendor': 'GenuineIntel'})


def set_timeoffset(running: Operation, offset: str) -> None:
    """Remove and add the key, two writes, as xapi does on each change of a guest's clock."""
    database = running.state.database
    with database.lock:
        running.check()
        database.remove_from_map('VM', running.ref, 'platform', 'timeoffset')
    running.pause(running.state.settings.step_seconds)
    with database.lock:
        running.check()
        database.add_to_map('VM', running.ref, 'platform', 'timeoffset', offset)


def _write_start_time(running: Operation) -> None:
    metrics = running.read('metrics')
    if running.state.database.find('VM_metrics', metrics) is not None:
        running.write('start_time', now(), 'VM_metrics', metrics)


def _mark_devices(running: Operation, operations: Dict[str, str]) -> None:
    for table, device in list_devices(running.state, running.ref):
        running.write('current_operations', operations, table, device)


def _build(running: Operation, host: str, platform: Dict[str, str], kind: str) -> Domain:
    state = running.state
    record = state.database.get('VM', running.ref).fields
    struck = state.faults.take(('boot_failure',), 'VM', running.ref)
    if struck:
        raise Failure(struck[0].parameters.get('code', 'INTERNAL_ERROR'),
                      struck[0].parameters.get('params', ['xenopsd failed']))
    for fault in state.faults.take(('consumer',), 'VM', running.ref):
        record = dict(record)
        return _build_with(state, fault.parameters.get('consumer', 'off'), record, running, host,
                           platform, kind)
    return _build_with(state, state.hypervisor.consumer, record, running, host, platform, kind)


def _build_with(state: State, consumer: str, record: Dict[str, Any], running: Operation,
                host: str, platform: Dict[str, str], kind: str) -> Domain:
    try:
        domain = state.hypervisor.build(running.ref, record, host, platform, kind, running.task,
                                        consumer)
    except ConsumerCrashed as error:
        raise Failure('INTERNAL_ERROR', [f'xenopsd: device model died: {error}']) from error
    state.tell()
    return domain


def _freezes(state: State) -> bool:
    return state.settings.version >= FREEZES_SINCE


def _create_guest_metrics(running: Operation) -> None:
    state = running.state
    ref = state.names.ref()
    with state.database.lock:
        running.check()
        state.database.create('VM_guest_metrics', ref, build_guest_metrics(state.names.uuid()))
    running.write('guest_metrics', ref)


def _destroy_guest_metrics(running: Operation) -> None:
    database = running.state.database
    ref = running.read('guest_metrics')
    if database.find('VM_guest_metrics', ref) is not None:
        running.write('guest_metrics', NULL)
        with database.lock:
            database.destroy('VM_guest_metrics', ref)


def _destroy_consoles(state: State, ref: str) -> None:
    with state.database.lock:
        for console in list(state.database.read('VM', ref, 'consoles')):
            state.database.destroy('console', console)


def _forget_host_operation(running: Operation, host: str) -> None:
    database = running.state.database
    with database.lock:
        if running.epoch == running.state.epoch:
            left = dict(database.read('host', host, 'current_operations'))
            left.pop(running.task, None)
            database.write('host', host, 'current_operations', left)


def _undo_start(running: Operation) -> None:
    """Clean up after a start that failed or was cancelled."""
    state = running.state
    with state.database.lock:
        if running.epoch != state.epoch:
            raise XapiGone()
        if running.is_cancelled or state.database.find('VM', running.ref) is None:
            return
        state.hypervisor.destroy(state.hypervisor.domains.get(running.ref))
        for table, device in list_devices(state, running.ref):
            state.database.write(table, device, 'current_operations', {})
            state.database.write(table, device, 'currently_attached', False)
        for field, value in (('power_state', 'Halted'), ('resident_on', NULL),
                             ('scheduled_to_be_resident_on', NULL), ('domid', -1)):
            state.database.write('VM', running.ref, field, value)
