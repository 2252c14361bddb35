"""What an event costs that needs no action, with records of 30 KB of NVRAM: processor time."""

import json
import time
from typing import Any, Callable, Dict, Iterable, List

from benchmarks.figures import Figure, compare, summarise
from benchmarks.stand import Contender, Stand
from watcher.loop.steps import Steps, run as run_steps
from watcher.xapi import json_stream, record_parser as records

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
                    costs.setdefault(name, []).append(contender.measure_events(EVENTS))
        decoding = _compare_decoding(stand.xapi.vm(stand.refs[0]))
    title = 'A VM event without action, 30 KB of NVRAM: processor time'
    figures = [summarise(title, name, 'ms', values) for name, values in costs.items()]
    medians = {figure.what: figure.median for figure in figures}
    figures.append(compare(title, 'ours / floor', medians['ours'] / medians['floor'],
                           'at most 1.15', most=1.15))
    return figures + decoding


def _compare_decoding(record: Dict[str, Any]) -> List[Figure]:
    """Decode one answer again and again, here, without a network: ours and the floor's."""
    event = {'id': '5', 'timestamp': '0.0', 'class': 'vm', 'operation': 'mod',
             'ref': 'OpaqueRef:1', 'snapshot': record}
    text = json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': {
        'events': [event], 'token': '00000000000000000005,00000000000000000000',
        'valid_ref_counts': {'vm': VMS}}})
    parts = json_stream.list_parts('events', records.reduce_event)
    ours, floor = [], []
    for _ in range(DECODINGS):
        ours.append(_time(lambda: records.parse_batch(
            run_steps(json_stream.decode(read_at_once([text]), parts))['result'], is_first=False)))
        floor.append(_time(lambda: json.loads(text)))
    title = 'The same, decoding and parsing alone'
    figures = [summarise(title, 'ours', 'ms', ours), summarise(title, 'floor: json.loads', 'ms',
                                                               floor)]
    figures.append(compare(title, 'ours / floor', figures[0].median / figures[1].median,
                           'at most 1.2', most=1.2))
    return figures


def read_at_once(chunks: Iterable[str]) -> Callable[[], Steps[str]]:
    """What gives the text of an answer that has come as a whole."""
    left = iter(chunks)

    def read() -> Steps[str]:
        return next(left, '')
        yield
    return read


def _time(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000.0
