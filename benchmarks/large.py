"""10,000 registered VMs: an event, an edit of one row, the first batch; as ratios to 1,000.

Without the mirror, which `growth` and `mirror` measure, and without scans.
"""

import statistics
import time
from typing import List, NamedTuple, Tuple

from benchmarks.figures import Figure, compare, observe
from benchmarks.growth import measure_event
from benchmarks.stand import KEY, Contender, Stand, span
from registry.values import Priority

SMALL, LARGE = 1000, 10000
EDITS = 7
ROUNDS = 3
_PATIENCE_SECONDS = 240.0
_ALONE = '[mirror]\nenabled = no\n[scan]\ninterval_seconds = 3600\n'


class Cost(NamedTuple):
    """What a pool of one size costs: processor time, but for `staged_ms`."""
    start_ms: float
    event_ms: float
    edit_ms: float
    staged_ms: float
    megabytes: float


def run() -> List[Figure]:
    """Measure both pools."""
    small, large = _measure(SMALL), _measure(LARGE)
    title = f'{LARGE} registered VMs'
    figures = []
    for name, cost in ((SMALL, small), (LARGE, large)):
        figures += [
            observe(title, f'{name}: start to first batch staged', cost.start_ms, 'ms CPU'),
            observe(title, f'{name}: an event', cost.event_ms, 'ms CPU'),
            observe(title, f'{name}: an edit of one row', cost.edit_ms, 'ms CPU'),
            observe(title, f'{name}: the same, commit to staged', cost.staged_ms, 'ms'),
            observe(title, f'{name}: resident', cost.megabytes, 'MB')]
    times = LARGE / SMALL
    return figures + [
        compare(title, f'an event, {LARGE} / {SMALL}', large.event_ms / small.event_ms,
                'at most 1.2', most=1.2),
        compare(title, f'the first batch, {LARGE} / {SMALL}', large.start_ms / small.start_ms,
                f'at most {times:.0f}', most=times),
        compare(title, f'an edit of one row, {LARGE} / {SMALL}', large.edit_ms / small.edit_ms,
                f'at most {times:.0f}', most=times)]


def _measure(size: int) -> Cost:
    with Stand(event_from_delay=None) as stand:
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write(_ALONE)
        stand.fill(size)
        contender = Contender(stand, 'ours')
        stand.wait(lambda: contender.count_logged('stream.resynced'), 'the first batch',
                   _PATIENCE_SECONDS, look_seconds=0.1)
        with contender:
            stand.wait_calm()
            start = contender.read_cpu_seconds()
            events = [measure_event(stand, contender) for _ in range(ROUNDS)]
            edits, staged = _measure_edits(stand, contender)
            return Cost(start * 1000.0, statistics.median(events), edits, staged,
                        contender.read_megabytes('VmRSS'))


def _measure_edits(stand: Stand, contender: Contender) -> Tuple[float, float]:
    """The first has every number claimed, and does not count; medians of the others."""
    costs, taken = [], []
    for position in range(EDITS):
        stand.wait_calm()
        before = contender.read_cpu_seconds()
        stand.set_priority([stand.refs[position]], Priority.HIGH)
        began = time.monotonic()
        stand.wait(lambda: stand.xapi.vm(stand.refs[position])['platform'].get(KEY)
                   == span(position + 1, 'high'), 'the edit staged', _PATIENCE_SECONDS)
        taken.append((time.monotonic() - began) * 1000.0)
        stand.wait_calm()
        costs.append((contender.read_cpu_seconds() - before) * 1000.0)
    return statistics.median(costs[1:]), statistics.median(taken[1:])
