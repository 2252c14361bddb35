"""The mirror of the registry in XAPI's database: who follows whom, and when it is made anew.

On the master the registry is mirrored (`mirror_push.py`); on a member the mirror keeps the copy
here current. Which of the two is newer is judged whenever either has changed, before anything is
staged (`mirror_judge.py`). A generation is in the journal before anything of it is in XAPI.

Main thread only. Nothing here waits for XAPI, and 250 ms at most for the registry.
"""

import json
import os
from typing import Any, Callable, Dict, Optional, Tuple

from registry.errors import JournalUnavailable, Reason, RegistryError, RegistryUnavailable
from registry.schema import MIRROR_NOTE
from registry.values import Pool
from watcher.books import Books
from watcher.config import MirrorSettings
from watcher.inventory import Inventory
from watcher.logs import get_logger
from watcher.mirror_entries import (LINE_LENGTH, MAX_GENERATION, Generation, MirrorInvalid,
                                    PoolEntry, VmEntry, digest_contents, parse_generation,
                                    row_of)
from watcher.mirror_judge import Judgement, judge, list_kept_rows, read_pool_entry
from watcher.mirror_push import Push, Submit, Target
from watcher.mirror_rebuild import Local, Rebuilder, Result, show_vm
from watcher.mirror_writes import MirrorWritten
from watcher.records import PoolRecord, VmRecord
from watcher.roles import Role

# Whom the history names for what somebody wrote into other_config.
BY_HAND_WHO, BY_HAND_COMMAND = 'xapi', 'mirror'
_RETRY_SECONDS = 2.0
_NOTE_SECONDS = 2.0
# Staging goes first for so long; many VMs that wait must not keep edits from being mirrored.
_DEFER_SECONDS = 3.0
# An edit on a member is undone, but not in the midst of a change of master: its host may be about
# to become the master, and then the edit counts.
_GRACE_SECONDS = 10.0
# The first answer has the pool's record, unless XAPI does not tell it.
_POOL_SECONDS = 2.0

(OFF, WAITING, PUSHING, MIRRORED, FOLLOWING, OLDER, INCOMPLETE, UNDECIDED, NOT_ACCEPTED,
 NO_REGISTRY) = ('off', 'waiting', 'pushing', 'mirrored', 'following', 'older', 'incomplete',
                 'undecided', 'not_accepted', 'no_registry')


class Mirroring:
    """Judges, follows, and has the registry mirrored."""

    def __init__(self, books: Books, inventory: Inventory, *, settings: MirrorSettings,
                 submit: Submit, poll: Callable[[], None],
                 write: Callable[[Callable[..., None]], None],
                 look: Callable[[Tuple[str, ...]], None]) -> None:
        self._books = books
        self._inventory = inventory
        self._rebuilder = Rebuilder(books, inventory, poll)
        self._write = write
        self._look = look
        self.settings = settings
        self.push = Push(books, inventory, submit=submit, take_edit=self._take_edit,
                         note_orphan=self._note_orphan)
        self.state, self.generation = WAITING, ''
        self.is_overtaken = False
        """The mirror is newer and cannot be taken over: nothing is staged from the copy here."""
        self._must_judge = True
        self._judge_at = 0.0
        self._judged: Any = None
        self._pushed_at = 0.0
        self._is_held_up = False
        self._has_led = False
        self._lineage: Tuple[Tuple[str, ...], str, bool] = ((), '', False)
        """What the journal said last: generations, digest of the newest, whether that is ours."""
        self._edited_at: Optional[float] = None
        self._waiting_since: Optional[float] = None
        self._told: Dict[str, str] = {}
        self._noted: Tuple[float, Tuple[Any, ...]] = (-_NOTE_SECONDS, ())

    # What is told.

    def begin_session(self) -> None:
        """A new session: all is judged anew."""
        self.push.restart()
        self.is_overtaken, self._must_judge, self._judge_at = False, True, 0.0
        self._has_led, self._edited_at, self._waiting_since = False, None, None
        self._judged, self._rebuilder.incomplete_since = None, None
        self.state = WAITING

    def change_settings(self, settings: MirrorSettings) -> None:
        """Take a configuration that was read again."""
        if settings != self.settings:
            self.settings = settings
            self.note_contents()

    def note_contents(self) -> None:
        """The registry has changed, or came, or went."""
        self._must_judge, self._judge_at = True, 0.0

    def note_pool(self, pool: PoolRecord) -> None:
        """The resource pool's record."""
        self.push.note_pool(pool)
        if pool.mirror != self._judged:
            self._judged = pool.mirror
            self._must_judge = True

    def note_vm(self, vm: VmRecord, before: Optional[VmRecord]) -> None:
        """A VM's record."""
        if before is None or (before.mirror, before.uuid, before.kind) != (
                vm.mirror, vm.uuid, vm.kind):
            self.push.note(vm)
            if self._rebuilder.incomplete_since is not None:
                self._must_judge = True

    def take(self, written: MirrorWritten, now: float) -> None:
        """Take what became of a write."""
        self.push.take(written, now)

    def find_due(self, role: Optional[Role], may_write: bool) -> Optional[float]:
        """When `attend` has something to do."""
        times = []
        if self.settings.enabled and self.push.pool is not None:
            if self._must_judge:
                times.append(self._judge_at)
            if role is not None and role.is_writer and may_write \
                    and self.push.next_due is not None:
                times.append(self._pushed_at + _DEFER_SECONDS if self._is_held_up
                             else self.push.next_due)
        return min(times, default=None)

    # What is done.

    def attend(self, role: Optional[Role], now: float, *, may_write: bool, is_locked: bool,
               jobs: int, is_staging: bool) -> None:
        """Judge when something has changed; write what is to be written, after staging."""
        if role is None or not self.settings.enabled or self.push.pool is None:
            self.state, self.is_overtaken = OFF if not self.settings.enabled else WAITING, False
            self._tell_waiting(role, now)
            self._leave_note(role, now)
            return
        self._judge(role, now, is_locked)
        self._is_held_up = is_staging and now - self._pushed_at < _DEFER_SECONDS
        if role.is_writer and may_write and not self._is_held_up:
            self.push.pump(now, jobs)
        self._tell_pushed(now)
        self._leave_note(role, now)

    def _judge(self, role: Role, now: float, is_locked: bool) -> None:
        """At most a few times: after a rebuild it is judged what that has led to."""
        for _ in range(3):
            if not self._must_judge or now < self._judge_at:
                return
            self._must_judge = False
            try:
                self._decide(role, now, is_locked)
                self._told.pop('problem', None)
            except RegistryError as error:
                self._tell_problem(error)
                self._judge_later(now)

    def _judge_later(self, now: float) -> None:
        self._must_judge, self._judge_at = True, now + _RETRY_SECONDS

    def _decide(self, role: Role, now: float, is_locked: bool) -> None:
        self.is_overtaken = False
        pool, books = self.push.pool, self._books
        found = read_pool_entry(pool.mirror) if pool is not None else None
        if pool is None or found is None:
            return
        mirror = found.entry
        if mirror is not None and mirror.resource_pool != pool.uuid:
            mirror = None
        is_master = role.is_writer
        if not is_master and not role.is_member:
            self._aim(None, WAITING)
        elif found.is_too_new:
            self._aim(None, OFF)
            if self._is_news('off', 'format'):
                get_logger().warning('mirror.unavailable',
                                     reason='the mirror was written by a newer version')
        elif not books.is_available:
            self._aim(None, NO_REGISTRY)
            if mirror is not None and self._is_wiped():
                self._rebuild(mirror, None, role, now, is_locked)
        elif not books.is_accepted:
            self._aim(None, NOT_ACCEPTED)
        elif not books.is_journal_open:
            self._judge_later(now)
        else:
            self._keep_lineage()
            local = self._read_local(mirror)
            judgement = judge(mirror, local.lineage, local.noted_digest, local.digest)
            if mirror is not None and judgement is Judgement.NEWER \
                    and local.digest == mirror.digest:
                # Both say the same: only the line is another.
                books.journal.note_generation(mirror.generation.text, local.digest, is_own=False,
                                              line=mirror.line)
                local, judgement = self._read_local(mirror), Judgement.SAME
            (self._lead if is_master else self._follow)(
                judgement, mirror, local, role, now, is_locked)

    def _keep_lineage(self) -> None:
        """A journal that was lost while we ran: what we know of the lineage goes into the new."""
        journal = self._books.journal
        noted = journal.generation()
        if noted is not None:
            self._lineage = journal.lineage(), noted[1], journal.has_own_generation()
        elif self._lineage[0]:
            known, digest, is_own = self._lineage
            journal.note_generation(known[-1], digest, is_own=is_own, line=known[:-1])

    def _lead(self, judgement: Judgement, mirror: Optional[PoolEntry], local: Local, role: Role,
              now: float, is_locked: bool) -> None:
        """On the master."""
        if judgement is Judgement.NEWER and mirror is not None:
            self.is_overtaken = True
            self._aim(None, INCOMPLETE)
            self.is_overtaken = not self._rebuild(mirror, local, role, now, is_locked)
            return
        if judgement is Judgement.UNDECIDED and mirror is not None:
            # The file is the registry of record: it is staged from, and people decide the rest.
            self._aim(None, UNDECIDED)
            self._judge_later(now)
            if self._is_news('undecided', mirror.generation.text):
                get_logger().error('mirror.undecided', generation=mirror.generation.text,
                                   vms=len(local.rows), found=mirror.vms)
            return
        # What we wrote in this session is on its way, and shows what stood there before.
        is_echo = judgement is Judgement.OLDER and self._has_led
        if judgement is Judgement.OLDER and mirror is not None and not is_echo:
            get_logger().warning('mirror.older', generation=local.lineage[-1],
                                 found=mirror.generation.text)
        # One that was taken over is made our own once: whoever was master before may have gone on
        # from it, unseen, and must find something newer when it comes back.
        is_same = self._books.journal.has_own_generation() and (
            local.noted_digest == local.digest) and (
            is_echo or judgement in (Judgement.SAME, Judgement.NO_MIRROR))
        if not is_same:
            self._advance(mirror, local)
            local = local._replace(lineage=tuple(self._books.journal.lineage()))
        self._has_led = True
        generation = parse_generation(local.lineage[-1])
        largest = max([self._books.journal.largest_number()]
                      + [row.vm_id for row in local.rows.values()])
        if self.push.target is None or self.push.target.generation != generation:
            self._pushed_at = now
        self._aim(Target(generation, local.rows, PoolEntry(
            self.push.pool.uuid if self.push.pool else '', generation, len(local.rows),
            local.digest, largest, local.pools, line=local.lineage[-LINE_LENGTH - 1:-1])),
            PUSHING)

    def _advance(self, mirror: Optional[PoolEntry], local: Local) -> None:
        """A new generation, in the journal before anything of it is in XAPI."""
        numbers = [mirror.generation.number] if mirror is not None else []
        try:
            numbers += [parse_generation(text).number for text in local.lineage[-1:]]
        except MirrorInvalid:
            pass  # somebody wrote into the journal: the line begins anew
        number = min(max([0] + numbers) + 1, MAX_GENERATION)
        generation = Generation(number, os.urandom(4).hex())
        self._books.journal.note_generation(generation.text, local.digest)

    def _follow(self, judgement: Judgement, mirror: Optional[PoolEntry], local: Local,
                role: Role, now: float, is_locked: bool) -> None:
        """On a member."""
        self._aim(None, FOLLOWING)
        self.generation = local.lineage[-1] if local.lineage else ''
        if judgement is not Judgement.EDITED:
            self._edited_at = None
        elif self._edited_at is None:
            self._edited_at = now
        if mirror is None or judgement is Judgement.SAME:
            self._rebuilder.incomplete_since = None
        elif self._edited_at is not None and now - self._edited_at < _GRACE_SECONDS:
            self._judge_later(now)
        elif judgement is Judgement.OLDER:
            self.state = OLDER
            if self._is_news('older', mirror.generation.text):
                get_logger().warning('mirror.older', generation=local.lineage[-1],
                                     found=mirror.generation.text)
        else:
            self._rebuild(mirror, local, role, now, is_locked)

    def _rebuild(self, mirror: PoolEntry, local: Optional[Local], role: Role, now: float,
                 is_locked: bool) -> bool:
        """Make the registry anew from the mirror; False when that cannot be done now."""
        result = self._rebuilder.rebuild(mirror, local, is_master=role.is_writer,
                                         is_locked=is_locked, now=now)
        if result is Result.DONE:
            self.generation = mirror.generation.text
            self._must_judge = True
            return True
        if result is Result.INCOMPLETE:
            self.state = INCOMPLETE
        self._judge_later(now)
        return False

    def _is_wiped(self) -> bool:
        """Neither registry nor journal, and there never was one since this daemon began.

        A file that somebody deleted is another matter (P17).
        """
        books = self._books
        return not (books.was_read or books.is_journal_open or os.path.lexists(books.path)
                    or os.path.lexists(books.journal.path))

    def _read_local(self, mirror: Optional[PoolEntry]) -> Local:
        journal, contents = self._books.journal, self._books.contents
        if contents is None:
            raise JournalUnavailable('the registry went away meanwhile', reason=Reason.MISSING)
        rows = {vm.vm_uuid: row_of(vm) for vm in contents.vms}
        if self._books.faulty and self.push.pool is not None:
            rows.update(list_kept_rows(self._inventory.vms, self.push.pool.uuid,
                                       self._books.faulty, rows))
        pools = tuple(Pool(*pool[:4]) for pool in contents.pools)
        noted = journal.generation()
        return Local(tuple(journal.lineage()), noted[1] if noted else None, rows,
                     digest_contents(rows.values(), pools), pools)

    def _aim(self, target: Optional[Target], state: str) -> None:
        self.state = state
        self.push.aim(target)
        if target is not None:
            self.generation = target.generation.text

    def _take_edit(self, vm: VmRecord, entry: VmEntry) -> Optional[str]:
        """Somebody wrote an assignment into other_config: take it, or say why not."""
        if not self.settings.accept_edits:
            return 'not_accepted'
        others = self._inventory.carriers_of(entry.vm_id) - {vm.ref}
        taken = {entry.vm_id: 'VM %s, which carries it' % other.uuid
                 for other in map(self._inventory.find, others) if other is not None}
        try:
            with self._books.registry.edit(who=BY_HAND_WHO, command=BY_HAND_COMMAND,
                                           needs_journal=True) as edit:
                before, after = edit.change_vm(vm.uuid, pool_id=entry.pool_id,
                                               priority=entry.priority, vm_id=entry.vm_id,
                                               taken=taken)
        except RegistryUnavailable:
            return None
        except RegistryError as error:
            return str(error)
        get_logger().info('mirror.edit_taken', vm_uuid=vm.uuid, vm_name=vm.name,
                          before=show_vm(before), after=show_vm(after))
        return ''

    def _note_orphan(self, vm: VmRecord, vm_id: int) -> None:
        """Another host's daemon staged it, and its row is gone: so does what it carries (P12)."""
        self._books.note_orphan(vm.uuid)
        self._write(lambda journal: journal.note_orphan(vm.uuid, vm_id))
        self._look((vm.uuid,))

    # What is said.

    def _tell_pushed(self, now: float) -> None:
        if self.state == PUSHING and self.push.is_mirrored:
            self.state = MIRRORED
            if not self.push.writes:
                return
            get_logger().info('mirror.written', generation=self.generation,
                              vms=len(self.push.target.rows) if self.push.target else 0,
                              writes=self.push.writes,
                              elapsed_ms=round((now - self._pushed_at) * 1000))
            self.push.writes = 0

    def _tell_waiting(self, role: Optional[Role], now: float) -> None:
        """XAPI answers, and does not tell of its resource pool, or not in a way to go by."""
        if role is None or not role.is_writer or not self.settings.enabled:
            return
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > _POOL_SECONDS and self._is_news('pool', 'missing'):
            get_logger().warning('mirror.unavailable',
                                 reason='XAPI does not tell of its resource pool')

    def _is_news(self, key: str, what: str) -> bool:
        is_news = self._told.get(key) != what
        self._told[key] = what
        return is_news

    def _tell_problem(self, error: RegistryError) -> None:
        if self._is_news('problem', str(error)):
            get_logger().warning('mirror.waiting', error=str(error))

    def _leave_note(self, role: Optional[Role], now: float) -> None:
        """Leave word for vgpu-admin of how far the mirror is."""
        if self.push.refused:
            self.state = OFF
        facts = (self.state, self.generation, self.push.waiting, role.master if role else '')
        noted_at, noted = self._noted
        if facts == noted or (facts[:2] == noted[:2] and now - noted_at < _NOTE_SECONDS):
            return
        self._noted = (now, facts)
        text = json.dumps({'state': self.state, 'generation': self.generation,
                           'waiting': self.push.waiting, 'master': facts[3],
                           'is_master': bool(role and role.is_writer),
                           'reason': self.push.refused})
        if self._books.is_journal_open:
            self._write(lambda journal: journal.write_note(MIRROR_NOTE, text))
