"""What the daemon says of its files, each change once."""

import time

from watcher.books import Books, Change
from watcher.logs import get_logger


class Teller:
    """Remembers what was said last."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._journal_problem = ''

    def tell(self, change: Change) -> None:
        """Say what a look at the registry has found."""
        books = self._books
        if change.became_unavailable:
            get_logger().error('registry.unavailable', path=books.path,
                               error=change.became_unavailable)
        elif change.became_available:
            get_logger().info('registry.available', path=books.path,
                              vms=len(books.assignments), accepted=books.is_accepted)
        elif change.is_changed:
            get_logger().info('registry.changed', vms=len(books.assignments),
                              touched=len(change.touched), found=change.edits)
        self._tell_journal(books.journal_problem)

    def _tell_journal(self, problem: str) -> None:
        if problem and problem != self._journal_problem:
            get_logger().error('journal.unavailable', path=self._books.journal.path,
                               error=problem)
        elif self._journal_problem and not problem:
            get_logger().info('journal.available', path=self._books.journal.path)
        self._journal_problem = problem


def render_time(at: float) -> str:
    """A time for people, in UTC."""
    return time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(at))
