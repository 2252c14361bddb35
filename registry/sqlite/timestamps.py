"""Timestamps as the shared file has them: UTC, to the second, comparable as text."""

import time


def render_timestamp(seconds: float) -> str:
    """Render a time as `YYYY-MM-DD HH:MM:SS` in UTC."""
    return time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))
