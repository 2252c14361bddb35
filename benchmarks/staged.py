"""Whether staging holds: 1,000 starts at once without a write."""

import time
from typing import List, Sequence

from benchmarks.figures import Figure, compare
from benchmarks.stand import Contender, Stand, span

STARTS = 1000


def run() -> List[Figure]:
    """Start all and look what they took."""
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


def _count_wrong(stand: Stand, refs: Sequence[str], priority: str) -> int:
    taken = {boot.ref: boot.args for boot in stand.xapi.boots}
    return sum(taken.get(ref) != span(number, priority) for number, ref in enumerate(refs, 1))
