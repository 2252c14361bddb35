"""The parts of the proof, each run as its own program; what each has to say.

The storm runs here, the others as people run them: `python -m tests.model`, pytest with SWEEP=all,
`python -m tests.mutants`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Tuple

from tests.assurance.storm import weather

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VMS = 160
SWEEP = 'tests/faults/test_kill_at_system_calls.py'
DEATHS = 'tests/pool/test_master_dies.py'
KILLED = 'SIGKILL at a system call that writes'


class Part(NamedTuple):
    """What one part has found; figures that it does not have are left out of the table."""
    name: str
    seconds: float
    figures: Dict[str, Any]
    problems: Tuple[str, ...] = ()


def run_storm(arguments: Any) -> Part:
    """Boots over all scenarios and faults."""
    figures = weather(arguments.boots, arguments.minutes * 60, arguments.seed, VMS)
    problems = ['%s: %s' % (kind, wrong) for kind, found in (
        ('WRONG', figures.wrong), ('UNREPORTED', figures.unreported)) for wrong in found]
    return Part('storm', figures.seconds, {
        'boots': figures.boots, 'wrong': len(figures.wrong),
        'unreported': len(figures.unreported), 'straddled': figures.straddled,
        'refused': figures.refused, 'faults': figures.faults,
        'recoveries': figures.recoveries, 'restarts': figures.restarts,
        'repeated': figures.repeated, 'rounds': figures.rounds}, tuple(problems[:20]))


def run_model(arguments: Any) -> Part:
    """States and schedules."""
    began = time.monotonic()
    status, output = _run('-m', 'tests.model', '--json', '--deeper', str(arguments.deeper),
                          '--jobs', str(os.cpu_count() or 1))
    figures = {'model': json.loads(output.splitlines()[-1])} if not status else {}
    return Part('model', time.monotonic() - began, figures, (output,) if status else ())


def run_pools(arguments: Any) -> Part:
    """The same of several hosts: masters that change, two at once, databases that are old."""
    began = time.monotonic()
    status, output = _run('-m', 'tests.model.pool_model', '--json', '--deeper',
                          str(arguments.deeper))
    figures = {'pools': json.loads(output.splitlines()[-1])} if not status else {}
    return Part('pools', time.monotonic() - began, figures, (output,) if status else ())


def run_kills(arguments: Any) -> Part:
    """SIGKILL at every system call that writes, and the boots after it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        path = os.path.join(directory, 'figures')
        status, output = _run('-m', 'pytest', '-q', '-n', str(arguments.jobs), '--tb=short', SWEEP,
                              SWEEP='all', SWEEP_FIGURES=path)
        shards = _read_lines(path)
    figures = _sum_shards(shards) if shards else {}
    return Part('kills', time.monotonic() - began, figures, (output[-3000:],) if status else ())


def run_masters(arguments: Any) -> Part:
    """The master's host dies at every write of every edit, and another carries on."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        path = os.path.join(directory, 'figures')
        status, output = _run('-m', 'pytest', '-q', '-n', str(arguments.jobs), '--tb=short',
                              DEATHS, SWEEP='all', SWEEP_FIGURES=path)
        shards = _read_lines(path)
    figures = {'deaths': sum(shard['deaths'] for shard in shards)}
    return Part('masters', time.monotonic() - began, figures,
                (output[-3000:],) if status else ())


def run_mutants(arguments: Any) -> Part:
    """Deliberate faults."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        path = os.path.join(directory, 'verdicts')
        status, output = _run('-m', 'tests.mutants', '--jobs', str(max(1, arguments.jobs // 2)),
                              '--json', path)
        verdicts = _read_lines(path)
    figures = {'mutants': len(verdicts),
               'caught': len([item for item in verdicts if not item['problem']])}
    problems = ['%(number)d %(name)s: %(problem)s' % item for item in verdicts if item['problem']]
    return Part('mutants', time.monotonic() - began, figures,
                tuple(problems) or ((output[-3000:],) if status else ()))


PARTS = {'storm': run_storm, 'model': run_model, 'pools': run_pools,
         'kills': run_kills, 'masters': run_masters, 'mutants': run_mutants}


def _sum_shards(shards: List[Dict[str, Any]]) -> Dict[str, Any]:
    kills = sum(shard['kills'] for shard in shards)
    return {'kills': kills, 'calls': max(shard['calls'] for shard in shards),
            'boots': {'start after a SIGKILL': sum(shard['boots'] for shard in shards)},
            'wrong': 0, 'unreported': 0, 'faults': {KILLED: kills},
            'recoveries': {KILLED: max(shard['longest'] for shard in shards)},
            'restarts': {KILLED: max(shard['longest_restart'] for shard in shards)}}


def _read_lines(path: str) -> List[Dict[str, Any]]:
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as stream:
        return [json.loads(line) for line in stream]


def _run(*arguments: str, **environment: str) -> Tuple[int, str]:
    done = subprocess.run([sys.executable] + list(arguments), cwd=ROOT, stdout=subprocess.PIPE,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout.decode('utf-8', 'replace')
