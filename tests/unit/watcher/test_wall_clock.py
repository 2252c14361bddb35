"""P25 on this Python: the daemon as a process of its own, while its clock is set by decades."""

import pytest

from tests.integration.daemon.world import Daemon, World, wait_until
from tests.support import scenes
from tests.support.building import building
from tests.support.wall_clock import YEAR, WallClock

INTERVAL_SECONDS = 1


@pytest.mark.parametrize('seconds', [26 * YEAR, -26 * YEAR, -3600], ids=str)
def test_step_of_the_clock_delays_neither_scan_nor_edit_on_this_python(seconds):
    with building(World) as build:
        world = build()
        clock = WallClock(world.directory)
        world.write_config(interval_seconds=INTERVAL_SECONDS)
        world.daemon = Daemon(world.config_path, clock.environment)
        world.start()
        subject, = scenes.stage(world, foreign='')
        clock.set(seconds)
        scenes.prioritise(world, [subject])
        # Before it took 20 to 76 s.
        world.wait_args(subject.ref, subject.value('high'), timeout_seconds=20.0)
        seen = len(world.daemon.events('scan.completed'))
        wait_until(lambda: len(world.daemon.events('scan.completed')) > seen + 1, 'scans',
                   60.0)
        assert world.daemon.stop() == 0
