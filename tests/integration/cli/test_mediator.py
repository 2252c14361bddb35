"""The GPU mediator takes 64 rows: whoever registers more hears of it."""

import json
import os

import pytest

from tests.integration.cli.program import Place

SAID = '65 VMs are registered, and the GPU mediator takes 64 rows at most'


def _uuid(number: int) -> str:
    return '0a0b0c0d-1111-2222-3333-%012d' % number


@pytest.fixture
def full(place: Place) -> Place:
    """A registry with 64 VMs, and no XAPI."""
    place.registry.create('test')
    with place.registry.edit(who='test', command='test') as edit:
        for number in range(1, 65):
            edit.add_vm(_uuid(number))
    return place


def test_the_last_row_that_fits_is_no_reason_to_say_anything(full: Place) -> None:
    for words in (['check'], ['status'], ['set-priority', '--vm-uuid=' + _uuid(1),
                                          '--priority=high']):
        run = full.run(*words)
        assert 'mediator' not in run.out + run.err, run


def test_one_more_is_told_by_whoever_adds_and_whoever_looks(full: Place) -> None:
    run = full.run('register-vm', '--vm-uuid=' + _uuid(65))
    assert run.status == 0 and SAID in run.err, run
    for words, status in ((['check'], 0), (['status'], 5), (['doctor'], 1)):
        run = full.run(*words)
        assert 'the GPU mediator takes 64' in ' '.join((run.out + run.err).split()), run
        assert run.status == status, run
    run = full.run('set-priority', '--vm-uuid=' + _uuid(1), '--priority=high')
    assert 'mediator' not in run.err
    run = full.run('remove-vm', '--vm-uuid=' + _uuid(65))
    assert 'mediator' not in run.err


def test_many_at_once_are_told_too(full: Place) -> None:
    path = os.path.join(full.directory, 'vms')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('vm_uuid\n%s\n' % _uuid(65))
    notes = full.run('import', path, '--json').document['notes']
    assert any(SAID in note for note in notes), json.dumps(notes)
