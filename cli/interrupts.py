"""Keeps Ctrl-C out of the few moments that must not end half-way."""

import contextlib
import os
import signal
from typing import Any, Iterator, List

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals that would end us wait for the end of the block."""
    caught = []  # type: List[int]

    def note(number: int, _frame: Any) -> None:
        caught.append(number)

    before = [(number, signal.signal(number, note)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        if caught:
            os.kill(os.getpid(), caught[0])
