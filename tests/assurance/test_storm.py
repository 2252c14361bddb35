"""P1, P2, P3, P7, P14, P16, P19, P20: a bounded part of what `make assurance` does.

Seeds can be repeated: STORM_SEED=N in the environment.
"""

import os
import signal
import tempfile
from typing import Any

from tests.assurance import fleet
from tests.assurance.storm import Storm, weather
from tests.simulated.world import KEY

BOOTS = 600
VMS = 40
SECONDS = 60.0


def test_no_boot_of_a_storm_is_wrong_and_each_is_told() -> None:
    seed = int(os.environ.get('STORM_SEED', '7'))
    figures = weather(BOOTS, SECONDS, seed, VMS)
    assert not figures.wrong and not figures.unreported, '\n'.join(
        ["seed %d" % seed, repr(figures)])
    assert sum(figures.boots.values()) >= BOOTS and figures.faults


def test_a_storm_sees_a_wrong_boot_and_one_that_nobody_was_told_of(monkeypatch: Any) -> None:
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        storm = Storm(directory, 2, 1)
        try:
            storm.begin()
            monkeypatch.setattr(fleet, 'PATIENCE_SECONDS', 1.0)
            storm.world.daemon.stop(signal.SIGKILL)
            storm.world.xapi.call('VM.remove_from_platform', storm.fleet.members[0].ref, KEY)
            storm.fleet.begin_wave()
            storm.fleet.each('VM.start', False, False)
            storm.fleet.end_wave('start', {item.ref: item.value for item in storm.fleet.members})
        finally:
            storm.close()
    assert [wrong.took for wrong in storm.fleet.wrong] == [None]
    assert [item.said for item in storm.fleet.unreported] == ['nothing', 'nothing']
