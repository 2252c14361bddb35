"""The server: sessions and errors, HTTP, JSON-RPC, restarts, members and emergencies."""

import http.client
import json
import socket
import xmlrpc.client
from typing import Any, Callable, Dict, List, Tuple

import pytest
import XenAPI

from simulator.server import Simulator

ARGS = 'device-model-args'


def _post(simulator: Simulator, path: str, body: bytes) -> Tuple[int, bytes]:
    connection = http.client.HTTPConnection(*simulator.address, timeout=60.0)
    connection.request('POST', path, body)
    response = connection.getresponse()
    answer = (response.status, response.read())
    connection.close()
    return answer


def _json(simulator: Simulator, method: str, params: List[Any], **extra: Any) -> Dict[str, Any]:
    call = dict({'method': method, 'params': params, 'id': 1}, **extra)
    return json.loads(_post(simulator, '/jsonrpc', json.dumps(call).encode())[1].decode())


def _raw(simulator: Simulator, request: bytes) -> bytes:
    with socket.create_connection(simulator.address, 5.0) as connection:
        connection.sendall(request)
        answer = b''
        while True:
            piece = connection.recv(65536)
            if not piece:
                return answer
            answer += piece


def test_both_sockets_serve_the_same_pool(simulator: Simulator, local: Any, remote: Any) -> None:
    ref = local.xenapi.VM.get_all()[0]
    assert remote.xenapi.VM.get_record(ref) == local.xenapi.VM.get_record(ref)
    assert local.xenapi.session.get_this_host(local.handle) == simulator.hosts[0]
    assert remote.xenapi.host.get_software_version(simulator.hosts[0])['xapi_build'] == '26.1.4'


def test_the_dialogue_of_the_old_package_is_served(local: Any) -> None:
    pool = local.xenapi.pool.get_all()[0]
    master = local.xenapi.pool.get_master(pool)
    assert local.xenapi.host.get_API_version_major(master) == '2'


ERRORS = [
    pytest.param('VM.nope', ['x'], ['MESSAGE_METHOD_UNKNOWN', 'VM.nope'], id='unknown'),
    pytest.param('VM.start', ['x'], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '1'],
                 id='count-without-the-session'),
    pytest.param('VM.get_uuid', ['x'], ['HANDLE_INVALID', 'VM', 'x'], id='handle'),
    pytest.param('VM.get_by_uuid', ['x'], ['UUID_INVALID', 'VM', 'x'], id='uuid'),
    pytest.param('VM.set_power_state', ['x', 'Running'],
                 ['MESSAGE_METHOD_UNKNOWN', 'VM.set_power_state'], id='read-only'),
    pytest.param('Async.VM.get_uuid', ['x'],
                 ['Fault', 'No async mode for this operation (rpc: VM.get_uuid)'], id='no-async'),
    pytest.param('VM.create', [{}],
                 ['INTERNAL_ERROR', 'Server_helpers.Dispatcher_FieldNotFound("user_version")'],
                 id='create-without-fields'),
    pytest.param('VM.get_all_records_where', ['field ='],
                 ['INTERNAL_ERROR', 'Db_filter.Expression_error("field")'], id='bad-expression'),
]


@pytest.mark.parametrize('method, params, description', ERRORS)
def test_an_error_has_the_code_and_the_parameters_of_xapi(
        remote: Any, method: str, params: List[Any], description: List[str]) -> None:
    answer = getattr(remote, method)(remote.handle, *params)
    assert answer == {'Status': 'Failure', 'ErrorDescription': description}


def test_a_bad_session_is_told_before_an_unknown_method(remote: Any) -> None:
    answer = getattr(remote, 'VM.nope')('stranger')
    assert answer['ErrorDescription'] == ['SESSION_INVALID', 'stranger']


@pytest.mark.parametrize('expression, names', [
    pytest.param('field "name_label"="a"', ['a'], id='equal'),
    pytest.param('not(field "name_label"="a") and field "is_control_domain"="false"', ['b', 'c'],
                 id='not-and'),
    pytest.param('field "name_label"="a" or field "name_label"="c"', ['a', 'c'], id='or'),
    pytest.param('field "power_state"="Running" and not true', [], id='never'),
    pytest.param('(field "domid"="-1")', ['a', 'b', 'c'], id='integer'),
])
def test_records_are_chosen_by_an_expression(simulator: Simulator, remote: Any, expression: str,
                                             names: List[str]) -> None:
    for name in 'abc':
        simulator.create_vm(name)
    found = remote.xenapi.VM.get_all_records_where(expression)
    assert sorted(record['name_label'] for record in found.values()) == names


def test_fields_are_set_added_and_removed(simulator: Simulator, remote: Any) -> None:
    ref = simulator.create_vm('web')
    vm = remote.xenapi.VM
    vm.set_user_version(ref, '7')
    vm.add_tags(ref, 'a')
    vm.remove_tags(ref, 'a')
    vm.set_ha_always_run(ref, True)
    vm.add_to_other_config(ref, 'k', 'v\x00cut'.replace('\x00', '\t'))
    record = vm.get_record(ref)
    assert (record['user_version'], record['tags'], record['ha_always_run']) == ('7', [], True)
    assert record['other_config']['k'] == 'v\tcut'
    assert simulator.vm(ref)['user_version'] == 7


def test_an_underscore_stands_for_the_dot(simulator: Simulator, remote: Any) -> None:
    assert remote.VM_get_all(remote.handle)['Value'] == remote.xenapi.VM.get_all()
    assert simulator.calls[-1].method == 'VM.get_all'


def test_a_vm_is_created_from_a_complete_record(simulator: Simulator, remote: Any) -> None:
    record = remote.xenapi.VM.get_record(simulator.create_vm('web', platform={ARGS: 'x'}))
    ref = remote.xenapi.VM.create(dict(record, name_label='new'))
    made = remote.xenapi.VM.get_record(ref)
    assert (made['name_label'], made['platform'][ARGS], made['domid']) == ('new', 'x', '-1')
    assert made['uuid'] != record['uuid']


def test_every_call_is_written_down(simulator: Simulator, remote: Any) -> None:
    simulator.clear_calls()
    ref = remote.xenapi.VM.get_all()[0]
    remote.xenapi.VM.get_uuid(ref)
    assert [(call.method, call.params) for call in simulator.calls] == [
        ('VM.get_all', []), ('VM.get_uuid', [ref])]
    call = simulator.calls[0]
    assert (call.session, call.originator, call.transport) == (remote.handle, 'tests/1', 'tcp')
    assert 'Python' in call.user_agent


def test_any_path_speaks_xml_and_one_speaks_json(simulator: Simulator) -> None:
    body = xmlrpc.client.dumps(('root', ''), 'session.login_with_password').encode()
    for path in ('/', '/RPC2', '/json', '/xmlrpc'):
        assert b'<name>Status</name><value>Success</value>' in _post(simulator, path, body)[1]
    assert _post(simulator, '/jsonrpc', body)[0] == 500


def test_json_has_numbers_and_two_shapes_of_errors(simulator: Simulator) -> None:
    ref = simulator.create_vm('web')
    session = _json(simulator, 'session.login_with_password', ['root', ''])['result']
    assert _json(simulator, 'VM.get_domid', [session, ref]) == {
        'result': -1, 'error': None, 'id': 1}
    assert _json(simulator, 'VM.get_uuid', [session, 'x']) == {
        'result': None, 'error': ['HANDLE_INVALID', 'VM', 'x'], 'id': 1}
    assert _json(simulator, 'VM.get_uuid', [session, 'x'], jsonrpc='2.0') == {
        'jsonrpc': '2.0', 'id': 1,
        'error': {'code': 1, 'message': 'HANDLE_INVALID', 'data': ['VM', 'x']}}
    batch = _json(simulator, 'event.from', [session, ['vm'], '', 0.0], jsonrpc='2.0')['result']
    assert batch['valid_ref_counts']['vm'] == 2
    assert batch['events'][0]['snapshot']['is_control_domain'] in (True, False)


def test_the_list_of_methods_is_bare(simulator: Simulator) -> None:
    body = _post(simulator, '/', xmlrpc.client.dumps((), 'system.listMethods').encode())[1]
    (methods,), _ = xmlrpc.client.loads(body)
    assert {'VM.start', 'event.from', 'VM.get_record', 'VM.get_platform'} <= set(methods)


BAD_REQUESTS = [
    pytest.param(b'POST / HTTP/1.1\r\n\r\n', 411, id='no-length'),
    pytest.param(b'POST / HTTP/1.1\r\nContent-Length: 400000\r\n\r\n', 413, id='too-big'),
    pytest.param(b'POST / HTTP/1.1\r\nX: ' + b'x' * 2000 + b'\r\n\r\n', 431, id='long-headers'),
    pytest.param(b'GET / HTTP/1.1\r\n\r\n', 404, id='get'),
    pytest.param(b'nonsense\r\n\r\n', 400, id='nonsense'),
    pytest.param(b'POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n<a>', 500, id='no-call'),
]


@pytest.mark.parametrize('request_bytes, status', BAD_REQUESTS)
def test_a_request_that_is_none_gets_a_status(simulator: Simulator, request_bytes: bytes,
                                              status: int) -> None:
    assert _raw(simulator, request_bytes).startswith(b'HTTP/1.1 %d ' % status)


def test_a_connection_serves_many_calls(simulator: Simulator) -> None:
    connection = http.client.HTTPConnection(*simulator.address, timeout=60.0)
    body = xmlrpc.client.dumps(('root', ''), 'session.login_with_password')
    for _ in range(3):
        connection.request('POST', '/', body)
        assert connection.getresponse().read().endswith(b'</methodResponse>')
    assert connection.sock is not None
    connection.close()


def test_a_password_matters_over_tcp_only(build: Callable[..., Simulator], directory: str) -> None:
    simulator = build(password='secret')
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    with pytest.raises(XenAPI.Failure) as caught:
        session.login_with_password('root', 'wrong')
    assert caught.value.details[:2] == ['SESSION_AUTHENTICATION_FAILED', 'root']
    session.login_with_password('root', 'secret')
    session('close')()
    local = XenAPI.Session('http://' + directory.replace('/', '_') + '_xapi/',
                           transport=XenAPI.UDSTransport())
    local.login_with_password('anybody', 'anything')
    local('close')()


def test_a_login_evicts_the_session_idle_for_longest(build: Callable[..., Simulator]) -> None:
    simulator = build(sessions_per_originator=2)
    login = ('session.login_with_password', 'root', '', '', 'one')
    first, second = simulator.call(*login), simulator.call(*login)
    simulator.state.sessions.check(first)
    third = simulator.call(*login)
    assert set(simulator.state.sessions.list()) == {first, third}
    assert second not in simulator.state.sessions.list()


def test_an_idle_session_expires(build: Callable[..., Simulator]) -> None:
    simulator = build(session_idle_seconds=-1.0)
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    session.login_with_password('root', '')
    answer = getattr(session, 'VM.get_all')(session.handle)
    assert answer['ErrorDescription'] == ['SESSION_INVALID', session.handle]
    session('close')()
