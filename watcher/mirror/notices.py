"""What is told of the mirror as a whole: in the log, and to vgpu-admin by a note in the journal.

A change that comes again and again is logged once a minute, and so is what still holds then (P30).
"""

from typing import Any, Callable, Dict, Optional, Tuple

from registry.schema import MIRROR_NOTE
from watcher.mirror.entries import PoolEntry
from watcher.runtime.logs import RateLimiter, get_logger
from watcher.state.notes import MirrorNote, render_note
from watcher.state.registry_view import RegistryView

_NOTE_SECONDS = 2.0
# The first answer has the pool's record, unless XAPI does not tell it.
_POOL_SECONDS = 2.0


class MirrorNotices:
    """Remembers what was told last."""

    def __init__(self, view: RegistryView, write: Callable[[Callable[..., None]], None]) -> None:
        self._view = view
        self._write = write
        self._limiter = RateLimiter()
        self._told: Dict[str, str] = {}
        self._waiting_since: Optional[float] = None
        self._noted: Tuple[float, Tuple[Any, ...]] = (-_NOTE_SECONDS, ())

    def restart(self) -> None:
        """A new session: the pool's record is waited for again."""
        self._waiting_since = None

    def tell_waiting(self, now: float) -> None:
        """XAPI answers, and does not tell of its resource pool, or not in a way to go by."""
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > _POOL_SECONDS:
            self.tell_unavailable('XAPI does not tell of its resource pool', now)

    def tell_unavailable(self, reason: str, now: float) -> None:
        """Nothing can be done about the mirror."""
        if self._must_tell(reason, reason, now):
            get_logger().warning('mirror.unavailable', reason=reason)

    def tell_problem(self, problem: str, now: float) -> None:
        """Registry or journal could not be judged, or made like the mirror."""
        if self._must_tell('problem', problem, now):
            get_logger().warning('mirror.waiting', error=problem)

    def end_problem(self) -> None:
        """Both could be: the same would be told again."""
        self._told.pop('problem', None)

    def tell_undecided(self, entry: PoolEntry, vms: int, reason: str, now: float, *,
                       is_master: bool) -> None:
        """Which counts is for people to decide."""
        if self._must_tell('undecided', entry.generation.text, now):
            log = get_logger().error if is_master else get_logger().warning
            log('mirror.undecided', generation=entry.generation.text, vms=vms, found=entry.vms,
                reason=reason)

    def tell_older(self, generation: str, found: str, now: float, *, is_master: bool) -> None:
        """The mirror is one that was here before; a master puts an end to that, and so tells it
        each time."""
        if is_master or self._must_tell('older', found, now):
            get_logger().warning('mirror.older', generation=generation, found=found)

    def tell_written(self, generation: str, vms: int, writes: int, elapsed_seconds: float,
                     now: float) -> bool:
        """The mirror is whole: each generation is told, and again once a minute; whether it was."""
        is_new = self._told.get('written') != generation
        self._told['written'] = generation
        if not is_new and self._limiter.admit('written', now) is None:
            return False
        get_logger().info('mirror.written', generation=generation, vms=vms, writes=writes,
                          elapsed_ms=round(elapsed_seconds * 1000))
        return True

    def leave_note(self, note: MirrorNote, now: float) -> None:
        """Leave word for vgpu-admin of how far the mirror is."""
        facts = note + (self._view.journal_openings,)
        noted_at, noted = self._noted
        if facts == noted or (facts[:2] == noted[:2] and now - noted_at < _NOTE_SECONDS):
            return
        self._noted = (now, facts)
        if self._view.is_journal_open:
            self._write(lambda journal: journal.write_note(MIRROR_NOTE, render_note(note)))

    def _must_tell(self, key: str, what: str, now: float) -> bool:
        """Whether to tell this now: it is another thing than was told last."""
        if self._told.get(key) == what or self._limiter.admit(key, now) is None:
            return False
        self._told[key] = what
        return True
