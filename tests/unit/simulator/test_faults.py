"""Faults are data: each kind strikes when it is told to, over a real socket."""

import http.client
import os
import socket
import time
import xmlrpc.client
from threading import Thread
from typing import Any, Callable, List
from xml.parsers.expat import ExpatError

import pytest
import XenAPI

from simulator.faults import AFTER_CALL, BEFORE_CALL, ELSEWHERE, Fault, Faults
from simulator.server import Simulator

METHOD = 'VM.add_to_platform'


@pytest.fixture
def vm(simulator: Simulator) -> str:
    return simulator.create_vm('web')


class Once(xmlrpc.client.Transport):
    """A transport that does not send a call twice, as the stock one does."""

    def request(self, host: str, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send once."""
        return self.single_request(host, handler, request_body, verbose)


@pytest.fixture
def once(simulator: Simulator, remote: Any) -> Any:
    """Give a plain caller of methods that never repeats a call."""
    proxy = xmlrpc.client.ServerProxy('http://{}:{}'.format(*simulator.address), Once())

    def call(name: str, *params: Any) -> Any:
        return getattr(proxy, name)(remote.handle, *params)

    yield call
    proxy('close')()


LOST = [
    pytest.param('drop_before', False, http.client.RemoteDisconnected, id='closed-before'),
    pytest.param('drop_after', True, http.client.RemoteDisconnected, id='closed-after'),
    pytest.param('reset_before', False, ConnectionResetError, id='reset-before'),
    pytest.param('reset_after', True, ConnectionResetError, id='reset-after'),
    pytest.param('http_500_before', False, xmlrpc.client.ProtocolError, id='500-before'),
    pytest.param('http_500', True, xmlrpc.client.ProtocolError, id='500-after'),
    pytest.param('truncate', True, ExpatError, id='cut-short'),
    pytest.param('garbage', True, ExpatError, id='garbage'),
]


@pytest.mark.parametrize('kind, is_done, error', LOST)
def test_an_answer_is_lost_before_or_after_the_work(
        simulator: Simulator, vm: str, once: Any, kind: str, is_done: bool, error: Any) -> None:
    simulator.faults.add(Fault(kind, method=METHOD, count=1))
    with pytest.raises(error):
        once(METHOD, vm, 'a', '1')
    assert ('a' in simulator.vm(vm)['platform']) is is_done
    assert once('VM.get_uuid', vm)['Value'] == simulator.vm(vm)['uuid']


@pytest.mark.parametrize('kind, is_done', [('failure', False), ('failure_after', True)])
def test_a_call_fails_with_a_given_error(simulator: Simulator, vm: str, remote: Any, kind: str,
                                         is_done: bool) -> None:
    simulator.faults.add(Fault(kind, method=METHOD, skip=1, count=1,
                               parameters={'code': 'INTERNAL_ERROR', 'params': ['boom']}))
    remote.xenapi.VM.add_to_platform(vm, 'a', '1')
    with pytest.raises(XenAPI.Failure) as caught:
        remote.xenapi.VM.add_to_platform(vm, 'b', '2')
    assert caught.value.details == ['INTERNAL_ERROR', 'boom']
    remote.xenapi.VM.add_to_platform(vm, 'c', '3')
    assert ('b' in simulator.vm(vm)['platform']) is is_done


def test_an_evicted_session_is_invalid(simulator: Simulator, vm: str, once: Any) -> None:
    simulator.faults.add(Fault('evict_session', method='VM.get_uuid', count=1))
    assert once('VM.get_uuid', vm)['ErrorDescription'][0] == 'SESSION_INVALID'


def test_a_half_open_connection_takes_the_call_and_never_answers(
        simulator: Simulator, vm: str, remote: Any) -> None:
    fault = simulator.faults.add(Fault('half_open', method=METHOD, count=1))
    connection = http.client.HTTPConnection(*simulator.address, timeout=0.2)
    body = xmlrpc.client.dumps((remote.handle, vm, 'a', '1'), METHOD)
    connection.request('POST', '/', body)
    with pytest.raises(socket.timeout):
        connection.getresponse()
    connection.close()
    simulator.faults.remove(fault)
    assert 'a' not in simulator.vm(vm)['platform']


def test_a_method_hangs_until_the_fault_is_lifted(simulator: Simulator, vm: str,
                                                  local: Any) -> None:
    fault = simulator.faults.add(Fault('hang', method=METHOD))
    caller = Thread(target=lambda: local.xenapi.VM.add_to_platform(vm, 'a', '1'))
    caller.start()
    assert simulator.wait_for(lambda: METHOD in [call.method for call in simulator.calls])
    assert 'a' not in simulator.vm(vm)['platform']
    simulator.faults.remove(fault)
    caller.join(5.0)
    assert simulator.vm(vm)['platform']['a'] == '1'


SLOW = [
    pytest.param('drip', {'seconds': 0.02}, id='piece-by-piece'),
    pytest.param('delay', {'seconds': 0.2}, id='before-the-work'),
    pytest.param('late', {'seconds': 0.2}, id='after-the-work'),
]


@pytest.mark.parametrize('kind, parameters', SLOW)
def test_an_answer_can_be_slow(simulator: Simulator, vm: str, remote: Any, kind: str,
                               parameters: Any) -> None:
    simulator.faults.add(Fault(kind, method='VM.get_uuid', count=1, parameters=parameters))
    began = time.monotonic()
    assert remote.xenapi.VM.get_uuid(vm) == simulator.vm(vm)['uuid']
    assert time.monotonic() - began >= 0.2


def test_a_login_is_refused_as_often_as_told(simulator: Simulator) -> None:
    simulator.faults.add(Fault('failure', method='session.login*', count=2, parameters={
        'code': 'HOST_STILL_BOOTING'}))
    session = XenAPI.Session('http://{}:{}'.format(*simulator.address))
    for _ in range(2):
        with pytest.raises(XenAPI.Failure):
            session.login_with_password('root', '')
    session.login_with_password('root', '')
    assert session.xenapi.pool.get_all() == [simulator.pool]
    session('close')()


def test_a_record_is_shown_otherwise_than_it_is(simulator: Simulator, vm: str,
                                                local: Any) -> None:
    simulator.faults.add(Fault('record', ref=vm, parameters={
        'set': {'domid': 'nonsense', 'NVRAM': {'x': 'y' * 100000}}, 'remove': ['uuid']}))
    record = local.xenapi.VM.get_record(vm)
    events = local.xenapi.event_from(['vm'], '', 0.0)['events']
    shown = [event['snapshot'] for event in events if event['ref'] == vm][0]
    assert record['domid'] == shown['domid'] == 'nonsense'
    assert 'uuid' not in shown and len(shown['NVRAM']['x']) == 100000
    simulator.faults.clear()
    assert local.xenapi.VM.get_record(vm)['domid'] == '-1'


def test_bytes_that_are_no_utf8_can_be_shown(simulator: Simulator, vm: str, local: Any) -> None:
    simulator.faults.add(Fault('record', ref=vm, parameters={'set': {'name_label': '\udcff'}}))
    with pytest.raises(ExpatError):
        local.xenapi.VM.get_record(vm)


def test_counts_can_be_wrong_and_a_ref_appear_from_nowhere(simulator: Simulator, vm: str,
                                                           local: Any) -> None:
    simulator.faults.add(Fault('counts', parameters={'vm': 3}))
    simulator.faults.add(Fault('phantom', count=1, parameters={'ref': 'OpaqueRef:nowhere'}))
    batch = local.xenapi.event_from(['vm'], '', 0.0)
    assert batch['valid_ref_counts']['vm'] == 2 + 3
    assert ('del', 'OpaqueRef:nowhere') in [
        (event['operation'], event['ref']) for event in batch['events']]


def test_a_deletion_is_forgotten(simulator: Simulator, vm: str, local: Any) -> None:
    token = local.xenapi.event_from(['vm'], '', 0.0)['token']
    simulator.faults.add(Fault('forget_deletion', method='VM', count=1))
    simulator.call('VM.destroy', vm)
    batch = local.xenapi.event_from(['vm'], token, 0.0)
    assert batch['events'] == [] and batch['valid_ref_counts']['vm'] == 1


def test_something_happens_between_two_calls(simulator: Simulator, vm: str, local: Any) -> None:
    simulator.faults.add(Fault('spawn_after', method='VM.remove_from_platform', count=1,
                               parameters={'method': 'VM.start', 'params': [vm, False, False]}))
    seen: List[Any] = []
    simulator.faults.add(Fault('run_before', method=METHOD, count=1, parameters={
        'run': lambda: seen.append(dict(simulator.vm(vm)['platform']))}))
    local.xenapi.VM.remove_from_platform(vm, 'hpet')
    assert simulator.wait_for(lambda: simulator.boots)
    local.xenapi.VM.add_to_platform(vm, 'hpet', 'true')
    assert 'hpet' not in seen[0]


def test_the_consumer_can_be_away_for_one_boot(simulator: Simulator) -> None:
    ref = simulator.create_vm('web', platform={'device-model-args': '-device x,a=1'})
    simulator.faults.add(Fault('consumer', ref=ref, count=1, parameters={'consumer': 'off'}))
    for _ in range(2):
        simulator.call('VM.start', ref, False, False)
        simulator.call('VM.hard_shutdown', ref)
    assert ['x,a=1' in boot.qemu_arguments for boot in simulator.boots] == [False, True]
    assert {boot.args for boot in simulator.boots} == {'-device x,a=1'}


def test_a_guest_can_ignore_its_shutdown_until_somebody_cancels_it(simulator: Simulator,
                                                                   vm: str) -> None:
    simulator.call('VM.start', vm, False, False)
    simulator.faults.add(Fault('operation_hang', method='VM.clean_shutdown', ref=vm))
    task = simulator.call('Async.VM.clean_shutdown', vm)
    assert simulator.wait_for(lambda: simulator.vm(vm)['current_operations'])
    simulator.call('task.cancel', task)
    assert simulator.wait_for(lambda: simulator.call('task.get_status', task) == 'cancelled')
    assert simulator.vm(vm)['power_state'] == 'Running'


def test_an_operation_fails_inside_its_task(simulator: Simulator, vm: str) -> None:
    simulator.faults.add(Fault('operation_failure', method='VM.start', count=1, parameters={
        'code': 'HOST_NOT_ENOUGH_FREE_MEMORY', 'params': ['2', '1']}))
    task = simulator.call('Async.VM.start', vm, False, False)
    assert simulator.wait_for(lambda: simulator.call('task.get_status', task) == 'failure')
    assert simulator.call('task.get_error_info', task) == [
        'HOST_NOT_ENOUGH_FREE_MEMORY', '2', '1']
    assert simulator.vm(vm)['current_operations'] == {}


def test_the_whole_map_is_written_when_told_so(build: Callable[..., Simulator]) -> None:
    simulator = build(whole_map_seconds=0.2)
    ref = simulator.create_vm('web')
    simulator.faults.add(Fault('whole_map_race', ref=ref, count=1))
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(
        lambda: simulator.vm(ref)['scheduled_to_be_resident_on'] != 'OpaqueRef:NULL')
    simulator.call(METHOD, ref, 'device-model-args', 'lost')
    starting.join(5.0)
    assert simulator.boots[0].args is None


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError):
        Faults().add(Fault('typo'))


def test_every_kind_is_in_the_table_of_the_documentation() -> None:
    root = os.path.dirname(os.path.abspath(__file__)).split('/tests/')[0]
    with open(os.path.join(root, 'docs', 'simulator.md'), encoding='utf-8') as opened:
        text = opened.read()
    missing = [kind for kind in BEFORE_CALL + AFTER_CALL + ELSEWHERE if f'`{kind}`' not in text]
    assert missing == []
