"""Fences of ours that stand where no replacement is under way, and their end (P7).

A dead daemon, a lost connection or a revert leaves them. Nothing else is written while one is
known to be left; an event may also show the fence of a replacement just finished, which the next
event does not show any more.
"""

from typing import Callable, Container, Dict, Iterable, Optional

from watcher import fence
from watcher.inventory import Inventory
from watcher.jobs import FencesLifted
from watcher.logs import get_logger
from watcher.records import Kind, VmRecord

# Longer than an event is on its way, shorter than the second that a fence may stand.
_ECHO_SECONDS = 0.7
_RETRY_SECONDS = 0.3
# XAPI refuses to lift this one, or does not answer: others do not wait for it for ever.
_BLOCKING_SECONDS = 5.0


class Lifting:
    """Which fences are known to be left, and which are only suspected."""

    def __init__(self, inventory: Inventory, submit: Callable[[str], None]) -> None:
        self._inventory = inventory
        self._submit = submit
        self._left: Dict[str, float] = {}
        self._suspected: Dict[str, float] = {}
        self._retries: Dict[str, float] = {}

    @property
    def is_clear(self) -> bool:
        """Whether other things may be written."""
        return not self._left

    @property
    def left(self) -> int:
        """How many VMs are known to have a fence of ours that should not be there."""
        return len(set(self._left) | set(self._retries))

    @property
    def next_due(self) -> Optional[float]:
        """When `check` has something to do."""
        return min(list(self._suspected.values()) + list(self._retries.values()), default=None)

    def restart(self) -> None:
        """A new session: what is left will show in its first batch."""
        self._left.clear()
        self._suspected.clear()
        self._retries.clear()

    def note_left(self, vms: Iterable[VmRecord], now: float, busy: Container[str]) -> None:
        """The first records of a session: what they show was left by somebody."""
        for vm in vms:
            if vm.kind is Kind.VM and fence.list_fences(vm) and vm.ref not in busy:
                self.lift(vm.ref, now)

    def lift(self, ref: str, now: float) -> None:
        """This one is known to be left: lift it before anything else is written."""
        self._left[ref] = now
        self._submit(ref)

    def suspect(self, vm: VmRecord, now: float) -> None:
        """An event shows a fence: look again in a moment."""
        if vm.kind is Kind.VM and fence.list_fences(vm) and vm.ref not in self._left:
            self._suspected.setdefault(vm.ref, now + _ECHO_SECONDS)

    def check(self, now: float, busy: Container[str]) -> None:
        """Lift what could not be lifted before, and what was suspected and is still there."""
        for ref in [ref for ref, at in self._retries.items() if at <= now and ref not in busy]:
            del self._retries[ref]
            self._submit(ref)
        for ref in [ref for ref, at in self._suspected.items() if at <= now]:
            if ref in busy:
                self._suspected[ref] = now + _ECHO_SECONDS
                continue
            del self._suspected[ref]
            vm = self._inventory.find(ref)
            if vm is not None and fence.list_fences(vm):
                self._submit(ref)

    def take(self, lifted: FencesLifted, now: float) -> None:
        """Take what became of a job; one that failed is repeated until it says that all is well."""
        if not lifted.error:
            self._left.pop(lifted.ref, None)
            if lifted.operations and lifted.vm is not None:
                get_logger().warning('fence.lifted', vm_uuid=lifted.vm.uuid,
                                     vm_name=lifted.vm.name, operations=list(lifted.operations))
            return
        if lifted.ref not in self._retries:
            get_logger().warning('fence.not_lifted', vm_ref=lifted.ref, error=lifted.error)
        self._retries[lifted.ref] = now + _RETRY_SECONDS
        if now - self._left.get(lifted.ref, now) > _BLOCKING_SECONDS:
            self._left.pop(lifted.ref, None)
