"""P26 in a pool: the daemon of each host tells the consumer of that host whose number is whose."""

from typing import Any

from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.world import PoolWorld
from watcher.consumer.run_directory import RunDirectory, read_instant


def _numbers(host: Any) -> Any:
    return RunDirectory(host.node.directory + '/run/vgpu-watcher').read_numbers()


def _know(host: Any, rows: Any) -> bool:
    """Whether the consumer of a host goes by just these rows."""
    numbers = _numbers(host)
    return numbers is not None and numbers.rows == rows and numbers.is_confirmed(*read_instant())


def test_members_learn_the_rows_by_the_mirror_and_withhold_a_stolen_number(
        pool: PoolWorld) -> None:
    for host in pool.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    owner = pool.create_vm('owner')
    pool.register(owner, 10)
    rows = ((10, pool.uuid(owner)),)
    for host in pool.hosts:
        wait_until(lambda host=host: _know(host, rows), lambda: _numbers(host))
    pools = {_numbers(host).pool for host in pool.hosts}
    assert len(pools) == 1 and pools != {''}
    for number, host in enumerate(pool.hosts):
        thief = pool.create_vm('thief-%d' % number, args=span(10))
        pool.start_vm(thief, host)
        assert span(10).split()[1] not in (host.runs(pool.uuid(thief)) or ['no QEMU'])
        # On the host that runs it, and on the master, which asks that host.
        for daemon in (host.daemon, pool.master.daemon):
            line = daemon.wait_for('vm.booted', vm_uuid=pool.uuid(thief))
            assert (line['verdict'], line['found']) == ('withheld', None)


def test_registered_vm_boots_with_its_number_on_every_host(pool: PoolWorld) -> None:
    ref = pool.create_vm('web')
    for number, host in enumerate(pool.hosts, 5):
        if number == 5:
            pool.register(ref, number)
        else:
            pool.change(ref, vm_id=number)
        wait_until(lambda number=number: pool.args(ref) == span(number), 'staging')
        pool.start_vm(ref, host)
        assert span(number).split()[1] in (host.runs(pool.uuid(ref)) or [])
        pool.xapi.call('VM.hard_shutdown', ref)
