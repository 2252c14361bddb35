"""Starting a VM, in the order of XAPI's writes.

VM.platform is read once, in _push_metadata: that is the cut-off, and no event marks it.
"""

import time
from typing import Dict, Optional

from simulator.database.rows import NULL
from simulator.database.schema import BIOS_STRINGS, DEVICE_MODEL, UPSTREAM
from simulator.hypervisor.domains import KEY, Cutoff, Domain
from simulator.state import upgrade_rules
from simulator.state.pool_state import State, now
from simulator.vms.domain_writes import (AlreadyRuns, build_regardless, claim, forget_guest_metrics,
                                         publish)
from simulator.vms.operations import Operation, list_devices, operation, pick_host
from simulator.wire.failures import Failure, XapiGone

TRAD = 'qemu-trad'
UNSET_GENERATION = '0:0'


def start(state: State, task: str, ref: str, paused: bool, host: Optional[str] = None) -> None:
    """Start a halted VM, here or on a named host."""
    name = 'start' if host is None else 'start_on'
    with operation(state, ref, name, task) as running:
        try:
            _start(running, paused, host)
        except AlreadyRuns:
            running.write('scheduled_to_be_resident_on', NULL)
            _mark_devices(running, {})
            raise
        except Failure:
            _undo_start(running)
            raise


def _start(running: Operation, paused: bool, host: Optional[str]) -> None:
    state = running.state
    running.deadline = time.monotonic() + state.settings.cutoff_seconds
    _mark_devices(running, {running.task: 'attach'})
    running.pass_points(2)
    running.write('bios_strings', running.read('bios_strings') or dict(BIOS_STRINGS))
    if host is not None:
        upgrade_rules.assert_newest(state, host)
    chosen = host or pick_host(state, running.ref)
    state.host_access.assert_reachable(chosen)
    _show_host_operation(running, chosen)
    try:
        running.write('scheduled_to_be_resident_on', chosen)
        _complete_platform(running)
        forget_guest_metrics(running)
        if running.read('generation_id') == UNSET_GENERATION:
            running.write('generation_id', state.names.generation_id())
        for table, device in list_devices(state, running.ref):
            running.write('currently_attached', True, table, device)
        running.pause(running.deadline - time.monotonic())
        running.deadline = None
        platform = _push_metadata(running)
        with state.inner_task('VM.start'):
            domain = _build_below(running, chosen, platform)
            running.pass_points(4)
            running.pause(state.settings.running_seconds)
        with state.inner_task('VM.atomic_set_resident_on'):
            claim(running, domain)
        publish(running, domain, 'Paused' if paused else 'Running')
        _mark_devices(running, {})
        state.messages.create('VM_STARTED', 'VM', running.read('uuid'), '', now())
    finally:
        _forget_host_operation(running, chosen)


def _push_metadata(running: Operation) -> Dict[str, str]:
    """Read VM.platform, once: later writes miss this boot."""
    with running.state.database.lock:
        running.check()
        platform = running.read('platform')
        hypervisor = running.state.hypervisor
        hypervisor.push(running.ref, platform, at_once=True)
        hypervisor.cutoffs.append(Cutoff(running.ref, running.task, platform.get(KEY),
                                         time.monotonic()))
        return platform


def _build_below(running: Operation, host: str, platform: Dict[str, str]) -> Domain:
    """Let xenopsd build the domain, which it does even when xapi has ended meanwhile."""
    state = running.state
    state.pause(state.settings.build_seconds)
    if running.is_cancelled:
        running.check()
    return build_regardless(running, host, platform, 'start')


def _complete_platform(running: Operation) -> None:
    """Write the whole map back when xapi has something to add: edits in between are lost."""
    state = running.state
    platform = running.read('platform')
    raced = bool(state.faults.take(('whole_map_race',), 'VM', running.ref))
    completed = dict(platform)
    if running.read('domain_type') == 'hvm' and completed.get(DEVICE_MODEL) in (None, TRAD):
        completed[DEVICE_MODEL] = UPSTREAM
    if completed.get('secureboot') == 'auto':
        completed['secureboot'] = 'false'
    if completed != platform or raced:
        running.pause(state.settings.whole_map_seconds)
        running.write('platform', completed)


def _mark_devices(running: Operation, operations: Dict[str, str]) -> None:
    for table, device in list_devices(running.state, running.ref):
        running.write('current_operations', operations, table, device)


def _show_host_operation(running: Operation, host: str) -> None:
    database = running.state.database
    with database.lock:
        running.check()
        shown = dict(database.read('host', host, 'current_operations'))
        shown[running.task] = 'vm_start'
        database.write('host', host, 'current_operations', shown)


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
