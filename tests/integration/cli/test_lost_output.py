"""A result that cannot be written: the message says whether the edit was made."""

import os
import subprocess
from typing import Any, List

import pytest

from tests.integration.cli.program import Place, Run

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
OTHER = UUID.replace('0a', '0f')


@pytest.fixture
def filled(place: Place) -> Place:
    """A registry with one VM, and no XAPI."""
    place.registry.create('test')
    with place.registry.edit(who='test', command='test') as edit:
        edit.add_vm(UUID)
    return place


def _run_full(place: Place, *words: str) -> Run:
    """Run with a standard output on which there is no room."""
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(place.command(*words), stdin=subprocess.DEVNULL, stdout=full,
                              stderr=subprocess.PIPE, timeout=60, **place.surroundings({}))
    return Run(done.returncode, '', done.stderr.decode('utf-8'))


def _import_words(place: Place) -> List[str]:
    path = os.path.join(place.directory, 'vms')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid\n%s\n' % OTHER)
    return ['import', path]


@pytest.mark.parametrize('words', [
    pytest.param(['register-vm', '--vm-uuid=' + OTHER], id='register-vm'),
    pytest.param(['set-priority', '--vm-uuid=' + UUID, '--priority=high'], id='set-priority'),
    pytest.param(['set-priority', '--vm-uuid=' + UUID, '--priority=low', '--json'], id='json'),
    pytest.param(['remove-vm', '--vm-uuid=' + UUID], id='remove-vm'),
    pytest.param(['set-pool-name', '--pool-id=B', '--name=Slow'], id='set-pool-name'),
    pytest.param(['disable-pool', '--pool-id=B', '--yes'], id='disable-pool'),
    pytest.param(_import_words, id='import')])
def test_an_edit_that_was_made_is_told(filled: Place, words: Any) -> None:
    words = words(filled) if callable(words) else words
    before = filled.run('export').out
    run = _run_full(filled, *words)
    assert run.status == 1 and 'could not be written: No space left' in run.err, run
    assert 'done all the same: ' in run.err and filled.run('export').out != before, run


def test_a_registry_that_was_created_is_told(place: Place) -> None:
    run = _run_full(place, 'init')
    assert run.status == 1 and 'done all the same: the registry' in run.err, run
    assert os.path.exists(place.db)


def test_an_edit_that_was_not_needed_or_only_tried_is_told_too(filled: Place) -> None:
    for words in (['register-vm', '--vm-uuid=' + UUID],
                  ['register-vm', '--vm-uuid=' + OTHER, '--dry-run']):
        run = _run_full(filled, *words)
        assert run.status == 1 and 'nothing was changed' in run.err, run
    run = _run_full(filled, 'list-vms')
    assert run.status == 1 and run.err.endswith('No space left on device\n'), run


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may make a small disk')
def test_a_full_disk_says_that_nothing_was_changed(place: Place) -> None:
    disk = os.path.join(place.directory, 'disk')
    os.mkdir(disk)
    if subprocess.call(['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', disk]):
        pytest.skip('no disk can be made here')
    try:
        db = os.path.join(disk, 'vgpu_config.db')
        assert place.run('register-vm', '--vm-uuid=' + UUID, '--db', db).status == 0
        with open(os.path.join(disk, 'fill'), 'wb', buffering=0) as fill:
            with pytest.raises(OSError):
                while fill.write(bytes(4096)):
                    pass
        before = place.run('export', '--db', db).out
        for words in (['register-vm', '--vm-uuid=' + OTHER],
                      ['set-priority', '--vm-uuid=' + UUID, '--priority=high']):
            run = place.run(*words, '--db', db)
            assert run.status == 5 and run.err.endswith('nothing was changed\n'), run
        assert place.run('export', '--db', db).out == before
        run = place.run('backup', os.path.join(disk, 'backup.json'), '--db', db)
        assert run.status == 1 and 'No space left on device' in run.err
        assert 'backup.json' not in ' '.join(os.listdir(disk))
    finally:
        subprocess.check_call(['umount', disk])
