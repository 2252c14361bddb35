"""Changes of the registry, from the poll that finds them to the moment when they are acted on.

Who bore a number first decides who keeps it (P10). The registry is looked at before the events
that are on their way: a row with an unclaimed number waits until what XAPI shows
by then has been taken, for a moment at most. An edit of vgpu-admin, which has asked XAPI itself,
has claimed its number already.
"""

from typing import Callable, Optional

from registry.errors import Reason
from watcher.state.registry_view import RegistryView, Change

# An event is on its way for no longer than this; far below the 2 s of P1.
_ON_ITS_WAY_SECONDS = 0.6
_NOTHING = Change()


class RegistryChanges:
    """What polls have found, and was not acted on yet."""

    def __init__(self, view: RegistryView, tell: Callable[[Change], None],
                 clock: Callable[[], float]) -> None:
        self._view = view
        self._tell = tell
        self._clock = clock
        self._found = _NOTHING
        self._found_at = 0.0
        self.is_locked = False
        """Whether another program holds the file, for a moment as a rule."""

    @property
    def is_waiting(self) -> bool:
        """Whether something was found that was not acted on yet."""
        return self._found.is_changed

    def find_due(self, is_synced: bool) -> Optional[float]:
        """When to look, or in sync to act on what waits, on the monotonic clock."""
        times = [self._view.watch.next_look]
        if is_synced and self._found.is_changed:
            times.append(self._found_at + _ON_ITS_WAY_SECONDS)
        return min([at for at in times if at is not None], default=None)

    def poll(self) -> bool:
        """Look whether the registry has changed."""
        change = self._view.poll()
        self._tell(change)
        if change.is_changed and not self._found.is_changed:
            self._found_at = self._clock()
        if change.is_changed:
            self.is_locked = change.reason == Reason.LOCKED.value
            self._found = _merge(self._found, change)
        return change.is_changed

    def take(self) -> Change:
        """What is to be acted on now."""
        is_early = self._clock() < self._found_at + _ON_ITS_WAY_SECONDS
        if is_early and self._view.has_unclaimed:
            return _NOTHING
        found, self._found = self._found, _NOTHING
        return found

    def settle(self) -> None:
        """Forget what was found: the caller looks at all VMs anyway."""
        self._found = _NOTHING


def _merge(before: Change, after: Change) -> Change:
    return after._replace(
        concerns_all=before.concerns_all or after.concerns_all,
        touched=before.touched | after.touched,
        became_available=before.became_available or after.became_available)
