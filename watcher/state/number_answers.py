"""What was worked out about numbers, kept until something changes that it rests on.

Hundreds of VMs may carry one number, or wait for one another: who has a number is the same for all
of them, and is worked out once, not once for each.
"""

from typing import Any, Dict, Optional, Tuple

from watcher.vm.hazards import Having
from watcher.vm.numbers import Owner
from watcher.vm.record import VmRecord


class NumberAnswers:
    """Answers by number, and for circles by VM."""

    def __init__(self) -> None:
        self.vms: Dict[int, Tuple[VmRecord, ...]] = {}
        """The ordinary VMs that have a number."""
        self.having: Dict[int, Having] = {}
        """The same, summed up."""
        self.holders: Dict[int, Tuple[Owner, ...]] = {}
        """The same without copies that others keep from starting."""
        self.movers: Dict[str, Optional[str]] = {}
        """By UUID of a VM that waits: who steps aside in its circle; None when it is in none."""
        self._basis: Tuple[Any, ...] = ()

    def rest_on(self, *basis: Any) -> None:
        """Forget all when one of these is not the object that it was."""
        if len(basis) != len(self._basis) or any(
                one is not other for one, other in zip(basis, self._basis)):
            self._basis = basis
            self.forget()

    def forget(self) -> None:
        """Everything is to be worked out again."""
        for answers in (self.vms, self.having, self.holders, self.movers):
            answers.clear()  # type: ignore
