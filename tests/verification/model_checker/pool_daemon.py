"""One daemon of the pool model: the real Mirroring, on stand-ins of disk and inventory.

A turn is one turn of its main loop, begun as after a restart: whatever it needs to know is on the
disk or in XAPI. It may be killed after any of its commits. What it hands to callers is carried out
by the real `write_entry`, one call a step.
"""

import contextlib
import functools
from typing import Any, Container, Iterator, List, Optional, Tuple
from unittest import mock

from registry.difference import Replaced
from registry.values import Contents, Image, Vm
from tests.unit.watcher.builders import build_permit
from tests.verification.model_checker.pool_world import (POOL_REF, VGPU_POOLS, Db, Ghost, Host, Job,
                                                         Pool, Rows, digest_of, generation_in,
                                                         mirror_rows, pool_record_of, record_of,
                                                         slots_of, uuid_of, with_slots)
from watcher.config.settings import MirrorSettings
from watcher.errors import VmVanished, XapiFailure
from watcher.loop.steps import Steps, run
from watcher.mirror import (comparison, mirror as mirroring, push, reading, seen,
                            slots as mirror_slots)
from watcher.mirror.entries import MirrorInvalid, parse_pool_entry, parse_vm_entry
from watcher.mirror.writes import write_entry
from watcher.state.write_permit import WritePermit
from watcher.xapi.role import Role

# Who does this writes entries besides the daemon.
MEDDLING = frozenset(['revert', 'by_hand'])
_CHANCE = [b'']
_NUMBERS = {uuid_of(vm): vm for vm in range(1, 10)}


class Killed(BaseException):
    """The daemon ends here: nothing catches it."""


class _Pause(BaseException):
    """The next call is another step."""


class _Disk:
    """Registry and journal of one host; each write is a commit, and `deaths` counts them down."""

    path = ''

    def __init__(self, host: Host, db: Db, ghosts: Any, deaths: Optional[int]) -> None:
        self.host, self.db, self.ghosts, self.deaths = host, db, ghosts, deaths
        self.problem = ''
        self.commits = 0

    def commit(self, **fields: Any) -> None:
        """One transaction; dies after the last one that it may make."""
        self.host = self.host._replace(**fields)
        self.commits += 1
        if self.deaths is not None and self.commits > self.deaths:
            raise Killed

    def ghost(self, generation: str) -> Ghost:
        """Where a generation comes from."""
        return dict(self.ghosts)[generation]

    # The journal.

    def lineage(self) -> Tuple[str, ...]:
        """As the real one."""
        return tuple(text for text, _digest, _own in self.host.lineage)

    def generation(self) -> Optional[Tuple[str, str]]:
        """As the real one."""
        return self.host.lineage[-1][:2] if self.host.lineage else None

    def is_blank(self) -> bool:
        """As the real one."""
        return not self.host.lineage

    def read_note(self, _key: str) -> None:
        """No keys: what codes change is the reader's matter, and has tests of its own."""

    def note_resource_pool(self, _resource_pool: str, _generation: str, _digest: str) -> None:
        """No host leaves the pool; tests/integration/pool/test_ejected_host.py has that."""

    def has_own_generation(self) -> bool:
        """As the real one."""
        return bool(self.host.lineage) and self.host.lineage[-1][2]

    def note_generation(self, text: str, digest: str, *, is_own: bool = True,
                        line: Tuple[str, ...] = ()) -> None:
        """As the real one; and the ghosts learn where a new generation comes from."""
        self.note_ghost(text)
        self.commit(lineage=self._with(text, digest, is_own, line))

    def _with(self, text: str, digest: str, is_own: bool,
              line: Tuple[str, ...]) -> Tuple[Any, ...]:
        known = [item[0] for item in self.host.lineage]
        jumped = tuple((item, '', False) for item in line if item not in known + [text])
        return tuple(item for item in self.host.lineage if item[0] != text) + jumped + (
            (text, digest, is_own),)

    def note_ghost(self, text: str) -> None:
        """A generation that is new comes from all that the file was at, and what it supersedes."""
        if text in dict(self.ghosts):
            return
        ancestors = set(self.lineage())
        for parent in list(ancestors):
            ancestors |= self.ghost(parent).ancestors
        ghost = Ghost(self.host.rows, frozenset(ancestors))
        self.ghosts = tuple(sorted(self.ghosts + ((text, ghost),)))

    def largest_number(self) -> int:
        """As the real one."""
        return max([number for _vm, number, _priority in self.host.rows or ()] or [0])

    def note_orphan(self, *_arguments: Any) -> None:
        """What is staged is not in this model."""

    def write_note(self, _key: str, _text: str) -> None:
        """For vgpu-admin."""

    # The registry.

    def replace_contents(self, image: Image, *, who: str, command: str, keep_copy: bool,
                         may_create: bool = False, allow_loss: bool = False,
                         needs_journal: bool = True,
                         borne: Container[int] = ()) -> Replaced:
        """As the real one, in one commit; and the invariants of rebuilding."""
        rows = tuple(sorted((_NUMBERS[vm.vm_uuid], vm.vm_id, int(vm.priority))
                            for vm in image.vms))
        host = self.host
        self._judge_rebuild(rows, keep_copy)
        fields: Any = dict(rows=rows)
        if keep_copy and host.rows is not None and rows != host.rows:
            fields['kept'] = host.kept | {host.rows}
        if image.origin is not None:
            self.note_ghost(image.origin.generation)
            generation, digest, line, _pool = image.origin
            fields['lineage'] = self._with(generation, digest, False, line)
        self.commit(**fields)
        return Replaced()

    def _judge_rebuild(self, rows: Rows, keep_copy: bool) -> None:
        mirror = generation_in(self.db.pool)
        if mirror is None:
            self._blame('a registry was rebuilt without a mirror')
            return
        numbers = [number for _vm, number, _priority in rows]
        if len(set(numbers)) < len(numbers):
            self._blame('a rebuild doubled a number: %r' % (rows,))
        before, newest = self.host.rows, self.generation()
        ancestors = self.ghost(newest[0]).ancestors if newest else frozenset()
        if mirror in ancestors:
            self._blame('an older mirror, %s, replaced %s' % (mirror, newest))
        line = self.ghost(mirror).ancestors | {mirror}
        is_known = before is None or before == () or any(
            self.ghost(item).rows == before for item in line)
        if not is_known and not keep_copy and before not in self.host.kept and before != rows:
            self._blame('edits were lost without a copy: %r' % (before,))

    def _blame(self, problem: str) -> None:
        self.problem = self.problem or problem


class _RegistryView:
    """As watcher.state.registry_view.RegistryView, for what Mirroring asks of it."""

    is_accepted, faulty, orphans, path = True, frozenset(), frozenset(), ''
    journal_openings = 0
    owners: dict = {}
    journal_problem = ''

    def __init__(self, disk: _Disk) -> None:
        self.journal = self.registry = disk
        self.was_read = disk.host.rows is not None
        self.is_journal_open = self.is_journal_readable = self.was_read

    @property
    def is_available(self) -> bool:
        """Whether there is a registry."""
        return self.journal.host.rows is not None

    @property
    def contents(self) -> Optional[Contents]:
        """All of it."""
        if not self.is_available:
            return None
        return Contents(1, VGPU_POOLS, tuple(
            Vm(row.vm_id, row.vm_uuid, None, row.pool_id, row.priority)
            for row in mirror_rows(self.journal.host.rows)))

    def note_orphan(self, _vm_uuid: str) -> None:
        """What is staged is not in this model."""

    def reread(self) -> None:
        """Nothing is cached."""

    def open_journal(self) -> None:
        """It is there from now on."""
        self.is_journal_open = self.is_journal_readable = True


class _Inventory:
    """All VMs of a database."""

    aside: frozenset = frozenset()

    def __init__(self, db: Db) -> None:
        self.vms = tuple(record_of(vm, slots) for vm, slots in db.vms)

    def find(self, ref: str) -> Any:
        """One of them."""
        return next((vm for vm in self.vms if vm.ref == ref), None)

    def number_of(self, _ref: str) -> None:
        """Nobody carries anything here."""

    def carriers_of(self, _number: int) -> frozenset:
        """Nobody carries anything here."""
        return frozenset()


def take_turn(pool: Pool, number: int, deaths: Optional[int] = None) -> Tuple[Pool, int]:
    """One turn of a daemon's main loop; how many commits it made. Killed after `deaths` of them."""
    live = pool.live(number)
    if live is None:
        return pool, 0
    host, ghosts, problem, commits = _take_turn(
        pool.hosts[number], pool.hosts[live].db, live == number, pool.ghosts, deaths)
    if host is not pool.hosts[number]:
        hosts = pool.hosts[:number] + (host,) + pool.hosts[number + 1:]
        pool = pool._replace(hosts=hosts, ghosts=ghosts, problem=pool.problem or problem)
    return pool, commits


@functools.lru_cache(maxsize=200000)
def _take_turn(host: Host, db: Db, is_master: bool, ghosts: Any,
               deaths: Optional[int]) -> Tuple[Host, Any, str, int]:
    """The same for what a turn depends on: many states differ in other things only."""
    disk = _Disk(host, db, ghosts, deaths)
    jobs: List[Job] = []
    # Any two generations have different tokens.
    _CHANCE[0] = bytes.fromhex('%08x' % len(ghosts))
    watcher = mirroring.Mirroring(
        _RegistryView(disk), _Inventory(db), _permit(is_master),  # type: ignore
        settings=MirrorSettings(key_file=''),
        submit=lambda table, ref, change: jobs.append(Job(table, ref, change)),
        poll=lambda: None, write=lambda action: action(disk), review=lambda _uuids: None)
    watcher.begin_session()
    watcher.note_pool(pool_record_of(db, 0))
    try:
        watcher.attend(100.0, jobs=0, is_staging=False)
    except Killed:
        return (disk.host._replace(has_daemon=False, jobs=()), disk.ghosts, disk.problem,
                disk.commits)
    after = disk.host._replace(jobs=tuple(jobs))
    return (host if after == host else after, disk.ghosts, disk.problem, disk.commits)


def _permit(is_master: bool) -> WritePermit:
    role = Role(is_master, True, 'OpaqueRef:here', '22.7', is_member=not is_master,
                master='OpaqueRef:here' if is_master else 'OpaqueRef:there')
    return build_permit(role)


@contextlib.contextmanager
def in_model() -> Iterator[None]:
    """For a block: chance that comes out alike each time, and texts that are read once each."""
    remember = functools.lru_cache(maxsize=None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch('watcher.mirror.mirror.os.urandom',
                                       lambda _count: _CHANCE[0]))
        for module, name in ((comparison, 'find_current'), (seen, 'find_current'),
                             (comparison, 'attach_vm'), (push, 'attach_pool'),
                             (seen, 'read_pool_entry'), (reading, 'read_mirror'),
                             (mirroring, 'parse_generation')):
            stack.enter_context(mock.patch.object(module, name,
                                                  remember(getattr(module, name))))
        # A member's edit is undone at once here: what happens before is another order of steps.
        stack.enter_context(mock.patch.object(mirroring, '_GRACE_SECONDS', 0.0))
        # And so is the entry of a copy taken away: nobody imports anything here.
        stack.enter_context(mock.patch.object(push.Settling, 'is_over', lambda *_given: True))
        _take_turn.cache_clear()
        yield


class _Client:
    """Carries out one call of a change: those before are done, those behind are to come."""

    handle = None

    def __init__(self, db: Db, progress: int) -> None:
        self.db, self.progress = db, progress
        self.count = 0
        self.added: Optional[Tuple[str, str]] = None

    def add_to_other_config(self, _table: str, ref: str, slot: str, text: str) -> Steps[None]:
        """VM.add_to_other_config."""
        yield from ()
        if self._is_due():
            slots = dict(self._read(ref))
            if slot in slots:
                raise XapiFailure('MAP_DUPLICATE_KEY', (ref, slot))
            slots[slot] = text
            self.db, self.added = with_slots(self.db, ref, slots), (ref, text)

    def remove_from_other_config(self, _table: str, ref: str, slot: str) -> Steps[None]:
        """VM.remove_from_other_config: what is not there is gone."""
        yield from ()
        if self._is_due():
            slots = dict(self._read(ref))
            slots.pop(slot, None)
            self.db = with_slots(self.db, ref, slots)

    def read_vm(self, ref: str) -> Steps[Any]:
        """VM.get_record."""
        yield from ()
        return record_of(int(ref.rsplit('-', 1)[1]), self._read(ref))

    def read_pool(self, _ref: str) -> Steps[Any]:
        """pool.get_record."""
        yield from ()
        return pool_record_of(self.db, 0)

    def _read(self, ref: str) -> Any:
        slots = slots_of(self.db, ref)
        if slots is None:
            raise VmVanished('HANDLE_INVALID', ('VM', ref))
        return slots

    def _is_due(self) -> bool:
        self.count += 1
        if self.count > self.progress + 1:
            raise _Pause
        return self.count == self.progress + 1


def run_call(pool: Pool, number: int, index: int) -> Pool:
    """The next call of one job."""
    host, live = pool.hosts[number], pool.live(number)
    job = host.jobs[index]
    rest = host.jobs[:index] + host.jobs[index + 1:]
    if live is None:
        return pool.put(number, jobs=rest)
    client = _Client(pool.hosts[live].db, job.progress)
    try:
        run(write_entry(client, job.table, job.ref, job.change))  # type: ignore
    except _Pause:
        rest = host.jobs[:index] + (job._replace(progress=job.progress + 1),) + rest[index:]
    problem = (_judge_write(pool, pool.hosts[live].db, client.added)
               or _judge_mirror(pool, client.db))
    pool = pool.put(live, db=client.db).put(number, jobs=rest)
    return pool._replace(problem=pool.problem or problem)


def _judge_write(pool: Pool, db: Db, added: Optional[Tuple[str, str]]) -> str:
    """An entry describes its own VM; the pool's comes after all that it supersedes."""
    if added is None:
        return ''
    ref, text = added
    try:
        if ref != POOL_REF:
            vm = record_of(int(ref.rsplit('-', 1)[1]), ())
            is_own = parse_vm_entry(text).vm_uuid == vm.uuid
            return '' if is_own else 'an entry was written that describes another VM'
        generation = parse_pool_entry(text).generation.text
    except MirrorInvalid as error:
        return 'an entry was written that cannot be read: %s' % error
    before = generation_in(db.pool)
    if before in (None, generation) or before in pool.ghost(generation).ancestors:
        return ''
    return 'the mirror %s was overwritten by %s, which does not come from it' % (
        before, generation)


def _judge_mirror(pool: Pool, db: Db) -> str:
    """After every call the mirror is whole, unless somebody else writes entries as well."""
    is_ours = MEDDLING.isdisjoint(dict(pool.budgets))
    if is_ours and generation_in(db.pool) is not None and rows_in_mirror(db) is None:
        return 'the mirror is not whole between two calls'
    return ''


@functools.lru_cache(maxsize=200000)
def rows_in_mirror(db: Db) -> Optional[Rows]:
    """What can be rebuilt from a database; None when that is not whole."""
    entry = mirror_slots.read_pool_entry(db.pool).entry
    if entry is None:
        return None
    collected = comparison.collect_image([record_of(vm, slots) for vm, slots in db.vms], entry)
    rows = tuple(sorted((_NUMBERS[vm.vm_uuid], vm.vm_id, int(vm.priority))
                        for vm in collected.image.vms))
    return rows if digest_of(rows) == entry.digest else None
