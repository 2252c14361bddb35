"""When start blocks of a version before 0.2 are lifted: whenever a record shows one (P7).

A dead daemon left them, or a revert has brought one back. `start_blocks.lift` does it, in a job;
what XAPI refuses, and what comes back again and again, is tried with growing pauses.
"""

from typing import Callable, Dict, Optional, Tuple

from watcher.runtime.backoff import find_hold
from watcher.runtime.fights import Fights
from watcher.runtime.logs import RateLimiter, get_logger
from watcher.runtime.timers import DueTimes
from watcher.staging.jobs import BlocksLifted
from watcher.staging.start_blocks import list_blocks
from watcher.vm.record import VmKind, VmRecord


class Lifting:
    """The VMs that have a block of ours, as far as records have shown."""

    def __init__(self, submit: Callable[[str], None]) -> None:
        self._submit = submit
        self._failures: Dict[str, int] = {}
        """Of each VM whose blocks are being lifted, or are to be: how often that failed."""
        self._due = DueTimes()
        self._fights = Fights()
        self._limiter = RateLimiter()

    @property
    def next_due(self) -> Optional[float]:
        """When `check` has something to do."""
        return self._due.first

    def restart(self) -> None:
        """A new session: what is left will show in its first batch."""
        self._failures.clear()
        self._due.clear()

    def note(self, vm: VmRecord, now: float) -> None:
        """Take a record that shows blocks."""
        if vm.kind is VmKind.VM and vm.ref not in self._failures and list_blocks(vm):
            self._failures[vm.ref] = 0
            self._due.set(vm.ref, self._fights.paused_until(vm.ref, now))
            self.check(now)

    def check(self, now: float) -> None:
        """Have those lifted whose time has come."""
        for ref in self._due.take(now):
            self._submit(ref)

    def take(self, lifted: BlocksLifted, now: float) -> None:
        """Take what became of it."""
        ref = lifted.ref
        if not lifted.error:
            self._failures.pop(ref, None)
            if lifted.operations and lifted.vm is not None:
                self._fights.note_write(ref, now)
                self._tell_lifted(lifted.vm, lifted.operations, now)
            return
        held_back = self._limiter.admit((False, ref), now)
        if held_back is not None:
            get_logger().warning('fence.not_lifted', vm_ref=ref, error=lifted.error,
                                 held_back=held_back)
        failures = self._failures.get(ref, 0)
        self._failures[ref] = failures + 1
        self._due.set(ref, now + find_hold(failures))

    def _tell_lifted(self, vm: VmRecord, operations: Tuple[str, ...], now: float) -> None:
        held_back = self._limiter.admit((True, vm.ref), now)
        if held_back is not None:
            get_logger().warning('fence.lifted', vm_uuid=vm.uuid, vm_name=vm.name,
                                 operations=list(operations), held_back=held_back)
