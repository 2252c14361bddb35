"""An entry that is put right again and again rests, by the rule that holds for arguments (P30)."""

from typing import Any, Dict, List

from tests.unit.watcher.builders import build_vm
from watcher.mirror.complaints import Complaints
from watcher.runtime.fights import CALM_SECONDS, PAUSE_SECONDS

VM = build_vm()


def test_six_writes_in_any_ten_seconds_are_a_fight(log_output: List[Dict[str, Any]]) -> None:
    complaints = Complaints()
    pauses = [complaints.find_pause(VM, now)
              for now in (100.0, 109.5, 109.6, 109.7, 109.8, 110.1, 110.2)]
    assert pauses == [0.0] * 6 + [PAUSE_SECONDS[0]]
    assert [line['event'] for line in log_output] == ['mirror.contended']


def test_pauses_grow_while_it_goes_on_and_begin_anew_after_a_calm() -> None:
    complaints, now = Complaints(), 100.0
    for calm in (0.0, CALM_SECONDS + 1.0):
        now += calm
        assert [complaints.find_pause(VM, now) for _write in range(5)] == [0.0] * 5
        pauses = []
        for _write in range(8):
            pauses.append(complaints.find_pause(VM, now))
            now += pauses[-1] + 11.0
        assert pauses == list(PAUSE_SECONDS) + [PAUSE_SECONDS[-1]] * 2
