"""How cost grows: per registered VM, per event, and with VMs that nobody registered."""

import time
from typing import Dict, List, Tuple

from benchmarks.figures import Figure, compare, observe
from benchmarks.stand import Contender, Stand

SIZES = (250, 1000, 4000)
UNREGISTERED = 4000
EVENTS = 100
# A scan in between is no part of an event.
_NO_SCANS = '[scan]\ninterval_seconds = 3600\n'


class Cost:
    """What the daemon took in a pool of one size."""

    def __init__(self, start_ms: float, event_ms: float, megabytes: float) -> None:
        self.start_ms = start_ms
        self.event_ms = event_ms
        self.megabytes = megabytes


def run() -> List[Figure]:
    """Measure pools of three sizes, and one with as many unregistered VMs as the largest."""
    costs = {size: _measure(size, 0) for size in SIZES}
    mixed = _measure(SIZES[0], UNREGISTERED)
    small, large = costs[SIZES[0]], costs[SIZES[-1]]
    title = 'Cost as the pool grows'
    figures: List[Figure] = []
    for size, cost in sorted(costs.items()):
        figures += _tell(title, f'{size} registered', cost)
    figures += _tell(title, f'{SIZES[0]} registered, {UNREGISTERED} not', mixed)
    start, per_vm = _line(costs)
    return figures + [
        observe(title, 'start: processor time for one more registered VM', per_vm, 'ms'),
        compare(title, 'start of the largest / a line through the smaller two',
                large.start_ms / (start + per_vm * SIZES[-1]), 'at most 1.2', most=1.2),
        observe(title, 'start: processor time for one more unregistered VM',
                (mixed.start_ms - small.start_ms) / UNREGISTERED, 'ms'),
        compare(title, f'an event, {SIZES[-1]} / {SIZES[0]} registered',
                large.event_ms / small.event_ms, 'at most 1.2', most=1.2),
        compare(title, f'an event, with / without {UNREGISTERED} unregistered',
                mixed.event_ms / small.event_ms, 'at most 1.2', most=1.2)]


def _tell(title: str, name: str, cost: Cost) -> List[Figure]:
    return [observe(title, name + ': processor time of the start', cost.start_ms, 'ms'),
            observe(title, name + ': of an event without action', cost.event_ms, 'ms'),
            observe(title, name + ': resident', cost.megabytes, 'MB')]


def _line(costs: Dict[int, Cost]) -> Tuple[float, float]:
    """Offset and slope through the two smaller sizes."""
    first, second = SIZES[0], SIZES[1]
    slope = (costs[second].start_ms - costs[first].start_ms) / (second - first)
    return costs[first].start_ms - slope * first, slope


def _measure(registered: int, others: int) -> Cost:
    with Stand() as stand:
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write(_NO_SCANS)
        stand.fill(registered, others)
        with Contender(stand, 'ours') as contender:
            # The mirror is written after READY: one call for each VM, which is no part of an event.
            stand.wait(lambda: _count_mirrored(stand) >= registered, 'the mirror', 120.0)
            stand.wait_calm()
            start = contender.read_cpu_seconds() * 1000.0
            return Cost(start, measure_event(stand, contender), contender.read_megabytes('VmRSS'))


def _count_mirrored(stand: Stand) -> int:
    return sum(1 for call in stand.xapi.calls if call.method == 'VM.add_to_other_config')


def measure_event(stand: Stand, contender: Contender, events: int = EVENTS) -> float:
    """Show events one by one that need no action; milliseconds of processor time for each."""
    before, began = contender.read_cpu_seconds(), time.monotonic()
    for number in range(events):
        ref, shown = stand.refs[number % len(stand.refs)], len(stand.answers)
        stand.xapi.set_field(ref, 'memory_target', 1 << 30 | number)
        stand.wait(lambda: len(stand.answers) > shown and stand.xapi.state.events.waiters,
                   'the next long poll')
    if time.monotonic() - began > 60.0:
        raise TimeoutError('the events took too long to say what one costs')
    return (contender.read_cpu_seconds() - before) / events * 1000.0
