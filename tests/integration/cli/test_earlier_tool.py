"""What people know of the earlier tool works, and what it got wrong is gone: docs/earlier-tool.md."""

import ast
import os
import re
import shutil
import sqlite3
import threading
from typing import Any, Iterator

import pytest

from tests.integration.cli.breaking import Daemon
from tests.integration.cli.program import Place, span, wait_until
from tests.support.documents import ROOT, read_tables

DOCUMENT = 'docs/earlier-tool.md'
_TEST = re.compile(r'(tests/[a-z_/]+\.py)::(test_[a-z_0-9]+)\Z')


def _list_tests(path: str) -> Iterator[str]:
    with open(os.path.join(ROOT, path), encoding='utf-8') as stream:
        tree = ast.parse(stream.read())
    yield from (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_tests_that_the_table_names_exist() -> None:
    rows = [row for _heading, _heads, rows in read_tables(DOCUMENT) for row in rows]
    assert len(rows) >= 34
    for row in rows:
        named = _TEST.match(row[-1])
        assert named is not None, row
        assert named.group(2) in set(_list_tests(named.group(1))), row


@pytest.fixture
def taken_over(pool: Place) -> Place:
    """A file of the earlier tool's later release, accepted, whose first VM is in XAPI."""
    shutil.copy(os.path.join(ROOT, 'tests', 'fixtures', 'registry-later-form.db'), pool.db)
    pool.ref = pool.create_vm('Test-1', uuid='00000001-1111-2222-3333-444444444441')
    assert pool.run('accept', '--yes').status == 0
    return pool


def test_every_command_of_the_earlier_tool_works_as_it_is_typed(taken_over: Place) -> None:
    uuid = taken_over.uuid(taken_over.create_vm('new'))
    for words, shown in (
            ('register-vm --vm-uuid=%s --pool=B --priority=high' % uuid, 'vm_id 4243'),
            ('register-vm --vm-name=new --pool=B --priority=high', 'already registered'),
            ('show-vm --vm-uuid=%s' % uuid, '  Priority: high (2)'),
            ('show-vm --vm-name=new', 'VM Configuration:'),
            ('list-vms', uuid), ('list-vms --pool=B', uuid), ('list-pools', 'Pool A'),
            ('scan-vms', '=== Pool B: 3 VMs ==='), ('status', 'vGPU Control Panel'),
            ('show-pool --pool-id=A', 'Pool Configuration:'),
            ('set-pool --vm-name=new --pool=A', 'pool B \u2192 A'),
            ('set-priority --vm-uuid=%s --priority=low' % uuid, 'priority high \u2192 low'),
            ('set-vm-id --vm-name=new --vm-id=7 --verbose', '  VM ID: 7'),
            ('update-vm --vm-name=new --pool=B --priority=medium --vm-id=8', 'vm_id 7 \u2192 8'),
            ('remove-vm --vm-name=new', 'registration removed'),
            ('help', 'register-vm'), ('help set-pool', '--pool=A|B')):
        run = taken_over.run(*words.split(' '))
        assert (run.status, shown in run.out) == (0, True), (words, run)


@pytest.mark.parametrize('form', ['first', 'later'])
def test_the_files_of_the_earlier_tool_are_taken_over(place: Place, form: str) -> None:
    shutil.copy(os.path.join(ROOT, 'tests', 'fixtures', 'registry-%s-form.db' % form), place.db)
    before = place.rows()
    assert place.run('list-vms').status == 0
    assert place.run('accept', '--yes').status == 0
    assert before and place.rows() == before and place.run('check').status == 0


def _foreign_columns(place: Place) -> Any:
    connection = sqlite3.connect(place.db)
    try:
        return connection.execute(
            'SELECT vm_uuid, weight, max_jobs_per_sec, max_queue_depth, quarantined, error_count, '
            'created_at FROM vms ORDER BY vm_uuid').fetchall()
    finally:
        connection.close()


def test_the_columns_of_others_survive_every_edit(taken_over: Place) -> None:
    before = _foreign_columns(taken_over)
    path = os.path.join(taken_over.directory, 'backup')
    uuid = before[1][0]
    for words in (['backup', path], ['update-vm', '--vm-uuid=' + uuid, '--pool=A', '--vm-id=99'],
                  ['set-priority', '--vm-uuid=' + uuid, '--priority=low'], ['import', path],
                  ['disable-pool', '--pool-id=B', '--yes'], ['restore', path, '--yes']):
        assert taken_over.run(*words).status == 0, words
        assert _foreign_columns(taken_over) == before, words


def test_a_registry_that_cannot_be_written_leaves_xapi_alone(pool: Place) -> None:
    ref = pool.create_vm('web')
    before = len(pool.xapi.calls)
    other = sqlite3.connect(pool.db, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    run = pool.run('register-vm', '--vm-name=web')
    other.close()
    assert run.status == 5 and pool.rows() == [] and pool.args(ref) is None
    assert not any('platform' in call.method for call in pool.xapi.calls[before:])


@pytest.mark.parametrize('words', [
    'set-pool --pool=B', 'set-priority --priority=low', 'set-vm-id --vm-id=9',
    'update-vm --pool=B --vm-id=9', 'set-pool --pool=B --yes --force', 'remove-vm --yes --restart',
    'register-vm --restart'])
def test_a_halted_vm_is_never_started(pool: Place, words: str) -> None:
    ref = pool.create_vm('web')
    if not words.startswith('register'):
        assert pool.run('register-vm', '--vm-name=web').status == 0
    assert pool.run(*words.split(' '), '--vm-name=web').status == 0
    assert pool.power(ref) == 'Halted' and pool.xapi.boots == []


@pytest.mark.parametrize('words,allowed', [
    ('--pool=C', 'A, B'), ('--priority=urgent', 'low, medium, high'),
    ('--vm-id=abc', '1 to 2147483646'), ('--pool C', 'A, B')])
def test_what_was_taken_for_something_else_is_refused(pool: Place, words: str,
                                                      allowed: str) -> None:
    pool.create_vm('web')
    run = pool.run('register-vm', '--vm-name=web', *words.split(' '))
    assert run.status == 2 and 'allowed: ' in run.err and allowed in run.err and pool.rows() == []
    assert pool.run('register-vm', '--vm-name', 'web', '--pool', 'B').status == 0
    assert pool.rows()[0][3] == 'B'


@pytest.mark.parametrize('carried', [
    None, '-device usb-tablet', span(2), span(1, 'B'), span(1) + ' ' + span(1),
    '-device vgpu-stub,pool_id=A,priority=1,vm_id=1', '-device vgpu-cuda' + span(1)[17:],
    '-device vgpu-stub2,pool_id=A,priority=medium,vm_id=1'])
def test_only_the_very_span_is_called_configured(pool: Place, carried: Any) -> None:
    ref = pool.create_vm('web', carried)
    pool.registry_row(ref, 1)
    assert 'Configured' not in pool.run('scan-vms').out
    assert pool.run('reconcile').status == 0
    assert 'Configured' in pool.run('scan-vms').out and span(1) in pool.args(ref)


def test_a_renamed_vm_is_found_by_its_new_name(pool: Place) -> None:
    ref = pool.create_vm('before')
    assert pool.run('register-vm', '--vm-name=before').status == 0
    with open(pool.config, 'a', encoding='utf-8') as stream:
        stream.write('[scan]\ninterval_seconds = 5\n')
    daemon = Daemon(pool)
    daemon.start()
    try:
        pool.xapi.set_field(ref, 'name_label', 'after')
        wait_until(lambda: pool.rows()[0][2] == 'after', 'the new name in the registry')
    finally:
        daemon.close()
    pool.xapi.stop()
    assert pool.run('set-pool', '--vm-name=after', '--pool=B').status == 0


def test_help_needs_no_file_and_a_reader_holds_nobody_up(pool: Place) -> None:
    pool.create_vm('web')
    other = sqlite3.connect(pool.db, isolation_level=None, check_same_thread=False)
    other.execute('BEGIN EXCLUSIVE')
    for words in (['help'], ['--version'], ['set-pool', '--help'], ['completion']):
        assert pool.run(*words).status == 0
    other.execute('ROLLBACK')
    other.execute('BEGIN')
    other.execute('SELECT * FROM vms').fetchall()
    assert pool.run('list-vms').status == 0
    # A write waits until the reader has finished.
    timer = threading.Timer(1.0, lambda: other.execute('ROLLBACK'))
    timer.start()
    assert pool.run('register-vm', '--vm-name=web').status == 0
    timer.join()
    other.close()
    assert len(pool.rows()) == 1


def test_numbers_stay_in_their_range(pool: Place) -> None:
    pool.create_vm('last')
    pool.create_vm('next')
    for number in ('-5', '0', '2147483647', '2147483648', '1.5', '0x10', ' 7'):
        run = pool.run('register-vm', '--vm-name=last', '--vm-id=' + number)
        assert run.status == 2 and '1 to 2147483646' in run.err, number
    assert pool.run('register-vm', '--vm-name=last', '--vm-id=2147483646').status == 0
    run = pool.run('register-vm', '--vm-name=next')
    assert run.status == 4 and len(pool.rows()) == 1, run


def test_lists_do_not_end_at_a_thousand_rows(place: Place) -> None:
    place.registry.create('test')
    connection = sqlite3.connect(place.db)
    with connection:
        connection.executemany(
            'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)',
            [(number, '0a0b0c0d-1111-2222-3333-%012d' % number, 'vm', 'A', 1)
             for number in range(1, 1202)])
    connection.close()
    assert len(place.run('list-vms').out.splitlines()) == 1202
    assert len(place.run('list-vms', '--json').document['vms']) == 1201
    assert len(place.run('export', '--format=csv').out.splitlines()) == 1202
