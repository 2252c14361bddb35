"""Signals that end the playground wait while a program is being started: one that broke in between
the start and the note of it would leave the program behind."""

import contextlib
import os
import signal
from typing import Iterator, List

ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Hold the signals up; what came meanwhile comes at the end. A mask would be handed on."""
    caught: List[int] = []
    before = {number: signal.signal(number, lambda number, _frame: caught.append(number))
              for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if caught:
            os.kill(os.getpid(), caught[0])
