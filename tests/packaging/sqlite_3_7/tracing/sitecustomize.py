"""Record the SQL of our registry, in this process and in every Python that it starts.

Python imports this by itself when the directory is on PYTHONPATH. Statements go, one JSON line
each, to the file that VGPU_SQL_RECORDING names; without it nothing happens. Only connections that
`registry.sqlite.connection` opens are recorded: what tests do as "another program" is theirs. It imports
nothing of ours, since it runs in processes whose path is not ours to choose.
"""

import json
import os
import re
import signal
import sqlite3
import sys
import threading

VARIABLE = 'VGPU_SQL_RECORDING'
RECORDED_MODULE = 'registry.sqlite.connection'
LONG_LITERAL_CHARACTERS = 100
AGAIN_SECONDS = 0.05
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NUMBER = re.compile(r'(?<![A-Za-z_?])-?\d+(?:\.\d+)?')


class Recorder:
    """Append each distinct statement of one connection to the recording."""

    def __init__(self, main, recorded):
        self.role = 'memory' if main == ':memory:' else 'journal'
        self._recorded = recorded

    def __call__(self, statement):
        try:
            self._record(statement)
        except KeyboardInterrupt:
            # sqlite3 would swallow it, and a Ctrl-C be lost that without us is not.
            again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()

    def _record(self, statement):
        if statement.startswith('--'):
            return
        key = (self.role, _NUMBER.sub('?', _LITERAL.sub('?', statement)))
        if key not in self._recorded:
            self._recorded.add(key)
            _append({'role': self.role, 'sql': _LITERAL.sub(_shortened, statement)})
        if statement.startswith('ATTACH '):
            self.role += '+registry'


def install():
    """Wrap sqlite3.connect once."""
    if getattr(sqlite3.connect, 'is_recording', False):
        return
    connect, recorded = sqlite3.connect, set()

    def recording_connect(*arguments, **keywords):
        connection = connect(*arguments, **keywords)
        caller = sys._getframe(1).f_globals.get('__name__')
        if caller == RECORDED_MODULE and os.environ.get(VARIABLE):
            connection.set_trace_callback(Recorder(arguments[0], recorded))
        return connection

    recording_connect.is_recording = True
    sqlite3.connect = recording_connect


def _shortened(match):
    return match.group() if len(match.group()) <= LONG_LITERAL_CHARACTERS else "'long'"


def _append(line):
    """Write with one call, so that lines of several processes do not mix."""
    descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + '\n').encode('ascii'))
    finally:
        os.close(descriptor)


if os.environ.get(VARIABLE):
    install()
