"""A day of 10,000 VMs in minutes: the real Watcher in this process, on a clock that is set on.

Each simulated minute brings a thousand events, as of a pool whose guests report once in ten
minutes, a look at the registry, and a scan of all VMs. XAPI, the loop and sockets are not there:
`day` has these, with fewer VMs. QUICK_DAY_SCANS and QUICK_DAY_VMS make it shorter.
"""

import gc
import os
import shutil
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import span
from registry.store import Registry
from watcher.assembly import build_watcher
from watcher.config.policy import build_policy
from watcher.config.settings import MirrorSettings, Settings
from watcher.daemon import Watcher
from watcher.runtime import logs
from watcher.staging.jobs import Scan
from watcher.state.registry_view import RegistryView
from watcher.vm.record import Batch, PowerState, VmKind, VmRecord
from watcher.xapi.role import Role

VMS = int(os.environ.get('QUICK_DAY_VMS', '10000'))
SCANS = int(os.environ.get('QUICK_DAY_SCANS', '1440'))
# What is cached, and filled up in the beginning, is no growth.
WARM_SCANS = 20
BATCHES = 10
SHARE = 100


class _NoJobs:
    """In the place of callers and inspectors: a steady pool gives them nothing to do."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, _job: Any, _urgency: int = 0) -> None:
        """Count what should not be."""
        self.submitted += 1

    def is_current(self, _handle: Optional[str]) -> bool:
        """Whether a session is that of now."""
        return False


def run() -> List[Figure]:
    """Let the day pass."""
    place = tempfile.mkdtemp()
    try:
        return _run(place)
    finally:
        shutil.rmtree(place)


def _run(place: str) -> List[Figure]:
    logs.configure('json', 'error')
    path, vms = os.path.join(place, 'vgpu_config.db'), _build(place)
    now = [1000.0]
    jobs = _NoJobs()
    watcher = build_watcher(
        RegistryView(path, clock=lambda: now[0]), build_policy(Settings(), True),
        callers=jobs, inspectors=jobs,  # type: ignore
        restart_stream=lambda: None, clock=lambda: now[0], mirror=MirrorSettings(enabled=False))
    watcher.begin_session(Role(True, True, 'OpaqueRef:host', '26.1.4'))
    watcher.permit.is_locked = True
    watcher.poll_registry()
    watcher.handle(Batch('0', vms, is_first=True))
    before: Dict[str, float] = {}
    seconds: List[float] = []
    for number in range(WARM_SCANS + SCANS):
        if number == WARM_SCANS:
            before = _measure(path, jobs)
        began = time.process_time()
        _pass_minute(watcher, vms, now, number)
        seconds.append(time.process_time() - began)
    return _judge(before, _measure(path, jobs), seconds[WARM_SCANS:])


def _build(place: str) -> Tuple[VmRecord, ...]:
    registry = Registry(os.path.join(place, 'vgpu_config.db'), timeout_seconds=60.0)
    registry.create('benchmark')
    vms = []
    with registry.edit(who='benchmark', command='import') as edit:
        for number in range(1, VMS + 1):
            vm_uuid = f'{number:08x}-0000-4000-8000-000000000000'
            edit.add_vm(vm_uuid, vm_id=number, vm_name=f'vm-{number}')
            vms.append(VmRecord(f'OpaqueRef:{number}', vm_uuid, f'vm-{number}', VmKind.VM,
                                PowerState.HALTED, args=span(number)))
    return tuple(vms)


def _pass_minute(watcher: Watcher, vms: Tuple[VmRecord, ...], now: List[float],
                 number: int) -> None:
    for batch in range(BATCHES):
        now[0] += 60.0 / BATCHES
        first = (number * BATCHES + batch) * SHARE % VMS
        # Equal, and not the same: each answer is parsed afresh.
        watcher.handle(Batch(str(number), tuple(vm._replace()
                                                for vm in vms[first:first + SHARE])))
        watcher.poll_registry()
        watcher.pump()
    watcher.scanning.begin(Scan(tuple(vm._replace() for vm in vms), (), now[0]))
    while watcher.scanning.is_under_way:
        watcher.scanning.advance()
        # The slices end by the clock.
        now[0] += 0.001
    watcher.note_watch()
    watcher.pump()


def _measure(path: str, jobs: _NoJobs) -> Dict[str, float]:
    gc.collect()
    with open('/proc/self/status', encoding='utf-8') as stream:
        resident = next(int(line.split()[1]) for line in stream if line.startswith('VmRSS'))
    journal = os.path.join(os.path.dirname(path), 'vgpu_journal.db')
    return {'resident memory': float(resident), 'objects': float(len(gc.get_objects())),
            'descriptors': float(len(os.listdir('/proc/self/fd'))),
            'the registry file': os.path.getsize(path) / 1024.0,
            'the journal': os.path.getsize(journal) / 1024.0,
            'jobs': float(jobs.submitted)}


def _judge(before: Dict[str, float], after: Dict[str, float],
           seconds: List[float]) -> List[Figure]:
    title = f'A day simulated quickly: {VMS} registered VMs, {SCANS} scans'
    tenth = max(1, len(seconds) // 10)
    first, last = min(seconds[:tenth]), min(seconds[-tenth:])
    figures = [summarise(title, 'a minute: 1,000 events and a scan', 'ms CPU',
                         [each * 1000.0 for each in seconds])]
    figures.append(compare(title, 'the least of the last / of the first tenth', last / first,
                           'at most 1.2', most=1.2))
    for name, unit, most in (('resident memory', 'KB', 512.0), ('objects', '', 1000.0),
                             ('descriptors', '', 0.0), ('the registry file', 'KB', 0.0),
                             ('the journal', 'KB', 0.0), ('jobs', '', 0.0)):
        figures.append(compare(title, f'growth of {name}', after[name] - before[name],
                               f'at most {most:g}' if most else 'none', most=most, unit=unit))
    return figures + [observe(title, 'resident, with the records of the simulation',
                              after['resident memory'] / 1024.0, 'MB')]
