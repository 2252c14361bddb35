"""A host that leaves the resource pool, as `pool.eject` has it, and joins it again.

Its dom0 stays as it is, /etc/vgpu with it; XAPI forgets the pool's secret, and comes up as the
master of a resource pool of its own that knows none of the VMs.
"""

import json
import os
import signal
from typing import Any, Iterator, List

import pytest

from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.integration.daemon.world import KEY, span, wait_until
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin
from tests.integration.pool.world import Host, PoolWorld


@pytest.fixture
def own_pool(tmp_path: Any) -> Iterator[Simulator]:
    """The resource pool that the host makes up when it has left."""
    simulator = Simulator(SimulatorSettings(socket_path=os.path.join(tmp_path, 'own'), seed=77))
    simulator.start()
    yield simulator
    simulator.stop()


def register(pool: PoolWorld, count: int) -> List[str]:
    """Registered VMs, which all hosts know of; their refs."""
    refs = [pool.create_vm('vm-%d' % number) for number in range(1, count + 1)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    pool.wait_agreed()
    return refs


def leave(pool: PoolWorld, host: Host, own_pool: Simulator) -> None:
    """Eject the host; its daemon then talks to a XAPI that has another secret."""
    pool.lose(host)
    with open(host.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(host.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace(host.node.socket_path, own_pool.settings.socket_path))
    with open(os.path.join(host.node.root, 'ptoken'), 'w', encoding='ascii') as stream:
        stream.write('the secret of its own')
    host.start_daemon()
    host.daemon.wait_for('mirror.written')


def join(pool: PoolWorld, host: Host, with_daemon: bool = True) -> None:
    """Have the host join the resource pool again, whose secret it gets."""
    host.daemon.stop(signal.SIGTERM)
    host.install()
    pool.bring_back(host, with_daemon)


@pytest.mark.parametrize('runs_as_member', [True, False])
def test_what_was_tidied_up_on_an_ejected_host_is_not_brought_back(
        pool: PoolWorld, own_pool: Simulator, runs_as_member: bool) -> None:
    _old, ejected, _third = pool.hosts
    refs = register(pool, 3)
    wanted = pool.wait_agreed()
    leave(pool, ejected, own_pool)
    for ref in refs:
        pool.remove(ref, ejected)
    join(pool, ejected, runs_as_member)
    if runs_as_member:
        pool.wait_agreed(wanted)
    pool.xapi.designate_new_master(ejected.ref)
    if not runs_as_member:
        ejected.start_daemon()
    pool.wait_agreed(wanted)
    for number, ref in enumerate(refs, 1):
        pool.start_vm(ref)
        assert pool.took(ref, span(number))


def test_what_a_person_keeps_on_a_host_that_has_joined_counts(pool: PoolWorld,
                                                              own_pool: Simulator) -> None:
    """Until its daemon has looked, nothing is changed by the registry of another pool."""
    _old, ejected, _third = pool.hosts
    refs = register(pool, 2)
    leave(pool, ejected, own_pool)
    pool.remove(refs[1], ejected)
    kept = ejected.assignments()
    join(pool, ejected, with_daemon=False)
    pool.xapi.designate_new_master(ejected.ref)
    admin = Admin(ejected)
    refused = admin.run('set-pool', 'vm-1', '--pool=B')
    assert refused.status == 4 and 'that of another resource pool' in refused.err
    assert '"newer"' in admin.run('--json', 'registry', 'compare').out
    assert admin.run('registry', 'keep', '--yes').status == 0
    ejected.start_daemon()
    pool.wait_agreed(kept)
    pool.wait_args(refs[1], None)


def test_vms_that_a_host_brings_along_are_nobodys_and_keep_what_they_carry(
        pool: PoolWorld, own_pool: Simulator) -> None:
    """As `pool.join` has it: under their own UUIDs, with all that stands in their records."""
    _old, joining, _third = pool.hosts
    register(pool, 1)
    wanted = pool.wait_agreed()
    leave(pool, joining, own_pool)
    own = own_pool.create_vm('own')
    with joining.registry.edit(who='test', command='register-vm') as edit:
        edit.add_vm(own_pool.vm(own)['uuid'], vm_name='own', vm_id=9)
    wait_until(lambda: own_pool.vm(own)['platform'].get(KEY) == span(9), 'its arguments')
    wait_until(lambda: any(line['vms'] == 2 for line in joining.daemon.events('mirror.written')),
               'both in its own mirror')
    record = own_pool.vm(own)
    brought = pool.xapi.create_vm('own', record['uuid'], record['platform'],
                                  other_config=record['other_config'])
    join(pool, joining)
    pool.wait_agreed(wanted)
    pool.xapi.designate_new_master(joining.ref)
    wait_until(lambda: joining.daemon.events('session.opened', writes=True), 'the new master')
    joining.daemon.wait_for('vm.arrived', vm_uuid=record['uuid'])
    # Not orphaned, which would cost it its arguments as soon as it has rested.
    shown = json.loads(Admin(joining).run('--json', 'show-vm', 'own').out)['vm']
    assert (shown['state'], shown['carried']) == ('manual', span(9))
    pool.start_vm(brought)
    assert pool.took(brought, span(9))


def test_an_edit_after_a_rebuild_by_hand_counts_on_a_host_that_has_joined(
        pool: PoolWorld, own_pool: Simulator) -> None:
    """From then on the registry is that of the resource pool that it was rebuilt in."""
    _old, ejected, _third = pool.hosts
    refs = register(pool, 2)
    leave(pool, ejected, own_pool)
    pool.remove(refs[1], ejected)
    join(pool, ejected, with_daemon=False)
    pool.xapi.designate_new_master(ejected.ref)
    admin = Admin(ejected)
    assert admin.run('registry', 'rebuild', '--yes').status == 0
    for name in ('vm-1', 'vm-2'):
        done = admin.run('set-pool', name, '--pool=B')
        assert done.status == 0, done.err
    edited = ejected.assignments()
    ejected.start_daemon()
    pool.wait_agreed(edited)


def test_a_host_that_has_joined_tells_a_wiped_master_nothing_of_its_former_pool(
        pool: PoolWorld, own_pool: Simulator) -> None:
    """Its daemon has not looked yet; there it was further on than this pool ever was."""
    master, joining, _third = pool.hosts
    register(pool, 1)
    wanted = pool.wait_agreed()
    leave(pool, joining, own_pool)
    for number in range(2, 8):
        with joining.registry.edit(who='test', command='register-vm') as edit:
            edit.add_vm('%08x-1111-4222-8333-444455556666' % number, vm_name='own', vm_id=number)
        wait_until(lambda: joining.daemon.events('mirror.written')[-1]['vms'] == number,
                   'one more generation')
    join(pool, joining, with_daemon=False)
    for host in pool.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    master.wipe()
    master.start_daemon()
    wait_until(lambda: master.assignments() == wanted or master.daemon.events('mirror.undecided'),
               'a decision')
    assert not master.daemon.events('mirror.undecided')


def test_an_edit_counts_on_a_host_that_has_joined_with_the_registry_that_the_pool_has(
        pool: PoolWorld, own_pool: Simulator) -> None:
    """It was ejected and taken in again, and nothing was tidied up in between."""
    _old, ejected, _third = pool.hosts
    register(pool, 1)
    leave(pool, ejected, own_pool)
    join(pool, ejected, with_daemon=False)
    pool.xapi.designate_new_master(ejected.ref)
    done = Admin(ejected).run('set-pool', 'vm-1', '--pool=B')
    assert done.status == 0, done.err
    edited = ejected.assignments()
    ejected.start_daemon()
    pool.wait_agreed(edited)
