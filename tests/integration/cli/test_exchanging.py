"""export, import, backup, restore, adopt and completion, as programs."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.cli.program import Place, span
from tests.support.documents import ROOT

FIRST = '0a0b0c0d-1111-2222-3333-444455556661'
SECOND = '0a0b0c0d-1111-2222-3333-444455556662'


@pytest.fixture
def filled(place: Place) -> Place:
    """A registry of the earlier tool with rows in both pools, accepted."""
    shutil.copy(os.path.join(ROOT, 'tests', 'fixtures', 'registry-later-form.db'), place.db)
    os.chmod(place.db, 0o644)
    assert place.run('accept', '--yes').status == 0
    return place


def _write(place: Place, text: str) -> str:
    path = os.path.join(place.directory, 'vms')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return path


@pytest.mark.parametrize('kind', ['json', 'csv'])
def test_what_is_exported_can_be_imported_elsewhere(filled: Place, tmp_path: Any,
                                                    kind: str) -> None:
    path = str(tmp_path / 'vms')
    assert filled.run('export', '--format=' + kind, path).status == 0
    other = str(tmp_path / 'other.db')
    assert filled.run('init', '--db', other).status == 0
    run = filled.run('import', path, '--db', other, '--json')
    assert run.status == 0 and run.document['counts'] == {'added': len(filled.rows())}
    lists = [filled.run('list-vms', '--db', db).out for db in (filled.db, other)]
    assert lists[0] == lists[1]


def test_an_import_of_what_is_there_changes_nothing(filled: Place) -> None:
    path = os.path.join(filled.directory, 'vms')
    filled.run('export', path)
    before = filled.history()
    assert filled.run('import', path, '--json').document['result'] == 'unchanged'
    assert filled.history() == before


def test_a_dry_run_shows_the_difference_and_changes_nothing(filled: Place) -> None:
    before = filled.rows()
    path = _write(filled, 'vm_uuid,pool_id,priority\n%s,B,high\n' % FIRST)
    run = filled.run('import', path, '--dry-run')
    assert run.status == 0 and 'added    VM ' + FIRST in run.out and 'dry run' in run.out
    assert filled.rows() == before
    assert filled.run('import', path).status == 0
    assert len(filled.rows()) == len(before) + 1


@pytest.mark.parametrize('text,said', [
    pytest.param('vm_uuid,pool_id\n%s,C\nx,A\n%s,A\n' % (FIRST, SECOND),
                 ['line 2', 'line 3'], id='every-bad-line'),
    pytest.param('vm_uuid,colour\n%s,red\n' % FIRST, ['heading'], id='unknown-column'),
    pytest.param('vm_uuid,pool_id\n%s\n' % FIRST, ['line 2'], id='short-line'),
    pytest.param('vm_uuid\n%s\n%s\n' % (FIRST, FIRST), ['line 3', 'already'], id='twice'),
    pytest.param('{"format": 2, "vms": []}', ['format'], id='newer-format'),
    pytest.param('{"format": 1, "vms": [{"vm_uuid": "%s", "vm_id": true}]}' % FIRST,
                 ['entry 1'], id='json-with-odd-number'),
    pytest.param('{', ['not JSON'], id='no-json'), pytest.param('', ['empty'], id='empty'),
])
def test_a_file_with_bad_lines_is_refused_as_a_whole(filled: Place, text: str,
                                                     said: list) -> None:
    before = filled.rows()
    run = filled.run('import', _write(filled, text))
    assert run.status == 2 and all(word in run.err for word in said), run.err
    assert filled.rows() == before


def test_a_conflict_in_one_line_undoes_the_others(filled: Place) -> None:
    before = filled.rows()
    path = _write(filled, 'vm_uuid,vm_id\n%s,500\n%s,%d\n' % (FIRST, SECOND, before[0][0]))
    run = filled.run('import', path)
    assert run.status == 4 and before[0][1] in run.err
    assert filled.rows() == before


def test_a_backup_brings_a_lost_registry_back(filled: Place) -> None:
    path = os.path.join(filled.directory, 'backup.json')
    filled.run('set-pool-name', '--pool-id=B', '--name=Slow')
    assert filled.run('backup', path).status == 0
    assert os.stat(path).st_mode & 0o777 == 0o600
    before = filled.rows()
    os.unlink(filled.db)
    assert filled.run('restore', path, '--yes').status == 0
    assert filled.rows() == before
    assert filled.run('show-pool', '--pool-id=B', '--json').document['pool']['pool_name'] == \
        'Slow'


def test_a_restore_shows_the_difference_and_asks(filled: Place) -> None:
    path = os.path.join(filled.directory, 'backup.json')
    filled.run('backup', path)
    before = filled.rows()
    filled.run('register-vm', '--vm-uuid=' + FIRST)
    filled.run('remove-vm', '--vm-uuid=' + before[0][1])
    changed = filled.rows()
    assert filled.run('restore', path).status == 2
    assert filled.answer('no\n', 'restore', path).status == 1
    assert filled.rows() == changed
    run = filled.answer('yes\n', 'restore', path)
    assert run.status == 0 and 'removed  VM ' + FIRST in run.err
    assert filled.rows() == before


def test_hand_made_args_are_adopted_as_they_say(pool: Place) -> None:
    ref = pool.create_vm('manual', args='-device vgpu-cuda,addr=5,pool_id=B,priority=2,vm_id=10')
    pool.create_vm('twin', args=span(11))
    pool.create_vm('other', args=span(11))
    run = pool.run('adopt', '--dry-run', '--json')
    assert [vm['vm_id'] for vm in run.document['adopted']] == [10]
    assert len(run.document['left_alone']) == 2 and pool.rows() == []
    assert pool.run('adopt').status == 2
    assert pool.run('adopt', '--yes').status == 0
    assert pool.rows() == [(10, pool.uuid(ref), 'manual', 'B', 2)]
    assert pool.args(ref) == span(10, 'B', 'high') + ',addr=5'


@pytest.mark.parametrize('line,expected,unexpected', [
    pytest.param('vgpu-admin set-', 'set-pool', None, id='commands'),
    pytest.param('vgpu-admin set-pool --', '--vm-uuid=', '--limit=', id='options'),
    pytest.param('vgpu-admin set-pool --pool=', 'A', 'high', id='values'),
    pytest.param('vgpu-admin show-vm --vm-name=', 'Test-1', 'A,vm_id=1 Pool: B', id='names'),
    pytest.param('vgpu-admin help ', 'show-vm', None, id='topics'),
])
def test_words_are_completed_from_commands_and_registry(filled: Place, line: str, expected: str,
                                                        unexpected: str) -> None:
    words = filled.run('complete', environment={'VGPU_ADMIN_LINE': line}).out.splitlines()
    assert expected in words and unexpected not in words


@pytest.mark.parametrize('words', [
    'show-vm uuid=', 'show-vm --vm-uuid ', '--json show-vm --vm-uuid=0', 'remove-vm vm-uuid='])
def test_vms_are_completed_from_the_registry_of_the_line(filled: Place, words: str) -> None:
    line = 'vgpu-admin --db=%s %s' % (filled.db, words)
    found = subprocess.run([sys.executable, '-m', 'cli', 'complete'], stdout=subprocess.PIPE,
                           timeout=30, **filled.surroundings({'VGPU_ADMIN_LINE': line}))
    assert found.stdout.decode('utf-8').split() == [row[1] for row in filled.rows()]


def test_bash_completes_a_name_as_xe_people_spell_it(filled: Place) -> None:
    script = filled.run('completion').out + r'''
vgpu-admin() { "${PROGRAM[@]}" "$@"; }
COMP_LINE="vgpu-admin --config $CONFIG show-vm name-label=Test-1"; COMP_POINT=${#COMP_LINE}
COMP_WORDS=(vgpu-admin --config "$CONFIG" show-vm name-label = Test-1); COMP_CWORD=6
compopt() { :; }
_vgpu_admin; echo "${COMPREPLY[*]}"
'''
    script = 'CONFIG=%s; PROGRAM=(%s -m cli)\n%s' % (filled.config, sys.executable, script)
    done = subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE, timeout=30,
                          **filled.surroundings({}))
    assert done.stdout == b'Test-1\n'


def test_the_completion_script_is_one_that_bash_takes(place: Place) -> None:
    script = place.run('completion').out
    assert subprocess.call(['bash', '-n', '-c', script]) == 0


def test_json_under_the_name_of_a_csv_file_is_told(filled: Place, tmp_path: Any) -> None:
    path = str(tmp_path / 'vms.CSV')
    assert filled.run('export', path).err == (
        f'vgpu-admin: {path} holds JSON: --format=csv writes CSV\n')
    for words in (['--format=csv', path], ['--format=json', path], [str(tmp_path / 'vms.json')]):
        assert filled.run('export', *words).err == ''


def test_exports_name_their_format(filled: Place) -> None:
    assert json.loads(filled.run('export').out)['format'] == 1
    assert filled.run('export', '--format=csv').out.startswith('vm_uuid,vm_name,vm_id')
