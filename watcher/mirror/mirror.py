"""Keeps the registry and its mirror in XAPI's database in step, and rebuilds one from the other.

On the master the registry is mirrored (`push.py`); on a member the mirror keeps the copy
here current. Which of the two is newer is judged whenever either has changed, before anything is
staged (`comparison.py`). A generation is in the journal before anything of it is in XAPI.

Nothing here waits for XAPI, and 250 ms at most for the registry.
"""

import math
import os
from typing import Any, Callable, Optional, Tuple, Union

from registry.errors import JournalUnavailable, Reason, RegistryError
from watcher.config.settings import MirrorSettings
from watcher.mirror.comparison import Judgement, judge
from watcher.mirror.entries import (LINE_LENGTH, MAX_GENERATION, Generation, MirrorContent,
                                    PoolEntry, VmEntry, is_leap, parse_generation)
from watcher.mirror.manual_edits import take_edit
from watcher.mirror.notices import MirrorNotices
from watcher.mirror.push import Push, Submit
from watcher.mirror.reading import Reader
from watcher.mirror.rebuild import Local, Rebuilder, RebuildResult
from watcher.mirror.witnesses import HostsListed, Testimony, Witnesses
from watcher.state.inventory import Inventory
from watcher.state.notes import MirrorNote
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.vm.record import PoolRecord, VmRecord
from watcher.xapi.role import Role

_RETRY_SECONDS = 2.0
# Staging goes first for so long; many VMs that wait must not keep edits from being mirrored.
_DEFER_SECONDS = 3.0
# An edit on a member is undone, but not in the midst of a change of master: its host may be about
# to become the master, and then the edit counts.
_GRACE_SECONDS = 10.0
_ASK_SECONDS = 0.25
_NO_LINEAGE = 'the journal does not tell at which generations the registry has been'

(OFF, WAITING, PUSHING, MIRRORED, FOLLOWING, OLDER, INCOMPLETE, UNDECIDED, NOT_ACCEPTED,
 NO_REGISTRY) = ('off', 'waiting', 'pushing', 'mirrored', 'following', 'older', 'incomplete',
                 'undecided', 'not_accepted', 'no_registry')


class Mirroring:
    """Judges, follows, and has the registry mirrored."""

    def __init__(self, view: RegistryView, inventory: Inventory, permit: WritePermit, *,
                 settings: MirrorSettings, submit: Submit, poll: Callable[[], None],
                 write: Callable[[Callable[..., None]], None],
                 review: Callable[[Tuple[str, ...]], None],
                 witnesses: Optional[Witnesses] = None) -> None:
        self._view = view
        self._inventory = inventory
        self._permit = permit
        self._rebuilder = Rebuilder(view, inventory, poll)
        self._reader = Reader(view, inventory)
        self._witnesses = witnesses
        self._write = write
        self._review = review
        self.settings = settings
        self.push = Push(view, inventory, submit=submit, take_edit=self._take_edit,
                         note_orphan=self._note_orphan)
        self.state, self.generation = WAITING, ''
        self._must_judge = True
        self._judge_at = 0.0
        self._judged: Any = None
        self._rival: Optional[PoolEntry] = None
        """The newest entry of the pool that does not count: no known key has signed it."""
        self._pushed_at = 0.0
        self._is_held_up = False
        self._has_led = False
        self._stood = math.inf
        """The number of the generation at which the mirror of this master stood last."""
        self._edited_at: Optional[float] = None
        self._notices = MirrorNotices(view, write)
        self._problem = ''
        """Why registry or journal could not be judged, or made like the mirror."""

    # What is told.

    def begin_session(self) -> None:
        """A new session: everything is judged again."""
        self.push.restart()
        if self._witnesses is not None:
            self._witnesses.restart()
        self._must_judge, self._judge_at = True, 0.0
        self._has_led, self._edited_at = False, None
        self._notices.restart()
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

    def hear(self, message: Union[HostsListed, Testimony]) -> None:
        """Take what other hosts remember of the mirror."""
        if self._witnesses is not None:
            self._witnesses.hear(message)
            self._must_judge, self._judge_at = True, 0.0

    def find_due(self) -> Optional[float]:
        """When `attend` has something to do."""
        times = []
        if self.settings.enabled and self.push.seen.pool is not None:
            if self._must_judge:
                times.append(self._judge_at)
            if self._permit.may_write and self.push.next_due is not None:
                times.append(self._pushed_at + _DEFER_SECONDS if self._is_held_up
                             else self.push.next_due)
        return min(times, default=None)

    def attend(self, now: float, *, jobs: int, is_staging: bool) -> None:
        """Judge when something has changed; write what is to be written, after staging."""
        role, may_write = self._permit.role, self._permit.may_write
        if role is None or not self.settings.enabled or self.push.seen.pool is None:
            self.state = OFF if not self.settings.enabled else WAITING
            self._permit.is_overtaken = False
            if self.settings.enabled and role is not None and role.is_writer:
                self._notices.tell_waiting(now)
            self._leave_note(role, now)
            return
        if self._reader.has_changed(self.settings.key_file, now):
            self._must_judge = True
        self._judge(role, now)
        self._is_held_up = is_staging and now - self._pushed_at < _DEFER_SECONDS
        # A rebuild just now has VMs to stage first.
        if may_write and self._permit.may_write and not self._is_held_up:
            self.push.pump(now, jobs)
        self._tell_pushed(now)
        self._leave_note(role, now)

    def _judge(self, role: Role, now: float) -> None:
        """At most a few times: after a rebuild it is judged what that has led to."""
        for _ in range(3):
            if not self._must_judge or now < self._judge_at:
                return
            self._must_judge = False
            try:
                self._decide(role, now)
                self._problem = ''
                self._notices.end_problem()
            except RegistryError as error:
                self._wait(error, now)

    def _judge_later(self, now: float) -> None:
        self._must_judge, self._judge_at = True, now + _RETRY_SECONDS

    def _decide(self, role: Role, now: float) -> None:
        pool, view = self.push.seen.pool, self._view
        assert pool is not None, 'attend has looked'
        reading = self._reader.read_mirror(pool, self.settings.key_file)
        mirror, self._rival = reading.mirror, reading.rival
        self.push.judge_by(reading.trust)
        if not role.is_writer and not role.is_member:
            self._aim(None, WAITING)
        elif reading.is_too_new:
            self._aim(None, OFF)
            self._notices.tell_unavailable('the mirror was written by a newer version', now)
        elif not view.is_available:
            self._aim(None, NO_REGISTRY)
            if self._reader.is_wiped:
                self._recreate(mirror, reading.is_signed, role, now)
            elif view.journal_problem:
                self._judge_later(now)
        elif not view.is_accepted:
            self._aim(None, NOT_ACCEPTED)
        elif not view.is_journal_open:
            raise JournalUnavailable(view.journal_problem or 'closed', reason=Reason.UNREADABLE)
        else:
            self._reader.keep_lineage()
            local = self._read_local()
            if mirror is not None and local.lineage and is_leap(
                    mirror.generation, local.number, reading.is_signed):
                self._rival, mirror = mirror, None
            judgement = judge(mirror, local.lineage, local.noted_digest, local.digest,
                              local.number if self._has_led else 0)
            if mirror is not None and judgement is Judgement.SAME \
                    and mirror.generation.text not in local.lineage:  # only the line is another
                view.journal.note_generation(mirror.generation.text, local.digest, is_own=False,
                                             line=mirror.line)
                local = self._read_local()
            (self._lead if role.is_writer else self._follow)(judgement, mirror, local, role, now)

    def _recreate(self, mirror: Optional[PoolEntry], is_signed: bool, role: Role,
                  now: float) -> None:
        """A host without registry and journal: from a complete, valid mirror only, and on the
        master from one that no other host knows better."""
        if mirror is None:
            if self._rival is not None:
                self._leave_undecided(self._rival, role, 0, now)
            return
        doubt: Optional[str] = ''
        if role.is_writer and self._witnesses is not None:
            doubt = self._witnesses.weigh(mirror, role.host, is_signed, now)
        if doubt is None:
            self._must_judge, self._judge_at = True, now + _ASK_SECONDS
        elif doubt:
            self._leave_undecided(mirror, role, 0, now, doubt)
        else:
            self._rebuild(mirror, None, role, now)

    def _lead(self, judgement: Judgement, mirror: Optional[PoolEntry], local: Local, role: Role,
              now: float) -> None:
        """On the master."""
        if judgement is Judgement.NEWER and mirror is not None:
            self._aim(None, INCOMPLETE)
            self._permit.is_overtaken = not self._rebuild(mirror, local, role, now)
            return
        # The file is the registry of record: it is staged from, and people decide the rest.
        if judgement is Judgement.UNDECIDED and mirror is not None:
            self._leave_undecided(mirror, role, len(local.rows), now, _NO_LINEAGE)
            return
        if self._is_ahead(self._rival, local) and self._rival is not None:
            self._leave_undecided(self._rival, role, len(local.rows), now)
            return
        # What we wrote in this session is on its way, and shows what stood there before.
        is_echo = judgement is Judgement.OLDER and self._has_led
        if not self._has_led:
            before, self._stood = self._stood, mirror.generation.number if mirror else math.inf
            # Where it stands as before, XAPI went away in the midst of a generation.
            if judgement is Judgement.OLDER and mirror is not None and self._stood < before:
                self._notices.tell_older(local.lineage[-1], mirror.generation.text, now,
                                         is_master=True)
        # One that was taken over is made our own once: the former master may have gone on
        # from it, unseen, and must find something newer when it comes back.
        is_same = self._view.journal.has_own_generation() and (
            local.noted_digest == local.digest) and (
            is_echo or judgement in (Judgement.SAME, Judgement.NO_MIRROR))
        if not is_same:
            self._advance(mirror, local)
            local = local._replace(lineage=tuple(self._view.journal.lineage()))
        self._has_led = True
        generation = parse_generation(local.lineage[-1])
        largest = max([self._view.journal.largest_number()]
                      + [row.vm_id for row in local.rows.values()])
        if self.push.target is None or self.push.target.generation != generation:
            self._pushed_at = now
        self._aim(MirrorContent(generation, local.rows, PoolEntry(
            self.push.seen.pool.uuid if self.push.seen.pool else '', generation, len(local.rows),
            local.digest, largest, local.pools, line=local.lineage[-LINE_LENGTH - 1:-1])),
            PUSHING)

    def _is_ahead(self, rival: Optional[PoolEntry], local: Local) -> bool:
        """Whether an entry that does not count may tell of what the registry here never was at."""
        return (rival is not None and rival.generation.number > local.number
                and rival.generation.text != self._reader.keeper.memory.refused)

    def _leave_undecided(self, entry: PoolEntry, role: Role, vms: int, now: float,
                         reason: str = 'not signed by a key that is known here') -> None:
        self._aim(None, UNDECIDED)
        self._judge_later(now)
        self._notices.tell_undecided(entry, vms, reason, now, is_master=role.is_writer)

    def _advance(self, mirror: Optional[PoolEntry], local: Local) -> None:
        """A new generation, in the journal before anything of it is in XAPI."""
        number = mirror.generation.number if mirror is not None else 0
        number = min(max(number, local.number) + 1, MAX_GENERATION)
        generation = Generation(number, os.urandom(4).hex())
        self._view.journal.note_generation(generation.text, local.digest)

    def _follow(self, judgement: Judgement, mirror: Optional[PoolEntry], local: Local, role: Role,
                now: float) -> None:
        """On a member."""
        self._aim(None, FOLLOWING)
        self._stood = math.inf
        self.generation = local.lineage[-1] if local.lineage else ''
        if judgement is not Judgement.EDITED:
            self._edited_at = None
        elif self._edited_at is None:
            self._edited_at = now
        if mirror is None or judgement is Judgement.SAME:
            self._rebuilder.incomplete_since = None
            if self._is_ahead(self._rival, local) and self._rival is not None:
                self._leave_undecided(self._rival, role, len(local.rows), now)
        elif self._edited_at is not None and now - self._edited_at < _GRACE_SECONDS:
            self._judge_later(now)
        elif judgement is Judgement.OLDER:
            self.state = OLDER
            self._notices.tell_older(local.lineage[-1], mirror.generation.text, now,
                                     is_master=False)
        else:
            self._rebuild(mirror, local, role, now)

    def _rebuild(self, mirror: PoolEntry, local: Optional[Local], role: Role,
                 now: float) -> bool:
        """Rebuild the registry from the mirror; False when that cannot be done now."""
        result = self._rebuilder.rebuild(mirror, local, is_master=role.is_writer,
                                         is_locked=self._permit.is_locked, now=now,
                                         trust=self.push.seen.trust)
        if result is RebuildResult.DONE:
            self.generation = mirror.generation.text
            self._must_judge = True
            return True
        self.state = INCOMPLETE if result is RebuildResult.INCOMPLETE else WAITING
        self._judge_later(now)
        return False

    def _read_local(self) -> Local:
        pool = self.push.seen.pool
        return self._reader.read_local(pool.uuid if pool is not None else '', self.push.seen.trust)

    def _aim(self, target: Optional[MirrorContent], state: str) -> None:
        self.state = state
        # Until registry and journal can be read again, what was judged last holds.
        if state != NO_REGISTRY:
            self._permit.is_overtaken = state == INCOMPLETE
        self.push.aim(target)
        if target is not None:
            self.generation = target.generation.text

    def _take_edit(self, vm: VmRecord, entry: VmEntry) -> Optional[str]:
        """Take an assignment that was written into other_config, or say why not."""
        if not self.settings.accept_edits:
            return 'not_accepted'
        return take_edit(self._view, self._inventory, vm, entry)

    def _note_orphan(self, vm: VmRecord, vm_id: int) -> None:
        """Another host's daemon staged it, and its row is gone: so does what it carries (P12)."""
        self._view.note_orphan(vm.uuid)
        self._write(lambda journal: journal.note_orphan(vm.uuid, vm_id))
        self._review((vm.uuid,))

    def _tell_pushed(self, now: float) -> None:
        target = self.push.target
        if self.state == PUSHING and self.push.is_mirrored and target is not None:
            self.state, self._stood = MIRRORED, target.generation.number
            if self.push.writes and self._notices.tell_written(
                    self.generation, len(target.rows), self.push.writes, now - self._pushed_at,
                    now):
                self.push.writes = 0

    def _wait(self, error: RegistryError, now: float) -> None:
        """Registry or journal did not let us: what was judged counts for nothing."""
        self._judge_later(now)
        self._problem = str(error)
        self.state = WAITING if self.state == FOLLOWING else self.state
        self._notices.tell_problem(self._problem, now)

    def _leave_note(self, role: Optional[Role], now: float) -> None:
        if self.push.refused:
            self.state = OFF
        self._notices.leave_note(MirrorNote(
            self.state, self.generation, self.push.waiting, role.master if role else '',
            bool(role and role.is_writer), self.push.refused or self._problem,
            self._reader.keeper.problem), now)
