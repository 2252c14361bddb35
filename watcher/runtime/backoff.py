"""How long to wait before XAPI is tried again.

At once the first time, since most interruptions are over before they are noticed; then doubling,
with jitter, so that the hosts of a pool do not come back in step. The caps are those of promise
P14: a connection to the local socket every two seconds disturbs nothing.

Pure: no clock, no I/O, no logging. The source of chance is an argument.
"""

from typing import Callable, Iterator

FIRST_SECONDS = 0.1
LOCAL_CAP_SECONDS = 2.0
REMOTE_CAP_SECONDS = 30.0
# What XAPI refuses for one VM is tried again after these.
_HOLD_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)


def find_hold(failures: int) -> float:
    """Seconds for which a VM is left alone after it has failed that often before."""
    return _HOLD_SECONDS[min(failures, len(_HOLD_SECONDS) - 1)]


def delays(is_local: bool, random: Callable[[], float]) -> Iterator[float]:
    """Seconds to wait before each attempt, without end; `random` gives numbers from 0 to 1."""
    cap = LOCAL_CAP_SECONDS if is_local else REMOTE_CAP_SECONDS
    base = FIRST_SECONDS
    yield 0.0
    while True:
        # Half of it is certain: a row of lucky draws must not become a tight loop.
        yield min(cap, base) * (0.5 + 0.5 * random())
        base = min(cap, base * 2)
