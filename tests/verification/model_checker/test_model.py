"""The real Watcher in every order of steps up to a depth, in many small worlds.

`worlds.py` says what there is and who may do what how often; `invariants.py` what must hold.
`python -m tests.verification.model_checker` prints the same for people, and goes deeper.
"""

from typing import Any, Callable

import pytest

from tests.unit.watcher.builders import OTHER_SPAN, REF, SPAN
from tests.verification.model_checker.__main__ import render
from tests.verification.model_checker.calls import Client
from tests.verification.model_checker.explore import explore
from tests.verification.model_checker.lines import hear
from tests.verification.model_checker.world import World
from tests.verification.model_checker.worlds import WORLDS
from watcher.boots.observer import BootObserver
from watcher.loop.steps import Steps
from watcher.numbers_keeper import NumberKeeper
from watcher.staging.stager import Staging
from watcher.vm.boot import judge
from watcher.vm.record import ARGS_KEY

LEAST_STATES = 55000


@pytest.mark.parametrize('name', sorted(WORLDS))
def test_no_order_of_steps_breaks_an_invariant_or_never_ends_well(name: str) -> None:
    with hear():
        found = explore(WORLDS[name].build(), WORLDS[name].depth)
    assert not found.problem, render(name, found)
    assert found.states >= WORLDS[name].states and found.chains >= found.states


def test_so_many_states_are_seen_at_least() -> None:
    """Each world is held to its part of them where it is explored, by whichever process."""
    assert sum(plot.states for plot in WORLDS.values()) >= LEAST_STATES


def test_the_same_world_is_always_explored_alike() -> None:
    with hear():
        first, second = (explore(World('-a ' + OTHER_SPAN, start=1, crash=1), 10)
                         for _ in range(2))
    assert first._replace(seconds=0.0) == second._replace(seconds=0.0)


def write_whatever_the_record_says(monkeypatch: Any) -> None:
    monkeypatch.setattr('watcher.staging.injector.is_current', lambda _plan, vm: vm is not None)


def stage_nothing(monkeypatch: Any) -> None:
    monkeypatch.setattr(Staging, 'review', lambda *_args, **_options: None)


def believe_in_what_is_desired(monkeypatch: Any) -> None:
    monkeypatch.setattr('watcher.boots.inspection.find_in_arguments', lambda _arguments, _names: SPAN)
    monkeypatch.setattr('tests.verification.model_checker.world.find_in_arguments', lambda _arguments, _names: SPAN)


def note_no_boots(monkeypatch: Any) -> None:
    monkeypatch.setattr(BootObserver, 'note', lambda _observer, _vms: None)


def replace_by_two_calls(monkeypatch: Any) -> None:
    def remove_and_add(client: Client, ref: str, platform: Any) -> Steps[None]:
        yield from client.remove_args(ref)
        yield from client.add_args(ref, platform[ARGS_KEY])
    monkeypatch.setattr(Client, 'set_platform', remove_and_add)


def stage_taken_numbers(monkeypatch: Any) -> None:
    monkeypatch.setattr('watcher.state.number_claims.find_holders', lambda *_args: ())


def forget_what_rested(monkeypatch: Any) -> None:
    monkeypatch.setattr('watcher.boots.receipts.judge', lambda kind, desired, _staged, finding: judge(
        kind, desired, frozenset(), finding))


def tell_the_consumer_no_rows(monkeypatch: Any) -> None:
    real = NumberKeeper._write
    monkeypatch.setattr(NumberKeeper, '_write', lambda keeper, now, numbers, is_current: real(
        keeper, now, numbers._replace(rows=()), is_current))


def forget_what_was_written(monkeypatch: Any) -> None:
    monkeypatch.setattr('watcher.state.staged_record.StagedRecord.note_writing', lambda *_args: None)


@pytest.mark.parametrize('break_something, problem, setting', [
    pytest.param(write_whatever_the_record_says, 'not at rest', {'start': 1},
                 id='without-reading-before-writing'),
    pytest.param(stage_nothing, 'left alone it ends with', {}, id='without-staging'),
    pytest.param(believe_in_what_is_desired, 'the receipt says', {'start': 1},
                 id='with-receipts-that-believe'),
    pytest.param(note_no_boots, 'has no receipt', {'start': 1}, id='without-receipts'),
    pytest.param(replace_by_two_calls, 'is away', {}, id='replacing-by-two-calls'),
    pytest.param(stage_taken_numbers, 'run number', {'peers': 1, 'start': 2, 'rotate': 1},
                 id='with-numbers-that-others-have'),
    pytest.param(forget_what_rested, 'is called stale', {'start': 1},
                 id='without-knowing-what-rested'),
    pytest.param(forget_what_was_written, 'is called stale', {'start': 1, 'edit': 1},
                 id='without-knowing-what-was-written'),
    pytest.param(tell_the_consumer_no_rows, 'stolen from', {
        'consumer': 'absent', 'clone': 1, 'start': 2}, id='with-a-consumer-that-knows-no-rows')])
def test_broken_code_is_found_out_by_the_shortest_way(
        break_something: Callable[[Any], None], problem: str, setting: Any,
        monkeypatch: Any) -> None:
    break_something(monkeypatch)
    with hear():
        found = explore(World('-a ' + OTHER_SPAN, **setting), 22, most_states=30000)
    assert problem in found.problem and (found.path or 'ends' in found.problem)


def test_a_job_goes_on_where_it_was_left_after_the_world_went_back() -> None:
    with hear():
        world = World('-a ' + OTHER_SPAN)
        for take in (world.begin_daemon, world.read_events, world.handle, world.pass_time,
                     lambda: world.run_job(0)):
            take()
        state, key = world.save(), world.key
        for _ in range(2):
            world.run_job(0)
        assert world.vms[REF].record.args == '-a ' + SPAN and world.key != key
        world.restore(state)
        assert world.key == key and world.vms[REF].record.args == '-a ' + OTHER_SPAN
