"""Timestamps as the shared file has them: UTC, to the second, comparable as text."""

import calendar
import time

_FORMAT = '%Y-%m-%d %H:%M:%S'


def render_timestamp(seconds: float) -> str:
    """Render a time as `YYYY-MM-DD HH:MM:SS` in UTC."""
    return time.strftime(_FORMAT, time.gmtime(seconds))


def parse_timestamp(text: str) -> int:
    """Read it back; ValueError when it is none."""
    return calendar.timegm(time.strptime(text, _FORMAT))
