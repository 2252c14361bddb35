"""Times that were written down by a clock that was wrong, and what they were really.

A host whose battery is dead boots in 1970 and is stepped by its time service; what was noted until
then stands decades away from what happened before and after. The daemon notes each such step, and
a search by time asks here. Entries keep the times that they were written with.

Pure, but for the two functions that take a connection; those run in the caller's transaction.
"""

import json
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from registry.sqlite.connection import Connection
from registry.sqlite.timestamps import parse_timestamp, render_timestamp

# What is less than this is in the order in which it happened by its numbers, and near enough.
LEAST_SECONDS = 86400
KEPT = 20
# What an entry of the history says of it.
CLOCK_STEPPED = 'clock_stepped'
_NOTE = 'clock_steps'
_UNITS = ((365.25 * 86400, 'year'), (86400, 'day'), (3600, 'hour'), (60, 'minute'), (1, 'second'))


class ClockStep(NamedTuple):
    """The clock showed times from `since` until `before`, and from then on `after`."""

    since: str
    before: str
    after: str

    @property
    def seconds(self) -> int:
        """How far the clock was set, backwards if negative."""
        return parse_timestamp(self.after) - parse_timestamp(self.before)

    def describe(self) -> str:
        """The step in words."""
        way = 'forward' if self.seconds > 0 else 'back'
        return f'the clock was stepped {way} by {describe_span(abs(self.seconds))} at {self.after}Z'


def build_step(before: float, after: float, uptime_seconds: float) -> ClockStep:
    """Build the step between two Unix times, by the clock of before and of after.

    Nothing that was written since the host booted can bear an earlier time than `since`.
    """
    return ClockStep(render_timestamp(before - uptime_seconds), render_timestamp(before),
                     render_timestamp(after))


def describe_span(seconds: float) -> str:
    """A length of time in the largest unit of which it has at least one, cut to whole ones."""
    for size, unit in _UNITS:
        if seconds >= size:
            number = int(seconds / size)
            return f'{number} {unit}{"" if number == 1 else "s"}'
    return 'less than a second'


def correct(at: str, steps: Sequence[ClockStep]) -> str:
    """Give the time that a clock that is right now would have shown for this one."""
    for step in steps:
        if step.since <= at <= step.before:
            at = render_timestamp(parse_timestamp(at) + step.seconds)
    return at


def render_corrected(column: str, steps: Sequence[ClockStep]) -> str:
    """Render the same as SQL."""
    for step in steps:
        column = (f"(CASE WHEN {column} BETWEEN '{step.since}' AND '{step.before}' "
                  f"THEN datetime({column}, '{step.seconds:+d} seconds') ELSE {column} END)")
    return column


def read_steps(connection: Connection) -> Tuple[ClockStep, ...]:
    """Read the steps that were noted, the oldest first; what is none is left out."""
    rows = connection.execute('SELECT value FROM notes WHERE key = ?', (_NOTE,))
    return tuple(filter(None, map(_parse_step, _parse_list(rows[0][0])))) if rows else ()


def note_step(connection: Connection, step: ClockStep) -> None:
    """Keep a step, and forget the oldest beyond the bound."""
    steps = (read_steps(connection) + (step,))[-KEPT:]
    connection.execute('INSERT OR REPLACE INTO notes (key, value) VALUES (?, ?)',
                       (_NOTE, json.dumps(steps)))


def _parse_list(text: str) -> List[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return found[-KEPT:] if isinstance(found, list) else []


def _parse_step(found: Any) -> Optional[ClockStep]:
    try:
        step = ClockStep(*found)
        # The texts become part of a statement: nothing but times.
        is_whole = all(render_timestamp(parse_timestamp(text)) == text for text in step)
    except (TypeError, ValueError, OverflowError):
        return None
    return step if is_whole else None
