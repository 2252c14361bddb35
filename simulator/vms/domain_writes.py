"""Domains and what is written when they come and go; all operations share it."""

import contextlib
from typing import Dict, Iterator, Optional

from simulator.database.rows import NULL
from simulator.database.schema import build_console, build_guest_metrics
from simulator.hypervisor.consumer import ConsumerCrashed
from simulator.hypervisor.domains import Domain, Launched
from simulator.state.pool_state import State, now
from simulator.vms.operations import Operation
from simulator.wire.failures import Failure, XapiGone

FREEZES_SINCE = (22, 7)  # before it, resume and migration took the map as it stood in the database


class AlreadyRuns(Failure):
    """A domain of the VM runs already, whatever its record says; its disks are in use."""

    def __init__(self, ref: str) -> None:
        super().__init__('INTERNAL_ERROR', [f'xenopsd: Already_exists("domain", "{ref}")'])


def build_regardless(running: Operation, host: str, platform: Dict[str, str],
                     kind: str) -> Domain:
    """Build a domain as xenopsd does, whether xapi is still there or not.

    When it is not, the master that rules the host by now learns of the domain. Wants no lock
    held."""
    state = running.state
    if running.epoch == state.epoch:
        state.host_access.assert_reachable(host)
    elif not state.host_access.is_up(host):
        raise XapiGone()
    launched = launch(running, host, platform, kind)
    with state.database.lock:
        with abandoning(running, launched):
            if running.is_cancelled:
                running.check()
            if running.epoch == state.epoch:
                state.host_access.assert_reachable(host)
                if running.ref in state.hypervisor.domains:
                    raise AlreadyRuns(running.ref)
                return build(running, launched, kind)
            ruler = state.host_access.find_ruler(host)
            # A VM that another xapi has started meanwhile holds its disks.
            if state.host_access.is_up(host) and not state.hardware.domains.get(running.ref):
                build(running, launched, kind)
                if ruler is not None and ruler.database.find('VM', running.ref) is not None:
                    follow_domain(ruler, running.ref)
                raise XapiGone()
        state.hypervisor.abandon(launched)
    raise XapiGone()


def launch(running: Operation, host: str, platform: Dict[str, str], kind: str) -> Launched:
    """Create a domain from a platform map and start its QEMU, which takes a while."""
    state = running.state
    struck = state.faults.take(('boot_failure',), 'VM', running.ref)
    if struck:
        raise Failure(struck[0].parameters.get('code', 'INTERNAL_ERROR'),
                      struck[0].parameters.get('params', ['xenopsd failed']))
    consumer = state.hardware.consumer_of(host)
    for fault in state.faults.take(('consumer',), 'VM', running.ref):
        consumer = fault.parameters.get('consumer', 'off')
    record = state.database.get('VM', running.ref).fields
    try:
        return state.hypervisor.launch(running.ref, record, host, platform, kind, consumer)
    except ConsumerCrashed as error:
        raise Failure('INTERNAL_ERROR', [f'xenopsd: device model died: {error}']) from error


@contextlib.contextmanager
def abandoning(running: Operation, launched: Launched) -> Iterator[None]:
    """End a domain that was launched when the operation that wanted it has no future."""
    try:
        yield
    except Failure:
        running.state.hypervisor.abandon(launched)
        raise
    except XapiGone:
        if launched.domain not in running.state.hardware.domains.get(running.ref, ()):
            running.state.hypervisor.abandon(launched)
        raise


def build(running: Operation, launched: Launched, kind: str) -> Domain:
    """Have a domain that was launched run."""
    domain = running.state.hypervisor.build(launched, kind, running.task)
    running.state.tell()
    return domain


def claim(running: Operation, domain: Domain) -> None:
    """Write where a VM runs; only then its host may write the rest."""
    running.write('resident_on', domain.host)
    running.write('scheduled_to_be_resident_on', NULL)


def publish(running: Operation, domain: Domain, power_state: str) -> None:
    """Tell the database of a new domain: Running long before the domid is known.

    Of a VM without metrics xapi writes nothing: it stumbles over them before the first write.
    """
    state = running.state
    if state.database.find('VM_metrics', running.read('metrics')) is None:
        return
    state.hypervisor.set_paused(running.ref, is_paused=power_state == 'Paused')
    running.write('power_state', power_state)
    running.refresh_allowed()
    replace_guest_metrics(running)
    running.write('domid', domain.domid)
    with state.database.lock:
        running.check()
        state.database.create('console', state.names.ref(), build_console(
            state.names.uuid(), running.ref))
    running.write('last_boot_CPU_flags', {'vendor': 'GenuineIntel', 'features': ''})
    write_metrics(running, has_domain=True)
    write_start_time(running)


def follow_domain(state: State, ref: str) -> None:
    """Write what a xapi that has just come up learns of a domain."""
    domain = state.hypervisor.domains[ref]
    power_state = 'Paused' if state.hypervisor.is_paused(domain) else 'Running'
    for field, value in (('resident_on', domain.host), ('power_state', power_state),
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


def find_clock(running: Operation, domain: Optional[Domain]) -> Optional[str]:
    """Return what a guest has set its clock to while it ran, which xapi learns at its end."""
    hardware = running.state.hardware
    if domain is None:
        return None
    offset = hardware.clocks.pop(running.ref, None)
    if offset is None and running.state.settings.guests_set_clock:
        current = running.read('platform').get('timeoffset', '0')
        offset = str(int(current) + 1) if current.lstrip('-').isdigit() else '1'
    return offset


def note_clock(running: Operation, offset: Optional[str]) -> None:
    """Write the clock that a guest has set while it ran, if it differs."""
    if offset is not None and running.read('platform').get('timeoffset') != offset:
        set_timeoffset(running, offset)


def write_metrics(running: Operation, *, has_domain: bool, domain_type: str = 'hvm') -> None:
    """Write what a domain has, or that there is none."""
    metrics = running.read('metrics')
    if running.state.database.find('VM_metrics', metrics) is None:
        return
    for field, value in (
            ('memory_actual', running.read('memory_dynamic_max') if has_domain else 0),
            ('VCPUs_number', running.read('VCPUs_at_startup') if has_domain else 0),
            ('current_domain_type', domain_type)):
        running.write(field, value, 'VM_metrics', metrics)


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


def replace_guest_metrics(running: Operation) -> None:
    """Begin with what the guest tells of itself from the beginning."""
    state = running.state
    ref = state.names.ref()
    forget_guest_metrics(running)
    with state.database.lock:
        running.check()
        state.database.create('VM_guest_metrics', ref, build_guest_metrics(
            state.names.uuid(), state.settings.guest_tools))
    running.write('guest_metrics', ref)


def forget_guest_metrics(running: Operation) -> None:
    """Destroy what the guest told of itself at its last boot."""
    database = running.state.database
    ref = running.read('guest_metrics')
    if database.find('VM_guest_metrics', ref) is not None:
        running.write('guest_metrics', NULL)
        with database.lock:
            database.destroy('VM_guest_metrics', ref)
