"""P4, P5, P14: any answer to any call of a replacement is lost, torn, late or a refusal."""

from typing import Any, Dict, List, NamedTuple, Tuple

import pytest

from simulator.faults import Fault
from tests.integration.daemon.world import World, wait_until
from tests.support import scenes


class Trouble(NamedTuple):
    """What happens to one call."""
    kind: str
    parameters: Dict[str, Any] = {}


NO_ANSWER = (Trouble('drop_before'), Trouble('drop_after'), Trouble('reset_before'),
             Trouble('reset_after'), Trouble('http_500_before'), Trouble('http_500'))
ODD_ANSWER = (Trouble('truncate'), Trouble('truncate', {'bytes': 0}), Trouble('garbage'),
              Trouble('replace_body', {'body': '{}'}), Trouble('replace_body', {'body': ''}),
              Trouble('failure', {'code': 'INTERNAL_ERROR', 'params': ['Not_found']}),
              Trouble('failure_after', {'code': 'INTERNAL_ERROR', 'params': ['Not_found']}))
SLOW_ANSWER = (Trouble('late', {'seconds': 0.5}), Trouble('late', {'seconds': 2.0}),
               Trouble('drip', {'seconds': 0.01}))
Case = Tuple[Trouble, int, scenes.Subject]


@pytest.mark.parametrize('troubles', [pytest.param(NO_ANSWER, id='no-answer'),
                                      pytest.param(ODD_ANSWER, id='odd-answer'),
                                      pytest.param(SLOW_ANSWER, id='slow-answer')])
def test_a_replacement_survives_trouble_at_each_of_its_calls(
        pool: World, troubles: Tuple[Trouble, ...]) -> None:
    cases = _list_cases(pool, troubles, len(scenes.REPLACEMENT))
    struck = [_spoil(pool, case) for case in cases]
    scenes.prioritise(pool, [subject for _trouble, _call, subject in cases])
    for (trouble, call, subject), strikes in zip(cases, struck):
        wait_until(lambda: strikes, '%s at call %d' % (trouble, call))
        pool.wait_settled(subject.ref, subject.value('high'))
    starts = [pool.xapi.spawn('VM.start', case[2].ref, False, False) for case in cases]
    _assert_right(pool, cases, starts)


def _list_cases(world: World, troubles: Tuple[Trouble, ...], calls: int) -> List[Case]:
    """Each trouble at each call, each with a staged VM of its own."""
    pairs = [(trouble, call) for trouble in troubles for call in range(1, calls + 1)]
    subjects = scenes.stage(world, len(pairs))
    return [(trouble, call, subject) for (trouble, call), subject in zip(pairs, subjects)]


def _spoil(world: World, case: Case) -> List[str]:
    """Arm the trouble; the list is no longer empty when it has struck."""
    (kind, parameters), call, subject = case
    strikes: List[str] = []
    scenes.at_call(world, subject.ref, call, lambda: strikes.append(kind), kind='run_before')
    world.xapi.faults.add(Fault(kind, ref=subject.ref, skip=call - 1, count=1,
                                parameters=parameters))
    return strikes


def _assert_right(world: World, cases: List[Case], starts: List[Any]) -> None:
    for (trouble, call, subject), starting in zip(cases, starts):
        assert scenes.refusal_of(starting) == (), (trouble, call)
        assert world.last_boot(subject.ref).args == subject.value('high'), (trouble, call)
