"""Files that commands read and write: devices, links, streams, locales; what an import takes."""

import json
import os
import stat
import subprocess
import sys

import pytest

from tests.integration.cli.program import Place, span

NOWHERE = '0a0b0c0d-1111-2222-3333-444455556666'
C_LOCALE = {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0', 'PYTHONIOENCODING': ''}
HEBREW = '\u05e9\u05e8\u05ea'


def _write(place: Place, text: str) -> str:
    path = os.path.join(place.directory, 'vms')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return path


def test_a_pipe_is_written_to_and_not_replaced(pool: Place) -> None:
    """A backup to /dev/null once left a file in the place of the device."""
    path = os.path.join(pool.directory, 'pipe')
    os.mkfifo(path)
    with subprocess.Popen(['cat', path], stdout=subprocess.PIPE) as reader:
        run = pool.run('backup', path)
        out, _err = reader.communicate(timeout=60)
    assert run.status == 0 and json.loads(out.decode('utf-8'))['format'] == 1
    assert stat.S_ISFIFO(os.stat(path).st_mode)


@pytest.mark.parametrize('command', ['backup', 'export'])
def test_a_full_device_is_a_failure_and_stays_a_device(pool: Place, command: str) -> None:
    run = pool.run(command, '/dev/full')
    assert run.status == 1 and 'No space left on device' in run.err and run.out == ''
    assert stat.S_ISCHR(os.stat('/dev/full').st_mode)


def test_a_link_goes_on_pointing_to_the_file(pool: Place) -> None:
    path, link = (os.path.join(pool.directory, name) for name in ('newest', 'link'))
    os.symlink(path, link)
    for _time in range(2):
        assert pool.run('backup', link).status == 0
        assert os.path.islink(link) and os.path.isfile(path)


def test_what_cannot_be_put_in_its_place_leaves_nothing_behind(pool: Place) -> None:
    target = os.path.join(pool.directory, 'taken')
    os.mkdir(target)
    before = sorted(os.listdir(pool.directory))
    assert pool.run('backup', target).status == 1
    assert sorted(os.listdir(pool.directory)) == before


@pytest.mark.parametrize('command', ['export', 'backup'])
def test_a_dash_is_standard_output_and_input(pool: Place, command: str) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    saved = pool.run(command, '-')
    assert saved.status == 0 and len(saved.document['vms']) == 1
    path = _write(pool, saved.out)
    with open(path, 'rb') as stream:
        run = pool.run('import', '-', '--dry-run', stdin=stream)
    assert (run.status, run.out) == (0, '1 unchanged.\nNothing was changed (dry run).\n')


@pytest.mark.parametrize('form', ['csv', 'json'])
def test_an_export_has_the_names_as_they_are_in_every_locale(pool: Place, form: str) -> None:
    pool.registry_row(pool.create_vm('old'), 1)
    with pool.registry.edit(who='test', command='test') as edit:
        edit.change_vm(pool.rows()[0][1], vm_name=HEBREW)
    done = subprocess.run(pool.command('export', '--format=' + form), stdout=subprocess.PIPE,
                          timeout=60, **pool.surroundings(C_LOCALE))
    assert done.returncode == 0
    text = done.stdout.decode('utf-8')
    assert HEBREW in (text if form == 'csv' else json.loads(text)['vms'][0]['vm_name'])
    if sys.version_info >= (3, 7):  # an older Python cannot be told its locale from outside
        shown = subprocess.run(pool.command('list-vms'), stdout=subprocess.PIPE, timeout=60,
                               **pool.surroundings(C_LOCALE))
        assert b'\\u05e9' in shown.stdout


@pytest.mark.parametrize('text', ['vm_uuid\n{0}\n', '{{"format":1,"vms":[{{"vm_uuid":"{0}"}}]}}',
                                  'vm_uuid,vm_name\n{0},old name\n'], ids=['csv', 'json', 'stale'])
def test_an_import_takes_the_names_from_xapi(pool: Place, text: str) -> None:
    ref = pool.create_vm('\u6570\u636e')
    path = _write(pool, text.format(pool.uuid(ref)))
    run = pool.run('import', path)
    assert run.status == 0 and '\u6570\u636e' in run.out and ': staged: its next start takes it' in run.out
    assert pool.rows() == [(1, pool.uuid(ref), '\u6570\u636e', 'A', 1)]
    assert pool.args(ref) == span(1)
    assert pool.run('import', path).out == '1 unchanged.\n'


def test_an_import_without_xapi_takes_the_names_of_the_file(place: Place) -> None:
    place.registry.create('test')
    run = place.run('import', _write(place, 'vm_uuid,vm_name\n%s,web\n' % NOWHERE))
    assert run.status == 0 and place.rows() == [(1, NOWHERE, 'web', 'A', 1)]


def test_an_import_says_which_vms_are_unknown_and_refuses_templates(pool: Place) -> None:
    template = pool.uuid(pool.create_vm('templ', is_a_template=True))
    run = pool.run('import', _write(pool, 'vm_uuid\n%s\n%s\n' % (NOWHERE, template)))
    assert run.status == 1 and pool.rows() == []
    assert 'line 3: VM %s is a template' % template in run.err and 'nothing was' in run.err
    run = pool.run('import', _write(pool, 'vm_uuid\n%s\n' % NOWHERE))
    assert run.status == 0 and 'XAPI has no VM ' + NOWHERE in run.err and len(pool.rows()) == 1


def test_a_conflict_in_a_json_file_names_the_vm(pool: Place) -> None:
    pool.registry_row(pool.create_vm('web'), 1)
    text = '{"format":1,"vms":[{"vm_uuid":"%s","vm_id":1}]}' % NOWHERE
    run = pool.run('import', _write(pool, text))
    assert run.status == 4 and 'vgpu-admin: entry 1: vm_id 1 is taken by' in run.err
    assert 'which is registered; choose another' in run.err


def test_entries_that_want_one_number_are_not_called_registered(pool: Place) -> None:
    other = NOWHERE[:-1] + 'f'
    text = '{"format":1,"vms":[{"vm_uuid":"%s","vm_id":7},{"vm_uuid":"%s","vm_id":7}]}' % (
        NOWHERE, other)
    run = pool.run('import', _write(pool, text))
    assert run.status == 4 and 'is registered' not in run.err and 'no name' not in run.err
    assert 'entry 1: vm_id 7 is taken by VM %s, which is to have it as well' % other in run.err


def test_a_json_list_is_met_with_what_is_wanted(pool: Place) -> None:
    run = pool.run('import', _write(pool, '[{"vm_uuid": "%s"}]' % NOWHERE))
    assert run.status == 2 and 'an object with the fields format and vms' in run.err


def test_a_restore_that_was_asked_about_does_not_say_everything_twice(pool: Place) -> None:
    pool.registry_row(pool.create_vm('web'), 1)
    path = os.path.join(pool.directory, 'backup')
    assert pool.run('backup', path).status == 0
    uuid = pool.rows()[0][1]
    assert pool.run('remove-vm', '--vm-uuid=' + uuid).status == 0
    run = pool.answer('yes\n', 'restore', path)
    assert run.status == 0 and f'added    web ({uuid}): ' in run.err and uuid not in run.out
    assert run.out.splitlines()[0] == '1 added.'
