"""What plan says of a VM, in words."""

from collections import namedtuple
from typing import Any, Dict

import pytest

from cli.commands.plan import describe_plan
from registry.values import Contents, Priority, Vm
from watcher.vm.plan import Action, Plan, PlanReason, State

UUID = 'd8f33418-0000-4000-8000-000000000001'


def span(*assignment: Any) -> str:
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
     'our arguments to be removed: B/high/2 (its vGPU pool is disabled)'),
    (PlanReason.ROW_DELETED, {'carried': span('B', 'high', 2)},
     'our arguments to be removed: B/high/2 (its row was removed)'),
    (PlanReason.NUMBER_COPIED, {'carried': span('B', 'high', 2), 'owner': UUID},
     'our arguments to be removed: B/high/2 (vm_id 2 is that of db02)'),
    (PlanReason.INTERRUPTED, {'value': '-foo'}, 'to be put back: -foo')])
def test_what_is_to_be_done_is_said_in_words(reason: PlanReason, fields: Dict[str, Any],
                                             said: str) -> None:
    record, state = namedtuple('record', 'name uuid power_state'), namedtuple('state', 'value')
    vm = record('web01', 'u', state('Halted'))
    plan = Plan(Action.REPLACE, reason, State.DRIFT, vm)._replace(**fields)
    contents = Contents(1, (), (Vm(2, UUID, 'db02', 'B', Priority.HIGH),))
    assert describe_plan(plan, contents) == f'web01 (u), Halted: {said}'
