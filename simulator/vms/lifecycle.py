"""The life of a VM as XAPI lives it: each function is one operation, write by write.

The order of writes is that of XAPI's sources; between any two of them an event may fall.
Starting has a module of its own, start.py.
"""

from typing import Dict, Optional

from simulator.database.rows import NULL
from simulator.database.schema import build_vdi
from simulator.hypervisor.domains import Domain
from simulator.state import upgrade_rules
from simulator.state.pool_state import State
from simulator.vms.domain_writes import (abandoning, build, build_regardless, claim,
                                         destroy_consoles, find_clock, forget_image, freezes,
                                         launch, note_clock, publish, replace_guest_metrics,
                                         write_metrics, write_start_time)
from simulator.vms.operations import Operation, cancel_others, list_devices, operation, pick_host
from simulator.wire.failures import Failure


def clean_shutdown(state: State, task: str, ref: str) -> None:
    """Stop a VM by asking the guest."""
    with operation(state, ref, 'clean_shutdown', task) as running:
        running.pause(state.settings.shutdown_seconds)
        halt(running)


def hard_shutdown(state: State, task: str, ref: str) -> None:
    """Stop a VM without asking, whatever else is under way."""
    with operation(state, ref, 'hard_shutdown', task) as running:
        cancel_others(running)
        with state.inner_task('VM.hard_shutdown'):
            running.pass_points(4)
            _pause_first(running)
        if running.read('power_state') == 'Suspended':
            drop_suspended(running)
        else:
            halt(running)


def reboot(state: State, task: str, ref: str, name: str) -> None:
    """Restart a VM by the API: xapi first pushes what the database holds."""
    with operation(state, ref, name, task) as running:
        if name == 'hard_reboot':
            cancel_others(running)
        for inner in ('VM.update_allowed_operations', 'VM.' + name):
            with state.inner_task(inner):
                running.pass_points(2)
        running.pass_points(1)
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


def migrate(state: State, task: str, ref: str, host: str, name: str = 'pool_migrate') -> None:
    """Move a running VM to another host of the pool, with the map of its boot."""
    state.database.get('host', host)
    with operation(state, ref, name, task) as running:
        state.host_access.assert_reachable(host)
        upgrade_rules.assert_not_older(state, _find_source(state, ref).host, host, ref)
        running.write('scheduled_to_be_resident_on', host)
        # While disks are copied the guest may restart; what moves is what runs then.
        running.pause(state.settings.suspend_seconds)
        running.check()
        source = _find_source(state, ref)
        platform = source.platform if freezes(state) else running.read('platform')
        launched = launch(running, host, platform, 'migration')
        with state.database.lock, abandoning(running, launched):
            running.check()
            domain = build(running, launched, 'migration')
            state.hypervisor.destroy(source)
        running.write('resident_on', host)
        running.write('scheduled_to_be_resident_on', NULL)
        running.write('domid', domain.domid)


def _find_source(state: State, ref: str) -> Domain:
    source = state.hypervisor.domains.get(ref)
    if source is None:
        raise Failure('INTERNAL_ERROR', [f'Does_not_exist(["VM", "{ref}"])'])
    return source


def pause(state: State, task: str, ref: str) -> None:
    """Stop a VM's processors."""
    with operation(state, ref, 'pause', task) as running:
        state.hypervisor.set_paused(ref, is_paused=True)
        running.write('power_state', 'Paused')


def unpause(state: State, task: str, ref: str) -> None:
    """Let a VM's processors go on."""
    with operation(state, ref, 'unpause', task) as running:
        state.hypervisor.set_paused(ref, is_paused=False)
        running.write('power_state', 'Running')


def halt(running: Operation) -> None:
    """End the domain, then say so: power_state first, domid last."""
    state = running.state
    with state.database.lock:
        # A xapi that has ended asks for nothing any more, of a later domain least of all.
        running.check()
        domain = state.hypervisor.domains.get(running.ref)
        clock = find_clock(running, domain)
        state.hypervisor.destroy(domain)
    running.write('power_state', 'Halted')
    for table, device in list_devices(state, running.ref):
        running.write('currently_attached', False, table, device)
    running.write('resident_on', NULL)
    running.write('scheduled_to_be_resident_on', NULL)
    running.write('domid', -1)
    # Behind all that (xapi_xenops.ml, update_vm): who halts of itself seems at rest by then.
    note_clock(running, clock)
    write_metrics(running, has_domain=False, domain_type='unspecified')
    destroy_consoles(state, running.ref)


def _pause_first(running: Operation) -> None:
    """Stop the processors before the domain ends, which may be seen."""
    if running.state.settings.pause_seen and running.read('power_state') == 'Running':
        running.write('power_state', 'Paused')


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
    # xenopsd reboots a domain by itself: a xapi that ends meanwhile does not end it.
    state.pause(state.settings.build_seconds)
    if running.is_cancelled:
        running.check()
    domain = build_regardless(running, host, platform, kind)
    running.pause(state.settings.running_seconds)
    running.write('power_state', 'Running')
    running.write('domid', domain.domid)
    replace_guest_metrics(running)
    write_metrics(running, has_domain=False)
    write_metrics(running, has_domain=True)
    write_start_time(running)


def save_image(running: Operation) -> None:
    """Suspend: the frozen map goes into the image.

    In a checkpoint the record keeps host and domid, so that the old domid is seen Running again.
    """
    state = running.state
    domain = state.hypervisor.domains.get(running.ref)
    image = state.names.ref()
    with state.database.lock:
        running.check()
        state.database.create('VDI', image, build_vdi(state.names.uuid(), 'Suspend image'))
    running.write('suspend_VDI', image)
    running.pause(state.settings.suspend_seconds)
    with state.database.lock:
        running.check()
        state.hypervisor.images[image] = domain.platform if domain else running.read('platform')
        state.hypervisor.destroy(domain)
    running.write('power_state', 'Suspended')
    if running.name != 'checkpoint':
        running.write('resident_on', NULL)
        running.write('domid', -1)
    destroy_consoles(state, running.ref)


def load_image(running: Operation, host: str) -> None:
    """Resume: the domain is built from the image, not from the record."""
    take_in(running, running.read('suspend_VDI'), host, 'resume')
    running.write('suspend_VDI', NULL)


def take_in(running: Operation, image: str, host: str, kind: str = 'migration') -> None:
    """Build a domain from a memory image, and tell of it."""
    state = running.state
    running.write('scheduled_to_be_resident_on', host)
    running.pause(state.settings.suspend_seconds)
    running.check()
    current = running.read('platform')
    platform = state.hypervisor.images.get(image, current) if freezes(state) else current
    launched = launch(running, host, platform, kind)
    with state.database.lock, abandoning(running, launched):
        running.check()
        domain = build(running, launched, kind)
        forget_image(state, image)
    claim(running, domain)
    publish(running, domain, 'Running')
