"""What the daemon says of its files and of VMs that need a word, each change once."""

import time
from typing import Any, Dict, FrozenSet, Optional, Tuple

from watcher.books import Books, Change
from watcher.dangers import Danger, find_dangers
from watcher.device_args import parse_args
from watcher.inventory import Inventory
from watcher.logs import get_logger
from watcher.plan import Action, Plan, State
from watcher.roles import Role

_WORTH_SAYING = frozenset([State.CONTESTED, State.UNREADABLE, State.DOUBLED, State.DRIFT,
                           State.ORPHANED])


class Teller:
    """Remembers what was said last."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._journal_problem = ''

    def tell(self, change: Change) -> None:
        """Say what a look at the registry has found."""
        books = self._books
        if change.became_unavailable:
            get_logger().error('registry.unavailable', path=books.path, reason=change.reason,
                               error=change.became_unavailable)
        elif change.became_available:
            get_logger().info('registry.available', path=books.path,
                              vms=len(books.assignments), accepted=books.is_accepted)
        elif change.is_changed:
            get_logger().info('registry.changed', vms=len(books.assignments),
                              touched=len(change.touched), found=change.edits)
        self._tell_journal(books.journal_problem)

    def _tell_journal(self, problem: str) -> None:
        if problem and problem != self._journal_problem:
            get_logger().error('journal.unavailable', path=self._books.journal.path,
                               error=problem)
        elif self._journal_problem and not problem:
            get_logger().info('journal.available', path=self._books.journal.path)
        self._journal_problem = problem


class VmTeller:
    """Remembers what was said last of each VM."""

    def __init__(self, inventory: Inventory, books: Books) -> None:
        self._inventory = inventory
        self._books = books
        self._told: Dict[str, Tuple[Any, ...]] = {}
        self._endangered: Dict[str, Tuple[Danger, ...]] = {}

    def tell(self, plan: Plan, names: FrozenSet[str]) -> None:
        """Say what keeps a VM from being as desired, when it is not simply under way."""
        said = (plan.state, plan.reason, plan.desired)
        if self._told.get(plan.vm.ref) != said:
            self._told[plan.vm.ref] = said
            _tell_state(plan, names)
        self._tell_dangers(plan)

    def forget(self, ref: str) -> None:
        """The VM is gone."""
        self._told.pop(ref, None)
        self._endangered.pop(ref, None)

    def _tell_dangers(self, plan: Plan) -> None:
        vm, number = plan.vm, self._inventory.number_of(plan.vm.ref)
        carriers = map(self._inventory.find, self._inventory.carriers_of(number or 0))
        found = find_dangers(vm, number, filter(None, carriers),
                             self._books.owners.get(number or 0))
        for danger in set(found) - set(self._endangered.get(vm.ref, ())):
            get_logger().warning('vm.endangered', vm_uuid=vm.uuid, vm_name=vm.name,
                                 danger=danger.kind.value, vm_id=danger.vm_id,
                                 others=list(danger.others))
        self._endangered[vm.ref] = found


def _tell_state(plan: Plan, names: FrozenSet[str]) -> None:
    if plan.state is State.PENDING:
        get_logger().info('vm.change_pending', vm_uuid=plan.vm.uuid, vm_name=plan.vm.name,
                          power_state=plan.vm.power_state.value, desired=plan.desired,
                          carried=plan.carried)
    elif plan.action is Action.NONE and plan.state in _WORTH_SAYING:
        reading = parse_args(plan.vm.args, names)
        get_logger().warning(
            'vm.left_alone', vm_uuid=plan.vm.uuid, vm_name=plan.vm.name,
            state=plan.state.value, reason=plan.reason.value, desired=plan.desired,
            carried=plan.carried, problem=reading.problem.value if reading.problem else None)


def describe_watch(books: Books, role: Optional[Role], *, known: int, since: float, waiting: int,
                   is_locked: bool, silent_seconds: float) -> str:
    """One line for whoever asks systemd; without a role XAPI is waited for."""
    if role is None:
        return 'waiting for XAPI; %d VMs known' % known
    if not books.is_available:
        return 'watching; registry unavailable: %s' % books.unavailable
    text = 'watching %d VMs since %s, %d registered, %d wait for a write' % (
        known, render_time(since), len(books.assignments), waiting)
    if not (role.is_writer and is_locked):
        text += ', read-only: %s' % (role.refusal or 'the writer\'s lock is not ours')
    if books.journal_problem:
        text += ', journal unavailable'
    return '%s; last answer %.0f s ago' % (text, silent_seconds)


def render_time(at: float) -> str:
    """A time for people, in UTC."""
    return time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(at))
