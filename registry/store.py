"""The registry file: read it, create it, edit it.

No connection is kept: each call opens the file, does one transaction and closes it, so others
find it free. The file is never opened by other means; how it is created: `creation.py`.
What only writes is imported when something is written: most commands read.
"""

import contextlib
import os
import time
from typing import (TYPE_CHECKING, Callable, Container, FrozenSet, Iterator, Optional, Sequence,
                    Tuple)

from registry.errors import Conflict, JournalUnavailable, Reason, RegistryUnavailable
from registry.journal.numbers import Bearer, check_numbers, read_counter
from registry.journal.outside_edits import (LOCKED_MEMORY, NO_MEMORY, Memory, compare_missing,
                                            recall, refuse_loss)
from registry.paths import NEW_SUFFIX, find_journal, resolve_path
from registry.rows import read_contents, read_rows
from registry.schema import CURRENT_VERSION, migrate_journal, prepare_journal, probe_journal
from registry.sqlite.connection import Connection, check_file, check_writable
from registry.sqlite.lock_wait import TELL_SECONDS, Patience
from registry.sqlite.timestamps import render_timestamp
from registry.values import DEFAULT_POOLS, Contents, Image

if TYPE_CHECKING:
    from registry.commit import Commit
    from registry.difference import Replaced
    from registry.edit import Edit
    from registry.file_check import FileCheck
    from registry.proposal import Proposal

# What a call may spend on a journal that is locked, of its own time and in all.
_JOURNAL_SHARE = 0.4
_JOURNAL_SECONDS = 1.0
_JOURNAL_EDIT_SECONDS = 3.0
# What was waited in vain counts: a call after that spends no more than this.
_JOURNAL_LEAST_SECONDS = 0.1
_ATTEMPTS = 3


class Registry:
    """The registry at a path, and the journal beside it."""

    def __init__(self, path: str, *, timeout_seconds: float, journal_path: Optional[str] = None,
                 trust_mass_removals: bool = False,
                 clock: Callable[[], float] = time.time,
                 on_wait: Optional[Callable[[str], None]] = None) -> None:
        self.path = resolve_path(path)
        self.journal_path = journal_path or find_journal(self.path)
        self._timeout_seconds = timeout_seconds
        self._trusts_losses = trust_mass_removals
        self._clock = clock
        self._tell = on_wait
        self._waited_seconds = 0.0
        self._has_told_journal = False
        self.disproven: FrozenSet[Bearer] = frozenset()
        """Notes of the journal about who bears a number that XAPI does not bear out."""

    def read(self) -> Contents:
        """Read all of the registry in one transaction; refuse one that is doubtful (P17)."""
        contents = self.inspect()
        refuse_loss(contents)
        return contents

    def inspect(self) -> Contents:
        """Read it also when it is doubtful: `missing` has the VMs that it lost then."""
        for _ in range(_ATTEMPTS):
            memory, contents = self._read_both()
            missing = compare_missing(memory.seen, contents)
            # A command of ours may have removed them between the two readings.
            if not missing or self._trusts_losses or memory == self._recall():
                break
        return contents._replace(missing=() if self._trusts_losses else missing)

    def read_unjudged(self) -> Contents:
        """Read it for a caller who holds it against the journal himself."""
        return self._read_both()[1]

    def _read_both(self) -> Tuple[Memory, Contents]:
        self._find_file()
        memory = self._recall()
        with self._connected() as connection:
            with connection.reading():
                return memory, read_contents(connection, memory.edition)

    def create(self, who: str, command: str = 'init') -> bool:
        """Create an empty registry; False when there is one already."""
        try:
            self.read_unjudged()
            return False
        except RegistryUnavailable as error:
            if error.reason not in (Reason.MISSING, Reason.EMPTY):
                raise
        draft = self.draft()
        self._create(draft.settle().image_after, who, command, is_rebuilt=False)
        return True

    @contextlib.contextmanager
    def edit(self, *, who: str, command: str, dry_run: bool = False,
             allow_loss: bool = False, needs_journal: bool = False) -> 'Iterator[Edit]':
        """Edit the registry: all of the block, with its history, or nothing (`dry_run`).

        What other programs changed before is recorded first, as theirs; with `allow_loss` also
        when the file is doubtful, as what `who` has decided. Unless the caller `needs_journal`,
        a journal that cannot be used costs the history only (`journal_problem` of the Edit).

        A dry run does everything and takes it back; its `proposal` is then what can be shown,
        asked about, and given to `applying`.
        """
        with self._changing(who, command, allow_loss, keep=not dry_run,
                            needs_journal=needs_journal) as commit:
            edit = commit.begin()
            yield edit
            commit.carry_out(edit)

    @contextlib.contextmanager
    def applying(self, proposal: 'Proposal', *, who: str, command: str,
                 allow_loss: bool = False,
                 needs_journal: bool = False) -> 'Iterator[Edit]':
        """Do just what was proposed, at the end of the block, inside of which the file is ours.

        Where the registry is not any more as it was shown, nothing is done: a Conflict.
        """
        if proposal.creates:
            draft = self.draft()
            yield draft
            draft.journal_problem = self._create(
                proposal.image_after, who, command, is_rebuilt=False,
                claims=proposal.claims).journal_problem
            draft.proposal = proposal
            return
        with self._changing(who, command, allow_loss, needs_journal=needs_journal) as commit:
            edit = commit.begin()
            edit.take(proposal)
            yield edit
            commit.carry_out(edit)

    def draft(self) -> 'Edit':
        """Begin an edit of a registry that is not there; `applying` creates it."""
        from registry.edit import Edit
        return Edit(pools=DEFAULT_POOLS, now=self._now, version=CURRENT_VERSION,
                    largest=self._read_largest())

    def replace_contents(self, image: Image, *, who: str, command: str, keep_copy: bool,
                         may_create: bool = False, needs_journal: bool = False,
                         shown: 'Optional[Proposal]' = None,
                         borne: Optional[Container[int]] = None,
                         moved_to: str = '') -> 'Replaced':
        """Make the registry what an image says, in place; the history tells each difference.

        The image's origin is noted in the same transaction. With `shown` it must still be as it
        was shown. Without `may_create` a file that is missing stays missing. For a caller who
        knows which numbers others bear (`borne`), the rows hold the rest from the commit on (P10).
        `moved_to` is where the caller has put the file that could not be used.
        """
        if may_create and not self._is_there():
            claims = () if borne is None else tuple(
                vm.vm_id for vm in image.vms if vm.vm_id not in borne)
            return self._create(image, who, command, is_rebuilt=True, claims=claims,
                                needs_journal=needs_journal, moved_to=moved_to)
        with self._changing(who, command, allow_loss=True,
                            needs_journal=needs_journal) as commit:
            edit = commit.begin()
            if not edit.contents().accepted:
                raise Conflict(f'registry {self.path}: our programs did not create it; take '
                               "it over first with 'vgpu-admin accept'")
            if borne is not None:
                edit.claim_numbers(borne)
            if shown is not None:
                edit.take(shown)
            else:
                edit.make_like(image)
            replaced = commit.carry_out(edit, keep_copy=keep_copy, image=image)
            commit.note_origin(image)
        return replaced._replace(journal_problem=commit.journal_problem)

    def _create(self, image: Image, who: str, command: str, *, is_rebuilt: bool,
                needs_journal: bool = False, claims: Sequence[int] = (),
                moved_to: str = '') -> 'Replaced':
        """Create the registry, whole, and known to the journal before it is there."""
        from registry.creation import making
        with making(self.path, self._patience()) as path:
            with self._transaction(path=path,
                                   needs_journal=needs_journal) as (connection, problem):
                from registry.commit import Commit
                commit = Commit(connection, now=self._clock(), who=who, command=command,
                                journal_problem=problem, path=self.path)
                replaced = commit.create(image, is_rebuilt=is_rebuilt, claims=claims,
                                         moved_to=moved_to)
                commit.note_origin(image)
        return replaced._replace(journal_problem=problem)

    def _find_file(self) -> None:
        """Refuse a file that cannot be a registry; finish one whose maker was killed."""
        self._is_there()
        check_file(self.path)

    def _is_there(self) -> bool:
        is_there = os.path.lexists(self.path)
        if not is_there and os.path.lexists(self.path + NEW_SUFFIX):
            from registry.creation import finish
            return finish(self.path)
        return is_there

    @contextlib.contextmanager
    def _changing(self, who: str, command: str, allow_loss: bool, *, keep: bool = True,
                  needs_journal: bool = False) -> 'Iterator[Commit]':
        """One transaction over both files; what others did before is recorded first, as theirs."""
        self._find_file()
        if os.path.lexists(self.path + NEW_SUFFIX):
            from registry.creation import forget_leftover
            forget_leftover(self.path)
        with self._transaction(keep=lambda: keep,
                               needs_journal=needs_journal) as (connection, problem):
            from registry.commit import Commit
            from registry.journal import outside_edits
            contents, rows = read_rows(connection)
            is_loss = allow_loss and bool(outside_edits.find_missing(connection, contents))
            outside_edits.note_contents(
                connection, self._now(), contents,
                allow_loss=allow_loss or self._trusts_losses,
                **({'who': who, 'command': command} if is_loss else {}))
            yield Commit(connection, now=self._clock(), who=who, command=command,
                         journal_problem=problem, contents=contents, rows=rows,
                         disproven=self.disproven)

    def set_aside(self) -> str:
        """Rename a file that cannot be used, so that another can be made; give its new name."""
        from registry import kept_copies
        return kept_copies.set_aside(self.path, self._clock())

    def put_back(self, aside: str) -> None:
        """Give a file that was set aside its name again, where nothing has taken its place."""
        from registry import kept_copies
        kept_copies.put_back(aside, self.path)

    def check(self) -> 'FileCheck':
        """Read the whole file, and tell what is wrong with it, or odd; nothing is written.

        A rollback journal beside it is reported before the file is opened, which would use it up.
        """
        from registry.file_check import FileCheck, check_contents, describe_leftover
        check_file(self.path)
        leftover = describe_leftover(self.path)
        if leftover:
            return FileCheck((leftover,))
        with self._connected() as connection:
            with connection.reading():
                return check_contents(connection)

    @contextlib.contextmanager
    def _transaction(self, *, keep: Callable[[], bool] = lambda: True, path: str = '',
                     needs_journal: bool = False) -> Iterator[Tuple[Connection, str]]:
        """Write to the registry and the journal: all of the block, or nothing.

        Where the journal cannot be used, and is not needed, what the block writes to it goes to
        memory, and is lost: the second value says why.
        """
        path = path or self.path
        check_writable(path)
        patience = self._patience()
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    self._probe_journal()
                    begun = self._begin(stack, self.journal_path, path, patience, keep), ''
                    break
                except JournalUnavailable as error:
                    if needs_journal:
                        raise
                    problem = str(error)
                try:
                    begun = self._begin(stack, None, path, Patience(0.0), keep), problem
                    break
                except RegistryUnavailable as error:
                    # Both are locked: a program of ours is at work, and will be done soon.
                    if error.reason is not Reason.LOCKED or patience.is_over:
                        raise
            yield begun

    def _begin(self, stack: contextlib.ExitStack, journal_path: Optional[str], path: str,
               patience: Patience, keep: Callable[[], bool]) -> Connection:
        """Open both files, or the registry and a journal in memory, and begin to write."""
        with contextlib.ExitStack() as attempt:
            connection = attempt.enter_context(Connection(
                journal_path=journal_path, registry_path=path, patience=patience))
            if journal_path is None:
                migrate_journal(connection, self.journal_path)
            attempt.enter_context(connection.writing(keep=keep))
            stack.enter_context(attempt.pop_all())
        return connection

    def _probe_journal(self) -> None:
        """Find out whether the journal takes what an edit writes, or raise JournalUnavailable."""
        prepare_journal(self.journal_path)
        with self._waiting_for_journal(_JOURNAL_EDIT_SECONDS) as patience:
            with Connection(journal_path=self.journal_path, registry_path=None,
                            patience=patience) as connection:
                migrate_journal(connection, self.journal_path)
                probe_journal(connection)
                recall(connection, os.path.basename(self.path))
                check_numbers(connection)

    def _connected(self) -> Connection:
        return Connection(journal_path=None, registry_path=self.path, patience=self._patience())

    def _recall(self) -> Memory:
        """Read what the journal remembers of the file, before the file is read.

        The journal is a helper: whatever its state, the registry is read. A user who may not read
        the journal may still read the registry.
        """
        path = self.journal_path
        if not os.access(path, os.R_OK):
            return NO_MEMORY
        is_writable = os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
        try:
            with self._waiting_for_journal(_JOURNAL_SECONDS) as patience:
                with Connection(journal_path=path, registry_path=None, patience=patience,
                                is_journal_writable=is_writable) as connection:
                    return recall(connection, os.path.basename(self.path))
        except JournalUnavailable as error:
            return LOCKED_MEMORY if error.reason is Reason.LOCKED else NO_MEMORY

    def _read_largest(self) -> int:
        """The largest number ever given out, as far as the journal can tell."""
        try:
            check_file(self.journal_path, JournalUnavailable)
            with Connection(journal_path=self.journal_path, registry_path=None,
                            patience=self._patience()) as connection:
                return read_counter(connection, 'largest_number')
        except RegistryUnavailable:
            return 0

    @contextlib.contextmanager
    def _waiting_for_journal(self, most: float) -> Iterator[Patience]:
        """Wait for the journal, the longer the less it was waited for before in this edit."""
        most = min(self._timeout_seconds * _JOURNAL_SHARE, most)
        seconds = min(most, max(_JOURNAL_LEAST_SECONDS, most - self._waited_seconds))
        try:
            yield Patience(seconds, on_wait=self._tell_journal_wait,
                           tell_seconds=max(0.0, TELL_SECONDS - self._waited_seconds))
        except JournalUnavailable as error:
            if error.reason is Reason.LOCKED:
                self._waited_seconds += seconds
            raise
        self._waited_seconds = 0.0

    def _patience(self) -> Patience:
        return Patience(self._timeout_seconds, on_wait=self._tell_wait)

    def _tell_wait(self) -> None:
        """Say that something is waited for, and who has it."""
        from registry.sqlite.lock_holders import describe_holders
        is_journal = not describe_holders(self.path) and describe_holders(self.journal_path)
        self._say_wait(self.journal_path if is_journal else self.path)

    def _tell_journal_wait(self) -> None:
        if not self._has_told_journal:
            self._has_told_journal = True
            self._say_wait(self.journal_path)

    def _say_wait(self, path: str) -> None:
        if self._tell is not None:
            from registry.sqlite.lock_holders import describe_wait
            self._tell(describe_wait(path))

    def _now(self) -> str:
        return render_timestamp(self._clock())
