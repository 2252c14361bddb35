"""Which answers of XAPI say nothing: no record in them differs in what we keep.

Most events of a running VM change a field that decides nothing (memory, metrics, the last time
of something). When all has followed from a record once, and it led to no action, the same record
leads nowhere again: the registry's changes, time and other VMs have looks of their own, and the
scan looks at every VM.
"""

from typing import Container, Dict, Iterable

from watcher.state.inventory import Inventory
from watcher.vm.record import Batch, VmRecord


class ChangeFilter:
    """Remembers the records from which everything has followed."""

    def __init__(self, inventory: Inventory, calm: Container[str]) -> None:
        self._inventory = inventory
        self._calm = calm
        self._followed: Dict[str, VmRecord] = {}

    def is_relevant(self, batch: Batch) -> bool:
        """Whether anything follows from a batch."""
        return bool(batch.is_first or batch.gone or batch.malformed or batch.pools
                    or not all(map(self._is_known, batch.vms)))

    def note_followed(self, vms: Iterable[VmRecord]) -> None:
        """All that follows from these records was done."""
        for vm in vms:
            self._followed[vm.ref] = vm

    def drop(self, ref: str) -> None:
        """The VM is gone."""
        self._followed.pop(ref, None)

    def doubt(self) -> None:
        """The stream was interrupted: whatever comes next counts."""
        self._followed.clear()

    def _is_known(self, vm: VmRecord) -> bool:
        ref, inventory = vm.ref, self._inventory
        # What a job of ours read, or wrote, stands in the inventory and was not followed.
        return (self._followed.get(ref) == vm == inventory.find(ref)
                and ref in self._calm and ref not in inventory.aside and not vm.start_blocks
                # What two QEMUs share may become a danger by what the other one does.
                and len(inventory.carriers_of(inventory.number_of(ref) or 0)) < 2)
