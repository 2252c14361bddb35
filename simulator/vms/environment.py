"""What happens to a pool without a call to XAPI: guests, hosts, clocks, imports, restarts."""

from typing import Any, Dict, List, Optional

from simulator.database import releases
from simulator.database.rows import NULL
from simulator.database.schema import build_host, build_host_metrics, build_pool, build_vm, coerce
from simulator.state.pool_state import State
from simulator.vms import copies, domain_writes, lifecycle, start
from simulator.vms.operations import Operation, list_devices, refresh_allowed
from simulator.wire.failures import Failure, handle_invalid

TEMPLATE_NAME = 'Debian Bookworm 12'


def populate(state: State) -> None:
    """Fill a new pool: hosts with their control domains, templates, VMs, snapshots."""
    settings, names, database = state.settings, state.names, state.database
    for number in range(1, settings.hosts + 1 + (not settings.is_master)):
        metrics, host = names.ref(), names.ref()
        database.create('host_metrics', metrics, build_host_metrics(names.uuid()))
        database.create('host', host, releases.drop_newer('host', build_host(
            names.uuid(), number, metrics, settings.xapi_version,
            releases.api_minor(settings.version)), settings.version))
        state.hosts.append(host)
        dom0 = create_vm(state, f'Control domain on host: host-{number}', is_control_domain=True,
                         power_state='Running', domid=0, resident_on=host, platform={})
        database.write('host', host, 'control_domain', dom0)
    master = state.hosts[0] if settings.is_master else state.hosts[-1]
    state.pool = names.ref()
    database.create('pool', state.pool, releases.drop_newer(
        'pool', build_pool(names.uuid(), master), settings.version))
    for number in range(1, settings.templates + 1):
        create_vm(state, f'{TEMPLATE_NAME} ({number})', is_a_template=True,
                  is_default_template=True)
    created = [create_vm(state, f'vm-{number:03}') for number in range(1, settings.vms + 1)]
    for number in range(settings.snapshots if created else 0):
        parent = created[number % len(created)]
        create_vm(state, f'snapshot-{number + 1}', is_a_snapshot=True, is_a_template=True,
                  snapshot_of=parent)


def create_vm(state: State, name: str, uuid: Optional[str] = None,
              platform: Optional[Dict[str, str]] = None, **fields: Any) -> str:
    """Add a halted ordinary VM; fields override those of the record."""
    record = releases.drop_newer('VM', build_vm(uuid or state.names.uuid(), name),
                                 state.settings.version)
    record['other_config'] = {'mac_seed': state.names.uuid()}
    if state.settings.nvram_bytes:
        record['NVRAM'] = {'EFI-variables': 'V' * state.settings.nvram_bytes}
    if platform is not None:
        record['platform'] = dict(record['platform'], **platform)
    for field, value in fields.items():
        record[field] = coerce(record.get(field, value), value)
    with state.database.lock:
        ref = copies.create(state, record)
        refresh_allowed(state, ref)
    return ref


def find_vm(state: State, uuid: str) -> Optional[str]:
    """Return the reference of the VM with a UUID, or None."""
    with state.database.lock:
        for row in state.database.tables['VM'].rows.values():
            if row.fields['uuid'] == uuid:
                return row.ref
    return None


def guest_reboot(state: State, ref: str, kind: str = 'guest_reboot') -> None:
    """Restart a VM from inside: no operation, and the map that xapi pushed last."""
    running = _unannounced(state, ref)
    with state.database.lock:
        platform = state.hypervisor.pushed(ref)
    lifecycle.rebuild(running, platform, kind)


def guest_shutdown(state: State, ref: str) -> None:
    """Stop a VM from inside: no operation."""
    lifecycle.halt(_unannounced(state, ref))
    _refresh(state, ref)


def guest_crash(state: State, ref: str) -> None:
    """Crash a guest; what follows is the VM's own actions_after_crash."""
    action = state.database.read('VM', ref, 'actions_after_crash')
    if 'restart' in action:
        guest_reboot(state, ref, 'crash_restart')
    elif action != 'preserve':
        guest_shutdown(state, ref)


def change_timeoffset(state: State, ref: str, offset: str) -> None:
    """Let a guest set its clock."""
    domain_writes.set_timeoffset(Operation(state, ref, '', NULL), offset)


def import_vm(state: State, name: str, uuid: Optional[str] = None,
              platform: Optional[Dict[str, str]] = None, **fields: Any) -> str:
    """Import a VM: halted and without operations, first under a fresh UUID, then its own."""
    ref = create_vm(state, name, None, platform, **fields)
    state.pause(state.settings.step_seconds * 5)
    if uuid is not None:
        with state.database.lock:
            state.database.write('VM', ref, 'uuid', uuid)
    return ref


def arrive(state: State, name: str, uuid: str, platform: Optional[Dict[str, str]] = None,
           frozen: Optional[Dict[str, str]] = None, **fields: Any) -> str:
    """Take in a running VM of another pool, with the map of its boot there.

    No operation tells of it here: all that is seen is the host that the VM is to come to.
    """
    ref = import_vm(state, name, uuid, platform, **fields)
    task = state.create_task('VM.migrate_send')
    running = Operation(state, ref, 'migrate_send', task)
    image = state.names.ref()
    with state.database.lock:
        current = running.read('platform')
        state.hypervisor.images[image] = current if frozen is None else dict(current, **frozen)
    lifecycle.take_in(running, image, state.this_host)
    _refresh(state, ref)
    state.destroy_task(task)
    return ref


def host_fails(state: State, host: str, restart: bool = True) -> List[str]:
    """Lose a host: its VMs are halted in the records; HA's list of whom to start comes back."""
    database = state.database
    with database.lock:
        metrics = database.read('host', host, 'metrics')
        database.write('host_metrics', metrics, 'live', False)
        database.write('host', host, 'enabled', False)
        lost = [ref for ref in list(database.read('host', host, 'resident_VMs'))
                if not database.read('VM', ref, 'is_control_domain')]
        for ref in lost:
            reset_power_state(state, ref)
    return lost if restart else []


def end_domains(state: State, host: str) -> None:
    """End every domain of a host."""
    with state.database.lock:
        for domain in list(state.hypervisor.domains.values()):
            if domain.host == host:
                state.hypervisor.destroy(domain)


def reset_power_state(state: State, ref: str) -> None:
    """Write off a VM whose host is gone."""
    state.hypervisor.destroy(state.hypervisor.domains.get(ref))
    for field, value in (('power_state', 'Halted'), ('resident_on', NULL),
                         ('scheduled_to_be_resident_on', NULL), ('domid', -1),
                         ('current_operations', {})):
        state.database.write('VM', ref, field, value)
    for table, device in list_devices(state, ref):
        state.database.write(table, device, 'currently_attached', False)
    refresh_allowed(state, ref)


def restart_database(state: State, mode: str, rollback_generations: int) -> None:
    """Begin a new life of xapi: sessions and tasks are gone, the records follow what runs."""
    if mode not in ('clean', 'crash'):
        raise ValueError(f'mode is clean or crash, not {mode!r}')
    with state.database.lock:
        state.underway.clear()
        state.end_waits()
        state.sessions.end_all()
        state.database.empty('task')
        if mode == 'crash':
            state.database.roll_back(max(state.database.generation - rollback_generations, 0))
            state.sessions.end_all()
            state.database.empty('task')
        state.database.reload()


def release_locks(state: State) -> None:
    """Write what xapi does before it answers: no operations, and what is Halted is on no host."""
    with state.database.lock:
        for ref, row in list(state.database.tables['VM'].rows.items()):
            state.database.write('VM', ref, 'current_operations', {})
            state.database.write('VM', ref, 'scheduled_to_be_resident_on', NULL)
            if row.fields['power_state'] == 'Halted':
                state.database.write('VM', ref, 'resident_on', NULL)


def resynchronise(state: State) -> None:
    """Write what xapi finds out when it comes up: no operations, and the domains that run."""
    for ref in list(state.database.tables['VM'].rows):
        with state.database.lock:
            row = state.database.find('VM', ref)
            if row is None or row.fields['is_control_domain']:
                continue
            state.database.write('VM', ref, 'current_operations', {})
            _follow_hypervisor(state, ref, row.fields)
            refresh_allowed(state, ref)
    for host in state.hosts:
        state.database.write('host', host, 'current_operations', {})


def follow_hosts(state: State, hosts: List[str]) -> None:
    """Write what hosts that have come up tell of themselves: they live, and what runs there."""
    with state.database.lock:
        for host in hosts:
            metrics = state.database.read('host', host, 'metrics')
            state.database.write('host_metrics', metrics, 'live', True)
            state.database.write('host', host, 'enabled', True)
        for row in list(state.database.tables['VM'].rows.values()):
            domain = state.hypervisor.domains.get(row.ref)
            is_theirs = row.fields['resident_on'] in hosts or (
                domain is not None and domain.host in hosts)
            busy = any(running.ref == row.ref for running in state.underway)
            if row.fields['is_control_domain'] or not is_theirs:
                continue
            if not busy:
                _follow_hypervisor(state, row.ref, row.fields)
                refresh_allowed(state, row.ref)
            elif domain is not None and domain.host in hosts:
                # What this master has begun with the VM goes on; two domains must not.
                state.hypervisor.destroy(domain)


def start_all(state: State, refs: List[str]) -> List[Failure]:
    """Start VMs one after the other, as HA and auto power-on do; return what was refused."""
    refused = []
    for ref in refs:
        task = state.create_task('VM.start')
        try:
            start.start(state, task, ref, False)
        except Failure as failure:
            refused.append(failure)
        state.destroy_task(task)
    return refused


def list_auto_poweron(state: State) -> List[str]:
    """List the halted VMs that want to be started when their host comes up."""
    with state.database.lock:
        return [row.ref for row in state.database.tables['VM'].rows.values()
                if row.fields['other_config'].get('auto_poweron') == 'true'
                and row.fields['power_state'] == 'Halted' and not row.fields['is_a_template']]


def _follow_hypervisor(state: State, ref: str, fields: Dict[str, Any]) -> None:
    host = fields['resident_on']
    if ref in state.hypervisor.domains:
        state.hypervisor.push(ref, fields['platform'])
        domain_writes.follow_domain(state, ref)
    elif fields['power_state'] in ('Running', 'Paused') and (
            host not in state.hosts or state.host_access.rules(host)):
        # What runs on a host that does not answer is unknown.
        reset_power_state(state, ref)
    elif fields['power_state'] == 'Halted':
        # The writes of a halt may have been cut off half-way.
        reset_power_state(state, ref)
    state.database.write('VM', ref, 'scheduled_to_be_resident_on', NULL)


def _unannounced(state: State, ref: str) -> Operation:
    if state.database.find('VM', ref) is None:
        raise handle_invalid('VM', ref)
    if ref not in state.hypervisor.domains:
        raise Failure('VM_BAD_POWER_STATE', [ref, 'running', 'halted'])
    return Operation(state, ref, '', NULL)


def _refresh(state: State, ref: str) -> None:
    with state.database.lock:
        refresh_allowed(state, ref)
