"""VMs whose UUID may change yet: an import shows its VM under a fresh one first.

What such a VM has brought along looks like a copy's until then.
Pure: no clock, no I/O, no logging.
"""

from typing import Any, Dict

from watcher.runtime.timers import DueTimes
from watcher.vm.record import VmRecord

# An import gives its VM its own UUID within milliseconds.
_SETTLE_SECONDS = 1.0


class Settling:
    """By ref, under which UUID an entry that names another VM was found first."""

    def __init__(self, held: DueTimes) -> None:
        self._held = held
        """Until when a VM's entry is left as it is."""
        self._found: Dict[str, str] = {}

    def is_over(self, vm: VmRecord, entry: Any, now: float) -> bool:
        """Whether the entry may go; if not, it is held for a while."""
        if entry is None or entry.vm_uuid == vm.uuid or self._found.get(vm.ref) == vm.uuid:
            return True
        self._found[vm.ref] = vm.uuid
        self._held.set(vm.ref, now + _SETTLE_SECONDS)
        return False

    def note(self, vm: VmRecord) -> None:
        """A record of the VM: under another UUID there is nothing to wait for any more."""
        if self._found.get(vm.ref, vm.uuid) != vm.uuid:
            self._held.pop(vm.ref)

    def drop(self, ref: str) -> None:
        """The VM is gone: nothing of it waits."""
        self._found.pop(ref, None)
        self._held.pop(ref)
