"""The scan's summary, and the names that changed."""

import pytest

from tests.unit.watcher.builders import ASSIGNMENT, OTHER_SPAN, POLICY, SPAN, build_vm, uuid_of
from watcher.plan import Standing, plan_vm
from watcher.reconcile import is_renamed, summarise
from watcher.records import PowerState

IN_B = ASSIGNMENT._replace(pool_id='B')


def pair(vm, assignment, standing=Standing.CLEAR):
    return plan_vm(vm, assignment, standing, POLICY), assignment


def test_states_are_counted_in_all_and_per_pool():
    summary = summarise([
        pair(build_vm(SPAN), ASSIGNMENT), pair(build_vm(), ASSIGNMENT),
        pair(build_vm(OTHER_SPAN, power_state=PowerState.RUNNING), IN_B),
        pair(build_vm(), None), pair(build_vm(), None), pair(build_vm(SPAN), None)], [])
    assert summary.states == {'as_desired': 1, 'drift': 1, 'pending': 1, 'unregistered': 2,
                              'manual': 1}
    assert summary.pools == {'A': {'as_desired': 1, 'drift': 1}, 'B': {'pending': 1},
                             '-': {'unregistered': 2, 'manual': 1}}


def test_row_without_a_vm_counts_as_orphaned():
    summary = summarise([pair(build_vm(SPAN), None, Standing.ORPHAN)], [IN_B])
    assert summary.states == {'orphaned': 2}
    assert summary.pools == {'-': {'orphaned': 1}, 'B': {'orphaned': 1}}


def test_nothing_is_counted_where_there_is_nothing():
    assert summarise([], []) == ({}, {})


@pytest.mark.parametrize('name, known, renamed', [
    pytest.param('new', {uuid_of(1): 'old'}, True, id='renamed'),
    pytest.param('new', {uuid_of(1): None}, True, id='never-named'),
    pytest.param('same', {uuid_of(1): 'same'}, False, id='unchanged'),
    pytest.param('new', {}, False, id='unregistered'),
    pytest.param('x' * 300, {uuid_of(1): 'x' * 255}, False, id='cut-as-the-file-has-it'),
    pytest.param('a\0b', {uuid_of(1): 'a\ufffdb'}, False, id='cleaned-as-the-file-has-it')])
def test_name_is_new_only_when_the_file_would_hold_another(name, known, renamed):
    assert is_renamed(build_vm(uuid=uuid_of(1), name=name), known) is renamed
