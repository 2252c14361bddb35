"""The decision: named cases of the promises, and what holds in every combination there is."""

import itertools
import shlex

import pytest

from tests.unit.watcher.builders import (ASSIGNMENT, NAMES, OTHER_SPAN, POLICY, SPAN, TEMPLATE,
                                         build_vm, uuid_of)
from watcher.vm.device_args import MAX_VALUE, parse_args
from watcher.vm.plan import Action, Beside, PlanReason, Standing, State, plan_restore, plan_vm
from watcher.vm.record import START_OPERATIONS, PowerState, VmKind

DISABLED = ASSIGNMENT._replace(is_pool_enabled=False)
UNACCEPTED = POLICY._replace(is_accepted=False)
FOREIGN = '-name "a b" -foo'
STARTING, BUSY = {'operation': 'start_on'}, {'operation': 'clone'}
RESIDENT, UNSETTLED = {'resident_on': 'OpaqueRef:host-1'}, {'settles_platform': True}
RUNNING = {'power_state': PowerState.RUNNING}
SUSPENDED = {'power_state': PowerState.SUSPENDED}


@pytest.mark.parametrize('args, fields, action, reason, state, value', [
    pytest.param(None, {}, Action.ADD, PlanReason.SPAN_MISSING, State.DRIFT, SPAN,
                 id='halted-without-args'),
    pytest.param(None, STARTING, Action.ADD, PlanReason.SPAN_MISSING, State.DRIFT, SPAN,
                 id='starting-without-args'),
    pytest.param(None, RUNNING, Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, None,
                 id='running-without-args'),
    pytest.param(SPAN, {}, Action.NONE, PlanReason.AS_DESIRED, State.AS_DESIRED, None,
                 id='halted-as-desired'),
    pytest.param(FOREIGN + '  ' + SPAN, RUNNING, Action.NONE, PlanReason.AS_DESIRED,
                 State.AS_DESIRED, None, id='running-as-desired-with-foreign-text'),
    pytest.param(SPAN + ',addr=5', {}, Action.NONE, PlanReason.AS_DESIRED, State.AS_DESIRED, None,
                 id='halted-as-desired-with-a-property-by-hand'),
    pytest.param(OTHER_SPAN, {}, Action.REPLACE, PlanReason.SPAN_DIFFERS, State.DRIFT, SPAN,
                 id='halted-with-drift'),
    pytest.param(OTHER_SPAN, STARTING, Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, None,
                 id='starting-with-drift'),
    pytest.param('-foo', STARTING, Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, None,
                 id='starting-with-foreign-text-only'),
    pytest.param(None, dict(STARTING, resident_on='OpaqueRef:host-1'), Action.NONE,
                 PlanReason.NOT_AT_REST, State.PENDING, None, id='starting-and-past-the-cut-off'),
    pytest.param(None, RESIDENT, Action.NONE, PlanReason.HALTED_RESIDENT, State.PENDING, None,
                 id='halted-and-resident'),
    pytest.param(SPAN, RESIDENT, Action.NONE, PlanReason.AS_DESIRED, State.AS_DESIRED, None,
                 id='halted-and-resident-as-desired'),
    pytest.param(OTHER_SPAN, UNSETTLED, Action.NONE, PlanReason.PLATFORM_UNSETTLED,
                 State.WAITS_FOR_XAPI, None, id='map-that-xapi-will-complete'),
    pytest.param(None, UNSETTLED, Action.ADD, PlanReason.SPAN_MISSING, State.DRIFT, SPAN,
                 id='absent-key-in-a-map-that-xapi-will-complete'),
    pytest.param(SPAN, UNSETTLED, Action.NONE, PlanReason.AS_DESIRED, State.AS_DESIRED, None,
                 id='as-desired-in-a-map-that-xapi-will-complete'),
    pytest.param(OTHER_SPAN, {'has_qemu': False}, Action.NONE, PlanReason.NO_QEMU, State.NO_QEMU,
                 None, id='paravirtualised'),
    pytest.param(OTHER_SPAN, BUSY, Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, None,
                 id='drift-while-it-is-cloned'),
    pytest.param(OTHER_SPAN, SUSPENDED, Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, None,
                 id='suspended-with-drift'),
    pytest.param('-foo', {}, Action.REPLACE, PlanReason.SPAN_MISSING, State.DRIFT, '-foo ' + SPAN,
                 id='halted-with-foreign-text-only'),
    pytest.param(SPAN + ' -foo ' + OTHER_SPAN, {}, Action.REPLACE, PlanReason.SPAN_DIFFERS,
                 State.DRIFT, SPAN + ' -foo', id='halted-with-two-spans'),
    pytest.param('"' + SPAN, {}, Action.NONE, PlanReason.UNREADABLE, State.UNREADABLE, None,
                 id='halted-with-an-open-quote'),
    pytest.param('"x', {}, Action.NONE, PlanReason.UNREADABLE, State.UNREADABLE, None,
                 id='halted-with-an-open-quote-in-foreign-text'),
    pytest.param('x' * (MAX_VALUE - len(SPAN) - 1), {}, Action.REPLACE, PlanReason.SPAN_MISSING,
                 State.DRIFT, 'x' * (MAX_VALUE - len(SPAN) - 1) + ' ' + SPAN,
                 id='halted-with-just-enough-room'),
    pytest.param('x' * (MAX_VALUE - len(SPAN)), {}, Action.NONE, PlanReason.TOO_LONG,
                 State.UNREADABLE, None, id='halted-with-one-byte-too-many'),
])
def test_registered_vm_is_brought_to_what_its_row_says(args, fields, action, reason, state, value):
    plan = plan_vm(build_vm(args, **fields), ASSIGNMENT, Standing.CLEAR, POLICY)
    assert (plan.action, plan.reason, plan.state, plan.value) == (action, reason, state, value)
    assert plan.is_rescue == (fields is STARTING and action is not Action.NONE)


@pytest.mark.parametrize('args, assignment, standing, policy, action, reason, state, value', [
    pytest.param(SPAN, DISABLED, Standing.CLEAR, POLICY, Action.REMOVE, PlanReason.POOL_DISABLED,
                 State.DRIFT, None, id='disabled-pool'),
    pytest.param('-a ' + SPAN, DISABLED, Standing.CLEAR, POLICY, Action.REPLACE,
                 PlanReason.POOL_DISABLED, State.DRIFT, '-a', id='disabled-pool-with-foreign-text'),
    pytest.param(None, DISABLED, Standing.CLEAR, POLICY, Action.NONE, PlanReason.AS_DESIRED,
                 State.AS_DESIRED, None, id='disabled-pool-and-nothing-there'),
    pytest.param(None, ASSIGNMENT, Standing.CONTESTED, POLICY, Action.NONE,
                 PlanReason.NUMBER_CONTESTED, State.CONTESTED, None, id='contested-without-args'),
    pytest.param(OTHER_SPAN, ASSIGNMENT, Standing.CONTESTED, POLICY, Action.NONE,
                 PlanReason.NUMBER_CONTESTED, State.CONTESTED, None, id='contested-with-drift'),
    pytest.param(SPAN, None, Standing.CONTESTED, POLICY, Action.NONE, PlanReason.NUMBER_CONTESTED,
                 State.CONTESTED, None, id='bore-the-number-before'),
    pytest.param(SPAN, None, Standing.CLEAR, POLICY, Action.NONE, PlanReason.MANUAL_ARGS,
                 State.MANUAL, None, id='args-by-hand'),
    pytest.param(None, None, Standing.CLEAR, POLICY, Action.NONE, PlanReason.NOT_REGISTERED,
                 State.UNREGISTERED, None, id='unregistered'),
    pytest.param(FOREIGN, None, Standing.CLEAR, POLICY, Action.NONE, PlanReason.NOT_REGISTERED,
                 State.UNREGISTERED, None, id='unregistered-with-foreign-text'),
    pytest.param('"x', None, Standing.CLEAR, POLICY, Action.NONE, PlanReason.NOT_REGISTERED,
                 State.UNREGISTERED, None, id='unregistered-with-an-open-quote'),
    pytest.param('"' + SPAN, None, Standing.COPY, POLICY, Action.NONE, PlanReason.UNREADABLE,
                 State.UNREADABLE, None, id='copy-that-cannot-be-read'),
    pytest.param(SPAN, None, Standing.COPY, POLICY, Action.REMOVE, PlanReason.NUMBER_COPIED,
                 State.DOUBLED, None, id='copy'),
    pytest.param('-a ' + SPAN, None, Standing.COPY, POLICY, Action.REPLACE, PlanReason.NUMBER_COPIED,
                 State.DOUBLED, '-a', id='copy-with-foreign-text'),
    pytest.param(SPAN, None, Standing.ORPHAN, POLICY, Action.REMOVE, PlanReason.ROW_DELETED,
                 State.ORPHANED, None, id='row-deleted'),
    pytest.param(None, None, Standing.ORPHAN, POLICY, Action.NONE, PlanReason.NOT_REGISTERED,
                 State.UNREGISTERED, None, id='row-deleted-and-nothing-left'),
    pytest.param(None, ASSIGNMENT, Standing.CLEAR, UNACCEPTED, Action.ADD, PlanReason.SPAN_MISSING,
                 State.DRIFT, SPAN, id='not-accepted-adds'),
    pytest.param(OTHER_SPAN, ASSIGNMENT, Standing.CLEAR, UNACCEPTED, Action.NONE,
                 PlanReason.NOT_ACCEPTED, State.DRIFT, None, id='not-accepted-replaces-nothing'),
    pytest.param(SPAN, DISABLED, Standing.CLEAR, UNACCEPTED, Action.NONE, PlanReason.NOT_ACCEPTED,
                 State.DRIFT, None, id='not-accepted-removes-nothing'),
    pytest.param(SPAN, None, Standing.COPY, UNACCEPTED, Action.NONE, PlanReason.NOT_ACCEPTED,
                 State.DOUBLED, None, id='not-accepted-leaves-a-copy'),
])
def test_vm_at_rest_is_treated_as_it_stands(args, assignment, standing, policy, action, reason,
                                            state, value):
    plan = plan_vm(build_vm(args), assignment, standing, policy)
    assert (plan.action, plan.reason, plan.state, plan.value) == (action, reason, state, value)


HELD = Beside(holder=uuid_of(20), interim=3)
INTERIM = '-device vgpu-stub,pool_id=A,priority=high,vm_id=3'


@pytest.mark.parametrize('args, beside, action, reason, value', [
    pytest.param(INTERIM, HELD, Action.NONE, PlanReason.NUMBER_HELD, None, id='it-has-its-old-number'),
    pytest.param(OTHER_SPAN, HELD, Action.REPLACE, PlanReason.SPAN_DIFFERS, INTERIM,
                 id='the-old-number-with-the-new-pool-and-priority'),
    pytest.param(SPAN, HELD, Action.REPLACE, PlanReason.SPAN_DIFFERS, INTERIM,
                 id='the-new-number-by-the-hand-of-others'),
    pytest.param(None, HELD, Action.ADD, PlanReason.SPAN_MISSING, INTERIM, id='it-has-nothing'),
    pytest.param(SPAN, HELD._replace(interim=None), Action.REMOVE, PlanReason.NUMBER_HELD, None,
                 id='there-is-no-number-for-it')])
def test_number_that_another_vm_has_is_not_staged(args, beside, action, reason, value):
    plan = plan_vm(build_vm(args), ASSIGNMENT, Standing.CLEAR, POLICY, beside)
    assert (plan.action, plan.value, plan.state, plan.holder) == (
        action, value, State.PENDING, uuid_of(20))
    assert (plan.desired, plan.reason) == (SPAN, reason)


@pytest.mark.parametrize('args, runs, state', [
    pytest.param(SPAN, {SPAN}, State.AS_DESIRED, id='as-desired'),
    pytest.param(SPAN, {OTHER_SPAN}, State.PENDING, id='the-record-was-written-by-hand'),
    pytest.param(SPAN, {SPAN, OTHER_SPAN}, State.PENDING, id='it-is-not-known'),
    pytest.param(SPAN, {None}, State.PENDING, id='it-runs-without'),
    pytest.param(OTHER_SPAN, {SPAN}, State.PENDING, id='its-next-boot-would-be-wrong')])
def test_change_is_pending_by_what_runs(args, runs, state):
    vm = build_vm(args, power_state=PowerState.RUNNING)
    plan = plan_vm(vm, ASSIGNMENT, Standing.CLEAR, POLICY, Beside(runs=frozenset(runs)))
    assert (plan.action, plan.state) == (Action.NONE, state)


def test_copy_that_others_keep_from_starting_is_left_alone():
    plan = plan_vm(build_vm(SPAN), None, Standing.COPY, POLICY, Beside(is_blocked_by_others=True))
    assert (plan.action, plan.reason, plan.state) == (Action.NONE, PlanReason.COPY_BLOCKED,
                                                      State.DOUBLED)


def test_properties_of_what_was_removed_come_back():
    beside = Beside(removed=OTHER_SPAN + ',addr=5')
    for args, value in ((None, SPAN + ',addr=5'), ('-foo', '-foo ' + SPAN + ',addr=5'),
                        (OTHER_SPAN, SPAN)):
        plan = plan_vm(build_vm(args), ASSIGNMENT, Standing.CLEAR, POLICY, beside)
        assert plan.value == value


@pytest.mark.parametrize('standing, state', [
    pytest.param(Standing.COPY, State.DOUBLED, id='copy'),
    pytest.param(Standing.ORPHAN, State.ORPHANED, id='row-deleted')])
def test_unregistered_vm_that_starts_keeps_what_it_has(standing, state):
    plan = plan_vm(build_vm(SPAN, operation='start'), None, standing, POLICY)
    assert (plan.action, plan.reason, plan.state) == (Action.NONE, PlanReason.NOT_AT_REST, state)


@pytest.mark.parametrize('kind', [VmKind.TEMPLATE, VmKind.SNAPSHOT, VmKind.CONTROL_DOMAIN])
def test_whatever_is_no_ordinary_vm_is_left_alone(kind):
    plan = plan_vm(build_vm(OTHER_SPAN, kind=kind), ASSIGNMENT, Standing.CLEAR, POLICY)
    assert (plan.action, plan.reason) == (Action.NONE, PlanReason.NOT_ORDINARY)


# Every combination.

OPERATIONS = (
    (), ('start',), ('start_on',), ('start', 'start_on'), ('start', 'clone'), ('clone',),
    ('copy',), ('snapshot',), ('checkpoint',), ('revert',), ('reverting',), ('suspend',),
    ('resume',), ('resume_on',), ('pool_migrate',), ('migrate_send',), ('clean_shutdown',),
    ('hard_shutdown',), ('clean_reboot',), ('hard_reboot',), ('export',), ('destroy',),
    ('make_into_template',), ('unpause',), ('an_operation_of_a_later_release',))
VALUES = (
    None, '', FOREIGN, SPAN, FOREIGN + ' ' + SPAN, SPAN + ',addr=5', OTHER_SPAN,
    OTHER_SPAN + ' ' + FOREIGN, SPAN + ' ' + SPAN, OTHER_SPAN + ' -x ' + SPAN,
    '-device vgpu-cuda,vm_id=10', '-device vgpu-stub2,vm_id=10', '"' + SPAN, SPAN + '\n', '"x',
    'x' * MAX_VALUE)


@pytest.fixture(scope='module')
def combinations():
    """(vm, assignment, standing, policy, plan) of every combination there is."""
    dimensions = itertools.product(
        VmKind, PowerState, OPERATIONS, VALUES, (ASSIGNMENT, DISABLED, None), Standing,
        (POLICY, UNACCEPTED))
    found = []
    for kind, power_state, names, args, assignment, standing, policy in dimensions:
        if kind is not VmKind.VM and names not in OPERATIONS[:3]:
            continue
        operations = tuple(('OpaqueRef:%d' % i, name) for i, name in enumerate(names))
        vm = build_vm(args, kind=kind, power_state=power_state, operations=operations)
        plan = plan_vm(vm, assignment, standing, policy)
        found.append((vm, assignment, standing, policy, plan))
    return found


def foreign_words(value):
    """The words of a readable value without our spans."""
    reading = parse_args(value, NAMES)
    text = value or ''
    for span in reversed(reading.spans):
        text = text[:span.start] + text[span.end:]
    return shlex.split(text)


def test_nothing_is_written_but_on_an_ordinary_vm_that_rests_or_starts(combinations):
    for vm, _assignment, _standing, _policy, plan in combinations:
        if plan.action is not Action.NONE:
            assert vm.kind is VmKind.VM and vm.power_state is PowerState.HALTED
            assert {name for _task, name in vm.operations} <= START_OPERATIONS


def test_only_the_start_of_a_registered_vm_is_rescued(combinations):
    for vm, assignment, _standing, _policy, plan in combinations:
        expected = plan.action is not Action.NONE and bool(vm.operations)
        assert plan.is_rescue is expected
        assert assignment is not None or not expected


def test_action_is_the_one_that_leads_to_the_value(combinations):
    for vm, _assignment, _standing, _policy, plan in combinations:
        if plan.action is Action.NONE:
            assert plan.value is None
        else:
            assert plan.value != vm.args
            assert (plan.action is Action.ADD) == (vm.args is None)
            assert (plan.action is Action.REMOVE) == (plan.value is None)


def test_what_cannot_be_read_is_never_touched(combinations):
    for vm, assignment, _standing, _policy, plan in combinations:
        if parse_args(vm.args, NAMES).problem is not None and vm.kind is VmKind.VM:
            assert plan.action is Action.NONE
            if assignment is not None or 'vgpu-stub' in vm.args:
                assert plan.state is State.UNREADABLE and plan.carried == vm.args


def test_contested_is_never_touched(combinations):
    for _vm, _assignment, standing, _policy, plan in combinations:
        if standing is Standing.CONTESTED:
            assert plan.action is Action.NONE


def test_without_acceptance_no_span_that_is_there_is_changed(combinations):
    for _vm, assignment, _standing, policy, plan in combinations:
        if not policy.is_accepted and plan.action is not Action.NONE:
            assert plan.carried is None and assignment is not None and plan.desired is not None


def test_unregistered_vm_never_gains_a_span_and_loses_one_only_as_copy_or_orphan(combinations):
    for vm, assignment, standing, _policy, plan in combinations:
        if assignment is None:
            assert plan.desired is None
            if plan.action is not Action.NONE:
                assert vm.is_at_rest and standing in (Standing.COPY, Standing.ORPHAN)
                assert not parse_args(plan.value, NAMES).spans


def test_foreign_text_survives_every_write(combinations):
    for vm, _assignment, _standing, _policy, plan in combinations:
        if plan.action is not Action.NONE:
            assert foreign_words(plan.value) == foreign_words(vm.args)


def test_what_is_written_carries_exactly_the_desired_span(combinations):
    for _vm, _assignment, _standing, _policy, plan in combinations:
        if plan.action is not Action.NONE:
            reading = parse_args(plan.value, NAMES)
            assert reading.problem is None and reading.managed == plan.desired
            assert len(plan.value or '') <= MAX_VALUE


def test_after_the_write_nothing_more_is_to_be_done(combinations):
    for vm, assignment, standing, policy, plan in combinations:
        if plan.action is not Action.NONE:
            again = plan_vm(vm._replace(args=plan.value), assignment, standing, policy)
            expected = State.UNREGISTERED if assignment is None else State.AS_DESIRED
            assert (again.action, again.state) == (Action.NONE, expected)


def test_as_desired_is_said_of_exactly_what_needs_no_write(combinations):
    for vm, assignment, standing, _policy, plan in combinations:
        is_right = (vm.kind is VmKind.VM and assignment is not None
                    and standing is not Standing.CONTESTED
                    and parse_args(vm.args, NAMES).problem is None
                    and plan.carried == plan.desired)
        assert (plan.state is State.AS_DESIRED) == is_right


def test_drift_of_a_registered_vm_at_rest_or_starting_is_always_mended(combinations):
    for vm, assignment, standing, policy, plan in combinations:
        can_be = (vm.kind is VmKind.VM and assignment is not None and policy.is_accepted
                  and standing is not Standing.CONTESTED
                  and plan.state not in (State.UNREADABLE, State.AS_DESIRED))
        if can_be:
            is_writable = vm.is_at_rest or (vm.is_starting and vm.args is None)
            assert (plan.action is not Action.NONE) == is_writable
            assert plan.state is (State.DRIFT if is_writable else State.PENDING)


def test_span_is_desired_exactly_by_a_row_in_an_enabled_pool(combinations):
    for vm, assignment, _standing, _policy, plan in combinations:
        if vm.kind is VmKind.VM:
            is_desired = assignment is not None and assignment.is_pool_enabled
            assert (plan.desired is not None) == is_desired


# Bringing back what an interrupted replacement took away.

@pytest.mark.parametrize('saved, fields, assignment, policy, action, value', [
    pytest.param(SPAN, {}, ASSIGNMENT, POLICY, Action.ADD, SPAN, id='as-it-was-to-be'),
    pytest.param('-a ' + SPAN, {}, ASSIGNMENT, POLICY, Action.ADD, '-a ' + SPAN,
                 id='with-foreign-text'),
    pytest.param('-a ' + OTHER_SPAN, {}, ASSIGNMENT, POLICY, Action.ADD, '-a ' + SPAN,
                 id='assignment-changed-meanwhile'),
    pytest.param('-a ' + SPAN, {}, DISABLED, POLICY, Action.ADD, '-a',
                 id='pool-disabled-meanwhile'),
    pytest.param('-a ' + SPAN, {}, None, POLICY, Action.ADD, '-a', id='row-deleted-meanwhile'),
    pytest.param('-a', {}, None, POLICY, Action.ADD, '-a', id='copy-with-foreign-text'),
    pytest.param(SPAN, {}, None, POLICY, Action.NONE, None, id='nothing-left-to-bring-back'),
    pytest.param(OTHER_SPAN, {}, ASSIGNMENT, UNACCEPTED, Action.ADD, OTHER_SPAN,
                 id='not-accepted-brings-back-what-was-saved'),
    pytest.param(SPAN, STARTING, ASSIGNMENT, POLICY, Action.ADD, SPAN, id='starting'),
    pytest.param(SPAN, RUNNING, ASSIGNMENT, POLICY, Action.NONE, None, id='running'),
    pytest.param(SPAN, BUSY, ASSIGNMENT, POLICY, Action.NONE, None, id='in-another-operation'),
])
def test_removed_value_comes_back_as_it_should_be_now(saved, fields, assignment, policy, action,
                                                      value):
    plan = plan_restore(build_vm(None, **fields), saved, assignment, policy)
    assert (plan.action, plan.value) == (action, value)
    assert plan.is_rescue == (fields is STARTING) and plan.carried is None


@pytest.mark.parametrize('saved', ['-a ' + SPAN, SPAN, '-a'])
def test_while_nobody_knows_what_the_row_says_the_value_comes_back_whole(saved):
    plan = plan_restore(build_vm(None), saved, None, POLICY, is_known=False)
    assert (plan.action, plan.value) == (Action.ADD, saved)


def test_value_that_is_still_missing_is_not_said_to_be_as_desired():
    plan = plan_restore(build_vm(None), SPAN, ASSIGNMENT, POLICY)
    assert (plan.reason, plan.state, plan.desired) == (PlanReason.INTERRUPTED, State.DRIFT, SPAN)


def test_policy_reads_the_number_that_a_vm_carries():
    assert POLICY.number_of(build_vm(OTHER_SPAN)) == 10
    assert POLICY.number_of(build_vm(None)) is None
    assert TEMPLATE.number_key == 'vm_id'
