"""P25: a wall clock that jumps delays neither the scan nor the notice of an edit."""

import os
import struct
import subprocess
from typing import Any, Callable

import pytest

from tests import scenes
from tests.simulated.world import Daemon, World, wait_until

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'clock.c')


@pytest.fixture(scope='module')
def library(tmp_path_factory: Any) -> str:
    """The wall clock that can be set, compiled."""
    path = str(tmp_path_factory.mktemp('clock') / 'clock.so')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', path, SOURCE, '-ldl', '-lpthread'],
                   check=True)
    return path


def _set_clock(path: str, seconds: int) -> None:
    with open(path, 'r+b') as stream:
        stream.write(struct.pack('q', seconds))


@pytest.mark.parametrize('seconds', [-3600, 3600], ids=['an-hour-back', 'an-hour-forward'])
def test_a_clock_that_jumps_delays_neither_the_scan_nor_the_notice_of_an_edit(
        build_world: Callable[..., World], library: str, seconds: int) -> None:
    world = build_world()
    clock = os.path.join(world.directory, 'clock')
    with open(clock, 'wb') as stream:
        stream.write(struct.pack('q', 0))
    world.write_config(interval_seconds=1)
    world.daemon = Daemon(world.config_path, {'LD_PRELOAD': library, 'FAKE_CLOCK': clock})
    world.start()
    subject, = scenes.stage(world, foreign='')
    wait_until(lambda: world.daemon.events('scan.completed'), 'a first scan')
    _set_clock(clock, seconds)
    # Nothing but the file tells of it: no event of XAPI wakes the daemon.
    scenes.prioritise(world, [subject])
    world.wait_args(subject.ref, subject.value('high'), timeout_seconds=5.0)
    jumped = world.daemon.wait_for('clock.jumped')
    assert abs(jumped['seconds'] - seconds) < 5
    scans = len(world.daemon.events('scan.completed'))
    wait_until(lambda: len(world.daemon.events('scan.completed')) > scans + 1, 'scans', 60.0)
    assert scenes.start(world, subject) == subject.value('high')
    assert world.daemon.stop() == 0
