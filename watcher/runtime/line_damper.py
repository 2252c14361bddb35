"""Lines that would come again and again are held back, one VM at a time (P30)."""

from watcher.runtime.fights import WINDOW_SECONDS, Fights
from watcher.runtime.logs import RateLimiter


class Damper:
    """Lets one line a minute pass of what has caused more than five in a short time (P30)."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._fights = Fights(window_seconds)
        self._limiter = RateLimiter()

    def admit(self, key: str, now: float) -> bool:
        """Whether a line may be said now."""
        self._fights.expire(key, now)
        was_busy = key in self._fights.keys
        if self._fights.note_write(key, now):
            self._limiter.admit(key, now)
        return not was_busy or self._limiter.admit(key, now) is not None

    def forget(self, key: str) -> None:
        """It is gone."""
        self._fights.forget(key)
