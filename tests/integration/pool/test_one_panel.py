"""One panel: with a daemon on each host, every host's vgpu-admin shows and edits the same."""

import signal

import pytest

from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin


@pytest.fixture
def world(pool):
    """Three hosts with daemon and plugin."""
    for host in pool.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    return pool


def test_vm_registered_on_one_member_and_booted_on_another_is_told_the_same_everywhere(world):
    first, second = [Admin(host) for host in world.members]
    ref = world.create_vm('web')
    vm = '--vm-uuid=' + world.uuid(ref)
    run = first.run('register-vm', vm, '--pool=B')
    assert run.status == 0 and 'staged' in run.out.lower(), run
    world.wait_args(ref, span(1, pool='B'))
    world.start_vm(ref, world.members[1])

    def find_verdict():
        boot = second.run('show-vm', vm, '--json').document['vm']['last_boot']
        return boot and boot['verdict']
    assert wait_until(find_verdict, 'the verdict') == 'as_desired'
    told = [Admin(host).run('explain', vm) for host in world.hosts]
    assert told[0].status == 0 and 'as_desired' in told[0].out
    assert [run.out for run in told] == [told[0].out] * 3
    states = [Admin(host).run('status', '--json').document['states'] for host in world.hosts]
    assert states == [states[0]] * 3


def test_restart_asked_for_on_a_member_is_verified_where_the_vm_runs(world):
    member = Admin(world.members[0])
    ref = world.create_vm('web', affinity=world.members[1].ref)
    vm = '--vm-uuid=' + world.uuid(ref)
    assert member.run('register-vm', vm).status == 0
    world.wait_args(ref, span(1))
    world.start_vm(ref, world.members[1])
    run = member.run('set-priority', vm, '--priority=high', '--yes')
    assert run.status == 0 and 'it runs with what is assigned' in run.out, run
    assert world.took(ref, span(1, priority='high'))


def test_boot_is_looked_at_once_and_a_steady_pool_costs_no_call_of_a_plugin(world):
    ref = world.create_vm('web')
    Admin(world.members[0]).run('register-vm', '--vm-uuid', world.uuid(ref))
    world.wait_args(ref, span(1))
    world.start_vm(ref, world.members[1])

    def count_looks():
        return len([call for host in world.hosts for call in world.xapi.calls_of(host.ref)
                    if call.method == 'host.call_plugin'])
    wait_until(count_looks, 'the look')
    world.master.daemon.wait_for('vm.booted', verdict='as_desired')
    for host in world.hosts:
        host.daemon.process.send_signal(signal.SIGHUP)
        host.daemon.wait_for('settings.reloaded')
    assert count_looks() == 1
