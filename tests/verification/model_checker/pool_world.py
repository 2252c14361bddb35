"""A resource pool of a few hosts for the model: copies of XAPI's database, registries, lineages.

All state is one immutable value (`Pool`), so that a world can go on from anywhere. The daemon's
own code decides and writes (`pool_daemon.py`); here is what it works on, and what nobody else
sees: which generation came from which (`Ghost`).
"""

import functools
from typing import Any, Dict, FrozenSet, NamedTuple, Optional, Tuple

from registry.values import Pool as VgpuPool, Priority
from watcher.mirror.entries import MirroredRow, digest_contents, parse_pool_entry
from watcher.mirror.slots import find_current
from watcher.vm.record import PoolRecord, PowerState, VmKind, VmRecord

Slots = Tuple[Tuple[str, str], ...]
Rows = Tuple[Tuple[int, int, int], ...]
"""(VM, number, priority) of each row, in order."""

RESOURCE_POOL = '0000aaaa-1111-2222-3333-44444444abcd'
POOL_REF = 'OpaqueRef:pool'
VGPU_POOLS = (VgpuPool('A', 'Pool A'), VgpuPool('B', 'Pool B'))


class Db(NamedTuple):
    """One copy of XAPI's database, as far as the mirror is in it."""
    vms: Tuple[Tuple[int, Slots], ...]
    pool: Slots = ()


class Job(NamedTuple):
    """A change of one record's slots on its way, and how many of its calls are done."""
    table: str
    ref: str
    change: Any
    progress: int = 0


class Host(NamedTuple):
    """One host: what is on its disk, in its copy of the database, and in its daemon."""
    db: Db
    follows: int
    """Which host's database it works with; its own: it is a master."""
    rows: Optional[Rows] = None
    """The registry; None: neither registry nor journal (a wiped host)."""
    lineage: Tuple[Tuple[str, str, bool], ...] = ()
    kept: FrozenSet[Rows] = frozenset()
    jobs: Tuple[Job, ...] = ()
    is_up: bool = True
    has_daemon: bool = True


class Ghost(NamedTuple):
    """What a generation said, and from which it came."""
    rows: Rows
    ancestors: FrozenSet[str]


class Pool(NamedTuple):
    """All of it."""
    hosts: Tuple[Host, ...]
    budgets: Tuple[Tuple[str, int], ...]
    ghosts: Tuple[Tuple[str, Ghost], ...] = ()
    snapshot: Optional[Slots] = None
    problem: str = ''

    def ghost(self, generation: str) -> Ghost:
        """Who it came from; a generation that nobody made is a fault of the model."""
        return dict(self.ghosts)[generation]

    def budget(self, name: str) -> int:
        """How often something may still happen."""
        return dict(self.budgets).get(name, 0)

    def spend(self, name: str) -> 'Pool':
        """Once less."""
        return self._replace(budgets=tuple(
            (key, count - (key == name)) for key, count in self.budgets))

    def put(self, number: int, **fields: Any) -> 'Pool':
        """Another state of one host."""
        hosts = list(self.hosts)
        hosts[number] = hosts[number]._replace(**fields)
        return self._replace(hosts=tuple(hosts))

    def live(self, number: int) -> Optional[int]:
        """Whose database a host reads and writes; None while it reaches no master."""
        master = self.hosts[number].follows
        is_there = self.hosts[master].is_up and self.hosts[master].follows == master
        return master if self.hosts[number].is_up and is_there else None


def uuid_of(vm: int) -> str:
    """The UUID of a VM."""
    return '0000%04x-1111-2222-3333-44444444abcd' % vm


def ref_of(vm: int) -> str:
    """The ref of a VM; its last digits are its number here."""
    return 'OpaqueRef:vm-%d' % vm


@functools.lru_cache(maxsize=None)
def record_of(vm: int, slots: Slots) -> VmRecord:
    """The record that XAPI gives of a VM."""
    return VmRecord(ref_of(vm), uuid_of(vm), 'vm-%d' % vm, VmKind.VM, PowerState.HALTED,
                    mirror=slots)


def pool_record_of(db: Db, master: int) -> PoolRecord:
    """The resource pool's record."""
    return PoolRecord(POOL_REF, RESOURCE_POOL, 'OpaqueRef:host-%d' % master, db.pool)


@functools.lru_cache(maxsize=None)
def mirror_rows(rows: Rows) -> Tuple[MirroredRow, ...]:
    """Rows as the mirror has them."""
    return tuple(MirroredRow(uuid_of(vm), number, 'A', Priority(priority))
                 for vm, number, priority in rows)


@functools.lru_cache(maxsize=None)
def digest_of(rows: Rows) -> str:
    """The digest of a registry with these rows."""
    return digest_contents(mirror_rows(rows), VGPU_POOLS)


@functools.lru_cache(maxsize=None)
def generation_in(slots: Slots) -> Optional[str]:
    """The generation of the pool entry that counts."""
    entry = find_current(slots, parse_pool_entry).entry
    return entry.generation.text if entry is not None else None


def slots_of(db: Db, ref: str) -> Optional[Slots]:
    """The slots of a record; None when there is no such record."""
    if ref == POOL_REF:
        return db.pool
    return dict(db.vms).get(int(ref.rsplit('-', 1)[1]))


def with_slots(db: Db, ref: str, slots: Dict[str, str]) -> Db:
    """The database with other slots of one record."""
    text = tuple(sorted(slots.items()))
    if ref == POOL_REF:
        return db._replace(pool=text)
    return db._replace(vms=tuple((vm, text if ref_of(vm) == ref else old)
                                 for vm, old in db.vms))


def build_pool(hosts: int, rows: Rows, vms: int, **budgets: int) -> Pool:
    """Hosts with a daemon each; the first is the master and has a registry, nothing is mirrored."""
    db = Db(tuple((vm, ()) for vm in range(1, vms + 1)))
    first = Host(db, 0, rows=rows)
    others = tuple(Host(db, 0, rows=None) for _ in range(hosts - 1))
    return Pool((first,) + others, tuple(sorted(budgets.items())))
