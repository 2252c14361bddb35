"""The decisions of the mirror: which is newer, what shall stand where, what can be rebuilt.

The daemon and vgpu-admin decide with the same functions. Newer is not a matter of clocks: the
journal keeps the generations that its registry has been at (the lineage). A mirror whose
generation is in the lineage is older than the file, or the same; one that is not comes from a
master that went on after us, or beside us.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import Container, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from registry.values import Image, Vm
from watcher.mirror.codes import NO_TRUST, Trust
from watcher.mirror.completion import prove
from watcher.mirror.entries import (Generation, MirroredRow, PoolEntry, VmEntry, digest_contents,
                                    row_of_entry)
from watcher.mirror.slots import Found, SlotChange, Slots, attach_vm, find_current, plan_entry
from watcher.vm.mirror_keys import SLOTS
from watcher.vm.record import VmKind, VmRecord

# A number that only an unsigned entry names, and no row has, counts up to here only: numbers
# cannot be used up by those who may write there.
_MOST_UNSIGNED = 1000000


class Judgement(enum.Enum):
    """How the mirror stands to the registry of this host."""
    NO_MIRROR = 'no_mirror'
    """There is no pool entry: nothing was ever mirrored, or it was removed."""
    SAME = 'same'
    """The registry was last at this generation, or says the same and has never been at it."""
    EDITED = 'edited'
    """The same generation, and the registry was edited since."""
    OLDER = 'older'
    """The registry was at this generation and went on: the mirror came from an older copy, or an
    old one was put back."""
    NEWER = 'newer'
    """A generation that the registry has never been at: the mirror counts."""
    UNDECIDED = 'undecided'
    """They differ, and the journal, new or lost, does not tell where the registry has been."""


class EntryKind(enum.Enum):
    """What an entry is to the VM that it was found on."""
    NONE = 'none'
    """No slot is taken."""
    OWN = 'own'
    """It names this VM and this resource pool."""
    BY_HAND = 'by_hand'
    """So does this one, but it has no checksum."""
    COPY = 'copy'
    """It names another VM: a clone, a copy, an import under a new UUID."""
    ARRIVED = 'arrived'
    """It names this VM in another resource pool."""
    INVALID = 'invalid'
    """No slot holds an entry that can be read."""
    FORGED = 'forged'
    """It names this VM and this resource pool, and no known key has signed it."""


class Collected(NamedTuple):
    """What can be rebuilt from the mirror."""
    image: Image
    is_complete: bool
    """Whether the result is what the pool entry says, by its digest."""
    problems: Tuple[str, ...] = ()


def judge(mirror: Optional[PoolEntry], lineage: Sequence[str], noted_digest: Optional[str],
          digest: Optional[str], led: int = 0) -> Judgement:
    """Decide how the mirror stands to the registry.

    `lineage` has the newest generation last; `noted_digest` is what the contents were then, and
    `digest` what they are now (None: there is no registry). `led` is how far this host has led the
    mirror in this session: no other host wrote there, so what is unknown up to there was put back.
    """
    if mirror is None:
        return Judgement.NO_MIRROR
    generation = mirror.generation.text
    if lineage and lineage[-1] == generation:
        return Judgement.SAME if digest == noted_digest else Judgement.EDITED
    if generation in lineage or mirror.generation.number <= led:
        return Judgement.OLDER
    if digest == mirror.digest:
        return Judgement.SAME
    return Judgement.NEWER if lineage or digest is None else Judgement.UNDECIDED


def find_entry_kind(found: Found, vm_uuid: str, resource_pool: str) -> EntryKind:
    """What the entry found on a VM is to it."""
    entry = found.entry
    if entry is None:
        is_taken = any(key in SLOTS for key in found.spare)
        return EntryKind.INVALID if is_taken else EntryKind.NONE
    if entry.vm_uuid != vm_uuid:
        return EntryKind.COPY
    if entry.resource_pool != resource_pool:
        return EntryKind.ARRIVED
    if not entry.is_ours:
        return EntryKind.BY_HAND
    return EntryKind.OWN if found.is_trusted else EntryKind.FORGED


def plan_row(slots: Slots, row: MirroredRow, resource_pool: str, generation: Generation,
             committed: Optional[PoolEntry], trust: Trust = NO_TRUST) -> Optional[SlotChange]:
    """Decide how the slots of a registered VM come to say what its row says.

    `committed` is the pool's entry as it stands. What it goes by stays until it is of this
    generation. So the mirror is whole at every moment, and wherever a push breaks off.
    """
    number = generation.number
    found, keep = find_current(slots, committed=number, trust=trust, record=row.vm_uuid), None
    is_right = is_entry_right(found, row, resource_pool, number)
    if committed is not None and committed.resource_pool == resource_pool and not is_right:
        # One of this very generation could not be told from the new one.
        kept = find_current(slots, committed=min(committed.generation.number, number - 1),
                            trust=trust, record=row.vm_uuid)
        if find_entry_kind(kept, row.vm_uuid, resource_pool) is EntryKind.OWN:
            keep = kept.slot
    text, attached = attach_vm(VmEntry(row.vm_uuid, resource_pool, generation, row.pool_id,
                                       row.priority, row.vm_id), trust)
    return plan_entry(found, text, is_right, keep, attached)


def is_entry_right(found: Found, row: MirroredRow, resource_pool: str, generation: int) -> bool:
    """Whether the entry on a registered VM says what its row says.

    It may be of an earlier generation: entries are written on change only. A later one would
    count as newer than the pool's. It is signed with the key of now.
    """
    entry = found.entry
    return (entry is not None and entry.is_ours and entry.resource_pool == resource_pool
            and row_of_entry(entry) == row and entry.generation.number <= generation
            and found.is_trusted and found.is_fresh)


def collect_image(vms: Iterable[VmRecord], mirror: PoolEntry, known: Mapping[str, MirroredRow] = {},
                  trust: Trust = NO_TRUST) -> Collected:
    """Put the registry together from the mirror: VM entries, and what the pool entry holds.

    An entry counts when it names its own VM and this resource pool, is of the pool entry's
    generation or an earlier one, and is trusted. When they are not what the pool's entry says,
    what is `known` of VMs from elsewhere fills in where that proves to be right
    (`completion.py`). Otherwise it is not complete, and later entries are taken as well, for
    people to look at. Of two rows with one number the higher generation wins.
    """
    vms = [vm for vm in vms if vm.kind is VmKind.VM]
    names = {vm.uuid: vm.name for vm in vms}
    candidates = _list_candidates(vms, mirror, mirror.generation.number, trust)
    rows, problems = _settle(candidates)
    is_complete = digest_contents(rows, mirror.pools) == mirror.digest
    if not is_complete:
        entries = {row.vm_uuid: row for _number, row in sorted(candidates)}
        proved = prove(entries, known, mirror) if known else None
        if proved is not None:
            rows, problems = proved, _tell_proved(entries, proved, mirror)
            is_complete = True
    if not is_complete:
        rows, problems = _settle(_list_candidates(vms, mirror, None, trust))
        found = {row.vm_uuid for row in rows}
        problems += [f'VM {uuid} is registered here (vm_id {row.vm_id}), and has no entry'
                     for uuid, row in sorted(known.items()) if uuid not in found]
        problems.append(f'{len(rows)} of {mirror.vms} assignments are there, or some are not '
                        f'those of generation {mirror.generation.text}')
    largest = max([_bound_largest(mirror, trust)] + [row.vm_id for row in rows])
    image = Image(tuple(_build_vm(row, names) for row in rows), mirror.pools, largest,
                  mirror.origin)
    return Collected(image, is_complete, tuple(problems))


def _bound_largest(mirror: PoolEntry, trust: Trust) -> int:
    return mirror.largest if trust.is_required else min(mirror.largest, _MOST_UNSIGNED)


def list_kept_rows(vms: Iterable[VmRecord], resource_pool: str, faulty: Container[str],
                   rows: Mapping[str, MirroredRow],
                   trust: Trust) -> Dict[str, MirroredRow]:
    """What the mirror has of VMs whose row cannot be understood just now: that stays there.

    Two rows with one number are both faulty; what is kept must not double a number either.
    """
    numbers = {row.vm_id for row in rows.values()}
    kept: Dict[str, MirroredRow] = {}
    for vm in vms:
        if vm.kind is not VmKind.VM or vm.uuid not in faulty:
            continue
        entry = _find_own(vm, resource_pool, None, trust)
        if entry is not None and entry.vm_id not in numbers:
            kept[vm.uuid] = row_of_entry(entry)
            numbers.add(entry.vm_id)
    return kept


def _tell_proved(entries: Mapping[str, MirroredRow], proved: Iterable[MirroredRow],
                 mirror: PoolEntry) -> List[str]:
    rows = {row.vm_uuid: row for row in proved}
    return [f'VM {uuid}: its entry is not that of generation {mirror.generation.text}; the digest '
            'proves what the registry here has'
            for uuid in sorted(set(entries) | set(rows)) if entries.get(uuid) != rows.get(uuid)]


def _list_candidates(vms: Iterable[VmRecord], mirror: PoolEntry, committed: Optional[int],
                     trust: Trust) -> List[Tuple[int, MirroredRow]]:
    """The rows that entries tell of, each with its generation's number."""
    candidates = [(mirror.generation.number, row) for row in mirror.absent]
    gone = frozenset(mirror.gone)
    for vm in vms:
        entry = _find_own(vm, mirror.resource_pool, committed, trust)
        if entry is not None and not (entry.vm_uuid in gone and entry.generation.number
                                      <= mirror.generation.number):
            candidates.append((entry.generation.number, row_of_entry(entry)))
    return candidates


def _find_own(vm: VmRecord, resource_pool: str, committed: Optional[int],
              trust: Trust) -> Optional[VmEntry]:
    """The VM's entry, when we wrote it for this VM in this resource pool."""
    found = find_current(vm.mirror, committed=committed, trust=trust, record=vm.uuid)
    is_own = find_entry_kind(found, vm.uuid, resource_pool) is EntryKind.OWN
    return found.entry if is_own else None


def _settle(candidates: Iterable[Tuple[int, MirroredRow]]) -> Tuple[List[MirroredRow], List[str]]:
    """One row per VM and per number; the higher generation goes first."""
    rows: Dict[str, MirroredRow] = {}
    owners: Dict[int, str] = {}
    problems: List[str] = []
    for _number, row in sorted(candidates, key=lambda item: (-item[0], item[1].vm_uuid)):
        if row.vm_uuid in rows:
            continue
        if row.vm_id in owners:
            problems.append(f'vm_id {row.vm_id}: VM {row.vm_uuid} has it in an older entry than '
                            f'VM {owners[row.vm_id]}, and is left out')
            continue
        rows[row.vm_uuid] = row
        owners[row.vm_id] = row.vm_uuid
    return sorted(rows.values()), problems


def _build_vm(row: MirroredRow, names: Mapping[str, str]) -> Vm:
    return Vm(row.vm_id, row.vm_uuid, names.get(row.vm_uuid), row.pool_id, row.priority)
