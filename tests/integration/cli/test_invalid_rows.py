"""Rows of the registry that are no assignments: each command that compares says so."""

import sqlite3

import pytest

from tests.integration.cli.program import Place
from tests.integration.cli.test_doctor import examine

GHOST = 'notauuid'
GONE = 'aaaaaaaa-0000-4000-8000-000000000001'


@pytest.fixture
def odd(pool: Place) -> Place:
    """A VM whose row is valid, one whose row is not, and a row that is of no VM."""
    for name in ('web', 'desk'):
        pool.create_vm(name)
        assert pool.run('register-vm', name).status == 0
    connection = sqlite3.connect(pool.db)
    connection.execute('PRAGMA ignore_check_constraints = 1')
    connection.execute("UPDATE vms SET priority = 7 WHERE vm_name = 'desk'")
    connection.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id) "
                       f"VALUES (9, '{GHOST}', 'ghost', 'A')")
    connection.commit()
    connection.close()
    return pool


@pytest.mark.parametrize('words', [
    'list-vms', 'scan-vms', 'status', 'list-pools', 'show-pool --pool-id=A', 'plan',
    'reconcile --dry-run', 'apply-pending --dry-run', 'adopt --dry-run', 'remove-vm --gone',
    'transfer-vm --gone'])
def test_rows_that_are_not_valid_are_told(odd: Place, words: str) -> None:
    run = odd.run(*words.split())
    assert run.status == 0 and '2 rows that are not valid' in run.out + run.err, run
    assert "'vgpu-admin check'" in run.out + run.err
    # The panel counts those that XAPI has not, and has no note beside it.
    assert GHOST in run.err or (words, run.err) == ('status', '')


@pytest.mark.parametrize('command', ['plan', 'verify', 'scan-vms'])
def test_rows_that_are_not_valid_are_drift(odd: Place, command: str) -> None:
    run = odd.run(command, '--exit-code', '--json')
    assert run.status == 6
    assert {fault['vm_name']: 'priority' in fault['problem'] for fault in run.document['faults']} \
        == {'desk': True, 'ghost': False}


def test_verify_lists_a_vm_that_it_could_not_compare(odd: Place) -> None:
    lines = odd.run('verify').out.splitlines()
    assert lines[-1] == ('1 registered VM compared; left out: 2 rows that are not valid, see '
                         "'vgpu-admin check'.")
    assert [line.split()[1:] for line in lines[2:4]] == [
        ['unreadable', 'not_compared', 'desk'], ['unreadable', 'not_compared', 'ghost']]


def test_check_counts_each_row_once(odd: Place) -> None:
    run = odd.run('check', '--json')
    assert len(run.document['problems']) == len(run.document['faults']) == 2


@pytest.mark.parametrize('words', ['show-vm ghost', 'remove-vm ghost --dry-run'])
def test_a_name_of_a_row_that_is_not_valid_is_not_unknown(odd: Place, words: str) -> None:
    run = odd.run(*words.split())
    assert run.status == 3
    assert "the row of 'ghost' is not valid: see 'vgpu-admin check'" in run.err


def test_without_xapi_the_name_of_a_row_that_is_not_valid_is_not_unknown(odd: Place) -> None:
    odd.xapi.stop()
    run = odd.run('show-vm', 'desk')
    assert run.status == 5 and "the row of 'desk' is not valid" in run.err


def test_the_doctor_counts_them_as_unreadable(odd: Place) -> None:
    status, saw = examine(odd)['drift']
    assert status == 'warn' and 'unreadable: desk (' in saw and f'ghost ({GHOST})' in saw


def test_the_scan_says_what_to_do_once(odd: Place) -> None:
    line = next(line for line in odd.run('scan-vms').out.splitlines() if 'Name: desk' in line)
    assert "Action: Run 'vgpu-admin check' |" in line and line.count('vgpu-admin check') == 1, line


def test_an_edit_names_the_command_that_removes_the_row(odd: Place) -> None:
    uuid = next(row[1] for row in odd.rows() if row[2] == 'desk')
    run = odd.run('set-pool', 'desk', '--pool=B')
    assert run.status == 4 and f"'vgpu-admin remove-vm --vm-uuid={uuid}'" in run.err


@pytest.mark.parametrize('words', ['show-vm late', 'scan-vms'])
def test_a_row_with_a_blank_behind_its_uuid_is_that_of_the_vm(odd: Place, words: str) -> None:
    uuid = odd.uuid(odd.create_vm('late'))
    connection = sqlite3.connect(odd.db)
    connection.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id) "
                       f"VALUES (10, '{uuid} ', 'late', 'A')")
    connection.commit()
    connection.close()
    run = odd.run(*words.split())
    line = next(line for line in run.out.splitlines() if 'register-vm' in line or 'check' in line)
    assert run.status == 0 and "'vgpu-admin check'" in line and 'register-vm' not in run.out, run


def test_a_comparison_with_the_mirror_lists_them_for_programs(odd: Place) -> None:
    run = odd.run('registry', 'compare', '--json')
    assert [fault['vm_name'] for fault in run.document['faults']] == ['desk', 'ghost']


def test_rows_that_differ_in_the_case_of_a_uuid_are_removed_together_as_said(pool: Place) -> None:
    with sqlite3.connect(pool.db) as connection:
        for number, vm_uuid in enumerate((GONE, GONE.upper()), 1):
            connection.execute('INSERT INTO vms (vm_id, vm_uuid) VALUES (?, ?)', (number, vm_uuid))
    connection.close()
    assert "'remove-vm' removes them all" in pool.run('check').out
    assert pool.run('remove-vm', '--vm-uuid=' + GONE.upper()).status == 0 and pool.rows() == []
