"""The lock of the one writer: exclusive, free when its holder dies, never deleted."""

import errno
import os
import stat

import pytest

from registry.errors import Reason, RegistryUnavailable
from registry.writer_lock import WriterLock
from tests.unit.registry.helpers import run_child, start_child

HOLD_UNTIL_KILLED = '''
import signal, sys
from registry.writer_lock import WriterLock
lock = WriterLock(sys.argv[1])
print(lock.acquire(), flush=True)
signal.pause()
'''


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'vgpu_config.db')


def test_lock_is_held_by_one_at_a_time(path):
    with WriterLock(path) as first, WriterLock(path) as second:
        assert first.acquire() and first.is_held
        assert first.acquire()
        assert not second.acquire() and not second.is_held
        first.release()
        assert second.acquire()
    assert not second.is_held


def test_lock_file_is_private_and_stays(path):
    with WriterLock(path) as lock:
        lock.acquire()
        assert lock.path == path + '.lock'
        assert stat.S_IMODE(os.stat(lock.path).st_mode) == 0o600
    assert os.path.exists(lock.path)


def test_holder_is_named_while_it_holds(path):
    with WriterLock(path) as lock:
        assert lock.holder() is None
        lock.acquire()
        assert WriterLock(path).holder().startswith(f'pid {os.getpid()}, ')
    assert lock.holder() is None


@pytest.mark.parametrize('text', ['', 'x', 'pid', 'pid x', 'pid 99999999999999999999, x'])
def test_holder_that_makes_no_sense_is_nobody(path, text):
    with open(path + '.lock', 'w') as file:
        file.write(text)
    assert WriterLock(path).holder() is None


@pytest.mark.parametrize('replace', [False, True])
def test_lock_whose_file_is_not_there_any_more_is_lost(path, replace):
    with WriterLock(path) as lock:
        assert not lock.is_lost
        lock.acquire()
        assert not lock.is_lost
        os.unlink(lock.path)
        if replace:
            with open(lock.path, 'w'):
                pass
        assert lock.is_held and lock.is_lost
        lock.release()
        assert lock.acquire() and not lock.is_lost


def test_lock_of_a_killed_process_is_free(path):
    child = start_child(HOLD_UNTIL_KILLED, path)
    try:
        assert child.stdout.readline() == 'True\n'
        lock = WriterLock(path)
        assert not lock.acquire()
        assert f'pid {child.pid}' in lock.holder()
    finally:
        child.kill()
        child.communicate()
    assert lock.holder() is None
    assert lock.acquire(timeout_seconds=5)
    lock.release()


def test_lock_is_not_inherited_by_children(path):
    lock = WriterLock(path)
    lock.acquire()
    child = start_child('import signal; print("up", flush=True); signal.pause()')
    try:
        assert child.stdout.readline() == 'up\n'
        lock.release()
        status, output, errors = run_child(
            'import sys; from registry.writer_lock import WriterLock; '
            'print(WriterLock(sys.argv[1]).acquire())', path)
        assert output == 'True\n', errors
    finally:
        child.kill()
        child.communicate()


def test_waiting_for_the_lock_ends_when_it_becomes_free_or_time_is_up(path):
    first, now = WriterLock(path), [0.0]
    first.acquire()

    def sleep(seconds):
        now[0] += seconds
        if now[0] > 2:
            first.release()

    second = WriterLock(path, monotonic=lambda: now[0], sleep=sleep)
    assert not second.acquire(timeout_seconds=1)
    assert 1 <= now[0] < 1.2
    assert second.acquire(timeout_seconds=5)
    assert 2 < now[0] < 2.2
    second.release()


def test_lock_in_a_missing_directory_is_unavailable(tmp_path):
    with pytest.raises(RegistryUnavailable, match='lock'):
        WriterLock(str(tmp_path / 'none' / 'x.db')).acquire()


def test_link_in_the_place_of_the_lock_is_refused_and_its_target_left_alone(path, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('precious', encoding='utf-8')
    os.symlink(str(victim), path + '.lock')
    with pytest.raises(RegistryUnavailable) as caught:
        WriterLock(path).acquire()
    assert caught.value.reason is Reason.UNWRITABLE
    assert victim.read_text(encoding='utf-8') == 'precious'


def test_full_disk_does_not_keep_the_lock_from_being_held(path, monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as patch, WriterLock(path) as first:
        patch.setattr(os, 'write', refuse)
        assert first.acquire() and first.is_held
        assert not WriterLock(path).acquire()
        assert first.holder() is None
