"""Runs the shipped qemu-wrapper for each QEMU, in a process of its own.

Requests come as lines of JSON on standard input, answers go to standard output. The wrapper's file
is compiled once, and each request is a fork that runs it to its end, which costs a few
milliseconds instead of the 40 of a new Python. With the word `once` it is one request without a
fork. Of the wrapper nothing is changed but where things lie: the constants at its top.

Standard library only, and nothing of the simulator: it is started as a file.
"""

import configparser  # noqa: F401 - what the wrapper imports when it needs it, before the forks
import hashlib  # noqa: F401
import json
import os
import select
import shlex  # noqa: F401
import socket  # noqa: F401
import subprocess  # noqa: F401
import sys
import types
from typing import Any, Dict, Optional, Tuple

Loaded = Dict[str, Tuple[Any, Any]]
MODULE = 'the wrapper as a module'


def main(words: Any) -> int:
    """Serve requests until standard input ends."""
    loaded: Loaded = {}
    if words == ['once']:
        return run(json.loads(sys.stdin.readline()), loaded)
    Server(loaded).serve()
    return 0


class Server:
    """Forks for each request, and answers when the child has ended."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._children: Dict[int, Tuple[int, int]] = {}
        self._poll = select.poll()

    def serve(self) -> None:
        """Take requests and the ends of children, whichever comes."""
        self._poll.register(0, select.POLLIN | select.POLLHUP)
        rest = b''
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor:
                    self._answer(descriptor)
                    continue
                part = os.read(0, 65536)
                if not part:
                    return
                *lines, rest = (rest + part).split(b'\n')
                for line in lines:
                    self._fork(json.loads(line.decode('ascii')))

    def _fork(self, request: Dict[str, Any]) -> None:
        load(request['stock'], self._loaded)
        if request['wrapper'] is not None:
            load_wrapper(request['wrapper'], self._loaded)
        # The child's end closes when it ends, however it does.
        ended, held = os.pipe()
        pid = os.fork()
        if pid == 0:
            become(request, self._loaded)
        os.close(held)
        self._children[ended] = (pid, request['number'])
        self._poll.register(ended, select.POLLIN | select.POLLHUP)

    def _answer(self, ended: int) -> None:
        self._poll.unregister(ended)
        os.close(ended)
        pid, number = self._children.pop(ended)
        _, status = os.waitpid(pid, 0)
        os.write(1, (json.dumps({'number': number, 'status': status}) + '\n').encode('ascii'))


def become(request: Dict[str, Any], loaded: Loaded) -> None:
    """In the child: be the wrapper, and end."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        status = run(request, loaded)
    finally:
        os._exit(status)


def run(request: Dict[str, Any], loaded: Loaded) -> int:
    """Run the wrapper, or the stock wrapper alone; return its exit status."""
    os.environ.update(request['environment'])
    # Each character is a byte: the names of VMs are in no encoding that is sure to fit.
    arguments = [os.fsdecode(word.encode('latin-1')) for word in request['arguments']]
    stock, execv = request['stock'], os.execv

    def execv_in_here(path: Any, words: Any) -> None:
        if path != stock:
            execv(path, words)
        run_stock(stock, words, loaded)
    os.execv = execv_in_here  # type: ignore
    try:
        if request['wrapper'] is None:
            run_stock(stock, [stock] + arguments, loaded)
        module = load_wrapper(request['wrapper'], loaded)
        module.__dict__.update(request['constants'])
        module.__dict__['main']([request['wrapper']] + arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    return 0


def run_stock(path: str, words: Any, loaded: Loaded) -> None:
    """Go on as the stock wrapper would after an exec."""
    sys.argv = list(words)
    module = types.ModuleType('__main__')
    module.__file__ = path
    exec(load(path, loaded), module.__dict__)
    sys.exit(0)


def load_wrapper(path: str, loaded: Loaded) -> Any:
    """Return the wrapper as a module, all of it but its last line; it does nothing yet."""
    code = load(path, loaded)
    if loaded.get(MODULE, (None,))[0] is not code:
        module = types.ModuleType('wrapper')
        module.__file__ = path
        exec(code, module.__dict__)
        loaded[MODULE] = (code, module)
    return loaded[MODULE][1]


def load(path: Optional[str], loaded: Loaded) -> Any:
    """Return the code of a file; it is compiled again when the file is another one."""
    if path is None:
        return None
    found = os.stat(path)
    state = (found.st_ino, found.st_mtime, found.st_size)
    if loaded.get(path, (None,))[0] != state:
        with open(path, 'rb') as stream:
            loaded[path] = (state, compile(stream.read(), path, 'exec', dont_inherit=True))
    return loaded[path][1]


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
