"""Plans carried out: the calls, every interrupted prefix, and a VM that changes in between."""

import itertools

import pytest

from tests.unit.watcher.builders import (ASSIGNMENT, OTHER_SPAN, POLICY, REF, SPAN, FakeXapi,
                                         build_vm)
from watcher.errors import (MalformedRecord, SessionLost, XapiFailure, XapiNonsense,
                            XapiUnreachable)
from watcher.fence import MARK, Owner
from watcher.injector import OutcomeKind, carry_out
from watcher.plan import Action, Standing, plan_restore, plan_vm
from watcher.records import parse_vm

OWNER = Owner('dom0', 4711)
DISABLED = ASSIGNMENT._replace(is_pool_enabled=False)
FOREIGN_BLOCK = 'maintenance, ask Anna'
STARTING = {'current_operations': {'OpaqueRef:task-1': 'start'}}
WRITES = ('add_args', 'remove_args')
REPLACE_CALLS = ['add_block', 'add_block', 'read_vm', 'remove_args', 'add_args', 'read_vm',
                 'remove_block', 'remove_block']


def plan_for(xapi, assignment=ASSIGNMENT, standing=Standing.CLEAR):
    return plan_vm(parse_vm(REF, xapi.raw), assignment, standing, POLICY)


def run(xapi, plan):
    ticks = itertools.count()
    return carry_out(xapi, plan, OWNER, clock=lambda: float(next(ticks)))


def list_ours(xapi):
    """The fences of ours that stand; with the VM they are gone."""
    return set() if xapi.is_gone else {
        operation for operation, text in xapi.blocks.items() if text.startswith(MARK)}


# Without trouble: how many calls, and which.

@pytest.mark.parametrize('args, fields, assignment, calls, after', [
    pytest.param(None, {}, ASSIGNMENT, ['add_args'], SPAN, id='add'),
    pytest.param(None, STARTING, ASSIGNMENT, ['add_args'], SPAN, id='add-while-starting'),
    pytest.param(SPAN, {}, DISABLED, ['read_vm', 'remove_args'], None, id='remove'),
    pytest.param(SPAN, {}, None, ['read_vm', 'remove_args'], None, id='remove-from-a-copy'),
    pytest.param('-a ' + OTHER_SPAN, {}, ASSIGNMENT, REPLACE_CALLS, '-a ' + SPAN, id='replace'),
    pytest.param(OTHER_SPAN, STARTING, ASSIGNMENT, ['read_vm', 'remove_args', 'add_args'], SPAN,
                 id='replace-while-starting'),
])
def test_plan_costs_no_more_calls_than_promised(args, fields, assignment, calls, after):
    xapi = FakeXapi(args, **fields)
    outcome = run(xapi, plan_for(xapi, assignment, Standing.COPY))
    assert (outcome.kind, xapi.names, xapi.args) == (OutcomeKind.WRITTEN, calls, after)
    assert (xapi.blocks, outcome.fences_left, outcome.is_key_missing) == ({}, (), False)
    assert xapi.raw['platform']['timeoffset'] == '0'


def test_fence_stands_while_the_key_is_exchanged_and_says_who_and_how_to_lift_it():
    xapi, seen = FakeXapi(OTHER_SPAN), []
    xapi.meddle = lambda number, _xapi: seen.append(dict(xapi.blocks))
    outcome = run(xapi, plan_for(xapi))
    during = seen[2:7]
    assert all(set(blocks) == {'start', 'start_on'} for blocks in during)
    text = during[0]['start']
    assert text.startswith('vgpu-watcher:') and 'dom0' in text and '4711' in text
    assert 'xe vm-param-remove uuid=%s param-name=blocked-operations param-key=start' % (
        xapi.raw['uuid']) in text
    assert outcome.fenced_seconds > 0 and outcome.elapsed_ms > 0


def test_block_of_somebody_else_stays_and_serves():
    xapi = FakeXapi(OTHER_SPAN, blocked_operations={'start': FOREIGN_BLOCK, 'destroy': 'no'})
    outcome = run(xapi, plan_for(xapi))
    assert (outcome.kind, xapi.args) == (OutcomeKind.WRITTEN, SPAN)
    assert xapi.blocks == {'start': FOREIGN_BLOCK, 'destroy': 'no'}


def test_add_never_overwrites_what_somebody_put_there_meanwhile():
    xapi = FakeXapi(None)
    plan = plan_for(xapi)
    xapi.args = '-theirs'
    outcome = run(xapi, plan)
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
    'replace-beside-a-foreign-block': (
        '-a ' + OTHER_SPAN, {'blocked_operations': {'start_on': FOREIGN_BLOCK}}, ASSIGNMENT),
    'replace-while-starting': ('-a ' + OTHER_SPAN, STARTING, ASSIGNMENT),
    'replace-in-a-disabled-pool': ('-a ' + SPAN, {}, DISABLED),
}
TROUBLES = {
    'request-lost': (UNREACHABLE, False, False), 'answer-lost': (UNREACHABLE, True, False),
    'down-since': (UNREACHABLE, False, True), 'down-since-the-answer': (UNREACHABLE, True, True),
    'answer-is-nonsense': (NONSENSE, True, False), 'refused': (REFUSAL, False, False),
    'refused-since': (REFUSAL, False, True), 'session-lost': (LOST, False, True),
}
LONGEST = 8


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
    return xapi, plan, run(xapi, plan), args


def test_interruption_leaves_the_old_value_the_new_one_or_a_key_known_to_be_missing(interrupted):
    xapi, plan, outcome, before = interrupted
    assert xapi.args in (before, plan.value, None)
    if plan.value is not None and before is not None and xapi.args is None:
        assert outcome.is_key_missing
    if outcome.is_key_missing:
        assert plan.action is Action.REPLACE
    if outcome.kind is OutcomeKind.WRITTEN:
        assert xapi.args == plan.value and not outcome.is_key_missing


def test_interruption_leaves_no_fence_of_ours_that_is_not_told(interrupted):
    xapi, _plan, outcome, _before = interrupted
    assert list_ours(xapi) <= set(outcome.fences_left)


def test_interruption_touches_nothing_of_others(interrupted):
    xapi, plan, _outcome, _before = interrupted
    assert xapi.raw['platform']['timeoffset'] == '0'
    for operation, text in plan.vm.start_blocks:
        assert xapi.blocks[operation] == text


def test_interruption_is_told_as_what_it_was(interrupted):
    xapi, _plan, outcome, _before = interrupted
    if xapi.fail_at > len(xapi.calls):
        assert outcome.kind is OutcomeKind.WRITTEN and not outcome.error
    elif outcome.kind is not OutcomeKind.WRITTEN:
        is_refusal = isinstance(xapi.error, XapiFailure)
        assert outcome.kind in ((OutcomeKind.REFUSED, OutcomeKind.OVERTAKEN) if is_refusal else
                                (OutcomeKind.UNREACHABLE, OutcomeKind.OVERTAKEN))
        assert (outcome.lost_session is not None) == (xapi.error is LOST)


def test_missing_key_comes_back_with_one_more_call(interrupted):
    xapi, plan, outcome, _before = interrupted
    if outcome.is_key_missing and xapi.args is None:
        xapi.fail_at = None
        assignment = ASSIGNMENT if plan.desired else DISABLED
        again = plan_restore(parse_vm(REF, xapi.raw), plan.value, assignment, POLICY)
        assert run(xapi, again).kind is OutcomeKind.WRITTEN
        assert xapi.args == plan.value and xapi.names[-1] == 'add_args'


def test_sweep_reaches_a_missing_key_and_a_fence_left_behind():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.fail_at, xapi.is_down_for_good = 5, True
    outcome = run(xapi, plan_for(xapi))
    assert (outcome.kind, outcome.is_key_missing, outcome.fences_left) == (
        OutcomeKind.UNREACHABLE, True, ('start', 'start_on'))
    assert xapi.args is None and list_ours(xapi) == {'start', 'start_on'}


@pytest.mark.parametrize('error', [UNREACHABLE, REFUSAL], ids=['lost', 'refused'])
def test_add_that_fails_once_after_the_remove_is_tried_again_at_once(error):
    xapi = FakeXapi(OTHER_SPAN, **STARTING)
    xapi.fail_at, xapi.error = 3, error
    outcome = run(xapi, plan_for(xapi))
    assert (outcome.kind, xapi.args) == (OutcomeKind.WRITTEN, SPAN)
    assert xapi.names == ['read_vm', 'remove_args', 'add_args', 'add_args']


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


def make_template(xapi):
    xapi.raw['is_a_template'] = True


def change_uuid(xapi):
    xapi.raw['uuid'] = '99999999-1111-2222-3333-44444444abcd'


def spoil(xapi):
    xapi.raw['power_state'] = 'Odd'


def vanish(xapi):
    xapi.is_gone = True


MEDDLERS = {'args-replaced': set_args('-theirs'), 'args-removed': set_args(None), 'start': start,
            'running': run_now, 'suspended': suspend, 'clone': clone,
            'made-a-template': make_template, 'uuid': change_uuid, 'odd': spoil,
            'vanished': vanish}


def run_meddled(shape, meddler, at):
    args, fields, assignment = SHAPES[shape]
    xapi = FakeXapi(args, **fields)
    plan = plan_for(xapi, assignment)
    xapi.meddle = lambda number, xapi: MEDDLERS[meddler](xapi) if number == at else None
    return xapi, plan, run(xapi, plan)


@pytest.mark.parametrize('at', range(1, LONGEST + 1))
@pytest.mark.parametrize('meddler', sorted(MEDDLERS))
@pytest.mark.parametrize('shape', ['remove', 'replace', 'replace-while-starting'])
def test_nothing_is_written_on_a_record_that_shows_another_vm_than_the_plan(shape, meddler, at):
    xapi, plan, outcome = run_meddled(shape, meddler, at)
    for index, name in enumerate(xapi.names):
        shown = xapi.last_read_before(index)
        if name == 'remove_args':
            assert (shown.uuid, shown.kind, shown.args) == (
                plan.vm.uuid, plan.vm.kind, plan.vm.args)
            assert shown.is_starting if plan.is_rescue else shown.is_at_rest
    assert list_ours(xapi) == set() == set(outcome.fences_left)


@pytest.mark.parametrize('shape, meddler, at, kind, after', [
    ('replace', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('replace', 'args-replaced', 3, OutcomeKind.OVERTAKEN, '-theirs'),
    ('replace', 'args-replaced', 5, OutcomeKind.OVERTAKEN, '-theirs'),
    ('replace', 'args-replaced', 6, OutcomeKind.REFUSED, '-theirs'),
    ('replace', 'args-replaced', 7, OutcomeKind.WRITTEN, '-theirs'),
    ('replace', 'args-removed', 3, OutcomeKind.OVERTAKEN, None),
    ('replace', 'args-removed', 4, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'args-removed', 6, OutcomeKind.REFUSED, None),
    ('replace', 'start', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'start', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'start', 4, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace', 'running', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'suspended', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'clone', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'made-a-template', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'uuid', 3, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace', 'odd', 3, OutcomeKind.REFUSED, '-a ' + OTHER_SPAN),
    ('replace', 'vanished', 1, OutcomeKind.VANISHED, '-a ' + OTHER_SPAN),
    ('replace', 'vanished', 5, OutcomeKind.VANISHED, None),
    ('replace', 'vanished', 8, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('replace-while-starting', 'running', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace-while-starting', 'clone', 1, OutcomeKind.OVERTAKEN, '-a ' + OTHER_SPAN),
    ('replace-while-starting', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('replace-while-starting', 'args-replaced', 3, OutcomeKind.OVERTAKEN, '-theirs'),
    ('replace-while-starting', 'running', 3, OutcomeKind.WRITTEN, '-a ' + SPAN),
    ('remove', 'start', 1, OutcomeKind.OVERTAKEN, SPAN),
    ('remove', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('add', 'args-replaced', 1, OutcomeKind.OVERTAKEN, '-theirs'),
    ('add', 'vanished', 1, OutcomeKind.VANISHED, None)])
def test_change_before_a_call_is_noticed_where_xapi_lets_us(shape, meddler, at, kind, after):
    xapi, _plan, outcome = run_meddled(shape, meddler, at)
    assert (outcome.kind, xapi.args) == (kind, after)
    assert list_ours(xapi) == set()


def test_record_that_cannot_be_read_refuses_the_plan_and_names_the_field():
    _xapi, _plan, outcome = run_meddled('replace', 'odd', 3)
    assert outcome.error == str(MalformedRecord(REF, 'power_state', 'is none that XAPI has'))


def test_value_that_xapi_cut_is_not_taken_for_written():
    xapi = FakeXapi(OTHER_SPAN)
    xapi.meddle = lambda number, _xapi: set_args(SPAN[:-1])(xapi) if number == 6 else None
    outcome = run(xapi, plan_for(xapi))
    assert outcome.kind is OutcomeKind.REFUSED and SPAN[:-1] in outcome.error
    assert outcome.vm == build_vm(SPAN[:-1], start_blocks=outcome.vm.start_blocks)
