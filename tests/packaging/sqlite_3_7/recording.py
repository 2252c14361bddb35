"""The recording of the SQL that ran during the tests: where it is, how it begins, what it holds."""

import contextlib
import glob
import importlib.util
import json
import os
from typing import NamedTuple, Tuple

VARIABLE = 'VGPU_SQL_RECORDING'
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
TRACING = os.path.join(HERE, 'tracing')
CACHE = os.path.join(ROOT, 'build', 'sqlite_floor')


class Statement(NamedTuple):
    """One distinct statement, and which databases its connection had."""

    role: str
    sql: str


def start() -> None:
    """Record from now on, in this process and its children.

    Each test run has a file of its own, since several may run at once in the same tree; a path
    given in the environment is appended to instead.
    """
    if VARIABLE not in os.environ:
        os.makedirs(CACHE, exist_ok=True)
        _remove_old_recordings()
        os.environ[VARIABLE] = os.path.join(CACHE, f'recording-{os.getpid()}.jsonl')
    old_path = os.environ.get('PYTHONPATH')
    if TRACING not in (old_path or '').split(os.pathsep):
        os.environ['PYTHONPATH'] = TRACING + (os.pathsep + old_path if old_path else '')
    load_tracing().install()


def load_tracing():
    """Load the tracing module under a name of its own; another sitecustomize may be loaded."""
    specification = importlib.util.spec_from_file_location(
        'sqlite_floor_tracing', os.path.join(TRACING, 'sitecustomize.py'))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def read(path: str) -> Tuple[Statement, ...]:
    """Read the distinct statements of a recording, in the order in which they came."""
    statements = {}
    with open(path, encoding='ascii') as file:
        for line in file:
            fields = json.loads(line)
            statements.setdefault(Statement(fields['role'], fields['sql']), None)
    return tuple(statements)


def _remove_old_recordings() -> None:
    """Remove what runs have left that are over, and what one with our number left."""
    for path in glob.glob(os.path.join(CACHE, 'recording-*.jsonl')):
        pid = path.rsplit('-', 1)[1].split('.')[0]
        if pid == str(os.getpid()) or not os.path.exists(f'/proc/{pid}'):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
