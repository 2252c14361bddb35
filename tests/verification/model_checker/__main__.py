"""Explore the worlds and print what was seen.

    python -m tests.verification.model_checker [--deeper N] [--jobs N] [--json] [WORLD ...]

Exit 0 when no invariant was broken; otherwise the shortest way there is printed, and it is 1.
"""

import argparse
import functools
import json
import multiprocessing
import sys
from typing import Sequence

from tests.verification.model_checker.explore import Found, explore
from tests.verification.model_checker.lines import hear
from tests.verification.model_checker.worlds import WORLDS


def main(argv: Sequence[str]) -> int:
    """Explore what is asked for."""
    parser = argparse.ArgumentParser(prog='python -m tests.verification.model_checker',
                                     description=__doc__, allow_abbrev=False)
    parser.add_argument('--deeper', type=int, default=0, help='steps beyond the depth of CI')
    parser.add_argument('--jobs', type=int, default=1, help='worlds at once')
    parser.add_argument('--json', action='store_true', help='print one JSON document at the end')
    parser.add_argument('worlds', nargs='*', metavar='WORLD', default=sorted(WORLDS))
    arguments = parser.parse_args(argv)
    total = Found()
    with multiprocessing.Pool(arguments.jobs) as pool:
        explored = pool.imap(functools.partial(_explore, arguments.deeper), arguments.worlds)
        for name, found in zip(arguments.worlds, explored):
            total = add(total, found)
            print(render(name, found), file=sys.stderr if arguments.json else sys.stdout,
                  flush=True)
            if found.problem:
                return 1
    if arguments.json:
        print(json.dumps(dict(total._asdict(), worlds=len(arguments.worlds))))
    else:
        print(render('%d worlds' % len(arguments.worlds), total))
    return 0


def _explore(deeper: int, name: str) -> Found:
    with hear():
        return explore(WORLDS[name].build(), WORLDS[name].depth + deeper)


def add(total: Found, found: Found) -> Found:
    """Both together."""
    return Found(total.states + found.states, total.schedules + found.schedules,
                 total.boots + found.boots, total.chains + found.chains,
                 total.excused + found.excused, max(total.depth, found.depth), found.problem,
                 found.path, total.seconds + found.seconds)


def render(name: str, found: Found) -> str:
    """One line, and the way to what is wrong."""
    line = ('%-36s %7d states %8d schedules %6d boots %7d chains, depth %2d, %5.1f s'
            % (name, found.states, found.schedules, found.boots, found.chains, found.depth,
               found.seconds))
    if found.problem:
        line += '\nWRONG: %s\n  %s' % (found.problem, '\n  '.join(found.path))
    return line


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
