"""A span of each day in which something may be begun, in UTC.

Pure: no clock, no I/O, no logging.
"""

import re
from typing import NamedTuple

from registry.errors import InvalidValue

_WINDOW = re.compile(r'([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])\Z', re.ASCII)
_DAY_SECONDS = 24 * 60 * 60


class TimeWindow(NamedTuple):
    """From one minute of the day to another, which may be tomorrow's."""

    begin: int
    """Minutes after midnight, UTC."""
    end: int

    def is_open(self, now: float) -> bool:
        """Whether a time (seconds since the epoch) is in the window."""
        minute = now % _DAY_SECONDS / 60
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end

    def __str__(self) -> str:
        return f'{_clock(self.begin)}-{_clock(self.end)} UTC'


def parse_window(text: str) -> TimeWindow:
    """Check a window of the day."""
    match = _WINDOW.match(text)
    if match is None:
        raise InvalidValue(f'{ascii(text)} is not a window; allowed: HH:MM-HH:MM, in UTC')
    hours = [int(item) for item in match.groups()]
    window = TimeWindow(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])
    if window.begin == window.end:
        raise InvalidValue(f'{ascii(text)} is empty; leave it out for the whole day')
    return window


def _clock(minutes: int) -> str:
    return f'{minutes // 60:02d}:{minutes % 60:02d}'
