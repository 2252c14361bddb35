"""What is said of edits: of many VMs together."""

from collections import namedtuple

import pytest

from cli.output.edit_messages import MOST_GROUPS, describe_work, say_many
from cli.output.text import brief_name, name_vm
from registry.values import Priority, Vm
from watcher.vm.plan import Action, Plan, PlanReason, State

UUID = 'd8f33418-0000-4000-8000-000000000001'


def test_a_vm_is_named_as_people_know_it() -> None:
    assert name_vm('web01', UUID) == f'web01 ({UUID})'
    assert brief_name('web\x1b01', UUID) == 'web\\x1b01'
    assert name_vm(None, UUID) == brief_name('', UUID) == f'VM {UUID}'


def test_vms_of_which_the_same_is_said_stand_on_one_line() -> None:
    names = {str(number): f'web0{number}' for number in range(10)}
    assert say_many({'1': 'staged', '3': 'staged'}, names) == ['Each of 2 VMs: staged']
    # Of which VMs it is said must be seen where not the same is said of all.
    assert say_many({'1': 'staged', '2': 'pending', '3': 'staged'}, names) == [
        'web01, web03: staged', 'web02: pending']
    many = dict({str(number): 'staged' for number in range(4)}, **{'9': 'pending'})
    assert say_many(many, names) == ['Each of 4 VMs: staged', 'web09: pending']
    assert say_many({UUID: 'staged'}, {}) == [f'VM {UUID}: staged']
    assert say_many({}, {}) == []


def test_hundreds_of_reasons_do_not_fill_the_screen() -> None:
    lines = say_many({str(number): f'waits for {number}' for number in range(500)}, {})
    assert len(lines) == MOST_GROUPS and "495 VMs more wait" in lines[-1]
    assert "'vgpu-admin status'" in lines[-1]


def span(*assignment) -> str:
    return '-device vgpu-stub,pool_id=%s,priority=%s,vm_id=%d' % assignment


@pytest.mark.parametrize('reason, fields, said', [
    (PlanReason.SPAN_MISSING, {'stage': span('A', 'low', 2)}, 'to be staged: A/low/2'),
    (PlanReason.SPAN_DIFFERS, {'stage': span('A', 'low', 2), 'carried': '-device x,vm_id=9'},
     'to be staged: A/low/2 instead of -device x,vm_id=9'),
    (PlanReason.SPAN_DIFFERS, {'stage': span('A', 'low', 2), 'carried': span('B', 'high', 2)},
     'to be staged: A/low/2 instead of B/high/2'),
    (PlanReason.SPAN_DIFFERS, {'stage': '-device a,vm_id=2', 'carried': '-device a,vm_id=2,b=1'},
     'to be staged: -device a,vm_id=2 instead of -device a,vm_id=2,b=1'),
    (PlanReason.POOL_DISABLED, {'carried': span('B', 'high', 2)},
     'our arguments to be removed: B/high/2; its vGPU pool is disabled'),
    (PlanReason.ROW_DELETED, {'carried': span('B', 'high', 2)},
     'our arguments to be removed: B/high/2; its row was removed'),
    (PlanReason.NUMBER_COPIED, {'carried': span('B', 'high', 2), 'owner': UUID},
     'our arguments to be removed: B/high/2; the number is that of db02'),
    (PlanReason.INTERRUPTED, {'stage': span('A', 'low', 2), 'value': '-foo'},
     'to be put back, since a version before 0.2 took it away: -foo')])
def test_what_is_to_be_done_is_said_in_words(reason, fields, said) -> None:
    record, state = namedtuple('record', 'name uuid power_state'), namedtuple('state', 'value')
    vm = record('web01', 'u', state('Halted'))
    plan = Plan(Action.REPLACE, reason, State.DRIFT, vm)._replace(**fields)
    rows = {UUID: Vm(2, UUID, 'db02', 'B', Priority.HIGH)}
    assert describe_work(plan, rows) == f'web01 (u), Halted: {said}'
