"""What the kernel tells of the registry file, and what a watch makes of it."""

import os
import shutil
import sqlite3
import sys

import pytest

from registry.file_watch import LONGEST_SETTLE_SECONDS, SETTLE_SECONDS, FileWatch
from registry.inotify import FileNotices
from tests.unit.registry.helpers import other_program, run_child

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='no inotify')


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def notices(registry):
    notices = FileNotices(registry.path)
    notices.arm()
    return notices


@pytest.fixture
def time():
    return Clock()


@pytest.fixture
def watch(registry, time):
    """A watch that has settled and is told of changes."""
    watch = FileWatch(registry.path, clock=time)
    watch.listen(FileNotices(registry.path))
    assert watch.has_changed() and watch.is_told
    time.now += 1.0
    assert watch.has_changed() and not watch.has_changed()
    return watch


def settle(watch, time):
    """Hear, let the time pass, and look."""
    watch.hear()
    if watch.next_look is not None:
        time.now = watch.next_look
    return watch.has_changed()


def edit(path, mode='delete'):
    with other_program(path) as other:
        other.execute('PRAGMA journal_mode=' + mode)
        other.execute("UPDATE pools SET description = hex(randomblob(8))")


def replace(path):
    shutil.copy(path, path + '.new')
    os.rename(path + '.new', path)


def put_into_new_directory(path):
    os.rename(os.path.dirname(path), os.path.dirname(path) + '.away')
    shutil.copytree(os.path.dirname(path) + '.away', os.path.dirname(path))


@pytest.mark.parametrize('act', [
    pytest.param(edit, id='edit'),
    pytest.param(lambda path: edit(path, 'truncate'), id='edit-truncating-its-journal'),
    pytest.param(lambda path: edit(path, 'persist'), id='edit-keeping-its-journal'),
    pytest.param(lambda path: edit(path, 'memory'), id='edit-without-a-journal'),
    pytest.param(lambda path: edit(path, 'wal'), id='edit-in-wal-mode'),
    pytest.param(replace, id='replaced'),
    pytest.param(os.unlink, id='removed'),
    pytest.param(os.utime, id='touched'),
    pytest.param(lambda path: os.chmod(path, 0o600), id='another-mode'),
    pytest.param(lambda path: os.rename(path, path + '.away'), id='moved-away'),
    pytest.param(put_into_new_directory, id='directory-replaced')])
def test_what_happens_to_the_file_is_told(registry, notices, act):
    act(registry.path)
    assert notices.take() and not notices.take()


@pytest.mark.parametrize('act', [
    pytest.param(lambda registry: registry.read(), id='reading'),
    pytest.param(lambda registry: os.stat(registry.path), id='looking'),
    pytest.param(lambda registry: edit_journal(registry.journal_path), id='writing-the-journal')])
def test_what_is_no_change_is_not_told(registry, journal, notices, act):
    notices.take()
    act(registry)
    assert not notices.take()


def edit_journal(path):
    with other_program(path) as other:
        other.execute('CREATE TABLE IF NOT EXISTS scratch (x)')


@pytest.mark.parametrize('act', [replace, put_into_new_directory])
def test_file_under_the_path_is_told_of_again_when_it_was_replaced(registry, notices, act):
    act(registry.path)
    assert notices.take()
    notices.arm()
    notices.take()
    edit(registry.path)
    assert notices.take()


def test_file_that_was_replaced_is_told_of_no_more(registry, notices):
    os.link(registry.path, registry.path + '.old')
    replace(registry.path)
    notices.take()
    notices.arm()
    notices.take()
    os.utime(registry.path + '.old')
    assert not notices.take()


def test_directory_that_is_missing_is_watched_when_it_is_there(tmp_path):
    path = str(tmp_path / 'later' / 'vgpu_config.db')
    watch = FileWatch(path)
    watch.listen(FileNotices(path))
    assert watch.has_changed() and not watch.is_told
    os.mkdir(os.path.dirname(path))
    watch.hear()
    assert watch.is_told
    with open(path, 'wb'):
        watch.hear()
    assert watch.next_look is not None


def test_file_behind_a_link_is_told_of(registry, tmp_path):
    os.symlink(registry.path, str(tmp_path / 'link'))
    notices = FileNotices(str(tmp_path / 'link'))
    notices.arm()
    edit(registry.path)
    assert notices.take()


def test_too_many_notices_are_one(registry, notices):
    with open('/proc/sys/fs/inotify/max_queued_events', encoding='ascii') as stream:
        most = int(stream.read())
    for number in range(most + 10):
        os.utime(registry.path)
        # Equal neighbours are told once.
        os.chmod(registry.path, 0o600 | number % 2 << 5)
        if number % 2:
            os.link(registry.path, registry.path + '-other')
            os.unlink(registry.path + '-other')
    assert notices.take() and not notices.take()


def test_edit_is_looked_for_soon_and_said_once(registry, watch, time):
    edit(registry.path)
    watch.hear()
    assert watch.next_look == pytest.approx(time.now + SETTLE_SECONDS)
    assert watch.descriptor is None
    time.now = watch.next_look
    assert watch.has_changed()
    assert watch.descriptor is not None and watch.next_look is None
    time.now += 1.0
    assert not watch.has_changed()


def test_edit_that_is_over_is_said_to_whoever_asks_at_once(registry, watch):
    """An event that came after it may be at hand: a copy that is younger than the row."""
    edit(registry.path)
    assert watch.has_changed() and watch.next_look is None


def test_edit_within_the_same_tick_of_the_file_systems_clock_is_said_again(registry, watch, time):
    edit(registry.path)
    assert settle(watch, time)
    status = os.stat(registry.path)
    edit(registry.path)
    os.utime(registry.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert settle(watch, time)


def test_transaction_that_goes_on_is_waited_for(registry, watch, time):
    with other_program(registry.path) as other:
        other.execute('BEGIN IMMEDIATE')
        other.execute("UPDATE pools SET description = 'x'")
        assert not settle(watch, time)
        assert not settle(watch, time)
        other.execute('COMMIT')
    assert settle(watch, time)


def test_transaction_that_never_ends_is_not_waited_for_for_ever(registry, watch, time):
    began = time.now
    with open(registry.path + '-journal', 'wb') as stream:
        stream.write(b'x')
    os.utime(registry.path)
    looks = [settle(watch, time) for _ in range(12)]
    assert looks.count(True) == 1
    assert looks.index(True) > 3 and time.now - began < 2 * LONGEST_SETTLE_SECONDS


class Silent:
    """A file system that tells nothing."""

    is_armed, descriptor = True, 0

    def arm(self):
        """As the real one."""

    def take(self):
        return False


def test_where_nothing_is_told_the_status_tells(registry, watch, time):
    watch.listen(Silent())
    assert watch.is_told
    edit(registry.path)
    assert watch.has_changed() and not watch.is_told
    time.now += 1.0
    assert watch.has_changed() and not watch.has_changed()


def test_what_was_silent_and_tells_is_trusted_again(registry, watch, time):
    watch.listen(Silent())
    edit(registry.path)
    watch.has_changed()
    watch.listen(FileNotices(registry.path))
    watch._tells = False
    edit(registry.path)
    assert settle(watch, time) and watch.is_told


def test_being_told_keeps_the_locks_of_a_connection_in_this_process(registry, watch):
    with other_program(registry.path) as holder:
        holder.execute('BEGIN IMMEDIATE')
        os.utime(registry.path)
        watch.hear()
        status, output, errors = run_child(
            'import sqlite3, sys\n'
            'connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n'
            'try:\n'
            '    connection.execute("BEGIN IMMEDIATE")\n'
            'except sqlite3.OperationalError:\n'
            '    print("locked")\n'
            'connection.close()\n', registry.path)
        assert (status, output.strip()) == (0, 'locked'), errors
        with pytest.raises(sqlite3.OperationalError):
            with other_program(registry.path) as second:
                second.execute('BEGIN IMMEDIATE')


def test_descriptor_is_closed_with_the_watch(registry):
    before = os.listdir('/proc/self/fd')
    notices = FileNotices(registry.path)
    notices.arm()
    del notices
    assert os.listdir('/proc/self/fd') == before
