"""P16 to P18: the registry file or its journal cannot be used, and comes back."""

import contextlib
import fcntl
import os
import resource
import shutil
import sqlite3
from typing import Callable, Iterator

import pytest

from registry.writer_lock import WriterLock
from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import scenes


def _write(path: str, content: bytes) -> None:
    with open(path, 'wb') as stream:
        stream.write(content)


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def _run_sql(path: str, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def _swap_for(content: Callable[[bytes], bytes]) -> Callable[[str], None]:
    """Replace the file by rename, as editors and copies do."""
    def spoil(path: str) -> None:
        _write(path + '.new', content(_read(path)))
        os.rename(path + '.new', path)
    return spoil


def _make_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def _break_pages(content: bytes) -> bytes:
    return content[:100] + b'\xa5' * (len(content) - 100)


SPOILT = {
    'truncated': _swap_for(lambda content: content[:len(content) // 2]),
    'one-byte': _swap_for(lambda content: content[:1]),
    'pages-overwritten': _swap_for(_break_pages),
    'renamed-away-for-text': _swap_for(lambda content: b'pool A, pool B\n' * 60),
    'newer': lambda path: _run_sql(path, 'PRAGMA user_version=9999'),
    'a-directory': _make_directory,
    'a-table-missing': lambda path: _run_sql(path, 'PRAGMA foreign_keys=OFF', 'DROP TABLE vms'),
    'a-column-missing': lambda path: _run_sql(
        path, 'PRAGMA foreign_keys=OFF', 'ALTER TABLE vms RENAME TO old',
        'CREATE TABLE vms (vm_id INTEGER, vm_uuid TEXT)'),
    'in-wal-mode': lambda path: _run_sql(path, 'PRAGMA journal_mode=WAL'),
    'a-dangling-link': lambda path: (os.unlink(path), os.symlink('/nowhere/at/all', path)),
}


def _remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _put_back(path: str, content: bytes) -> None:
    """In one step: a file that is away for an instant would be told as another trouble."""
    _remove(path + '-journal', path + '-wal', path + '-shm')
    _write(path + '.good', content)
    if os.path.isdir(path):
        os.rename(path, path + '.spoilt')
    os.rename(path + '.good', path)


@pytest.mark.parametrize('name', sorted(SPOILT))
def test_a_registry_that_cannot_be_used_is_said_once_and_vms_boot_as_they_are(
        pool: World, name: str) -> None:
    subject, = scenes.stage(pool, foreign='')
    good, told = _read(pool.registry_path), len(pool.daemon.events('registry.unavailable'))
    available = len(pool.daemon.events('registry.available'))
    SPOILT[name](pool.registry_path)
    wait_until(lambda: len(pool.daemon.events('registry.unavailable')) > told, 'the line')
    pool.xapi.clear_calls()
    assert scenes.start(pool, subject) == subject.value()
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    assert not pool.writes()
    _put_back(pool.registry_path, good)

    def is_back() -> bool:
        # Who looks at a file in WAL mode just when it is replaced leaves its companions there.
        _remove(pool.registry_path + '-wal', pool.registry_path + '-shm')
        return len(pool.daemon.events('registry.available')) > available
    wait_until(is_back, 'it is back')
    # What is replaced may be met half-way: that is another trouble, and said once as well.
    reasons = [line['reason'] for line in pool.daemon.events('registry.unavailable')[told:]]
    assert len(reasons) == len(set(reasons))
    scenes.stage(pool, foreign='')


def test_a_registry_replaced_by_rename_is_noticed(pool: World) -> None:
    subject, = scenes.stage(pool)
    copy = pool.registry_path + '.copy'
    shutil.copy(pool.registry_path, copy)
    _run_sql(copy, 'UPDATE vms SET priority = 2 WHERE vm_id = %d' % subject.number)
    os.rename(copy, pool.registry_path)
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_a_registry_that_is_locked_holds_up_no_start(pool: World) -> None:
    known, = scenes.stage(pool)
    scenes.run(pool, [known])
    scenes.make_pending(pool, [known])
    pool.xapi.call('VM.hard_shutdown', known.ref)
    lock = sqlite3.connect(pool.registry_path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    os.utime(pool.registry_path)
    assert scenes.start(pool, known) in (known.value(), known.value('high'))
    lock.execute('ROLLBACK')
    lock.close()
    pool.xapi.call('VM.hard_shutdown', known.ref)
    pool.wait_settled(known.ref, known.value('high'))


def test_a_lock_is_told_though_no_status_shows_it_and_vms_stay_as_they_are(pool: World) -> None:
    subject, = scenes.stage(pool, foreign='')
    # What the daemon has staged, it has read: a lock that comes before that hides the row from it.
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    told = len(pool.daemon.events('registry.unavailable'))
    lock = sqlite3.connect(pool.registry_path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    wait_until(lambda: pool.daemon.events('registry.unavailable')[told:], 'the line')
    assert pool.daemon.events('registry.unavailable')[-1]['reason'] == 'locked'
    pool.xapi.clear_calls()
    pool.xapi.call('VM.remove_from_platform', subject.ref, KEY)
    boot = pool.start_vm(subject.ref)
    # What came before the boot has been seen by then.
    assert pool.booted(subject.ref, domid=boot.domid)['verdict'] == 'missing'
    assert not pool.writes()
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    available = len(pool.daemon.events('registry.available'))
    lock.execute('ROLLBACK')
    lock.close()
    wait_until(lambda: len(pool.daemon.events('registry.available')) > available, 'it is back')
    pool.wait_settled(subject.ref, subject.value('high'))
    assert [method for method, _ in pool.writes()] == ['VM.add_to_platform']


def test_a_lock_file_that_was_replaced_lets_one_program_write_and_not_two(pool: World) -> None:
    subject, = scenes.stage(pool, foreign='')
    path, changes = pool.registry_path + '.lock', len(pool.daemon.events('registry.changed'))
    with open(path + '.new', 'w', encoding='ascii') as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        os.rename(path + '.new', path)
        pool.daemon.wait_for('lock.unavailable')
        pool.xapi.clear_calls()
        scenes.prioritise(pool, [subject])
        wait_until(lambda: pool.daemon.events('registry.changed')[changes:], 'the edit is seen')
        assert scenes.start(pool, subject) == subject.value()
        assert not pool.writes()
    pool.daemon.wait_for('lock.available')
    assert not WriterLock(pool.registry_path).acquire()
    pool.xapi.call('VM.hard_shutdown', subject.ref)
    pool.wait_settled(subject.ref, subject.value('high'))


@pytest.fixture
def limited(pool: World) -> Iterator[Callable[[], None]]:
    """A disk that is full from the call on: no file grows, and none is written."""
    process = pool.daemon.process
    assert process is not None
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    yield lambda: resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


def _unlimit(world: World) -> None:
    assert world.daemon.process is not None
    pid = world.daemon.process.pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_on_a_full_disk_vms_are_staged_and_the_journal_is_told_of_once(
        pool: World, limited: Callable[[], None]) -> None:
    changed, = scenes.stage(pool)
    fresh = pool.create_vm('fresh')
    told = len(pool.daemon.events('journal.unwritable'))
    limited()
    scenes.prioritise(pool, [changed])
    number = pool.register(fresh)
    pool.wait_args(fresh, span(number))
    pool.wait_settled(changed.ref, changed.value('high'))
    assert pool.start_vm(fresh).args == span(number)
    # Twice a second it is tried, and once it is said.
    pool.daemon.wait_for('journal.unwritable')
    tries = pool.daemon.events('journal.unwritable')[told:]
    assert len(tries) <= 2, tries
    _unlimit(pool)
    assert scenes.start(pool, changed) == changed.value('high')


JOURNALS = {
    'corrupt': lambda path: _swap_for(lambda _content: b'not a journal ' * 100)(path),
    'newer': lambda path: _run_sql(path, 'PRAGMA user_version=9999'),
    'a-directory': _make_directory,
}


@pytest.mark.parametrize('name', sorted(JOURNALS))
def test_without_a_journal_vms_are_staged(
        build_world: Callable[..., World], name: str) -> None:
    world = build_world().start()
    changed, = scenes.stage(world)
    fresh = world.create_vm('fresh')
    world.daemon.kill()
    journal = world.registry.journal_path
    scenes.prioritise(world, [changed])
    number = world.register(fresh)
    good = _read(journal)
    JOURNALS[name](journal)
    world.start_daemon()
    world.wait_args(fresh, span(number))
    assert world.start_vm(fresh).args == span(number)
    world.wait_settled(changed.ref, changed.value('high'))
    _put_back(journal, good)
    world.daemon.wait_for('journal.available')
    assert scenes.start(world, changed) == changed.value('high')


def test_a_journal_that_is_locked_costs_patience_only(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    changed, = scenes.stage(world)
    world.daemon.kill()
    scenes.prioritise(world, [changed])
    lock = sqlite3.connect(world.registry.journal_path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    world.start_daemon()
    world.daemon.wait_for('journal.unavailable')
    world.wait_settled(changed.ref, changed.value('high'))
    assert scenes.start(world, changed) == changed.value('high')
    assert not world.daemon.events('registry.unavailable')
    lock.close()
    world.daemon.wait_for('journal.available')
