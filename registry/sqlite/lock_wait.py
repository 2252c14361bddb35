"""How long one call waits for the locks of others, in short waits that Ctrl-C can interrupt."""

import sqlite3
import time
from typing import Any, Callable, Optional, TypeVar

Result = TypeVar('Result')

# A busy time-out blocks Python's signal handlers for its whole length, so SQLite itself waits
# only this long, and the rest of the patience is spent between attempts.
BUSY_SLICE_SECONDS = 0.02
# After so long, a message at a terminal says so.
TELL_SECONDS = 1.0
PAUSE_SECONDS = 0.005
_BUSY_CODES = (5, 6)


class Patience:
    """One deadline for all that a call has to wait for."""

    def __init__(self, timeout_seconds: float, *,
                 monotonic: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep,
                 on_wait: Optional[Callable[[], None]] = None,
                 tell_seconds: float = TELL_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._on_wait = on_wait
        self._tell_seconds = tell_seconds
        self._deadline = monotonic() + timeout_seconds

    @property
    def timeout_seconds(self) -> float:
        """Give how long one call may wait in all."""
        return self._timeout_seconds

    @property
    def busy_seconds(self) -> float:
        """Give the time-out for SQLite itself."""
        return min(BUSY_SLICE_SECONDS, self._timeout_seconds)

    @property
    def is_over(self) -> bool:
        """Tell whether the time is up."""
        return self._monotonic() >= self._deadline

    def renew(self) -> None:
        """Start the time of a new call."""
        self._deadline = self._monotonic() + self._timeout_seconds

    def run(self, action: Callable[..., Result], *arguments: Any,
            may_repeat: Optional[Callable[[sqlite3.Error], bool]] = None) -> Result:
        """Repeat an action that meets a lock, until it succeeds or the time is up."""
        may_repeat = may_repeat or is_busy
        began_at = self._monotonic()
        while True:
            try:
                return action(*arguments)
            except sqlite3.OperationalError as error:
                left = self._deadline - self._monotonic()
                if left <= BUSY_SLICE_SECONDS + PAUSE_SECONDS or not may_repeat(error):
                    raise
            if self._on_wait is not None and self._monotonic() - began_at >= self._tell_seconds:
                self._on_wait()
                self._on_wait = None
            self._sleep(PAUSE_SECONDS)


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether a lock may be behind an error; Python 3.10 and older do not say."""
    code = getattr(error, 'sqlite_errorcode', None)
    return code is None or code & 0xff in _BUSY_CODES
