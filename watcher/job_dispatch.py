"""Dispatches the Watcher's jobs to the callers.

Each method submits one job and returns at once; what came of it arrives as a message.
"""

import time
from typing import Callable, List

from watcher.loop.loop import Urgency
from watcher.loop.steps import Steps
from watcher.mirror.slots import SlotChange
from watcher.mirror.witnesses import ask_host, list_hosts
from watcher.mirror.writes import MirrorWritten, write_entry
from watcher.staging.injector import Outcome, OutcomeKind, carry_out, is_current
from watcher.staging.jobs import lift_blocks, read_vm
from watcher.state.inventory import Inventory
from watcher.state.write_permit import WritePermit
from watcher.vm.plan import Plan
from watcher.vm.record import VmRecord
from watcher.xapi.callers import Callers
from watcher.xapi.client import Client


class JobDispatch:
    """Submits jobs that call XAPI."""

    def __init__(self, callers: Callers, inventory: Inventory, permit: WritePermit,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._permit = permit
        self._clock = clock
        self._callers = callers
        self._inventory = inventory
        self._held: List[Callable[[Client], Steps[Outcome]]] = []

    def carry_out(self, plan: Plan) -> None:
        """Carry out a plan; the message is an Outcome.

        What no start waits for is held until `let_go`: first the journal knows of it.
        """
        def job(client: Client) -> Steps[Outcome]:
            # What waited its turn may be overtaken by what events have shown meanwhile (P6).
            if not (self._permit.is_writer
                    and is_current(plan, self._inventory.find(plan.vm.ref))):
                return Outcome(OutcomeKind.OVERTAKEN, plan)
            return (yield from carry_out(client, plan, clock=self._clock))
        if plan.is_rescue:
            self._callers.submit(job, Urgency.RESCUE)
        else:
            self._held.append(job)

    @property
    def is_holding(self) -> bool:
        """Whether a plan waits for `let_go`."""
        return bool(self._held)

    def let_go(self) -> None:
        """Submit the plans that were held."""
        held, self._held = self._held, []
        for job in held:
            self._callers.submit(job, Urgency.STAGE)

    def reread(self, vm: VmRecord) -> None:
        """Read a record on which something urgent waits; the message is a VmRead."""
        self._submit_read(vm.ref, Urgency.RESCUE)

    def reread_later(self, ref: str) -> None:
        """Read a record when there is nothing better to do."""
        self._submit_read(ref, Urgency.LATER)

    def lift(self, ref: str) -> None:
        """Lift our start blocks from a VM; the message is a BlocksLifted."""
        self._callers.submit(lambda client: lift_blocks(client, ref, self._clock),
                             Urgency.RESCUE)

    def write_mirror(self, table: str, ref: str, change: SlotChange) -> None:
        """Change the mirror's slots of one record; the message is a MirrorWritten."""
        def job(client: Client) -> Steps[MirrorWritten]:
            if not self._permit.is_writer:
                return MirrorWritten(table, ref, change)
            return (yield from write_entry(client, table, ref, change))
        self._callers.submit(job, Urgency.LATER)

    def list_hosts(self) -> None:
        """Ask which hosts the pool has; the message is a HostsListed."""
        self._callers.submit(list_hosts, Urgency.STAGE)

    def ask_host(self, host: str, resource_pool: str) -> None:
        """Ask what a host remembers of the mirror; the message is a Testimony."""
        self._callers.submit(lambda client: ask_host(client, host, resource_pool), Urgency.STAGE)

    def _submit_read(self, ref: str, urgency: int) -> None:
        self._callers.submit(lambda client: read_vm(client, ref, self._clock), urgency)
