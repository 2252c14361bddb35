"""What staging remembers of one VM between two looks; forgetting the VM is forgetting this."""

from typing import NamedTuple, Optional

from watcher.vm.plan import Plan
from watcher.vm.record import VmRecord


class Start(NamedTuple):
    """What was already done for one start of a VM."""
    task: Optional[str]
    adds: int = 0


class Wrote(NamedTuple):
    """A write of ours that answers on their way do not show yet."""
    before: Optional[str]
    at: float


class Progress:
    """One VM's jobs: what failed, what was written, what is still open."""

    __slots__ = ('held_until', 'failures', 'overtaken', 'start', 'wrote', 'ended_at', 'unproven',
                 'in_doubt', 'resident_since')

    def __init__(self) -> None:
        self.held_until: Optional[float] = None
        self.failures = 0
        self.overtaken = 0
        """How often, one after the other, the VM had changed before it could be written."""
        self.start: Optional[Start] = None
        self.wrote: Optional[Wrote] = None
        self.ended_at: Optional[float] = None
        """When the last job came to its end."""
        self.unproven: Optional[VmRecord] = None
        """The record as it should be after our write, until one that was read says so."""
        self.in_doubt: Optional[Plan] = None
        """What was sent to XAPI without an answer."""
        self.resident_since: Optional[float] = None
        """Since when it has been Halted with a host that still has it."""

    def forgive(self) -> None:
        """Nothing that failed holds the VM up any more."""
        self.held_until = None
        self.failures = self.overtaken = 0
