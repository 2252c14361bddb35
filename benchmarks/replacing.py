"""Replacing the spans of 300 halted VMs, at 5 ms per call: how many a second, how many calls."""

import statistics
import time
from typing import Dict, List

from benchmarks.figures import Figure, compare, observe
from benchmarks.stand import KEY, Contender, Stand, span
from registry.values import Priority

VMS = 300
CALL_SECONDS = 0.005
REST_SECONDS = 1.5


def run() -> List[Figure]:
    """Edit all at once and watch."""
    with Stand(call_delay_seconds=CALL_SECONDS) as stand:
        stand.fill(VMS)
        with Contender(stand, 'ours') as contender:
            stand.wait_calm()
            time.sleep(REST_SECONDS)
            stand.xapi.clear_calls()
            before = contender.read_cpu_seconds()
            began = time.monotonic()
            stand.set_priority(stand.refs, Priority.HIGH)
            committed = time.monotonic()
            stand.wait(lambda: _count_staged(stand) == VMS, 'all staged')
            seconds = time.monotonic() - committed
            processor = contender.read_cpu_seconds() - before
    calls = _count_calls(stand)
    title = f'Replacing the spans of {VMS} halted VMs, {CALL_SECONDS * 1000:.0f} ms per call'
    return [
        observe(title, 'commit to the last', seconds, 's'),
        observe(title, 'edit of all rows', committed - began, 's'),
        compare(title, 'rate', VMS / seconds, 'at least 100 a second', least=100.0,
                unit='a second'),
        # What a machine that has other things to do does not change much.
        observe(title, 'processor time of the daemon for one', processor / VMS * 1000, 'ms'),
        # Where 20 ms have passed until the map could be sent, the record is read again (P5).
        observe(title, 'records that were read again', sum(calls.values()) - 3 * VMS, ''),
        compare(title, 'calls for one (median)', statistics.median(calls.values()), 'at most 3',
                most=3.0, unit='calls')]


def _count_staged(stand: Stand) -> int:
    return sum(stand.xapi.vm(ref)['platform'].get(KEY) == span(number, 'high')
               for number, ref in enumerate(stand.refs, 1))


def _count_calls(stand: Stand) -> Dict[str, int]:
    counts: Dict[str, int] = {}
    for call in stand.xapi.calls:
        # The mirror's writes, which follow, have a scenario of their own.
        if call.params and isinstance(call.params[0], str) and call.method.startswith('VM.') \
                and 'other_config' not in call.method:
            counts[call.params[0]] = counts.get(call.params[0], 0) + 1
    return counts
