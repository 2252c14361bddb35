"""Steps: sequential code that waits without blocking.

Code that talks to XAPI, inspects a host or answers a port is a generator. It yields a `Wait` where
it needs a descriptor to be ready or time to pass. Its driver decides what happens meanwhile: the
daemon's loop goes on with other steps (`loop.py`), vgpu-admin and the plugin block (`run`), and the
model checker puts any other event between two calls.
"""

import math
import select
import time
from typing import Any, Generator, NamedTuple, Optional, TypeVar

T = TypeVar('T')
READ, WRITE = select.POLLIN, select.POLLOUT
FOREVER = math.inf


class Wait(NamedTuple):
    """What steps wait for.

    The driver sends a time since when the descriptor may have been ready, at the earliest, on the
    monotonic clock; 0.0 at `until`.
    """
    until: float
    """The end of the wait, on the monotonic clock."""
    descriptor: Optional[int] = None
    """Waited for until it is ready for `events`; None waits for time only."""
    events: int = READ


Steps = Generator[Wait, float, T]
# Gives way to other steps that are ready.
TURN = Wait(0.0)


def pause(seconds: float) -> Steps[None]:
    """Wait for so many seconds."""
    yield Wait(time.monotonic() + seconds)


def run(steps: Steps[T]) -> T:
    """Run steps to their end, blocking; return what they return, raise what they raise."""
    heard_at: Any = None
    try:
        while True:
            try:
                wait = steps.send(heard_at)
            except StopIteration as end:
                return end.value  # type: ignore
            heard_at = _await(wait)
    finally:
        steps.close()


def count_milliseconds(seconds: float) -> Optional[int]:
    """Seconds as a time-out for `poll`, rounded up; None for FOREVER."""
    return None if seconds == FOREVER else max(0, math.ceil(seconds * 1000))


def _await(wait: Wait) -> float:
    poller = select.poll()
    if wait.descriptor is not None:
        poller.register(wait.descriptor, wait.events)
    is_ready = poller.poll(count_milliseconds(wait.until - time.monotonic()))
    return time.monotonic() if is_ready else 0.0
