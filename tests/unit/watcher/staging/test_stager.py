"""Staging: when a plan begins, what our own echo causes, and what is tried again when."""

import os
import sqlite3

import pytest

from registry.journal.journal import Journal
from registry.paths import find_journal
from registry.store import Registry
from registry.values import Priority
from tests.support.left_by_0_1 import BLOCK, add_replacement
from tests.unit.watcher.builders import OTHER_SPAN, POLICY, SPAN, UUID, FakeXapi, build_vm, uuid_of
from tests.unit.watcher.steps import AtOnce
from watcher.errors import XapiFailure
from watcher.loop.steps import run
from watcher.staging.injector import Outcome, OutcomeKind, carry_out
from watcher.staging.stager import STAGING_AT_ONCE, Staging
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.registry_view import RegistryView
from watcher.vm.plan import SETTLE_SECONDS, Action, PlanReason, State
from watcher.vm.record import PowerState
from watcher.xapi.record_parser import parse_vm

REF = 'OpaqueRef:vm-10'
RESTED = 100.0 + SETTLE_SECONDS


class Stage:
    """A Staging over a real registry and journal, with one fake XAPI per VM."""

    def __init__(self, path):
        self.path = path
        self.view = RegistryView(path)
        self.view.poll()
        self.inventory = Inventory()
        self.begun = []
        self.reread = []
        number_claims = NumberClaims(self.view, self.inventory, self._write)
        self.staging = Staging(self.view, self.inventory, number_claims,
                               carry_out=self._begin, reread=self.reread.append,
                               write=self._write)
        self.staging.policy = POLICY

    def _write(self, write):
        write(self.view.journal)

    def _begin(self, plan):
        self.begun.append(plan)

    @property
    def replacements(self):
        """What the journal says a version before 0.2 left under way, by UUID."""
        return {item.vm_uuid: item.after for item in self.view.journal.replacements()}

    def show(self, vm, now=100.0, **options):
        """Have a record arrive."""
        self.inventory.update(vm, POLICY, now)
        self.look(now, vm.ref, **options)

    def look(self, now, ref=REF, may_write=True, **options):
        self.staging.review(ref, now, may_write=may_write, **options)

    def finish(self, xapi, now):
        """Carry out the plan begun last; its outcome."""
        outcome = run(carry_out(AtOnce(xapi), self.begun[-1], clock=lambda: now))
        self.staging.finish(outcome, now)
        return outcome

    def close(self):
        self.view.close()


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


def starting(args, task='OpaqueRef:task-1'):
    return build_vm(args, operations=((task, 'start'),))


# When a plan begins.

def test_missing_span_is_added_at_once(stage):
    stage.show(build_vm())
    plan, = stage.begun
    assert (plan.action, plan.value) == (Action.ADD, SPAN)


@pytest.mark.parametrize('args', [OTHER_SPAN, '-foo', SPAN + ' ' + SPAN])
def test_value_that_is_replaced_waits_until_the_vm_has_rested(stage, args):
    stage.show(build_vm(args))
    assert stage.begun == [] and stage.staging.next_due == pytest.approx(RESTED)
    assert stage.staging.take_due(RESTED - 0.01) == ()
    assert stage.staging.take_due(RESTED) == (REF,)
    stage.look(RESTED)
    assert [plan.action for plan in stage.begun] == [Action.REPLACE]
    assert stage.staging.next_due is None


def test_vm_rests_anew_after_a_start(stage):
    stage.show(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING), 100.0)
    stage.show(build_vm(OTHER_SPAN), 200.0)
    assert stage.begun == [] and stage.staging.next_due == pytest.approx(200.0 + SETTLE_SECONDS)


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
    with stage.view.registry.edit(who='the test', command='x') as edit:
        for number in range(1, STAGING_AT_ONCE + 4):
            edit.add_vm(uuid_of(0x100 + number), vm_id=100 + number)
    stage.view.poll()
    refs = ['OpaqueRef:%d' % number for number in range(1, STAGING_AT_ONCE + 4)]
    for number, ref in enumerate(refs[:-1], 1):
        stage.show(build_vm(ref=ref, uuid=uuid_of(0x100 + number)))
    assert [plan.vm.ref for plan in stage.begun] == refs[:STAGING_AT_ONCE]
    stage.show(build_vm(ref=refs[-1], uuid=uuid_of(0x100 + len(refs)), operation='start'))
    assert stage.begun[-1].is_rescue and stage.staging.waiting == len(refs)
    assert stage.staging.take_due(100.0) == ()
    stage.staging.finish(Outcome(OutcomeKind.WRITTEN, stage.begun[0]), 100.1)
    assert stage.staging.take_due(100.1) == (refs[STAGING_AT_ONCE],)


# Our own writes come back as events.

def replaced(stage, args=OTHER_SPAN):
    """Have a replacement done, until its outcome is taken at RESTED."""
    xapi = FakeXapi(args)
    stage.show(parse_vm(REF, xapi.raw), 100.0)
    stage.look(RESTED)
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.WRITTEN
    return xapi


@pytest.mark.parametrize('echo', [OTHER_SPAN, SPAN], ids=['before', 'after'])
def test_answers_that_show_our_own_writes_cause_none(stage, echo):
    replaced(stage)
    stage.show(build_vm(echo), RESTED + 0.05)
    stage.look(RESTED + 0.2)
    stage.show(starting(echo), RESTED + 0.3)
    assert len(stage.begun) == 1
    assert bool(stage.reread) == (echo != SPAN)


def test_key_that_somebody_takes_right_after_our_write_comes_back_at_once(stage):
    replaced(stage)
    stage.show(build_vm(None), RESTED + 0.05)
    assert [plan.action for plan in stage.begun] == [Action.REPLACE, Action.ADD]


def test_record_read_after_the_write_is_what_is_known_from_then_on(stage):
    xapi = FakeXapi(OTHER_SPAN)
    stage.show(parse_vm(REF, xapi.raw), 100.0)
    stage.look(RESTED)
    xapi.meddle = lambda number, xapi: xapi.raw.update(
        current_operations={'OpaqueRef:task-1': 'start'}) if number == 3 else None
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.WRITTEN
    assert stage.inventory.find(REF) == parse_vm(REF, xapi.raw)
    stage.look(RESTED, is_fresh=True)
    assert len(stage.begun) == 1 and stage.reread == []


def test_record_read_on_purpose_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm(None), RESTED + 0.1, is_fresh=True)
    assert [plan.action for plan in stage.begun] == [Action.REPLACE, Action.ADD]


def test_record_whose_reading_began_before_our_job_ended_proves_nothing(stage):
    assert stage.staging.is_fresh(build_vm(), 50.0)
    stage.show(build_vm())
    stage.finish(FakeXapi(), 102.0)
    assert not stage.staging.is_fresh(build_vm(), 101.9)
    assert stage.staging.is_fresh(build_vm(), 102.0)


def test_change_long_after_our_write_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm(None), RESTED + 1.1)
    assert [plan.action for plan in stage.begun] == [Action.REPLACE, Action.ADD]
    assert stage.reread == []


def test_change_by_another_right_after_our_write_is_no_echo(stage):
    replaced(stage)
    stage.show(build_vm('-theirs'), RESTED + 0.1)
    stage.look(RESTED + SETTLE_SECONDS)
    assert stage.begun[-1].value == '-theirs ' + SPAN and stage.reread == []


# Starts.

def rescue(stage, vm, now, **options):
    """Have a start's record arrive, and what it causes done; the plans begun for it."""
    before = len(stage.begun)
    stage.show(vm, now, **options)
    for plan in stage.begun[before:]:
        stage.staging.finish(Outcome(OutcomeKind.WRITTEN, plan), now)
    return stage.begun[before:]


@pytest.mark.parametrize('args', [OTHER_SPAN, '-theirs', SPAN + ' ' + OTHER_SPAN])
def test_nothing_is_replaced_during_a_start(stage, args):
    assert not rescue(stage, starting(args), 100.0)
    assert not rescue(stage, starting(args), 101.0, is_fresh=True)
    assert stage.staging.next_due is None


def test_span_that_vanishes_during_a_start_is_added_on_a_record_read_for_it(stage):
    assert rescue(stage, starting(None), 100.0)
    assert not rescue(stage, starting(None), 102.0) and len(stage.reread) == 1
    plan, = rescue(stage, starting(None), 102.1, is_fresh=True)
    assert plan.action is Action.ADD


def test_record_that_came_before_the_outcome_of_an_add_is_read_again_at_once(stage):
    stage.show(starting(None), 100.0)
    plan, = stage.begun
    stage.show(starting(None), 100.01)  # older than the add, or its removal by another program
    stage.staging.finish(Outcome(OutcomeKind.WRITTEN, plan), 100.02)
    assert [vm.ref for vm in stage.reread] == [REF]


def test_span_that_keeps_vanishing_during_a_start_is_not_added_for_ever(stage):
    adds = sum(len(rescue(stage, starting(None), 100.0 + 2 * attempt, is_fresh=True))
               for attempt in range(20))
    assert adds == 5
    assert rescue(stage, starting(None, 'OpaqueRef:task-2'), 200.0)


def test_start_after_another_counts_its_adds_afresh_though_its_task_has_the_same_name(stage):
    for start in range(8):
        at = 100.0 + 10 * start
        assert rescue(stage, starting(None), at)
        stage.show(build_vm(SPAN), at + 5)


# Failures.

@pytest.mark.parametrize('params', [
    pytest.param('', id='the-same'),
    pytest.param('Unix_error(%d)', id='another-each-time')])
def test_refused_vm_is_held_off_for_longer_each_time_and_said_so(stage, log_output, params):
    stage.show(build_vm(), 100.0)
    pauses, now = [], 100.0
    for attempt in range(8):
        xapi = FakeXapi()
        xapi.fail_at, xapi.error = 1, XapiFailure('INTERNAL_ERROR', [params and params % attempt])
        stage.finish(xapi, now)
        stage.look(now)
        pauses.append(round(stage.staging.next_due - now, 3))
        now = stage.staging.next_due
        stage.staging.take_due(now)
        stage.look(now)
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 30.0]
    # The same error of the same VM is told once a minute, whatever XAPI says of it each time.
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
    assert len(stage.begun) == begun + 1 and stage.begun[-1].is_rescue


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
    assert stage.inventory.find(REF).args == '-theirs'
    stage.look(RESTED, is_fresh=True)
    assert stage.begun[-1].value == '-theirs ' + SPAN


def test_gone_vm_is_forgotten(stage):
    stage.show(build_vm(OTHER_SPAN))
    stage.staging.forget(stage.inventory.drop(REF))
    assert stage.staging.next_due is None and stage.staging.waiting == 0


# What XAPI did without an answer.

def lost(stage, is_executed):
    """Have an add's answer lost; the VM's record since."""
    xapi = FakeXapi()
    xapi.fail_at, xapi.is_executed = 1, is_executed
    stage.show(build_vm(), 100.0)
    assert stage.finish(xapi, 100.0).kind is OutcomeKind.UNREACHABLE
    return parse_vm(REF, xapi.raw)


def test_write_whose_answer_was_lost_is_known_to_the_history(stage, log_output):
    vm = lost(stage, is_executed=True)
    stage.look(100.0)
    stage.show(vm, 100.1)
    assert [line['event'] for line in log_output] == ['vm.injection_failed',
                                                      'vm.args_found_written']
    entry = stage.view.journal.list_history(UUID)[0]
    assert (entry.what, entry.before, entry.after) == ('args_added', None, SPAN)


def test_write_that_never_happened_is_done_again(stage, log_output):
    lost(stage, is_executed=False)
    stage.look(101.0)
    assert stage.finish(FakeXapi(), 101.0).kind is OutcomeKind.WRITTEN
    assert [line['event'] for line in log_output] == ['vm.injection_failed', 'vm.args_injected']


# Halted, and a host still has it (P6).

RESIDENT = {'resident_on': 'OpaqueRef:host-1'}


def test_vm_that_is_halted_and_resident_is_told_after_ten_seconds(stage, log_output):
    stage.show(build_vm(OTHER_SPAN, **RESIDENT), 100.0)
    assert stage.staging.waiting == 0 and log_output == []
    assert stage.staging.take_due(109.9) == ()
    assert stage.staging.take_due(110.0) == (REF,)
    stage.look(110.0)
    line, = log_output
    assert line['reason'] == 'halted_but_resident'
    assert 'vm-reset-powerstate uuid=%s' % UUID in line['hint']
    assert stage.begun == []


def test_shutdown_passes_through_it_without_a_word(stage, log_output):
    stage.show(build_vm(OTHER_SPAN, **RESIDENT), 100.0)
    stage.show(build_vm(OTHER_SPAN), 100.2)
    stage.look(100.2 + SETTLE_SECONDS)
    assert [plan.action for plan in stage.begun] == [Action.REPLACE] and log_output == []


# Fights (P30).

def undo(stage, now):
    """Another program takes the key, and we add it again; whether we did."""
    before = len(stage.begun)
    stage.show(build_vm(None), now, is_fresh=True)
    if len(stage.begun) > before:
        stage.finish(FakeXapi(), now)
    return len(stage.begun) > before


def test_vm_that_is_fought_over_is_written_with_pauses_and_told_once(stage, log_output):
    written = sum(undo(stage, 100.0 + 0.1 * step) for step in range(600))
    assert written < 15
    events = [line['event'] for line in log_output]
    assert events.count('vm.fought_over') == 1
    assert events.count('vm.args_injected') <= 8
    assert len(stage.view.journal.list_history(UUID)) <= 8
    assert stage.staging.planner.assess(build_vm(None)).state is State.FOUGHT_OVER


def test_new_edit_of_its_row_ends_the_pause(stage):
    while undo(stage, 100.0):
        pass
    assert stage.staging.next_due > 100.5
    stage.staging.note_edited(REF)
    assert undo(stage, 100.6)


# What a version before 0.2 left in the journal (P16).

LEFT = '-a ' + SPAN


def leave(path, after=LEFT):
    """Have the journal say that 0.1 was killed between its two calls."""
    with Journal(find_journal(path), timeout_seconds=1.0):
        pass
    add_replacement(find_journal(path), UUID, REF,
                    '-a ' + OTHER_SPAN, after)


@pytest.fixture
def successor(path, log_output):
    """The daemon that starts after 0.1 was killed."""
    leave(path)
    successor = Stage(path)
    successor.staging.leftovers.recall()
    yield successor
    successor.close()


def test_value_comes_back_whole_and_its_entry_goes(successor, log_output):
    successor.show(build_vm(None))
    plan, = successor.begun
    assert (plan.action, plan.reason, plan.value) == (Action.ADD, PlanReason.INTERRUPTED, LEFT)
    assert [line['event'] for line in log_output] == ['replacement.recovered']
    assert successor.replacements == {UUID: LEFT}
    xapi = FakeXapi()
    assert successor.finish(xapi, 100.1).kind is OutcomeKind.WRITTEN
    assert xapi.args == LEFT and successor.replacements == {}


def test_entry_outlives_an_add_that_failed(successor):
    successor.show(build_vm(None))
    xapi = FakeXapi()
    xapi.fail_at = 1
    assert successor.finish(xapi, 100.1).kind is OutcomeKind.UNREACHABLE
    assert successor.replacements == {UUID: LEFT}
    successor.look(101.0)
    assert successor.begun[-1].value == LEFT


def test_entry_goes_where_the_key_stands(successor):
    successor.staging.leftovers.note(build_vm(None))
    assert successor.replacements == {UUID: LEFT}
    successor.staging.leftovers.note(build_vm('-theirs'))
    assert successor.replacements == {} and successor.staging.leftovers.find(build_vm()) is None


def test_entry_goes_with_its_vm(successor):
    successor.staging.forget_vanished(frozenset())
    assert successor.replacements == {}


def test_running_vm_keeps_its_entry_until_it_rests(successor):
    successor.show(build_vm(None, power_state=PowerState.RUNNING))
    assert successor.begun == [] and successor.replacements == {UUID: LEFT}


def test_value_comes_back_from_a_start_block_where_the_journal_does_not_tell(stage):
    text = BLOCK % (UUID, 'start', LEFT)
    stage.show(build_vm(None, start_blocks=(('start', text),)))
    assert [plan.value for plan in stage.begun] == [LEFT]


def test_value_that_was_to_go_is_no_entry(path):
    leave(path, after=None)
    stage = Stage(path)
    stage.staging.leftovers.recall()
    stage.staging.leftovers.note(build_vm(None))
    assert stage.replacements == {}
    stage.close()


def test_value_comes_back_whole_while_the_registry_is_unavailable(path):
    leave(path)
    os.rename(path, path + '.away')
    stage = Stage(path)
    assert not stage.view.is_available and stage.view.is_journal_open
    stage.staging.leftovers.recall()
    stage.show(build_vm(None))
    assert [plan.value for plan in stage.begun] == [LEFT]
    stage.close()


def test_value_comes_back_whole_while_the_row_is_faulty(path):
    leave(path)
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA ignore_check_constraints = 1')
    connection.execute('UPDATE vms SET vm_id = 0')
    connection.commit()
    connection.close()
    stage = Stage(path)
    assert UUID in stage.view.faulty
    stage.staging.leftovers.recall()
    stage.show(build_vm(None))
    assert [plan.value for plan in stage.begun] == [LEFT]
    stage.close()


# The registry, and what is kept of it.

def test_vm_is_left_as_it_is_while_the_registry_is_unavailable(stage):
    stage.view.contents = None
    stage.show(build_vm(OTHER_SPAN), 100.0)
    stage.look(500.0)
    assert stage.begun == [] and stage.staging.planner.assess(build_vm()) is None


def test_what_was_found_staged_is_kept_in_the_journal(stage):
    stage.show(build_vm('-a ' + SPAN))
    staged = stage.view.journal.staged()[UUID]
    assert (staged.vm_id, staged.value) == (10, SPAN)
    assert stage.view.staged_values[UUID] == SPAN


def test_vm_that_was_registered_while_it_ran_rested_with_what_it_carries(stage):
    stage.show(build_vm(None, power_state=PowerState.RUNNING))
    staged = stage.view.journal.staged()[UUID]
    assert (staged.vm_id, staged.value) == (0, '')


def test_what_was_staged_before_a_change_stays_while_the_change_waits(stage):
    stage.show(build_vm(SPAN))
    stage.show(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING))
    assert stage.view.journal.staged()[UUID].value == SPAN


def test_vm_without_a_row_any_more_loses_the_span_and_is_forgotten(stage):
    stage.show(build_vm(SPAN))
    with stage.view.registry.edit(who='the test', command='remove-vm') as edit:
        edit.remove_vm(UUID)
    stage.view.poll()
    xapi = FakeXapi(SPAN)
    stage.look(RESTED)
    assert stage.begun[-1].action is Action.REMOVE
    assert stage.finish(xapi, RESTED).kind is OutcomeKind.WRITTEN
    stage.show(build_vm(None), RESTED + 2.0)
    assert stage.view.journal.orphans() == {} == stage.view.journal.staged()
    assert stage.staging.planner.assess(build_vm(None)).state is State.UNREGISTERED


def test_state_is_said_once_and_again_when_it_changes(stage, log_output):
    for now in (100.0, 101.0):
        stage.show(build_vm('"' + SPAN), now)
    stage.show(build_vm(None, power_state=PowerState.RUNNING), 102.0)
    assert [line['event'] for line in log_output] == ['vm.left_alone', 'vm.change_pending']
    assert log_output[0]['problem'] == 'has an unbalanced quote or a trailing backslash'
