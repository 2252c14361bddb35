"""A pool of several hosts: sockets, forwarding, HOST_IS_SLAVE, plugins on the host concerned."""

import os

import pytest
import XenAPI

from simulator.faults import Fault
from simulator.wire.failures import Failure


def test_each_host_answers_on_its_own_socket_for_itself(pool, clients):
    for host in pool.hosts:
        session = clients.local(pool, host)
        assert session.xenapi.session.get_this_host(session.handle) == host
        assert session.xenapi.pool.get_master(pool.pool) == pool.hosts[0]


def test_a_member_hands_calls_on_to_the_master(pool, clients):
    vm = pool.create_vm('web')
    member = clients.local(pool, pool.hosts[1])
    member.xenapi.VM.add_to_platform(vm, 'device-model-args', '-device x')
    assert pool.vm(vm)['platform']['device-model-args'] == '-device x'
    assert [call.method for call in pool.calls_of(pool.hosts[1])][-1] == 'VM.add_to_platform'
    assert pool.calls_of(pool.hosts[0]) == []


def test_a_session_is_good_on_every_host_of_the_pool(pool, clients):
    session = clients.local(pool, pool.hosts[1])
    other = clients.local(pool, pool.hosts[2], logs_in=False)
    other._session = session.handle
    assert other.xenapi.session.get_this_host(session.handle) == pool.hosts[1]


def test_events_arrive_on_a_member(pool, clients):
    member = clients.local(pool, pool.hosts[2])
    first = member.xenapi.event_from(['vm'], '', 0.0)
    vm = pool.create_vm('late')
    second = member.xenapi.event_from(['vm'], first['token'], 5.0)
    assert [event['ref'] for event in second['events']] == [vm]


def test_over_tcp_a_member_names_the_master(pool, clients):
    master = clients.remote(pool, pool.hosts[0])
    assert master.xenapi.pool.get_all() == [pool.pool]
    with pytest.raises(XenAPI.Failure) as caught:
        clients.remote(pool, pool.hosts[1])
    assert caught.value.details == ['HOST_IS_SLAVE', '127.0.0.1']
    member = clients.remote(pool, pool.hosts[1], logs_in=False)
    member._session = master.handle
    with pytest.raises(XenAPI.Failure) as caught:
        member.xenapi.pool.get_all()
    assert caught.value.details[0] == 'HOST_IS_SLAVE'


def test_qemu_appears_on_the_host_that_runs_the_vm(pool):
    vm = pool.create_vm('web', platform={'device-model-args': '-device x'})
    pool.call('VM.start_on', vm, pool.hosts[2], False, False)
    boot = pool.boots[-1]
    assert boot.host == pool.hosts[2]
    assert pool.vm(vm)['resident_on'] == pool.hosts[2]
    shown = [os.path.isdir(os.path.join(pool.nodes[host].directory, 'xenstore/local/domain',
                                        str(boot.domid))) for host in pool.hosts]
    assert shown == [False, False, True]


def test_a_migration_moves_qemu(pool):
    vm = pool.create_vm('web', affinity=pool.hosts[1])
    pool.call('VM.start', vm, False, False)
    assert pool.boots[-1].host == pool.hosts[1]
    pool.call('VM.pool_migrate', vm, pool.hosts[2], {})
    assert [boot.host for boot in pool.boots] == pool.hosts[1:]
    left = os.listdir(os.path.join(pool.nodes[pool.hosts[1]].directory, 'xenstore/local/domain'))
    assert left == []


def test_a_fault_strikes_on_one_member_as_on_the_master(pool, clients):
    member = clients.local(pool, pool.hosts[1])
    pool.faults.add(Fault('failure', 'pool.get_all', count=1, parameters={'code': 'X'}))
    with pytest.raises(XenAPI.Failure):
        member.xenapi.pool.get_all()


def test_a_start_on_a_silent_host_says_so(pool):
    vm = pool.create_vm('web')
    pool.lose_host(pool.hosts[2])
    with pytest.raises(Failure) as caught:
        pool.call('VM.start_on', vm, pool.hosts[2], False, False)
    assert caught.value.description == ['CANNOT_CONTACT_HOST', pool.hosts[2]]
    pool.declare_dead(pool.hosts[2])
    with pytest.raises(Failure) as caught:
        pool.call('VM.start_on', vm, pool.hosts[2], False, False)
    assert caught.value.description == ['HOST_OFFLINE', pool.hosts[2]]
    assert pool.vm(vm)['power_state'] == 'Halted'
    assert pool.vm(vm)['current_operations'] == {}


def test_hosts_that_are_still_restarting_when_the_pool_ends_open_nothing(pool):
    restarting = list(pool.nodes.values())
    pool.stop()
    pool.boot(restarting, pool.reigns[-1])
    assert [node.name for node in restarting if os.path.lexists(node.socket_path)] == []
