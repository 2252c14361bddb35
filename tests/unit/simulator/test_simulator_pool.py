"""A pool of several hosts: sockets, forwarding, HOST_IS_SLAVE, plugins on the host concerned."""

import os
import stat
from typing import Any, Callable, Iterator, List

import pytest
import XenAPI

from simulator.faults import Fault
from simulator.pool import PoolSimulator
from tests.unit.simulator.conftest import QUICK
from tests.waiting import wait_until

PLUGIN = '''#!/bin/sh
printf '<methodResponse><params><param><value><struct>'
printf '<member><name>Status</name><value>Success</value></member>'
printf '<member><name>Value</name><value>%s</value></member>' "$(cat "$(dirname "$0")/../name")"
printf '</struct></value></param></params></methodResponse>'
'''


class Clients:
    """Sessions of the unmodified XenAPI package, closed in the end."""

    def __init__(self) -> None:
        self._opened: List[Any] = []

    def local(self, pool: PoolSimulator, host: str, logs_in: bool = True) -> Any:
        """A session over a host's own socket."""
        path = pool.socket_path(host).replace('/', '_')
        return self._open('http://%s/' % path, logs_in, transport=XenAPI.UDSTransport())

    def remote(self, pool: PoolSimulator, host: str, logs_in: bool = True) -> Any:
        """A session over TCP."""
        return self._open('http://%s:%d' % pool.nodes[host].listen, logs_in)

    def close(self) -> None:
        """Close the connections."""
        for session in self._opened:
            session('close')()

    def _open(self, url: str, logs_in: bool, **keywords: Any) -> Any:
        session = XenAPI.Session(url, **keywords)
        self._opened.append(session)
        if logs_in:
            session.login_with_password('root', '', '', 'tests/1')
        return session


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Opens sessions."""
    opened = Clients()
    yield opened
    opened.close()


@pytest.fixture
def build_pool(directory: str) -> Iterator[Callable[..., PoolSimulator]]:
    """Builds and starts pools that are stopped in the end."""
    built: List[PoolSimulator] = []

    def build(**changes: Any) -> PoolSimulator:
        changes.setdefault('hosts', 3)
        changes.setdefault('listen', ('127.0.0.1', 0))
        changes.setdefault('boot_seconds', 0.0)
        built.append(PoolSimulator(directory, QUICK._replace(**changes)))
        built[-1].start()
        return built[-1]

    yield build
    for pool in built:
        pool.stop()


@pytest.fixture
def pool(build_pool: Callable[..., PoolSimulator]) -> PoolSimulator:
    """A pool of three hosts."""
    return build_pool()


def write_plugin(pool: PoolSimulator, host: str, name: str, text: str) -> None:
    path = os.path.join(pool.nodes[host].plugins_directory, name)
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


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


def test_a_plugin_runs_on_the_host_that_is_named(pool, clients):
    for host in pool.hosts:
        write_plugin(pool, host, 'who', PLUGIN)
        with open(os.path.join(pool.nodes[host].root, 'etc/xapi.d/name'), 'w',
                  encoding='utf-8') as stream:
            stream.write(pool.nodes[host].name)
    session = clients.local(pool, pool.hosts[1])
    answers = [session.xenapi.host.call_plugin(host, 'who', 'f', {}) for host in pool.hosts]
    assert answers == ['host-1', 'host-2', 'host-3']
    task = session.xenapi.Async.host.call_plugin(pool.hosts[2], 'who', 'f', {})
    wait_until(lambda: session.xenapi.task.get_status(task) == 'success')
    assert session.xenapi.task.get_result(task) == '<value>host-3</value>'


def test_a_start_on_a_silent_host_says_so(pool):
    vm = pool.create_vm('web')
    pool.lose_host(pool.hosts[2])
    with pytest.raises(Exception) as caught:
        pool.call('VM.start_on', vm, pool.hosts[2], False, False)
    assert caught.value.description == ['CANNOT_CONTACT_HOST', pool.hosts[2]]
    pool.declare_dead(pool.hosts[2])
    with pytest.raises(Exception) as caught:
        pool.call('VM.start_on', vm, pool.hosts[2], False, False)
    assert caught.value.description == ['HOST_OFFLINE', pool.hosts[2]]
    assert pool.vm(vm)['power_state'] == 'Halted'
    assert pool.vm(vm)['current_operations'] == {}
