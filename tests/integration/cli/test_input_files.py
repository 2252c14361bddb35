"""What import, restore and register-vm --from-file read: every encoding, or a word what to do."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.cli.program import Place

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
TABLE = 'vm_uuid;vm_name;vm_id\r\n%s;Gr\u00fcn;7\r\n' % UUID


@pytest.fixture
def filled(place: Place) -> Place:
    """A registry with one VM."""
    place.registry.create('test')
    with place.registry.edit(who='test', command='test') as edit:
        edit.add_vm(UUID.replace('0a', '0f'), vm_name='old')
    return place


def _write(place: Place, content: bytes) -> str:
    path = os.path.join(place.directory, 'vms')
    with open(path, 'wb') as stream:
        stream.write(content)
    return path


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_a_file_that_says_its_encoding_is_read(filled: Place, encoding: str) -> None:
    run = filled.run('import', _write(filled, TABLE.encode(encoding)))
    assert run.status == 0 and (7, UUID, 'Gr\u00fcn', 'A', 1) in filled.rows(), run


@pytest.mark.parametrize('content,said', [
    pytest.param(TABLE.encode('latin-1'), 'line 2 is not UTF-8', id='latin-1'),
    pytest.param(('vm_uuid\n%s\n' % UUID).encode('utf-16-le'), 'NUL characters',
                 id='utf-16-without-its-mark'),
    pytest.param(b'PK\x03\x04' + bytes(100), 'spreadsheet', id='xlsx'),
])
def test_a_file_that_cannot_be_read_is_to_be_saved_in_another_way(filled: Place, content: bytes,
                                                                  said: str) -> None:
    before = filled.rows()
    run = filled.run('import', _write(filled, content))
    assert run.status == 2 and said in run.err and 'UTF-8 with commas' in run.err, run
    assert filled.rows() == before


@pytest.mark.parametrize('words', [['import'], ['restore', '--yes'], ['register-vm']])
@pytest.mark.parametrize('content', [b'', b'\xef\xbb\xbf', b' \r\n\n', b'# nobody\n'])
def test_an_empty_file_is_a_mistake(filled: Place, words: Any, content: bytes) -> None:
    before = filled.rows()
    path = _write(filled, content)
    run = filled.run(*words, '--from-file=' + path if words == ['register-vm'] else path)
    assert run.status == 2 and filled.rows() == before, run


def test_the_registry_itself_is_no_backup(filled: Place) -> None:
    run = filled.run('restore', filled.db, '--yes')
    assert run.status == 2 and '--db=FILE' in run.err and len(filled.rows()) == 1


@pytest.mark.parametrize('words', [
    ['show-vm', '--vm-name=old', '--json'], ['list-vms', '--json'], ['list-pools', '--json'],
    ['list-vms', '--pool=B', '--json'],
    ['status', '--json'], ['show-vm', '--vm-name=none', '--json'], ['check', '--json']])
def test_what_another_command_printed_is_no_backup(filled: Place, words: Any) -> None:
    before = filled.rows()
    shown = filled.run(*words)
    path = _write(filled, (shown.out + shown.err).encode('utf-8'))
    for command in (['restore', '--yes'], ['import'], ['register-vm', '--from-file=' + path]):
        run = filled.run(*command + ([] if 'register-vm' in command else [path]))
        assert run.status == 2 and 'nothing was changed' in run.err, run
    assert filled.rows() == before


@pytest.mark.parametrize('words', [['restore', '-', '--yes'], ['import', '-'],
                                   ['register-vm', '--from-file=-']])
def test_a_closed_standard_input_is_told(filled: Place, words: Any) -> None:
    done = subprocess.run(['sh', '-c', 'exec "$@" <&-', 'sh'] + filled.command(*words),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          **filled.surroundings({}))
    assert done.returncode == 2 and b'standard input' in done.stderr, done
    assert b'Traceback' not in done.stderr and len(filled.rows()) == 1


# The configuration, from a directory beside it.
BESIDE = '--config=../watcher.conf'


def test_a_working_directory_that_is_gone_is_told(filled: Place) -> None:
    gone = os.path.join(filled.directory, 'gone')
    script = 'import os; os.chdir(%r); os.rmdir(%r); from cli.__main__ import main; ' \
        'raise SystemExit(main(%%r))' % (gone, gone)
    for words, status in ((['list-vms', '--db=other.db'], 2), (['backup', 'backup.json'], 1),
                          (['import', 'vms'], 2), (['list-vms'], 0),
                          (['list-vms', BESIDE], 0), (['backup', 'backup.json', BESIDE], 1),
                          (['consumer', 'pause', BESIDE], 0),
                          (['registry', 'rebuild', '--source=../watcher.conf', BESIDE], 3),
                          (['help'], 0), (['complete', '--db=other.db'], 0)):
        os.mkdir(gone)
        done = subprocess.run(
            [sys.executable, '-c', script % (
                words if BESIDE in words else ['--config', filled.config] + words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
            **filled.surroundings({'VGPU_ADMIN_LINE': 'vgpu-admin show-vm --vm-uuid='}))
        assert done.returncode == status and b'Traceback' not in done.stderr, done


@pytest.mark.parametrize('words', [['history', '--limit=\u00b2'], ['history', '--limit=\u0663'],
                                   ['apply-pending', '--timeout=\u00b9']])
def test_digits_that_are_none_of_ours_are_a_usage_error(filled: Place, words: Any) -> None:
    run = filled.run(*words)
    assert run.status == 2 and 'Traceback' not in run.err, run


def test_a_comment_behind_a_name_is_none_of_it(pool: Place) -> None:
    refs = [pool.create_vm(name) for name in ('web', 'db #1', 'mail#2', '#4')]
    uuid = pool.uuid(refs[3])
    path = _write(pool, b'web # the first\ndb #1\nmail#2  # odd\n%s\t# by its UUID\n'
                  % uuid.encode('ascii'))
    run = pool.run('register-vm', '--from-file=' + path)
    assert run.status == 0, run
    assert [row[1] for row in pool.rows()] == [pool.uuid(ref) for ref in refs]
