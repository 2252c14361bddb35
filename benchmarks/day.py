"""A day of a steady pool in little time: what grows?

The daemon sees as many events as in a day, a restart of some VMs among them, and a scan each
second until there were as many as wanted; with DAY_SCANS=1440 as many as in a day.
"""

import os
import time
from typing import Any, Dict, List

from benchmarks.figures import Figure, compare, observe
from benchmarks.stand import Contender, Stand

VMS = 300
SCANS = int(os.environ.get('DAY_SCANS', '90'))
# A tools update of each VM every ten minutes is what xapi shows of a pool in which nothing goes on.
EVENTS = VMS * 144
# One commit of theirs in the simulator is many events: XAPI merges what one answer shows.
_BURST = 100
# What is cached, and filled up in the beginning, is no growth.
_WARM_SECONDS = 15.0


def run() -> List[Figure]:
    """Let the day pass."""
    with Stand() as stand:
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write('[scan]\ninterval_seconds = 1\n')
        stand.fill(VMS)
        with Contender(stand, 'ours') as contender:
            stand.wait_calm()
            shown = _pass(stand, contender, _WARM_SECONDS)
            before, began = _measure(stand, contender), time.monotonic()
            scans = contender.count_logged('scan.completed')
            while contender.count_logged('scan.completed') - scans < SCANS:
                shown += _pass(stand, contender, 1.0, EVENTS * (time.monotonic() - began) / SCANS
                               - shown)
            after = _measure(stand, contender)
            scans = contender.count_logged('scan.completed') - scans
    return _judge(before, after, scans, shown)


def _pass(stand: Stand, contender: Contender, seconds: float, events: float = 0.0) -> int:
    """Show events for so long, at least so many; how many there were."""
    until, shown = time.monotonic() + seconds, 0
    while time.monotonic() < until or shown < events:
        for _ in range(_BURST):
            stand.xapi.set_field(stand.refs[shown % VMS], 'memory_target', 1 << 30 | shown)
            shown += 1
        time.sleep(0.02)
    return shown


def _measure(stand: Stand, contender: Contender) -> Dict[str, Any]:
    journal = os.path.join(stand.place, 'vgpu_journal.db')
    return {'resident': contender.read_megabytes('VmRSS') * 1024.0,
            'descriptors': len(os.listdir(f'/proc/{contender.process.pid}/fd')),
            'threads': int(contender.read_status()['Threads']),
            'registry': os.path.getsize(stand.registry.path) / 1024.0,
            'journal': os.path.getsize(journal) / 1024.0}


def _judge(before: Dict[str, Any], after: Dict[str, Any], scans: int, shown: int) -> List[Figure]:
    title = f'A steady pool of {VMS} registered VMs, {scans} scans'
    grown = {name: after[name] - before[name] for name in before}
    return [
        observe(title, 'events shown', shown, 'events'),
        # An allocator keeps a page more or less: a tenth of a percent of a day's events.
        compare(title, 'growth of resident memory', grown['resident'], 'at most 512 KB',
                most=512.0, unit='KB'),
        compare(title, 'growth of open descriptors', grown['descriptors'], 'none', most=0.0,
                unit=''),
        compare(title, 'growth of threads', grown['threads'], 'none', most=0.0, unit=''),
        compare(title, 'growth of the registry file', grown['registry'], 'none', most=0.0,
                unit='KB'),
        compare(title, 'growth of the journal', grown['journal'], 'none', most=0.0, unit='KB')]
