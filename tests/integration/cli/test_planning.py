"""plan, reconcile, verify, history, explain and the commands for vGPU pools, as programs."""

import contextlib
import itertools
import os
import shutil
import sqlite3
from typing import List, Sequence

import pytest

from registry.journal.journal import Boot, Journal
from registry.writer_lock import WriterLock
from tests.integration.cli.program import KEY, Place, span, wait_until
from tests.support.documents import ROOT
from tests.support.left_by_0_1 import add_replacement


@pytest.fixture
def drifted(pool: Place) -> str:
    """A registered VM at rest whose arguments somebody took away; its ref."""
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    pool.xapi.call('VM.remove_from_platform', ref, KEY)
    return ref


def test_the_plan_names_action_and_reason_and_does_nothing(pool: Place, drifted: str) -> None:
    run = pool.run('plan', '--json', '--exit-code')
    assert run.status == 6
    plan = run.document['plans'][0]
    assert (plan['action'], plan['reason'], plan['before'], plan['after']) == (
        'add', 'span_missing', None, span(1))
    assert pool.args(drifted) is None
    assert pool.run('plan').status == 0


def test_reconcile_does_it_once(pool: Place, drifted: str) -> None:
    assert pool.run('reconcile', '--dry-run').status == 0
    assert pool.args(drifted) is None
    run = pool.run('reconcile', '--json')
    assert run.status == 0 and run.document['vms'][0]['result'] == 'staged'
    assert pool.args(drifted) == span(1)
    assert pool.run('reconcile', '--json').document['result'] == 'nothing_to_do'
    assert pool.run('plan', '--exit-code').status == 0


def test_reconcile_leaves_it_to_a_daemon_that_runs(pool: Place, drifted: str) -> None:
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        run = pool.run('reconcile', '--json')
    assert run.document['vms'][0]['result'] == 'by_daemon' and pool.args(drifted) is None
    assert run.document['result'] == 'left_to_daemon'


def test_reconcile_mends_a_replacement_of_0_1_that_was_cut_off(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo ' + span(1))
    pool.registry_row(ref, 1)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0):
        add_replacement(pool.registry.journal_path, pool.uuid(ref), ref, '-foo', '-foo ' + span(1))
    pool.xapi.call('VM.remove_from_platform', ref, KEY)
    assert pool.run('reconcile').status == 0
    assert pool.args(ref) == '-foo ' + span(1)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        assert journal.replacements() == ()


def test_a_clone_loses_the_number_of_its_parent(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    clone = pool.xapi.call('VM.clone', ref, 'copy')
    states = {vm['vm_name']: vm['state'] for vm in pool.run('scan-vms', '--json').document['vms']}
    assert states == {'web': 'as_desired', 'copy': 'doubled'}
    was = f"copy ({pool.uuid(clone)}), Halted: our arguments to be removed: A/medium/1 "
    assert pool.run('plan').out == was + '(vm_id 1 is that of web)\n'
    assert pool.run('reconcile').status == 0
    assert pool.args(clone) is None and pool.args(ref) == span(1)


def test_the_plan_says_what_stands_there_now(pool: Place) -> None:
    ref = pool.create_vm('web', args=span(9, 'B'))
    pool.registry_row(ref, 1)
    head = f'web ({pool.uuid(ref)}), Halted: to be staged: '
    assert pool.run('plan').out == f'{head}A/medium/1 instead of B/medium/9\n'
    other = span(1).replace('vgpu-stub', 'vgpu-cuda')
    pool.xapi.call('VM.remove_from_platform', ref, KEY)
    pool.xapi.call('VM.add_to_platform', ref, KEY, other)
    assert pool.run('reconcile', '--dry-run').out.splitlines() == [
        f'{head}{span(1)} instead of {other}', 'Nothing was changed (dry run).']


def test_verify_looks_at_what_runs(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    assert pool.run('verify', '--json', '--exit-code').document['vms'][0]['verdict'] == \
        'as_desired'
    pool.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart')
    run = pool.run('verify', '--json', '--exit-code')
    assert run.status == 6 and run.document['vms'][0]['verdict'] == 'pending'
    assert run.document['vms'][0]['found'] == span(1)


def test_a_consumer_that_is_gone_is_found(pool: Place) -> None:
    pool.xapi.set_consumer('off')
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    run = pool.run('verify', '--json', '--exit-code')
    assert run.status == 6 and run.document['vms'][0]['verdict'] == 'not_consumed'


def test_the_history_tells_who_changed_what(pool: Place, drifted: str) -> None:
    pool.run('set-priority', '--vm-name=web', '--priority=high', environment={'SUDO_USER': 'eve'})
    lines = pool.run('history', '--vm-name=web', '--limit=2').out.splitlines()
    assert any('eve  set-priority: vm_changed' in line and 'medium → high' in line
               for line in lines)
    assert len(pool.run('history', '--limit=1', '--json').document['history']) == 1


def test_the_history_calls_vms_and_vgpu_pools_what_people_call_them(pool: Place,
                                                                    drifted: str) -> None:
    named = 'web (%s)' % pool.uuid(drifted)
    assert pool.run('set-pool', 'web', '--pool=B').status == 0
    assert pool.run('disable-pool', '--pool-id=B', '--yes').status == 0
    assert pool.run('remove-vm', 'web').status == 0
    lines = [line.split('  ', 2)[2] for line in pool.run('history').out.splitlines()]
    for line in (f'set-pool: vm_changed {named}: pool A → B',
                 'disable-pool: pool_changed vGPU pool B: enabled yes → no',
                 f'remove-vm: vm_removed {named}: pool B, priority medium, vm_id 1'):
        assert line in lines
    assert any(line.startswith(f'set-pool: args_added {named}: ') for line in lines)
    entries = pool.run('history', 'uuid=' + pool.uuid(drifted), '--json').document['history']
    assert {entry['vm_name'] for entry in entries} == {'web'}


def test_explain_tells_the_chain_from_the_change_to_the_verdict(pool: Place,
                                                                drifted: str) -> None:
    assert pool.run('explain', '--vm-name=web').status == 3
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, pool.uuid(drifted), 'web', 'start', 'host', 5, 'boot', None, '')
        number = journal.open_boot(boot)
        opened = journal.last_boot(pool.uuid(drifted))
        journal.write_boot(number, opened._replace(
            desired=span(1), carried=span(1), verdict='missing',
            closed_at=opened.opened_at))
    run = pool.run('explain', '--vm-name=web')
    assert run.status == 0 and 'register-vm: vm_added' in run.out and 'missing' in run.out
    run = pool.run('explain', '--vm-name=web', '--boot=99')
    assert run.status == 3 and run.err.endswith(f' has no boot 99; its boots: {number}\n')
    assert pool.run('show-vm', '--vm-name=web', '--json').document['vm']['last_boot'][
        'verdict'] == 'missing'


def test_changes_of_a_pool_are_said_briefly(pool: Place) -> None:
    for name in ('web', 'db'):
        pool.create_vm(name)
        assert pool.run('register-vm', name).status == 0
    assert pool.run('set-pool-name', '--pool-id=A', '--name=Fast').out == (
        'vGPU pool A: name Pool A \u2192 Fast\n')
    assert pool.run('set-pool-name', '--pool-id=A', '--name=Fast').out == (
        'vGPU pool A is already called Fast; nothing to do.\n')
    lines = pool.run('disable-pool', '--pool-id=A', '--yes').out.splitlines()
    assert lines == ['vGPU pool A: enabled \u2192 disabled',
                     'Each of 2 VMs: staged: its next start takes none of our arguments']
    whole = pool.run('enable-pool', '--pool-id=A', '--verbose').out
    assert 'web (' in whole and 'db (' in whole and 'Enabled: yes' in whole


def record_boots(pool: Place, vm_uuid: str, times: Sequence[str]) -> None:
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        for domid, at in enumerate(times):
            boot = Boot(0, vm_uuid, 'web', 'start', 'host', domid, 'boot', None, at, closed_at=at,
                        carried=span(1), desired=span(1), found=span(1), verdict='as_desired')
            journal.write_boot(journal.open_boot(boot), boot)


def list_indented(text: str, title: str) -> List[str]:
    """What stands below a title."""
    lines = text.splitlines()
    return list(itertools.takewhile(lambda line: line.startswith('  '),
                                    lines[lines.index(title) + 1:]))


def test_explain_tells_one_boot_and_with_all_the_life(pool: Place, drifted: str) -> None:
    pool.run('set-priority', '--vm-name=web', '--priority=high')
    record_boots(pool, pool.uuid(drifted),
                 ['2001-01-01 00:00:00', '2098-01-01 00:00:00', '2099-01-01 00:00:00'])
    second = pool.run('explain', 'web', '--boot=2').out
    assert [line for line in list_indented(second, 'What led to it:') if 'medium → high' in line]
    assert 'Now:' not in second, 'what is true now is no part of an older boot'
    third = pool.run('explain', 'web').out
    # Nothing was changed between the boots: the row is the one of before, and says so.
    [line] = list_indented(third, 'What led to it:')
    assert 'medium → high' in line and line.endswith('(before boot 2)')
    assert list_indented(third, 'Now:') == ['  that domain has ended; the VM is Halted.']
    assert '2 other boots and ' in third and third.rstrip().endswith("'vgpu-admin explain web --all'")
    life = pool.run('explain', 'web', '--all').out
    told = [life.index(text) for text in ('  boot 1, start: as_desired', 'register-vm: vm_added',
                                          'medium → high', '  boot 2, start', '  boot 3, start',
                                          'Now:')]
    assert told == sorted(told)
    document = pool.run('explain', 'web', '--all', '--json').document
    assert [boot['boot'] for boot in document['boots']] == [1, 2, 3]
    assert document['boot']['boot'] == 3 and document['now']['power_state'] == 'Halted'


def test_explain_waits_for_the_verdict_on_a_boot_that_has_just_begun(pool: Place) -> None:
    vm_uuid = pool.uuid(pool.create_vm('web'))
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, vm_uuid, 'web', 'unknown', 'host', 1, 'boot', None, '2099-01-01 00:00:00',
                    carried=span(1), desired=span(1))
        number = journal.open_boot(boot)
        run = pool.run('explain', 'web')
        assert run.status == 0 and 'found running: under way' in run.out
        assert 'Meaning: what QEMU runs with has not been inspected yet; ask again.' in run.out
        assert '(not yet)  verdict: desired ' + span(1) + '\n' in run.out
        before = len(pool.xapi.calls)
        process = pool.start('explain', 'web')
        wait_until(lambda: len(pool.xapi.calls) > before, 'the command to look for the VM')
        journal.write_boot(number, boot._replace(closed_at='2099-01-01 00:00:01', found=span(1),
                                                 verdict='as_desired'))
        out, _err = process.communicate(timeout=60)
    assert b'found running: as_desired' in out, out


def test_a_boot_without_a_row_is_neither_right_nor_wrong(pool: Place) -> None:
    vm_uuid = pool.uuid(pool.create_vm('web'))
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, vm_uuid, 'web', 'unknown', 'host', 1, 'boot', None, '2000-01-01 00:00:00',
                    closed_at='2099-01-01 00:00:01', carried=span(7), found=span(7),
                    verdict='as_desired', quiet=True)
        journal.open_boot(boot)
        journal.add_history('root', 'later', 'vm_removed', vm_uuid=vm_uuid)
        assert journal.count_verdicts() == {}
    told = pool.run('explain', 'web').out
    assert f'found running: had no row then, found {span(7)}' in told
    assert 'Meaning: it had no row when it came up, so nothing was assigned.' in told
    assert 'as_desired' not in told, told
    assert 'Changed before it was found running:\n  nothing is recorded\n' in told
    assert 'led' not in told and '1 other change: see' in told
    assert 'web has no boot 7; its boots: 1' in pool.run('explain', 'web', '--boot=7').err.replace(
        f' ({vm_uuid})', '')
    assert 'had no row then, found' in pool.run('show-vm', 'web').out


def test_explain_of_a_vm_without_boots_tells_its_changes(pool: Place, drifted: str) -> None:
    run = pool.run('explain', 'web')
    assert run.status == 3 and "'vgpu-admin explain web --all'" in run.err
    run = pool.run('explain', 'web', '--all')
    assert run.status == 0 and 'register-vm: vm_added' in run.out
    assert pool.run('explain', '--vm-uuid=' + '0' * 8 + '-0000' * 3 + '-' + '0' * 12,
                    '--all').status == 3


def test_explain_without_an_xapi_says_what_is_not_known(pool: Place, drifted: str) -> None:
    record_boots(pool, pool.uuid(drifted), ['2099-01-01 00:00:00'])
    pool.close()
    run = pool.run('explain', 'web')
    assert run.status == 0 and list_indented(run.out, 'Now:')[0].startswith('  not known: ')
    assert pool.run('explain', 'web', '--json').document['now'] is None


def test_the_past_of_a_registration_is_shown(pool: Place, drifted: str) -> None:
    run = pool.run('show-vm', '--vm-name=web', '--at=2099-01-01', '--json')
    assert run.document['vm']['vm_id'] == 1
    assert run.document['notes'] == ['2099-01-01 00:00:00Z is in the future: this is what the '
                                     'history knows last']
    assert pool.run('show-vm', '--vm-name=web', '--at=2001-01-01').status == 3
    assert pool.run('show-vm', '--vm-name=web', '--at=yesterday').status == 2


def test_disabling_a_pool_asks_and_takes_the_arguments_away(pool: Place) -> None:
    ref = pool.create_vm('web', args='-foo')
    pool.run('register-vm', '--vm-name=web')
    assert pool.run('disable-pool', '--pool-id=A').status == 2
    assert pool.answer('no\n', 'disable-pool', '--pool-id=A').status == 1
    assert pool.args(ref) == '-foo ' + span(1)
    run = pool.run('disable-pool', '--pool-id=A', '--yes')
    assert run.status == 0 and pool.uuid(ref) in run.err and pool.args(ref) == '-foo'
    assert pool.run('enable-pool', '--pool-id=A').status == 0
    assert pool.args(ref) == '-foo ' + span(1)


def test_a_pool_is_named_and_described(place: Place) -> None:
    place.run('init')
    assert place.run('set-pool-name', '--pool-id=A', '--name=Fast').status == 0
    assert place.run('set-pool-description', '--pool-id=A', '--description=jobs').status == 0
    pool = place.run('show-pool', '--pool-id=A', '--json').document['pool']
    assert (pool['pool_name'], pool['description']) == ('Fast', 'jobs')
    run = place.run('set-pool-name', '--pool-id=A', '--name=Fast', '--json')
    assert run.document['result'] == 'unchanged'


def test_a_registry_of_others_is_taken_over_with_what_it_changes_shown(place: Place) -> None:
    shutil.copy(os.path.join(ROOT, 'tests', 'fixtures', 'registry-first-form.db'), place.db)
    os.chmod(place.db, 0o644)
    place.start_xapi()
    number, vm_uuid = place.rows()[0][:2]
    old = '-device vgpu-cuda,pool_id=B,priority=2,vm_id=9'
    ref = place.create_vm('Test-1', args=old, uuid=vm_uuid)
    assert place.run('reconcile').status == 0 and place.args(ref) == old
    run = place.run('accept', '--dry-run')
    assert f', Halted: to be staged: A/medium/{number} instead of {old}\n' in run.out
    assert place.run('accept', '--yes').status == 0 and place.args(ref) == old
    assert place.run('reconcile').status == 0 and place.args(ref) == span(number)


def test_a_question_that_nothing_answers_is_told_from_an_empty_history(pool: Place) -> None:
    assert pool.run('history', '--since=2030-01-01').out \
        == 'No entry matches; without --since all are shown.\n'
    assert pool.run('history', '--who=nobody', '--until=2020-01-01').out \
        == 'No entry matches; without --who and --until all are shown.\n'


def test_a_locked_registry_is_waited_for_once(pool: Place) -> None:
    ref = pool.create_vm('web', args=span(1))
    pool.registry_row(ref, 1)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        number = journal.open_boot(Boot(0, pool.uuid(ref), 'web', 'start', 'host', 5, 'boot',
                                        None, ''))
        opened = journal.last_boot(pool.uuid(ref))
        journal.write_boot(number, opened._replace(verdict='missing',
                                                   closed_at=opened.opened_at))
    with contextlib.closing(sqlite3.connect(pool.db, isolation_level=None)) as other:
        other.execute('BEGIN EXCLUSIVE')
        run = pool.run('explain', 'web')
    assert run.status == 0 and run.err.count('waiting for') == 1
    assert f'not known: registry {pool.db} is locked by ' in run.out
