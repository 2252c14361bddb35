"""The figures of docs/assurance.md, from a run.

    python -m tests.assurance [--boots N] [--minutes M] [--seed N] [--only PART ...]

Parts: storm, model, kills (SIGKILL at every system call that writes), mutants. Prints the table
in Markdown. Exit 0 when no boot was wrong or unreported, no invariant was broken, every kill was
repaired and every mutant caught.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from tests.assurance.storm import Figures, weather

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = ('storm', 'model', 'kills', 'mutants')
VMS = 160


class Section(NamedTuple):
    """What one part has to say."""
    lines: Tuple[str, ...]
    is_good: bool


def main(argv: Sequence[str]) -> int:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(prog='python -m tests.assurance', description=__doc__)
    parser.add_argument('--boots', type=int, default=100000)
    parser.add_argument('--minutes', type=float, default=30.0, help='the end of the storm')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--deeper', type=int, default=0, help='steps beyond the model of CI')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
    arguments = parser.parse_args(argv)
    is_good, began = True, time.monotonic()
    for part in arguments.only:
        section = _SECTIONS[part](arguments)
        print('\n'.join(section.lines) + '\n', flush=True)
        is_good = is_good and section.is_good
    print('Took %.0f s with Python %s on %d processors.' % (
        time.monotonic() - began, sys.version.split()[0], os.cpu_count() or 0))
    return 0 if is_good else 1


def run_storm(arguments: Any) -> Section:
    """Boots over all scenarios and faults."""
    figures = weather(arguments.boots, arguments.minutes * 60, arguments.seed, VMS)
    return Section(tuple(render_storm(figures)), not figures.wrong and not figures.unreported)


def render_storm(figures: Figures) -> List[str]:
    """Three tables: boots, faults, recoveries."""
    lines = ['| boots | how many |', '|---|---|']
    lines += ['| %s | %d |' % item for item in sorted(figures.boots.items())]
    lines += ['| **together** | **%d** |' % sum(figures.boots.values()),
              '| **wrong** | **%d** |' % len(figures.wrong),
              '| **unreported** | **%d** |' % len(figures.unreported),
              '| between the two calls of a rescue, without a promise, and told so | %d |'
              % figures.straddled,
              '| calls that XAPI refused or cut off | %d |' % figures.refused, '',
              '| faults | injected |', '|---|---|']
    lines += ['| %s | %d |' % item for item in sorted(figures.faults.items())]
    lines += ['', '| longest recovery from | seconds |', '|---|---|']
    lines += ['| %s | %.2f |' % item for item in sorted(figures.recoveries.items())]
    lines += ['', 'Storm: %d rounds in %.0f s.' % (figures.rounds, figures.seconds)]
    lines += ['WRONG: %s' % (wrong,) for wrong in (figures.wrong + figures.unreported)[:20]]
    return lines


def run_model(arguments: Any) -> Section:
    """States and schedules."""
    status, output = _run('-m', 'tests.model', '--json', '--deeper', str(arguments.deeper))
    if status:
        return Section((output,), False)
    seen: Dict[str, Any] = json.loads(output.splitlines()[-1])
    return Section((
        '| model | |', '|---|---|', '| worlds | %d |' % seen['worlds'],
        '| distinct states | %d |' % seen['states'],
        '| schedules (steps taken, each from a state) | %d |' % seen['schedules'],
        '| boots in them | %d |' % seen['boots'],
        '| states from which undisturbed work was followed to its good end | %d |'
        % seen['chains'],
        '| deepest | %d steps |' % seen['depth'],
        '| invariants broken | 0 |', '', 'Model: %.0f s.' % seen['seconds']), True)


def run_kills(_arguments: Any) -> Section:
    """SIGKILL at every system call that writes."""
    status, output = _run('-m', 'pytest', '-q', 'tests/faults/test_kill_at_system_calls.py',
                          SWEEP='all')
    return Section(('SIGKILL at every system call that writes: %s' % _last_line(output),),
                   status == 0)


def run_mutants(_arguments: Any) -> Section:
    """Deliberate faults."""
    status, output = _run('-m', 'tests.mutants')
    return Section(('Mutants: %s' % _last_line(output),), status == 0)


_SECTIONS = {'storm': run_storm, 'model': run_model, 'kills': run_kills, 'mutants': run_mutants}


def _run(*arguments: str, **environment: str) -> Tuple[int, str]:
    done = subprocess.run([sys.executable] + list(arguments), cwd=ROOT, stdout=subprocess.PIPE,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout.decode('utf-8', 'replace')


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if re.search(r'\w', line)]
    return lines[-1].strip('= ') if lines else 'no output'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
