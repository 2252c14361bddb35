"""Does a daemon watch, since when, and how late is it?

Whoever watches holds the writer's lock beside the registry, for life, and keeps a note in the
journal about when XAPI answered it last.
"""

import json
import os
import time
from typing import Any, NamedTuple, Optional

from cli.text import Style, escape
from registry.errors import RegistryError
from registry.lock import LOCK_SUFFIX, WriterLock
from registry.timestamps import render_timestamp

NOTE = 'daemon'
# The long poll is answered every 30 s when nothing happens, and given up after 40 s (P14); the
# note may be a scan older than that.
LATE_SECONDS = 120


class Watch(NamedTuple):
    """Who watches, and what it noted of itself."""

    holder: Optional[str] = None
    """Who holds the writer's lock; None when nobody does."""
    since: Optional[str] = None
    last_answer: Optional[str] = None
    """When XAPI answered it last."""
    silent_seconds: Optional[int] = None
    """How long ago that was."""

    @property
    def is_late(self) -> bool:
        """Whether XAPI should have answered meanwhile."""
        return self.silent_seconds is not None and self.silent_seconds > LATE_SECONDS


def find_daemon(registry_path: str) -> Optional[str]:
    """Say who holds the writer's lock; None when nobody does."""
    if not os.path.exists(registry_path + LOCK_SUFFIX):
        return None
    lock = WriterLock(registry_path)
    try:
        if lock.acquire():
            lock.release()
            return None
    except RegistryError:
        # Without the right to try, what the lock's file says is all there is.
        return lock.holder()
    return lock.holder() or 'a program that does not say who it is'


def read_watch(holder: Optional[str], journal: Any, now: float) -> Watch:
    """What is known of the holder of the lock; its note counts only while it holds it."""
    text = journal.read_note(NOTE) if journal is not None and holder is not None else None
    return parse_note(holder, text, now)


def parse_note(holder: Optional[str], text: Optional[str], now: float) -> Watch:
    """Understand the daemon's note; what cannot be understood is not known."""
    try:
        note = json.loads(text or '{}')
        since, answer = _seconds(note.get('since')), _seconds(note.get('last_answer'))
    except (ValueError, AttributeError, OverflowError):
        return Watch(holder)
    return Watch(holder, None if since is None else render_timestamp(since),
                 None if answer is None else render_timestamp(answer),
                 None if answer is None else max(0, int(now - answer)))


def describe_watch(watch: Watch, style: Style) -> str:
    """Answer on one line: is it watching, since when, how late."""
    if watch.holder is None:
        return f"Daemon: {style.warning} not watching: nobody holds the writer's lock"
    parts = [f'watching ({escape(watch.holder)})']
    if watch.since is not None:
        parts.append(f'since {watch.since}')
    if watch.silent_seconds is not None:
        parts.append(f'XAPI answered it {watch.silent_seconds} s ago'
                     + (', which is late' if watch.is_late else ''))
    return f"Daemon: {style.warning if watch.is_late else style.tick} {', '.join(parts)}"


def _seconds(value: Any) -> Optional[float]:
    """A time in seconds, from a number or from a timestamp's text."""
    if isinstance(value, str):
        return float(_calendar(value))
    return float(value) if isinstance(value, (int, float)) else None


def _calendar(text: str) -> int:
    import calendar  # only for a note that has text
    return calendar.timegm(time.strptime(text[:19].replace('T', ' '), '%Y-%m-%d %H:%M:%S'))
