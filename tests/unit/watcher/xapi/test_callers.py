"""Callers: jobs with a connection of their own to the session of now."""

import pytest

from watcher.config.settings import XapiSettings
from watcher.errors import SessionLost, XapiError
from watcher.loop.loop import Inbox, JobDied, Urgency
from watcher.loop.steps import TURN
from watcher.xapi.callers import Callers
from watcher.xapi.client import Client


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def build_callers(loop, inbox):
    """Build callers; their connections are closed at the end."""
    built = []

    def build(size=2, session='OpaqueRef:session', **options):
        built.append(Callers('caller', size, loop, inbox.put, **options))
        if session:
            built[-1].begin(XapiSettings(), session)
        return built[-1]
    yield build
    loop.close()
    for callers in built:
        callers.begin(XapiSettings(), 'none')


@pytest.fixture
def callers(build_callers):
    return build_callers()


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """The handles of the clients that were closed."""
    handles = []
    really_close = Client.close

    def close(client):
        handles.append(client.handle)
        really_close(client)
    monkeypatch.setattr(Client, 'close', close)
    return handles


def tell_client(client):
    """A job that says which client it has."""
    yield TURN
    return client


def turn_until(loop, inbox, count):
    """The messages of so many jobs."""
    messages = []
    while len(messages) < count:
        assert loop.turn(60.0)
        messages += inbox.take()
    return messages


def test_client_is_kept_while_the_session_is(callers, loop, inbox, closed):
    clients = []
    for _job in range(3):
        callers.submit(tell_client)
        clients += turn_until(loop, inbox, 1)
    assert clients[0] is clients[1] is clients[2] and clients[0].handle == 'OpaqueRef:session'
    assert closed == []


def test_each_job_has_a_client_of_its_own(callers, loop, inbox):
    callers.submit(tell_client)
    callers.submit(tell_client)
    first, second = turn_until(loop, inbox, 2)
    assert first is not second
    for _job in range(4):
        callers.submit(tell_client)
    assert set(turn_until(loop, inbox, 4)) == {first, second}


def test_new_session_has_new_clients_and_closes_those_of_before(callers, loop, inbox, closed):
    callers.submit(tell_client)
    before, = turn_until(loop, inbox, 1)
    callers.begin(XapiSettings(), 'OpaqueRef:session-2', speaks_json=True)
    assert closed == ['OpaqueRef:session']
    callers.submit(tell_client)
    client, = turn_until(loop, inbox, 1)
    assert client is not before
    assert (client.handle, client.speaks_json, before.speaks_json) == (
        'OpaqueRef:session-2', True, False)


def test_job_under_way_ends_with_the_client_it_began_with(callers, loop, inbox, closed):
    callers.submit(tell_client)
    callers.begin(XapiSettings(), 'OpaqueRef:session-2')
    assert closed == []
    client, = turn_until(loop, inbox, 1)
    assert client.handle == 'OpaqueRef:session' and closed == ['OpaqueRef:session']
    callers.submit(tell_client)
    assert turn_until(loop, inbox, 1)[0].handle == 'OpaqueRef:session-2'


def test_waiting_job_begins_with_the_session_that_is_new_by_then(build_callers, loop, inbox):
    callers = build_callers(size=1)
    callers.submit(tell_client)
    callers.submit(tell_client)
    callers.begin(XapiSettings(), 'OpaqueRef:session-2')
    assert [client.handle for client in turn_until(loop, inbox, 2)] == [
        'OpaqueRef:session', 'OpaqueRef:session-2']


def test_session_of_now_is_told_apart(build_callers):
    callers = build_callers(session=None)
    assert not callers.is_current(None) and not callers.is_current('OpaqueRef:1')
    callers.begin(XapiSettings(), 'OpaqueRef:1')
    assert callers.is_current('OpaqueRef:1') and not callers.is_current(None)
    callers.begin(XapiSettings(), 'OpaqueRef:2')
    assert callers.is_current('OpaqueRef:2') and not callers.is_current('OpaqueRef:1')


def test_without_a_session_calls_fail_as_lost(build_callers, inbox):
    def job(client):
        try:
            yield from client.read_vm('OpaqueRef:vm')
        except SessionLost as error:
            return error
    build_callers(session=None).submit(job)
    lost, = inbox.take()
    assert isinstance(lost, SessionLost)


def test_jobs_for_starting_vms_go_first(build_callers, loop, inbox):
    def build(message):
        def job(_client):
            yield TURN
            return message
        return job
    callers = build_callers(size=1)
    for message, urgency in (('first', Urgency.LATER), ('scan', Urgency.LATER),
                             ('rescue', Urgency.RESCUE)):
        callers.submit(build(message), urgency)
    callers.submit(build('stage'))
    assert callers.is_urgent_waiting
    assert turn_until(loop, inbox, 1) == ['first'] and not callers.is_urgent_waiting
    assert turn_until(loop, inbox, 3) == ['rescue', 'stage', 'scan']


def test_job_that_dies_ends_the_process(callers, loop, log_output):
    def die(_client):
        yield TURN
        raise ValueError('not foreseen')
    callers.submit(die)
    with pytest.raises(JobDied):
        loop.turn(60.0)
    assert [(line['event'], line['job']) for line in log_output] == [('job.died', 'caller')]


# Against the simulator.

@pytest.fixture
def begin(simulator):
    """Have callers begin with a session of the simulator's."""
    settings = XapiSettings(url='unix:' + simulator.settings.socket_path)
    clients = []

    def begin(callers, loop):
        client = Client(settings)
        clients.append(client)
        loop.start('login', client.login())
        while client.handle is None:
            loop.turn(60.0)
        callers.begin(settings, client.handle, client.speaks_json)
    yield begin
    for client in clients:
        client.close()


def read(ref):
    def job(client):
        try:
            return (yield from client.read_vm(ref)).name
        except XapiError as error:
            return type(error)
    return job


def test_call_that_hangs_holds_up_its_own_vm_only(simulator, begin, build_callers, loop, inbox):
    callers = build_callers(size=2, session=None)
    begin(callers, loop)
    hanging, quick = simulator.create_vm('hangs'), simulator.create_vm('quick')
    simulator.add_fault('hang', method='VM.get_record', count=1)
    callers.submit(read(hanging))
    while not simulator.calls or simulator.calls[-1].method != 'VM.get_record':
        loop.turn(0.01)
    for _job in range(5):
        callers.submit(read(quick))
    assert turn_until(loop, inbox, 5) == ['quick'] * 5


def test_calls_are_noted(simulator, begin, build_callers, loop, inbox):
    noted = []
    callers = build_callers(session=None, note_call=lambda *call: noted.append(call))
    begin(callers, loop)
    callers.submit(read(simulator.create_vm('web')))
    callers.submit(read('OpaqueRef:none'))
    turn_until(loop, inbox, 2)
    assert sorted(noted) == [('VM.get_record', ''), ('VM.get_record', 'VmVanished')]


def test_closed_loop_leaves_no_connection(simulator, begin, build_callers, loop, inbox, closed):
    callers = build_callers(session=None)
    begin(callers, loop)
    simulator.add_fault('hang', method='VM.get_record')
    seen = []

    def job(client):
        seen.append(client)
        yield from client.read_vm('OpaqueRef:vm')
    callers.submit(job)
    while not any(call.method == 'VM.get_record' for call in simulator.calls):
        loop.turn(0.01)
    assert seen[0]._transport._line is not None
    loop.close()
    assert seen[0]._transport._line is None and not inbox
