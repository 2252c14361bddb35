"""Several storms side by side: nearly all of one is a single interpreter's work.

    python -m tests.verification.assurance.storms --boots N --seconds N --seed N --vms N

runs one and prints its figures as JSON in the last line; `run_storms` runs one for each processor.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Sequence

from tests.verification.assurance.fleet import Wrong
from tests.verification.assurance.running import run
from tests.verification.assurance.storm import Figures, weather


def run_storms(boots: int, seconds: float, seed: int, vms: int, storms: int) -> Figures:
    """So many storms at once, with a seed each; what they have come to together."""
    began = time.monotonic()
    share = -(-boots // storms)

    def one(number: int) -> Figures:
        status, output = run('storm %d' % (seed + number), '-m', 'tests.verification.assurance.storms',
                             '--boots', str(share), '--seconds', str(seconds),
                             '--seed', str(seed + number), '--vms', str(vms))
        if status:
            raise RuntimeError('the storm with seed %d broke:\n%s' % (seed + number,
                                                                      output[-2000:]))
        return read_figures(json.loads(output.splitlines()[-1]))
    with ThreadPoolExecutor(storms) as pool:
        return add_up(list(pool.map(one, range(storms))))._replace(
            seconds=time.monotonic() - began)


def read_figures(fields: Dict[str, Any]) -> Figures:
    """Figures as they were printed."""
    figures = Figures(**fields)
    return figures._replace(wrong=tuple(Wrong(*item) for item in figures.wrong),
                            unreported=tuple(Wrong(*item) for item in figures.unreported))


def add_up(storms: Sequence[Figures]) -> Figures:
    """What several storms have come to."""
    total = storms[0]
    for figures in storms[1:]:
        total = Figures(*[_add(mine, theirs) if name not in ('recoveries', 'restarts')
                          else _join(mine, theirs, max)
                          for name, mine, theirs in zip(Figures._fields, total, figures)])
    return total


def _add(mine: Any, theirs: Any) -> Any:
    return _join(mine, theirs, lambda one, other: one + other) if isinstance(mine, dict) \
        else mine + theirs


def _join(mine: Dict[str, Any], theirs: Dict[str, Any], both: Any) -> Dict[str, Any]:
    joined = dict(mine)
    for name, value in theirs.items():
        joined[name] = both(joined[name], value) if name in joined else value
    return joined


def main(argv: List[str]) -> int:
    """One storm, in this process."""
    parser = argparse.ArgumentParser(prog='python -m tests.verification.assurance.storms',
                                     allow_abbrev=False)
    parser.add_argument('--boots', type=int, required=True)
    parser.add_argument('--seconds', type=float, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--vms', type=int, required=True)
    arguments = parser.parse_args(argv)
    figures = weather(arguments.boots, arguments.seconds, arguments.seed, arguments.vms, _tell)
    print(json.dumps(figures._asdict()))
    return 0


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
