"""Several VMs on one command line: one change, one question, one restart after the other."""

import contextlib
import json
import sqlite3
from typing import Any, List, Tuple

import pytest

from registry.writer_lock import WriterLock
from tests.integration.cli.program import KEY, Place, span, wait_until


@pytest.fixture
def four(pool: Place) -> Any:
    """Four registered VMs of vGPU pool A, numbers 1 to 4, of which `b` and `d` run."""
    refs = {name: pool.create_vm(name) for name in 'abcd'}
    assert pool.run('register-vm', *'abcd').status == 0
    for name in 'bd':
        pool.start_vm(refs[name])
    pool.refs = refs
    return pool


def _args(pool: Any, names: str) -> List[Any]:
    return [pool.args(pool.refs[name]) for name in names]


def test_several_vms_are_registered_in_one_change_with_numbers_in_their_order(pool: Place) -> None:
    refs = [pool.create_vm(name) for name in 'abc']
    run = pool.run('register-vm', 'c', pool.uuid(refs[1]).upper(), 'a', '--priority=high')
    assert run.status == 0, run.err
    assert [pool.args(ref) for ref in refs] == [
        span(3, 'A', 'high'), span(2, 'A', 'high'), span(1, 'A', 'high')]
    again = pool.run('register-vm', 'a', 'b', '--priority=high', '--json')
    assert again.document['result'] == 'already_registered'


_ASKED = {'vm_uuid', 'vm_name', 'vm_id', 'pool_id', 'priority', 'power_state', 'carried', 'desired',
          'state'}


@pytest.mark.parametrize('words, carried', [
    (['set-pool', 'a', 'c', '--pool=B'], span(1, 'B')),
    (['set-pool', 'a', 'c', '--pool=A'], span(1)),
    (['register-vm', 'a', 'c'], span(1)), (['remove-vm', 'a', 'c'], None), (['verify'], span(1)),
    (['register-vm', 'a', 'c', '--dry-run'], span(1))])
def test_each_vm_is_told_as_it_is_by_now_where_xapi_was_asked(four: Any, words: List[str],
                                                              carried: Any) -> None:
    shown = four.run(*words, '--json').document['vms'][0]
    assert _ASKED <= set(shown), shown
    assert (shown['vm_uuid'], shown['carried']) == (four.uuid(four.refs['a']), carried)


def test_an_xapi_that_hangs_after_the_edit_holds_its_answer_up_for_seconds_only(four: Any) -> None:
    with contextlib.closing(sqlite3.connect(four.db, isolation_level=None)) as other:
        other.execute('BEGIN IMMEDIATE')
        four.xapi.clear_calls()
        process = four.start('set-pool', 'b', 'd', '--pool=B', '--no-restart', '--json')
        wait_until(lambda: _count_readings(four) == 1, 'what is asked before it')
        four.xapi.add_fault('hang', method='VM.get_all_records')
    out, err = process.communicate(timeout=25.0)  # a call may take 40 s
    assert process.returncode == 0, err
    assert [(vm['pool_id'], 'carried' in vm) for vm in json.loads(out.decode())['vms']] == [
        ('B', False), ('B', False)]


def test_what_was_reconciled_is_told_as_it_is_by_now(four: Any) -> None:
    four.xapi.call('VM.remove_from_platform', four.refs['a'], KEY)
    shown, = four.run('reconcile', '--json').document['vms']
    assert _ASKED <= set(shown) and (shown['state'], shown['result']) == ('as_desired', 'staged')
    assert shown['carried'] == shown['desired'] == span(1)


def _count_readings(pool: Place) -> int:
    return sum(call.method == 'VM.get_all_records' for call in pool.xapi.calls)


@pytest.mark.parametrize('words, status', [
    (['register-vm', 'a', 'nobody'], 3), (['register-vm', 'a', 'a'], 2),
    (['register-vm', 'a', 'b', '--vm-id=7'], 4)])
def test_one_vm_that_cannot_be_registered_undoes_the_others(pool: Place, words: List[str],
                                                            status: int) -> None:
    for name in 'ab':
        pool.create_vm(name)
    run = pool.run(*words)
    assert run.status == status and 'nothing was changed' in run.err and pool.rows() == []


@pytest.mark.parametrize('words', [
    ('--vm-uuid={}', '--vm-uuid={}'), ('--vm-name=a', '--vm-name=b'), ('uuid={}', 'uuid={}'),
    ('--vm-name=a', 'name-label=b')])
def test_several_vms_are_also_named_by_options(pool: Place, words: Tuple[str, str]) -> None:
    refs = [pool.create_vm(name) for name in 'ab']
    named = [word.format(pool.uuid(ref)) for word, ref in zip(words, refs)]
    run = pool.run('register-vm', *named)
    assert run.status == 0, run.err
    assert [pool.args(ref) for ref in refs] == [span(1), span(2)]
    assert pool.run('remove-vm', *named).status == 0 and pool.rows() == []


@pytest.mark.parametrize('words', [
    ('show-vm', '--vm-name=a', '--vm-name=b'), ('set-pool', '--vm-uuid=a', '--vm-uuid=b', '--pool=B')])
def test_what_takes_one_vm_or_is_no_uuid_is_refused(pool: Place, words: Tuple[str, ...]) -> None:
    run = pool.run(*words)
    assert run.status == 2 and ('given twice' in run.err or 'not a UUID' in run.err)


def test_a_change_of_many_waits_until_the_daemon_has_staged_it(pool: Place) -> None:
    refs = [pool.create_vm(name) for name in 'ab']
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        command = pool.start('register-vm', 'a', 'b', '--json')
        wait_until(lambda: len(pool.rows()) == 2, 'committed')
        pool.xapi.clear_calls()
        # The first reading tells whether anything keeps the daemon from it.
        wait_until(lambda: _count_readings(pool) > 1, 'waiting for the daemon')
        for number, ref in enumerate(refs, 1):
            pool.xapi.call('VM.add_to_platform', ref, KEY, span(number))
        out, err = command.communicate(timeout=60)
    assert command.returncode == 0, err
    assert set(json.loads(out)['staging'].values()) == {'staged'}


def test_running_vms_are_restarted_one_after_the_other_and_halted_ones_staged(four: Any) -> None:
    boots = len(four.xapi.boots)
    run = four.answer('yes\n', 'set-priority', 'a', 'b', 'c', 'd', '--priority=low')
    assert run.status == 0, run.err
    assert run.err.count('(yes/no)') == 1
    assert _args(four, 'abcd') == [span(number, 'A', 'low') for number in (1, 2, 3, 4)]
    assert [boot.args for boot in four.xapi.boots[boots:]] == [
        span(2, 'A', 'low'), span(4, 'A', 'low')]
    assert [four.power(four.refs[name]) for name in 'abcd'] == [
        'Halted', 'Running', 'Halted', 'Running']


def test_a_no_changes_none_of_them(four: Any) -> None:
    before = four.rows()
    run = four.answer('no\n', 'set-pool', 'a', 'b', '--pool=B')
    assert run.status == 1 and 'nothing was changed' in run.err and four.rows() == before


def test_a_vm_that_is_no_row_undoes_the_others_and_each_is_named(four: Any) -> None:
    before = four.rows()
    run = four.run('set-pool', 'a', 'nobody', 'none', '--pool=B')
    assert run.status == 3 and "'nobody'" in run.err and "'none'" in run.err
    assert four.rows() == before


def test_two_vms_cannot_be_given_one_number(four: Any) -> None:
    before = four.rows()
    run = four.run('set-vm-id', 'a', 'c', '--vm-id=9')
    assert run.status == 4 and 'vm_id 9' in run.err and four.rows() == before


def test_vms_that_run_are_left_running_when_told(four: Any) -> None:
    run = four.run('update-vm', 'a', 'b', '--pool=B', '--no-restart', '--json')
    assert run.status == 0 and run.document['counts'] == {'changed': 2}
    a, b = (four.uuid(four.refs[name]) for name in 'ab')
    assert run.document['staging'] == {a: 'staged', b: 'pending'}
    assert _args(four, 'ab') == [span(1, 'B'), span(2)]


def test_the_first_restart_that_fails_ends_it_and_names_the_rest(four: Any) -> None:
    four.xapi.add_fault('operation_failure', method='VM.clean_shutdown', ref=four.refs['b'],
                        parameters={'code': 'VM_LACKS_FEATURE'})
    run = four.run('set-pool', 'b', 'd', '--pool=B', '--yes')
    assert run.status == 1, run.err
    assert 'not restarted, and pending: d (' in run.err
    assert f"vgpu-admin apply-pending {four.uuid(four.refs['d'])}\n" in run.err
    assert four.power(four.refs['d']) == 'Running' and _args(four, 'd') == [span(4)]


def test_a_removal_that_waits_for_a_stop_names_the_command(four: Any) -> None:
    four.xapi.add_fault('operation_failure', method='VM.clean_shutdown', ref=four.refs['b'],
                        parameters={'code': 'VM_LACKS_FEATURE'})
    run = four.run('remove-vm', 'b', 'd', '--yes')
    assert run.status == 1 and 'apply-pending' not in run.err, run.err
    assert f"xe vm-shutdown uuid={four.uuid(four.refs['d'])}\n" in run.err


def test_several_vms_are_removed_at_once(four: Any) -> None:
    assert four.run('remove-vm', 'a', 'b').status == 2
    run = four.run('remove-vm', 'a', 'b', '--yes')
    assert run.status == 0, run.err
    assert [row[2] for row in four.rows()] == ['c', 'd'] and _args(four, 'ab') == [None, None]
    assert four.power(four.refs['b']) == 'Halted'


def test_a_dry_run_says_before_after_and_what_restarts(four: Any) -> None:
    before = four.rows()
    run = four.run('set-pool', 'a', 'b', '--pool=B', '--dry-run')
    a, b = (four.uuid(four.refs[name]) for name in 'ab')
    assert run.out.splitlines() == [
        'a (%s): pool A \u2192 B' % a, 'b (%s): pool A \u2192 B' % b,
        'Nothing was changed (dry run); b would be stopped and started.']
    for words, said in (
            (['set-pool', 'a', 'c', '--pool=B'], '; no VM would be restarted.'),
            (['remove-vm', 'a', 'b'], '; b would be stopped.'),
            (['remove-vm', 'a', 'b', '--restart'], '; b would be stopped and started.'),
            (['register-vm', 'a', 'b', '--restart'], '.')):
        told = four.run(*words, '--dry-run').out.splitlines()
        assert told[-1] == 'Nothing was changed (dry run)' + said
        assert ('registration would be removed' in told[0]) == (words[0] == 'remove-vm')
    assert four.rows() == before


@pytest.mark.parametrize('words, change, done, outcome', [
    (('set-pool', 'b', 'd', '--pool=B'), 'pool A → B', 'pool A → B', '  Restarted; '),
    (('remove-vm', 'b', 'd'), 'registration would be removed', 'registration removed',
     '  Stopped; ')])
def test_the_result_says_what_changed_and_below_it_what_became_of_it(
        four: Any, words: Tuple[str, ...], change: str, done: str, outcome: str) -> None:
    """Of a restart standard output did not say what it was for."""
    run = four.run(*words, '--yes')
    assert run.status == 0, run.err
    lines = run.out.splitlines()
    assert [line.split(' (')[0] for line in lines[::2]] == ['b', 'd']
    assert all(done in line for line in lines[::2])
    assert all(line.startswith(outcome) for line in lines[1::2]) and len(lines) == 4
    assert run.err.count(change) == 2
    told = run.err.splitlines()
    b = four.uuid(four.refs['b'])
    assert told[0] == 'Current configuration:' and 'New configuration:' in told
    assert '  b (%s): pool A, priority medium, vm_id 2' % b in told
    assert '  b (%s): %s' % (b, change) in [line.split(' (pool')[0] for line in told]
    assert 'the VMs, one after the other: b, d.' in run.err


def test_what_programs_are_not_told_before_stands_in_the_result(four: Any) -> None:
    run = four.run('set-pool', 'b', 'd', '--pool=B', '--yes', '--json')
    assert 'pool A' not in run.err
    assert [item['after']['pool_id'] for item in run.document['changes']] == ['B', 'B']


def test_a_word_that_names_no_vm_is_told_without_a_number(pool: Place) -> None:
    for name in ('web', 'db'):
        pool.create_vm(name)
    run = pool.run('register-vm', 'web', 'db', 'nosuch', 'web')
    assert run.status == 3 and "vgpu-admin: no VM has the name 'nosuch'" in run.err
    assert 'is named twice' in run.err and 'VM 3' not in run.err and not pool.rows()


@pytest.mark.parametrize('words', [('set-pool', 'b', 'd', '--pool=B', '--yes'),
                                   ('register-vm', 'b', 'd', '--pool=B', '--restart')])
def test_a_boot_that_is_not_as_assigned_is_the_last(four: Any, words: Tuple[str, ...]) -> None:
    four.xapi.set_consumer('off')
    if words[0] == 'register-vm':
        assert four.run('set-pool', 'b', 'd', '--pool=B', '--no-restart').status == 0
    boots = len(four.xapi.boots)
    run = four.run(*words)
    assert run.status == 1 and len(four.xapi.boots) == boots + 1, run
    assert run.out.count('not restarted, since the boot before it was not as assigned') == 1
