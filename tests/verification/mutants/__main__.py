"""Apply each deliberate fault to a copy of the tree, and demand that its tests fail.

    python -m tests.verification.mutants [--only N ...] [--jobs N] [--markdown FILE] [--json FILE]

Prints a line for each: which test caught it. Exit 0 when all were caught, 1 otherwise.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import List, NamedTuple, Sequence

from tests.verification.mutants.faults import MUTANTS, Mutant

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LEFT_OUT = shutil.ignore_patterns('.git', '.venv', 'build', '__pycache__', '.hypothesis',
                                  '*.egg-info')
# Longer than anything that is awaited needs, much shorter than what a test is given otherwise.
PATIENCE_SECONDS = 6
TIMEOUT_SECONDS = 300
PYTEST_FAILED = 1
_FAILED = re.compile(r'^(?:FAILED|ERROR) \S+::(\S+)', re.MULTILINE)
_PASSED = re.compile(r'(\d+) passed')


class Verdict(NamedTuple):
    """What became of one mutant."""
    number: int
    mutant: Mutant
    caught_by: Sequence[str]
    problem: str
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Run the mutants that are asked for."""
    parser = argparse.ArgumentParser(prog='python -m tests.verification.mutants',
                                     description=__doc__, allow_abbrev=False)
    parser.add_argument('--only', type=int, nargs='+', metavar='N', help='numbers from 1')
    parser.add_argument('--jobs', type=int, default=1, help='mutants at once')
    parser.add_argument('--markdown', metavar='FILE', help='write the table there')
    parser.add_argument('--json', metavar='FILE', help='write one document a line there')
    arguments = parser.parse_args(argv)
    chosen = [(number, mutant) for number, mutant in enumerate(MUTANTS, 1)
              if not arguments.only or number in arguments.only]
    verdicts: List[Verdict] = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for verdict in pool.map(lambda item: _try(*item), chosen):
            verdicts.append(verdict)
            print(_render(verdict), flush=True)
    survived = [verdict for verdict in verdicts if verdict.problem]
    print('%d mutants, %d caught' % (len(verdicts), len(verdicts) - len(survived)))
    if arguments.markdown:
        with open(arguments.markdown, 'w', encoding='utf-8') as stream:
            stream.write(_render_table(verdicts))
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as stream:
            for verdict in verdicts:
                stream.write(json.dumps({
                    'number': verdict.number, 'name': verdict.mutant.name,
                    'path': verdict.mutant.changes[0].path,
                    'problem': verdict.problem, 'caught_by': list(verdict.caught_by)}) + '\n')
    return 1 if survived else 0


def _try(number: int, mutant: Mutant) -> Verdict:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='mutant') as directory:
        tree = os.path.join(directory, 'tree')
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        problem: str = _apply(tree, mutant)
        caught_by: List[str] = []
        if not problem:
            caught_by, problem = _run_tests(tree, mutant)
    return Verdict(number, mutant, caught_by, problem, time.monotonic() - began)


def _apply(tree: str, mutant: Mutant) -> str:
    """Change the copy; what is wrong with the description of the change, or ''."""
    for change in mutant.changes:
        path = os.path.join(tree, change.path)
        with open(path, encoding='utf-8') as stream:
            content = stream.read()
        if content.count(change.text) != 1:
            return 'STALE: %s has the text %d times' % (change.path, content.count(change.text))
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(content.replace(change.text, change.replacement))
    return ''


def _run_tests(tree: str, mutant: Mutant) -> 'tuple':
    """Run file after file until one fails (or all, when each must); who failed, and a problem."""
    caught_by: List[str] = []
    for tests in mutant.tests:
        path, _blank, word = tests.partition(' ')
        failed, problem = _run_pytest(tree, path, word, mutant.must_all_fail)
        caught_by += failed
        if problem or (failed and not mutant.must_all_fail):
            return caught_by, problem
        if mutant.must_all_fail and not failed:
            return caught_by, 'SURVIVED: %s passes' % tests
    return caught_by, '' if caught_by else 'SURVIVED'


def _run_pytest(tree: str, path: str, word: str, runs_all: bool) -> 'tuple':
    command = [sys.executable, '-m', 'pytest', '-q', '--tb=no', '-rfE', '-p', 'no:cacheprovider',
               path] + (['-k', word] if word else []) + ([] if runs_all else ['-x'])
    try:
        done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_SECONDS,
                              env=dict(os.environ, TEST_PATIENCE_SECONDS=str(PATIENCE_SECONDS)))
    except subprocess.TimeoutExpired:
        return [], 'TIMEOUT: %s' % path
    output = done.stdout.decode('utf-8', 'replace')
    failed = _FAILED.findall(output)
    if done.returncode not in (0, PYTEST_FAILED):
        return failed, 'BROKEN: pytest ended with %d: %s' % (done.returncode, output[-300:])
    if runs_all and _PASSED.search(output):
        return failed, 'SURVIVED: %s passed of %s' % (_PASSED.search(output).group(1), path)
    return failed, ''


def _render(verdict: Verdict) -> str:
    return '%2d  %-62s %5.1f s  %s' % (verdict.number, verdict.mutant.name, verdict.seconds,
                                       verdict.problem or _shorten(verdict.caught_by))


def _render_table(verdicts: Sequence[Verdict]) -> str:
    lines = ['| | deliberate fault | in | caught by |', '|---|---|---|---|']
    lines += ['| %d | %s | `%s` | %s |' % (
        verdict.number, verdict.mutant.name, verdict.mutant.changes[0].path,
        verdict.problem or ', '.join('`%s`' % name for name in verdict.caught_by))
        for verdict in verdicts]
    return '\n'.join(lines) + '\n'


def _shorten(names: Sequence[str]) -> str:
    return names[0] + (' and %d more' % (len(names) - 1) if len(names) > 1 else '')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
