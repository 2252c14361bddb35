"""What the mirror's keys of one record hold: which entry counts, and how one is replaced.

Pure: no clock, no I/O, no logging.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from watcher.mirror.codes import NO_TRUST, Trust
from watcher.mirror.entries import (MirrorInvalid, MirrorTooNew, PoolEntry, VmEntry,
                                    parse_pool_entry, parse_vm_entry, render_pool_entry,
                                    render_vm_entry)
from watcher.vm.mirror_keys import CODE, MAX_PARTS, MORE, SLOTS

Slots = Tuple[Tuple[str, str], ...]
# What is written beside an entry: the end of the key, and the text.
Attached = Tuple[Tuple[str, str], ...]


class Found(NamedTuple):
    """What the slots of one record hold."""
    slot: Optional[str] = None
    """The slot that counts; None when no slot holds an entry that can be read."""
    entry: Any = None
    """The VmEntry or PoolEntry in it."""
    spare: Tuple[str, ...] = ()
    """Keys that are taken and do not count."""
    problem: str = ''
    """Why a taken slot holds no valid entry."""
    is_too_new: bool = False
    """A slot holds what a later version has written: signed, or nothing here needs to be."""
    attached: Tuple[str, ...] = ()
    """The keys that belong to the slot that counts."""
    signer: int = 0
    """Which known key has signed the entry, from 1 on; 0 for none."""
    is_trusted: bool = True
    """Whether the entry counts: signed, or nothing in this pool needs to be."""
    is_fresh: bool = True
    """Signed with the key of now, or there is no key to sign with."""
    untrusted: Tuple[Any, ...] = ()
    """All entries here that can be read, and do not count because no known key has signed them."""
    is_any_signed: bool = False
    """Whether a known key has signed any entry here, also where a later one counts."""


class MirrorReading(NamedTuple):
    """The pool's record, as far as the mirror is about it."""
    mirror: Optional[PoolEntry]
    """The entry that counts."""
    rival: Optional[PoolEntry]
    """The newest that does not, since no known key has signed it."""
    trust: Trust
    is_signed: bool
    is_too_new: bool
    """A later version has written it."""


class SlotChange(NamedTuple):
    """What is to be done with the keys of one record, in this order.

    Whatever `before` takes away does not count; then what belongs to the new entry is added, and
    the entry last; then what it replaces goes. At every moment one whole valid entry is there. What
    the pool's entry goes by is not replaced before the pool's entry is: that is another change.
    """
    before: Tuple[str, ...] = ()
    slot: Optional[str] = None
    text: Optional[str] = None
    after: Tuple[str, ...] = ()
    attached: Attached = ()

    @property
    def additions(self) -> Tuple[Tuple[str, str], ...]:
        """The keys to be added, with their texts, in this order."""
        if self.slot is None:
            return ()
        return tuple((self.slot + end, text) for end, text in self.attached) + (
            (self.slot, self.text or ''),)

    @property
    def calls(self) -> int:
        """How many calls it takes."""
        return len(self.before) + len(self.additions) + len(self.after)


class _Taken(NamedTuple):
    """One slot that holds an entry, and what stands beside it."""
    slot: str
    text: str
    code: str
    parts: Tuple[str, ...]
    keys: Tuple[str, ...]


def find_current(slots: Iterable[Tuple[str, str]],
                 parse: Callable[..., Any] = parse_vm_entry, committed: Optional[int] = None,
                 trust: Trust = NO_TRUST, record: str = '', is_whole: bool = False) -> Found:
    """Which slot counts: the higher generation, and of two equal ones the one made by hand.

    One that is trusted comes before any other; what was made by hand is no entry of ours, but an
    edit to be judged. With `committed`, which counted when the pool's entry had that generation: of
    later ones, and of those made by hand, it knows nothing. What stands beside an entry that does
    not count is read for people only (`is_whole`): it can have two megabytes (P28).
    """
    taken, spare = _group(slots)
    valid: List[Tuple[Tuple[Any, ...], _Taken, Any, int]] = []
    untrusted: List[Any] = []
    problem, is_too_new = '', False
    for item in taken:
        signer = trust.find_signer(record, (item.text,) + item.parts, item.code)
        counts = bool(signer) or not trust.is_required
        try:
            entry = parse(item.text, item.parts if counts or is_whole else ())
        except MirrorInvalid as error:
            problem = f'{item.slot}: {error}'
            is_too_new = is_too_new or (counts and isinstance(error, MirrorTooNew))
            continue
        number, is_by_hand = entry.generation.number, not getattr(entry, 'is_ours', True)
        is_trusted = is_by_hand or counts
        if not is_trusted:
            untrusted.append(entry)
        if committed is None or not (is_by_hand or number > committed):
            order = (is_trusted, number, is_by_hand, -signer if signer else -9, item.slot)
            valid.append((order, item, entry, signer))
    if not valid:
        return Found(None, None, tuple(key for item in taken for key in item.keys) + spare,
                     problem, is_too_new, untrusted=tuple(untrusted))
    order, best, entry, signer = max(valid, key=lambda candidate: candidate[0])
    rest = tuple(key for item in taken if item is not best for key in item.keys)
    return Found(best.slot, entry, rest + spare, problem, is_too_new, best.keys[1:], signer,
                 order[0], signer == 1 or not trust.keys, tuple(untrusted),
                 any(candidate[3] for candidate in valid))


def read_pool_entry(slots: Iterable[Tuple[str, str]], trust: Trust = NO_TRUST,
                    resource_pool: str = '', *, is_whole: bool = False) -> Found:
    """What the slots of the resource pool's record hold."""
    return find_current(slots, parse_pool_entry, None, trust, resource_pool, is_whole)


def read_mirror(slots: Iterable[Tuple[str, str]], trust: Trust, resource_pool: str, *,
                is_whole: bool = False) -> MirrorReading:
    """What the resource pool's record is to its mirror; from the first valid code on nothing counts
    without one."""
    slots = tuple(slots)
    found = read_pool_entry(slots, trust, resource_pool, is_whole=is_whole)
    if found.is_any_signed and not trust.is_required:
        trust = trust._replace(is_required=True)
        found = read_pool_entry(slots, trust, resource_pool, is_whole=is_whole)
    entry = found.entry if found.is_trusted else None
    if entry is not None and entry.resource_pool != resource_pool:
        entry = None
    rivals = [item for item in found.untrusted if item.resource_pool == resource_pool]
    rival = max(rivals, key=lambda item: item.generation, default=None)
    return MirrorReading(entry, rival, trust, bool(found.signer), found.is_too_new)


def attach_vm(entry: VmEntry, trust: Trust) -> Tuple[str, Attached]:
    """The text of a VM's entry, and what stands beside it."""
    text = render_vm_entry(entry)
    code = trust.sign(entry.vm_uuid, (text,))
    return text, ((CODE, code),) if code else ()


def attach_pool(entry: PoolEntry, trust: Trust) -> Tuple[str, Attached]:
    """The text of the pool's entry, and what stands beside it."""
    text, parts = render_pool_entry(entry)
    code = trust.sign(entry.resource_pool, (text,) + parts)
    attached = tuple((MORE + str(number), part) for number, part in enumerate(parts, 1))
    return text, attached + (((CODE, code),) if code else ())


def plan_entry(found: Found, text: Optional[str], is_right: bool, keep: Optional[str] = None,
               attached: Attached = ()) -> Optional[SlotChange]:
    """Decide how the slots come to hold this text, or nothing; None when they do.

    `is_right` says that the entry that counts may stay as it is. The slot `keep` is left alone
    until that is so.
    """
    taken = found.spare + ((found.slot,) + found.attached if found.slot else ())
    if text is None:
        return SlotChange(before=taken) if taken else None
    if is_right:
        return SlotChange(before=found.spare) if found.spare else None
    if keep is not None:
        slot = SLOTS[1 - SLOTS.index(keep)]
        return SlotChange(_of_slot(taken, slot), slot, text, (), attached)
    free = [slot for slot in SLOTS if slot not in taken]
    # Both are taken: one that does not count makes room.
    slot = free[0] if free else [key for key in found.spare if key in SLOTS][-1]
    replaced = _of_slot(taken, SLOTS[1 - SLOTS.index(slot)])
    return SlotChange(_of_slot(taken, slot), slot, text, replaced, attached)


def apply_change(slots: Slots, change: SlotChange) -> Slots:
    """The slots after a change."""
    after = {slot: text for slot, text in slots if slot not in change.before}
    after.update(change.additions)
    return tuple(sorted((slot, text) for slot, text in after.items() if slot not in change.after))


def _of_slot(keys: Sequence[str], slot: str) -> Tuple[str, ...]:
    return tuple(key for key in keys if key == slot or key.startswith(slot + '-'))


def _group(slots: Iterable[Tuple[str, str]]) -> Tuple[List[_Taken], Tuple[str, ...]]:
    """The slots that hold something, and keys that belong to none of them."""
    texts: Dict[str, str] = dict(slots)
    taken: List[_Taken] = []
    spare: List[str] = []
    for slot in SLOTS:
        beside = tuple(sorted(key for key in texts if key.startswith(slot + '-')))
        if slot not in texts:
            spare += beside
            continue
        parts: List[str] = []
        while slot + MORE + str(len(parts) + 1) in texts and len(parts) < MAX_PARTS:
            parts.append(texts[slot + MORE + str(len(parts) + 1)])
        taken.append(_Taken(slot, texts[slot], texts.get(slot + CODE, ''), tuple(parts),
                            (slot,) + beside))
    return taken, tuple(spare)
