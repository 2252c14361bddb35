"""The recording of the SQL that ran during the tests: where it is, how it begins, what it holds."""

import importlib.util
import json
import os
from typing import NamedTuple, Tuple

VARIABLE = 'VGPU_SQL_RECORDING'
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TRACING = os.path.join(HERE, 'tracing')
CACHE = os.path.join(ROOT, 'build', 'sqlite_floor')
DEFAULT_PATH = os.path.join(CACHE, 'recording.jsonl')


class Statement(NamedTuple):
    """One distinct statement, and which databases its connection had."""

    role: str
    sql: str


def start() -> None:
    """Record from now on, in this process and its children; a recording of before is removed.

    A path given in the environment is appended to instead.
    """
    if VARIABLE not in os.environ:
        os.makedirs(CACHE, exist_ok=True)
        os.environ[VARIABLE] = DEFAULT_PATH
        if os.path.exists(DEFAULT_PATH):
            os.remove(DEFAULT_PATH)
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
