"""Fences of ours that stand where no replacement is under way, and their end (P7).

A dead daemon, a lost connection or a revert leaves them. Nothing else is written while one is
known to be left; an event may also show the fence of a replacement just finished, which the next
event does not show any more.
"""

from typing import Callable, Dict, Iterable, Optional

from watcher import fence
from watcher.inventory import Inventory
from watcher.jobs import FencesLifted
from watcher.logs import get_logger
from watcher.records import Kind, VmRecord

# Longer than an event is on its way, shorter than the second that a fence may stand.
_ECHO_SECONDS = 0.7
# XAPI refuses to lift it, or cannot be reached: others must not wait for this one for ever.
_RETRY_SECONDS = 1.0


class Lifting:
    """Which fences are known to be left, and which are only suspected."""

    def __init__(self, inventory: Inventory, submit: Callable[[str], None]) -> None:
        self._inventory = inventory
        self._submit = submit
        self._left: Dict[str, float] = {}
        self._suspected: Dict[str, float] = {}

    @property
    def is_clear(self) -> bool:
        """Whether other things may be written."""
        return not self._left

    @property
    def next_due(self) -> Optional[float]:
        """When `check` has something to do."""
        return min(self._suspected.values()) if self._suspected else None

    def restart(self) -> None:
        """A new session: what is left will show in its first batch."""
        self._left.clear()
        self._suspected.clear()

    def note_left(self, vms: Iterable[VmRecord], now: float) -> None:
        """The first records of a session: what they show was left by somebody."""
        for vm in vms:
            if vm.kind is Kind.VM and fence.list_fences(vm):
                self.lift(vm.ref, now)

    def lift(self, ref: str, now: float) -> None:
        """This one is known to be left: lift it before anything else is written."""
        self._left[ref] = now
        self._submit(ref)

    def suspect(self, vm: VmRecord, now: float) -> None:
        """An event shows a fence: look again in a moment."""
        if vm.kind is Kind.VM and fence.list_fences(vm) and vm.ref not in self._left:
            self._suspected.setdefault(vm.ref, now + _ECHO_SECONDS)

    def check(self, now: float, busy: Iterable[str]) -> None:
        """Lift what was suspected and is still there."""
        for ref in [ref for ref, at in self._suspected.items() if at <= now]:
            del self._suspected[ref]
            vm = self._inventory.find(ref)
            if vm is not None and fence.list_fences(vm) and ref not in busy:
                self._submit(ref)

    def take(self, lifted: FencesLifted, now: float) -> None:
        """Take what became of a job."""
        self._left.pop(lifted.ref, None)
        if lifted.error:
            self._suspected[lifted.ref] = now + _RETRY_SECONDS
            get_logger().warning('fence.not_lifted', vm_ref=lifted.ref, error=lifted.error)
        elif lifted.operations and lifted.vm is not None:
            get_logger().warning('fence.lifted', vm_uuid=lifted.vm.uuid, vm_name=lifted.vm.name,
                                 operations=list(lifted.operations))
