"""The pool is split and has two masters: each daemon keeps to its own side, and one line wins."""

from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.world import PoolWorld


def stage(pool: PoolWorld, count: int) -> list:
    refs = [pool.create_vm('vm-%d' % number) for number in range(1, count + 1)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
    for number, ref in enumerate(refs, 1):
        pool.wait_args(ref, span(number))
    pool.wait_agreed()
    pool.xapi.sync_database()
    return refs


def carried_on(pool: PoolWorld, host_ref: str, ref: str) -> object:
    """What a VM carries in the database of a host's own master."""
    state = pool.xapi.nodes[host_ref].reign.state
    return state.database.read('VM', ref, 'platform').get('device-model-args')


def test_edits_on_both_sides_end_in_one_line(pool: PoolWorld) -> None:
    old, new, third = pool.hosts
    refs = stage(pool, 2)
    pool.xapi.split([old.ref], [new.ref, third.ref])
    pool.xapi.fail_over(new.ref)
    new.daemon.wait_for('stream.resynced')
    pool.change(refs[0], host=old, pool_id='B')
    wait_until(lambda: carried_on(pool, old.ref, refs[0]) == span(1, pool='B'), 'the old side')
    pool.wait_args(refs[0], span(1))
    pool.change(refs[1], host=new, pool_id='B')
    pool.wait_args(refs[1], span(2, pool='B'))
    assert carried_on(pool, old.ref, refs[1]) == span(2)
    pool.xapi.heal()
    wanted = pool.wait_agreed()
    assert {vm_id: pool_id for vm_id, pool_id, _ in wanted.values()} == {1: 'A', 2: 'B'}
    pool.xapi.clear_calls()
    for ref, value in zip(refs, (span(1), span(2, pool='B'))):
        pool.wait_args(ref, value)
        pool.start_vm(ref, old)
        assert pool.took(ref, value)
    assert pool.writes_of(old) == [] and pool.writes_of(third) == []


def test_both_masters_boot_right_while_they_do_not_know_of_each_other(pool: PoolWorld) -> None:
    old, new, third = pool.hosts
    refs = stage(pool, 2)
    pool.xapi.split([old.ref], [new.ref, third.ref])
    pool.xapi.fail_over(new.ref)
    reign = pool.xapi.nodes[old.ref].reign
    reign.call('VM.start', refs[0], False, False)
    pool.start_vm(refs[1], third)
    assert [(boot.host, boot.args) for boot in pool.xapi.boots] == [
        (old.ref, span(1)), (third.ref, span(2))]
    pool.xapi.heal()
    # What ran on the losing side goes on running, and the winner learns of it.
    wait_until(lambda: pool.xapi.vm(refs[0])['resident_on'] == old.ref, 'the VM')
    assert pool.took(refs[0], span(1)) and pool.took(refs[1], span(2))


def test_a_split_without_another_master_changes_nothing(pool: PoolWorld) -> None:
    old, new, third = pool.hosts
    ref, = stage(pool, 1)
    pool.xapi.split([old.ref], [new.ref, third.ref])
    pool.change(ref, pool_id='B')
    pool.wait_args(ref, span(1, pool='B'))
    pool.xapi.heal()
    pool.wait_agreed()
    pool.start_vm(ref, third)
    assert pool.took(ref, span(1, pool='B'))
