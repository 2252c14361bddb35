"""Values that a version before 0.2 had removed from a VM when it was killed (P16).

It replaced in two calls, and had the whole new value in the journal before the first. What is
left there is put back where the key is absent, by one call, and then forgotten; nothing is
written there any more.
"""

from typing import Any, Callable, Dict, FrozenSet, Optional

from registry.journal.journal import Journal
from watcher.runtime.logs import get_logger
from watcher.staging.start_blocks import find_taken
from watcher.state.registry_view import RegistryView
from watcher.vm.record import VmRecord


class Leftovers:
    """The journal's replacements, until each has come to its end."""

    def __init__(self, view: RegistryView,
                 write: Callable[[Callable[[Journal], Any]], None]) -> None:
        self._view = view
        self._write = write
        self._left: Dict[str, Optional[str]] = {}

    def recall(self) -> None:
        """Read what the journal holds."""
        for item in self._view.journal.replacements():
            self._left[item.vm_uuid] = item.after
            get_logger().warning('replacement.recovered', vm_uuid=item.vm_uuid,
                                 before=item.before, after=item.after)

    def find(self, vm: VmRecord) -> Optional[str]:
        """The whole value that belongs where the VM's key is absent; None when nothing does."""
        return find_taken(vm, self._left)

    def note(self, vm: VmRecord) -> None:
        """Take a record: one that has the key, or shall have none, needs nothing any more."""
        if vm.uuid in self._left and (vm.args is not None or self._left[vm.uuid] is None):
            self.forget(vm.uuid)

    def forget_vanished(self, known: FrozenSet[str]) -> None:
        """Forget those of VMs that do not exist any more."""
        for vm_uuid in set(self._left) - known:
            self.forget(vm_uuid)

    def forget(self, vm_uuid: str) -> None:
        """The value is back, or its VM is gone."""
        if vm_uuid in self._left:
            del self._left[vm_uuid]
            self._write(lambda journal: journal.end_replacement(vm_uuid))
