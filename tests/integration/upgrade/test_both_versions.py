"""A pool whose hosts have 0.1 and this version, until all have this one."""

from typing import Any, Callable, Dict, List

import pytest

from registry.values import Priority
from tests.integration.daemon.world import KEY, Daemon, span, wait_until
from tests.integration.pool.test_rolling_upgrade import Boots
from tests.integration.pool.world import Host, PoolWorld
from tests.support.release_0_1 import Release

FOREIGN = '-foo "a  b"'
BOOTING = 4


class Mixed:
    """Three hosts: the master and one member have 0.1, until they are upgraded."""

    def __init__(self, pool: PoolWorld, release: Release, old: List[int]) -> None:
        self.pool, self.release = pool, release
        pool.xapi.start()
        for host in pool.hosts:
            host.install()
        self.old = [pool.hosts[number] for number in old]
        for host in self.old:
            host.daemon = release.build_daemon(host.config_path)
        if pool.master in self.old:
            release.admin(pool.master.daemon, 'init')
        else:
            pool.master.registry.create('test')
        for host in pool.hosts:
            host.start_daemon()

    def register(self, ref: str, vm_id: int) -> None:
        """Give a VM a row on the master, by the commands of its version."""
        if self.pool.master in self.old:
            self.release.admin(self.pool.master.daemon, 'register-vm', '--vm-uuid',
                               self.pool.uuid(ref), '--vm-id=%d' % vm_id)
        else:
            self.pool.register(ref, vm_id)
        self.pool.wait_args(ref, value(vm_id))

    def prioritise(self, ref: str, word: str) -> Any:
        """Change a row there."""
        if self.pool.master not in self.old:
            return self.pool.change(ref, priority=Priority[word.upper()])
        return self.release.begin_admin(self.pool.master.daemon, [
            'set-priority', '--vm-uuid', self.pool.uuid(ref), '--priority=' + word])

    def upgrade(self, host: Host) -> None:
        """Install this version where 0.1 was: the files stay."""
        if host.daemon.process is not None and host.daemon.process.poll() is None:
            host.daemon.stop()
        self.old.remove(host)
        host.daemon = Daemon(host.config_path)
        host.start_daemon()

    def close(self, command: Any) -> None:
        """Have a command end, whatever became of its host."""
        if command is not None:
            command.kill()
            command.communicate()


def value(number: int, priority: str = 'medium') -> str:
    """The whole value of a VM."""
    return '%s %s' % (FOREIGN, span(number, priority=priority))


def agree(pool: PoolWorld, *numbers: int) -> None:
    """All hosts have rows with just these numbers."""
    wait_until(lambda: all(sorted(vm_id for vm_id, _pool, _priority in host.assignments().values())
                           == sorted(numbers) for host in pool.hosts),
               lambda: 'the rows:\n%s' % '\n'.join('%r\n%s' % (
                   host.assignments(), '\n'.join(host.daemon.raw[-8:])) for host in pool.hosts))


# The host dies before the second block, before the value comes back, before the last block goes.
@pytest.mark.parametrize('number', [1, 3, 5])
def test_a_master_with_0_1_dies_in_a_replacement_and_this_version_goes_on(
        build_pool: Callable[..., PoolWorld], release: Release, number: int) -> None:
    pool = build_pool()
    mixed = Mixed(pool, release, [0, 1])
    old, new = pool.hosts[0], pool.hosts[2]
    ref, other = (pool.create_vm(name, args=FOREIGN) for name in ('web', 'db'))
    for subject, vm_id in ((ref, 7), (other, 8)):
        mixed.register(subject, vm_id)
    agree(pool, 7, 8)
    struck = pool.kill_master_at(number, new, is_fresh=True)
    command = mixed.prioritise(ref, 'high')
    wait_until(lambda: not old.node.is_up, lambda: 'death:\n%s' % '\n'.join(old.daemon.raw[-20:]))
    assert struck()
    mixed.close(command)
    left = pool.xapi.vm(ref)
    assert left['blocked_operations'] and (KEY in left['platform']) is (number != 3)
    pool.xapi.fail_over(new.ref)
    said = lambda: {vm_id: priority.name.lower()  # noqa: E731
                    for vm_id, _pool, priority in new.assignments().values()}
    wait_until(lambda: not pool.xapi.vm(ref)['blocked_operations']
               and pool.args(ref) == value(7, said()[7]),
               lambda: 'whole: %r %r\n%s' % (pool.xapi.vm(ref)['blocked_operations'],
                                             pool.args(ref), '\n'.join(new.daemon.raw[-20:])))
    for subject, vm_id in ((ref, 7), (other, 8)):
        assert pool.start_vm(subject, new).args == value(vm_id, said()[vm_id])
    # The dead host comes back with this version on its old files, and then the other.
    pool.bring_back(old, with_daemon=False)
    for host in list(mixed.old):
        mixed.upgrade(host)
    assert pool.wait_agreed() and sorted(said()) == [7, 8]
    assert not any(pool.xapi.vm(subject)['blocked_operations'] for subject in (ref, other))


@pytest.mark.parametrize('order', [[0, 1, 2], [2, 1, 0]], ids=['master-first', 'master-last'])
def test_hosts_are_upgraded_one_after_the_other_while_vms_boot(
        build_pool: Callable[..., PoolWorld], release: Release, order: List[int]) -> None:
    pool = build_pool()
    mixed = Mixed(pool, release, [0, 1, 2])
    edited = pool.create_vm('edited', args=FOREIGN)
    wanted: Dict[str, str] = {}
    for number in range(1, BOOTING + 1):
        ref = pool.create_vm('vm-%d' % number, args=FOREIGN)
        mixed.register(ref, number)
        wanted[ref] = value(number)
    mixed.register(edited, 99)
    agree(pool, 99, *range(1, BOOTING + 1))
    with Boots(pool, list(wanted)):
        for place, word in zip(order, ('high', 'low', 'medium')):
            mixed.upgrade(pool.hosts[place])
            booted = len(pool.xapi.boots)
            command = mixed.prioritise(edited, word)
            pool.wait_args(edited, value(99, word))
            mixed.close(command)
            wait_until(lambda: all(
                priority.name.lower() == word for host in pool.hosts for vm_id, _pool, priority
                in host.assignments().values() if vm_id == 99), 'the edit on every host')
            assert pool.xapi.wait_for(lambda: len(pool.xapi.boots) > booted + 5, 60.0)
    assert [boot for boot in pool.xapi.boots if boot.args != wanted[boot.ref]] == []
    assert not any(pool.xapi.vm(ref)['blocked_operations'] for ref in wanted)


def test_a_host_with_0_1_is_master_for_a_while_in_a_pool_that_signs(
        build_pool: Callable[..., PoolWorld], release: Release) -> None:
    """It follows what is signed, and signs nothing: what it is told waits for its upgrade."""
    pool = build_pool()
    mixed = Mixed(pool, release, [1, 2])
    first, second = pool.hosts[:2]
    ref, other = (pool.create_vm(name, args=FOREIGN) for name in ('web', 'db'))
    for subject, vm_id in ((ref, 7), (other, 8)):
        mixed.register(subject, vm_id)
    agree(pool, 7, 8)
    pool.xapi.sync_database()
    pool.lose(first)
    pool.xapi.fail_over(second.ref)
    command = mixed.prioritise(ref, 'high')
    pool.wait_args(ref, value(7, 'high'))
    mixed.close(command)
    # What 0.1 writes is unsigned: nothing is taken from it, and nothing is undone.
    pool.bring_back(first)
    first.daemon.wait_for('mirror.undecided')
    assert pool.args(ref) == value(7, 'high') and second.assignments() != first.assignments()
    for host in list(mixed.old):
        mixed.upgrade(host)
    wanted = pool.wait_agreed()
    assert sorted(priority.name for _number, _pool, priority in wanted.values()) == [
        'HIGH', 'MEDIUM']
    for subject, content in ((ref, value(7, 'high')), (other, value(8))):
        assert pool.start_vm(subject, second).args == content
