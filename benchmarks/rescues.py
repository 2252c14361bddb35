"""How quickly a missing span is added: one start, and 200 at once; beside floor, plain, script."""

import os
import statistics
import subprocess
import time
from typing import Dict, List

from benchmarks.figures import Figure, compare, summarise
from benchmarks.floor import Connection, call
from benchmarks.stand import KEY, Contender, Stand, span

VMS = 1000
ROUNDS = 2
STARTS_PER_ROUND = 20
STORM = 200
ECHO_SECONDS = 0.15
ADD = 'VM.add_to_platform'
LARGE_VMS = 100
NVRAM_BYTES = 30 * 1024
# What the earlier tool's script ran for one VM: nine processes, and then its call.
SCRIPT = '''
uuid=$(echo "$1" | tr A-F a-f)
row=$(grep "$uuid" "$2" | head -n 1)
pool=$(echo "$row" | cut -c 1)
number=$(echo "$row" | sed 's/.*"//')
test -n "$(cat /dev/null | wc -c)"
exec /bin/true
'''


def run() -> List[Figure]:
    """Measure all, alternating."""
    single: Dict[str, List[float]] = {}
    storms: Dict[str, List[float]] = {}
    # With XAPI's own delays: an answer that comes at once for each echo of a write would have our
    # long poll, which goes on meanwhile, take the simulator's time from the writes.
    with Stand(event_from_delay=None) as stand:
        stand.fill(VMS)
        for _ in range(ROUNDS):
            for name in ('ours', 'floor', 'plain'):
                with Contender(stand, name):
                    stand.wait_calm()
                    single.setdefault(name, []).extend(_measure_single(stand))
                    storms.setdefault(name, []).append(_measure_storm(stand))
            single.setdefault('script', []).extend(_measure_script(stand))
    return _judge(single, storms) + _measure_large()


def _measure_large() -> List[Figure]:
    """Measure the same for UEFI guests, whose records hold their variables: for comparison."""
    taken: Dict[str, List[float]] = {}
    with Stand(event_from_delay=None, nvram_bytes=NVRAM_BYTES) as stand:
        stand.fill(LARGE_VMS)
        for name in ('ours', 'floor', 'plain'):
            with Contender(stand, name):
                stand.wait_calm()
                taken[name] = _measure_single(stand)
    title = f'The same with {NVRAM_BYTES // 1024} KB of NVRAM in each record, {LARGE_VMS} VMs'
    return [summarise(title, name, 'ms', values) for name, values in taken.items()]


def _judge(single: Dict[str, List[float]], storms: Dict[str, List[float]]) -> List[Figure]:
    title = f'A start without its span, {VMS} VMs: event to write'
    figures = [summarise(title, name, 'ms', values, 'at most 3 ms' if name == 'ours' else '',
                         3.0 if name == 'ours' else None)
               for name, values in single.items()]
    ours, floor = statistics.median(single['ours']), statistics.median(single['floor'])
    figures += [
        compare(title, 'ours / floor', ours / floor, 'at most 1.2', most=1.2),
        compare(title, 'plain / ours', statistics.median(single['plain']) / ours, 'at least 1.8',
                least=1.8)]
    title = f'{STORM} starts without their spans: event to last write'
    figures += [summarise(title, name, 'ms', values) for name, values in storms.items()]
    ours = statistics.median(storms['ours'])
    return figures + [
        compare(title, 'ours / floor', ours / statistics.median(storms['floor']), 'at most 1.3',
                most=1.3),
        compare(title, 'plain / ours', statistics.median(storms['plain']) / ours, 'at least 2.4',
                least=2.4)]


def _measure_single(stand: Stand) -> List[float]:
    return [_measure(stand, [ref]) for ref in stand.refs[:STARTS_PER_ROUND]]


def _measure_storm(stand: Stand) -> float:
    return _measure(stand, stand.refs[-STORM:])


def _measure(stand: Stand, refs: List[str]) -> float:
    """Measure from the answer that shows the starts to the arrival of the last write."""
    stand.xapi.clear_calls()
    shown = len(stand.answers)
    stand.show_starts(refs)
    writes = stand.wait(lambda: _list_adds(stand, len(refs)), f'{len(refs)} writes')
    first = next(at for at in stand.answers[shown:])
    stand.end_starts(refs)
    # The echo of the write is none of the next start's business.
    stand.wait_quiet(ECHO_SECONDS)
    return (writes[-1].at - first) * 1000.0


def _list_adds(stand: Stand, count: int) -> List[object]:
    adds = [call for call in stand.xapi.calls if call.method == ADD]
    return adds if len(adds) >= count else []


def _measure_script(stand: Stand) -> List[float]:
    """Measure from the moment the script is called: it hears no events."""
    connection = Connection(stand.socket)
    session = call(connection, 'session.login_with_password', 'root', '', '1.0', 'script')
    taken = []
    for number, ref in enumerate(stand.refs[:STARTS_PER_ROUND], 1):
        stand.xapi.call('VM.remove_from_platform', ref, KEY)
        vm_uuid = stand.xapi.vm(ref)['uuid']
        stand.xapi.clear_calls()
        began = time.monotonic()
        subprocess.check_call(['/bin/sh', '-c', SCRIPT, 'script', vm_uuid, stand.table],
                              stdout=subprocess.DEVNULL, env=dict(os.environ, LC_ALL='C'))
        call(connection, ADD, session, ref, KEY, span(number))
        taken.append((_list_adds(stand, 1)[0].at - began) * 1000.0)
    connection.close()
    return taken
