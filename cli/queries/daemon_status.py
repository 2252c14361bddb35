"""Does a daemon watch, since when, and how late is it?

A daemon that watches holds the writer's lock beside the registry, for life, and notes in the
journal when XAPI answered it last.
"""

import os
from typing import Any, FrozenSet, NamedTuple, Optional

from cli.output.text import Style, escape, utc
from registry.errors import RegistryError
from registry.journal.clock_steps import ClockStep
from registry.paths import LOCK_SUFFIX
from registry.schema import WATCH_NOTE
from registry.sqlite.timestamps import render_timestamp
from registry.writer_lock import WriterLock
from watcher.state.notes import parse_watch_note

# The note is written at each scan; the long poll is given up after 40 s (P14).
LATE_SECONDS = 60
_CLOCK_STEP_SECONDS = 86400


class Watch(NamedTuple):
    """Who watches, and what it noted of itself."""

    holder: Optional[str] = None
    """Who holds the writer's lock; None when it is free."""
    since: Optional[str] = None
    last_answer: Optional[str] = None
    """When XAPI answered it last."""
    silent_seconds: Optional[int] = None
    """How long ago that was."""
    is_late: bool = False
    """Whether XAPI should have answered, and that should be noted, meanwhile."""
    is_synced: bool = True
    """Whether it has seen all VMs since the stream of events began, as far as it says."""
    clock_step: Optional[ClockStep] = None
    """The last time that the clock was set by a day or more, if that was within a day."""


def find_daemon(registry_path: str) -> Optional[str]:
    """Say who holds the writer's lock; None when it is free."""
    if not os.path.exists(registry_path + LOCK_SUFFIX):
        return None
    lock = WriterLock(registry_path)
    try:
        if lock.acquire():
            lock.release()
            return None
    except RegistryError:
        # Without the right to try, what the kernel shows to every user is all there is.
        return lock.holder() or _find_in_kernel(lock.path)
    return lock.holder() or 'a program that does not say who it is'


def _find_in_kernel(path: str) -> Optional[str]:
    """The process that holds a flock on a file, as the kernel lists it."""
    try:
        inode = os.stat(path).st_ino
        with open('/proc/locks', encoding='utf-8', errors='replace') as stream:
            lines = [line.split() for line in stream]
    except OSError:
        return None
    return next((f'pid {words[4]}' for words in lines if len(words) > 5 and words[1] == 'FLOCK'
                 and words[5].rpartition(':')[2] == str(inode)), None)


def read_watch(holder: Optional[str], journal: Any, now: float, scan_seconds: int) -> Watch:
    """What is known of the holder of the lock; its note counts only while it holds it."""
    text = journal.read_note(WATCH_NOTE) if journal is not None and holder is not None else None
    watch = parse_note(holder, text, now, scan_seconds)
    return watch._replace(clock_step=_find_clock_step(journal, now)) if watch.since else watch


def _find_clock_step(journal: Any, now: float) -> Optional[ClockStep]:
    steps = journal.clock_steps()
    since = render_timestamp(now - _CLOCK_STEP_SECONDS)
    return steps[-1] if steps and steps[-1].after >= since else None


def parse_note(holder: Optional[str], text: Optional[str], now: float,
               scan_seconds: int) -> Watch:
    """Understand the daemon's note; that of another process, or nonsense, says nothing."""
    note = parse_watch_note(text)
    if not note.is_of(holder):
        return Watch(holder)
    try:
        since, answer = [None if seconds is None else render_timestamp(seconds)
                         for seconds in (note.since, note.last_answer)]
        silent = None if note.last_answer is None else int(now - note.last_answer)
    except (ValueError, OverflowError):
        return Watch(holder)
    return Watch(holder, since, answer, max(0, silent) if silent is not None else None,
                 silent is not None and silent > scan_seconds + LATE_SECONDS, since is not None)


def read_fought_over(registry_path: str, journal: Any) -> FrozenSet[str]:
    """The UUIDs of VMs that the daemon which runs now calls fought over."""
    note = parse_watch_note(journal.read_note(WATCH_NOTE) if journal is not None else None)
    is_current = bool(note.fought_over) and note.is_of(find_daemon(registry_path))
    return frozenset(note.fought_over if is_current else ())


def describe_watch(watch: Watch, style: Style) -> str:
    """Answer on one line: is it watching, since when, how late."""
    if watch.holder is None:
        return f'Daemon: {style.warning} no daemon is running'
    parts = [f'watching ({escape(watch.holder)})' if watch.is_synced else
             f'running ({escape(watch.holder)}), but not in sync with XAPI']
    if watch.since is not None:
        parts.append(f'since {utc(watch.since)}')
    if watch.silent_seconds is not None:
        parts.append(f'XAPI answered {watch.silent_seconds} s ago'
                     + (', which is late' if watch.is_late else ''))
    if watch.clock_step is not None:
        parts.append(watch.clock_step.describe())
    is_well = watch.is_synced and not watch.is_late
    return f"Daemon: {style.tick if is_well else style.warning} {', '.join(parts)}"
