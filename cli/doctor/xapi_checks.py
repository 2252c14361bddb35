"""The checks of `doctor` that ask XAPI: version, role, platform filter, clock, blocks, VMs."""

import calendar
import time
from typing import Any, Dict, Iterator, List, Tuple

from cli.doctor.findings import Finding, bad, doubtful, good, skipped
from cli.output.text import escape, name_vm, plural
from watcher.xapi.role import OLDEST_XAPI, read_version

CLOCK_DOUBTFUL_SECONDS = 5
CLOCK_BAD_SECONDS = 60
_SHOWN = 5
# The states that need a person.
_ODD_STATES = ('drift', 'contested', 'orphaned', 'unreadable', 'doubled', 'waits_for_xapi',
               'fought_over')


def check_xapi(examination: Any) -> Iterator[Finding]:
    """Does XAPI answer, is it new enough, and may we write here?"""
    if examination.xapi_problem is not None:
        yield bad('xapi', str(examination.xapi_problem), "'systemctl status xapi'")
        for name in ('xapi.version', 'xapi.role'):
            yield skipped(name, 'XAPI does not answer')
        return
    live = examination.live
    yield good('xapi', f'answers on {examination.context.settings.xapi.url}')
    role, master = live.role, live.master
    if _is_silent(examination):
        yield skipped('xapi.version', 'a member does not let us in from elsewhere')
    else:
        yield _judge_version(role.xapi_version)
    if master is not None:
        yield good('xapi.role', f'a member; its master is {escape(master)}, which does the writing')
    else:
        yield good('xapi.role', 'the master' if role.is_local else 'asked over TCP')


def check_platform_filter(examination: Any) -> Iterator[Finding]:
    """Do platform keys reach xenopsd, or does the pool's licence filter them?"""
    if _is_silent(examination):
        yield skipped('platform-filter', 'XAPI cannot be asked here')
        return
    client = examination.live.client
    restrictions = client.call('pool.get_restrictions', client.read_pool_ref())
    value = restrictions.get('platform_filter') if isinstance(restrictions, dict) else None
    if value == 'false':
        yield good('platform-filter', 'is off: unknown platform keys reach xenopsd')
    elif value == 'true':
        yield bad('platform-filter', 'is on: device-model-args is dropped on the way to xenopsd',
                  'the licence of the pool switches it on; talk to its vendor')
    else:
        yield doubtful('platform-filter', f'is not told by XAPI ({escape(str(value))})',
                       'check that the next boot is as_desired')


def check_clock(examination: Any) -> Iterator[Finding]:
    """Do XAPI's clock and ours agree? History and receipts go by ours."""
    if _is_silent(examination):
        yield skipped('clock', 'XAPI cannot be asked here')
        return
    before = time.time()
    text = str(examination.live.client.call('host.get_servertime', examination.live.role.host))
    try:
        server = calendar.timegm(time.strptime(text.replace('-', '')[:17], '%Y%m%dT%H:%M:%S'))
    except ValueError:
        yield doubtful('clock', f'XAPI tells a time that is not understood: {escape(text)}',
                       'report it')
        return
    # XAPI tells whole seconds.
    apart = int(abs(server - (before + time.time()) / 2))
    saw = f"XAPI's clock and ours are {plural(apart, 'second')} apart"
    if apart > CLOCK_BAD_SECONDS:
        yield bad('clock', saw, 'set the clocks: chronyc tracking')
    elif apart > CLOCK_DOUBTFUL_SECONDS:
        yield doubtful('clock', saw, 'see to NTP: chronyc tracking')
    else:
        yield good('clock', saw)


def check_fences(examination: Any) -> Iterator[Finding]:
    """Has a version before 0.2 left a start block?"""
    if _is_silent(examination):
        yield skipped('fences', 'XAPI cannot be asked here')
        return
    from watcher.staging.start_blocks import list_blocks
    blocked = [name_vm(vm.name, vm.uuid) for vm in examination.live.read_vms() if list_blocks(vm)]
    if blocked:
        yield bad('fences', f'{plural(len(blocked), "VM")} cannot be started: {_some(blocked)}',
                  "'vgpu-admin fence clear'; a daemon that is alive does it by itself")
    else:
        yield good('fences', 'no VM has a start block of ours')


def check_vms(examination: Any) -> Iterator[Finding]:
    """Do the VMs carry what they should, and each number once?"""
    if _is_silent(examination) or examination.contents is None:
        for name in ('drift', 'numbers'):
            yield skipped(name, 'XAPI or the registry cannot be read here')
        return
    from cli.queries.pool_snapshot import read_pool
    pool = read_pool(examination.context, examination.contents)
    yield _judge_states(examination, pool)
    yield _judge_numbers(pool)
    odd = examination.live.odd
    if odd:
        yield doubtful('records', f'{plural(len(odd), "VM record")} cannot be understood: '
                       f'{_some(sorted(odd))}', 'those VMs are left alone; look at the records')


def _judge_version(text: str) -> Finding:
    version, _text = read_version({'xapi': text})
    if version is None or version < OLDEST_XAPI:
        return bad('xapi.version', f'{escape(text) or "not told"}; 22.7 or later is needed',
                   'upgrade XAPI; nothing is written until then')
    return good('xapi.version', escape(text))


def _is_silent(examination: Any) -> bool:
    """Whether XAPI cannot be asked about the pool here."""
    return examination.live is None or examination.live.client.handle is None


def _judge_states(examination: Any, pool: Any) -> Finding:
    from cli.queries.pool_snapshot import FOUGHT_OVER
    found: Dict[str, List[str]] = {}
    for uuid, plan in pool.list_plans().items():
        # Without a plan its row is not valid: see below.
        if plan is not None:
            found.setdefault(plan.state.value, []).append(uuid)
    faults = {fault.key: fault for fault in examination.contents.faults}
    if faults:
        found.setdefault('unreadable', []).extend(faults)
    fought_over = [vm.uuid for vm in pool.ordinary_vms if FOUGHT_OVER in pool.list_dangers(vm)]
    if fought_over:
        found[FOUGHT_OVER] = fought_over
    shown = {vm.uuid for vm in pool.ordinary_vms}
    gone = [row.vm_uuid for row in examination.contents.vms
            if row.vm_uuid not in shown and row.vm_uuid not in examination.live.odd]
    if gone:
        found.setdefault('orphaned', []).extend(gone)
    names = {row.vm_uuid: row.vm_name for row in examination.contents.vms}
    names.update((key, fault.vm_name) for key, fault in faults.items())
    names.update((vm.uuid, vm.name) for vm in pool.ordinary_vms)
    odd = [f"{state}: {_some([name_vm(names.get(uuid), uuid) for uuid in found[state]])}"
           for state in _ODD_STATES if state in found]
    if odd:
        return doubtful('drift', '; '.join(odd), "see 'vgpu-admin scan-vms'")
    words = ', '.join(f'{state} {len(uuids)}' for state, uuids in sorted(found.items()))
    return good('drift', f'none; {words or "no VMs"}')


def _judge_numbers(pool: Any) -> Finding:
    from watcher.vm.plan import list_numbers
    bearers: Dict[int, List[str]] = {}
    for vm, number in list_numbers(pool.ordinary_vms, pool.policy):
        bearers.setdefault(number, []).append(name_vm(vm.name, vm.uuid))
    doubled: List[Tuple[int, List[str]]] = sorted(
        (number, vms) for number, vms in bearers.items() if len(vms) > 1)
    if doubled:
        saw = '; '.join(f'{number} on {_some(vms)}' for number, vms in doubled[:_SHOWN])
        return bad('numbers', f'{plural(len(doubled), "number")} on several VMs: {saw}',
                   "one without a row: 'vgpu-admin register-vm' gives it another, and the daemon "
                   "mends a copy at rest; one with a row: 'vgpu-admin set-vm-id'")
    return good('numbers', f'{plural(len(bearers), "number")}, each on one VM')


def _some(items: List[str]) -> str:
    more = len(items) - _SHOWN
    return ', '.join(items[:_SHOWN]) + (f' and {more} more' if more > 0 else '')


CHECKS = (check_xapi, check_platform_filter, check_clock, check_fences, check_vms)
