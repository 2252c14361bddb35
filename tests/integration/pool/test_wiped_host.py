"""A host is installed anew: its registry comes back, and no assignment is lost."""

import os

import pytest

from registry.values import Priority
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.world import PoolWorld

VMS = 5


def stage(pool: PoolWorld) -> list:
    refs = [pool.create_vm('vm-%d' % number) for number in range(1, VMS + 1)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number, priority=Priority(number % 3))
    for number, ref in enumerate(refs, 1):
        pool.wait_args(ref, value(number))
    pool.wait_agreed()
    return refs


def value(number: int) -> str:
    return span(number, priority=Priority(number % 3).name.lower())


@pytest.mark.parametrize('which', [0, 1], ids=['the-master', 'a-member'])
def test_an_upgrade_from_the_iso_loses_nothing(pool: PoolWorld, which: int) -> None:
    refs = stage(pool)
    wanted = pool.master.assignments()
    host, gone = pool.hosts[which], []
    pool.upgrade(host, after_wipe=lambda: gone.append(not os.path.exists(host.registry_path)))
    assert gone == [True]
    assert pool.wait_agreed(wanted) == wanted
    pool.xapi.clear_calls()
    for number, ref in enumerate(refs, 1):
        assert pool.start_vm(ref).args == value(number)
        assert pool.took(ref, value(number))
    # What was staged stands as it was: nothing had to be written.
    assert [method for host in pool.hosts for method in pool.writes_of(host)
            if 'platform' in method] == []


def test_an_edit_after_the_upgrade_of_the_master_is_staged(pool: PoolWorld) -> None:
    refs = stage(pool)
    pool.upgrade(pool.master)
    wait_until(lambda: len(pool.master.assignments()) == VMS, 'the registry')
    pool.change(refs[0], pool_id='B')
    pool.wait_args(refs[0], span(1, pool='B', priority='medium'))
    pool.wait_agreed()


def test_all_hosts_one_after_the_other_and_none_keeps_what_the_first_had(pool: PoolWorld) -> None:
    """In the end every disk is new: the assignments lived in XAPI's database meanwhile."""
    stage(pool)
    wanted = pool.master.assignments()
    for host in pool.hosts:
        pool.upgrade(host)
        assert pool.wait_agreed(wanted) == wanted
