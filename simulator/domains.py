"""Domains and what is written when they come and go; all operations share it."""

from typing import Dict

from simulator.database import NULL
from simulator.failures import Failure, XapiGone
from simulator.host import ConsumerCrashed
from simulator.hypervisor import Domain
from simulator.operations import Operation
from simulator.records import build_console, build_guest_metrics
from simulator.state import State, now

FREEZES_SINCE = (22, 7)  # before it, resume and migration took the map as it stood in the database


def build_regardless(running: Operation, host: str, platform: Dict[str, str],
                     kind: str) -> Domain:
    """Build a domain as xenopsd does, whether xapi is still there or not.

    When it is not, whoever rules the host by now learns of the domain."""
    state = running.state
    if running.epoch == state.epoch:
        state.site.assert_reachable(host)
        return build(running, host, platform, kind)
    if state.site.is_up(host):
        build(running, host, platform, kind)
        ruler = state.site.find_ruler(host)
        if ruler is not None and ruler.database.find('VM', running.ref) is not None:
            follow_domain(ruler, running.ref)
    raise XapiGone()


def build(running: Operation, host: str, platform: Dict[str, str], kind: str) -> Domain:
    """Create a domain from a platform map."""
    state = running.state
    struck = state.faults.take(('boot_failure',), 'VM', running.ref)
    if struck:
        raise Failure(struck[0].parameters.get('code', 'INTERNAL_ERROR'),
                      struck[0].parameters.get('params', ['xenopsd failed']))
    consumer = state.ground.consumer_of(host)
    for fault in state.faults.take(('consumer',), 'VM', running.ref):
        consumer = fault.parameters.get('consumer', 'off')
    record = state.database.get('VM', running.ref).fields
    try:
        domain = state.hypervisor.build(running.ref, record, host, platform, kind, running.task,
                                        consumer)
    except ConsumerCrashed as error:
        raise Failure('INTERNAL_ERROR', [f'xenopsd: device model died: {error}']) from error
    state.tell()
    return domain


def publish(running: Operation, domain: Domain, power_state: str) -> None:
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
    write_start_time(running)


def follow_domain(state: State, ref: str) -> None:
    """Write what a xapi that has just come up learns of a domain."""
    domain = state.hypervisor.domains[ref]
    paused = state.database.read('VM', ref, 'power_state') == 'Paused'
    for field, value in (('resident_on', domain.host),
                         ('power_state', 'Paused' if paused else 'Running'),
                         ('domid', domain.domid)):
        state.database.write('VM', ref, field, value)


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


def write_start_time(running: Operation) -> None:
    """Write when the VM booted, to the second."""
    metrics = running.read('metrics')
    if running.state.database.find('VM_metrics', metrics) is not None:
        running.write('start_time', now(), 'VM_metrics', metrics)


def forget_image(state: State, image: str) -> None:
    """Destroy a memory image."""
    state.hypervisor.images.pop(image, None)
    if state.database.find('VDI', image) is not None:
        state.database.destroy('VDI', image)


def destroy_consoles(state: State, ref: str) -> None:
    """Remove a VM's consoles."""
    with state.database.lock:
        for console in list(state.database.read('VM', ref, 'consoles')):
            state.database.destroy('console', console)


def freezes(state: State) -> bool:
    """Ask whether this xapi keeps the map of a boot for resume and migration."""
    return state.settings.version >= FREEZES_SINCE


def _rewrite_timeoffset(running: Operation) -> None:
    database = running.state.database
    offset = running.read('platform').get('timeoffset', '0')
    set_timeoffset(running, offset)
    with database.lock:
        running.check()
        database.write('VM', running.ref, 'last_boot_CPU_flags', {'vendor': 'GenuineIntel'})


def _create_guest_metrics(running: Operation) -> None:
    state = running.state
    ref = state.names.ref()
    with state.database.lock:
        running.check()
        state.database.create('VM_guest_metrics', ref, build_guest_metrics(state.names.uuid()))
    running.write('guest_metrics', ref)
