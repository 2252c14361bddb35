"""What an event costs that needs no action, with records of 30 KB of NVRAM: processor time."""

import json
import time
from typing import Any, Callable, Dict, List

from benchmarks.figures import Figure, compare, summarise
from benchmarks.stand import Contender, Stand
from watcher import json_parts, records

VMS = 50
EVENTS = 150
ROUNDS = 3
NVRAM_BYTES = 30 * 1024
DECODINGS = 400


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
        decoding = _compare_decoding(stand.xapi.vm(stand.refs[0]))
    title = 'A VM event without action, 30 KB of NVRAM: processor time'
    figures = [summarise(title, name, 'ms', values) for name, values in costs.items()]
    medians = {figure.what: figure.median for figure in figures}
    figures.append(compare(title, 'ours / floor', medians['ours'] / medians['floor'],
                           'at most 1.3', most=1.3))
    return figures + decoding


def _compare_decoding(record: Dict[str, Any]) -> List[Figure]:
    """Decode one answer again and again, here, without a network: ours and the floor's."""
    event = {'id': '5', 'timestamp': '0.0', 'class': 'vm', 'operation': 'mod',
             'ref': 'OpaqueRef:1', 'snapshot': record}
    text = json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': {
        'events': [event], 'token': '00000000000000000005,00000000000000000000',
        'valid_ref_counts': {'vm': VMS}}})
    parts = json_parts.list_parts('events', records.reduce_event)
    ours, floor = [], []
    for _ in range(DECODINGS):
        ours.append(_time(lambda: records.parse_batch(
            json_parts.decode(iter([text]), parts)['result'], is_first=False)))
        floor.append(_time(lambda: json.loads(text)))
    title = 'The same, decoding and parsing alone'
    figures = [summarise(title, 'ours', 'ms', ours), summarise(title, 'floor: json.loads', 'ms',
                                                               floor)]
    figures.append(compare(title, 'ours / floor', figures[0].median / figures[1].median,
                           'at most 1.3', most=1.3))
    return figures


def _time(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000.0


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
