"""One path for every spelling: lock, journal and copies stand beside the real file."""

import os

import pytest

from registry.paths import find_own, list_own_files, locate, resolve_path
from registry.sqlite.uri import render_uri
from registry.store import Registry
from registry.writer_lock import WriterLock
from watcher.config import settings


@pytest.fixture
def real(tmp_path):
    """A registry at its real path."""
    directory = tmp_path / 'data'
    directory.mkdir()
    path = str(directory / 'vgpu_config.db')
    Registry(path, timeout_seconds=1.0).create('test')
    return path


@pytest.fixture(params=['link', 'link-to-directory', 'detour', 'relative', 'chain'])
def spelling(request, real, tmp_path, monkeypatch):
    """Another spelling of the same path."""
    link = tmp_path / 'link'
    if request.param == 'link-to-directory':
        link.symlink_to(os.path.dirname(real))
        return str(link / 'vgpu_config.db')
    if request.param == 'detour':
        return os.path.join(os.path.dirname(real), '..', 'data', '.', 'vgpu_config.db')
    if request.param == 'relative':
        monkeypatch.chdir(os.path.dirname(real))
        return 'vgpu_config.db'
    link.symlink_to(real)
    if request.param == 'chain':
        (tmp_path / 'other').symlink_to('link')
        return str(tmp_path / 'other')
    return str(link)


def test_every_spelling_means_the_same_lock(real, spelling):
    with WriterLock(spelling) as first, WriterLock(real) as second:
        assert first.acquire() and not second.acquire()
        assert first.path == second.path == real + '.lock'


def test_every_spelling_means_the_same_journal(real, spelling):
    registry = Registry(spelling, timeout_seconds=1.0)
    assert (registry.path, registry.journal_path) == (
        real, os.path.join(os.path.dirname(real), 'vgpu_journal.db'))
    with registry.edit(who='test', command='test') as edit:
        edit.change_pool('A', pool_name='Fast')
    with registry.edit(who='test', command='test') as edit:
        assert not edit.changed
    others = [name for name in os.listdir(os.path.dirname(os.path.dirname(real)))
              if name.startswith('vgpu_')]
    assert others == []


def test_the_configuration_gives_the_real_path(real, spelling, tmp_path):
    path = tmp_path / 'vgpu-watcher.conf'
    path.write_text('[registry]\npath = %s\n' % os.path.abspath(spelling), encoding='utf-8')
    assert settings.load(str(path)).registry.path == real


def test_a_link_to_nothing_leads_to_the_file_that_will_be_made(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'there.db')
    assert Registry(str(tmp_path / 'link'), timeout_seconds=1.0).create('test')
    assert sorted(os.listdir(str(tmp_path)))[:2] == ['link', 'there.db']


def test_a_file_of_ours_is_known_by_path_and_by_inode(real, spelling, tmp_path):
    own = list_own_files(real)
    os.link(real, str(tmp_path / 'hard'))
    for path in (spelling, str(tmp_path / 'hard')):
        assert find_own(locate(path), own).what == 'the registry'
    assert find_own(locate(str(tmp_path / 'backup.json')), own) is None
    assert resolve_path(spelling) == real


def test_sqlite_is_given_the_real_path(real, spelling):
    assert render_uri(spelling) == render_uri(real) == 'file:%s?mode=rw' % real
