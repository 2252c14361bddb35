"""event.from keeps what XAPI promises of it, through the unmodified XenAPI package."""

import time
from threading import Thread
from typing import Any, Callable, Dict, List

import pytest
import XenAPI

from simulator.faults import Fault
from simulator.server import Simulator

LONG = 20.0


def _all(session: Any, *classes: str) -> Dict[str, Any]:
    return session.xenapi.event_from(list(classes) or ['vm'], '', 0.0)


def _next(session: Any, token: str, *classes: str) -> Dict[str, Any]:
    return session.xenapi.event_from(list(classes) or ['vm'], token, LONG)


def _shapes(batch: Dict[str, Any]) -> List[Any]:
    return [(event['operation'], event['ref']) for event in batch['events']]


def test_the_empty_token_gives_every_row_as_added(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    batch = _all(local)
    assert ('add', ref) in _shapes(batch)
    assert {operation for operation, _ in _shapes(batch)} == {'add'}
    assert batch['valid_ref_counts']['vm'] == len(batch['events']) == 2
    assert len(batch['token']) == 41 and batch['token'][20] == ','


def test_an_event_has_the_fields_of_the_wire(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    event = [event for event in _all(local)['events'] if event['ref'] == ref][0]
    assert event['class'] == 'vm'
    assert event['timestamp'] == '0.0'
    assert event['id'] == str(simulator.state.database.get('VM', ref).created)
    assert event['snapshot']['domid'] == '-1'
    assert len(event['snapshot']) == 91


def test_nothing_happens_until_the_time_is_up_and_the_token_stays(
        simulator: Simulator, local: Any) -> None:
    token = _all(local)['token']
    began = time.monotonic()
    batch = local.xenapi.event_from(['vm'], token, 0.2)
    assert batch['events'] == [] and batch['token'] == token
    assert time.monotonic() - began >= 0.2


def test_several_writes_are_one_event(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local)['token']
    simulator.call('VM.add_to_platform', ref, 'a', '1')
    simulator.call('VM.add_to_platform', ref, 'b', '2')
    batch = _next(local, token)
    assert _shapes(batch) == [('mod', ref)]
    assert batch['events'][0]['snapshot']['platform']['b'] == '2'


def test_a_deletion_has_no_snapshot(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local)['token']
    simulator.call('VM.destroy', ref)
    batch = _next(local, token)
    assert _shapes(batch) == [('del', ref)]
    assert 'snapshot' not in batch['events'][0]


def test_what_came_and_went_between_two_looks_leaves_nothing(
        simulator: Simulator, local: Any) -> None:
    token = _all(local)['token']
    simulator.call('VM.destroy', simulator.create_vm('brief'))
    assert local.xenapi.event_from(['vm'], token, 0.0)['events'] == []


def test_a_batch_has_adds_then_mods_then_dels(simulator: Simulator, local: Any) -> None:
    gone, changed = simulator.create_vm('gone'), simulator.create_vm('changed')
    token = _all(local)['token']
    simulator.call('VM.destroy', gone)
    simulator.call('VM.set_name_label', changed, 'new')
    added = simulator.create_vm('added')
    assert _shapes(_next(local, token)) == [('add', added), ('mod', changed), ('del', gone)]


def test_a_vm_changes_when_its_disk_comes(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local)['token']
    disk = simulator.vm(ref)['VBDs'][0]
    simulator.state.database.destroy('VBD', disk)
    assert _shapes(_next(local, token)) == [('mod', ref)]


@pytest.mark.parametrize('token', ['x', '1', '1,2,3', '1,x'])
def test_a_token_that_is_none_is_refused(local: Any, token: str) -> None:
    with pytest.raises(XenAPI.Failure) as caught:
        local.xenapi.event_from(['vm'], token, 0.0)
    assert caught.value.details == ['EVENT_FROM_TOKEN_PARSE_FAILURE', token]


def test_an_object_can_be_subscribed_to(simulator: Simulator, local: Any) -> None:
    first, second = simulator.create_vm('a'), simulator.create_vm('b')
    batch = local.xenapi.event_from(['VM/' + first], '', 0.0)
    assert _shapes(batch) == [('add', first)]
    simulator.call('VM.set_name_label', second, 'new')
    assert local.xenapi.event_from(['vm/' + first], batch['token'], 0.0)['events'] == []


def test_an_unknown_class_matches_nothing(local: Any) -> None:
    assert local.xenapi.event_from(['nonsense'], '', 0.0)['events'] == []


def test_an_injection_is_a_change_without_a_change(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    before = _all(local)
    token = local.xenapi.event.inject('VM', ref)
    batch = _next(local, before['token'])
    assert _shapes(batch) == [('mod', ref)]
    assert batch['token'] > token
    with pytest.raises(XenAPI.Failure) as caught:
        local.xenapi.event.inject('vm', ref)
    assert caught.value.details == ['HANDLE_INVALID', 'vm', ref]


def test_messages_come_first_and_move_the_second_half_of_the_token(
        simulator: Simulator, local: Any) -> None:
    token = _all(local, 'vm', 'message')['token']
    ref = simulator.create_vm('web')
    simulator.call('message.create', 'ALERT', '5', 'VM', simulator.vm(ref)['uuid'], 'body')
    batch = _next(local, token, 'vm', 'message')
    assert [event['class'] for event in batch['events']] == ['message', 'vm']
    assert int(batch['token'].split(',')[1]) > 0
    assert int(_all(local, 'vm')['token'].split(',')[1]) == 0


def test_two_calls_on_one_session_do_not_disturb_each_other(
        simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local)['token']
    answers: Dict[str, Any] = {}

    def poll(name: str, classes: List[str]) -> None:
        answers[name] = simulator.state.events.event_from(local.handle, classes, token, 0.3)

    threads = [Thread(target=poll, args=('vm', ['vm'])), Thread(target=poll, args=('sr', ['SR']))]
    for thread in threads:
        thread.start()
    simulator.call('VM.set_name_label', ref, 'new')
    for thread in threads:
        thread.join(5.0)
    assert _shapes(answers['vm']) == [('mod', ref)]
    assert answers['sr']['events'] == []


def _poll_beside(session: Any, token: str) -> Any:
    outcome: List[Any] = []

    def poll() -> None:
        try:
            outcome.append(_next(session, token))
        except XenAPI.Failure as failure:
            outcome.append(failure.details)

    thread = Thread(target=poll)
    thread.start()
    return thread, outcome


def _is_polling(simulator: Simulator) -> bool:
    return bool(simulator.state.events.waiters)


def test_a_session_that_ends_wakes_its_long_poll(simulator: Simulator, local: Any) -> None:
    handle = local.handle
    thread, outcome = _poll_beside(_Raw(local), _all(local)['token'])
    assert simulator.wait_for(lambda: _is_polling(simulator))
    simulator.state.sessions.end(handle)
    thread.join(5.0)
    assert outcome == [['SESSION_INVALID', handle]]


class _Raw:
    """The XenAPI package without its silent login: it would hide the lost session."""

    def __init__(self, session: Any) -> None:
        self.xenapi = self
        self._session = session

    def event_from(self, *params: Any) -> Any:
        """Call once."""
        answer = getattr(self._session, 'event.from')(self._session.handle, *params)
        if answer['Status'] == 'Failure':
            raise XenAPI.Failure(answer['ErrorDescription'])
        return answer['Value']


def test_a_lost_wake_up_costs_until_the_next_write(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local)['token']
    simulator.faults.add(Fault('lost_wakeup', method='VM', count=1))
    thread, outcome = _poll_beside(local, token)
    assert simulator.wait_for(lambda: _is_polling(simulator))
    simulator.call('VM.set_name_label', ref, 'first')
    thread.join(0.2)
    assert outcome == []
    simulator.call('VM.set_name_label', ref, 'second')
    thread.join(5.0)
    assert _shapes(outcome[0]) == [('mod', ref)]


@pytest.mark.parametrize('era, least, most', [
    pytest.param('A', 0.5, 5.0, id='sleeps-after-the-wake'),
    pytest.param('B', 0.0, 0.4, id='answers-at-once'),
])
def test_the_era_decides_how_long_an_answer_waits(
        build: Callable[..., Simulator], era: str, least: float, most: float) -> None:
    simulator = build(era=era, event_from_delay=(0.0, 0.5))
    ref = simulator.create_vm('web')
    token = simulator.state.events.event_from('', ['vm'], '', 0.0)['token']
    done: List[float] = []

    def poll() -> None:
        simulator.state.events.event_from('', ['vm'], token, LONG)
        done.append(time.monotonic())

    thread = Thread(target=poll)
    thread.start()
    assert simulator.wait_for(lambda: _is_polling(simulator))
    began = time.monotonic()
    simulator.call('VM.set_name_label', ref, 'new')
    thread.join(5.0)
    assert least <= done[0] - began <= most


@pytest.mark.parametrize('classes, least, most', [
    pytest.param(['vm'], 0.5, 5.0, id='vm'),
    pytest.param(['task'], 0.0, 0.4, id='tasks-only'),
])
def test_era_c_sleeps_before_the_first_look_but_for_tasks(
        build: Callable[..., Simulator], classes: List[str], least: float, most: float) -> None:
    simulator = build(era='C', event_from_delay=(0.5, 0.05))
    began = time.monotonic()
    simulator.state.events.event_from('', classes, '', 0.0)
    assert least <= time.monotonic() - began <= most


def test_tasks_of_synchronous_calls_come_and_go(simulator: Simulator, local: Any) -> None:
    ref = simulator.create_vm('web')
    token = _all(local, 'task')['token']
    spawned = simulator.spawn('VM.start', ref, False, False)
    batch = _next(local, token, 'task')
    assert [event['snapshot']['name_label'] for event in batch['events']] == ['VM.start']
    spawned.join(5.0)
    assert simulator.state.database.tables['task'].rows == {}
