"""One question that can only be asked by blocking, asked in a thread of its own.

The only threads of the daemon: the library has no other way to look up a name, and the kernel none
to read the arguments of a process that hangs.
"""

import os
import socket
import threading
from typing import Any, Callable, List

from watcher.loop.steps import Steps, T, Wait


def ask(question: Callable[[], T], until: float) -> Steps[T]:
    """Return what the question returns, or raise its OSError; socket.timeout when it is late."""
    found: List[Any] = []
    reader, writer = os.pipe()

    def work() -> None:
        try:
            found.append(question())
        except OSError as error:
            found.append(error)
        finally:
            os.close(writer)
    try:
        try:
            threading.Thread(target=work, name='question', daemon=True).start()
        except RuntimeError as error:  # no thread is to be had
            os.close(writer)
            raise OSError(str(error)) from error
        if not (yield Wait(until, reader)):
            raise socket.timeout('no answer in time')
    finally:
        os.close(reader)
    if not found or isinstance(found[0], OSError):
        raise found[0] if found else OSError('the question was not answered')
    return found[0]  # type: ignore
