"""Reviews VMs: one, those whose row changed, all, and those that a change concerns.

Between what has happened (`daemon.py`) and the decision for one VM (`stager.py`). VMs that carry
one number stand to each other: when one of them changes or goes, the others deserve a look. They
may be hundreds: each is looked at once, however many of them have changed, and some at a time.
"""

import collections
from typing import Callable, Dict, Iterable, Optional

from watcher.runtime.logs import get_logger
from watcher.staging.stager import Staging
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.write_permit import WritePermit
from watcher.vm.record import VmRecord

# A VM that we fail at is left alone for so long.
_HOLD_SECONDS = 30.0
# How long the daemon stays with edited VMs, and with peers of changed ones, at a stretch.
SLICE_SECONDS = 0.002


class Reviews:
    """Has staging look at VMs, in the order in which they matter."""

    def __init__(self, inventory: Inventory, staging: Staging, number_claims: NumberClaims,
                 permit: WritePermit, clock: Callable[[], float]) -> None:
        self._inventory = inventory
        self._staging = staging
        self._number_claims = number_claims
        self._permit = permit
        self._clock = clock
        self._concerned: Dict[int, str] = {}
        """The numbers of VMs that have changed, and the ref of the VM, or '' for several."""
        self._waiting: 'collections.OrderedDict[str, None]' = collections.OrderedDict()
        """The refs of edited VMs, and of peers, that deserve a look."""

    @property
    def is_waiting(self) -> bool:
        """Whether there are VMs still to be looked at."""
        return bool(self._concerned or self._waiting)

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
        for vm in map(self._inventory.find_by_uuid, touched):
            if vm is not None:
                self._staging.note_edited(vm.ref)
                self._waiting[vm.ref] = None
                self._waiting.move_to_end(vm.ref, last=False)  # before those that wait already
                self.note_changed((vm,))
        self.advance()

    def note_changed(self, vms: Iterable[Optional[VmRecord]]) -> None:
        """These VMs have changed or are gone: `advance` looks at those that stand differently."""
        for vm in vms:
            if vm is not None and self._staging.policy is not None:
                for vm_id in self._number_claims.find_concerned(vm):
                    is_first = self._concerned.setdefault(vm_id, vm.ref) == vm.ref
                    self._concerned[vm_id] = vm.ref if is_first else ''

    def advance(self) -> None:
        """Look at those that wait, for one slice; the rest waits for the next."""
        if self._concerned:
            self._waiting.update(dict.fromkeys(self._number_claims.list_peers(self._concerned)))
            self._concerned.clear()
        now = self._clock()
        until = now + SLICE_SECONDS
        while self._waiting:
            self.at(self._waiting.popitem(last=False)[0], now)
            now = self._clock()
            if now >= until:
                break
