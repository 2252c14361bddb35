"""When something is due, by key; the earliest is found without a look at the others.

Staging and the mirror have one entry per VM that waits, thousands after an edit of all rows, and
are asked with every event for the earliest. Pure.
"""

import heapq
from typing import Dict, List, Optional, Tuple

# So many entries that were put off or taken away may lie in the heap beside those that count.
_STALE_AT_MOST = 64


class DueTimes:
    """Keys and the time at which each is due."""

    def __init__(self) -> None:
        self._at: Dict[str, float] = {}
        self._heap: List[Tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: str) -> bool:
        return key in self._at

    @property
    def keys(self) -> Tuple[str, ...]:
        """All keys that wait."""
        return tuple(self._at)

    @property
    def first(self) -> Optional[float]:
        """When the next one is due."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def set(self, key: str, at: float) -> None:
        """This is when the key is due, whatever was said before."""
        if self._at.get(key) == at:
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + _STALE_AT_MOST:
            self._heap = [(when, what) for what, when in self._at.items()]
            heapq.heapify(self._heap)

    def set_earlier(self, key: str, at: float) -> None:
        """Due at that time, or earlier if that was said."""
        self.set(key, min(at, self._at.get(key, at)))

    def pop(self, key: str) -> None:
        """Not due any more; no matter if it was not."""
        self._at.pop(key, None)

    def take(self, now: float) -> List[str]:
        """Take out those whose time has come, the earliest first."""
        taken = []
        while self.first is not None and self._heap[0][0] <= now:
            key = heapq.heappop(self._heap)[1]
            del self._at[key]
            taken.append(key)
        return taken

    def clear(self) -> None:
        """Nothing is due."""
        self._at.clear()
        del self._heap[:]

    def _drop_stale(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
