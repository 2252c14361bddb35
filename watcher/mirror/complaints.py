"""Why entries are put right, and what the log says of it; of each once a minute at most."""

from typing import Any, Dict, Iterable, Optional, Set, Tuple

from watcher.errors import find_kind
from watcher.mirror.codes import Trust
from watcher.mirror.comparison import EntryKind, find_entry_kind, is_entry_right
from watcher.mirror.entries import MirroredRow, PoolEntry, VmEntry, row_of_entry
from watcher.mirror.slots import Found, find_current
from watcher.runtime.fights import Fights
from watcher.runtime.logs import RateLimiter, get_logger
from watcher.vm.record import VmRecord

# Why an entry was corrected: no known key has signed it.
FORGED = 'forged'
# What such an entry said, when that cannot be told.
_UNREADABLE = 'nothing that can be read'
# Why an entry was corrected, by what it was; and when it was right before.
_REASONS = {EntryKind.COPY: 'copy', EntryKind.INVALID: 'damaged'}
_CHANGED = {EntryKind.COPY: 'copy', EntryKind.INVALID: 'damaged', EntryKind.OWN: 'reverted',
            EntryKind.NONE: 'taken_away'}


class Complaints:
    """Judges what is to be corrected; logs what was, what has arrived, and what XAPI refused."""

    def __init__(self) -> None:
        self.right: Dict[str, MirroredRow] = {}
        """What the entries of VMs were right for when they were looked at last."""
        self._reasons: Dict[str, Tuple[str, Any]] = {}
        self._limiter = RateLimiter()
        self._arrived: Set[str] = set()
        self._leftovers: Dict[str, Tuple[VmEntry, ...]] = {}
        self._fights = Fights()

    def restart(self) -> None:
        """A new session: every VM counts as newly arrived."""
        for memory in (self._arrived, self.right, self._reasons):
            memory.clear()  # type: ignore

    def drop(self, ref: str) -> None:
        """A VM is gone."""
        self._arrived.discard(ref)
        self._fights.forget(ref)
        for memory in (self._leftovers, self._reasons):
            memory.pop(ref, None)  # type: ignore

    def forget_writes(self, vm: VmRecord) -> None:
        """An edit of the VM's row: what was written before it does not count."""
        self.right.pop(vm.uuid, None)
        self._fights.forget(vm.ref)

    def forget_reason(self, ref: str) -> None:
        """The entry is looked at again."""
        self._reasons.pop(ref, None)

    def judge(self, vm: VmRecord, found: Found, row: Optional[MirroredRow], resource_pool: str,
              number: int, trust: Trust) -> None:
        """Why the entry of a VM is to be put right, as far as that is worth a word."""
        kind = find_entry_kind(found, vm.uuid, resource_pool)
        is_stray = row is None and kind is EntryKind.BY_HAND
        self._reasons[vm.ref] = ('not_registered' if is_stray else _REASONS.get(kind, ''), None)
        if row is not None and self.right.get(vm.uuid) == row and not is_entry_right(
                found._replace(is_fresh=True), row, resource_pool, number):
            # The row is as it was when the entry was right: it is the entry that changed.
            is_forged = kind is EntryKind.FORGED
            self._reasons[vm.ref] = (
                FORGED if is_forged or (kind is EntryKind.INVALID and trust.is_required)
                else _CHANGED.get(kind, ''), found.entry if is_forged else None)
        forged = self._find_forged(vm, found, row, resource_pool, number)
        if forged is not None:
            self._reasons[vm.ref] = (FORGED, forged)

    def judge_pool(self, ref: str, found: Found, wanted: PoolEntry, trust: Trust) -> None:
        """The same of the pool's entry."""
        # Beside the signed one, what says the same was written before codes were demanded. Of what
        # stands beside it nothing was read; the digest tells.
        forged = [entry for entry in found.untrusted if not found.is_trusted
                  or entry._replace(absent=wanted.absent, gone=wanted.gone) != wanted]
        is_damaged = found.entry is None and bool(found.problem) and trust.is_required
        self._reasons[ref] = (FORGED if forged or is_damaged else '',
                              forged[0] if forged else None)

    def refuse(self, ref: str, problem: str, entry: VmEntry) -> None:
        """An entry was written by hand, and is not taken."""
        self._reasons[ref] = (problem, entry)

    def find_pause(self, vm: VmRecord, now: float) -> float:
        """How long a VM's entry, which was just written, is to be left alone."""
        self._fights.note_write(vm.ref, now)
        pause_seconds = self._fights.pause_seconds(vm.ref)
        if pause_seconds:
            held_back = self._limiter.admit((vm.uuid, 'contended'), now)
            if held_back is not None:
                get_logger().warning('mirror.contended', vm_uuid=vm.uuid, vm_name=vm.name,
                                     pause_seconds=pause_seconds, held_back=held_back)
        return pause_seconds

    def note_leftovers(self, vms: Iterable[VmRecord], trust: Trust) -> None:
        """From now on codes are demanded: what stands there was written when they were not."""
        self._leftovers = {
            vm.ref: find_current(vm.mirror, trust=trust, record=vm.uuid).untrusted
            for vm in vms if vm.mirror}

    def _find_forged(self, vm: VmRecord, found: Found, row: Optional[MirroredRow],
                     resource_pool: str, number: int) -> Optional[VmEntry]:
        """What no known key has signed, when it says something else than the row."""
        for entry in found.untrusted:
            if (entry.vm_uuid, entry.resource_pool) == (vm.uuid, resource_pool) \
                    and (row_of_entry(entry) != row or entry.generation.number > number) \
                    and entry not in self._leftovers.get(vm.ref, ()):
                return entry
        return None

    def put_right(self, ref: str, vm: Optional[VmRecord], now: float) -> None:
        """A VM's entry, or the pool's (None), was corrected; with the reason goes what stood there,
        where that is worth a word."""
        reason, entry = self._reasons.pop(ref, ('', None))
        if not reason:
            return
        if vm is None:
            self._pool_forged(entry, now)
            return
        held_back = self._limiter.admit((vm.uuid, reason), now)
        if held_back is None or self._is_contended(vm.ref, now):
            return
        if reason == FORGED:
            found = f'vm_id {entry.vm_id}, pool {entry.pool_id}, {entry.priority.word}' \
                if entry else _UNREADABLE
            get_logger().warning('mirror.forged', table='VM', vm_uuid=vm.uuid, vm_name=vm.name,
                                 generation=entry.generation.text if entry else None,
                                 held_back=held_back, found=found)
        elif entry is None:
            get_logger().warning('mirror.corrected', vm_uuid=vm.uuid, vm_name=vm.name,
                                 reason=reason, held_back=held_back)
        else:
            get_logger().warning('mirror.edit_refused', vm_uuid=vm.uuid, vm_name=vm.name,
                                 vm_id=entry.vm_id, pool=entry.pool_id,
                                 priority=entry.priority.word, reason=reason,
                                 held_back=held_back)

    def _pool_forged(self, entry: Optional[PoolEntry], now: float) -> None:
        """An entry of the pool that no known key has signed was taken away."""
        held_back = self._limiter.admit(('pool', FORGED), now)
        if held_back is not None:
            get_logger().warning('mirror.forged', table='pool', vm_uuid=None, vm_name=None,
                                 generation=entry.generation.text if entry else None,
                                 held_back=held_back,
                                 found=f'{entry.vms} VMs' if entry else _UNREADABLE)

    def _is_contended(self, ref: str, now: float) -> bool:
        """Whether that is what is told of a VM now."""
        self._fights.expire(ref, now)
        return ref in self._fights.keys

    def arrived(self, vm: VmRecord, entry: VmEntry) -> None:
        """A VM came from another resource pool."""
        if vm.ref not in self._arrived:
            self._arrived.add(vm.ref)
            get_logger().warning('vm.arrived', vm_uuid=vm.uuid, vm_name=vm.name,
                                 resource_pool=entry.resource_pool, vm_id=entry.vm_id,
                                 pool=entry.pool_id, priority=entry.priority.word)

    def failed(self, table: str, ref: str, error: str, retry_seconds: float, now: float) -> None:
        """A write came to nothing."""
        held_back = self._limiter.admit((table, find_kind(error)), now)
        if held_back is not None:
            get_logger().warning('mirror.write_failed', table=table, ref=ref, error=error,
                                 retry_seconds=retry_seconds, held_back=held_back)
