"""vgpu-admin from the shell: what looking costs with 1,000 VMs, and many edits at once.

The figures of the earlier tool stand beside ours; they were measured on another day, with an `xe`
that answers in 0.9 ms.
"""

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.stand import KEY, ROOT, Contender, Stand
from registry.journal.journal import Journal

REGISTERED = 500
OTHERS = 500
ROUNDS = 7
SHOWN = 21
AT_ONCE = 8
EDITS = 200
OWNED = 5  # VMs that each of the writers changes, so that every edit changes something
EARLIER = 'the earlier tool'
_PRIORITIES = ('low', 'medium', 'high')


def run() -> List[Figure]:
    """Look, then register, then edit."""
    with Stand() as stand:
        stand.fill(REGISTERED, OTHERS)
        figures = _measure_looking(stand)
        with Contender(stand, 'ours'):
            stand.wait_calm()
            return (figures + _measure_show(stand) + _measure_registrations(stand)
                    + _measure_edits(stand))


def _measure_looking(stand: Stand) -> List[Figure]:
    """Time scan-vms and status; the calls are those of one run each."""
    title = f'vgpu-admin with {REGISTERED + OTHERS} VMs, {REGISTERED} registered'
    figures = []
    for command, earlier in (('scan-vms', 3.541), ('status', 5.484)):
        _admin(stand, command)
        stand.xapi.clear_calls()
        taken = [_time(lambda: _admin(stand, command)) / 1000.0 for _ in range(ROUNDS)]
        calls = len(stand.xapi.calls) / ROUNDS
        figures += [
            summarise(title, command, 's', taken, 'under 1 s', 1.0),
            compare(title, f'{command}: calls to XAPI', calls, 'at most 3', most=3.0,
                    unit='calls'),
            observe(title, f'{command}: {EARLIER}', earlier, 's')]
    listed = [_time(lambda: _admin(stand, 'list-vms')) for _ in range(ROUNDS)]
    return figures + [summarise(title, 'list-vms', 'ms', listed)]


def _measure_show(stand: Stand) -> List[Figure]:
    """Time show-vm beside the daemon; a Python that does nothing is the least it can take."""
    title = f'vgpu-admin beside a daemon, {REGISTERED + OTHERS} VMs'
    words = ('show-vm', '--vm-uuid=' + stand.xapi.vm(stand.refs[7])['uuid'])
    shown, bare, offline = [], [], []
    for _ in range(SHOWN):
        shown.append(_time(lambda: _admin(stand, *words)))
        bare.append(_time(lambda: _run([sys.executable, '-c', 'pass'])))
        offline.append(_time(lambda: _complete(stand)))
    return [
        summarise(title, 'show-vm by UUID', 'ms', shown, 'under 150 ms', 150.0),
        summarise(title, 'completion of a UUID', 'ms', offline, 'under 100 ms', 100.0),
        summarise(title, 'python -c pass', 'ms', bare)]


def _measure_registrations(stand: Stand) -> List[Figure]:
    """Register eight VMs at once; the answers and the rows must say the same."""
    uuids = [stand.xapi.vm(stand.xapi.create_vm(f'new-{number}'))['uuid']
             for number in range(AT_ONCE)]
    began = time.monotonic()
    answers = _at_once([lambda vm_uuid=vm_uuid: [_register(stand, vm_uuid)]  # type: ignore
                        for vm_uuid in uuids])
    seconds = time.monotonic() - began
    rows = _read_rows(stand)
    title = f'{AT_ONCE} registrations at once, beside a daemon'
    right = [vm_uuid for vm_uuid, answer in zip(uuids, answers)
             if vm_uuid in rows and answer and answer[0] == (vm_uuid, rows[vm_uuid][0])]
    numbers = {rows[vm_uuid][0] for vm_uuid in uuids if vm_uuid in rows}
    return [
        observe(title, 'until the last has ended', seconds, 's'),
        compare(title, 'rows with answers that are right', len(right), f'{AT_ONCE}',
                least=AT_ONCE, unit='rows'),
        compare(title, 'numbers', len(numbers), f'{AT_ONCE}', least=AT_ONCE, unit='numbers'),
        observe(title, f'rows: {EARLIER}', 1.0, 'row')]


def _measure_edits(stand: Stand) -> List[Figure]:
    """Have eight writers edit at once; none may be lost in the rows, the history or XAPI."""
    rows = _read_rows(stand)
    writers = [_Writer(stand, rows, number) for number in range(AT_ONCE)]
    known = _count_history(stand)
    began = time.monotonic()
    refusals = [text for found in _at_once([writer.run for writer in writers]) for text in found]
    seconds = time.monotonic() - began
    wanted = {vm_uuid: row for writer in writers for vm_uuid, row in writer.rows.items()}
    found = _read_rows(stand)
    lost = [vm_uuid for vm_uuid, row in wanted.items() if found.get(vm_uuid) != row]
    began = time.monotonic()
    stand.wait(lambda: _is_staged(stand, wanted), 'all staged')
    title = f'{EDITS} mixed edits by {AT_ONCE} processes, beside a daemon'
    return [
        observe(title, 'until the last has ended', seconds, 's'),
        compare(title, 'edits that failed', len(refusals), 'none', most=0.0, unit='edits'),
        compare(title, 'entries in the history', _count_history(stand) - known, f'{EDITS}',
                least=EDITS, most=EDITS, unit='entries'),
        compare(title, 'VMs whose row is not the last edit', len(lost), 'none', most=0.0,
                unit='VMs'),
        observe(title, 'from the last edit to all staged', time.monotonic() - began, 's')]


class _Writer:
    """One of those who edit, one command after the other; knows what its rows must be."""

    def __init__(self, stand: Stand, rows: Dict[str, Tuple[int, str, int]], number: int) -> None:
        self._stand = stand
        own = [stand.xapi.vm(ref)['uuid']
               for ref in stand.refs[number * OWNED:(number + 1) * OWNED]]
        self.rows = {vm_uuid: rows[vm_uuid] for vm_uuid in own}
        self._next_number = 10000 + number * 1000

    def run(self) -> List[str]:
        """Make this writer's share of the edits; what was refused."""
        refusals = []
        for turn in range(EDITS // AT_ONCE):
            vm_uuid = sorted(self.rows)[turn % OWNED]
            # Each VM meets each kind of edit once.
            words, row = self._choose((turn + turn // OWNED) % OWNED, self.rows[vm_uuid])
            ended = _admin(self._stand, words[0], '--vm-uuid=' + vm_uuid, *words[1:])
            if ended.returncode:
                refusals.append(ended.stderr.decode('utf-8'))
            self.rows[vm_uuid] = row
        return refusals

    def _choose(self, kind: int, row: Tuple[int, str, int]) -> Tuple[List[str], Any]:
        number, pool, level = row
        other = 'B' if pool == 'A' else 'A'
        next_level = (level + 1) % len(_PRIORITIES)
        priority = '--priority=' + _PRIORITIES[next_level]
        self._next_number += 1
        new = f'--vm-id={self._next_number}'
        return [
            (['set-pool', '--pool=' + other], (number, other, level)),
            (['set-priority', priority], (number, pool, next_level)),
            (['set-vm-id', new], (self._next_number, pool, level)),
            (['update-vm', '--pool=' + other, priority, new],
             (self._next_number, other, next_level)),
            (['update-vm', '--pool=' + other, priority], (number, other, next_level))][kind]


def _register(stand: Stand, vm_uuid: str) -> Tuple[str, int]:
    ended = _admin(stand, 'register-vm', '--vm-uuid=' + vm_uuid, '--json')
    vm = json.loads(ended.stdout.decode('utf-8') or '{"vm": {}}')['vm']
    return vm.get('vm_uuid', ''), vm.get('vm_id', 0)


def _at_once(tasks: Sequence[Callable[[], List[Any]]]) -> List[List[Any]]:
    """Run tasks in threads of their own; what each gave."""
    answers: List[List[Any]] = [[] for _ in tasks]

    def work(position: int) -> None:
        answers[position] = tasks[position]()
    threads = [threading.Thread(target=work, args=(position,)) for position in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _is_staged(stand: Stand, rows: Dict[str, Tuple[int, str, int]]) -> bool:
    return all(
        stand.xapi.vm(ref)['platform'].get(KEY) == '-device vgpu-stub,pool_id={1},priority={2},'
        'vm_id={0}'.format(*rows[vm_uuid][:2], _PRIORITIES[rows[vm_uuid][2]])
        for ref in stand.refs for vm_uuid in [stand.xapi.vm(ref)['uuid']] if vm_uuid in rows)


def _read_rows(stand: Stand) -> Dict[str, Tuple[int, str, int]]:
    return {vm.vm_uuid: (vm.vm_id, vm.pool_id, int(vm.priority))
            for vm in stand.registry.read().vms}


def _count_history(stand: Stand) -> int:
    """Count the changes of rows that a command of ours made."""
    with Journal(stand.registry.journal_path, timeout_seconds=10.0) as journal:
        # A run of more than a minute meets a scan, which refreshes names: those are no edits.
        return sum(entry.what == 'vm_changed' and entry.command != 'scan'
                   for entry in journal.list_history(limit=100000))


def _complete(stand: Stand) -> Any:
    line = f'vgpu-admin --config={stand.config} show-vm --vm-uuid='
    return _admin(stand, 'complete', VGPU_ADMIN_LINE=line)


def _admin(stand: Stand, *words: str, **variables: str) -> Any:
    return _run([sys.executable, '-m', 'cli', '--config', stand.config] + list(words), **variables)


def _run(command: List[str], **variables: str) -> Any:
    environment = dict(os.environ, PYTHONPATH=ROOT, **variables)
    # What is installed is compiled: a tree that may not keep that compiles at each run.
    environment.pop('PYTHONDONTWRITEBYTECODE', None)
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment)


def _time(action: Callable[[], Any]) -> float:
    """Run once, which must go well; milliseconds."""
    began = time.monotonic()
    ended = action()
    taken = (time.monotonic() - began) * 1000.0
    if ended.returncode:
        raise RuntimeError(f'{ended.args} ended with {ended.returncode}: {ended.stderr}')
    return taken
