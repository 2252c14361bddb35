"""What an event costs that needs no action, with records of 30 KB of NVRAM: processor time."""

from typing import Dict, List

from benchmarks.figures import Figure, compare, summarise
from benchmarks.stand import Contender, Stand

VMS = 50
EVENTS = 150
ROUNDS = 3
NVRAM_BYTES = 30 * 1024


def run() -> List[Figure]:
    """Measure the three alternating."""
    costs: Dict[str, List[float]] = {}
    with Stand(nvram_bytes=NVRAM_BYTES) as stand:
        stand.fill(VMS)
        for _ in range(ROUNDS):
            for name in ('ours', 'floor', 'plain'):
                with Contender(stand, name) as contender:
                    stand.wait_calm()
                    costs.setdefault(name, []).append(_measure(stand, contender))
    title = 'A VM event without action, 30 KB of NVRAM: processor time'
    figures = [summarise(title, name, 'ms', values) for name, values in costs.items()]
    medians = {figure.what: figure.median for figure in figures}
    figures.append(compare(title, 'ours / floor', medians['ours'] / medians['floor'],
                           'at most 1.3', most=1.3))
    return figures


def _measure(stand: Stand, contender: Contender) -> float:
    """Show events one by one; milliseconds for each."""
    before = contender.read_cpu_seconds()
    for number in range(EVENTS):
        ref, shown = stand.refs[number % VMS], len(stand.answers)
        stand.xapi.set_field(ref, 'memory_target', 1 << 30 | number)
        stand.wait(lambda: len(stand.answers) > shown and stand.xapi.state.events.waiters,
                   'the next long poll')
    stand.wait_calm()
    return (contender.read_cpu_seconds() - before) / EVENTS * 1000.0
