"""The mirror of 1,000 registered VMs: calls, time and sizes of the first fill and of one edit.

Without codes, whatever key this machine has: an entry that is signed takes twice the calls.
"""

import time
from typing import Dict, List

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import Contender, Stand
from registry.values import Priority
from watcher.mirror.entries import MAX_VM_BYTES
from watcher.vm.mirror_keys import SLOTS

VMS = 1000
EDITS = 10


def run() -> List[Figure]:
    """Fill the mirror of a pool that is staged, then edit VMs one by one."""
    seconds: List[float] = []
    with Stand() as stand:
        stand.fill(VMS)
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write('[mirror]\nkey_file =\n')
        with Contender(stand, 'ours') as contender:
            ready = time.monotonic()
            stand.wait(lambda: contender.count_logged('mirror.written') == 1, 'the first fill')
            first_seconds, first_calls = time.monotonic() - ready, _count_calls(stand)
            stand.wait_calm()
            stand.xapi.clear_calls()
            for number, ref in enumerate(stand.refs[:EDITS], 2):
                began = time.monotonic()
                stand.set_priority([ref], Priority.HIGH)
                stand.wait(lambda: contender.count_logged('mirror.written') == number,
                           'an edit in the mirror')
                seconds.append(time.monotonic() - began)
                stand.wait_calm()
        edit_calls = _count_calls(stand) / EDITS
        of_vm = max(_measure(stand.xapi.vm(ref)['other_config']) for ref in stand.refs)
        of_pool = _measure(stand.xapi.call('pool.get_other_config', stand.xapi.pool))
    title = f'The unsigned mirror of {VMS} registered and staged VMs, 0 ms per call'
    return [
        observe(title, 'first fill: READY to whole', first_seconds, 's'),
        compare(title, 'first fill: calls', first_calls, f'at most {VMS + 1}',
                most=VMS + 1, unit='calls'),
        summarise(title, 'an edit of one VM: commit to mirrored', 's', seconds),
        compare(title, 'an edit of one VM: calls', edit_calls, 'at most 4', most=4, unit='calls'),
        compare(title, 'the longest entry of a VM', of_vm, f'at most {MAX_VM_BYTES}',
                most=MAX_VM_BYTES, unit='bytes'),
        observe(title, f'the entry of the pool, after {EDITS + 1} generations', of_pool, 'bytes')]


def _count_calls(stand: Stand) -> int:
    return sum('_other_config' in call.method and not call.method.split('.')[1].startswith('get')
               for call in stand.xapi.calls)


def _measure(other_config: Dict[str, str]) -> int:
    return sum(len(text) for slot, text in other_config.items() if slot in SLOTS)
