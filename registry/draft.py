"""The rows of an edit: as the file has them, and as they shall be. Judged by their end.

Pure: no clock, no I/O, no logging.
"""

from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from registry.difference import ADDED, CHANGED, MENDED, MOVED, REMOVED, RowChange
from registry.errors import Conflict
from registry.journal.numbers import LARGEST_COUNTED, ORDINARY, Bearer
from registry.proposal import Slot
from registry.rows import RawVm, find_problems, vm_of
from registry.values import MAX_VM_ID, Vm, strip_uuid, text_of


class Draft:
    """Rows by their place: each with what it was, and what it shall be."""

    def __init__(self, rows: Sequence[RawVm], bearers: Mapping[str, Bearer],
                 largest: int) -> None:
        self.taken: Dict[int, str] = {}
        """number -> who bears it, as the caller knows."""
        self.largest = largest
        """The largest number ever given out."""
        held = {(row.key, row.vm_id) for row in rows}
        # Who was noted while there was no row of it, and has one by now, bears what that says.
        self._bearers = [bearer for bearer in bearers.values()
                         if (bearer.vm_uuid, bearer.vm_id) not in held]
        self._origins: List[Optional[RawVm]] = list(rows)
        self._rows: List[Optional[RawVm]] = list(rows)
        self._faults = find_problems(rows)
        self._places: Dict[str, List[int]] = {}
        self._strays: Dict[str, List[int]] = {}
        for index, row in enumerate(rows):
            self._places.setdefault(row.key, []).append(index)
            if row.key != strip_uuid(row.key):
                self._strays.setdefault(strip_uuid(row.key), []).append(index)

    # What is there.

    @property
    def keys(self) -> FrozenSet[str]:
        """Give the UUIDs (lower case) that have a row."""
        return frozenset(row.key for row in self.rows)

    @property
    def rows(self) -> List[RawVm]:
        """Give the rows as they shall be."""
        return [row for row in self._rows if row is not None]

    def list_present(self) -> Iterator[Tuple[int, RawVm]]:
        """List the rows that there shall be, with their places."""
        for index, row in enumerate(self._rows):
            if row is not None:
                yield index, row

    def get(self, index: int) -> RawVm:
        """Give a row that there is."""
        row = self._rows[index]
        assert row is not None
        return row

    def find(self, key: str) -> List[int]:
        """Find the rows of a UUID (lower case)."""
        return self._present(self._places.get(key, ()))

    def find_strays(self, key: str) -> List[int]:
        """Find the rows that have a UUID with something around it."""
        return self._present(self._strays.get(key, ()))

    def find_text(self, text: str) -> List[int]:
        """Find the rows that `check` shows with this text."""
        return [index for index, row in self.list_present()
                if (text_of(row.vm_uuid) or '') == text]

    def fault_of(self, index: int) -> Optional[str]:
        """Say why a row is no assignment; None where it is one, or was made one."""
        return self._faults[index] if self._rows[index] is self._origins[index] else None

    # What is done.

    def insert(self, row: RawVm) -> None:
        """Have a row that is not in the file."""
        self._places.setdefault(row.key, []).append(len(self._rows))
        self._origins.append(None)
        self._faults.append(None)
        self._rows.append(row)
        self.largest = max(self.largest, row.vm_id)

    def remove(self, index: int) -> None:
        """Have a row gone."""
        self._rows[index] = None

    def write(self, index: int, vm: Vm) -> None:
        """Have a row say this."""
        row = self.get(index)
        self._rows[index] = row._replace(
            vm_id=vm.vm_id, vm_uuid=vm.vm_uuid, vm_name=vm.vm_name, pool_id=vm.pool_id,
            priority=int(vm.priority), updated_at=vm.updated_at)
        if row.key != vm.vm_uuid:
            self._places.setdefault(vm.vm_uuid, []).append(index)
            self._places[row.key].remove(index)
        self.largest = max(self.largest, vm.vm_id)

    def take(self, slots: Sequence[Slot]) -> None:
        """Do what was proposed; a name that has changed meanwhile stays as it is now."""
        places: Dict[Any, List[int]] = {}
        for index, origin in enumerate(self._origins):
            if origin is not None:
                places.setdefault(origin.place, []).append(index)
        for origin, wanted in slots:
            if origin is None:
                assert wanted is not None
                self.insert(wanted)
                continue
            index = places[origin.place].pop()
            if wanted is not None and wanted.vm_name == origin.vm_name:
                wanted = wanted._replace(vm_name=self.get(index).vm_name)
            self._rows[index] = wanted

    # What comes of it.

    def list_slots(self) -> Tuple[Slot, ...]:
        """List the rows that are written."""
        return tuple(Slot(self._origins[index], self._rows[index]) for index in self._touched())

    def list_changes(self) -> Tuple[RowChange, ...]:
        """List what becomes of those rows."""
        return tuple(self._describe(index) for index in self._touched())

    def find_conflicts(self) -> Dict[str, str]:
        """Say of each VM why the set cannot be as it is now."""
        owners: Dict[Any, List[int]] = {}
        for index, present in self.list_present():
            owners.setdefault(present.vm_id, []).append(index)
        found = {}
        for index in self._touched():
            row, origin = self._rows[index], self._origins[index]
            if row is None or origin is not None and origin.vm_id == row.vm_id:
                continue
            others = [other for other in owners[row.vm_id] if other != index]
            owner = (self._describe_owner(others[0]) if others else
                     self._find_bearer(row.vm_id, row.key))
            if owner is not None:
                found[row.key] = f'vm_id {row.vm_id} is taken by {owner}; choose another'
        return found

    def find_owner(self, vm_id: int, key: str) -> Optional[str]:
        """Say who has a number, besides a VM itself; None when it is free."""
        for row in self.rows:
            if row.vm_id == vm_id and row.key != key:
                return f'{_describe_row(row)}, which is registered'
        return self._find_bearer(vm_id, key)

    def next_number(self, floor: int) -> int:
        """Give the next free number above the largest that counts.

        What only VMs bear does not use up the numbers: such a one beyond LARGEST_COUNTED is
        stepped over when it comes up.
        """
        used = {row.vm_id for row in self.rows if type(row.vm_id) is int}
        borne = {bearer.vm_id for bearer in self._bearers} | set(self.taken)
        largest = max(used | {number for number in borne if number <= LARGEST_COUNTED}
                      | {floor, self.largest})
        number = largest + 1
        while number in borne:
            number += 1
        if number > MAX_VM_ID:
            raise Conflict(
                f'no automatic vm_id is left: {largest} is in use or was, and {MAX_VM_ID} is the '
                "last; choose a free one with '--vm-id=N'")
        return number

    def _present(self, indexes: Sequence[int]) -> List[int]:
        return [index for index in indexes if self._rows[index] is not None]

    def _touched(self) -> List[int]:
        return [index for index, (origin, row) in enumerate(zip(self._origins, self._rows))
                if origin is not row and not (origin is not None and row is not None
                                              and origin.fields == row.fields)]

    def _describe(self, index: int) -> RowChange:
        origin, row = self._origins[index], self._rows[index]
        before = None if origin is None else vm_of(origin)
        after = None if row is None else vm_of(row)
        problem = self._faults[index] or ''
        if origin is None or row is None:
            return RowChange(ADDED if origin is None else REMOVED, before, after, problem)
        what = MENDED if problem else CHANGED if origin.key == row.key else MOVED
        return RowChange(what, before, after, problem)

    def _describe_owner(self, index: int) -> str:
        """Say whose a number is: a row's, or that of another which the same edit brings."""
        origin, row = self._origins[index], self.get(index)
        is_there = origin is not None and origin.vm_id == row.vm_id
        return _describe_row(row) + (', which is registered' if is_there else
                                     ', which is to have it as well')

    def _find_bearer(self, vm_id: int, key: str) -> Optional[str]:
        for bearer in self._bearers:
            if bearer.vm_id == vm_id and bearer.vm_uuid != key and bearer.kind == ORDINARY:
                name = bearer.vm_name or 'no name'
                return f'VM {bearer.vm_uuid} ({name}), which is not registered but carries it'
        return self.taken.get(vm_id)


def _describe_row(row: RawVm) -> str:
    name = text_of(row.vm_name)
    return f'VM {row.key} ({name})' if name else f'VM {row.key}'
