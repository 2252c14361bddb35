"""The scan's summary, and the names that changed."""

import pytest

from tests.unit.watcher.builders import build_vm, uuid_of
from watcher.staging.scan_summary import NO_POOL, is_renamed, sum_up
from watcher.vm.plan import State


def test_states_are_summed_up_in_all_and_per_pool():
    summary = sum_up({('A', State.AS_DESIRED): 3, ('A', State.DRIFT): 1, ('B', State.DRIFT): 2,
                      (NO_POOL, State.MANUAL): 1})
    assert summary.states == {'as_desired': 3, 'drift': 3, 'manual': 1}
    assert summary.pools == {'A': {'as_desired': 3, 'drift': 1}, 'B': {'drift': 2},
                             '-': {'manual': 1}}


def test_nothing_is_counted_where_there_is_nothing():
    assert sum_up({}) == ({}, {})


@pytest.mark.parametrize('name, known, renamed', [
    pytest.param('new', {uuid_of(1): 'old'}, True, id='renamed'),
    pytest.param('new', {uuid_of(1): None}, True, id='never-named'),
    pytest.param('same', {uuid_of(1): 'same'}, False, id='unchanged'),
    pytest.param('new', {}, False, id='unregistered'),
    pytest.param('x' * 300, {uuid_of(1): 'x' * 255}, False, id='cut-as-the-file-has-it'),
    pytest.param('a\0b', {uuid_of(1): 'a\ufffdb'}, False, id='cleaned-as-the-file-has-it')])
def test_name_is_new_only_when_the_file_would_hold_another(name, known, renamed):
    assert is_renamed(build_vm(uuid=uuid_of(1), name=name), known) is renamed
