"""A stop, and a start 0 to 1,000 ms later, while a change waits: which arguments the start takes.

What a real XAPI takes from a start's first event to the reading of the map is 1 to 60 ms. One VM
after the other: what is measured is the daemon's time, not how many wait for a processor.
"""

import time
from typing import Dict, List

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import Contender, Stand, span
from registry.values import Priority

WINDOWS_MS = (1, 5, 20, 60)
GAPS_MS = (0, 10, 30, 60, 100, 150, 200, 300, 400, 1000) * 2
SURE_MS = 300
CALL_SECONDS = 0.005


def run() -> List[Figure]:
    """Measure each window."""
    return [figure for window_ms in WINDOWS_MS for figure in _measure(window_ms)]


def _measure(window_ms: int) -> List[Figure]:
    with Stand(cutoff_seconds=window_ms / 1000.0, call_delay_seconds=CALL_SECONDS,
               event_from_delay=None) as stand:
        stand.fill(len(GAPS_MS))
        with Contender(stand, 'ours') as contender:
            stand.wait_calm()
            for start in [stand.xapi.spawn('VM.start', ref, False, False) for ref in stand.refs]:
                start.join()
            stand.wait_calm()
            stand.set_priority(stand.refs, Priority.HIGH)
            stand.wait(lambda: contender.count_logged('vm.change_pending') >= len(GAPS_MS),
                       'the change noticed')
            stand.xapi.clear_calls()
            rested: Dict[str, float] = {}
            refused = sum(_restart(stand, ref, gap_ms, rested)
                          for ref, gap_ms in zip(stand.refs, GAPS_MS))
        return _judge(stand, window_ms, refused, rested)


def _restart(stand: Stand, ref: str, gap_ms: int, rested: Dict[str, float]) -> bool:
    """Whether the start was refused."""
    stand.xapi.call('VM.hard_shutdown', ref)
    rested[ref] = time.monotonic()
    time.sleep(gap_ms / 1000.0)
    start = stand.xapi.spawn('VM.start', ref, False, False)
    start.join()
    return start.error is not None


def _judge(stand: Stand, window_ms: int, refused: int, rested: Dict[str, float]) -> List[Figure]:
    taken = {boot.ref: boot.args for boot in stand.xapi.boots}
    is_new = [taken[ref] == span(number, 'high') for number, ref in enumerate(stand.refs, 1)]
    late = sum(gap_ms >= SURE_MS and not new for gap_ms, new in zip(GAPS_MS, is_new))
    quick = sum(gap_ms < SURE_MS for gap_ms in GAPS_MS)
    # A VM that was started again sooner rests once more only in the end.
    wrote = {call.params[0]: call.at for call in stand.xapi.calls
             if call.method == 'VM.set_platform'}
    waits = [(wrote[ref] - rested[ref]) * 1000 for ref, gap_ms, new in zip(
        stand.refs, GAPS_MS, is_new) if new and ref in wrote]
    title = f'Stop and start while a change waits, the map read {window_ms} ms after the event'
    return [
        compare(title, 'starts that were refused', refused, 'none', most=0.0, unit='starts'),
        compare(title, 'boots without arguments', sum(not args for args in taken.values()),
                'none', most=0.0, unit='boots'),
        compare(title, f'old arguments {SURE_MS} ms after the stop and later', late, 'none',
                most=0.0, unit='boots'),
        observe(title, f'new arguments sooner than that, of {quick}',
                sum(new for gap_ms, new in zip(GAPS_MS, is_new) if gap_ms < SURE_MS), 'boots'),
        summarise(title, 'rest to write', 'ms', waits, 'at most 200', 200.0)]
