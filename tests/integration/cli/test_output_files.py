"""Where backup and export write: never over a file of ours, and nowhere that others point."""

import json
import os
import shutil
import stat
import subprocess
from typing import Any, Dict, List

import pytest

from tests.integration.cli.program import Place, Run

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a file away')


@pytest.fixture
def filled(place: Place) -> Place:
    """A registry with one VM, its journal and its lock, a kept copy, and no XAPI."""
    place.registry.create('test')
    with place.registry.edit(who='test', command='test') as edit:
        edit.add_vm(UUID)
    _write(place.db + '.lock', '')
    _write(place.db + '.replaced-20260101T000000Z', 'a damaged file that was set aside')
    return place


def _write(path: str, text: str) -> str:
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return path


def _contents(directory: str) -> Dict[str, bytes]:
    found = {}
    for name in os.listdir(directory):
        if stat.S_ISREG(os.lstat(os.path.join(directory, name)).st_mode):
            with open(os.path.join(directory, name), 'rb') as stream:
                found[name] = stream.read()
    return found


def _is_refused(place: Place, run: Run, what: str) -> bool:
    return (run.status == 2 and what in run.err and 'FILE is the file that' in run.err
            and run.out == '')


OURS = [('vgpu_config.db', 'the registry'), ('vgpu_journal.db', 'the journal'),
        ('vgpu_config.db.lock', 'the lock'), ('watcher.conf', 'the configuration'),
        ('vgpu_config.db.replaced-20260101T000000Z', 'a kept copy'),
        ('vgpu_config.db-journal', 'SQLite')]


@pytest.mark.parametrize('name,what', OURS)
@pytest.mark.parametrize('command', ['backup', 'export'])
def test_nothing_is_written_over_a_file_of_ours(filled: Place, command: str, name: str,
                                                what: str) -> None:
    before = _contents(filled.directory)
    run = filled.run(command, os.path.join(filled.directory, name))
    assert _is_refused(filled, run, what), run
    assert _contents(filled.directory) == before


def _hard_link(place: Place) -> str:
    path = os.path.join(place.directory, 'other')
    os.link(place.db, path)
    return path


def _link(place: Place) -> str:
    path = os.path.join(place.directory, 'other')
    os.symlink('vgpu_config.db', path)
    return path


def _link_to_directory(place: Place) -> str:
    path = os.path.join(place.directory, 'there')
    os.symlink(place.directory, path)
    return path + '/./vgpu_config.db'


@pytest.mark.parametrize('spell', [
    pytest.param(_link, id='link'), pytest.param(_hard_link, id='hard-link'),
    pytest.param(_link_to_directory, id='link-to-the-directory'),
    pytest.param(lambda place: place.directory + '//../%s/vgpu_config.db'
                 % os.path.basename(place.directory), id='detour'),
    pytest.param(lambda place: '/proc/self/root' + place.db, id='root-of-the-process'),
    pytest.param(lambda place: os.path.relpath(place.db), id='relative')])
def test_no_spelling_of_the_path_leads_over_the_registry(filled: Place, spell: Any) -> None:
    path = spell(filled)
    before = _contents(filled.directory)
    run = subprocess.run(filled.command('backup', path), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=60,
                         **dict(filled.surroundings({}), cwd=os.getcwd()))
    assert run.returncode == 2 and b'the registry' in run.stderr, run
    assert _contents(filled.directory) == before


def test_a_descriptor_that_is_the_registry_is_refused(filled: Place) -> None:
    before = _contents(filled.directory)
    for words in (['backup', '/dev/stdout'], ['export'], ['backup', '-'], ['list-vms']):
        with open(filled.db, 'r+b') as stream:
            run = subprocess.run(filled.command(*words), stdout=stream, stderr=subprocess.PIPE,
                                 timeout=60, **filled.surroundings({}))
        assert run.returncode == 2 and b'the registry' in run.stderr, run
    assert _contents(filled.directory) == before


def test_the_configured_registry_is_spared_whatever_db_says(filled: Place) -> None:
    other = os.path.join(filled.directory, 'other.db')
    assert filled.run('init', '--db', other).status == 0
    before = _contents(filled.directory)
    assert _is_refused(filled, filled.run('backup', filled.db, '--db', other), 'the registry')
    assert _is_refused(filled, filled.run('backup', other), 'a database of SQLite')
    assert _contents(filled.directory) == before


def test_files_that_the_configuration_names_are_spared(filled: Place) -> None:
    secret = _write(os.path.join(filled.directory, 'secret'), 'xyz')
    with open(filled.config, encoding='utf-8') as stream:
        text = stream.read()
    _write(filled.config, text.replace('[registry]', 'password_file = %s\n[registry]' % secret))
    run = filled.run('backup', secret)
    assert _is_refused(filled, run, '[xapi] password_file')


@needs_root
def test_mode_and_owner_of_a_target_are_kept(filled: Place) -> None:
    path = _write(os.path.join(filled.directory, 'backup.json'), 'old')
    os.chmod(path, 0o640)
    os.chown(path, STRANGER, STRANGER)
    run = filled.run('backup', path, '--json')
    assert run.status == 0 and run.document['replaced'] is True
    status = os.stat(path)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (
        0o640, STRANGER, STRANGER)


@pytest.fixture
def everyones(filled: Place) -> str:
    """A directory like /tmp."""
    path = os.path.join(filled.directory, 'tmp')
    os.mkdir(path)
    os.chmod(path, 0o1777)
    return path


@needs_root
def test_a_file_that_anybody_could_have_put_there_gets_none_of_it(filled: Place,
                                                                  everyones: str) -> None:
    path = _write(os.path.join(everyones, 'backup.json'), 'bait')
    os.chmod(path, 0o666)
    os.chown(path, STRANGER, STRANGER)
    assert filled.run('backup', path).status == 0
    status = os.stat(path)
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.geteuid())


def _make_fifo(directory: str) -> str:
    path = os.path.join(directory, 'pipe')
    os.mkfifo(path, 0o666)
    return path


@needs_root
def test_a_pipe_of_somebody_else_is_not_written_to(filled: Place, everyones: str) -> None:
    path = _make_fifo(everyones)
    os.chown(path, STRANGER, STRANGER)
    # With a reader, so that opening it would not wait.
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    run = filled.run('backup', path)
    assert run.status == 1 and 'belongs to user 65534' in run.err, run
    assert os.read(reader, 100) == b''
    os.close(reader)


@needs_root
@pytest.mark.parametrize('kind', ['pipe', 'file'])
def test_a_link_of_somebody_else_is_not_followed(filled: Place, everyones: str,
                                                 kind: str) -> None:
    victim = (_make_fifo(filled.directory) if kind == 'pipe'
              else _write(os.path.join(filled.directory, 'victim'), 'precious'))
    reader = os.open(victim, os.O_RDONLY | os.O_NONBLOCK)
    link = os.path.join(everyones, 'backup.json')
    os.symlink(victim, link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert filled.run('backup', link).status == 0
    assert not os.path.islink(link)
    assert os.read(reader, 100) == (b'' if kind == 'pipe' else b'precious')
    os.close(reader)


@needs_root
def test_a_directory_behind_a_link_of_somebody_else_is_not_entered(filled: Place,
                                                                   everyones: str) -> None:
    inner = os.path.join(filled.directory, 'inner')
    os.mkdir(inner)
    link = os.path.join(everyones, 'there')
    os.symlink(inner, link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    run = filled.run('backup', os.path.join(link, 'backup.json'))
    assert run.status == 1 and 'is a link of user 65534' in run.err, run
    assert os.listdir(inner) == []


@pytest.mark.parametrize('words', [['backup', '/dev/stdout'], ['export', '/dev/fd/1'],
                                   ['backup', '/proc/self/fd/1']])
def test_another_name_of_standard_output_gives_the_document_alone(filled: Place,
                                                                  words: List[str]) -> None:
    run = filled.run(*words)
    assert run.status == 0 and json.loads(run.out)['vms'][0]['vm_uuid'] == UUID


def test_a_descriptor_that_a_shell_has_opened_is_written_to(filled: Place) -> None:
    """`backup >(gzip >FILE)` names the pipe as /dev/fd/63."""
    ours, theirs = os.pipe()
    process = filled.start('backup', '/dev/fd/%d' % theirs, pass_fds=[theirs])
    os.close(theirs)
    with open(ours, encoding='utf-8') as stream:
        assert json.load(stream)['format'] == 1
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_devices_are_written_to_and_stay(filled: Place) -> None:
    assert filled.run('backup', '/dev/null').status == 0
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)


def test_a_disk_is_no_file(filled: Place) -> None:
    path = os.path.join(filled.directory, 'disk')
    if shutil.which('mknod') is None or subprocess.call(['mknod', path, 'b', '7', '200']):
        pytest.skip('no block device can be made here')
    run = filled.run('backup', path)
    assert run.status == 1 and 'it is a disk' in run.err


def test_nothing_is_left_behind_by_a_backup_that_fails(filled: Place) -> None:
    before = sorted(os.listdir(filled.directory))
    for name in ('', '.', 'nowhere/backup.json', 'vgpu_config.db/backup.json'):
        run = filled.run('backup', os.path.join(filled.directory, name))
        assert run.status == 1 and 'cannot be written' in run.err, run
    assert sorted(os.listdir(filled.directory)) == before


@pytest.mark.parametrize('command', ['backup', 'export'])
def test_what_was_written_is_told_to_programs_too(filled: Place, command: str) -> None:
    path = os.path.join(filled.directory, 'vms.json')
    said = filled.run(command, path, '--json').document
    assert [said[name] for name in ('result', 'path', 'vm_count', 'replaced')] == [
        'written', path, len(filled.rows()), False]
