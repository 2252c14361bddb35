"""Which pending VMs a restart helps, and in which order.

A VM whose number another VM has comes after that one. VMs that wait for one another's numbers in a
circle are one step: they are stopped together. Whatever no restart of the chosen VMs helps is left,
with the reason.

Pure: no clock, no I/O, no logging.
"""

from typing import (Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Set,
                    Tuple)

from cli.output.text import name_vm
from registry.values import Vm
from watcher.vm.plan import Action, Plan, PlanReason, State
from watcher.vm.record import PowerState, VmRecord

_HALTED = 'it is halted: it is staged as soon as its number is free, and not started'
_WHY_USELESS = {
    PlanReason.NOT_ACCEPTED: "the registry is not accepted: run 'vgpu-admin accept' first",
    PlanReason.PLATFORM_UNSETTLED: 'XAPI completes its platform map at its next start first: shut '
                                   'it down and start it twice',
}


class Waiting(NamedTuple):
    """A registered VM that is pending."""

    row: Vm
    vm: VmRecord
    plan: Plan
    at_rest: Optional[Plan]
    """The plan for it as if it were halted now."""
    holders: Tuple[VmRecord, ...] = ()
    """The other VMs that have the number of its row."""

    @property
    def is_running(self) -> bool:
        """Whether the VM runs."""
        return self.vm.power_state is PowerState.RUNNING


class Step(NamedTuple):
    """VMs that are restarted together: one, or a circle."""

    vms: Tuple[Waiting, ...]
    beside: Tuple[str, ...] = ()
    """UUIDs of halted VMs of the circle: staged along, and never started."""


class Left(NamedTuple):
    """A pending VM that is not restarted, and why."""

    waiting: Waiting
    why: str


class Selection(NamedTuple):
    """The steps in their order, and what is left."""

    steps: Tuple[Step, ...] = ()
    left: Tuple[Left, ...] = ()

    @property
    def vm_count(self) -> int:
        """How many VMs are restarted."""
        return sum(len(step.vms) for step in self.steps)


def select(pending: Sequence[Waiting], is_chosen: Callable[[Waiting], bool],
           limit: Optional[int] = None) -> Selection:
    """Say what to restart, in which order; `pending` are all pending VMs, chosen or not."""
    ordered = sorted(pending, key=lambda item: (item.vm.name, item.vm.uuid))
    whys: Dict[str, str] = {}
    for item in ordered:
        why = _find_obstacle(item, is_chosen(item))
        if why:
            whys[item.vm.uuid] = why
    _spread(ordered, whys)
    free = {item.vm.uuid: item for item in ordered if item.vm.uuid not in whys}
    steps: List[Step] = []
    taken: Set[str] = set()
    count = 0
    for circle in _list_circles(free):
        step = Step(tuple(item for item in circle if item.is_running),
                    tuple(item.vm.uuid for item in circle if not item.is_running))
        if limit is not None and step.vms and (
                count + len(step.vms) > limit or not _needs(circle) <= taken):
            whys.update((item.vm.uuid, _beyond(limit, step)) for item in step.vms)
            continue
        taken |= {item.vm.uuid for item in circle}
        count += len(step.vms)
        steps += [step] if step.vms else []
    return Selection(tuple(steps), tuple(
        Left(item, whys.get(item.vm.uuid, _HALTED)) for item in ordered
        if is_chosen(item) and (item.vm.uuid in whys or not item.is_running)))


def name_of(waiting: Waiting) -> str:
    """A VM as people know it, and as they copy it."""
    return name_vm(waiting.vm.name, waiting.vm.uuid)


def _find_obstacle(item: Waiting, is_chosen: bool) -> str:
    """What keeps a VM from being helped, apart from others; '' when nothing does."""
    if item.is_running and not is_chosen:
        return 'is not among those to be restarted'
    if item.is_running and item.vm.operations:
        return f"it is busy ({', '.join(sorted(item.vm.operation_names))})"
    if not item.is_running and not item.vm.is_at_rest:
        return f'it is {item.vm.power_state.value}, not running: it is not touched'
    plan = item.at_rest
    if plan is None:
        return "its row is not valid: see 'vgpu-admin check'"
    if plan.holder is None and plan.action is Action.NONE and plan.state is not State.AS_DESIRED:
        return _WHY_USELESS.get(plan.reason) or \
            f"a restart would not apply the change: {plan.reason.value.replace('_', ' ')}"
    return ''


def _spread(ordered: Sequence[Waiting], whys: Dict[str, str]) -> None:
    """A VM that waits for one that is not helped, or is not pending at all, is not helped
    either."""
    known = {item.vm.uuid: item for item in ordered}
    while True:
        found = {item.vm.uuid: _describe_holder(holder, known.get(holder.uuid))
                 for item in ordered if item.vm.uuid not in whys
                 for holder in item.holders
                 if holder.uuid not in known or holder.uuid in whys}
        if not found:
            return
        whys.update(found)


def _describe_holder(holder: VmRecord, waiting: Optional[Waiting]) -> str:
    doing = holder.power_state.value if waiting is not None else \
        f'{holder.power_state.value}, and keeps it'
    return f'{name_vm(holder.name, holder.uuid)} still has its number ({doing})'


def _needs(circle: Sequence[Waiting]) -> FrozenSet[str]:
    """The VMs, outside the circle, that must have given a number up before."""
    own = {item.vm.uuid for item in circle}
    return frozenset(holder.uuid for item in circle for holder in item.holders) - own


def _beyond(limit: int, step: Step) -> str:
    if len(step.vms) > limit:
        return f'its number goes round with {len(step.vms)} VMs: --limit={len(step.vms)}'
    return f'beyond --limit={limit}'


def _list_circles(free: Mapping[str, Waiting]) -> List[Tuple[Waiting, ...]]:
    """The VMs in the order in which numbers become free: each alone, or with its circle.

    VMs of one circle wait for the same VMs, themselves included; the holder of a number waits
    for fewer VMs than the one that waits for it.
    """
    circles: Dict[FrozenSet[str], List[Waiting]] = {}
    for uuid, item in free.items():
        circles.setdefault(_list_awaited(free, uuid), []).append(item)
    return [tuple(circle) for _awaited, circle in
            sorted(circles.items(), key=lambda pair: len(pair[0]))]


def _list_awaited(free: Mapping[str, Waiting], vm_uuid: str) -> FrozenSet[str]:
    """The VM, those that have its number, those that have theirs, and so on."""
    awaited, waiting = set(), [vm_uuid]
    while waiting:
        uuid = waiting.pop()
        if uuid not in awaited:
            awaited.add(uuid)
            waiting += [holder.uuid for holder in free[uuid].holders if holder.uuid in free]
    return frozenset(awaited)
