"""Feeds VM records and inspection results to the receipts.

Between the Watcher, which takes records and looks, and the receipts (`receipts.py`), which know
neither registry nor inventory.
"""

from typing import Callable, Iterable, Optional

from registry.journal.journal import Journal
from watcher.boots.receipts import Inspected, Receipts
from watcher.staging.stager import Staging
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.vm.boot import BootFinding
from watcher.vm.record import VmKind, VmRecord

# A journal that stays locked: boots that an earlier daemon has told may then be told again.
_PATIENCE_SECONDS = 10.0


class BootObserver:
    """Tells the receipts what they need to know of registry and inventory."""

    def __init__(self, view: RegistryView, inventory: Inventory, staging: Staging,
                 receipts: Receipts, clock: Callable[[], float]) -> None:
        self._view = view
        self._inventory = inventory
        self._staging = staging
        self._receipts = receipts
        self._clock = clock
        self._waits_since: Optional[float] = None
        receipts.hold_back()

    def recall(self, journal: Journal, local_host: Optional[str]) -> None:
        """Take up what an earlier daemon left open, and then what was held back for it."""
        self._receipts.recall(journal, local_host)
        self._receipts.go_on()

    def wait_for_past(self) -> None:
        """The journal is not open: wait while it is locked, so that no boot is logged twice."""
        now = self._clock()
        if self._waits_since is None:
            self._waits_since = now
        is_locked = self._view.is_journal_locked or not self._view.was_read
        if not is_locked or now - self._waits_since > _PATIENCE_SECONDS:
            self._receipts.go_on()

    def note(self, vms: Iterable[VmRecord]) -> None:
        """Take records. Not before it is known which VMs are registered: a boot is logged once."""
        for vm in vms if self._view.was_read else ():
            if vm.kind is VmKind.VM:
                self._receipts.note_record(
                    vm, self._staging.find_desired(vm), self._staging.policy.read(vm).managed,
                    is_registered=vm.uuid in self._view.assignments,
                    had_ours=vm.uuid in self._view.removed)

    def note_gone(self, vm: VmRecord) -> None:
        """The VM is in the inventory no more."""
        is_replaced = self._inventory.find_by_uuid(vm.uuid) is not None
        self._receipts.note_gone(vm, is_replaced=is_replaced)

    def take(self, looked: Inspected) -> None:
        """Take what a domain runs with; a guest without QEMU runs with nothing of ours."""
        vm = self._inventory.find_by_uuid(looked.vm_uuid)
        if vm is not None and not vm.has_qemu:
            looked = looked._replace(finding=BootFinding())
        adding = self._staging.busy.get(vm.ref) if vm is not None else None
        if adding is not None and adding.is_rescue and looked.finding.found == adding.stage:
            # XAPI has added it, and its answer is still on its way.
            self._receipts.note_rescued(looked.vm_uuid)
        self._receipts.note_looked(looked, self._view.find_staged(looked.vm_uuid))
