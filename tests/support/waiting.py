"""Waiting for a condition with a deadline; tests do not sleep."""

import threading
import time
from typing import Callable, TypeVar

_Value = TypeVar('_Value')
_PAUSE_SECONDS = 0.005
# The contract's times are those of a quiet machine, and tests run many at once: so much longer may
# it take here. What hangs, or waits for the wrong thing, takes longer still.
LOADED = 6.0


def wait_until(condition: Callable[[], _Value], timeout: float = 60.0) -> _Value:
    """Return the first true value of the condition; fail when there is none in time."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('not within %s s: %s' % (timeout, condition))
        pause.wait(_PAUSE_SECONDS)
