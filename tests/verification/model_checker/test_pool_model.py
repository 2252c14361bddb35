"""Several hosts in every order of steps: masters that change, two at once, databases that are old.

The real Mirroring decides and the real `write_entry` writes; `pool_model.py` has the pools, and
prints the same for people: `python -m tests.verification.model_checker.pool_model --deeper 2`.
"""

import functools
from typing import Any, Callable

import pytest

from tests.verification.model_checker import pool_daemon
from tests.verification.model_checker.pool_model import PLOTS, Plot, Seen, add, explore, render
from watcher.mirror import comparison, mirror, push, rebuild
from watcher.mirror.comparison import EntryKind, Judgement, find_entry_kind, judge

LEAST_STATES = 40000


@functools.lru_cache(maxsize=None)
def seen_in(name: str) -> Seen:
    """What the exploration of a pool has seen; each is explored once."""
    return explore(PLOTS[name].build(), PLOTS[name].depth)


@pytest.mark.parametrize('name', sorted(PLOTS))
def test_no_order_of_steps_loses_or_doubles_an_assignment(name: str) -> None:
    seen = seen_in(name)
    assert not seen.problem, render(name, seen)
    assert seen.chains >= seen.states > 500


def test_so_many_states_are_seen(capsys: Any) -> None:
    total = functools.reduce(add, (seen_in(name) for name in sorted(PLOTS)), Seen())
    with capsys.disabled():
        print('\n' + render('model: %d pools' % len(PLOTS), total))
    assert total.states >= LEAST_STATES


def forget_the_line(monkeypatch: Any) -> None:
    know = pool_daemon._Disk._with
    monkeypatch.setattr(pool_daemon._Disk, '_with', lambda disk, text, digest, is_own, _line:
                        know(disk, text, digest, is_own, ()))


def _misjudge(monkeypatch: Any, which: Judgement, as_what: Judgement) -> None:
    def decide(*arguments: Any) -> Judgement:
        found = judge(*arguments)
        return as_what if found is which else found
    monkeypatch.setattr(mirror, 'judge', decide)


def take_older_for_newer(monkeypatch: Any) -> None:
    _misjudge(monkeypatch, Judgement.OLDER, Judgement.NEWER)


def take_newer_for_edited(monkeypatch: Any) -> None:
    _misjudge(monkeypatch, Judgement.NEWER, Judgement.EDITED)


def keep_no_copies(monkeypatch: Any) -> None:
    monkeypatch.setattr(rebuild, 'may_lose', lambda _local, _mirror: False)


def let_clones_be(monkeypatch: Any) -> None:
    def look(*arguments: Any) -> EntryKind:
        found = find_entry_kind(*arguments)
        return EntryKind.ARRIVED if found is EntryKind.COPY else found
    monkeypatch.setattr(push, 'find_entry_kind', look)


_FRESH = Plot(2, 11, dict(edit=1, split=1, sync=1), 1, is_settled=False)
_RESTORED = Plot(2, 12, dict(edit=1, split=1, restore=1), 1)


@pytest.mark.parametrize('break_something, problem, plot', [
    pytest.param(forget_the_line, 'an older mirror', _FRESH, id='without-the-line'),
    pytest.param(take_older_for_newer, 'an older mirror', PLOTS['older-database-restored'],
                 id='older-for-newer'),
    pytest.param(take_newer_for_edited, 'was overwritten by', _RESTORED, id='newer-for-edited'),
    pytest.param(keep_no_copies, 'without a copy', PLOTS['two-masters'], id='without-copies'),
    pytest.param(let_clones_be, 'not registered', PLOTS['entries-meddled-with'],
                 id='clones-keep-entries')])
def test_broken_code_is_found_out_by_the_shortest_way(
        break_something: Callable[[Any], None], problem: str, plot: Plot,
        monkeypatch: Any) -> None:
    start = plot.build()
    break_something(monkeypatch)
    seen = explore(start, plot.depth)
    assert problem in seen.problem and seen.path, render('broken', seen)


def replace_entries_at_once(monkeypatch: Any) -> None:
    plan = comparison.plan_entry
    monkeypatch.setattr(comparison, 'plan_entry', lambda found, text, is_right, keep, attached:
                        plan(found, text, is_right, None, attached))


def test_entries_replaced_before_the_pools_are_found_out(monkeypatch: Any) -> None:
    start = PLOTS['edits-and-kills'].build()
    replace_entries_at_once(monkeypatch)
    assert 'not whole between two calls' in explore(start, 8).problem
