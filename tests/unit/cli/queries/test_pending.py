"""Which pending VMs a restart helps, and in which order."""

import pytest

from cli.queries.pending import Waiting, select
from registry.values import Priority, Vm
from tests.unit.watcher.builders import HOST, build_vm
from watcher.vm.plan import Action, Plan, PlanReason, State
from watcher.vm.record import PowerState

RUNNING = dict(power_state=PowerState.RUNNING, domid=7, resident_on=HOST)


def build(name, *holders, at_rest=(Action.REPLACE, PlanReason.SPAN_DIFFERS, State.DRIFT), **fields):
    """A pending VM; its UUID and its name are one."""
    vm = build_vm(**dict(RUNNING, **fields))._replace(uuid=name, name=name, ref=name)
    row = Vm(1, name, name, 'A', Priority.LOW)
    plan = Plan(Action.NONE, PlanReason.NOT_AT_REST, State.PENDING, vm,
                holder=holders[0] if holders else None)
    halted = Plan(at_rest[0], at_rest[1], at_rest[2], vm, holder=plan.holder)
    return Waiting(row, vm, plan, halted, tuple(
        vm._replace(uuid=holder, name=holder) for holder in holders))


HALTED = dict(power_state=PowerState.HALTED, domid=-1, resident_on=None)
SUSPENDED = dict(power_state=PowerState.SUSPENDED, domid=-1, resident_on=None)


def run(items, chosen=None, limit=None):
    """The steps, by names, and what is left, with the reasons."""
    found = select(items, lambda item: chosen is None or item.vm.name in chosen, limit)
    return ([''.join(item.vm.name for item in step.vms) for step in found.steps],
            {left.waiting.vm.name: left.why for left in found.left})


@pytest.mark.parametrize('items, steps', [
    pytest.param([], [], id='nothing'),
    pytest.param([build('b'), build('a')], ['a', 'b'], id='by-name'),
    pytest.param([build('a', 'b'), build('b')], ['b', 'a'], id='whoever-has-the-number-first'),
    pytest.param([build('a', 'b'), build('b', 'c'), build('c'), build('d')],
                 ['c', 'd', 'b', 'a'], id='a-chain'),
    pytest.param([build('a', 'b'), build('b', 'a'), build('c')], ['c', 'ab'], id='a-swap'),
    pytest.param([build('a', 'b'), build('b', 'c'), build('c', 'a'), build('d', 'a')],
                 ['abc', 'd'], id='a-rotation-and-who-waits-for-it'),
    pytest.param([build('a', 'b', 'c'), build('b', 'a'), build('c')], ['c', 'ab'],
                 id='two-holders'),
    pytest.param([build('a', 'b'), build('b', 'a', **HALTED)], ['a'],
                 id='a-swap-with-one-that-is-halted'),
    pytest.param([build('a', 'b'), build('b', **HALTED)], ['a'], id='a-holder-being-staged')])
def test_the_order_of_the_steps(items, steps):
    assert run(items) == (steps, {item.vm.name: 'it is halted: it is staged as soon as its number '
                                  'is free, and not started' for item in items
                                  if not item.is_running})


@pytest.mark.parametrize('items, steps, left, why', [
    pytest.param([build('a', **SUSPENDED)], [], 'a', 'it is Suspended', id='suspended'),
    pytest.param([build('a', power_state=PowerState.PAUSED)], [], 'a', 'it is Paused', id='paused'),
    pytest.param([build('a', operation='pool_migrate')], [], 'a', 'busy (pool_migrate)',
                 id='busy'),
    pytest.param([build('a', 'x'), build('b')], ['b'], 'a', 'x (x) still has its number '
                 '(Running, and keeps it)', id='waits-for-one-that-is-not-pending'),
    pytest.param([build('a', 'b'), build('b', 'c'), build('c', **SUSPENDED)], [], 'a',
                 'b (b) still has its number', id='waits-for-one-that-cannot-be-helped'),
    pytest.param([build('a', at_rest=(Action.NONE, PlanReason.NOT_ACCEPTED, State.DRIFT))], [], 'a',
                 'vgpu-admin accept', id='not-accepted'),
    pytest.param([build('a', at_rest=(Action.NONE, PlanReason.PLATFORM_UNSETTLED,
                                      State.WAITS_FOR_XAPI))], [], 'a', 'twice',
                 id='xapi-completes-it-first')])
def test_what_is_left(items, steps, left, why):
    found, reasons = run(items)
    assert found == steps and why in reasons[left]


def test_what_only_needs_a_restart_is_restarted():
    ready = (Action.NONE, PlanReason.AS_DESIRED, State.AS_DESIRED)
    assert run([build('a', at_rest=ready)]) == (['a'], {})


def test_whoever_waits_for_one_that_is_not_chosen_is_left():
    items = [build('a', 'b'), build('b')]
    steps, left = run(items, chosen='a')
    # Of those that were not chosen nothing is said.
    assert steps == [] and sorted(left) == ['a']
    assert run(items, chosen='b') == (['b'], {})


@pytest.mark.parametrize('limit, steps, left', [
    (1, ['d'], 'abc'), (2, ['d', 'ab'][:1], 'abc'), (3, ['d', 'ab'], 'c'), (4, ['d', 'ab', 'c'], '')])
def test_a_limit_leaves_circles_whole_and_nobody_waiting(limit, steps, left):
    items = [build('a', 'b'), build('b', 'a'), build('c', 'a'), build('d')]
    found, reasons = run(items, limit=limit)
    assert (found, ''.join(sorted(reasons))) == (steps, left)
    if limit == 1:
        assert reasons['a'] == 'its number goes round with 2 VMs: --limit=2'
        assert reasons['c'] == 'beyond --limit=1'
