"""A steady pool: wake-ups and calls; and how soon an edit of the registry is staged."""

import time
from typing import List

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import KEY, Contender, Stand, span
from registry.values import Priority

VMS = 1000
IDLE_SECONDS = 12.0
EDITS = 16
# What is at rest for so long may be replaced at once.
REST_SECONDS = 1.5
MIRROR_SECONDS = 120.0


def run() -> List[Figure]:
    """Watch the daemon do nothing, then edit."""
    with Stand() as stand:
        stand.fill(VMS)
        with Contender(stand, 'ours') as contender:
            # Written after READY, one call for each VM; on a loaded machine that takes its time.
            stand.wait(lambda: contender.count_logged('mirror.written'), 'the mirror',
                       MIRROR_SECONDS, look_seconds=0.1)
            stand.wait_calm()
            time.sleep(REST_SECONDS)
            return _measure_idle(stand, contender) + _measure_edits(stand)


def _measure_idle(stand: Stand, contender: Contender) -> List[Figure]:
    stand.xapi.clear_calls()
    wakeups, cpu, began = contender.count_wakeups(), contender.read_cpu_seconds(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    title = f'A steady pool of {VMS} registered VMs, {IDLE_SECONDS:.0f} s'
    return [
        compare(title, 'wake-ups of all threads', (contender.count_wakeups() - wakeups) / seconds,
                'at most 1 a second', most=1.0, unit='a second'),
        observe(title, 'processor', (contender.read_cpu_seconds() - cpu) / seconds * 1000.0,
                'ms/s'),
        compare(title, 'threads', float(contender.read_status()['Threads']), 'at most 3', most=3.0,
                unit=''),
        compare(title, 'calls but the long poll', len([
            call for call in stand.xapi.calls if call.method != 'event.from']), 'none', most=0.0,
            unit='calls')]


def _measure_edits(stand: Stand) -> List[Figure]:
    taken = []
    for number in range(EDITS):
        position = number * 7
        # Edits fall anywhere between two looks at the file.
        time.sleep(0.03 * number % 0.5)
        stand.set_priority([stand.refs[position]], Priority.HIGH)
        began = time.monotonic()
        stand.wait(lambda: stand.xapi.vm(stand.refs[position])['platform'].get(KEY)
                   == span(position + 1, 'high'), 'the edit staged')
        taken.append((time.monotonic() - began) * 1000.0)
    return [summarise(f'An edit of the registry, {VMS} registered VMs: commit to staged',
                      'replaced at rest', 'ms', taken, 'at most 120 ms', 120.0),
            compare('The same', '95th percentile', sorted(taken)[int(len(taken) * 0.95)],
                    'at most 260 ms', most=260.0, unit='ms')]
