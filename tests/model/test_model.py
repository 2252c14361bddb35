"""The real staging and injector, in every order of steps up to a depth.

`BUDGET` says what may happen how often; `KINDS` of `world.py` lists what there is.
"""

import pytest

from tests.model.explore import explore
from tests.model.world import Journal, World
from tests.unit.watcher.builders import OTHER_SPAN, SPAN
from watcher.plan import Standing, plan_vm

BUDGET = {'start': 1, 'edit': 1, 'meddle': 1, 'crash': 1, 'cut': 1}
DEPTH = 9


@pytest.mark.parametrize('args, least_states', [
    pytest.param('-a ' + OTHER_SPAN, 200, id='drift'),
    pytest.param('-a ' + SPAN, 5, id='as-desired'),
    pytest.param('-a', 200, id='foreign-text-only')])
def test_no_order_of_steps_breaks_an_invariant(args, least_states, log_output):
    found = explore(World(args, **BUDGET), DEPTH)
    assert not found.problem, '%s:\n%s' % (found.problem, ' > '.join(found.wrong))
    assert found.states >= least_states


def write_no_entry(monkeypatch):
    monkeypatch.setattr(Journal, 'begin_replacement', lambda _journal, _replacement: None)


def forget_what_was_saved(monkeypatch):
    monkeypatch.setattr('watcher.staging.plan_restore', lambda vm, _saved, assignment, policy:
                        plan_vm(vm, assignment, Standing.CLEAR, policy))


def remove_without_adding(monkeypatch):
    monkeypatch.setattr('watcher.injector._add_surely', lambda _client, _progress, _value: None)


@pytest.mark.parametrize('break_something, problem', [
    pytest.param(write_no_entry, 'neither in XAPI nor in the journal', id='without-a-journal'),
    pytest.param(forget_what_was_saved, 'foreign text was changed', id='without-the-saved-value'),
    pytest.param(remove_without_adding, 'neither in XAPI nor in the journal',
                 id='without-the-second-call')])
def test_broken_code_is_found_out(break_something, problem, monkeypatch, log_output):
    break_something(monkeypatch)
    found = explore(World('-a ' + OTHER_SPAN, crash=1, start=1), 14)
    assert problem in found.problem and found.wrong
