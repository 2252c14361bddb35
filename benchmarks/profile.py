"""Where the time of one event goes: part by part, in the real daemon, beside the simulator.

Two tables. For an event that shows a start without its span: the way from XAPI's answer to the
arrival of the write, by the clock, in the order in which things happen. For an event that needs
nothing: processor time of each part, without the parts within it.
"""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from benchmarks.figures import Figure, observe, summarise
from benchmarks.rescues import ADD, ECHO_SECONDS, VMS
from benchmarks.stand import Contender, Stand
from benchmarks.traced import PATH_VARIABLE

STARTS = 60
EVENTS = 150
_WAY = 'Where the time of a rescue goes, event to write, 1000 VMs'
_COST = 'Where the processor time of an event without action goes, 1000 VMs'


class Span(NamedTuple):
    """One passage through one part, as `traced.py` noted it."""
    name: str
    began: float
    ended: float
    began_cpu: float
    ended_cpu: float


def run() -> List[Figure]:
    """Trace starts that need a write, and events that need nothing."""
    with Stand(event_from_delay=None) as stand:
        stand.fill(VMS)
        path = os.path.join(stand.place, 'trace.json')
        os.environ[PATH_VARIABLE] = path
        with Contender(stand, 'traced') as contender:
            stand.wait_calm()
            starts = [_show_start(stand, ref) for ref in stand.refs[:STARTS]]
            first = stand.wait(lambda: stand.answers[-1:], 'an answer')[0]
            whole = contender.measure_events(EVENTS)
        with open(path, encoding='utf-8') as stream:
            spans = [Span(*item) for item in json.load(stream)]
    return _tell_way(starts, spans) + _tell_cost(
        [span for span in spans if span.began > first], whole)


def _show_start(stand: Stand, ref: str) -> Tuple[float, float]:
    """Show one start: when the answer was ready, and when the write had arrived."""
    stand.xapi.clear_calls()
    shown = len(stand.answers)
    stand.show_starts([ref])
    write = stand.wait(lambda: [call for call in stand.xapi.calls if call.method == ADD],
                       'the write')[0]
    answered = stand.answers[shown]
    stand.end_starts([ref])
    stand.wait_quiet(ECHO_SECONDS)
    return answered, write.at


def _tell_way(starts: List[Tuple[float, float]], spans: List[Span]) -> List[Figure]:
    ways = [way for way in (_follow(answered, arrived, spans) for answered, arrived in starts)
            if way is not None]
    figures = [summarise(_WAY, name, 'ms', [way[name] * 1000.0 for way in ways])
               for name in ways[0]]
    whole = [(arrived - answered) * 1000.0 for answered, arrived in starts]
    return figures + [summarise(_WAY, 'in all', 'ms', whole)]


def _follow(answered: float, arrived: float, spans: List[Span]) -> Optional[Dict[str, float]]:
    """What each part took of the way; None when the way was another (a scan between)."""
    passed = {span.name: span for span in reversed(spans)
              if answered <= span.ended and span.began <= arrived}
    if not {'head', 'decode', 'batch', 'handle', 'hand-out', 'call', 'send'} <= set(passed):
        return None
    records = [span for span in spans if span.name == 'record'
               and passed['decode'].began <= span.began <= passed['decode'].ended]
    parsing = sum(span.ended - span.began for span in records)
    return {
        'socket and HTTP head': passed['head'].ended - answered,
        'JSON decoded': passed['decode'].ended - passed['head'].ended - parsing,
        'record parsed': parsing,
        'batch built': passed['batch'].ended - passed['decode'].ended,
        'taken by the Watcher': passed['handle'].began - passed['batch'].ended,
        'registry looked at': _length(passed['registry']),
        'inventory': _length(passed['inventory']),
        'standings': _length(passed['standings']),
        'looked at and planned': passed['hand-out'].began - passed['look'].began,
        'handed out': passed['call'].began - passed['hand-out'].began,
        'call built': passed['send'].began - passed['call'].began,
        'sent, and read by XAPI': arrived - passed['send'].began,
    }


def _length(span: Span) -> float:
    return span.ended - span.began


def _tell_cost(spans: List[Span], whole: float) -> List[Figure]:
    """Each part's own processor time: what the parts within it took is theirs."""
    own: Dict[str, float] = {}
    _add_own(sorted(spans, key=lambda span: (span.began, -span.ended)), own)
    figures = [observe(_COST, _NAMES[name], seconds / EVENTS * 1000.0, 'ms')
               for name, seconds in sorted(own.items(), key=lambda item: -item[1])
               if seconds / EVENTS * 1e6 >= 0.5]
    told = sum(own.values()) / EVENTS * 1000.0
    return figures + [
        observe(_COST, 'between the parts: requests, waits', whole - told, 'ms'),
        observe(_COST, 'in all', whole, 'ms')]


def _add_own(spans: List[Span], own: Dict[str, float]) -> None:
    open_spans: List[Any] = []
    for span in spans:
        while open_spans and open_spans[-1].ended < span.ended:
            open_spans.pop()
        length = span.ended_cpu - span.began_cpu
        own[span.name] = own.get(span.name, 0.0) + length
        if open_spans:
            own[open_spans[-1].name] -= length
        open_spans.append(span)


_NAMES = {
    'head': 'HTTP head read', 'decode': 'body read, JSON decoded', 'record': 'record parsed',
    'batch': 'batch built', 'turn': 'the loop, and steps that are no part',
    'handle': 'Watcher.handle, rest of it', 'registry': 'both files looked at (stat)',
    'inventory': 'inventory', 'standings': 'standings', 'look': 'look and plan',
    'receipts': 'receipts', 'hand-out': 'hand-out', 'pump': 'pump: what is due',
    'journal': 'journal', 'call': 'call', 'send': 'request sent'}
