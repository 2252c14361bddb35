"""The journal beside the registry: history, receipts, replacements, who bears what, the lineage.

It is ours alone, so the shared file stays small and free for programs without a busy time-out.
Every call is one transaction that is on the disk when the call returns; `batch` makes one
transaction of several calls. One Journal belongs to one thread.
"""

import contextlib
import json
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

from registry.errors import JournalUnavailable, Reason
from registry.journal import generations, history, numbers, outside_edits, receipts
from registry.journal.cell_types import OPTIONAL_TEXT, fits
from registry.journal.clock_steps import (CLOCK_STEPPED, LEAST_SECONDS, ClockStep, note_step,
                                          read_steps)
from registry.journal.history import HistoryEntry
from registry.journal.numbers import Bearer, Orphan, Staged, Written
from registry.journal.past import Past, read_past
from registry.journal.receipts import Boot
from registry.schema import migrate_journal, prepare_journal
from registry.sqlite.connection import Connection, check_file
from registry.sqlite.lock_wait import Patience
from registry.sqlite.timestamps import render_timestamp
from registry.values import Contents, Origin


class Replacement(NamedTuple):
    """What a version before 0.2 was replacing when it was killed: the value before and after."""

    vm_uuid: str
    before: Optional[str]
    after: Optional[str]


class Journal:
    """Our own file, open for the life of its owner."""

    def __init__(self, path: str, *, timeout_seconds: float,
                 clock: Callable[[], float] = time.time,
                 on_wait: Optional[Callable[[], None]] = None,
                 is_read_only: bool = False) -> None:
        self.path = path
        self._is_read_only = is_read_only
        self._clock = clock
        self._in_batch = False
        self._patience = Patience(timeout_seconds, on_wait=on_wait)
        self._connection = Connection(journal_path=path, registry_path=None,
                                      patience=self._patience,
                                      is_journal_writable=not is_read_only)

    def open(self) -> None:
        """Open the file; create it, readable by its owner only, when it is missing.

        One that is only read is taken as it is.
        """
        if self._is_read_only:
            check_file(self.path, JournalUnavailable)
        else:
            prepare_journal(self.path)
        self._patience.renew()
        self._connection.open()
        try:
            migrate_journal(self._connection, self.path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> 'Journal':
        self.open()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Make one transaction of all calls in the block; an exception undoes them all."""
        if self._in_batch:
            yield
            return
        self._patience.renew()
        with self._connection.writing():
            self._in_batch = True
            try:
                yield
            finally:
                self._in_batch = False
            # However long the block took: the commit has its own time to wait.
            self._patience.renew()

    # Rows last seen.

    def note_contents(self, contents: Contents, *,
                      allow_loss: bool = False) -> Tuple[HistoryEntry, ...]:
        """Record what other programs changed since the rows were last seen.

        Raises RegistryUnavailable with reason `doubtful`, and changes nothing, when several rows
        were seen and there are none now. A reading older than an edit of ours records nothing.
        """
        with self.batch():
            return outside_edits.note_contents(self._connection, self._now(), contents,
                                               allow_loss=allow_loss)

    # Numbers.

    def largest_number(self) -> int:
        """Give the largest vm_id ever given out, or borne now without a row."""
        return numbers.largest_number(self._reader())

    def staged(self) -> Mapping[str, Staged]:
        """Read what we staged where, by UUID."""
        return numbers.read_staged(self._reader())

    def note_staged(self, vm_uuid: str, vm_id: int, value: str) -> None:
        """Record what we staged at a VM."""
        with self.batch():
            numbers.note_staged(self._connection, self._now(), vm_uuid.lower(), vm_id, value)

    def forget_staged(self, vm_uuid: str) -> None:
        """Forget what we staged at a VM."""
        with self.batch():
            numbers.forget_staged(self._connection, vm_uuid.lower())

    def written(self) -> Mapping[str, Written]:
        """Read what was about to be written and is not proven, by UUID."""
        return numbers.read_written(self._reader())

    def note_writing(self, written: Written) -> None:
        """Record what is about to be written to a VM, before XAPI is called."""
        with self.batch():
            numbers.note_writing(self._connection, self._now(), written)

    def forget_written(self, vm_uuid: str) -> None:
        """Forget a write: it is proven, or was never sent."""
        with self.batch():
            numbers.forget_written(self._connection, vm_uuid.lower())

    def claims(self) -> Mapping[int, int]:
        """Read the place in the sequence of each number that a row has."""
        return numbers.read_claims(self._reader())

    def note_claims(self, found: Iterable[int], gone: Iterable[int] = ()) -> None:
        """Record that rows have numbers from now on, in this order, and others no more."""
        with self.batch():
            for vm_id in gone:
                numbers.forget_claim(self._connection, vm_id)
            for vm_id in found:
                numbers.note_claim(self._connection, self._now(), vm_id)

    def removed(self) -> Mapping[str, str]:
        """Read our arguments that were removed from VMs, by UUID."""
        return numbers.read_removed(self._reader())

    def note_removed(self, vm_uuid: str, value: str) -> None:
        """Keep our arguments that were removed from a VM: they may come back."""
        with self.batch():
            numbers.note_removed(self._connection, self._now(), vm_uuid.lower(), value)

    def forget_removed(self, vm_uuid: str) -> None:
        """Forget what was removed from a VM: it is back."""
        with self.batch():
            numbers.forget_removed(self._connection, vm_uuid.lower())

    def bearers(self) -> Mapping[str, Bearer]:
        """Read who bears a number without a row, by UUID."""
        return numbers.read_bearers(self._reader())

    def note_bearers(self, found: Iterable[Bearer], gone: Iterable[str] = ()) -> None:
        """Record bearers; sequence and time are ours to set, and stay while the number does."""
        with self.batch():
            numbers.note_bearers(self._connection, self._now(), found, gone)

    def orphans(self) -> Mapping[str, Orphan]:
        """Read which VMs lost their row and may still carry our span, by UUID."""
        return numbers.read_orphans(self._reader())

    def note_orphan(self, vm_uuid: str, vm_id: int) -> None:
        """Note that a VM may still carry our span and has no row."""
        with self.batch():
            numbers.note_orphan(self._connection, self._now(), vm_uuid.lower(), vm_id)

    def forget_orphans(self) -> None:
        """Forget all orphans: they lost their rows in another resource pool."""
        with self.batch():
            for vm_uuid in self.orphans():
                numbers.forget_orphan(self._connection, vm_uuid)

    def forget_orphan(self, vm_uuid: str) -> None:
        """Forget an orphan: its span is gone."""
        with self.batch():
            numbers.forget_orphan(self._connection, vm_uuid.lower())

    # What a version before 0.2 left of its replacements.

    def end_replacement(self, vm_uuid: str) -> None:
        """Forget a replacement: nothing is missing any more."""
        with self.batch():
            self._connection.execute('DELETE FROM replacements WHERE vm_uuid = ?', (vm_uuid,))

    def replacements(self) -> Tuple[Replacement, ...]:
        """Read what was under way, the oldest first; what is none is left out."""
        rows = self._reader().execute(
            'SELECT vm_uuid, before_json, after_json FROM replacements ORDER BY begun_at, vm_uuid')
        return tuple(filter(None, (_parse_replacement(*row) for row in rows)))

    # History and receipts.

    def add_history(self, who: str, command: str, what: str, vm_uuid: Optional[str] = None,
                    before: Any = None, after: Any = None) -> HistoryEntry:
        """Record a change; `before` and `after` are text, or anything that JSON can say."""
        with self.batch():
            return history.add_entry(self._connection, self._now(), who, command, what,
                                     vm_uuid=vm_uuid, before=before, after=after)

    def list_history(self, vm_uuid: Optional[str] = None, limit: int = 100,
                     **only: Any) -> Tuple[HistoryEntry, ...]:
        """List changes, the newest first; `only` are the keywords of `history.list_entries`."""
        return history.list_entries(self._reader(), vm_uuid, limit, **only)

    def past(self, source: str, at: Optional[str] = None) -> Past:
        """Read what the registry's file of that name said at a time, or when last accepted."""
        with self._reading():
            return read_past(self._connection, source, at)

    def waiting_edits(self) -> int:
        """Count the edits that no generation has: what the mirror does not know yet."""
        return generations.count_waiting(self._reader())

    def open_boot(self, boot: Boot) -> int:
        """Record a boot as open and give its number; the id in the given value is ignored."""
        with self.batch():
            return receipts.add_boot(
                self._connection, boot._replace(opened_at=boot.opened_at or self._now()))

    def write_boot(self, number: int, boot: Boot) -> int:
        """Write what is known of an open boot so far, and give its number from now on."""
        with self.batch():
            return receipts.write_boot(self._connection, number, boot)

    def open_boots(self) -> Tuple[Boot, ...]:
        """List boots without a verdict, the oldest first."""
        return receipts.list_open_boots(self._reader())

    def last_boot(self, vm_uuid: str) -> Optional[Boot]:
        """Find the newest boot of a VM, open or closed."""
        boots = self.list_boots(vm_uuid, limit=1)
        return boots[0] if boots else None

    def last_boots(self) -> Mapping[str, Boot]:
        """Read the newest boot of each VM that came to a domain, by UUID."""
        return {boot.vm_uuid: boot for boot in receipts.list_last_boots(self._reader())}

    def list_boots(self, vm_uuid: Optional[str] = None, limit: int = 100) -> Tuple[Boot, ...]:
        """List boots, the newest first."""
        return receipts.list_boots(self._reader(), vm_uuid, limit)

    def count_verdicts(self, since: str = '') -> Mapping[str, int]:
        """Count boots closed at or after a time (a timestamp's text), by verdict."""
        return receipts.count_verdicts(self._reader(), since)

    # The clock.

    def note_clock_step(self, step: ClockStep) -> None:
        """Record that the clock was set; by a day or more, times until then were wrong."""
        with self.batch():
            if abs(step.seconds) >= LEAST_SECONDS:
                note_step(self._connection, step)
            history.add_entry(self._connection, step.after, history.DAEMON, 'clock',
                              CLOCK_STEPPED, before=f'{step.before}Z', after=f'{step.after}Z')

    def clock_steps(self) -> Tuple[ClockStep, ...]:
        """Read by how much the clock was set, and when, the oldest first."""
        return read_steps(self._reader())

    # The lineage.

    def lineage(self) -> Tuple[str, ...]:
        """Read the generations that the registry has been at, the newest last."""
        return tuple(item.generation for item in generations.list_stations(self._reader()))

    def generation(self) -> Optional[Tuple[str, str]]:
        """Read the newest generation, and the digest of the contents at it."""
        stations = generations.list_stations(self._reader())
        return (stations[-1].generation, stations[-1].digest) if stations else None

    def is_blank(self) -> bool:
        """Tell whether it remembers no registry: neither rows nor a generation of one."""
        return not (self.lineage() or outside_edits.has_seen_any(self._reader()))

    def has_own_generation(self) -> bool:
        """Tell whether the newest generation was made here, so that it may be nowhere else."""
        stations = generations.list_stations(self._reader())
        return bool(stations) and stations[-1].is_own

    def note_generation(self, generation: str, digest: str, *, is_own: bool = True,
                        line: Sequence[str] = ()) -> None:
        """Record that the registry is at a generation, before anything of it is mirrored."""
        with self.batch():
            generations.note_generation(self._connection, self._now(), generation, digest,
                                        is_own=is_own, line=line)

    def note_origin(self, origin: Origin) -> None:
        """Record that the registry is at a generation of the mirror of its resource pool."""
        with self.batch():
            generations.note_origin(self._connection, self._now(), origin)

    def has_moved(self, resource_pool: str) -> bool:
        """Tell whether the lineage is that of another resource pool: it says nothing here."""
        return generations.read_resource_pool(self._reader()) not in (None, resource_pool)

    def note_resource_pool(self, resource_pool: str, generation: str, digest: str) -> None:
        """Record whose the lineage is; where it was another's, it begins with this generation,
        at which no registry ever was."""
        if generations.read_resource_pool(self._reader()) == resource_pool:
            return
        with self.batch():
            if generations.take_resource_pool(self._connection, resource_pool):
                self.note_generation(generation, digest, is_own=False)

    # Small texts.

    def read_note(self, key: str) -> Optional[str]:
        """Read a small text, or None."""
        rows = self._reader().execute('SELECT value FROM notes WHERE key = ?', (key,))
        return rows[0][0] if rows else None

    def write_note(self, key: str, value: str) -> None:
        """Keep a small text under a key."""
        with self.batch():
            self._connection.execute('INSERT OR REPLACE INTO notes (key, value) VALUES (?, ?)',
                                     (key, value))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """See one state of the journal for the length of the block."""
        self._patience.renew()
        with self._connection.reading('main'):
            yield

    def _reader(self) -> Connection:
        self._patience.renew()
        return self._connection

    def _now(self) -> str:
        return render_timestamp(self._clock())


def open_to_read(path: str, *, timeout_seconds: float,
                 on_wait: Callable[[], None]) -> Tuple[Journal, str]:
    """Open a journal, also on a disk that is mounted read-only; beside it why it is not written.

    Raises JournalUnavailable.
    """
    journal, problem = Journal(path, timeout_seconds=timeout_seconds, on_wait=on_wait), ''
    try:
        journal.open()
    except JournalUnavailable as error:
        if error.reason is not Reason.UNWRITABLE:
            raise
        journal, problem = Journal(path, timeout_seconds=timeout_seconds, on_wait=on_wait,
                                   is_read_only=True), str(error)
        journal.open()
    return journal, problem


def _parse_replacement(vm_uuid: Any, before: Any, after: Any) -> Optional[Replacement]:
    try:
        found = (vm_uuid, json.loads(before), json.loads(after))
    except (ValueError, RecursionError):
        return None
    return Replacement(*found) if fits(found, (str, OPTIONAL_TEXT, OPTIONAL_TEXT)) else None
