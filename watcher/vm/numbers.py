"""Which numbers a VM has, and how a number comes to the VM whose row has it (P6, P10).

A number is staged only when no other VM has it. What a halted VM has is what its record carries;
what a running VM has is what its last verified receipt found, whatever is written into its record.
When VMs wait for one another in a circle (swapped or rotated numbers) and all of them rest, one
steps aside: it takes a parked number, which no row has, so that at no moment two VMs carry one
number and none is without arguments (docs/decisions/0014-numbers-that-are-swapped.md).

Pure: no clock, no I/O, no logging.
"""

from typing import Callable, Container, FrozenSet, Iterable, NamedTuple, Optional, Sequence, Tuple

from registry.values import MAX_VM_ID
from watcher.vm.device_args import parse_args, parse_number
from watcher.vm.plan import Policy
from watcher.vm.record import BLOCK_MARK, PowerState, VmRecord

# Numbers above it are parked: the largest there are, which nothing gives out by itself.
PARKED_ABOVE = MAX_VM_ID - 1000000

Spans = FrozenSet[Optional[str]]


class Run(NamedTuple):
    """What is known of a QEMU of a VM, from the receipt of its boot."""
    domain: Tuple[str, int]
    is_verified: bool
    found: Optional[str]
    """Our spans in its arguments."""
    carried: Optional[str]
    """What the record carried when it came up."""
    desired: Optional[str]
    """What the registry asked for when it came up."""
    is_consumed: bool = True
    """False when XAPI delivered arguments and QEMU does not run with them."""


class Owner(NamedTuple):
    """An ordinary VM among those that have, or wait for, numbers."""
    vm_uuid: str
    wanted: Optional[int]
    """The number of its row; None without a row, or with one that asks for nothing now."""
    had: FrozenSet[int]
    is_movable: bool
    """At rest, and its value may be replaced now."""


def is_live(vm: VmRecord) -> bool:
    """Whether a QEMU of the VM runs, or will go on: anything but Halted on no host."""
    return vm.power_state is not PowerState.HALTED or vm.resident_on is not None


def find_spans(vm: VmRecord, carried: Optional[str], run: Optional[Run], staged: Optional[str],
               unproven: Spans = frozenset()) -> Spans:
    """The spans that a VM has, or may have: one when it is known.

    `carried` is ours in the record now, `run` the newest boot that came to a domain, `staged` what
    was in place when the VM last rested ('' for nothing), and `unproven` what stood before a write
    whose effect on a start under way is not known, and what was written.
    """
    if not is_live(vm):
        return frozenset([carried]) | unproven
    may_be = frozenset([carried]) | unproven
    if staged is not None:
        may_be |= {staged or None}
    if run is None:
        return may_be
    if vm.domain == run.domain:
        return (frozenset([run.found]) if run.is_verified
                else may_be | {run.carried, run.desired})
    # A suspended VM goes on with what it ran with, and so does one that is being moved.
    return may_be | ({run.found} if run.is_verified else {run.carried, run.desired})


def find_taken(vm: VmRecord, run: Optional[Run], spans: Spans) -> Spans:
    """The spans that a VM took from XAPI: what it has, unless the consumer left them out.

    No restart mends a consumer: that a change waits for one goes by what XAPI delivered.
    """
    if run is not None and not run.is_consumed and vm.domain == run.domain:
        return frozenset([run.carried])
    return spans


def find_numbers(spans: Iterable[Optional[str]], policy: Policy) -> FrozenSet[int]:
    """The numbers in spans."""
    found = (parse_number(parse_args(span, policy.names), policy.template)
             for span in spans if span)
    return frozenset(number for number in found if number is not None)


def is_blocked_by_others(vm: VmRecord) -> bool:
    """Whether another program has blocked the VM's start: XO does so with its replicas."""
    return any(operation == 'start' and not text.startswith(BLOCK_MARK)
               for operation, text in vm.start_blocks)


def find_holders(owner: Owner, others: Iterable[Owner]) -> Tuple[Owner, ...]:
    """Who keeps a VM from the number of its row, by UUID."""
    return tuple(sorted((other for other in others if other.vm_uuid != owner.vm_uuid
                         and owner.wanted is not None and owner.wanted in other.had),
                        key=lambda other: other.vm_uuid))


def follow_holders(owner: Owner, find_holders_of: Callable[[Owner], Sequence[Owner]],
                   known: Container[str] = ()) -> Tuple[Tuple[Owner, ...], Tuple[Owner, ...]]:
    """From a VM to the one that has its number, and so on; and those of them that are a circle.

    Ends at one of the VMs that are `known` (UUIDs): no circle goes through it that does not
    consist of such alone.
    """
    path, places = [owner], {owner.vm_uuid: 0}
    while True:
        holders = find_holders_of(path[-1])
        if len(holders) != 1:
            return tuple(path), ()
        holder = holders[0]
        if holder.vm_uuid in places:
            return tuple(path), tuple(path[places[holder.vm_uuid]:])
        if holder.wanted is None or holder.vm_uuid in known:
            return tuple(path), ()
        places[holder.vm_uuid] = len(path)
        path.append(holder)


def steps_aside(circle: Sequence[Owner]) -> Optional[str]:
    """Whose move it is in a circle, a UUID: one VM's, once all of them rest."""
    if not circle or not all(owner.is_movable for owner in circle):
        return None
    return min(owner.vm_uuid for owner in circle)


def is_parked(number: int) -> bool:
    """Whether a number is one that VMs of a circle step aside to."""
    return number > PARKED_ABOVE


def find_parking(is_taken: Callable[[int], bool]) -> Optional[int]:
    """The largest free number; None when there is none left to step aside to."""
    return next((number for number in range(MAX_VM_ID, PARKED_ABOVE, -1)
                 if not is_taken(number)), None)


def find_interim(staged: Optional[int], carried: FrozenSet[int],
                 is_free: Callable[[int], bool]) -> Optional[int]:
    """The number that a VM keeps until the one of its row is free.

    Its own old one. A parked one stays: the VM has stepped aside. One that another VM has by now
    is given up, and then it waits without.
    """
    parked = sorted(number for number in carried if is_parked(number) and is_free(number))
    if parked:
        return parked[0]
    return staged if staged and is_free(staged) else None
