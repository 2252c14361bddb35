"""The wall clock was set: said once, and written down by how much.

Nothing of ours goes by that clock; what was noted with it before stands at times that were wrong.
"""

from typing import Callable, Optional

from registry.journal.clock_steps import ClockStep, build_step
from watcher.runtime.line_damper import Damper
from watcher.runtime.logs import get_logger

# More than the clock drifts between two looks.
_JUMP_SECONDS = 2.0
# What is less does not make a history hard to read.
_WORTH_NOTING_SECONDS = 60


class ClockJumps:
    """Compares the wall clock with the monotonic one, which counts from the host's boot."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._offset = wall() - clock()
        self._damper = Damper()

    def notice(self) -> Optional[ClockStep]:
        """Look, and say so when the clock was set; the step, when it is worth a note.

        What is held back is part of the next one that is logged.
        """
        now = self._clock()
        offset = self._wall() - now
        seconds = offset - self._offset
        step = None
        if abs(seconds) > _JUMP_SECONDS:
            if not self._damper.admit('clock', now):
                return None
            step = build_step(now + self._offset, now + offset, now)
            get_logger().warning('clock.jumped', seconds=round(seconds, 1), before=step.before,
                                 after=step.after)
        self._offset = offset
        return step if abs(seconds) >= _WORTH_NOTING_SECONDS else None
