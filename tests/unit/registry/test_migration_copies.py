"""Whoever migrates a file keeps a copy of it first, or leaves the file as it is."""

import os
import sqlite3
import stat

import pytest

from registry import schema
from registry.errors import JournalUnavailable, RegistryUnavailable
from registry.journal.journal import Journal
from registry.store import Registry

NEXT = schema.JOURNAL_VERSION + 1


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A registry and a journal with history, and a program that knows one version more."""
    registry = Registry(str(tmp_path / 'vgpu_config.db'), timeout_seconds=1.0)
    registry.create('test')
    with registry.edit(who='test', command='test') as edit:
        edit.change_pool('A', pool_name='Fast')
    monkeypatch.setattr(schema, 'JOURNAL_VERSION', NEXT)
    monkeypatch.setattr(schema, 'JOURNAL_MIGRATIONS', schema.JOURNAL_MIGRATIONS + (
        (NEXT, ('CREATE TABLE something_new (id INTEGER)', 'PRAGMA main.user_version=%d' % NEXT)),))
    return registry


def read_version(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute('PRAGMA user_version').fetchone()[0]
    finally:
        connection.close()


def read_bytes(path):
    with open(path, 'rb') as stream:
        return stream.read()


def list_copies(registry):
    directory = os.path.dirname(registry.path)
    return sorted(name for name in os.listdir(directory) if '.before-' in name)


def open_journal(registry):
    with Journal(registry.journal_path, timeout_seconds=1.0) as journal:
        return journal.list_history()


def test_journal_is_copied_byte_for_byte_before_it_is_migrated(old):
    before, status = read_bytes(old.journal_path), os.stat(old.journal_path)
    assert open_journal(old)
    name = 'vgpu_journal.db.before-schema-%d' % NEXT
    copy = os.path.join(os.path.dirname(old.path), name)
    assert list_copies(old) == [name] and read_bytes(copy) == before
    found = os.stat(copy)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime_ns) == (
        0o600, status.st_uid, status.st_mtime_ns)
    assert read_version(old.journal_path) == NEXT
    open_journal(old)
    assert list_copies(old) == [name]


def test_copy_that_an_upgrade_has_made_of_this_state_is_enough(old):
    with open(old.journal_path + '.before-9.9', 'wb') as stream:
        stream.write(read_bytes(old.journal_path))
    status = os.stat(old.journal_path)
    os.utime(stream.name, ns=(status.st_atime_ns, status.st_mtime_ns))
    open_journal(old)
    assert list_copies(old) == ['vgpu_journal.db.before-9.9']
    assert read_version(old.journal_path) == NEXT


def test_copy_of_an_earlier_state_is_not(old):
    with open(old.journal_path + '.before-9.9', 'wb') as stream:
        stream.write(read_bytes(old.journal_path))
    open_journal(old)
    assert len(list_copies(old)) == 2


def test_without_a_copy_nothing_is_migrated(old):
    before = read_bytes(old.journal_path)
    os.makedirs('%s.before-schema-%d/in-the-way' % (old.journal_path, NEXT))
    with pytest.raises(JournalUnavailable, match='not migrated without a copy'):
        open_journal(old)
    assert read_bytes(old.journal_path) == before
    assert [name for name in os.listdir(os.path.dirname(old.path)) if '.part' in name] == []


def test_registry_is_copied_by_whoever_migrates_it(old, monkeypatch):
    # An edit opens the registry beside the journal: both are migrated in one transaction.
    from registry.sqlite.connection import Connection
    from registry.sqlite.lock_wait import Patience
    number = schema.CURRENT_VERSION + 1
    monkeypatch.setattr(schema, 'CURRENT_VERSION', number)
    monkeypatch.setattr(schema, 'MIGRATIONS', schema.MIGRATIONS + (
        (number, ('PRAGMA registry.user_version=%d' % number,)),))
    before = read_bytes(old.path)

    def migrate():
        with Connection(journal_path=None, registry_path=old.path,
                        patience=Patience(1.0)) as connection:
            with connection.writing():
                schema.migrate_registry(connection)
    copy = '%s.before-schema-%d' % (old.path, number)
    os.makedirs(copy + '/in-the-way')
    with pytest.raises(RegistryUnavailable, match='not migrated without a copy'):
        migrate()
    assert read_bytes(old.path) == before
    os.rename(copy, copy + '.moved')
    migrate()
    assert read_bytes(copy) == before and read_version(old.path) == number
