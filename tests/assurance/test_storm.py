"""P1, P2, P3, P7, P14, P16, P19, P20: a bounded part of what `make assurance` does.

Seeds can be repeated: STORM_SEED=N in the environment.
"""

import os

from tests.assurance.__main__ import render_storm
from tests.assurance.storm import weather

BOOTS = 600
VMS = 40
SECONDS = 60.0


def test_no_boot_of_a_storm_is_wrong_and_each_is_told() -> None:
    seed = int(os.environ.get('STORM_SEED', '7'))
    figures = weather(BOOTS, SECONDS, seed, VMS)
    assert not figures.wrong and not figures.unreported, '\n'.join(
        ['seed %d' % seed] + render_storm(figures))
    assert sum(figures.boots.values()) >= BOOTS and figures.faults
