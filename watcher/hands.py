"""The Watcher's hands: which job goes to the workers, and with what in it.

Each method submits one job and returns at once; what came of it arrives as a message.
"""

import time
from typing import Callable

from watcher import fence
from watcher.injector import (LONGER_PATIENCE_SECONDS, PATIENCE_SECONDS, Outcome, OutcomeKind,
                              carry_out, is_current)
from watcher.inventory import Inventory
from watcher.jobs import Saved, lift_fences, read_vm
from watcher.mirror_slots import Change
from watcher.mirror_writes import write_entry
from watcher.plan import Plan
from watcher.records import VmRecord
from watcher.workers import Clients, Urgency, Workers


class Hands:
    """Submits jobs that call XAPI."""

    def __init__(self, callers: Workers, clients: Clients, inventory: Inventory,
                 is_writer: Callable[[], bool] = lambda: True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._is_writer = is_writer
        self._clock = clock
        self._callers = callers
        self._clients = clients
        self._inventory = inventory
        self._owner = fence.read_owner()

    def carry_out(self, plan: Plan, is_first_attempt: bool) -> None:
        """Carry out a plan; the message is an Outcome."""
        patience_seconds = PATIENCE_SECONDS if is_first_attempt else LONGER_PATIENCE_SECONDS

        def job() -> Outcome:
            # What waited its turn may be overtaken by what events have shown meanwhile (P6).
            if not (self._is_writer()
                    and is_current(plan, self._inventory.find(plan.vm.ref))):
                return Outcome(OutcomeKind.OVERTAKEN, plan)
            return carry_out(self._clients.current(), plan, self._owner,
                             patience_seconds=patience_seconds)
        self._callers.submit(job, Urgency.RESCUE if plan.is_rescue else Urgency.STAGE)

    def reread(self, vm: VmRecord) -> None:
        """Read a record on which something urgent waits; the message is a VmRead."""
        self._submit_read(vm.ref, Urgency.RESCUE)

    def reread_later(self, ref: str) -> None:
        """Read a record when there is nothing better to do."""
        self._submit_read(ref, Urgency.LATER)

    def lift(self, ref: str, saved: Saved) -> None:
        """Lift our fences from a VM, the value first; the message is a FencesLifted."""
        self._callers.submit(lambda: lift_fences(self._clients, ref, saved, self._clock),
                             Urgency.RESCUE)

    def write_mirror(self, table: str, ref: str, change: Change) -> None:
        """Change the mirror's slots of one record; the message is a MirrorWritten."""
        self._callers.submit(
            lambda: write_entry(self._clients, table, ref, change, self._is_writer),
            Urgency.LATER)

    def _submit_read(self, ref: str, urgency: int) -> None:
        self._callers.submit(lambda: read_vm(self._clients, ref, self._clock), urgency)
