"""register-vm --from-file as a program: all VMs of a file, or none."""

import os
import time
from typing import Any

import pytest

from tests.integration.cli.program import Place, span
from tests.support.waiting import LOADED

UUID = '0a0b0c0d-1111-2222-3333-444455556666'


def _write(place: Place, text: str) -> str:
    path = os.path.join(place.directory, 'vms')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return '--from-file=' + path


def test_a_plain_list_registers_by_name_and_by_uuid(pool: Place) -> None:
    web, data = pool.create_vm('web'), pool.create_vm('\u6570\u636e')
    text = '# the first two\n\nweb\n  %s  \n' % pool.uuid(data).upper()
    run = pool.run('register-vm', _write(pool, text), '--pool=B', '--priority=low', '--json')
    assert (run.status, run.err) == (0, '')
    assert run.document['counts'] == {'registered': 2, 'already_registered': 0}
    assert pool.rows() == [(1, pool.uuid(web), 'web', 'B', 0),
                           (2, pool.uuid(data), '\u6570\u636e', 'B', 0)]
    assert [pool.args(ref) for ref in (web, data)] == [span(1, 'B', 'low'), span(2, 'B', 'low')]
    assert set(run.document['staging'].values()) == {'staged'}


def test_what_a_line_of_a_table_says_goes_before_the_command_line(pool: Place) -> None:
    web, data = pool.create_vm('web'), pool.create_vm('db')
    text = 'vm_uuid,pool_id,vm_id\n%s,A,9\n%s,,\n' % (pool.uuid(web), pool.uuid(data))
    assert pool.run('register-vm', _write(pool, text), '--pool=B').status == 0
    assert pool.rows() == [(9, pool.uuid(web), 'web', 'A', 1), (10, pool.uuid(data), 'db', 'B', 1)]


def test_the_same_file_again_changes_nothing(pool: Place) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', _write(pool, 'web\n')).status == 0
    before = pool.history()
    run = pool.run('register-vm', _write(pool, 'web\n'))
    assert run.status == 0 and '0 VMs registered, 1 already registered' in run.out
    assert pool.history() == before


@pytest.mark.parametrize('text,status,said', [
    pytest.param('web\nnone\ntwin\n', 3, ["line 2: no VM has the name 'none'", 'line 3: the name'],
                 id='every-bad-name'),
    pytest.param('web\n%s\n' % UUID, 3, ['line 2: XAPI has no VM'], id='unknown-uuid'),
    pytest.param('web\nweb\n', 2, ['line 2', 'in line 1 already'], id='twice'),
    pytest.param('vm_uuid,colour\n', 2, ['heading'], id='unknown-column'),
    pytest.param('old\n', 4, ['line 1', 'update-vm'], id='registered-otherwise'),
    pytest.param('{"format": 1, "vms": [{"vm_uuid": "%s"}]}' % UUID, 3, ['entry 1: XAPI'],
                 id='json'),
])
def test_one_bad_line_undoes_all(pool: Place, text: str, status: int, said: list) -> None:
    for name in ('web', 'twin', 'twin', 'old'):
        ref = pool.create_vm(name)
    with pool.registry.edit(who='test', command='test') as edit:
        edit.add_vm(pool.uuid(ref), vm_name='old', pool_id='B')
    before = pool.rows()
    run = pool.run('register-vm', _write(pool, text))
    assert run.status == status and all(word in run.err for word in said), run.err
    assert 'nothing was changed' in run.err and pool.rows() == before


def test_a_dry_run_registers_nobody(pool: Place) -> None:
    ref = pool.create_vm('web')
    run = pool.run('register-vm', _write(pool, 'web\n'), '--dry-run')
    assert run.status == 0 and 'would be registered' in run.out
    assert pool.rows() == [] and pool.args(ref) is None


@pytest.mark.parametrize('words', [
    ('--vm-uuid=' + UUID,), ('--vm-name=web',), ('--vm-id=3',), ('--restart',)])
def test_what_is_for_one_vm_does_not_go_with_a_file(place: Place, words: Any) -> None:
    run = place.run('register-vm', '--from-file=/nowhere', *words)
    assert run.status == 2 and 'exclude each other' in run.err


def test_without_xapi_uuids_are_registered_and_names_are_not(place: Place) -> None:
    run = place.run('register-vm', _write(place, UUID + '\n'))
    assert run.status == 0 and 'nothing was checked there' in run.err
    assert place.rows() == [(1, UUID, None, 'A', 1)]
    assert place.run('register-vm', _write(place, 'web\n')).status == 5


@pytest.mark.parametrize('kind', ['hang', 'half_open'])
@pytest.mark.parametrize('method,words', [
    ('VM.get_record', ('set-pool', '--vm-uuid={uuid}', '--pool=B')),
    ('VM.get_all_records', ('register-vm', '--vm-uuid={other}')),
    ('VM.get_all_records', ('set-pool', '--vm-uuid={uuid}', '--pool=B')),
])
def test_a_read_that_hangs_holds_an_edit_up_for_five_seconds_at_most(
        pool: Place, kind: str, method: str, words: Any) -> None:
    refs = [pool.create_vm('web'), pool.create_vm('db')]
    pool.registry_row(refs[0], 1)
    pool.xapi.add_fault(kind, method=method)
    before = time.monotonic()
    run = pool.run(*[word.format(uuid=pool.uuid(refs[0]), other=pool.uuid(refs[1]))
                     for word in words])
    elapsed = time.monotonic() - before
    pool.xapi.faults.clear()
    assert run.status == 0 and elapsed < 5.0 * LOADED, run
    assert 'XAPI did not answer within' in ' '.join((run.out + run.err).split()), run
    assert len(pool.rows()) == 2 or pool.rows()[0][3] == 'B'
