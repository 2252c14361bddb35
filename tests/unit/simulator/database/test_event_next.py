"""event.register and event.next: one event per write, a queue with a limit."""

from threading import Thread
from typing import Any, List

import pytest

from simulator.database.event_next import QUEUE_BYTES
from simulator.server import Simulator
from simulator.wire.failures import Failure, XapiGone


@pytest.fixture
def vm(simulator: Simulator) -> str:
    return simulator.create_vm('web')


def test_without_a_registration_there_are_no_events(remote: Any) -> None:
    answer = getattr(remote, 'event.next')(remote.handle)
    assert answer['ErrorDescription'][0] == 'SESSION_NOT_REGISTERED'
    assert answer['ErrorDescription'][1].startswith('trackid=')


def test_every_write_is_an_event(simulator: Simulator, remote: Any, vm: str) -> None:
    remote.xenapi.event.register(['vm'])
    simulator.call('VM.add_to_platform', vm, 'a', '1')
    simulator.call('VM.add_to_platform', vm, 'b', '2')
    simulator.call('VM.destroy', simulator.create_vm('brief'))
    events = remote.xenapi.event.next()
    of_vm = [event for event in events if event['ref'] == vm]
    assert [event['operation'] for event in of_vm] == ['mod', 'mod']
    assert ['b' in event['snapshot']['platform'] for event in of_vm] == [False, True]
    last = events[-1]
    assert (last['operation'], last['snapshot']['name_label']) == ('del', 'brief')
    assert [int(event['id']) for event in events] == sorted(int(event['id']) for event in events)


def test_a_class_that_was_taken_out_is_silent(simulator: Simulator, remote: Any, vm: str) -> None:
    remote.xenapi.event.register(['vm', 'pool'])
    remote.xenapi.event.unregister(['vm'])
    simulator.call('VM.set_name_label', vm, 'new')
    simulator.call('pool.set_name_label', simulator.pool, 'new')
    assert [event['class'] for event in remote.xenapi.event.next()] == ['pool']


def test_a_queue_that_is_too_long_is_lost(simulator: Simulator, remote: Any, vm: str,
                                          monkeypatch: Any) -> None:
    monkeypatch.setattr(simulator.state.legacy_events.__class__, '_build', _big)
    remote.xenapi.event.register(['vm'])
    simulator.call('VM.set_name_label', vm, 'new')
    answer = getattr(remote, 'event.next')(remote.handle)
    assert answer['ErrorDescription'] == ['EVENTS_LOST']


def _big(events: Any, table: str, ref: str) -> Any:
    return {'ref': 'x' * (QUEUE_BYTES + 1)}


@pytest.mark.parametrize('how, expected', [
    ('session-ends', (Failure,)), ('xapi-ends', (Failure, XapiGone))])
def test_a_blocked_call_ends_with_its_session_and_with_xapi(
        simulator: Simulator, remote: Any, how: str, expected: Any) -> None:
    state = simulator.state
    outcome: List[Any] = []
    state.legacy_events.register(remote.handle, ['vm'])

    def wait() -> None:
        try:
            state.legacy_events.next(remote.handle)
        except (Failure, XapiGone) as error:
            outcome.append(error)

    thread = Thread(target=wait)
    thread.start()
    if how == 'session-ends':
        state.sessions.end(remote.handle)
    else:
        simulator.restart()
    thread.join(5.0)
    assert len(outcome) == 1 and isinstance(outcome[0], expected)
