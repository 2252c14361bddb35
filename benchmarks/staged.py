"""Whether staging holds: 1,000 starts at once without a write, quick restarts after a change."""

import time
from typing import List, Sequence

from benchmarks.figures import Figure, compare
from benchmarks.stand import Contender, Stand, span
from registry.values import Priority

STARTS = 1000
RESTARTS = 20
GAPS_MS = (0, 10, 30, 60, 100, 200, 1000)
CALL_DELAYS_MS = (0, 20)


def run() -> List[Figure]:
    """Measure both."""
    figures = _start_all()
    for delay_ms in CALL_DELAYS_MS:
        figures += _restart_after_change(delay_ms)
    return figures


def _start_all() -> List[Figure]:
    with Stand(step_seconds=0.0, cutoff_seconds=0.05) as stand:
        stand.fill(STARTS)
        with Contender(stand, 'ours'):
            stand.wait_calm()
            stand.xapi.clear_calls()
            began = time.monotonic()
            spawned = [stand.xapi.spawn('VM.start', ref, False, False) for ref in stand.refs]
            seconds = time.monotonic() - began
            for start in spawned:
                start.join()
            wrong = _count_wrong(stand, stand.refs, 'medium')
            writes = len(stand.writes())
    title = f'{STARTS} staged VMs start at once (asked for within {seconds:.1f} s)'
    return [compare(title, 'boots that were wrong', wrong, 'none', most=0.0, unit='boots'),
            compare(title, 'writes', writes, 'none', most=0.0, unit='writes')]


def _restart_after_change(delay_ms: int) -> List[Figure]:
    with Stand(cutoff_seconds=0.5, call_delay_seconds=delay_ms / 1000.0,
               event_from_delay=None) as stand:
        stand.fill(RESTARTS)
        with Contender(stand, 'ours') as contender:
            stand.wait_calm()
            for start in [stand.xapi.spawn('VM.start', ref, False, False) for ref in stand.refs]:
                start.join()
            stand.wait_calm()
            stand.set_priority(stand.refs, Priority.HIGH)
            stand.wait(lambda: contender.count_logged('vm.change_pending') >= RESTARTS,
                       'the change noticed')
            refused = _restart(stand)
            wrong = _count_wrong(stand, stand.refs, 'high')
    title = f'{RESTARTS} quick restarts after a change, {delay_ms} ms per call'
    return [compare(title, 'starts that were refused', refused, 'none', most=0.0, unit='starts'),
            compare(title, 'boots that were wrong', wrong, 'none', most=0.0, unit='boots')]


def _restart(stand: Stand) -> int:
    spawned = []
    for number, ref in enumerate(stand.refs):
        stand.xapi.call('VM.hard_shutdown', ref)
        time.sleep(GAPS_MS[number % len(GAPS_MS)] / 1000.0)
        spawned.append(stand.xapi.spawn('VM.start', ref, False, False))
    for start in spawned:
        start.join()
    return sum(start.error is not None for start in spawned)


def _count_wrong(stand: Stand, refs: Sequence[str], priority: str) -> int:
    taken = {boot.ref: boot.args for boot in stand.xapi.boots}
    return sum(taken.get(ref) != span(number, priority) for number, ref in enumerate(refs, 1))
