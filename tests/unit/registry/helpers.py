"""What several tests of the registry need: UUIDs, other programs, child processes."""

import contextlib
import os
import sqlite3
import subprocess

from tests.support import programs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
FIXTURES = os.path.join(ROOT, 'tests', 'fixtures')


def uuid_of(number):
    return f'0000{number:04x}-1111-2222-3333-44444444abcd'


@contextlib.contextmanager
def other_program(path):
    """Connect as the programs that share the file do."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


_HOLD = '''
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
if sys.argv[2] == 'BEGIN':
    connection.execute('SELECT count(*) FROM vms').fetchone()
print('held', flush=True)
sys.stdin.read()
'''


@contextlib.contextmanager
def locked_elsewhere(path, statement):
    """Another process begins a transaction, and keeps it; its number."""
    child = programs.start('tests.support.run_code', [_HOLD, path, statement],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           universal_newlines=True, **programs.surroundings())
    try:
        assert child.stdout.readline() == 'held\n'
        yield child.pid
    finally:
        child.kill()
        child.communicate()


def start_child(code, *arguments, without=()):
    """Start Python code as a process of its own, with our packages on its path."""
    surroundings = programs.surroundings()
    for name in without:
        surroundings['env'].pop(name, None)
    return programs.start(
        'tests.support.run_code', [code] + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **surroundings)


def run_child(code, *arguments):
    """Run Python code as a process of its own and give its exit status, output and errors."""
    child = start_child(code, *arguments)
    output, errors = child.communicate(timeout=60)
    return child.returncode, output, errors
