"""Fights: a VM, or its mirror's entry, in which we undo again and again what others write (P30).

A program that writes faster than we do cannot be beaten, only fed: calls, log and history would
grow without end. So there we write with growing pauses until the other side has been quiet for a
while, or until the VM's assignment is edited.

The same counts lines of a VM that changes its mind, or boots, again and again.

Pure: no I/O, no logging; times are the caller's.
"""

import collections
from typing import Deque, Dict, KeysView

# We undo so often in this time before it is a fight.
UNDONE_AT_MOST = 5
WINDOW_SECONDS = 10.0
PAUSE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Nothing to undo for so long, at the longest pause too: it is over.
CALM_SECONDS = 90.0


class _Fight:
    """How often we wrote since it began, and when last."""

    def __init__(self, now: float) -> None:
        self.rounds = 0
        self.wrote_at = now

    @property
    def pause_seconds(self) -> float:
        return PAUSE_SECONDS[min(self.rounds, len(PAUSE_SECONDS) - 1)]


class Fights:
    """What was written lately, by key, and which keys are fought over."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._lately: Dict[str, Deque[float]] = {}
        self._fights: Dict[str, _Fight] = {}

    def note_write(self, key: str, now: float) -> bool:
        """Take a write of ours; whether that was the one that makes it a fight.

        The first write undoes nothing; those after it do.
        """
        self.expire(key, now)
        fight = self._fights.get(key)
        if fight is not None:
            fight.rounds += 1
            fight.wrote_at = now
            return False
        writes = self._lately.setdefault(key, collections.deque(maxlen=UNDONE_AT_MOST + 1))
        writes.append(now)
        if len(writes) > UNDONE_AT_MOST and now - writes[0] <= self._window_seconds:
            self._fights[key] = _Fight(now)
            return True
        return False

    def expire(self, key: str, now: float) -> None:
        """End a fight that has been calm for long enough."""
        fight = self._fights.get(key)
        if fight is not None and now - fight.wrote_at > CALM_SECONDS:
            self.forget(key)

    def paused_until(self, key: str, now: float) -> float:
        """When it may be written next; now when that is past."""
        fight = self._fights.get(key)
        return now if fight is None else max(now, fight.wrote_at + fight.pause_seconds)

    def pause_seconds(self, key: str) -> float:
        """How long the pause after the last write is."""
        fight = self._fights.get(key)
        return fight.pause_seconds if fight is not None else 0.0

    def forget(self, key: str) -> None:
        """An edit of ours, or the end of the VM: what was written before does not count."""
        self._lately.pop(key, None)
        self._fights.pop(key, None)

    @property
    def keys(self) -> KeysView[str]:
        """All that are fought over, or were until lately."""
        return self._fights.keys()
