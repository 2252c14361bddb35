"""pool-pre-ha-vm-restart: whom it asks, how long it waits, and that it never does harm."""

import contextlib
import os
import subprocess
import sys
import time
from typing import Any, Callable, Iterator, NamedTuple

import pytest

from tests.integration.qemu_wrapper.stock import program
from tests.support.documents import ROOT
from tests.support.waiting import wait_until
from watcher.config.settings import Settings

HOOK = os.path.join(ROOT, 'deploy/hooks/pool-pre-ha-vm-restart')
# Holds the real lock as the daemon does, and makes a file of each SIGHUP.
_HOLDER = '''
import os, signal, sys
sys.path.insert(0, {root!r})
from registry.writer_lock import WriterLock
def asked(*_arguments):
    open({asked!r}, 'w').close()
    if {ends}:
        os._exit(0)
if {catches}:
    signal.signal(signal.SIGHUP, asked)
lock = WriterLock({registry!r})
assert {locks} is False or lock.acquire()
open({ready!r}, 'w').close()
while True:
    signal.pause()
'''


class Done(NamedTuple):
    """One run of the hook."""

    status: int
    said: str
    seconds: float


class Place:
    """A registry's directory, the hook, and whoever holds the lock."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.registry = os.path.join(directory, 'vgpu_config.db')
        with open(self.path('watcher.conf'), 'w', encoding='utf-8') as stream:
            stream.write('[registry]\npath = %s\n' % self.registry)

    def path(self, name: str) -> str:
        """Where something lies."""
        return os.path.join(self.directory, name)

    def was_asked(self) -> bool:
        """Whether the holder got the signal."""
        return os.path.exists(self.path('asked'))

    @contextlib.contextmanager
    def holder(self, name: str = 'vgpu-watcher', *, catches: bool = True, ends: bool = False,
               locks: bool = True, registry: str = '') -> Iterator[subprocess.Popen]:
        """A process of this name that holds the lock."""
        program(self.path(name), _HOLDER.format(
            root=ROOT, asked=self.path('asked'), ready=self.path(name + '.ready'),
            catches=catches, ends=ends, locks=locks, registry=registry or self.registry))
        process = subprocess.Popen([sys.executable, self.path(name)])
        try:
            wait_until(lambda: os.path.exists(self.path(name + '.ready')))
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, wait_seconds: float = 0.3, **options: Any) -> Done:
        """Run the hook as XAPI does."""
        with open(HOOK, encoding='utf-8') as stream:
            text = stream.read()
        for old, new in (("CONFIGURATION = '/etc/vgpu/vgpu-watcher.conf'",
                          'CONFIGURATION = %r' % self.path('watcher.conf')),
                         ('WAIT_SECONDS = 2.0', 'WAIT_SECONDS = %r' % wait_seconds)):
            assert text.count('\n%s\n' % old) == 1
            text = text.replace('\n%s\n' % old, '\n%s\n' % new)
        program(self.path('hook'), text)
        began_at = time.monotonic()
        options.setdefault('stdout', subprocess.PIPE)
        done = subprocess.run([sys.executable, self.path('hook'), '-reason', 'none'],
                              stderr=subprocess.STDOUT, timeout=60, **options)
        return Done(done.returncode, (done.stdout or b'').decode('utf-8'),
                    time.monotonic() - began_at)


@pytest.fixture
def place(tmp_path: Any) -> Place:
    """A directory with a configuration, and no daemon."""
    return Place(str(tmp_path))


def test_daemon_is_asked_and_given_time(place: Place) -> None:
    with place.holder() as daemon:
        done = place.run(wait_seconds=0.3)
        wait_until(place.was_asked)
        assert daemon.poll() is None
    assert done.status == 0 and 'vgpu-watcher (%d) was asked' % daemon.pid in done.said
    assert 0.3 <= done.seconds < 15


def test_daemon_is_asked_where_the_path_of_the_registry_is_a_link(place: Place) -> None:
    os.mkdir(place.path('links'))
    os.symlink(place.registry, place.path('links/vgpu_config.db'))
    _configure(place, '[registry]\npath = %s\n' % place.path('links/vgpu_config.db'))
    with place.holder():
        assert place.run().status == 0
        wait_until(place.was_asked)


def test_wait_ends_with_the_daemon(place: Place) -> None:
    with place.holder(ends=True):
        done = place.run(wait_seconds=30.0)
    assert done.status == 0 and place.was_asked() and done.seconds < 15


def test_wait_is_two_seconds_as_the_promise_of_staging() -> None:
    with open(HOOK, encoding='utf-8') as stream:
        assert '\nWAIT_SECONDS = 2.0\n' in stream.read()


@pytest.mark.parametrize('holder', [
    pytest.param(dict(name='vgpu-admin'), id='vgpu-admin-stages'),
    pytest.param(dict(catches=False), id='signal-would-end-it'),
    pytest.param(dict(locks=False), id='no-lock'),
])
def test_nobody_else_is_asked(place: Place, holder: Any) -> None:
    with place.holder(**holder) as other:
        if not holder.get('locks', True):
            _write(place, 'pid %d, vgpu-watcher\n' % other.pid)
        done = place.run()
        assert done.status == 0 and 'nothing is asked' in done.said
        assert other.poll() is None and not place.was_asked()


def test_holder_of_another_registry_is_not_asked(place: Place) -> None:
    with place.holder(registry=place.path('another.db')) as other:
        _write(place, 'pid %d, vgpu-watcher\n' % other.pid)
        assert 'nothing is asked' in place.run().said
        assert other.poll() is None and not place.was_asked()


def test_number_of_a_dead_daemon_is_not_taken_for_the_holder(place: Place) -> None:
    with place.holder(name='other', locks=False) as stranger, place.holder(catches=True):
        _write(place, 'pid %d, vgpu-watcher\n' % stranger.pid)
        assert 'nothing is asked' in place.run().said
        assert stranger.poll() is None and not place.was_asked()


@pytest.mark.parametrize('prepare', [
    pytest.param(lambda place: None, id='no-lock-file'),
    pytest.param(lambda place: _write(place, ''), id='empty'),
    pytest.param(lambda place: _write(place, 'pid 1, vgpu-watcher\n'), id='another-process'),
    pytest.param(lambda place: _write(place, 'pid 9999999, vgpu-watcher\n'), id='no-process'),
    pytest.param(lambda place: _write(place, 'pid -1, vgpu-watcher\n'), id='a-group'),
    pytest.param(lambda place: _write(place, 'pid 0, vgpu-watcher\n'), id='own-group'),
    pytest.param(lambda place: _write(place, 'pid 1, vgpu-watcher\n' * 1000), id='much'),
    pytest.param(lambda place: os.mkdir(place.registry + '.lock'), id='a-directory'),
    pytest.param(lambda place: os.unlink(place.path('watcher.conf')), id='no-configuration'),
    pytest.param(lambda place: _configure(place, 'nonsense'), id='bad-configuration'),
    pytest.param(lambda place: _configure(place, '\udcff'), id='not-utf-8'),
])
def test_it_is_harmless(place: Place, prepare: Callable[[Place], None]) -> None:
    prepare(place)
    done = place.run(wait_seconds=30.0)
    assert done.status == 0 and 'asked' in done.said and 'Traceback' not in done.said
    assert done.seconds < 15


def test_exit_status_is_0_when_nobody_listens(place: Place) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert place.run(stdout=writing).status == 0
    os.close(writing)


def test_hook_is_executable_and_knows_the_defaults_of_the_daemon() -> None:
    assert os.access(HOOK, os.X_OK)
    with open(HOOK, encoding='utf-8') as stream:
        text = stream.read()
    assert text.startswith('#!/usr/bin/python3 -EsB\n')
    assert 'DEFAULT_REGISTRY = %r\n' % Settings().registry.path in text


def _write(place: Place, text: str) -> None:
    with open(place.registry + '.lock', 'w', encoding='utf-8') as stream:
        stream.write(text)


def _configure(place: Place, text: str) -> None:
    with open(place.path('watcher.conf'), 'w', encoding='utf-8',
              errors='surrogateescape') as stream:
        stream.write(text)
