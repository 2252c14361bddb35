"""Three hosts, a daemon on each: only the master's writes, and boots are right on all hosts."""

from tests.integration.daemon.world import span, wait_until


def test_only_the_masters_daemon_writes_and_every_host_boots_right(pool):
    refs = [pool.create_vm('vm-%d' % number) for number in range(3)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
    for number, ref in enumerate(refs, 1):
        pool.wait_args(ref, span(number))
    for ref, host in zip(refs, pool.hosts):
        boot = pool.start_vm(ref, host)
        assert boot.host == host.ref
    for number, ref in enumerate(refs, 1):
        assert pool.took(ref, span(number))
    assert pool.writes_of(pool.hosts[0])
    for host in pool.members:
        assert pool.writes_of(host) == []


def test_after_a_failover_with_a_fresh_copy_the_new_masters_daemon_stages(pool):
    """The registry goes along through the mirror: nobody carries it over."""
    ref = pool.create_vm('web')
    pool.register(ref, vm_id=7)
    pool.wait_args(ref, span(7))
    old, new = pool.hosts[0], pool.hosts[1]
    pool.wait_agreed()
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.fail_over(new.ref)
    pool.change(ref, pool_id='B')
    pool.wait_args(ref, span(7, pool='B'))
    assert pool.writes_of(new)
    pool.start_vm(ref, pool.hosts[2])
    wait_until(lambda: pool.took(ref, span(7, pool='B')), 'the QEMU')
    assert pool.writes_of(pool.hosts[2]) == []
