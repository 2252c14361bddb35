"""Restarts, crashes, emergencies and members."""

import http.client
import json
import os
import socket
from threading import Thread
from typing import Any, Callable, Dict, List

import pytest
import XenAPI

from simulator.server import Simulator


def _json(simulator: Simulator, method: str, params: List[Any], **extra: Any) -> Dict[str, Any]:
    connection = http.client.HTTPConnection(*simulator.address, timeout=60.0)
    call = dict({'method': method, 'params': params, 'id': 1}, **extra)
    connection.request('POST', '/jsonrpc', json.dumps(call))
    answer = json.loads(connection.getresponse().read().decode())
    connection.close()
    return answer


def test_a_member_refuses_over_tcp_and_forwards_on_its_socket(
        build: Callable[..., Simulator], directory: str) -> None:
    simulator = build(is_master=False)
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    with pytest.raises(XenAPI.Failure) as caught:
        session.login_with_password('root', '')
    assert caught.value.details == ['HOST_IS_SLAVE', '127.0.0.2']
    session('close')()
    local = XenAPI.Session('http://' + directory.replace('/', '_') + '_xapi/',
                           transport=XenAPI.UDSTransport())
    local.login_with_password('root', '')
    here = local.xenapi.session.get_this_host(local.handle)
    assert local.xenapi.pool.get_master(simulator.pool) != here
    local('close')()


def test_an_emergency_answers_everything_with_one_error(simulator: Simulator) -> None:
    simulator.set_emergency('HOST_STILL_BOOTING')
    assert _json(simulator, 'session.login_with_password', ['root', '']) == {
        'result': None, 'error': ['HOST_STILL_BOOTING'], 'id': 1}
    assert _json(simulator, 'VM.get_all', ['x'], jsonrpc='2.0') == {
        'jsonrpc': '2.0', 'error': ['HOST_STILL_BOOTING'], 'id': 0}
    simulator.set_emergency(None)
    assert _json(simulator, 'session.login_with_password', ['root', ''])['error'] is None


def test_a_clean_restart_ends_sessions_and_tasks_and_shows_all_vms_as_new(
        simulator: Simulator, remote: Any) -> None:
    ref = simulator.create_vm('web')
    simulator.call('task.create', 'mine', '')
    token = remote.xenapi.event_from(['vm', 'task'], '', 0.0)['token']
    simulator.restart()
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    assert getattr(session, 'VM.get_all')(remote.handle)['ErrorDescription'] == [
        'SESSION_INVALID', remote.handle]
    session.login_with_password('root', '')
    batch = session.xenapi.event_from(['vm', 'task'], token, 0.0)
    assert ('add', ref) in [(event['operation'], event['ref']) for event in batch['events']]
    assert 'del' not in [event['operation'] for event in batch['events']]
    assert batch['valid_ref_counts']['task'] == 0
    session('close')()


def test_a_crash_hides_changes_from_an_old_token(simulator: Simulator) -> None:
    ref = simulator.create_vm('web')
    kept = simulator.state.database.generation
    for number in range(50):
        simulator.call('VM.set_name_label', ref, f'name-{number}')
    token = simulator.state.events.event_from('', ['vm'], '', 0.0)['token']
    simulator.restart('crash', rollback_generations=simulator.state.database.generation - kept)
    assert simulator.vm(ref)['name_label'] == 'web'
    simulator.call('VM.set_name_label', ref, 'after the crash')
    assert simulator.state.events.event_from('', ['vm'], token, 0.0)['events'] == []


@pytest.mark.parametrize('mode', ['clean', 'crash'])
def test_a_start_survives_the_restart_of_xapi_once_it_is_built(
        build: Callable[..., Simulator], mode: str) -> None:
    simulator = build(running_seconds=0.5)
    ref = simulator.create_vm('web')
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.boots)
    simulator.restart(mode, rollback_generations=1)
    starting.join(5.0)
    record = simulator.vm(ref)
    assert (record['power_state'], record['domid']) == ('Running', simulator.boots[0].domid)
    assert record['current_operations'] == {}


def test_a_start_that_was_not_built_yet_is_gone_after_a_restart(
        build: Callable[..., Simulator]) -> None:
    simulator = build(cutoff_seconds=10.0)
    ref = simulator.create_vm('web')
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    simulator.restart()
    starting.join(5.0)
    record = simulator.vm(ref)
    assert (record['power_state'], record['current_operations']) == ('Halted', {})
    assert simulator.boots == []


def test_a_boot_that_was_pushed_goes_on_without_xapi(build: Callable[..., Simulator]) -> None:
    simulator = build(build_seconds=0.3)
    ref = simulator.create_vm('web')
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.cutoffs)
    simulator.restart()
    assert simulator.vm(ref)['power_state'] == 'Halted'
    starting.join(5.0)
    assert [boot.ref for boot in simulator.boots] == [ref]
    assert simulator.vm(ref)['power_state'] == 'Running'
    assert simulator.vm(ref)['domid'] == simulator.boots[0].domid


def test_the_socket_is_gone_while_xapi_is_down(build: Callable[..., Simulator],
                                               directory: str) -> None:
    simulator = build()
    path = os.path.join(directory, 'xapi')

    restarting = Thread(target=simulator.restart, args=('clean', 0.3))
    restarting.start()
    assert simulator.wait_for(lambda: not os.path.exists(path))
    restarting.join(5.0)
    assert os.path.exists(path)


def test_another_master_makes_this_host_a_member(build: Callable[..., Simulator]) -> None:
    simulator = build(hosts=2)
    assert simulator.state.is_master
    simulator.set_master(simulator.hosts[1])
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    with pytest.raises(XenAPI.Failure) as caught:
        session.login_with_password('root', '')
    assert caught.value.details[0] == 'HOST_IS_SLAVE'
    session('close')()


def test_a_crash_can_leave_a_socket_that_refuses(build: Callable[..., Simulator],
                                                 directory: str) -> None:
    simulator = build()
    path = os.path.join(directory, 'xapi')
    restarting = Thread(target=simulator.restart, args=('crash', 0.3),
                        kwargs={'leaves_socket': True})
    restarting.start()
    assert simulator.wait_for(lambda: not _connects(path))
    assert os.path.exists(path)
    restarting.join(5.0)
    assert _connects(path)


def test_a_full_xapi_accepts_no_more(build: Callable[..., Simulator]) -> None:
    simulator = build(tcp_connections=1)
    request = b'POST / HTTP/1.1\r\n\r\n'
    first = socket.create_connection(simulator.address, 5.0)
    second = socket.create_connection(simulator.address, 0.2)
    second.sendall(request)
    with pytest.raises(socket.timeout):
        second.recv(1)
    first.close()
    second.settimeout(5.0)
    assert second.recv(12) == b'HTTP/1.1 411'
    second.close()


def test_a_members_json_errors_are_bare_arrays(build: Callable[..., Simulator]) -> None:
    simulator = build(is_master=False)
    assert _json(simulator, 'session.login_with_password', ['root', ''], jsonrpc='2.0') == {
        'jsonrpc': '2.0', 'error': ['HOST_IS_SLAVE', '127.0.0.2'], 'id': 1}


def _connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(path) == 0


def test_a_start_that_the_end_overtakes_opens_nothing(
        build: Callable[..., Simulator], directory: str) -> None:
    simulator = build()
    simulator.stop()
    simulator.start()
    assert os.listdir(directory) == []
