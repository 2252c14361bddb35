"""The parts of the proof, each run as its own program; what each has to say.

The storm runs here, the others as people run them: `python -m tests.verification.model_checker`, pytest with SWEEP=all,
`python -m tests.verification.mutants`.
"""

import json
import os
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from tests.verification.assurance.running import run
from tests.verification.assurance.storms import run_storms

VMS = 160
SWEEP = 'tests/integration/faults/test_kill_at_system_calls.py'
DEATHS = 'tests/integration/pool/test_master_dies.py'
COMMANDS = 'tests/integration/faults/test_admin_killed.py'
REGISTRY = 'tests/verification/stateful/test_registry_stateful.py'
# What leaves word of forgeries, of what keeps the daemon busy, of quarrels and of clocks.
ATTACKS = ('tests/integration/security/test_mirror_attacks.py',
           'tests/integration/pool/test_mirror_forged.py', 'tests/integration/faults/test_clock.py',
           'tests/integration/faults/test_fights.py', 'tests/unit/watcher/test_quarrels.py')
# With the machine for itself: it measures how long things take.
BUSY = 'tests/integration/faults/test_busy.py'
# Orders of what may happen to the registry: so many seeds, examples each, and steps each.
SEEDS, EXAMPLES, STEPS = 8, 12, 25
KILLED = 'SIGKILL at a system call that writes'
# Steps of the model beyond those of CI, which has ten minutes.
_DEEPER_THAN_CI = 2
# Of all other figures of attacks the worst is told.
COUNTED = ('forgeries', 'accepted', 'quarrels', 'clock_steps')


class Part(NamedTuple):
    """What one part has found; figures that it does not have are left out of the table."""
    name: str
    seconds: float
    figures: Dict[str, Any]
    problems: Tuple[str, ...] = ()


def run_storm(arguments: Any) -> Part:
    """Boots over all scenarios and faults."""
    figures = run_storms(arguments.boots, arguments.minutes * 60, arguments.seed, VMS,
                         arguments.storms or os.cpu_count() or 1)
    problems = ['%s: %s' % (kind, wrong) for kind, found in (
        ('WRONG', figures.wrong), ('UNREPORTED', figures.unreported)) for wrong in found]
    return Part('storm', figures.seconds, {
        'boots': figures.boots, 'wrong': len(figures.wrong),
        'unreported': len(figures.unreported), 'outrun': figures.outrun, 'bare': figures.bare,
        'windows': figures.windows,
        'refused': figures.refused, 'faults': figures.faults,
        'recoveries': figures.recoveries, 'restarts': figures.restarts,
        'repeated': figures.repeated, 'unsaid': figures.unsaid, 'rounds': figures.rounds}, tuple(problems[:20]))


def run_model(arguments: Any) -> Part:
    """States and schedules."""
    return _run_model('model', '-m', 'tests.verification.model_checker', '--json', '--deeper',
                      str(_DEEPER_THAN_CI + arguments.deeper), '--jobs', str(os.cpu_count() or 1))


def run_pools(arguments: Any) -> Part:
    """The same of several hosts: masters that change, two at once, databases that are old."""
    return _run_model('pools', '-m', 'tests.verification.model_checker.pool_model', '--json', '--deeper',
                      str(arguments.deeper))


def run_kills(arguments: Any) -> Part:
    """SIGKILL at every system call that writes, and the boots after it."""
    part, shards = _sweep('kills', [SWEEP], arguments.jobs)
    return part._replace(figures=_sum_shards(shards) if shards else {})


def run_masters(arguments: Any) -> Part:
    """The master's host dies at every write of every edit, and another carries on."""
    part, shards = _sweep('masters', [DEATHS], arguments.jobs)
    return part._replace(figures={'deaths': sum(shard['deaths'] for shard in shards)})


def run_commands(arguments: Any) -> Part:
    """vgpu-admin killed at every system call that writes, and on a full disk."""
    part, shards = _sweep('commands', [COMMANDS], arguments.jobs)
    return part._replace(figures={'commands': len(shards), **{
        'command_' + name: sum(shard[name] for shard in shards)
        for name in ('kills', 'full')}} if shards else {})


def run_registry(arguments: Any) -> Part:
    """What may happen to the registry, in any order."""
    part, shards = _sweep('registry', [REGISTRY], arguments.jobs, REGISTRY_SEEDS=str(SEEDS),
                          REGISTRY_EXAMPLES=str(EXAMPLES), REGISTRY_STEPS=str(STEPS),
                          STATEFUL_SEED=str(arguments.seed))
    return part._replace(figures={'registry_' + name: sum(shard[name] for shard in shards)
                                  for name in ('orders', 'commands')})


def run_attacked(arguments: Any) -> Part:
    """What attackers, clocks and quarrels can do."""
    busy, figures = _sweep('attacked', [BUSY], 1)
    part, more = _sweep('attacked', ATTACKS, arguments.jobs)
    return Part('attacked', busy.seconds + part.seconds, _sum_attacks(figures + more),
                busy.problems + part.problems)


def run_mutants(arguments: Any) -> Part:
    """Deliberate faults."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        path = os.path.join(directory, 'verdicts')
        status, output = run('mutants', '-m', 'tests.verification.mutants',
                             '--jobs', str(max(1, arguments.jobs // 2)), '--json', path)
        verdicts = _read_lines(path)
    figures = {'mutants': len(verdicts), 'verdicts': verdicts,
               'caught': len([item for item in verdicts if not item['problem']])}
    problems = ['%(number)d %(name)s: %(problem)s' % item for item in verdicts if item['problem']]
    return Part('mutants', time.monotonic() - began, figures,
                tuple(problems) or ((output[-3000:],) if status else ()))


PARTS = {'storm': run_storm, 'model': run_model, 'pools': run_pools,
         'kills': run_kills, 'masters': run_masters, 'commands': run_commands,
         'registry': run_registry, 'attacked': run_attacked, 'mutants': run_mutants}


def _run_model(name: str, *words: str) -> Part:
    began = time.monotonic()
    status, output = run(name, *words)
    figures = {name: json.loads(output.splitlines()[-1])} if not status else {}
    return Part(name, time.monotonic() - began, figures, (output,) if status else ())


def _sweep(name: str, tests: Sequence[str], jobs: int,
           **environment: str) -> Tuple[Part, List[Dict[str, Any]]]:
    """Run a sweep of tests whole, in shards; what each shard has left word of."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        path = os.path.join(directory, 'figures')
        status, output = run(name, '-m', 'pytest', '-q', '-n', str(jobs), '--tb=short', *tests,
                             SWEEP='all', SWEEP_FIGURES=path, **environment)
        shards = _read_lines(path)
    return Part(name, time.monotonic() - began, {},
                (output[-3000:],) if status else ()), shards


def _sum_shards(shards: List[Dict[str, Any]]) -> Dict[str, Any]:
    kills = sum(shard['kills'] for shard in shards)
    return {'kills': kills, 'calls': max(shard['calls'] for shard in shards),
            'boots': {'start after a SIGKILL': sum(shard['boots'] for shard in shards)},
            'wrong': 0, 'unreported': 0, 'faults': {KILLED: kills},
            'recoveries': {KILLED: max(shard['longest'] for shard in shards)},
            'restarts': {KILLED: max(shard['longest_restart'] for shard in shards)}}


def _sum_attacks(found: List[Dict[str, Any]]) -> Dict[str, Any]:
    told: Dict[str, List[float]] = {}
    for item in found:
        for name, value in item.items():
            told.setdefault(name, []).append(value)
    return {name: sum(values) if name in COUNTED else max(values)
            for name, values in told.items()}


def _read_lines(path: str) -> List[Dict[str, Any]]:
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as stream:
        return [json.loads(line) for line in stream]
