"""P2, P5, P7: a start between any two calls of ours is never refused, and boots a whole value."""

from typing import Any, Callable, List

import pytest

from tests.integration.daemon.world import World, wait_until
from tests.support import scenes

# The start must be under way when the next call comes, on a loaded machine too.
CUTOFF_SECONDS = 0.6


def _begin(world: World, ref: str, method: str, started: List[Any]) -> Callable[[], None]:
    """Start the VM, and go on only when XAPI has recorded or refused it."""
    host = (world.xapi.hosts[0],) if method == 'VM.start_on' else ()

    def begin() -> None:
        started.append(world.xapi.spawn(method, ref, *(host + (False, False))))
        wait_until(lambda: started[0].error or world.xapi.vm(ref)['current_operations'],
                   'the start of %s' % ref)
    return begin


@pytest.mark.parametrize('kind', ['run_before', 'run_after'])
@pytest.mark.parametrize('method', ['VM.start', 'VM.start_on'])
def test_a_start_between_any_two_calls_of_a_replacement_takes_the_old_value_or_the_new_one(
        pool: World, method: str, kind: str) -> None:
    subjects = scenes.stage(pool, len(scenes.REPLACEMENT))
    starts: List[List[Any]] = [[] for _ in subjects]
    for call, subject in enumerate(subjects, 1):
        scenes.at_call(pool, subject.ref, call,
                       _begin(pool, subject.ref, method, starts[call - 1]), kind=kind)
    scenes.prioritise(pool, subjects)
    for subject, started in zip(subjects, starts):
        wait_until(lambda: started, 'the start of %s' % subject.ref)
        assert scenes.refusal_of(started[0]) == ()
        boot = pool.last_boot(subject.ref)
        assert boot.args in (subject.value(), subject.value('high'))
        line = pool.booted(subject.ref)
        assert line['verdict'] in ('as_desired', 'pending')
        assert (line['verdict'] == 'as_desired') == (boot.args == subject.value('high'))
    for subject in subjects:
        pool.xapi.call('VM.hard_shutdown', subject.ref)
        pool.wait_settled(subject.ref, subject.value('high'))
        assert scenes.start(pool, subject) == subject.value('high')


def test_a_start_at_the_only_call_of_an_addition_boots_with_the_span(pool: World) -> None:
    for kind in ('run_before', 'run_after'):
        ref = pool.create_vm()
        started: List[Any] = []
        scenes.at_call(pool, ref, 1, _begin(pool, ref, 'VM.start', started), kind=kind)
        subject = scenes.Subject(ref, pool.register(ref), '')
        wait_until(lambda: started, 'the start')
        assert scenes.refusal_of(started[0]) == ()
        assert pool.last_boot(subject.ref).args == subject.value()
        assert pool.booted(subject.ref)['verdict'] == 'as_desired'


def test_a_start_between_the_calls_of_a_removal_takes_what_stands_there(pool: World) -> None:
    subjects = scenes.stage(pool, 2, foreign='')
    starts: List[List[Any]] = [[], []]
    for call, subject in enumerate(subjects, 1):
        scenes.at_call(pool, subject.ref, call,
                       _begin(pool, subject.ref, 'VM.start', starts[call - 1]))
    with pool.registry.edit(who='test', command='remove-vm') as edit:
        for subject in subjects:
            edit.remove_vm(pool.uuid(subject.ref))
    for subject, started in zip(subjects, starts):
        wait_until(lambda: started, 'the start of %s' % subject.ref)
        assert scenes.refusal_of(started[0]) == ()
        assert pool.last_boot(subject.ref).args in (None, subject.value())
        pool.xapi.call('VM.hard_shutdown', subject.ref)
        pool.wait_settled(subject.ref, None)
