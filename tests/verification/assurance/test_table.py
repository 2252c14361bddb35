"""The table of all figures says when a goal was missed: a proof that cannot fail is none."""

from typing import Any, Dict, List

import pytest

from tests.verification.assurance.parts import PARTS, Part
from tests.verification.assurance.table import list_missed, render

MODEL = {'states': 147821, 'schedules': 293979, 'boots': 16583, 'chains': 417293, 'worlds': 20,
         'depth': 16, 'seconds': 60.0}


def build(**changes: Dict[str, Any]) -> List[Part]:
    """A run in which all went well, but for the figures of these parts."""
    good: Dict[str, Dict[str, Any]] = {
        'storm': {'boots': {'start': 60000, 'reboot': 40800}, 'wrong': 0, 'unreported': 0,
                  'outrun': 311, 'bare': 12, 'windows': {'1 ms': 40, '20 ms': 60, '5 ms': 50},
                  'faults': {'daemon killed': 90, 'call: late': 0},
                  'recoveries': {'daemon killed': 2.5}, 'restarts': {'daemon killed': 6.5},
                  'repeated': 7, 'unsaid': 2},
        'model': {'model': MODEL},
        'pools': {'pools': {'states': 49546, 'schedules': 88587, 'worlds': 11}},
        'kills': {'kills': 468, 'calls': 528, 'boots': {'start after a SIGKILL': 1557},
                  'wrong': 0, 'unreported': 0, 'faults': {'SIGKILL': 468},
                  'recoveries': {'SIGKILL': 2.87}},
        'masters': {'deaths': 300},
        'commands': {'commands': 29, 'command_kills': 2400, 'command_full': 800},
        'registry': {'registry_orders': 96, 'registry_commands': 3000},
        'attacked': {'forgeries': 400, 'accepted': 0, 'watchdog_gap': 1.2, 'edit_delay': 0.9,
                     'quarrels': 11, 'quarrel_lines': 71, 'quarrel_entries': 65, 'real_lines': 2,
                     'clock_steps': 300},
        'mutants': {'mutants': 35, 'caught': 35}}
    return [Part(name, 1.0, dict(good[name], **changes.get(name, {}))) for name in PARTS]


def test_a_run_in_which_all_went_well_misses_nothing() -> None:
    assert list_missed(build()) == []


@pytest.mark.parametrize('changes', [
    pytest.param({'storm': {'boots': {'start': 99999}}}, id='too-few-boots'),
    pytest.param({'storm': {'wrong': 1}}, id='a-wrong-boot'),
    pytest.param({'storm': {'unreported': 1}}, id='an-unreported-boot'),
    pytest.param({'storm': {'recoveries': {'daemon killed': 5.1}}}, id='a-slow-recovery'),
    pytest.param({'model': {'model': dict(MODEL, states=99999)}}, id='too-few-states'),
    pytest.param({'model': {'model': {}}}, id='a-model-that-broke'),
    pytest.param({'pools': {'pools': {}}}, id='a-model-of-pools-that-broke'),
    pytest.param({'kills': {'kills': 0}}, id='no-kill'),
    pytest.param({'masters': {'deaths': 0}}, id='no-death-of-a-master'),
    pytest.param({'commands': {'command_kills': 0}}, id='no-killed-command'),
    pytest.param({'registry': {'registry_orders': 0}}, id='no-order'),
    pytest.param({'attacked': {'forgeries': 0}}, id='no-forgery'),
    pytest.param({'attacked': {'accepted': 1}}, id='a-forgery-that-counts'),
    pytest.param({'attacked': {'watchdog_gap': 5.1}}, id='a-long-silence'),
    pytest.param({'attacked': {'edit_delay': 2.1}}, id='a-slow-edit'),
    pytest.param({'attacked': {'quarrel_lines': 76}}, id='a-loud-quarrel'),
    pytest.param({'attacked': {'quarrel_entries': 76}}, id='a-quarrel-that-fills-the-history'),
    pytest.param({'attacked': {'clock_steps': 0}}, id='no-step'),
    pytest.param({'mutants': {'caught': 34}}, id='a-mutant-that-survived'),
    pytest.param({'mutants': {'mutants': 19, 'caught': 19}}, id='too-few-mutants')])
def test_each_goal_can_be_missed(changes: Dict[str, Any]) -> None:
    assert len(list_missed(build(**changes))) == 1


@pytest.mark.parametrize('name', list(PARTS))
def test_a_part_that_broke_misses_the_goal(name: str) -> None:
    parts = [part._replace(problems=('it broke',)) if part.name == name else part
             for part in build()]
    assert list_missed(parts) and any('it broke' in line for line in render(parts))


def test_the_table_adds_up_over_all_parts() -> None:
    lines = render(build())
    for line in ('| boots simulated | 102357 |', '| wrong | **0** |', '| unreported | **0** |',
                 '| took the old arguments, whole, because the restart was quicker than the '
                 'staging; each told `pending` | 311 |',
                 '| had none, because the key was absent when the start began; each told `missing` '
                 '| 12 |', '| 5 ms | 50 |',
                 '| mutants caught of made | **35 of 35** |',
                 '| longest recovery | 2.87 s (SIGKILL) |', '| daemon killed | 2.50 | 6.50 |',
                 '| system calls that write, each tried with SIGKILL | 528 |',
                 '| assignments that one of them changed | 0 |',
                 '| steps of the wall clock, by 30 s to 56 years | 300 |'):
        assert line in lines, lines
    assert not [line for line in lines if 'call: late' in line]
    assert lines.index('| 5 ms | 50 |') < lines.index('| 20 ms | 60 |')
