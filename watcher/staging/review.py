"""Reviews VMs: one, those whose row changed, all, and those that a change concerns.

Between what has happened (`daemon.py`) and the decision for one VM (`stager.py`). VMs that carry
one number stand to each other: when one of them changes or goes, the others deserve a look.
"""

from typing import Callable, Iterable, Optional

from watcher.runtime.logs import get_logger
from watcher.staging.stager import Staging
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.write_permit import WritePermit
from watcher.vm.record import VmRecord

# A VM that we fail at is left alone for so long.
_HOLD_SECONDS = 30.0


class Reviews:
    """Has staging look at VMs, in the order in which they matter."""

    def __init__(self, inventory: Inventory, staging: Staging, number_claims: NumberClaims,
                 permit: WritePermit, clock: Callable[[], float]) -> None:
        self._inventory = inventory
        self._staging = staging
        self._number_claims = number_claims
        self._permit = permit
        self._clock = clock

    def at(self, ref: str, now: float, is_fresh: bool = False) -> None:
        """Look at one VM; what goes wrong with it costs that VM."""
        try:
            self._staging.review(ref, now, may_write=self._permit.may_write, is_fresh=is_fresh)
        except MemoryError:
            raise  # whatever is begun now may be half done: the service manager starts us again
        except Exception as error:  # around one VM: say it, hold it off, go on
            get_logger().error('vm.processing_failed', vm_ref=ref, error=repr(error),
                               exc_info=True)
            self._staging.defer(ref, now + _HOLD_SECONDS)

    def at_all(self) -> None:
        """Look at every VM, those first that start, then those that rested longest."""
        now = self._clock()
        for vm in sorted(self._inventory.vms,
                         key=lambda vm: self._inventory.precedence_of(vm, now)):
            self.at(vm.ref, now)

    def at_touched(self, touched: Iterable[str]) -> None:
        """Look at the VMs (UUIDs) whose row has changed: what failed before is tried at once."""
        now = self._clock()
        for vm_uuid in touched:
            vm = self._inventory.find_by_uuid(vm_uuid)
            if vm is not None:
                self._staging.note_edited(vm.ref)
                self.at(vm.ref, now)
                self.at_peers_of((vm,))

    def at_peers_of(self, vms: Iterable[Optional[VmRecord]]) -> None:
        """Look at those that stand differently when these VMs change or go."""
        now = self._clock()
        for vm in vms:
            if vm is not None and self._staging.policy is not None:
                for ref in self._number_claims.list_peers(vm, self._staging.policy):
                    self.at(ref, now)
