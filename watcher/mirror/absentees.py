"""Who is absent and who is gone, for the pool's entry; kept up to date VM by VM.

Absent is a row whose VM is not there; gone is a VM that has an entry of ours
and no row any more. Pure.
"""

from typing import Dict, Iterable, Optional, Set


class Absentees:
    """What the VMs looked at last mean for the pool's entry."""

    def __init__(self) -> None:
        self._present: Dict[str, str] = {}
        self._bearers: Dict[str, int] = {}
        self._gone: Dict[str, str] = {}
        self._rows: Set[str] = set()
        self.absent: Set[str] = set()
        """The UUIDs of rows without a VM."""

    @property
    def gone(self) -> Set[str]:
        """The UUIDs of VMs with an entry of ours, and without a row."""
        return set(self._gone.values())

    def begin(self, rows: Iterable[str]) -> None:
        """Other rows: the VMs that exist are named again, one by one."""
        self._present.clear()
        self._bearers.clear()
        self._gone.clear()
        self._rows = set(rows)
        self.absent = set(self._rows)

    def note(self, ref: str, vm_uuid: Optional[str], *, is_gone: bool = False) -> None:
        """This is what the VM counts as now; without a UUID it is not there."""
        before = self._present.get(ref)
        if before != vm_uuid:
            if before is not None:
                self._leave(ref, before)
            if vm_uuid is not None:
                self._present[ref] = vm_uuid
                self._bearers[vm_uuid] = self._bearers.get(vm_uuid, 0) + 1
                self.absent.discard(vm_uuid)
        if vm_uuid is not None and is_gone:
            self._gone[ref] = vm_uuid
        else:
            self._gone.pop(ref, None)

    def _leave(self, ref: str, vm_uuid: str) -> None:
        del self._present[ref]
        self._bearers[vm_uuid] -= 1
        if not self._bearers[vm_uuid]:
            del self._bearers[vm_uuid]
            if vm_uuid in self._rows:
                self.absent.add(vm_uuid)
