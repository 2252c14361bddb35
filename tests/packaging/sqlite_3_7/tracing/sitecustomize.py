"""Record the SQL of our registry, in this process and in every Python that it starts.

Python imports this by itself when the directory is on PYTHONPATH. Statements go, one JSON line
each, to the file that VGPU_SQL_RECORDING names; without it nothing happens. Only connections that
`registry.sqlite.connection` opens are recorded: what tests do as "another program" is theirs. It imports
nothing of ours, since it runs in processes whose path is not ours to choose.
"""

import contextlib
import json
import os
import re
import sqlite3
import sys

VARIABLE = 'VGPU_SQL_RECORDING'
RECORDED_MODULE = 'registry.sqlite.connection'
LONG_LITERAL_CHARACTERS = 100
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NUMBER = re.compile(r'(?<![A-Za-z_?])-?\d+(?:\.\d+)?')
_recorded = set()


class Heard(list):
    """What SQLite has told; with a hash, which sqlite3 asks of whoever listens before Python 3.8."""

    __hash__ = object.__hash__


class RecordingConnection(sqlite3.Connection):
    """Append each distinct statement to the recording, once it was executed.

    SQLite tells of statements in the middle of its work, and sqlite3 swallows what is raised there:
    a Ctrl-C too, which is raised as soon as Python code begins to run. So what listens is no Python
    code, and what it heard is written afterwards.
    """

    role = ''

    def begin(self, main):
        """Record from now on."""
        self.role = 'memory' if main == ':memory:' else 'journal'
        self._heard = Heard()
        self.set_trace_callback(self._heard.append)

    def execute(self, *arguments):
        """Execute a statement."""
        try:
            return super().execute(*arguments)
        finally:
            self._write_down()

    def _write_down(self):
        while self.role and self._heard:
            statement = self._heard.pop(0)
            if statement.startswith('--'):
                continue
            key = _identify(self.role, statement)
            if key not in _recorded:
                _recorded.add(key)
                _append({'role': self.role, 'sql': _LITERAL.sub(_shortened, statement)})
            if statement.startswith('ATTACH '):
                self.role += '+registry'


def learn(since):
    """Take for recorded what others have written behind so many bytes; how many there are now.

    Whoever forks programs asks for it: else each of them would write the same again.
    """
    with contextlib.suppress(OSError), open(os.environ[VARIABLE], 'rb') as recording:
        recording.seek(since)
        for text in recording:
            if text.endswith(b'\n'):
                line = json.loads(text.decode('ascii'))
                _recorded.add(_identify(line['role'], line['sql']))
                since += len(text)
    return since


def install():
    """Wrap sqlite3.connect once."""
    if getattr(sqlite3.connect, 'is_recording', False):
        return
    connect = sqlite3.connect

    def recording_connect(*arguments, **keywords):
        caller = sys._getframe(1).f_globals.get('__name__')
        if caller != RECORDED_MODULE or not os.environ.get(VARIABLE):
            return connect(*arguments, **keywords)
        connection = connect(*arguments, factory=RecordingConnection, **keywords)
        connection.begin(arguments[0])
        return connection

    recording_connect.is_recording = True
    sqlite3.connect = recording_connect


def _identify(role, statement):
    return os.environ.get(VARIABLE), role, _NUMBER.sub('?', _LITERAL.sub('?', statement))


def _shortened(match):
    return match.group() if len(match.group()) <= LONG_LITERAL_CHARACTERS else "'long'"


def _append(line):
    """Write with one call, so that lines of several processes do not mix.

    Where nothing can be written (a full disk, a process that has become somebody else), nothing is
    recorded: what is tested is not to fail for us.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + '\n').encode('ascii'))
        finally:
            os.close(descriptor)


if os.environ.get(VARIABLE):
    install()
