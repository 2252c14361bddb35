"""Programs of ours as processes of their own: forked where that is the same as started afresh.

A fresh interpreter spends 0.2 s (vgpu-admin) to 0.4 s (vgpu-watcher) of a processor on imports,
many thousand times in a test run. So each process of the test run has a server with all imports
done, tests/support/fork_server.py, which forks for it. What it gets is a process of its own like any
other: its child, with its own pid, environment, directory and standard streams, which ends by a
signal or an exit status.

What an interpreter looks at when it starts, a forked one cannot look at again: with another
LD_PRELOAD, PYTHONUTF8 or LANG than usual, or with options of Popen that say more than where its
streams go, a program is started afresh. VGPU_TESTS_EXEC=1 in the environment has all started so.
What tests/integration/faults/kill.c preloads looks at KILL_AT when something is written: its programs are
forked by a server that has it preloaded.
"""

import atexit
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import threading
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from tests.support.fork_server import CLONE, HEADER, ROOT

SWITCH = 'VGPU_TESTS_EXEC'
# What the interpreter, the C library and the loader read once.
READ_AT_START = ('PYTHON', 'LANG', 'LC_', 'LD_', 'MALLOC_', 'GLIBC_', 'TZ', 'OPENSSL_')
KILL_AT = 'KILL_AT'
OPTIONS = {'stdin', 'stdout', 'stderr', 'cwd', 'env', 'universal_newlines'}


def surroundings(variables: Optional[Mapping[str, str]] = None) -> Dict[str, Any]:
    """Directory and environment of a program of this tree, for Popen."""
    given = os.environ.get('PYTHONPATH')
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([ROOT] + ([given] if given else [])))
    environment.update(variables or {})
    return {'cwd': ROOT, 'env': environment}


# Text on standard streams is UTF-8, whatever the locale of who runs the tests.
UTF_8 = {'LC_ALL': 'C.UTF-8', 'PYTHONIOENCODING': 'utf-8'}


def start(package: str, words: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start `python -m PACKAGE WORD…` with the options of Popen."""
    kind = _Forked if _can_be_forked(options) else subprocess.Popen
    return kind([sys.executable, '-m', package] + list(words), **options)


def run(package: str, words: Sequence[str], timeout_seconds: float = 60.0,
        **options: Any) -> Tuple[int, bytes, bytes]:
    """Run it to its end: exit status, standard output, standard error."""
    process = start(package, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        out, err = process.communicate(timeout=timeout_seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


class _Forked(subprocess.Popen):
    """A process that a server of ours has forked; from then on it is a child like any other."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any,
                       pass_fds: Any, cwd: Any, env: Any, startupinfo: Any, creationflags: Any,
                       shell: Any, *rest: Any) -> None:
        """Take the place of fork and exec; everything around it is Popen's."""
        ends = rest[:6]  # standard input, output, error: theirs and ours of the pipe, -1: none
        pairs = ((ends[0], ends[1]), (ends[3], ends[2]), (ends[5], ends[4]))
        streams = [number if theirs == -1 else theirs for number, (theirs, _) in enumerate(pairs)]
        self.pid = _server(env).fork(args[2:], cwd, env, streams)
        self._child_created = True
        devnull = getattr(self, '_devnull', None)
        for theirs, ours in pairs:
            if ours != -1 and theirs not in (-1, devnull):
                os.close(theirs)
        if devnull is not None:
            os.close(devnull)
        self._closed_child_pipe_fds = True


class _Server:
    """One server, for programs that are started with what it was started with itself."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, '-c', '__import__("tests.support.fork_server").support.fork_server.serve(%d)'
                 % theirs.fileno()], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()])

    def fork(self, words: Sequence[Any], directory: Any, environment: Mapping[str, str],
             streams: Sequence[int]) -> int:
        """Have a program forked that becomes our child; its pid."""
        body = json.dumps({
            'module': words[0], 'words': [_sent(word) for word in words[1:]],
            'directory': _sent(directory or os.getcwd()),
            'environment': {_sent(name): _sent(environment[name]) for name in environment}
        }).encode('ascii')
        with _asking:
            self._socket.sendmsg([HEADER.pack(len(body))], [
                (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('3i', *streams))])
            self._socket.sendall(body)
            answer = self._socket.recv(HEADER.size)
        assert answer, 'the fork server has ended: %r' % self._process.wait(10)
        return HEADER.unpack(answer)[0]

    def stop(self) -> None:
        """Let it end."""
        self._socket.close()
        self._process.wait(10)


_asking = threading.Lock()
_servers: Dict[Tuple[Tuple[str, str], ...], _Server] = {}


def _server(environment: Mapping[str, str]) -> _Server:
    key = tuple(sorted(_read_at_start(environment).items()))
    with _asking:
        if key not in _servers:
            _servers[key] = _Server({name: environment[name] for name in environment
                                     if name != KILL_AT})
            atexit.register(_servers[key].stop)
        return _servers[key]


def _can_be_forked(options: Mapping[str, Any]) -> bool:
    """Whether there is nothing in the options that only a fresh interpreter could heed."""
    if (SWITCH in os.environ or platform.machine() not in CLONE
            or not set(options) <= OPTIONS or 'env' not in options):
        return False
    usual = dict(_OURS, PYTHONPATH=surroundings()['env']['PYTHONPATH'])
    given = _read_at_start(options['env'])
    if KILL_AT in options['env']:
        given.pop('LD_PRELOAD', None)
    return given in (usual, dict(usual, **UTF_8))


def _read_at_start(environment: Mapping[str, str]) -> Dict[str, str]:
    return {name: environment[name] for name in environment if name.startswith(READ_AT_START)}


def _sent(text: Any) -> str:
    return os.fsencode(text).decode('latin-1')


_OURS = _read_at_start(os.environ)
