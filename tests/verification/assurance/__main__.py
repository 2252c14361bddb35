"""The figures of docs/assurance.md, from a run.

    python -m tests.verification.assurance [--boots N] [--minutes M] [--seed N] [--jobs N] [--only PART ...]
                              [--write]

Parts: storm, model, pools (the model of several hosts), kills (SIGKILL at every system call that
writes), masters (the master's host dies at every write of an edit), commands (vgpu-admin killed at
every system call that writes, and on a full disk), registry (what may happen to the registry, in
any order), attacked (forgeries, hostile text, quarrels, clocks), mutants. Says on standard error
how far it is, prints one table in Markdown, and what it is made of; with --write it stands in the
document. Exit 0 when every goal was met: so many boots, none wrong, none unreported, no invariant
broken, every kill repaired, every mutant caught, each recovery in time.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Sequence

from tests.verification.assurance.document import write
from tests.verification.assurance.parts import PARTS, Part
from tests.verification.assurance.running import ROOT, say
from tests.verification.assurance.table import BOOTS, list_missed, render

# What runs side by side: the models know no time, and most of a sweep is waiting. The storms take
# all processors, and a mutant shall be caught by its test, not by a machine that is too busy.
STAGES = (('storm',), ('model', 'pools'), ('kills', 'masters'), ('commands', 'registry'),
          ('attacked',), ('mutants',))


def main(argv: Sequence[str]) -> int:
    """Run the parts and print their table."""
    parser = argparse.ArgumentParser(prog='python -m tests.verification.assurance',
                                     description=__doc__, allow_abbrev=False)
    parser.add_argument('--boots', type=int, default=BOOTS)
    parser.add_argument('--minutes', type=float, default=30.0, help='the end of the storm')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--storms', type=int, default=0,
                        help='storms at once, with a seed each; as many as processors')
    parser.add_argument('--deeper', type=int, default=0, help='further steps of the model')
    parser.add_argument('--jobs', type=int, default=4, help='tests at once: most of them wait')
    parser.add_argument('--only', nargs='+', choices=list(PARTS), default=list(PARTS))
    parser.add_argument('--write', action='store_true', help='into docs/assurance.md')
    arguments = parser.parse_args(argv)
    began, load = time.monotonic(), _read_load()
    parts = [part for stage in STAGES for part in _run_stage(
        [name for name in stage if name in arguments.only], arguments)]
    print('\n'.join(render(parts)))
    print('Together %.0f s at %s, with Python %s on %d processors.' % (
        time.monotonic() - began, _read_commit(), sys.version.split()[0], os.cpu_count() or 0))
    missed = list_missed(parts, arguments.boots)
    print('Missed: %s' % '; '.join(missed) if missed else 'Every goal was met.')
    if arguments.write:
        write(parts, _describe(arguments.seed, load))
    return 1 if missed else 0


def _run_stage(names: Sequence[str], arguments: Any) -> List[Part]:
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return list(pool.map(lambda name: _run_part(name, arguments), names))


def _run_part(name: str, arguments: Any) -> Part:
    say('%s ...' % name)
    part = PARTS[name](arguments)
    say('%s: %.0f s%s' % (name, part.seconds, ', with problems' if part.problems else ''))
    return part


def _describe(seed: int, load_before: str) -> Dict[str, Any]:
    return {'date': time.strftime('%d %B %Y', time.gmtime()), 'commit': _read_commit(),
            'seed': seed, 'python': sys.version.split()[0], 'processors': os.cpu_count() or 0,
            'load_before': load_before, 'load_after': _read_load()}


def _read_load() -> str:
    return '%.1f' % os.getloadavg()[0]


def _read_commit() -> str:
    try:
        done = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return 'no commit'
    return done.stdout.decode('ascii', 'replace').strip() or 'no commit'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
