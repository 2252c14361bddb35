"""The figures of docs/assurance.md, from a run.

    python -m tests.assurance [--boots N] [--minutes M] [--seed N] [--jobs N] [--only PART ...]

Parts: storm, model, pools (the model of several hosts), kills (SIGKILL at every system call that
writes), masters (the master's host dies at every write of an edit), mutants. Prints one table in Markdown, and what it is made of. Exit 0 when every goal was met: so many boots, none wrong, none
unreported, no invariant broken, every kill repaired, every mutant caught, each recovery in time.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import List, Sequence

from tests.assurance.parts import PARTS, ROOT, Part
from tests.assurance.table import BOOTS, list_missed, render


def main(argv: Sequence[str]) -> int:
    """Run the parts and print their table."""
    parser = argparse.ArgumentParser(prog='python -m tests.assurance', description=__doc__)
    parser.add_argument('--boots', type=int, default=BOOTS)
    parser.add_argument('--minutes', type=float, default=30.0, help='the end of the storm')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--deeper', type=int, default=0, help='steps beyond the model of CI')
    parser.add_argument('--jobs', type=int, default=4, help='tests at once: most of them wait')
    parser.add_argument('--only', nargs='+', choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args(argv)
    began = time.monotonic()
    parts: List[Part] = []
    for name in arguments.only:
        _say('%s ...' % name)
        parts.append(PARTS[name](arguments))
        _say('%s: %.0f s%s' % (name, parts[-1].seconds,
                               ', with problems' if parts[-1].problems else ''))
    print('\n'.join(render(parts)))
    print('Together %.0f s at %s, with Python %s on %d processors.' % (
        time.monotonic() - began, _read_commit(), sys.version.split()[0], os.cpu_count() or 0))
    missed = list_missed(parts, arguments.boots)
    print('Missed: %s' % '; '.join(missed) if missed else 'Every goal was met.')
    return 1 if missed else 0


def _say(text: str) -> None:
    sys.stderr.write('%s %s\n' % (time.strftime('%H:%M:%S'), text))
    sys.stderr.flush()


def _read_commit() -> str:
    try:
        done = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return 'no commit'
    return done.stdout.decode('ascii', 'replace').strip() or 'no commit'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
