"""Staging: when a plan begins, what the journal holds meanwhile, and what our own echo causes."""

import contextlib
import sqlite3

import pytest

from registry.store import Registry
from registry.values import Priority
from tests.unit.watcher.builders import (OTHER_SPAN, POLICY, SPAN, UUID, FakeXapi, build_vm,
                                         uuid_of)
from watcher.books import Books
from watcher.errors import XapiFailure, XapiUnreachable
from watcher.fence import Owner
from watcher.injector import Outcome, OutcomeKind, carry_out
from watcher.inventory import Inventory
from watcher.plan import QUIET_SECONDS, Action, Reason, State
from watcher.records import PowerState, parse_vm
from watcher.staging import STAGING_AT_ONCE, Staging
from watcher.standing import Standings

REF = 'OpaqueRef:vm-10'
RESTED = 100.0 + QUIET_SECONDS


class Stage:
    """A Staging over a real registry and journal, with one fake XAPI per VM."""

    def __init__(self, path):
        self.path = path
        self.books = Books(path)
        self.books.poll()
        self.inventory = Inventory()
        self.begun = []
        self.reread = []
        self.is_locked = False
        standings = Standings(self.books, self.inventory, self._write)
        self.staging = Staging(self.books, self.inventory, standings,
                               carry_out=self._begin, reread=self.reread.append,
                               write=self._write)
        self.staging.policy = POLICY

    def _write(self, write):
        if not self.is_locked:
            write(self.books.journal)

    def _begin(self, plan, _is_first_attempt):
        self.begun.append((plan, None if self.is_locked else self.replacements))

    @property
    def replacements(self):
        """What the journal says is under way, by UUID."""
        return {item.vm_uuid: item.after for item in self.books.journal.replacements()}

    def show(self, vm, now=100.0, **options):
        """Have a record arrive."""
        self.inventory.update(vm, POLICY, now)
        self.look(now, vm.ref, **options)

    def look(self, now, ref=REF, may_write=True, **options):
        self.staging.look(ref, now, may_write=may_write, **options)

    def finish(self, xapi, now):
        """Carry out the plan begun last; its outcome."""
        outcome = carry_out(xapi, self.begun[-1][0], Owner('dom0', 1), clock=lambda: now)
        self.staging.finish(outcome, now)
        return outcome

    def close(self):
        self.books.close()


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / 'vgpu_config.db')
    registry = Registry(path, timeout_seconds=1.0)
    registry.create('the test')
    with registry.edit(who='the test', command='register-vm') as edit:
        edit.add_vm(UUID, vm_id=10, pool_id='A', priority=Priority.HIGH)
    return path


@pytest.fixture
def stage(path):
    stage = Stage(path)
    yield stage
    stage.close()


@contextlib.contextmanager
def locked_journal(stage):
    """Hold the journal as another program would."""
    connection = sqlite3.connect(stage.books.journal.path, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    stage.is_locked = True
    try:
        yield
    finally:
        stage.is_locked = False
        connection.execute('ROLLBACK')
        connection.close()


def starting(args, task='OpaqueRef:task-1'):
    return build_vm(args, operations=((task, 'start'),))


# When a plan begins.

def test_missing_span_is_added_at_once_and_needs_no_journal(stage):
    stage.show(build_vm())
    (plan, replacements), = stage.begun
    assert (plan.action, plan.value, replacements) == (Action.ADD, SPAN, {})


@pytest.mark.parametrize('args', [OTHER_SPAN, '-foo', SPAN + ' ' + SPAN])
def test_value_that_needs_two_calls_waits_until_the_vm_has_rested(stage, args):
    stage.show(build_vm(args))
    assert stage.begun == [] and stage.staging.next_due == pytest.approx(RESTED)
    assert stage.staging.take_due(RESTED - 0.01) == ()
    assert stage.staging.take_due(RESTED) == (REF,)
    stage.look(RESTED)
    assert [plan.action for plan, _saved in stage.begun] == [Action.REPLACE]
    assert stage.staging.next_due is None


def test_quiet_time_begins_again_after_a_start(stage):
    stage.show(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING), 100.0)
    stage.show(build_vm(OTHER_SPAN), 200.0)
    assert stage.begun == [] and stage.staging.next_due == pytest.approx(200.0 + QUIET_SECONDS)


def test_new_value_is_in_the_journal_before_anything_is_called(stage):
    stage.show(build_vm('-a ' + OTHER_SPAN), 100.0)
    stage.look(RESTED)
    assert stage.begun[0][1] == {UUID: '-a ' + SPAN}


def test_vm_is_left_alone_while_its_job_is_under_way(stage):
    stage.show(build_vm())
    stage.look(100.1)
    stage.show(build_vm(operation='start'), 100.2)
    assert len(stage.begun) == 1 and stage.staging.waiting == 1


def test_nothing_begins_while_nothing_may_be_written(stage):
    stage.show(build_vm(), may_write=False)
    assert stage.begun == [] and stage.staging.waiting == 0


def test_unknown_vm_is_not_looked_at(stage):
    stage.look(100.0, 'OpaqueRef:other')
    assert stage.begun == []


@pytest.mark.parametrize('vm', [
    pytest.param(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING), id='running'),
    pytest.param(build_vm(OTHER_SPAN, power_state=PowerState.PAUSED), id='paused'),
    pytest.param(build_vm(OTHER_SPAN, power_state=PowerState.SUSPENDED), id='suspended'),
    pytest.param(build_vm(OTHER_SPAN, operation='revert'), id='in-a-revert'),
    pytest.param(build_vm(SPAN), id='as-desired'),
    pytest.param(build_vm('"' + SPAN), id='unreadable')])
def test_nothing_begins_however_long_it_lasts(stage, vm):
    stage.show(vm, 100.0)
    stage.look(500.0)
    assert stage.begun == [] and stage.staging.next_due is None


def test_only_so_many_are_staged_at_once_and_starts_do_not_wait(stage):
    with stage.books.registry.edit(who='the test', command='x') as edit:
        for number in range(1, STAGING_AT_ONCE + 4):
            edit.add_vm(uuid_of(0x100 + number), vm_id=100 + number)
    stage.books.poll()
    refs = ['OpaqueRef:%d' % number for number in range(1, STAGING_AT_ONCE + 4)]
    for number, ref in enumerate(refs[:-1], 1):
        stage.show(build_vm(ref=ref, uuid=uuid_of(0x100 + number)))
    assert [plan.vm.ref for plan, _saved in stage.begun] == refs[:STAGING_AT_ONCE]
    stage.show(build_vm(ref=refs[-1], uuid=uuid_of(0x100 + len(refs)), operation='start'))
    assert stage.begun[-1][0].is_rescue and stage.staging.waiting == len(refs)
    assert stage.staging.take_due(100.0) == ()
    stage.staging.finish(Outcome(OutcomeKind.WRITTEN, stage.begun[0][0]), 100.1)
    assert stage.staging.take_due(100.1) == (refs[STAGING_AT_ONCE],)


# Our own writes come back as events.

def replaced(stage, args=OTHER_SPAN):
    """Have a replacement done, until its outcome is taken at RESTED."""
    xapi = FakeXapi(args)
    stage.show(parse_vm(REF, xapi.raw), 100.0)
    stage.look(RESTED)
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.WRITTEN
    return xapi


@pytest.mark.parametrize('echo', [OTHER_SPAN, None, SPAN], ids=['before', 'between', 'after'])
def test_answers_that_show_our_own_writes_cause_none(stage, echo):
    replaced(stage)
    stage.show(build_vm(echo), RESTED + 0.05)
    stage.show(starting(echo), RESTED + 0.1)
    assert len(stage.begun) == 1
    assert bool(stage.reread) == (echo != SPAN)


def test_record_read_on_purpose_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm(None), RESTED + 0.1, is_fresh=True)
    assert [plan.action for plan, _saved in stage.begun] == [Action.REPLACE, Action.ADD]


def test_record_whose_reading_began_before_our_job_ended_proves_nothing(stage):
    assert stage.staging.is_fresh(build_vm(), 50.0)
    stage.show(build_vm())
    stage.finish(FakeXapi(), 102.0)
    assert not stage.staging.is_fresh(build_vm(), 101.9)
    assert stage.staging.is_fresh(build_vm(), 102.0)


def test_change_long_after_our_write_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm(None), RESTED + 1.1)
    assert [plan.action for plan, _saved in stage.begun] == [Action.REPLACE, Action.ADD]
    assert stage.reread == []


def test_change_by_another_right_after_our_write_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm('-theirs'), RESTED + 0.1)
    stage.look(RESTED + QUIET_SECONDS)
    assert stage.begun[-1][0].value == '-theirs ' + SPAN and stage.reread == []


# Starts.

def rescue(stage, vm, now, **options):
    """Have a start's record arrive, and what it causes done; the plans begun for it."""
    before = len(stage.begun)
    stage.show(vm, now, **options)
    for plan, _saved in stage.begun[before:]:
        stage.staging.finish(Outcome(OutcomeKind.WRITTEN, plan), now)
    return [plan for plan, _saved in stage.begun[before:]]


def test_wrong_span_is_replaced_at_once_when_the_vm_starts(stage):
    plan, = rescue(stage, starting(OTHER_SPAN), 100.0)
    assert plan.is_rescue and (plan.action, plan.value) == (Action.REPLACE, SPAN)
    assert stage.begun[0][1] == {UUID: SPAN}


def test_wrong_span_is_replaced_once_per_start(stage):
    assert rescue(stage, starting(OTHER_SPAN), 100.0)
    assert not rescue(stage, starting(OTHER_SPAN), 105.0)
    assert not rescue(stage, starting('-theirs'), 106.0, is_fresh=True)
    assert rescue(stage, starting(OTHER_SPAN, 'OpaqueRef:task-2'), 110.0)


def test_span_that_vanishes_during_a_start_is_added_on_a_record_read_for_it(stage):
    assert rescue(stage, starting(None), 100.0)
    assert not rescue(stage, starting(None), 102.0) and len(stage.reread) == 1
    plan, = rescue(stage, starting(None), 102.1, is_fresh=True)
    assert plan.action is Action.ADD


def test_span_that_keeps_vanishing_during_a_start_is_not_added_for_ever(stage):
    adds = sum(len(rescue(stage, starting(None), 100.0 + 2 * attempt, is_fresh=True))
               for attempt in range(20))
    assert adds == 5
    assert rescue(stage, starting(None, 'OpaqueRef:task-2'), 200.0)


def test_start_is_not_held_up_by_the_quiet_time(stage):
    stage.show(build_vm(OTHER_SPAN), 100.0)
    assert rescue(stage, starting(OTHER_SPAN), 100.1)


# Failures.

def test_refused_vm_is_held_off_for_longer_each_time_and_said_so(stage, log_output):
    stage.show(build_vm(), 100.0)
    pauses, now = [], 100.0
    for _attempt in range(8):
        xapi = FakeXapi()
        xapi.fail_at, xapi.error = 1, XapiFailure('INTERNAL_ERROR')
        stage.finish(xapi, now)
        stage.look(now)
        pauses.append(round(stage.staging.next_due - now, 3))
        now = stage.staging.next_due
        stage.staging.take_due(now)
        stage.look(now)
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 30.0]
    # The same error of the same VM is told once a minute.
    assert [line['held_back'] for line in log_output
            if line['event'] == 'vm.injection_failed'] == [0]


def test_start_does_not_wait_for_what_was_refused_at_rest(stage):
    stage.show(build_vm(), 100.0)
    now = 100.0
    for _attempt in range(7):
        xapi = FakeXapi()
        xapi.fail_at, xapi.error = 1, XapiFailure('INTERNAL_ERROR')
        stage.finish(xapi, now)
        stage.look(now)
        held_until = stage.staging.next_due
        if held_until < now + 30.0:
            now = held_until
            stage.staging.take_due(now)
            stage.look(now)
    assert held_until == now + 30.0
    begun = len(stage.begun)
    stage.show(starting(None), now + 1.0)
    assert len(stage.begun) == begun + 1 and stage.begun[-1][0].is_rescue


def test_success_ends_the_hold_off(stage):
    stage.show(build_vm(), 100.0)
    xapi = FakeXapi()
    xapi.fail_at = 1
    stage.finish(xapi, 100.0)
    stage.look(101.0)
    assert stage.finish(FakeXapi(), 101.0).kind is OutcomeKind.WRITTEN
    stage.show(build_vm(), 110.0)
    assert len(stage.begun) == 3


def test_overtaken_plan_is_decided_again_on_the_record_read_last(stage):
    xapi = FakeXapi(OTHER_SPAN)
    stage.show(parse_vm(REF, xapi.raw), 100.0)
    stage.look(RESTED)
    xapi.args = '-theirs'
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.OVERTAKEN
    assert stage.inventory.find(REF).args == '-theirs' and stage.replacements == {}
    assert stage.inventory.find(REF).start_blocks == ()
    stage.look(RESTED, is_fresh=True)
    assert stage.begun[-1][0].value == '-theirs ' + SPAN


def test_gone_vm_is_forgotten(stage):
    stage.show(build_vm(OTHER_SPAN))
    stage.staging.forget(stage.inventory.drop(REF))
    assert stage.staging.next_due is None and stage.staging.waiting == 0


# The journal (P16).

def test_without_the_journal_nothing_is_replaced_and_spans_are_added(stage, log_output):
    stage.show(build_vm(OTHER_SPAN), 100.0)
    with locked_journal(stage):
        stage.look(RESTED)
        assert stage.begun == []
        assert [line['event'] for line in log_output] == ['journal.unwritable']
        stage.show(build_vm(None), RESTED + 2.0)
    assert [plan.action for plan, _saved in stage.begun] == [Action.ADD]


def test_replacement_begins_once_the_journal_can_be_written_again(stage):
    stage.show(build_vm(OTHER_SPAN), 100.0)
    with locked_journal(stage):
        stage.look(RESTED)
    due = stage.staging.next_due
    assert stage.staging.take_due(due) == (REF,)
    stage.look(due)
    assert [plan.action for plan, _saved in stage.begun] == [Action.REPLACE]


def test_entry_goes_when_the_new_value_has_been_read_back(stage):
    replaced(stage)
    assert stage.replacements == {}
    entry = stage.books.journal.list_history(UUID)[0]
    assert (entry.what, entry.before, entry.after) == ('args_replaced', OTHER_SPAN, SPAN)


def interrupted(stage, args='-a ' + OTHER_SPAN):
    """Have XAPI go away between the remove and the add."""
    xapi = FakeXapi(args)
    xapi.fail_at, xapi.is_down_for_good = 5, True
    stage.show(parse_vm(REF, xapi.raw), 100.0)
    stage.look(RESTED)
    outcome = stage.finish(xapi, RESTED)
    assert outcome.is_key_missing and xapi.args is None
    xapi.fail_at = None
    return xapi


def test_entry_lives_while_the_key_is_missing(stage):
    interrupted(stage)
    assert stage.replacements == {UUID: '-a ' + SPAN}
    assert stage.staging.replacements.find(UUID).after == '-a ' + SPAN


def test_missing_value_comes_back_whole_and_then_its_entry_goes(stage):
    xapi = interrupted(stage)
    stage.show(build_vm(None), RESTED + 0.3, is_fresh=True)
    plan = stage.begun[-1][0]
    assert (plan.action, plan.reason, plan.value) == (
        Action.ADD, Reason.INTERRUPTED, '-a ' + SPAN)
    assert stage.finish(xapi, RESTED + 0.3).kind is OutcomeKind.WRITTEN
    assert xapi.args == '-a ' + SPAN and stage.replacements == {}


def test_missing_value_comes_back_at_once_when_the_vm_starts(stage):
    interrupted(stage)
    stage.show(starting(None), RESTED + 0.01)
    assert stage.begun[-1][0].value == '-a ' + SPAN and stage.begun[-1][0].is_rescue


def test_entry_survives_an_add_that_failed_again(stage):
    xapi = interrupted(stage)
    stage.show(build_vm(None), RESTED + 0.3, is_fresh=True)
    xapi.fail_at, xapi.calls = 1, []
    xapi.error = XapiUnreachable('still away')
    assert stage.finish(xapi, RESTED + 0.3).kind is OutcomeKind.UNREACHABLE
    assert stage.replacements == {UUID: '-a ' + SPAN}


def test_entry_goes_when_a_record_shows_a_value(stage):
    interrupted(stage)
    stage.staging.settle_restored(build_vm(None), is_fresh=True)
    stage.staging.settle_restored(build_vm('-theirs'), is_fresh=False)
    assert stage.replacements == {UUID: '-a ' + SPAN}
    stage.staging.settle_restored(build_vm('-theirs'), is_fresh=True)
    assert stage.replacements == {} and stage.staging.replacements.find(UUID) is None


@pytest.fixture
def successor(stage, path):
    """The daemon that starts after the one of `stage` was killed with the key removed."""
    interrupted(stage)
    stage.close()
    successor = Stage(path)
    yield successor
    successor.close()


def test_next_daemon_brings_the_value_back(successor, log_output):
    successor.staging.replacements.recall()
    successor.show(build_vm(None))
    assert [(plan.action, plan.value) for plan, _saved in successor.begun] == [
        (Action.ADD, '-a ' + SPAN)]
    assert [line['event'] for line in log_output] == ['replacement.recovered']


def test_next_daemon_writes_nothing_where_the_value_stands(successor):
    successor.staging.replacements.recall()
    successor.show(build_vm('-a ' + SPAN))
    assert successor.begun == []


# The registry, and what is kept of it.

def test_vm_is_left_as_it_is_while_the_registry_is_unavailable(stage):
    stage.books.contents = None
    stage.show(build_vm(OTHER_SPAN), 100.0)
    stage.look(500.0)
    assert stage.begun == [] and stage.staging.plan(build_vm()) is None


def test_what_was_found_staged_is_kept_in_the_journal(stage):
    stage.show(build_vm('-a ' + SPAN))
    staged = stage.books.journal.staged()[UUID]
    assert (staged.vm_id, staged.value) == (10, SPAN)
    assert stage.books.staged_values[UUID] == SPAN


def test_vm_that_was_registered_while_it_ran_rested_with_what_it_carries(stage):
    stage.show(build_vm(None, power_state=PowerState.RUNNING))
    assert stage.books.journal.staged() == {}
    stage.staging.note_registered_late(build_vm(None, power_state=PowerState.RUNNING))
    staged = stage.books.journal.staged()[UUID]
    assert (staged.vm_id, staged.value) == (0, '')


def test_what_was_staged_before_a_change_stays_while_the_change_waits(stage):
    stage.show(build_vm(SPAN))
    stage.show(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING))
    assert stage.books.journal.staged()[UUID].value == SPAN


def test_vm_without_a_row_any_more_loses_the_span_and_is_forgotten(stage):
    stage.show(build_vm(SPAN))
    with stage.books.registry.edit(who='the test', command='remove-vm') as edit:
        edit.remove_vm(UUID)
    stage.books.poll()
    xapi = FakeXapi(SPAN)
    stage.look(RESTED)
    assert stage.begun[-1][0].action is Action.REMOVE
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.WRITTEN
    stage.show(build_vm(None), RESTED + 2.0)
    assert stage.books.journal.orphans() == {} == stage.books.journal.staged()
    assert stage.staging.plan(build_vm(None)).state is State.UNREGISTERED


def test_state_is_said_once_and_again_when_it_changes(stage, log_output):
    for now in (100.0, 101.0):
        stage.show(build_vm('"' + SPAN), now)
    stage.show(build_vm(None, power_state=PowerState.RUNNING), 102.0)
    assert [line['event'] for line in log_output] == ['vm.left_alone', 'vm.change_pending']
    assert log_output[0]['problem'] == 'has an unbalanced quote or a trailing backslash'
