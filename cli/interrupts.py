"""Keeps Ctrl-C out of the few moments that must not end half-way."""

import contextlib
import os
import signal
from typing import Any, Iterator, List

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STANDARD_ERROR = 2


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals that would end us wait for the end of the block."""
    caught: List[int] = []

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


class Wish:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.is_there = False
        self.is_heeded = False
        """Whether it interrupts what is under way; otherwise only a second signal does."""


@contextlib.contextmanager
def noticed(*, says: str) -> Iterator[Wish]:
    """Let the first signal that would end us be a wish; the second one interrupts.

    `says` is what the first one is answered with, on standard error.
    """
    wish = Wish()

    def note(_number: int, _frame: Any) -> None:
        is_second, wish.is_there = wish.is_there, True
        if wish.is_heeded or is_second:
            raise KeyboardInterrupt
        # Not through a buffer: its owner may be in the middle of writing.
        with contextlib.suppress(OSError):
            os.write(_STANDARD_ERROR, says.encode('utf-8'))

    before = [(number, signal.signal(number, note)) for number in _SIGNALS]
    try:
        yield wish
    finally:
        for number, handler in before:
            signal.signal(number, handler)
