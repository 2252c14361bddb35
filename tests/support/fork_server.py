"""The process that forks programs of ours for the tests; tests/support/programs.py starts and asks it.

It has imported what our programs import, so that a forked one begins where a fresh interpreter is
after its imports. It has one thread, and opens nothing. A forked program differs from a started
one in nothing that our programs look at: tests/meta/test_programs.py compares the two.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import platform
import random
import re
import runpy
import signal
import socket
import struct
import sys
import threading
from typing import Any, Dict, List, NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Before each request: its length, and beside it the three standard descriptors.
HEADER = struct.Struct('!I')
PACKAGES = ('registry', 'watcher', 'cli')
# The number of the system call, by machine.
CLONE = {'x86_64': 56, 'aarch64': 220}
_CLONE_PARENT = 0x8000
_LATE_IMPORT = re.compile(r'^ +(?:import|from) ([\w.]+)', re.MULTILINE)
# Keeps Python's lock: nothing of the interpreter runs beside it.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall


class Request(NamedTuple):
    """What shall run, and where; text that the system sees is sent as bytes in Latin-1."""

    module: str
    words: List[str]
    directory: str
    environment: Dict[str, str]


def serve(descriptor: int) -> None:
    """Fork for each request until the tests' process is gone; in a child, run the program."""
    _import_everything()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
    try:
        request = _serve(connection)
    except KeyboardInterrupt:
        return  # Ctrl-C reaches all processes of the terminal
    if request is not None:
        _become(request)
        _run(request.module)


def _serve(connection: socket.socket) -> Optional[Request]:
    """Answer requests; the request in the process that shall run it, None at the end."""
    # With it the SQL of programs is recorded: what others have recorded by now is not again.
    recorder, recorded = sys.modules.get('sitecustomize'), 0
    with connection:
        while True:
            header, descriptors = _receive(connection)
            if not header:
                return None
            request = Request(**json.loads(_read(connection, *HEADER.unpack(header)).decode()))
            if hasattr(recorder, 'learn') and recorder.VARIABLE in os.environ:
                recorded = recorder.learn(recorded)
            pid = _fork_for_parent()
            if pid == 0:
                for number, given in enumerate(descriptors):
                    os.dup2(given, number)
            for given in descriptors:
                os.close(given)
            if pid == 0:
                return request
            connection.sendall(HEADER.pack(pid))


def _fork_for_parent() -> int:
    """Fork as os.fork does, but a child of the tests' process: it waits for programs itself and
    sees how they really ended.

    Between what Python does before a fork and after it stands the bare system call: os.fork cannot
    say whose child it shall be. We are one thread, so that no lock of the C library is held.
    """
    is_3_6 = sys.version_info < (3, 7)
    before = None if is_3_6 else ctypes.pythonapi.PyOS_BeforeFork
    in_child = ctypes.pythonapi.PyOS_AfterFork if is_3_6 else ctypes.pythonapi.PyOS_AfterFork_Child
    in_parent = None if is_3_6 else ctypes.pythonapi.PyOS_AfterFork_Parent
    if before is not None:
        before()
    pid = _syscall(CLONE[platform.machine()], _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        in_child()
    elif in_parent is not None:
        in_parent()
    if pid < 0:
        raise OSError('clone refused')
    return pid


def _become(request: Request) -> None:
    """Make this process what `python -m` finds when it begins."""
    os.chdir(_text(request.directory))
    os.environ.clear()
    os.environ.update({_text(name): _text(value) for name, value in request.environment.items()})
    sys.argv[:] = ['-m'] + [_text(word) for word in request.words]
    sys.path[0] = os.getcwd() if sys.version_info >= (3, 7) else ''
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        stream = _open_stream(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, '__%s__' % name, stream)
    random.seed()  # Python 3.6 leaves every child with the same numbers


def _run(module: str) -> None:
    """Run the program, and end without taking the interpreter apart, where nobody could tell.

    That would copy the memory which is shared with the server, and takes longer than most programs.
    """
    status = 0
    try:
        # What the interpreter itself calls for `python -m`.
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]
    except SystemExit as end:
        if type(end.code) not in (int, type(None)):
            raise
        status = end.code or 0  # type: ignore[assignment]
    if threading.active_count() > 1:
        sys.exit(status)  # they are waited for
    atexit._run_exitfuncs()  # type: ignore[attr-defined]
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # the interpreter tells of it
    os._exit(status & 0xff)


def _open_stream(number: int, model: Any) -> io.TextIOWrapper:
    """Open a standard stream as the interpreter does, in the encoding of its environment."""
    is_unbuffered = bool(os.environ.get('PYTHONUNBUFFERED'))
    binary = io.open(number, 'wb' if number else 'rb', closefd=False,
                     buffering=0 if is_unbuffered and number else -1)
    getattr(binary, 'raw', binary).name = model.name
    by_line = binary.isatty() or number == 2 and sys.version_info >= (3, 9)
    if sys.version_info < (3, 7):
        how = {'line_buffering': by_line or is_unbuffered}
    else:
        how = {'line_buffering': by_line and not is_unbuffered, 'write_through': is_unbuffered}
    stream = io.TextIOWrapper(binary, encoding=model.encoding, errors=model.errors,
                              newline='\n', **how)
    stream.mode = 'w' if number else 'r'
    return stream


def _import_everything() -> None:
    """All modules of ours, and those that they import only when they need them."""
    late = set()
    for package in PACKAGES:
        for parent, directories, names in os.walk(os.path.join(ROOT, package)):
            directories.sort()
            for name in sorted(names):
                if name.endswith('.py') and not name.startswith('__'):
                    path = os.path.join(parent, name)
                    with open(path, encoding='utf-8') as source:
                        late.update(_LATE_IMPORT.findall(source.read()))
                    importlib.import_module(os.path.relpath(path, ROOT)[:-3].replace(os.sep, '.'))
    for module in sorted(late):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    if hasattr(gc, 'freeze'):
        gc.freeze()  # memory that the collector does not touch stays shared


def _receive(connection: socket.socket) -> Any:
    """The header of the next request and its descriptors; b'' when nobody asks any more."""
    size = struct.calcsize('3i')
    data, ancillary, _flags, _address = connection.recvmsg(HEADER.size, socket.CMSG_SPACE(size))
    descriptors: List[int] = []
    for _level, _type, content in ancillary:
        descriptors.extend(struct.unpack('3i', content[:size]))
    return data, descriptors


def _read(connection: socket.socket, length: int) -> bytes:
    data = b''
    while len(data) < length:
        data += connection.recv(length - len(data))
    return data


def _text(sent: str) -> str:
    """Text of the system as this interpreter has it."""
    return os.fsdecode(sent.encode('latin-1'))
