"""What was learned and is not yet in the journal.

Many parts of the daemon have something to write down; it is collected here, in order, and
committed in one transaction when the main loop has done what was urgent. What cannot be written
now is kept for later, within a bound. A log line that a commit proves follows it: the other way
round, a daemon that is killed between the two would have the next one say the line again.
"""

import os
from typing import Any, Callable, List, Optional, Tuple

from registry.errors import JournalUnavailable, RegistryError
from registry.journal.clock_steps import ClockStep
from registry.journal.journal import Journal
from registry.schema import WATCH_NOTE
from watcher.runtime.logs import get_logger
from watcher.state.notes import WatchNote, render_note
from watcher.state.registry_view import RegistryView
from watcher.version import VERSION
from watcher.xapi.role import Role

# A journal that cannot be written for days: the oldest are given up then.
_KEPT = 10000

Write = Callable[[Journal], Any]


class JournalQueue:
    """Writes to the journal that wait for the next commit."""

    def __init__(self, view: RegistryView) -> None:
        self._view = view
        self._writes: List[Write] = []
        self._lines: List[Callable[[], None]] = []
        self._error = ''

    def add(self, write: Write) -> None:
        """Have this written with the next commit."""
        self._writes.append(write)

    def say(self, line: Callable[[], None]) -> None:
        """Have this logged after the next commit, also when that fails."""
        self._lines.append(line)

    def note_watch(self, since: Optional[float], last_answer: Optional[float],
                   role: Optional[Role], fought_over: Tuple[str, ...],
                   clock_step: Optional[ClockStep]) -> None:
        """Leave word for vgpu-admin of how the daemon fares, and by how much the clock was set."""
        note = WatchNote(os.getpid(), VERSION, since, last_answer,
                         role.host if role and role.is_local else '',
                         bool(role and role.is_member), fought_over)
        self.add(lambda journal: journal.write_note(WATCH_NOTE, render_note(note)))
        if clock_step is not None:
            self.add(lambda journal: journal.note_clock_step(clock_step))

    def flush(self) -> None:
        """Commit all of it in one transaction, and say what was waiting for that."""
        try:
            self._commit()
        finally:
            lines, self._lines = self._lines, []
            for line in lines:
                line()

    def _commit(self) -> None:
        if not self._writes or not self._view.is_journal_open:
            del self._writes[:-_KEPT]
            return
        writes = self._writes[:]
        try:
            with self._view.journal.batch():
                for write in writes:
                    write(self._view.journal)
            del self._writes[:len(writes)]
            self._error = ''
        except JournalUnavailable as error:
            self.give_up_journal(error)
        except RegistryError:
            self._flush_one_by_one(writes)

    def give_up_journal(self, error: JournalUnavailable) -> None:
        """Close the journal; the next look at the registry opens it again.

        Twice a second: a disk that is full is not made fuller by saying so each time.
        """
        if self._error != str(error):
            self._error = str(error)
            get_logger().error('journal.unwritable', error=str(error))
        self._view.close_journal()
        self._view.reread()

    def _flush_one_by_one(self, writes: List[Write]) -> None:
        """One of them cannot be written at all: it must not keep the others out for ever."""
        for write in writes:
            try:
                write(self._view.journal)
            except JournalUnavailable as error:
                self.give_up_journal(error)
                return
            except RegistryError as error:
                get_logger().error('journal.write_dropped', error=str(error))
            self._writes.remove(write)
