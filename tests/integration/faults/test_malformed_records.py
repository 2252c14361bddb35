"""P15: odd, missing, huge and undecodable fields cost one VM and a log line, never the daemon."""

from typing import Any, Dict

import pytest

from simulator.faults import Fault
from tests.integration.daemon.world import World, span, wait_until
from tests.support import scenes

ODD: Dict[str, Dict[str, Any]] = {
    'no-uuid': {'remove': ['uuid']},
    'no-platform': {'remove': ['platform']},
    'platform-a-text': {'set': {'platform': 'x'}},
    'platform-of-numbers': {'set': {'platform': {'device-model-args': 7}}},
    'unknown-power-state': {'set': {'power_state': 'Unplugged'}},
    'no-power-state': {'remove': ['power_state']},
    'flag-a-text': {'set': {'is_a_template': 'false'}},
    'operations-a-list': {'set': {'current_operations': ['start']}},
    'blocked-missing': {'remove': ['blocked_operations']},
    'domid-a-word': {'set': {'domid': 'five'}},
    'uuid-a-path': {'set': {'uuid': '../../etc/passwd'}},
    'name-a-number': {'set': {'name_label': 7}},
    'everything-missing': {'set': {}, 'remove': [
        'uuid', 'platform', 'power_state', 'is_a_template', 'domid', 'name_label']},
}


@pytest.mark.parametrize('parameters', [pytest.param(ODD[name], id=name) for name in sorted(ODD)])
def test_an_odd_record_costs_its_own_vm_only_until_it_is_mended(
        pool: World, parameters: Dict[str, Any]) -> None:
    odd, sound = pool.create_vm('odd'), pool.create_vm('sound')
    fault = pool.xapi.faults.add(Fault('record', 'VM', odd, parameters=parameters))
    pool.xapi.set_field(odd, 'name_description', 'shown again')
    pool.daemon.wait_for('vm.set_aside', vm_ref=odd)
    numbers = {ref: pool.register(ref) for ref in (odd, sound)}
    pool.wait_args(sound, span(numbers[sound]))
    assert pool.args(odd) is None
    pool.xapi.faults.remove(fault)
    pool.xapi.set_field(odd, 'name_description', 'mended')
    pool.wait_args(odd, span(numbers[odd]))
    assert pool.start_vm(sound).args == span(numbers[sound])


@pytest.mark.parametrize('fields', [
    pytest.param({'name_label': 'n' * 200000}, id='name-of-200-kilobytes'),
    pytest.param({'NVRAM': {'EFI-variables': 'V' * 200000}}, id='nvram-of-200-kilobytes'),
    pytest.param({'other_config': {'x%d' % number: 'y' * 50 for number in range(4000)}},
                 id='other-config-of-4000-keys'),
    pytest.param({'name_label': '\x1b[2Jna\u0000me\r\n{"event": "forged"}'},
                 id='control-characters'),
    pytest.param({'name_label': '\U0001f4a5 \u202etxet'}, id='beyond-the-bmp')])
def test_a_record_of_any_size_and_script_is_served(pool: World, fields: Dict[str, Any]) -> None:
    ref = pool.create_vm('huge')
    for field, value in fields.items():
        pool.xapi.set_field(ref, field, value)
    number = pool.register(pool.create_vm('other'))
    with pool.registry.edit(who='test', command='register-vm') as edit:
        number = edit.add_vm(pool.uuid(ref)).vm_id
    pool.wait_args(ref, span(number))
    assert pool.start_vm(ref).args == span(number)
    assert not pool.daemon.events('forged') and not pool.daemon.events('not-json')


@pytest.mark.parametrize('value', [
    pytest.param('-foo "unbalanced', id='unbalanced'), pytest.param("it's", id='one-quote'),
    pytest.param('trailing \\', id='trailing-backslash'), pytest.param('-foo \xe9', id='not-ascii'),
    pytest.param('-foo\t\x07', id='control-character'), pytest.param('-device', id='dangling'),
    pytest.param('x' * 1000, id='too-long')])
def test_a_value_that_cannot_be_read_is_left_alone_and_said(pool: World, value: str) -> None:
    ref = pool.create_vm('unreadable', args=value)
    pool.register(ref)
    pool.daemon.wait_for('vm.left_alone', vm_uuid=pool.uuid(ref), state='unreadable')
    assert pool.start_vm(ref).args == value
    assert pool.args(ref) == value


def test_a_record_that_cannot_be_decoded_is_set_aside_and_the_rest_is_read_one_by_one(
        pool: World) -> None:
    spoilt, sound = pool.create_vm('spoilt'), pool.create_vm('sound')
    fault = pool.xapi.faults.add(Fault('record', 'VM', spoilt, parameters={
        'set': {'name_label': 'x\udcff'}}))
    pool.xapi.set_field(spoilt, 'name_description', 'shown again')
    pool.daemon.wait_for('stream.read_one_by_one')
    pool.daemon.wait_for('vm.set_aside', vm_ref=spoilt)
    numbers = {ref: pool.register(ref) for ref in (spoilt, sound)}
    pool.wait_args(sound, span(numbers[sound]))
    assert pool.start_vm(sound).args == span(numbers[sound])
    assert pool.args(spoilt) is None
    pool.xapi.faults.remove(fault)
    pool.xapi.set_field(spoilt, 'name_description', 'mended')
    pool.wait_args(spoilt, span(numbers[spoilt]))


def test_a_registered_vm_whose_record_turns_odd_while_it_is_replaced_is_mended_afterwards(
        pool: World) -> None:
    subject, = scenes.stage(pool)
    fault = Fault('record', 'VM', subject.ref, parameters={'remove': ['platform']})
    scenes.at_call(pool, subject.ref, 2, lambda: pool.xapi.faults.add(fault))
    scenes.prioritise(pool, [subject])
    wait_until(lambda: fault in pool.xapi.faults.list(), 'the trouble')
    pool.xapi.faults.remove(fault)
    pool.xapi.set_field(subject.ref, 'name_description', 'mended')
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


@pytest.mark.parametrize('event', [
    pytest.param({'ref': 'OpaqueRef:never-seen'}, id='deletion-of-a-stranger'),
    pytest.param({'ref': 'OpaqueRef:never-seen', 'operation': 'mod'}, id='change-without-a-record'),
    pytest.param({'ref': 'OpaqueRef:x', 'operation': 'odd', 'class': 'odd'}, id='odd-class')])
def test_an_event_that_makes_no_sense_is_survived(
        pool: World, event: Dict[str, Any]) -> None:
    pool.xapi.faults.add(Fault('phantom', method='event.from', count=1, parameters=event))
    ref = pool.create_vm()
    number = pool.register(ref)
    pool.wait_args(ref, span(number))
    assert pool.start_vm(ref).args == span(number)
