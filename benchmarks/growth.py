"""How cost grows: per registered VM, per event, and with VMs that are not registered."""

import statistics
from typing import Dict, List, NamedTuple, Tuple

from benchmarks.figures import Figure, compare, observe
from benchmarks.stand import Contender, Stand

SIZES = (250, 1000, 4000, 10000)
UNREGISTERED = 4000
EVENTS = 60
# The first rounds meet the end of what the mirror has to do; the median does not.
ROUNDS = 9
# A scan in between is no part of an event.
_NO_SCANS = '[scan]\ninterval_seconds = 3600\n'
# Of one VM's entry in the mirror; a loaded machine takes a few of its milliseconds.
_PATIENCE_PER_VM = 0.03
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.1


class Cost(NamedTuple):
    """What the daemon took in a pool of one size."""
    start_ms: float
    mirror_ms: float
    event_ms: float
    megabytes: float


def run() -> List[Figure]:
    """Measure pools of several sizes, and a small one with many unregistered VMs."""
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
        compare(title, f'start of {SIZES[-1]} / a line through {SIZES[0]} and {SIZES[-2]}',
                large.start_ms / (start + per_vm * SIZES[-1]), 'at most 1.2', most=1.2),
        observe(title, 'start: processor time for one more unregistered VM',
                (mixed.start_ms - small.start_ms) / UNREGISTERED, 'ms'),
        compare(title, f'an event, {SIZES[-1]} / {SIZES[0]} registered',
                large.event_ms / small.event_ms, 'at most 1.2', most=1.2),
        compare(title, f'an event, with / without {UNREGISTERED} unregistered',
                mixed.event_ms / small.event_ms, 'at most 1.2', most=1.2)]


def _tell(title: str, name: str, cost: Cost) -> List[Figure]:
    return [observe(title, name + ': processor time of the start', cost.start_ms, 'ms'),
            observe(title, name + ': of the mirror, for one VM', cost.mirror_ms, 'ms'),
            observe(title, name + ': of an event that changes a record', cost.event_ms, 'ms'),
            observe(title, name + ': resident', cost.megabytes, 'MB')]


def _line(costs: Dict[int, Cost]) -> Tuple[float, float]:
    """Offset and slope through the smallest and the largest but one."""
    first, second = SIZES[0], SIZES[-2]
    slope = (costs[second].start_ms - costs[first].start_ms) / (second - first)
    return costs[first].start_ms - slope * first, slope


def _measure(registered: int, others: int) -> Cost:
    # With XAPI's own delays: an answer that comes at once for each entry of the mirror has the
    # simulator go through all rows each time.
    with Stand(event_from_delay=None) as stand:
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write(_NO_SCANS)
        stand.fill(registered, others)
        with Contender(stand, 'ours') as contender:
            start = contender.read_cpu_seconds()
            # The mirror is written after READY: one call for each VM, which is no part of an event.
            stand.wait(lambda: contender.count_logged('mirror.written'), 'the mirror',
                       _PATIENCE_SECONDS + registered * _PATIENCE_PER_VM,
                       look_seconds=_LOOK_SECONDS)
            stand.wait_calm()
            mirrored = contender.read_cpu_seconds()
            stand.xapi.clear_calls()
            events = [measure_event(stand, contender) for _ in range(ROUNDS)]
            return Cost(start * 1000.0, (mirrored - start) / registered * 1000.0,
                        statistics.median(events), contender.read_megabytes('VmRSS'))


def measure_event(stand: Stand, contender: Contender, events: int = EVENTS) -> float:
    """Show events one by one that need no write; milliseconds of processor time for each.

    Each changes the name, so that a look at the VM follows: all but XAPI's other fields.
    """
    before = contender.read_cpu_seconds()
    for number in range(events):
        ref, shown = stand.refs[number % len(stand.refs)], len(stand.answers)
        stand.xapi.set_field(ref, 'name_label', f'{ref[-6:]}-{shown}')
        stand.wait(lambda: len(stand.answers) > shown and stand.xapi.state.events.waiters,
                   'the next long poll')
    return (contender.read_cpu_seconds() - before) / events * 1000.0
