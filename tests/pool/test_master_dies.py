"""The master's host dies at any write of any edit: nothing is lost or doubled, no boot is wrong.

The host goes with its disk: registry and journal of the dead master are of no use to the next
one, which has what it followed, and XAPI's database in the state of its own copy.
"""

from typing import Any, Callable, Dict

import pytest

from registry.values import Priority
from tests.pool.world import Assignments, PoolWorld
from tests.simulated.world import span, wait_until

FOREIGN = '-foo "a  b"'
# More writes than any edit takes; whoever needs so many has a fault of its own.
MOST_WRITES = 40
# The numbers of the VMs whose edits come next.
NEXT = 1000


def register(pool: PoolWorld, ref: str, number: int) -> None:
    """A new row."""
    pool.register(ref, vm_id=number)


def change(pool: PoolWorld, ref: str, number: int) -> None:
    """Another vGPU pool."""
    pool.change(ref, pool_id='B', priority=Priority.HIGH)


def remove(pool: PoolWorld, ref: str, number: int) -> None:
    """No row any more."""
    pool.remove(ref)


EDITS: Dict[str, Callable[[PoolWorld, str, int], None]] = {
    'register': register, 'change': change, 'remove': remove}


def render(assignments: Assignments, uuid: str) -> str:
    """The whole value that a VM shall carry by these assignments."""
    if uuid not in assignments:
        return FOREIGN
    vm_id, pool_id, priority = assignments[uuid]
    return '%s %s' % (FOREIGN, span(vm_id, pool_id, priority.name.lower()))


def prepare(pool: PoolWorld, edit: str, number: int) -> str:
    """A VM as it is before the edit, known to all hosts; its ref."""
    ref = pool.create_vm('vm-%d' % number, args=FOREIGN)
    if edit != 'register':
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, '%s %s' % (FOREIGN, span(number)))
    pool.wait_agreed()
    return ref


def edit_until_done(pool: PoolWorld, edit: str, ref: str, number: int,
                    is_over: Callable[[], bool]) -> None:
    """Make the edit, and wait until all hosts know of it or the master is dead."""
    master = pool.master
    EDITS[edit](pool, ref, number)
    wanted = master.assignments()
    wait_until(lambda: not master.node.is_up or is_over() or (
        all(host.assignments() == wanted for host in pool.hosts)
        and pool.args(ref) == render(wanted, pool.uuid(ref))
        and not pool.xapi.vm(ref)['blocked_operations']), 'the edit, or the death of the master')


@pytest.mark.parametrize('edit, is_fresh', [
    pytest.param('register', True, id='register-newest-copy'),
    pytest.param('change', True, id='change-newest-copy'),
    pytest.param('change', False, id='change-older-copy'),
    pytest.param('remove', False, id='remove-older-copy')])
def test_at_any_write_of_an_edit(build_pool: Any, edit: str, is_fresh: bool) -> None:
    pool = build_pool(hosts=2).start()
    for number in range(MOST_WRITES):
        old, new = pool.master, pool.members[0]
        ref = prepare(pool, edit, number + 1)
        before = old.assignments()
        # The older copy knows the VM as it was before the edit.
        pool.xapi.sync_database()
        disarm = pool.kill_master_at(number, new, is_fresh=is_fresh)
        edit_until_done(pool, edit, ref, number + 1, lambda: False)
        after = old.assignments()
        if not disarm():
            return
        pool.xapi.fail_over(new.ref)
        wait_until(lambda: new.assignments() in (before, after), lambda: 'neither before nor after '
                   'write %d: %r\n%s' % (number, new.assignments(), '\n'.join(new.daemon.raw[-20:])))
        settle(pool, ref, number + 1)
        judge(pool, ref)
        pool.bring_back(old)
        # With the next edit at the latest the pool is of one mind, the dead master's too.
        pool.register(pool.create_vm('next'), vm_id=NEXT + number)
        pool.wait_agreed()
        judge(pool, ref)
    raise AssertionError('an edit of more than %d writes' % MOST_WRITES)


def settle(pool: PoolWorld, ref: str, number: int) -> None:
    """What an operator does about the one thing that may be left: a new VM that was staged and
    not yet mirrored. Its row is gone with the host; what it carries is shown and left (P9), its
    number is given to nobody else, and it is registered once more."""
    left = '%s %s' % (FOREIGN, span(number))
    if pool.uuid(ref) not in pool.master.assignments():
        wait_until(lambda: not pool.xapi.vm(ref)['blocked_operations'], 'the fence to go')
        wait_until(lambda: pool.args(ref) in (FOREIGN, left), 'the value to come back whole')
        if pool.args(ref) == left:
            assert pool.master.daemon.events('vm.args_injected', vm_uuid=pool.uuid(ref)) == []
            pool.register(ref, vm_id=number)


def judge(pool: PoolWorld, ref: str) -> None:
    """What the VM carries, and takes when it starts, is what the master's registry says."""
    assignments = pool.master.assignments()
    numbers = [vm_id for vm_id, _, _ in assignments.values()]
    assert len(set(numbers)) == len(numbers)
    pool.wait_args(ref, render(assignments, pool.uuid(ref)))
    # A host that died is in the records for a while as if it lived.
    boot = pool.start_vm(ref, pool.master)
    assert boot.args == render(assignments, pool.uuid(ref))
    pool.xapi.call('VM.hard_shutdown', ref)
