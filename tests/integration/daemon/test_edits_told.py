"""An edit by another program is noticed because the kernel tells of it, not at the next look."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from typing import Callable

import pytest

from tests.integration.daemon.world import Daemon, World, span, wait_until
from tests.support.programs import ROOT

# A daemon that looks at the file's status once, when it starts, and then no more by itself.
_WITHOUT_TICKS = '''
import sys
import watcher.service
watcher.service.TICK_SECONDS = watcher.service.QUIET_TICK_SECONDS = 1e6
from watcher.__main__ import main
sys.exit(main(sys.argv[1:]))
'''


class DaemonWithoutTicks(Daemon):
    """Notices nothing but messages and what the kernel tells."""

    def start(self) -> 'DaemonWithoutTicks':
        """As the other, afresh."""
        self.process = subprocess.Popen(
            [sys.executable, '-c', _WITHOUT_TICKS, 'run', '--config', self._config],
            env=dict(os.environ, PYTHONPATH=ROOT), stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        self._reader = threading.Thread(
            target=self._read, args=(self.process, self.lines, self.raw), daemon=True)
        self._reader.start()
        return self


@pytest.fixture
def told(build_world: Callable[..., World]) -> World:
    """A pool in sync that has nothing to say, and a daemon without ticks."""
    world = build_world()
    # What the mirror writes comes back as events, with which the file is looked at; so does a scan.
    world.write_config('[mirror]\nenabled = no\n', interval_seconds=3600)
    world.daemon = DaemonWithoutTicks(world.config_path)
    return world.start()


def _edit(path: str, priority: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute('UPDATE vms SET priority = ?', (priority,))
    connection.close()


def test_edits_of_others_are_staged_without_a_look_at_the_clock(told: World) -> None:
    ref = told.create_vm()
    told.register(ref, 7)
    told.wait_args(ref, span(7))
    for name, priority in (('high', 2), ('low', 0), ('high', 2)):
        _edit(told.registry_path, priority)
        told.wait_settled(ref, span(7, priority=name))


def test_a_file_put_into_its_place_is_told_and_what_is_written_to_it_then(told: World) -> None:
    ref = told.create_vm()
    told.register(ref, 7)
    told.wait_args(ref, span(7))
    shutil.copy(told.registry_path, told.registry_path + '.new')
    _edit(told.registry_path + '.new', 2)
    os.rename(told.registry_path + '.new', told.registry_path)
    told.wait_settled(ref, span(7, priority='high'))
    _edit(told.registry_path, 0)
    told.wait_settled(ref, span(7, priority='low'))


def test_a_file_that_goes_and_comes_back_is_told(told: World) -> None:
    os.rename(told.registry_path, told.registry_path + '.away')
    told.daemon.wait_for('registry.unavailable')
    os.rename(told.registry_path + '.away', told.registry_path)
    told.daemon.wait_for('registry.available')


def test_where_the_kernel_tells_nothing_the_look_at_the_clock_finds_it(
        build_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = build_world()
    monkeypatch.setattr(sys.modules[__name__], '_WITHOUT_TICKS', '''
import sys
import registry.inotify
registry.inotify.FileNotices.__init__ = lambda *_any: (_ for _ in ()).throw(OSError('none'))
registry.inotify.FileNotices.__del__ = lambda _self: None
from watcher.__main__ import main
sys.exit(main(sys.argv[1:]))
''')
    world.daemon = DaemonWithoutTicks(world.config_path)
    world.start()
    ref = world.create_vm()
    world.register(ref, 7)
    world.wait_args(ref, span(7))
    _edit(world.registry_path, 2)
    world.wait_settled(ref, span(7, priority='high'))


def test_the_kernel_watches_the_file_that_stands_at_the_path(told: World) -> None:
    def list_watched() -> str:
        process = told.daemon.process
        assert process is not None
        place = '/proc/%d/fdinfo' % process.pid
        texts = []
        for name in os.listdir(place):
            try:
                with open(os.path.join(place, name), encoding='ascii') as stream:
                    texts += [line for line in stream if line.startswith('inotify')]
            except FileNotFoundError:
                continue
        return ''.join(texts)

    def is_watched(path: str) -> bool:
        return 'ino:%x ' % os.stat(path).st_ino in list_watched()

    wait_until(lambda: is_watched(told.registry_path), 'the file is watched')
    assert is_watched(os.path.dirname(told.registry_path))
    shutil.copy(told.registry_path, told.registry_path + '.new')
    os.rename(told.registry_path + '.new', told.registry_path)
    wait_until(lambda: is_watched(told.registry_path), 'the new file is watched')
    assert list_watched().count('inotify') == 2
