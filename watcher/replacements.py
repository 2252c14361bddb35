"""Replacements under way: their entries in the journal, from before the remove to the proof (P16).

An entry holds the whole value before and after, foreign text included. It is on the disk before
the key is removed, and leaves the journal only when XAPI has shown that the key is there again,
or that it is gone as it should be. Whatever happens in between, the value can be brought back.
"""

from typing import Any, Callable, Dict, FrozenSet, Optional, Set

from registry.errors import JournalUnavailable
from registry.journal import Journal, Replacement
from watcher.books import Books
from watcher.injector import Outcome, OutcomeKind
from watcher.jobs import Saved
from watcher.logs import get_logger
from watcher.plan import Plan
from watcher.records import VmRecord

# So often a fence is not lifted because nobody knows yet what it guards, a third of a second apart.
_TRIES_WHILE_LOCKED = 20
# A journal that is locked costs one wait for all VMs, not one for each.
_RETRY_SECONDS = 1.0


class Replacements:
    """The entries that the journal has, in memory."""

    def __init__(self, books: Books, *, write: Callable[[Callable[[Journal], Any]], None],
                 tell: Callable[[Replacement], None]) -> None:
        self._books = books
        self._write = write
        self._tell = tell
        self._entries: Dict[str, Replacement] = {}
        self._written: Set[str] = set()
        self._error = ''
        self._is_recalled = False
        self._tries_left = _TRIES_WHILE_LOCKED
        self.retry_at = 0.0

    def recall(self) -> None:
        """Take up what an earlier daemon left open."""
        self._entries = {item.vm_uuid: item for item in self._books.journal.replacements()}
        self._is_recalled = True
        for item in self._entries.values():
            get_logger().warning('replacement.recovered', vm_uuid=item.vm_uuid,
                                 before=item.before, after=item.after)

    @property
    def is_open(self) -> bool:
        """Whether any is under way, or not known to have ended."""
        return bool(self._entries)

    def find(self, vm_uuid: str) -> Optional[Replacement]:
        """The entry of a VM."""
        return self._entries.get(vm_uuid)

    def find_saved(self, vm_uuid: str) -> Saved:
        """The whole value that was taken away, and whether that is known.

        While an earlier daemon's journal is locked it is not; a lock that stays is not waited
        for: a VM held back by a forgotten fence is worse than one that starts wrong and says so.
        """
        entry = self._entries.get(vm_uuid)
        if entry is None and not self._is_recalled and self._books.is_journal_locked \
                and self._tries_left > 0:
            self._tries_left -= 1
            return Saved(is_known=False)
        return Saved(entry.after if entry is not None else None)

    def begin(self, plan: Plan, now: float) -> bool:
        """Write the entry; False when the journal cannot be written, and nothing may be removed."""
        if now < self.retry_at:
            return False
        vm = plan.vm
        entry = Replacement(vm.uuid, vm.ref, vm.args, plan.value, plan.reason.value)
        try:
            self._books.open_journal()
            self._books.journal.begin_replacement(entry)
        except JournalUnavailable as error:
            self.retry_at = now + _RETRY_SECONDS
            if self._error != str(error):
                self._error = str(error)
                get_logger().error('journal.unwritable', vm_uuid=vm.uuid, error=str(error))
            self._books.reread()
            return False
        self._error = ''
        self._entries[vm.uuid] = entry
        self._written.discard(vm.uuid)
        return True

    def take_outcome(self, outcome: Outcome) -> None:
        """End the entry when the job has brought proof."""
        vm = outcome.plan.vm
        if outcome.kind is OutcomeKind.WRITTEN and outcome.plan.is_rescue \
                and outcome.plan.value is not None and vm.uuid in self._entries:
            # XAPI may be about to write back the whole map that it read between our two calls:
            # what we wrote is lost then, foreign text included. The end of the start tells.
            self._written.add(vm.uuid)
        elif outcome.kind in (OutcomeKind.WRITTEN, OutcomeKind.VANISHED):
            self._end(vm.uuid)
        elif outcome.vm is not None and not outcome.is_key_missing:
            self.take_record(outcome.vm)

    def take_record(self, vm: VmRecord) -> None:
        """End the entry when a record, read for it, is the proof."""
        entry = self._entries.get(vm.uuid)
        if entry is None or (vm.args is None and entry.after is not None):
            return
        if vm.args == entry.after != entry.before and vm.uuid not in self._written:
            # XAPI did it, and the answer was lost: the history shall know of it all the same.
            self._tell(entry)
        self._end(vm.uuid)

    def forget(self, vm_uuid: str) -> None:
        """End the entry of a VM that does not exist any more."""
        self._end(vm_uuid)

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """End the entries of VMs that do not exist any more."""
        for vm_uuid in set(self._entries) - known:
            self._end(vm_uuid)

    def _end(self, vm_uuid: str) -> None:
        self._written.discard(vm_uuid)
        if self._entries.pop(vm_uuid, None) is not None:
            # Written later, when the next replacement of this VM may have begun: that one stays.
            self._write(lambda journal: vm_uuid in self._entries
                        or journal.end_replacement(vm_uuid))
