"""A cold start in a large pool: until READY, and how much memory it takes then and later."""

import statistics
import time
from typing import List

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import Contender, Stand

REGISTERED = 1000
OTHERS = 4000
ROUNDS = 3
LATER_SECONDS = 4.0
NVRAM_BYTES = 30 * 1024


def run() -> List[Figure]:
    """Measure with plain records, and with such that hold 30 KB of NVRAM each."""
    return _measure_plain() + _measure_small() + _measure_large()


def _measure_plain() -> List[Figure]:
    """Start the daemon and the floor, alternating."""
    ready, peaks, later, floors = [], [], [], []
    with Stand() as stand:
        stand.fill(REGISTERED, OTHERS)
        # XAPI keeps its records rendered; the simulator has them after the first answer.
        with Contender(stand, 'floor'):
            stand.wait_calm()
        for _ in range(ROUNDS):
            with Contender(stand, 'ours') as contender:
                ready.append(contender.ready_seconds or 0.0)
                time.sleep(LATER_SECONDS)
                peaks.append(contender.read_megabytes('VmHWM'))
                later.append(contender.read_megabytes('VmRSS'))
            with Contender(stand, 'floor') as contender:
                floors.append(contender.ready_seconds or 0.0)
    title = f'Cold start, {REGISTERED + OTHERS} VMs, {REGISTERED} registered and staged'
    return [
        summarise(title, 'start of the process to READY', 's', ready, 'under 1.5 s', 1.5),
        summarise(title, 'the floor', 's', floors),
        compare(title, 'ours / floor', statistics.median(ready) / statistics.median(floors),
                'at most 1.8', most=1.8),
        compare(title, 'peak resident', statistics.median(peaks), 'under 90 MB', most=90.0,
                unit='MB'),
        compare(title, 'resident later', statistics.median(later), 'at most 40 MB', most=40.0,
                unit='MB')]


def _measure_small() -> List[Figure]:
    """Measure the memory that pools of common sizes take."""
    figures = []
    for registered, others, target in ((20, 180, 30.0), (0, 1000, 30.0), (1000, 0, 34.0)):
        with Stand() as stand:
            stand.fill(registered, others)
            with Contender(stand, 'ours') as contender:
                time.sleep(LATER_SECONDS)
                later = contender.read_megabytes('VmRSS')
        figures.append(compare(f'{registered + others} VMs, {registered} registered and staged',
                               'resident later', later, f'at most {target:.0f} MB', most=target,
                               unit='MB'))
    return figures


def _measure_large() -> List[Figure]:
    """Start the daemon once, with a first answer of 170 MB."""
    with Stand(nvram_bytes=NVRAM_BYTES) as stand:
        stand.fill(REGISTERED, OTHERS)
        with Contender(stand, 'ours') as contender:
            seconds = contender.ready_seconds or 0.0
            time.sleep(LATER_SECONDS)
            peak, later = (contender.read_megabytes(field) for field in ('VmHWM', 'VmRSS'))
    title = f'The same with {NVRAM_BYTES // 1024} KB of NVRAM in each record'
    return [
        # The simulator renders the answer meanwhile: seconds, so no target.
        observe(title, 'start of the process to READY', seconds, 's'),
        compare(title, 'peak resident', peak, 'under 90 MB', most=90.0, unit='MB'),
        compare(title, 'resident later', later, 'at most 45 MB', most=45.0, unit='MB')]
