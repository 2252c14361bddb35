"""What outlives the daemon: the registry file and the journal, as one value.

`Journal` and `Registry` are what the real `RegistryView`, `JournalQueue` and `Leftovers` are given; each
call is on the disk when it returns, as with the real ones.
"""

import contextlib
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Tuple

from registry.journal.journal import Replacement
from registry.journal.numbers import Bearer, Orphan, Staged, Written
from registry.journal.receipts import Boot
from registry.values import Contents
from watcher.state.registry_view import RegistryView


class Disk(NamedTuple):
    """All of it. The maps are never changed, only replaced."""
    contents: Contents
    seen: Mapping[str, int] = {}
    replacements: Mapping[str, Replacement] = {}
    staged: Mapping[str, Staged] = {}
    written: Mapping[str, Written] = {}
    claims: Mapping[int, int] = {}
    removed: Mapping[str, str] = {}
    bearers: Mapping[str, Bearer] = {}
    orphans: Mapping[str, Orphan] = {}
    boots: Tuple[Boot, ...] = ()
    sequence: int = 0


class Journal:
    """As registry.journal.journal.Journal, for what the daemon asks of it."""

    path = ''

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def open(self) -> None:
        """It is there."""

    def close(self) -> None:
        """Nothing is held."""

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Crashes fall before or after a transaction, never into it."""
        yield

    def note_contents(self, contents: Contents, *, allow_loss: bool = False) -> Tuple[Any, ...]:
        """Rows that went are orphans; rows that came are none."""
        rows = {vm.vm_uuid: vm.vm_id for vm in contents.vms}
        orphans = {uuid: item for uuid, item in self.disk.orphans.items() if uuid not in rows}
        for uuid in set(self.disk.seen) - set(rows):
            orphans[uuid] = Orphan(uuid, self.disk.seen[uuid], '')
        self.disk = self.disk._replace(orphans=orphans, seen=rows)
        return ()

    def end_replacement(self, vm_uuid: str) -> None:
        """As the real one."""
        self._drop('replacements', vm_uuid)

    def replacements(self) -> Tuple[Replacement, ...]:
        """As the real one."""
        return tuple(self.disk.replacements.values())

    def staged(self) -> Mapping[str, Staged]:
        """As the real one."""
        return self.disk.staged

    def note_staged(self, vm_uuid: str, vm_id: int, value: str) -> None:
        """The place in the sequence changes only with the number."""
        before = self.disk.staged.get(vm_uuid)
        is_same = before is not None and before.vm_id == vm_id
        sequence = before.sequence if is_same else self._next()
        self._put('staged', vm_uuid, Staged(vm_uuid, vm_id, value, sequence))

    def forget_staged(self, vm_uuid: str) -> None:
        """As the real one."""
        self._drop('staged', vm_uuid)

    def written(self) -> Mapping[str, Written]:
        """As the real one."""
        return self.disk.written

    def note_writing(self, written: Written) -> None:
        """As the real one."""
        self._put('written', written.vm_uuid, written)

    def forget_written(self, vm_uuid: str) -> None:
        """As the real one."""
        self._drop('written', vm_uuid)

    def claims(self) -> Mapping[int, int]:
        """As the real one."""
        return self.disk.claims

    def note_claims(self, found: Iterable[int], gone: Iterable[int] = ()) -> None:
        """A claim that stands keeps its place."""
        for vm_id in gone:
            self._drop('claims', vm_id)
        for vm_id in found:
            if vm_id not in self.disk.claims:
                self._put('claims', vm_id, self._next())

    def removed(self) -> Mapping[str, str]:
        """As the real one."""
        return self.disk.removed

    def note_removed(self, vm_uuid: str, value: str) -> None:
        """As the real one."""
        self._put('removed', vm_uuid, value)

    def forget_removed(self, vm_uuid: str) -> None:
        """As the real one."""
        self._drop('removed', vm_uuid)

    def bearers(self) -> Mapping[str, Bearer]:
        """As the real one."""
        return self.disk.bearers

    def note_bearers(self, found: Iterable[Bearer], gone: Iterable[str] = ()) -> None:
        """The place in the sequence changes only with the number."""
        for vm_uuid in gone:
            self._drop('bearers', vm_uuid)
        for bearer in found:
            before = self.disk.bearers.get(bearer.vm_uuid)
            is_same = before is not None and before.vm_id == bearer.vm_id
            sequence = before.sequence if is_same else self._next()
            self._put('bearers', bearer.vm_uuid, bearer._replace(sequence=sequence))

    def orphans(self) -> Mapping[str, Orphan]:
        """As the real one."""
        return self.disk.orphans

    def forget_orphan(self, vm_uuid: str) -> None:
        """As the real one."""
        self._drop('orphans', vm_uuid)

    def add_history(self, *_entry: Any, **_fields: Any) -> None:
        """The history is not part of this model."""

    def write_note(self, _key: str, _value: str) -> None:
        """What others are told of the daemon is not part of this model."""

    def open_boot(self, boot: Boot) -> int:
        """As the real one."""
        number = len(self.disk.boots) + 1
        self.disk = self.disk._replace(boots=self.disk.boots + (boot._replace(id=number),))
        return number

    def write_boot(self, number: int, boot: Boot) -> int:
        """As the real one."""
        boots = list(self.disk.boots)
        boots[number - 1] = boot._replace(id=number)
        self.disk = self.disk._replace(boots=tuple(boots))
        return number

    def open_boots(self) -> Tuple[Boot, ...]:
        """As the real one."""
        return tuple(boot for boot in self.disk.boots if boot.closed_at is None)

    def last_boots(self) -> Dict[str, Boot]:
        """As the real one."""
        return {boot.vm_uuid: boot for boot in self.disk.boots if boot.domid is not None}

    def list_boots(self, vm_uuid: str, limit: int) -> Tuple[Boot, ...]:
        """As the real one."""
        return tuple(boot for boot in reversed(self.disk.boots)
                     if boot.vm_uuid == vm_uuid)[:limit]

    def _next(self) -> int:
        self.disk = self.disk._replace(sequence=self.disk.sequence + 1)
        return self.disk.sequence

    def _put(self, name: str, key: Any, value: Any) -> None:
        changed = dict(getattr(self.disk, name))
        changed[key] = value
        self.disk = self.disk._replace(**{name: changed})

    def _drop(self, name: str, key: Any) -> None:
        changed = dict(getattr(self.disk, name))
        if changed.pop(key, None) is not None:
            self.disk = self.disk._replace(**{name: changed})


class Registry:
    """The shared file: read whole, noticed when it has changed."""

    next_look = None

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_touched = False

    def read_unjudged(self) -> Contents:
        """As the real one."""
        return self._journal.disk.contents

    def has_changed(self) -> bool:
        """Whether somebody wrote since the last look."""
        self.is_touched, was_touched = False, self.is_touched
        return was_touched


def build_view(journal: Journal, registry: Registry) -> RegistryView:
    """The real RegistryView, on this disk."""
    view = RegistryView('/nowhere/registry.db')
    view.journal = journal  # type: ignore
    view.registry = view.watch = registry  # type: ignore
    return view
