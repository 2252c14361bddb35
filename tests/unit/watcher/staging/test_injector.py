"""Plans carried out: the calls, every interrupted prefix, and a VM that changes in between."""

import itertools

import pytest

from tests.unit.watcher.builders import (ASSIGNMENT, OTHER_SPAN, POLICY, REF, SPAN, FakeXapi,
                                         build_vm)
from tests.unit.watcher.steps import AtOnce
from watcher.errors import MalformedRecord, SessionLost, XapiFailure, XapiNonsense, XapiUnreachable
from watcher.loop.steps import run
from watcher.staging.injector import READS_AT_MOST, OutcomeKind, carry_out, is_current
from watcher.vm.plan import Action, Standing, plan_vm
from watcher.vm.record import ARGS_KEY
from watcher.xapi.record_parser import parse_vm

DISABLED = ASSIGNMENT._replace(is_pool_enabled=False)
STARTING = {'current_operations': {'OpaqueRef:task-1': 'start'}}
WRITES = ('add_args', 'remove_args', 'set_platform')
REPLACE_CALLS = ['read_vm', 'set_platform', 'read_vm']
MAP = {'timeoffset': '42', 'device-model': 'qemu-upstream-uefi', 'viridian': 'true',
       'odd key': 'a "b" \n c', 'secureboot': 'false'}


def plan_for(xapi, assignment=ASSIGNMENT, standing=Standing.CLEAR):
    return plan_vm(parse_vm(REF, xapi.raw), assignment, standing, POLICY)


def attempt(xapi, plan):
    ticks = itertools.count()
    return run(carry_out(AtOnce(xapi), plan, clock=lambda: float(next(ticks))))


# Without trouble: how many calls, and which.

@pytest.mark.parametrize('args, fields, assignment, calls, after', [
    pytest.param(None, {}, ASSIGNMENT, ['add_args'], SPAN, id='add'),
    pytest.param(None, STARTING, ASSIGNMENT, ['add_args'], SPAN, id='add-while-starting'),
    pytest.param(SPAN, {}, DISABLED, ['read_vm', 'remove_args'], None, id='remove'),
    pytest.param(SPAN, {}, None, ['read_vm', 'remove_args'], None, id='remove-from-a-copy'),
    pytest.param('-a ' + OTHER_SPAN, {}, ASSIGNMENT, REPLACE_CALLS, '-a ' + SPAN, id='replace'),
])
def test_plan_costs_no_more_calls_than_promised_and_one_that_writes(args, fields, assignment,
                                                                    calls, after):
    xapi = FakeXapi(args, **fields)
    outcome = attempt(xapi, plan_for(xapi, assignment, Standing.COPY))
    assert (outcome.kind, xapi.names, xapi.args) == (OutcomeKind.WRITTEN, calls, after)
    assert len([name for name in xapi.names if name in WRITES]) == 1
    assert xapi.blocks == {} and xapi.raw['platform']['timeoffset'] == '0'
    assert outcome.elapsed_ms > 0


def test_every_other_key_and_value_is_written_back_as_it_was_read():
    xapi = FakeXapi(OTHER_SPAN, platform=dict(MAP))
    assert attempt(xapi, plan_for(xapi)).kind is OutcomeKind.WRITTEN
    assert xapi.raw['platform'] == dict(MAP, **{ARGS_KEY: SPAN})


def test_key_that_changed_before_the_reading_is_written_back_as_it_is_now():
    xapi = FakeXapi(OTHER_SPAN)
    plan = plan_for(xapi)
    xapi.raw['platform']['timeoffset'] = '3600'
    attempt(xapi, plan)
    assert (xapi.args, xapi.raw['platform']['timeoffset']) == (SPAN, '3600')


def test_map_that_is_too_old_when_it_could_be_sent_is_read_again():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.late_writes = READS_AT_MOST - 1
    assert attempt(xapi, plan_for(xapi)).kind is OutcomeKind.WRITTEN
    assert xapi.names == ['read_vm'] * READS_AT_MOST + ['set_platform', 'read_vm']


def test_map_is_not_read_again_without_end():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.late_writes = 100
    outcome = attempt(xapi, plan_for(xapi))
    assert (outcome.kind, outcome.is_sent) == (OutcomeKind.REFUSED, False)
    assert xapi.names == ['read_vm'] * READS_AT_MOST


def test_record_after_the_write_that_still_rests_is_the_proof():
    xapi = FakeXapi(OTHER_SPAN)
    outcome = attempt(xapi, plan_for(xapi))
    assert outcome.is_proven and outcome.vm == parse_vm(REF, xapi.raw)
    assert outcome.read_at > 0


def test_add_never_overwrites_what_somebody_put_there_meanwhile():
    xapi = FakeXapi(None)
    plan = plan_for(xapi)
    xapi.args = '-theirs'
    outcome = attempt(xapi, plan)
    assert (outcome.kind, xapi.args, xapi.names) == (
        OutcomeKind.OVERTAKEN, '-theirs', ['add_args', 'read_vm'])
    assert outcome.vm.args == '-theirs'


# Every interrupted prefix.

UNREACHABLE, NONSENSE = XapiUnreachable('cut'), XapiNonsense('not the protocol')
REFUSAL, LOST = XapiFailure('INTERNAL_ERROR', ('x',)), SessionLost('SESSION_INVALID', ('s',))
SHAPES = {
    'add': (None, {}, ASSIGNMENT),
    'add-while-starting': (None, STARTING, ASSIGNMENT),
    'remove': (SPAN, {}, DISABLED),
    'replace': ('-a ' + OTHER_SPAN, {}, ASSIGNMENT),
    'replace-in-a-disabled-pool': ('-a ' + SPAN, {}, DISABLED),
}
TROUBLES = {
    'request-lost': (UNREACHABLE, False, False), 'answer-lost': (UNREACHABLE, True, False),
    'down-since': (UNREACHABLE, False, True), 'down-since-the-answer': (UNREACHABLE, True, True),
    'answer-is-nonsense': (NONSENSE, True, False), 'refused': (REFUSAL, False, False),
    'refused-since': (REFUSAL, False, True), 'session-lost': (LOST, False, True),
}
LONGEST = 3


@pytest.fixture(params=[
    pytest.param((shape, trouble, fail_at), id='%s-%s-at-%d' % (shape, trouble, fail_at))
    for shape in SHAPES for trouble in TROUBLES for fail_at in range(1, LONGEST + 1)])
def interrupted(request):
    """(XAPI as it was left, the plan, its outcome, the args before)."""
    shape, trouble, fail_at = request.param
    args, fields, assignment = SHAPES[shape]
    xapi = FakeXapi(args, **fields)
    xapi.error, xapi.is_executed, xapi.is_down_for_good = TROUBLES[trouble]
    xapi.fail_at = fail_at
    plan = plan_for(xapi, assignment)
    return xapi, plan, attempt(xapi, plan), args


def test_interruption_leaves_the_old_value_or_the_new_one(interrupted):
    xapi, plan, outcome, before = interrupted
    assert xapi.args in (before, plan.value)
    if outcome.kind is OutcomeKind.WRITTEN:
        assert xapi.args == plan.value
    if xapi.args != before and outcome.kind is not OutcomeKind.WRITTEN:
        assert outcome.is_sent


def test_interruption_touches_nothing_of_others(interrupted):
    xapi, _plan, _outcome, _before = interrupted
    assert xapi.raw['platform']['timeoffset'] == '0' and xapi.blocks == {}


def test_interruption_is_told_as_what_it_was(interrupted):
    xapi, _plan, outcome, _before = interrupted
    if xapi.fail_at > len(xapi.calls):
        assert outcome.kind is OutcomeKind.WRITTEN and not outcome.error
    elif outcome.kind is not OutcomeKind.WRITTEN:
        assert outcome.kind is (OutcomeKind.REFUSED if isinstance(xapi.error, XapiFailure) else
                                OutcomeKind.UNREACHABLE)
        assert (outcome.lost_session is not None) == (xapi.error is LOST)


def test_lost_answer_of_a_replacement_is_found_written_by_reading():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.fail_at, xapi.is_executed = 2, True
    outcome = attempt(xapi, plan_for(xapi))
    assert outcome.kind is OutcomeKind.WRITTEN and outcome.is_proven
    assert xapi.names == REPLACE_CALLS


def test_lost_request_of_a_replacement_is_not_sent_again_on_the_same_reading():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.fail_at = 2
    outcome = attempt(xapi, plan_for(xapi))
    assert (outcome.kind, outcome.is_sent, xapi.args) == (
        OutcomeKind.UNREACHABLE, True, OTHER_SPAN)
    assert xapi.names == REPLACE_CALLS


def test_write_whose_proof_could_not_be_read_is_written_and_not_proven():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.fail_at = 3
    outcome = attempt(xapi, plan_for(xapi))
    assert (outcome.kind, outcome.vm, outcome.is_proven) == (OutcomeKind.WRITTEN, None, False)


# A VM that changes between two calls.

def set_args(value):
    def meddle(xapi):
        xapi.args = value
    return meddle


def start(xapi):
    xapi.raw['current_operations'] = {'OpaqueRef:task-9': 'start'}


def run_now(xapi):
    xapi.raw['power_state'] = 'Running'


def suspend(xapi):
    xapi.raw['power_state'] = 'Suspended'


def clone(xapi):
    xapi.raw['current_operations'] = {'OpaqueRef:task-9': 'clone'}


def stay_resident(xapi):
    xapi.raw['resident_on'] = 'OpaqueRef:host-1'


def make_template(xapi):
    xapi.raw['is_a_template'] = True


def change_uuid(xapi):
    xapi.raw['uuid'] = '99999999-1111-2222-3333-44444444abcd'


def spoil(xapi):
    xapi.raw['power_state'] = 'Odd'


def vanish(xapi):
    xapi.is_gone = True


def lose_model(xapi):
    xapi.raw['platform'].pop('device-model', None)


def empty_map(xapi):
    xapi.raw['platform'] = {}


def trad_model(xapi):
    xapi.raw['platform']['device-model'] = 'qemu-trad'


def auto_secureboot(xapi):
    xapi.raw['platform']['secureboot'] = 'auto'


MEDDLERS = {'args-replaced': set_args('-theirs'), 'args-removed': set_args(None), 'start': start,
            'running': run_now, 'suspended': suspend, 'clone': clone, 'resident': stay_resident,
            'made-a-template': make_template, 'uuid': change_uuid, 'odd': spoil,
            'vanished': vanish, 'no-model': lose_model, 'empty-map': empty_map,
            'qemu-trad': trad_model, 'secureboot-auto': auto_secureboot}


def run_meddled(shape, meddler, at):
    args, fields, assignment = SHAPES[shape]
    xapi = FakeXapi(args, **fields)
    plan = plan_for(xapi, assignment)
    xapi.meddle = lambda number, xapi: MEDDLERS[meddler](xapi) if number == at else None
    return xapi, plan, attempt(xapi, plan)


@pytest.mark.parametrize('at', range(1, LONGEST + 1))
@pytest.mark.parametrize('meddler', sorted(MEDDLERS))
@pytest.mark.parametrize('shape', ['remove', 'replace', 'replace-in-a-disabled-pool'])
def test_nothing_is_written_on_a_record_that_shows_another_vm_than_the_plan(shape, meddler, at):
    xapi, plan, _outcome = run_meddled(shape, meddler, at)
    for index, name in enumerate(xapi.names):
        if name in WRITES:
            shown = xapi.last_read_before(index)
            assert (shown.uuid, shown.kind, shown.args) == (
                plan.vm.uuid, plan.vm.kind, plan.vm.args)
            assert shown.is_at_rest
            assert name != 'set_platform' or not shown.settles_platform


@pytest.mark.parametrize('shape, meddler, at, kind, after', [
    ('replace', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    # The one thing that XAPI does not let us notice (P5, last sentence).
    ('replace', 'args-replaced', 2, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'args-replaced', 3, OutcomeKind.WRITTEN, '-theirs'),
    ('replace', 'args-removed', 1, OutcomeKind.OVERTAKEN, None),
    ('replace', 'args-removed', 3, OutcomeKind.WRITTEN, None),
    ('replace', 'start', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'start', 2, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'start', 3, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'running', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'suspended', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'clone', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'resident', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'made-a-template', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'uuid', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'no-model', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'qemu-trad', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'secureboot-auto', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'odd', 1, OutcomeKind.REFUSED, '-a ' + OTHER_SPAN),
    ('replace', 'odd', 3, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'vanished', 1, OutcomeKind.VANISHED, '-a ' + OTHER_SPAN),
    ('replace', 'vanished', 2, OutcomeKind.VANISHED, '-a ' + OTHER_SPAN),
    ('replace', 'vanished', 3, OutcomeKind.VANISHED, '-a ' + SPAN),
    ('remove', 'start', 1, OutcomeKind.OVERTAKEN, SPAN),
    ('remove', 'no-model', 1, OutcomeKind.WRITTEN, None),
    ('remove', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('add', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('add', 'no-model', 1, OutcomeKind.WRITTEN, SPAN),
    ('add', 'vanished', 1, OutcomeKind.VANISHED, None)])
def test_change_before_a_call_is_noticed_where_xapi_lets_us(shape, meddler, at, kind, after):
    xapi, _plan, outcome = run_meddled(shape, meddler, at)
    assert (outcome.kind, xapi.args) == (kind, after)


@pytest.mark.parametrize('meddler', ['start', 'running', 'clone', 'args-replaced', 'resident'])
def test_vm_that_does_not_rest_as_written_any_more_is_not_proven(meddler):
    _xapi, _plan, outcome = run_meddled('replace', meddler, 3)
    assert outcome.kind is OutcomeKind.WRITTEN and not outcome.is_proven


def test_record_that_cannot_be_read_refuses_the_plan_and_names_the_field():
    _xapi, _plan, outcome = run_meddled('replace', 'odd', 1)
    assert outcome.error == str(MalformedRecord(REF, 'power_state', 'is none that XAPI has'))


def test_plan_is_current_on_the_record_that_it_rests_on_and_not_on_none():
    plan = plan_vm(build_vm(OTHER_SPAN), ASSIGNMENT, Standing.CLEAR, POLICY)
    assert plan.action is Action.REPLACE
    assert is_current(plan, build_vm(OTHER_SPAN)) and not is_current(plan, None)
    assert not is_current(plan, build_vm(OTHER_SPAN, settles_platform=True))
