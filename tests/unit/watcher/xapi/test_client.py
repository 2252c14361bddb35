"""The client, on real sockets, against the simulated XAPI and its faults."""

import contextlib
import select
import time

import pytest

from tests.support.waiting import LOADED
from tests.unit.watcher.builders import SPAN
from tests.unit.watcher.steps import answer as answer_at_once
from watcher.errors import (AnswerTooOld, NotTheMaster, SessionLost, VmVanished,
                            XapiError, XapiFailure, XapiNonsense, XapiUnreachable)
from watcher.loop.loop import Loop
from watcher.vm.record import PowerState
from watcher.xapi.client import MAP_FRESH_SECONDS
from watcher.xapi.record_parser import parse_batch, parse_records

NO_VM = 'OpaqueRef:99999999-0000-0000-0000-000000000000'


def count(simulator, method):
    return [call.method for call in simulator.calls].count(method)


# What is read and written.

def test_record_is_read_and_its_args_are_written(simulator, client, ref):
    client.add_args(ref, SPAN)
    vm = client.read_vm(ref)
    assert (vm.ref, vm.name, vm.power_state, vm.args) == (ref, 'web', PowerState.HALTED, SPAN)
    client.remove_args(ref)
    client.remove_args(ref)
    assert client.read_vm(ref).args is None
    assert simulator.vm(ref)['platform']['timeoffset'] == '5'


def test_block_is_lifted(client, ref):
    client.call('VM.add_to_blocked_operations', ref, 'start', 'text')
    assert client.read_vm(ref).start_blocks == (('start', 'text'),)
    client.remove_block(ref, 'start')
    client.remove_block(ref, 'start')
    assert client.read_vm(ref).start_blocks == ()


def test_key_that_is_there_is_not_added_again(client, ref):
    client.add_args(ref, SPAN)
    with pytest.raises(XapiFailure) as caught:
        client.add_args(ref, SPAN)
    assert (caught.value.code, caught.value.params[-1]) == (
        'MAP_DUPLICATE_KEY', 'device-model-args')


def test_all_records_come_in_one_call(simulator, client, ref):
    simulator.clear_calls()
    records = client.read_vms()
    vms, _malformed = parse_records(records)
    assert {vm.name for vm in vms if vm.ref == ref} == {'web'}
    assert set(client.read_vm_refs()) == set(records)
    assert count(simulator, 'VM.get_all_records') == 1


def test_events_begin_with_every_vm_and_go_on_from_the_token(simulator, client, ref):
    first = parse_batch(client.event_from(''), is_first=True)
    assert ref in [vm.ref for vm in first.vms] and first.vm_count == len(client.read_vm_refs())
    simulator.call('VM.set_name_label', ref, 'other')
    batch = parse_batch(client.event_from(first.token), is_first=False)
    assert [(vm.ref, vm.name) for vm in batch.vms] == [(ref, 'other')]


def test_fresh_token_skips_what_was_written_before(simulator, client, ref):
    token = client.read_fresh_token()
    assert parse_batch(client.event_from(token, 0.0), is_first=False).vms == ()
    simulator.call('VM.set_name_label', ref, 'other')
    assert parse_batch(client.event_from(token), is_first=False).vms[0].name == 'other'


def test_time_of_the_long_poll_goes_over_the_wire_as_a_float(simulator, client):
    client.event_from('', 1)
    call, = [call for call in simulator.calls if call.method == 'event.from']
    assert isinstance(call.params[-1], float)


def test_identity_names_host_master_and_version(simulator, client):
    identity = client.read_identity()
    assert identity.host == identity.master == simulator.hosts[0]
    assert identity.software_version['xapi'].startswith('26.1')


def test_calls_can_be_told_by_originator_and_user_agent(simulator, client, ref):
    client.read_vm(ref)
    assert {call.originator for call in simulator.calls if call.originator} == {'vgpu-watcher'}
    assert all('vgpu-watcher' in call.user_agent for call in simulator.calls)


# Who answered.

def test_vm_that_is_gone_has_vanished(client):
    with pytest.raises(VmVanished):
        client.read_vm(NO_VM)


def test_lost_session_is_told_and_not_opened_again_in_silence(simulator, client, ref):
    simulator.add_fault('evict_session', method='VM.get_record', count=1)
    with pytest.raises(SessionLost):
        client.read_vm(ref)
    assert count(simulator, 'session.login_with_password') == 1


def test_call_without_a_session_asks_nobody(simulator, build_client, url, ref):
    client = build_client(url)
    with pytest.raises(SessionLost):
        client.read_vm(ref)
    assert simulator.calls == []


@pytest.mark.parametrize('answer', [None, {}, 7, 'OpaqueRef:x', [7], ['OpaqueRef:x', None]])
def test_what_is_no_list_of_refs_is_nonsense(build_client, url, monkeypatch, answer):
    client = build_client(url)
    monkeypatch.setattr(client.steps, 'call', lambda _method: answer_at_once(answer))
    for read in (client.read_vm_refs, client.read_pool_ref, client.read_fresh_token):
        with pytest.raises(XapiNonsense):
            read()


def test_xapi_without_a_pool_is_nonsense(build_client, url, monkeypatch):
    client = build_client(url)
    monkeypatch.setattr(client.steps, 'call', lambda _method: answer_at_once([]))
    with pytest.raises(XapiNonsense):
        client.read_pool_ref()


def test_xapi_that_is_not_there_is_unreachable(build_client, tmp_path):
    with pytest.raises(XapiUnreachable):
        build_client('unix:%s' % (tmp_path / 'nobody')).login()


def test_kept_connection_that_xapi_closed_meanwhile_is_replaced(simulator, client, ref):
    client.read_vm(ref)
    simulator.restart()
    with pytest.raises(SessionLost):
        client.read_vm(ref)


# Every wait has an end.

def test_answer_that_never_comes_is_given_up(simulator, build_client, url, client, ref):
    simulator.add_fault('hang', method='VM.get_record')
    slow = build_client(url, client.handle, timeout_seconds=0.2)
    with pytest.raises(XapiUnreachable):
        slow.read_vm(ref)


def test_call_ends_when_all_that_it_belongs_to_has_to(simulator, build_client, url, client, ref):
    simulator.add_fault('hang', method='VM.get_record')
    hurried = build_client(url, client.handle, timeout_seconds=30.0,
                           ends_at=time.monotonic() + 0.2)
    began_at = time.monotonic()
    with pytest.raises(XapiUnreachable, match='XAPI did not answer within'):
        hurried.read_vm(ref)
    assert 0.1 < time.monotonic() - began_at < 3.0 * LOADED
    with pytest.raises(XapiUnreachable, match='XAPI did not answer within'):
        hurried.read_fresh_token()


def test_long_poll_that_is_ended_where_it_waits_is_not_answered_to_the_next_call(simulator, client):
    token = parse_batch(client.event_from(''), is_first=True).token
    loop = Loop()
    task = loop.start('poll', client.steps.event_from(token, 30.0))
    while count(simulator, 'event.from') < 2:
        loop.turn(0.01)
    loop.cancel(task)
    assert client.read_fresh_token() != token


def test_error_that_is_raised_where_a_call_waits_ends_it_and_its_connection(simulator, client):
    token, errors, loop = parse_batch(client.event_from(''), is_first=True).token, [], Loop()

    def poll():
        try:
            yield from client.steps.event_from(token, 30.0)
        except XapiError as error:
            errors.append(error)
    task = loop.start('poll', poll())
    while count(simulator, 'event.from') < 2:
        loop.turn(0.01)
    given_up = XapiUnreachable('the connection was given up')
    loop.interrupt(task, given_up)
    loop.turn(0.0)
    assert errors == [given_up]
    assert client.read_fresh_token() != token


# Login and logout.

def test_logout_ends_the_session_and_can_be_repeated(client, simulator):
    handle = client.handle
    assert client.logout() and client.logout()
    assert client.handle is None and handle
    assert count(simulator, 'session.logout') == 1


def test_logout_of_a_lost_session_is_no_error(simulator, client):
    simulator.restart()
    assert client.logout()


def test_logout_says_when_xapi_does_not_answer(simulator, client):
    simulator.stop()
    assert not client.logout() and client.handle is None


def test_password_is_read_from_its_file(build_simulator, build_client, tmp_path):
    simulator = build_simulator(listen=('127.0.0.1', 0), password='s e', login_penalty_seconds=0)
    path = tmp_path / 'password'
    path.write_text('s e\n')
    url = 'http://%s:%d' % simulator.address
    client = build_client(url, password_file=str(path))
    client.login()
    assert client.handle
    path.write_text('other')
    with pytest.raises(XapiFailure, match='SESSION_AUTHENTICATION_FAILED'):
        build_client(url, password_file=str(path)).login()


@pytest.mark.parametrize('text, said', [
    ('s e \n', 'begins or ends with a blank'), ('\ts e', 'begins or ends with a blank'),
    ('s\x01e', 'a control character'), ('s\u00fc', 'beyond ASCII')])
def test_what_is_odd_about_a_refused_password_is_said(build_simulator, build_client, tmp_path,
                                                      text, said):
    simulator = build_simulator(listen=('127.0.0.1', 0), password='s e', login_penalty_seconds=0)
    path = tmp_path / 'password'
    path.write_bytes(text.encode('utf-8'))
    with pytest.raises(XapiFailure, match='SESSION_AUTHENTICATION_FAILED.*' + said) as caught:
        build_client('http://%s:%d' % simulator.address, password_file=str(path)).login()
    assert text.strip() not in str(caught.value)


def test_member_names_its_master_over_tcp(build_simulator, build_client):
    simulator = build_simulator(listen=('127.0.0.1', 0), is_master=False, hosts=2)
    with pytest.raises(NotTheMaster) as caught:
        build_client('http://%s:%d' % simulator.address).login()
    assert caught.value.params


@pytest.mark.parametrize('answer', ['""', 'null', '{}', '"OpaqueRef:NULL"', '7'])
def test_login_that_is_answered_without_a_session_is_none(simulator, build_client, url, answer):
    simulator.add_fault('replace_body', method='session.login_with_password', parameters={
        'body': '{"jsonrpc":"2.0","result":%s,"id":1}' % answer})
    client = build_client(url)
    with pytest.raises(XapiNonsense):
        client.login()
    with pytest.raises(SessionLost):
        client.call('VM.get_all')
    client.close()


def test_map_is_not_sent_when_the_answer_it_rests_on_is_too_old(client, ref):
    while client.read_vm(ref).args != SPAN:  # a loaded machine may be too slow for it
        _vm, platform = client.read_platform(ref)
        with contextlib.suppress(AnswerTooOld):
            client.set_platform(ref, dict(platform, **{'device-model-args': SPAN}))
    _vm, platform = client.read_platform(ref)
    client.steps._transport._answered_at -= MAP_FRESH_SECONDS + 0.001
    with pytest.raises(AnswerTooOld):
        client.set_platform(ref, dict(platform, **{'device-model-args': 'late'}))
    assert client.read_vm(ref).args == SPAN


def test_answer_counts_from_when_it_may_have_come_and_not_from_when_it_was_read(client, ref):
    """The loop may have been away while it lay in the socket."""
    client.read_vm(ref)
    steps, heard_at = client.steps.read_platform(ref), None
    with pytest.raises(StopIteration):
        while True:
            wait = steps.send(heard_at)
            select.select([wait.descriptor], [], [])
            heard_at = time.monotonic() - MAP_FRESH_SECONDS - 0.001
    with pytest.raises(AnswerTooOld):
        client.set_platform(ref, {'device-model-args': 'late'})
