"""The registry file and the journal, as the daemon has them in front of it.

`poll` is called when the kernel tells of an edit, with each tick, and before every batch of
events; it costs one `stat` while nothing has changed. What it read stays in memory, so that a
start finds its assignment without touching a file. A file that cannot be used is a state, told
once: VMs are then left as they are.
"""

import contextlib
import os
import time
from typing import Any, Callable, Dict, FrozenSet, Mapping, NamedTuple, Optional, Set, Tuple

from registry.errors import JournalUnavailable, Reason, RegistryError, RegistryUnavailable
from registry.file_watch import FileWatch
from registry.journal.journal import Journal
from registry.journal.numbers import Written
from registry.journal.outside_edits import (NO_MEMORY, UNKNOWN_EDITION, compare_missing,
                                            refuse_loss, seen_in)
from registry.paths import identify
from registry.sqlite.connection import unavailable
from registry.sqlite.lock_holders import is_shut
from registry.store import Registry
from registry.values import Contents
from watcher.state.inventory import Claim
from watcher.vm.plan import Assignment

# Longer, and SQLite would hold up the daemon and its signals (P17).
REGISTRY_TIMEOUT_SECONDS = 0.25
WHO = 'vgpu-watcher'
# A journal that is locked costs a part of the above each time, and starts must not wait for it.
_JOURNAL_RETRY_SECONDS = 2.0
# What an earlier daemon left in it is known all the same: the values that it had taken away.
_STILL_READABLE = (Reason.LOCKED, Reason.UNWRITABLE, Reason.FAILED)


class Change(NamedTuple):
    """What a poll found."""
    is_changed: bool = False
    """Assignments, pools or availability are not as before: every VM deserves a look."""
    concerns_all: bool = False
    """Not single rows: the registry came or went, or was taken over."""
    touched: FrozenSet[str] = frozenset()
    """UUIDs of VMs whose assignment differs from before."""
    edits: int = 0
    """How many edits of other programs were found."""
    became_unavailable: str = ''
    reason: str = ''
    """Why it is unavailable, in one word."""
    became_available: bool = False


class RegistryView:
    """Assignments by UUID, and what the journal says of numbers; all of it in memory."""

    def __init__(self, path: str, *, trust_mass_removals: bool = False,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.trust_mass_removals = trust_mass_removals
        """Whether programs of this site may remove many rows at once (P17)."""
        self._clock = clock
        self.registry = Registry(path, timeout_seconds=REGISTRY_TIMEOUT_SECONDS)
        self.path = self.registry.path
        self.journal = Journal(self.registry.journal_path,
                               timeout_seconds=REGISTRY_TIMEOUT_SECONDS)
        self.watch = FileWatch(self.path, clock=clock)
        self._must_read = True
        self._retry_at = 0.0
        self._is_shut = False
        self._last_seen = NO_MEMORY.seen
        """The rows last taken: what is compared with the file while the journal cannot be read."""
        self.is_journal_readable = False
        """It is open, and what it knows has been read; perhaps it takes nothing new."""
        self.journal_problem = ''
        self.is_journal_locked = False
        """It is there, and can be read as soon as the lock is released."""
        self._journal_file: Optional[Tuple[int, int]] = None
        self.journal_openings = 0
        """How often it was opened: another file may stand there each time."""
        self.contents: Optional[Contents] = None
        self.was_read = False
        """Whether it has been known, at least once, who is registered."""
        self.unavailable = 'not read yet'
        self.assignments: Dict[str, Assignment] = {}
        self.owners: Dict[int, str] = {}
        self.faulty: FrozenSet[str] = frozenset()
        self.claims: Dict[int, int] = {}
        """Number -> its place in the sequence; of a row not known to be first: none."""
        self.staged: Dict[str, Claim] = {}
        self.staged_values: Dict[str, str] = {}
        self._staged_at: Dict[int, Set[str]] = {}
        self.written: Dict[str, Written] = {}
        """Writes (by UUID) that nothing has proven yet: a start may take either value."""
        self.removed: Dict[str, str] = {}
        """Our arguments that were removed from a VM, and may come back."""
        self.bearers: Dict[str, Claim] = {}
        self.bearer_kinds: Dict[str, str] = {}
        self.orphans: FrozenSet[str] = frozenset()
        self._sequence = 0
        self.must_order_claims = True
        """Whether there may be rows whose numbers have no place in the sequence yet."""

    @property
    def is_journal_open(self) -> bool:
        """Whether it can be written as well, as far as we know."""
        return self.is_journal_readable and not self.journal_problem

    @property
    def is_available(self) -> bool:
        """Whether the registry can be gone by."""
        return self.contents is not None

    @property
    def is_accepted(self) -> bool:
        """Whether we may replace and remove, or only add (docs/operations.md)."""
        return self.contents is not None and self.contents.accepted

    def listen(self) -> None:
        """Have the kernel tell of edits as well; where it cannot, looking now and then does."""
        # vgpu-admin, which has RegistryView too, does not wait for edits.
        with contextlib.suppress(ImportError, OSError):
            from registry.inotify import FileNotices
            self.watch.listen(FileNotices(self.path))

    def open_journal(self) -> None:
        """Open the journal and read what it knows; JournalUnavailable when that fails."""
        if not self.is_journal_readable:
            self.journal.open()
            try:
                self.refresh_claims()
            except JournalUnavailable:
                self.journal.close()
                raise
            self._journal_file = identify(self.journal.path)
            self.journal_openings += 1
            self.is_journal_readable = True

    def refresh_claims(self) -> None:
        """Read again who was staged, who bears which number, and whose row was deleted."""
        staged = self.journal.staged()
        self.staged = {uuid: Claim(item.vm_id, item.sequence) for uuid, item in staged.items()}
        self._staged_at = {}
        for vm_uuid, item in staged.items():
            self._staged_at.setdefault(item.vm_id, set()).add(vm_uuid)
        self.claims = dict(self.journal.claims())
        self.must_order_claims = True
        self.removed = dict(self.journal.removed())
        self.staged_values = {uuid: item.value for uuid, item in staged.items()}
        self.written = dict(self.journal.written())
        bearers = self.journal.bearers()
        self.bearers = {uuid: Claim(item.vm_id, item.sequence) for uuid, item in bearers.items()}
        self.bearer_kinds = {uuid: item.kind for uuid, item in bearers.items()}
        self.orphans = frozenset(self.journal.orphans())
        known = list(self.staged.values()) + list(self.bearers.values())
        self._sequence = max([0] + [claim.sequence for claim in known] + list(self.claims.values()))

    def order_claims(self) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
        """Give the numbers that rows have got their places; those, and the numbers without a row.

        Only after every VM was noted that bears a number now: they were first. The number of a row
        that cannot be understood stays claimed.
        """
        self.must_order_claims = False
        found = tuple(sorted(set(self.owners) - set(self.claims)))
        gone = () if self.faulty else tuple(sorted(set(self.claims) - set(self.owners)))
        for vm_id in gone:
            del self.claims[vm_id]
        for vm_id in found:
            self._sequence += 1
            self.claims[vm_id] = self._sequence
        return found, gone

    def claim(self, vm_id: int) -> bool:
        """Give a number its place now; whether it had none."""
        is_new = vm_id not in self.claims
        if is_new:
            self._sequence += 1
            self.claims[vm_id] = self._sequence
        return is_new

    @property
    def has_unclaimed(self) -> bool:
        """Whether a row has a number that has no place in the sequence yet."""
        return self.must_order_claims and not set(self.owners) <= set(self.claims)

    def _take_claims(self) -> None:
        """Take what our own commands have claimed, at the commit: before what is noted from now."""
        for vm_id in sorted(set(self.journal.claims()) - set(self.claims)):
            self._sequence += 1
            self.claims[vm_id] = self._sequence

    def list_staged_at(self, vm_id: int) -> FrozenSet[str]:
        """The VMs (UUIDs) at which a number was staged last."""
        return frozenset(self._staged_at.get(vm_id, ()))

    def note_staged(self, vm_uuid: str, vm_id: int, value: str) -> None:
        """In memory: the VM carries `value` because we had it so. The caller writes the journal.

        Sequences here only order; the journal gives its own, in the same order.
        """
        before = self.staged.get(vm_uuid)
        if before is not None:
            self._staged_at.get(before.vm_id, set()).discard(vm_uuid)
        self._staged_at.setdefault(vm_id, set()).add(vm_uuid)
        self.staged[vm_uuid] = self._claim(before, vm_id)
        self.staged_values[vm_uuid] = value

    def find_staged(self, vm_uuid: str) -> FrozenSet[str]:
        """The spans ('' for none) that we had in place when a VM last rested; none: not known."""
        found = {self.staged_values.get(vm_uuid)}
        if vm_uuid in self.written:
            found.add(self.written[vm_uuid].value)
        return frozenset(value for value in found if value is not None)

    def note_bearer(self, vm_uuid: str, vm_id: Optional[int], kind: str) -> None:
        """In memory: an unregistered VM carries a number, or none any more."""
        if vm_id is None:
            self.bearers.pop(vm_uuid, None)
            self.bearer_kinds.pop(vm_uuid, None)
        else:
            self.bearers[vm_uuid] = self._claim(self.bearers.get(vm_uuid), vm_id)
            self.bearer_kinds[vm_uuid] = kind

    def note_orphan(self, vm_uuid: str) -> None:
        """In memory: a VM without a row carries what was staged for the row it had."""
        self.orphans |= {vm_uuid}

    def forget_orphan(self, vm_uuid: str) -> None:
        """In memory: the span of a VM without a row is gone."""
        self.orphans -= {vm_uuid}

    def forget_staged(self, vm_uuid: str) -> None:
        """In memory: there is nothing of ours any more."""
        before = self.staged.pop(vm_uuid, None)
        if before is not None:
            self._staged_at.get(before.vm_id, set()).discard(vm_uuid)
        self.staged_values.pop(vm_uuid, None)

    def _claim(self, before: Optional[Claim], vm_id: int) -> Claim:
        if before is not None and before.vm_id == vm_id:
            return before
        self._sequence += 1
        return Claim(vm_id, self._sequence)

    def poll(self) -> Change:
        """Look whether the file has changed, and read it when it has; never raises for it."""
        self._notice_moved_journal()
        orphans = self.orphans
        has_changed = self.watch.has_changed()
        if not has_changed and (not self._must_read or self._clock() < self._retry_at):
            return Change()
        try:
            contents, edits = self._read()
        except RegistryError as error:
            self._must_read, self._retry_at = True, 0.0
            self._open_existing_journal()
            return self._become_unavailable(error)
        self._must_read = bool(self.journal_problem)
        self._retry_at = self._clock() + _JOURNAL_RETRY_SECONDS if self._must_read else 0.0
        return self._take(contents, edits, orphans)

    def _read(self) -> Tuple[Contents, int]:
        """Read the file; once more when an edit of ours crossed the reading."""
        try:
            contents = self.registry.read_unjudged()
            return contents, self._note(contents)
        except RegistryUnavailable as error:
            if error.reason is not Reason.OUTDATED:
                raise
        contents = self.registry.read_unjudged()
        return contents, self._note(contents)

    @property
    def names(self) -> Dict[str, Optional[str]]:
        """The names in the registry, by UUID."""
        return {vm.vm_uuid: vm.vm_name for vm in self.contents.vms} if self.contents else {}

    @property
    def pools(self) -> Tuple[Tuple[Any, ...], ...]:
        """What counts of the vGPU pools, without times."""
        return tuple(tuple(pool[:4]) for pool in self.contents.pools) if self.contents else ()

    def rename(self, names: Mapping[str, str]) -> int:
        """Write new names into the registry; a file that is locked waits for the next scan."""
        if not names:
            return 0
        try:
            with self.registry.edit(who=WHO, command='scan', needs_journal=True) as edit:
                return edit.rename_vms(names)
        except RegistryError:
            return 0

    def reread(self) -> None:
        """Have the next poll read the file, changed or not."""
        self._must_read, self._retry_at = True, 0.0

    def look_for_lock(self) -> None:
        """Have the next poll meet a lock that keeps all programs from reading.

        The file's status does not show such a lock. It must stand at two looks: a transaction that
        comes to its end is no trouble.
        """
        was_shut, self._is_shut = self._is_shut, is_shut(self.path)
        if was_shut and self._is_shut:
            self.reread()

    def close(self) -> None:
        """Close the journal, and have the kernel tell nothing any more."""
        self.watch.close()
        self.close_journal()

    def close_journal(self) -> None:
        """Close the journal; the next look at the registry opens it again."""
        if self.is_journal_readable:
            self.journal.close()
            self.is_journal_readable = False

    def _note(self, contents: Contents) -> int:
        """Record what others changed, or refuse a file that has lost too many rows (P17).

        The journal is a helper: without it VMs are staged, and history and receipts wait.
        """
        try:
            if contents.edition == UNKNOWN_EDITION:
                raise unavailable(self.journal.path, Reason.LOCKED, JournalUnavailable)
            self.open_journal()
            edits = self.journal.note_contents(contents, allow_loss=self.trust_mass_removals)
            # Our own commands write orphans in their own transaction: read these again as well.
            self.orphans = frozenset(self.journal.orphans())
            self._take_claims()
        except JournalUnavailable as error:
            self._note_problem(error)
            if error.reason not in _STILL_READABLE:
                self.close_journal()
            if not self.trust_mass_removals:
                refuse_loss(contents._replace(missing=compare_missing(self._last_seen, contents)))
            return 0
        self.journal_problem = ''
        return len(edits)

    def _notice_moved_journal(self) -> None:
        """Notice that the journal was moved or deleted: what is written to it now is lost."""
        if self.is_journal_readable and self._journal_file != identify(self.journal.path):
            self.close_journal()
            self.reread()

    def _open_existing_journal(self) -> None:
        """Without a registry there may still be replacements to finish; never create it then."""
        if not self.is_journal_readable and os.path.exists(self.journal.path):
            try:
                self.open_journal()
                self.journal_problem = ''
            except JournalUnavailable as error:
                self._note_problem(error)

    def _note_problem(self, error: JournalUnavailable) -> None:
        self.journal_problem = str(error)
        self.is_journal_locked = error.reason is Reason.LOCKED

    def _become_unavailable(self, error: RegistryError) -> Change:
        problem = str(error)
        if self.unavailable == problem:
            return Change()
        self.unavailable = problem
        self.contents = None
        reason = error.reason.value if isinstance(error, RegistryUnavailable) else ''
        return Change(is_changed=True, concerns_all=True, became_unavailable=problem, reason=reason)

    def _take(self, contents: Contents, edits: int, orphans: FrozenSet[str]) -> Change:
        became_available = self.contents is None
        is_accepted_before, pools = self.is_accepted, self.pools
        self._last_seen = seen_in(contents)
        self.contents, self.unavailable, self.was_read = contents, '', True
        before, self.assignments = self.assignments, build_assignments(contents)
        owners = {item.vm_id: uuid for uuid, item in self.assignments.items()}
        faulty = frozenset(fault.key for fault in contents.faults)
        if (set(owners), faulty) != (set(self.owners), self.faulty):
            self.must_order_claims = True
        self.owners, self.faulty = owners, faulty
        touched = frozenset(uuid for uuid in set(before) | set(self.assignments)
                            if before.get(uuid) != self.assignments.get(uuid))
        touched |= orphans ^ self.orphans
        concerns_all = became_available or is_accepted_before != self.is_accepted
        # What a pool is called concerns no VM, and is mirrored.
        is_changed = concerns_all or bool(touched) or pools != self.pools
        return Change(is_changed, concerns_all, touched, edits,
                      became_available=became_available)


def build_assignments(contents: Contents) -> Dict[str, Assignment]:
    """What each row asks for, by UUID."""
    enabled = {pool.pool_id: pool.enabled for pool in contents.pools}
    return {vm.vm_uuid: Assignment(vm.vm_uuid, vm.vm_id, vm.pool_id, int(vm.priority),
                                   enabled.get(vm.pool_id, True)) for vm in contents.vms}
