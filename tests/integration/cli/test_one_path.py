"""Every change of the registry: shown, counted, asked about, and applied as it was shown."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import time
from typing import Any, List, Optional

import pytest

from registry.values import Priority, Vm
from registry.writer_lock import WriterLock
from tests.integration.cli.mirror import mirror
from tests.integration.cli.program import KEY, Place, span, wait_until

GUARD = 'CREATE TRIGGER "the guard" BEFORE %s ON %s BEGIN SELECT RAISE(IGNORE); END'


@pytest.fixture
def four(pool: Place) -> Any:
    """Four VMs in XAPI, registered with the numbers 1 to 4; their UUIDs, and a backup."""
    refs = [pool.create_vm(name=f'vm-{number:03}') for number in (1, 2, 3, 4)]
    with pool.registry.edit(who='test', command='test') as edit:
        for number, ref in enumerate(refs, 1):
            edit.add_vm(pool.uuid(ref), vm_name=f'vm-{number:03}', vm_id=number)
    assert pool.run('reconcile').status == 0
    good = os.path.join(pool.directory, 'good.json')
    assert pool.run('backup', good).status == 0
    return pool, [pool.uuid(ref) for ref in refs], good


def sql(place: Place, *statements: str) -> None:
    connection = sqlite3.connect(place.db, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def write(place: Place, content: Any) -> str:
    path = os.path.join(place.directory, 'document')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(content if isinstance(content, str) else json.dumps(content))
    return path


def numbers(place: Place) -> Any:
    return {row[1]: row[0] for row in place.rows()}


def args_of(place: Place, vm_uuid: str) -> Optional[str]:
    return place.args(place.xapi.find(vm_uuid))


def is_enabled(place: Place, pool_id: str) -> bool:
    return bool(place.run('show-pool', '--pool-id=' + pool_id,
                          '--json').document['pool']['enabled'])


class Asked:
    """A command on a terminal, whose question is open until it is answered."""

    def __init__(self, place: Place, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(place.command(*words), stdin=theirs,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         **place.surroundings({}))
        os.close(theirs)
        self.said = b''
        while not self.said.endswith(b'(yes/no): '):
            got = os.read(self._process.stderr.fileno(), 4096)
            assert got, self.said.decode('utf-8')
            self.said += got

    def answer(self, text: str) -> Any:
        os.write(self._ours, text.encode('ascii') + b'\n')
        out, err = self._process.communicate(timeout=60)
        os.close(self._ours)
        return self._process.returncode, out.decode('utf-8'), err.decode('utf-8')


# vGPU pools are part of the difference.

DISABLED = {'format': 1, 'pools': [{'pool_id': 'A', 'enabled': False}], 'vms': []}


def test_vgpu_pool_that_an_import_disables_is_shown_counted_asked_about_and_staged(
        four: Any) -> None:
    place, uuids, _good = four
    path = write(place, DISABLED)
    run = place.run('import', path, '--dry-run', '--json')
    assert run.status == 0 and run.document['result'] == 'would_be_changed'
    assert run.document['counts'] == {'pools_changed': 1}
    assert [(item['pool_id'], item['before']['enabled'], item['after']['enabled'])
            for item in run.document['pool_changes']] == [('A', True, False)]
    rehearsed = {key: run.document[key] for key in ('counts', 'changes', 'pool_changes')}
    run = place.run('import', path)
    assert run.status == 2 and 'affects 4 VMs, which lose their arguments' in run.err
    assert is_enabled(place, 'A')
    assert place.answer('no\n', 'import', path).status == 1 and is_enabled(place, 'A')
    run = place.answer('yes\n', 'import', path, '--json')
    assert run.status == 0 and run.document['result'] == 'changed'
    assert {key: run.document[key] for key in rehearsed} == rehearsed
    assert all(uuid in run.err for uuid in uuids)
    assert not is_enabled(place, 'A') and args_of(place, uuids[0]) is None


def test_restore_brings_vgpu_pools_back_with_a_description_of_null(four: Any) -> None:
    place, uuids, good = four
    for words in (['set-pool-description', '--pool-id=B', '--description=slow'],
                  ['set-pool-name', '--pool-id=B', '--name=Slow'],
                  ['disable-pool', '--pool-id=A', '--yes']):
        assert place.run(*words).status == 0
    assert args_of(place, uuids[0]) is None
    run = place.run('restore', good, '--dry-run', '--json')
    assert run.document['counts'] == {'pools_changed': 2, 'unchanged': 4}
    assert place.run('restore', good).status == 2
    run = place.run('restore', good, '--yes')
    assert run.status == 0 and 'vGPU pool B: name Slow → Pool B, description slow → -' in run.err
    shown = place.run('show-pool', '--pool-id=B', '--json').document['pool']
    assert (shown['pool_name'], shown['description']) == ('Pool B', None)
    assert is_enabled(place, 'A') and args_of(place, uuids[0]) == span(1)
    assert place.run('restore', good, '--yes', '--json').document['result'] == 'unchanged'


@pytest.mark.parametrize('words', [['enable-pool', '--pool-id=A'],
                                   ['set-pool-name', '--pool-id=A', '--name=x'],
                                   ['disable-pool', '--pool-id=A', '--yes']])
def test_dry_run_of_a_vgpu_pool_prints_the_document_of_the_real_run(four: Any,
                                                                    words: List[str]) -> None:
    place, _uuids, _good = four
    sql(place, "UPDATE pools SET enabled = 0 WHERE pool_id = 'A' AND 'enable-pool' = '%s'"
        % words[0])
    fields = ('counts', 'changes', 'pool_changes')
    rehearsed = place.run(*words, '--dry-run', '--json').document
    done = place.run(*words, '--json').document
    assert [rehearsed[field] for field in fields] == [done[field] for field in fields]
    assert (rehearsed['result'], done['result']) == ('would_be_changed', 'changed')
    assert rehearsed['pool'] == done['pool']


# What was shown is what is applied.

def make_foreign(place: Place) -> None:
    sql(place, 'PRAGMA user_version = 0')


@pytest.mark.parametrize('words', [
    ['restore', 'GOOD'], ['import', 'DOCUMENT'], ['disable-pool', '--pool-id=A'], ['adopt'],
    ['accept'], ['remove-vm', '--gone'], ['transfer-vm', '--gone']], ids=lambda words: words[0])
def test_registry_that_changes_while_a_question_is_open_is_left_alone(
        four: Any, words: List[str]) -> None:
    place, uuids, good = four
    place.create_vm(name='manual', args=span(40, 'B', 'high'))
    gone, back = place.create_vm(name='gone'), place.create_vm(name='back', args=span(30))
    place.registry_row(gone, 30)
    place.xapi.call('VM.destroy', gone)
    if words[0] == 'accept':
        make_foreign(place)
    words = [{'GOOD': good, 'DOCUMENT': write(place, DISABLED)}.get(word, word) for word in words]
    asked = Asked(place, *words)
    new = place.uuid(place.create_vm(name='new'))
    assert place.run('register-vm', '--vm-uuid=' + new).status == 0
    before = place.rows()
    status, _out, err = asked.answer('yes')
    assert status == 4 and 'changed meanwhile' in err
    assert place.rows() == before and new in numbers(place)
    assert is_enabled(place, 'A') and args_of(place, uuids[0]) == span(1)
    assert place.args(back) == span(30)


def test_row_that_changes_while_a_question_is_open_is_left_alone(four: Any) -> None:
    place, uuids, _good = four
    place.start_vm(place.xapi.find(uuids[0]))
    asked = Asked(place, 'set-pool', '--vm-uuid=' + uuids[0], '--pool=B')
    sql(place, "UPDATE vms SET priority = 2 WHERE vm_id = 1")
    status, _out, err = asked.answer('yes')
    assert status == 4 and 'changed meanwhile' in err
    assert place.rows()[0][3:] == ('A', 2)


@pytest.mark.parametrize('pool_id', ['A', 'B'])
def test_vgpu_pool_that_is_disabled_while_its_vm_is_asked_about_stops_no_vm(
        four: Any, pool_id: str) -> None:
    place, uuids, _good = four
    place.start_vm(place.xapi.find(uuids[0]))
    asked, before = Asked(place, 'set-pool', '--vm-uuid=' + uuids[0], '--pool=B'), place.rows()
    boots = len(place.xapi.boots)
    sql(place, "UPDATE pools SET enabled = 0 WHERE pool_id = '%s'" % pool_id)
    status, _out, err = asked.answer('yes')
    assert status == 4 and 'vGPU pool %s was changed meanwhile' % pool_id in err
    assert place.rows() == before and len(place.xapi.boots) == boots


def test_vgpu_pool_that_is_renamed_while_its_vm_is_asked_about_changes_nothing_of_it(
        four: Any) -> None:
    place, uuids, _good = four
    place.start_vm(place.xapi.find(uuids[0]))
    asked = Asked(place, 'set-pool', '--vm-uuid=' + uuids[0], '--pool=B')
    sql(place, "UPDATE pools SET pool_name = 'other'")
    assert asked.answer('yes')[0] == 0 and place.rows()[0][3] == 'B'


def test_registry_that_changes_while_keeping_it_is_asked_about_is_not_kept(four: Any) -> None:
    place, uuids, _good = four
    mirror(place, Vm(9, uuids[0], None, 'A', Priority.MEDIUM))
    asked = Asked(place, 'registry', 'keep')
    sql(place, 'UPDATE vms SET priority = 2 WHERE vm_id = 3')
    status, _out, err = asked.answer('yes')
    assert status == 4 and 'changed meanwhile' in err
    asked = Asked(place, 'registry', 'rebuild')
    sql(place, 'UPDATE vms SET priority = 0 WHERE vm_id = 3')
    before = place.rows()
    status, _out, err = asked.answer('yes')
    assert status == 4 and 'changed meanwhile' in err and place.rows() == before


def test_other_rows_may_change_while_a_question_about_one_is_open(four: Any) -> None:
    place, uuids, _good = four
    place.start_vm(place.xapi.find(uuids[0]))
    asked = Asked(place, 'remove-vm', '--vm-uuid=' + uuids[0])
    sql(place, "UPDATE vms SET priority = 2 WHERE vm_id = 2",
        "UPDATE vms SET vm_name = 'other', weight = 9 WHERE vm_id = 1")
    assert asked.answer('yes')[0] == 0
    assert uuids[0] not in numbers(place)


# The set is judged by its end.

def test_numbers_are_swapped_by_an_import(four: Any) -> None:
    place, uuids, good = four
    text = 'vm_uuid,vm_id\n%s,2\n%s,1\n' % (uuids[0], uuids[1])
    done = subprocess.run(place.command('import', '-'), input=text.encode('ascii'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          **place.surroundings({}))
    assert done.returncode == 0, done.stderr
    assert [numbers(place)[uuid] for uuid in uuids] == [2, 1, 3, 4]
    assert place.run('restore', good, '--yes').status == 0
    assert [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]


def test_conflict_in_two_lines_is_told_for_both(four: Any) -> None:
    place, uuids, _good = four
    path = write(place, 'vm_uuid,vm_id\n%s,3\n%s,3\n' % (uuids[0], uuids[1]))
    run = place.run('import', path)
    assert run.status == 4 and 'line 2' in run.err and 'line 3' in run.err
    assert [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]


# What the file swallows.

@pytest.mark.parametrize('event, words', [
    ('INSERT', ['register-vm', '--vm-uuid=NEW']),
    ('INSERT', ['import', 'LIST']),
    ('UPDATE', ['set-priority', '--vm-uuid=FIRST', '--priority=high']),
    ('DELETE', ['remove-vm', '--vm-uuid=FIRST']),
    ('DELETE', ['restore', 'NOTHING', '--yes']),
    ('UPDATE', ['transfer-vm', '--from=FIRST', '--to=NEW']),
], ids=lambda item: item if isinstance(item, str) else item[0])
def test_trigger_that_swallows_a_change_is_a_conflict_that_names_it(
        four: Any, event: str, words: List[str]) -> None:
    place, uuids, _good = four
    new = place.uuid(place.create_vm(name='new'))
    sql(place, GUARD % (event, 'vms'))
    before, history = place.rows(), place.history()
    files = {'NOTHING': {'format': 1, 'pools': [{'pool_id': 'A'}], 'vms': []},
             'LIST': 'vm_uuid\n%s\n' % new}
    words = [write(place, files[word]) if word in files else
             word.replace('NEW', new).replace('FIRST', uuids[0]) for word in words]
    run = place.run(*words)
    assert run.status == 4 and 'the guard' in run.err
    assert (place.rows(), place.history()) == (before, history)


def test_trigger_on_vgpu_pools_is_named(four: Any) -> None:
    place, _uuids, _good = four
    sql(place, GUARD % ('UPDATE', 'pools'))
    run = place.run('disable-pool', '--pool-id=A', '--yes')
    assert run.status == 4 and 'the guard' in run.err and is_enabled(place, 'A')


def test_trigger_that_never_ends_does_not_hold_a_command_up(four: Any) -> None:
    place, uuids, _good = four
    sql(place, 'CREATE TABLE many (n)', 'CREATE TABLE counted (n)',
        'CREATE TRIGGER endless BEFORE UPDATE ON vms BEGIN INSERT INTO counted SELECT a.n FROM '
        'many a, many b, many c, many d, many e, many f; END')
    connection = sqlite3.connect(place.db)
    with connection:
        connection.executemany('INSERT INTO many VALUES (?)', [(n,) for n in range(200)])
    connection.close()
    began_at = time.monotonic()
    run = place.run('set-priority', '--vm-uuid=' + uuids[0], '--priority=high')
    assert run.status == 4 and 'endless' in run.err
    assert time.monotonic() - began_at < 40 and place.rows()[0][4] == 1


# Rows are found by their UUID only, also odd ones.

@pytest.mark.parametrize('kind', ["TEXT DEFAULT 'x'", 'INTEGER DEFAULT 7'])
def test_one_row_goes_whatever_a_column_is_called(four: Any, kind: str) -> None:
    place, uuids, _good = four
    sql(place, 'ALTER TABLE vms ADD COLUMN rowid ' + kind)
    assert place.run('remove-vm', '--vm-uuid=' + uuids[0], '--yes').status == 0
    assert sorted(numbers(place).values()) == [2, 3, 4]


@pytest.mark.parametrize('statement, shown', [
    ("UPDATE vms SET priority = 'high' WHERE vm_id = 1", None),
    ("UPDATE vms SET vm_uuid = vm_uuid || ' ' WHERE vm_id = 1", ' '),
    ("UPDATE vms SET vm_uuid = 'what is this' WHERE vm_id = 1", 'what is this'),
    ("UPDATE vms SET vm_uuid = '' WHERE vm_id = 1", ''),
    ("UPDATE vms SET vm_id = -3 WHERE vm_id = 1", None),
], ids=['priority', 'blank', 'text', 'empty', 'number'])
def test_odd_row_is_shown_and_replaced_by_a_restore_and_can_be_removed(
        four: Any, statement: str, shown: Optional[str]) -> None:
    place, uuids, good = four
    sql(place, 'PRAGMA ignore_check_constraints = 1')
    connection = sqlite3.connect(place.db, isolation_level=None)
    connection.execute('PRAGMA ignore_check_constraints = 1')
    connection.execute(statement)
    connection.close()
    found = place.run('check')
    assert found.status == 1 and "'vgpu-admin remove-vm --vm-uuid=UUID'" in found.out
    run = place.run('restore', good, '--dry-run', '--json')
    assert run.status == 0 and 'problem' in json.dumps(run.document['changes'])
    # What `check` shows is enough to be rid of the row.
    named = {None: uuids[0], ' ': uuids[0] + ' '}.get(shown, shown)
    rows = place.rows()
    removed = place.run('remove-vm', f'--vm-uuid={named}', '--yes')
    # Of what it said nothing is made up.
    assert removed.status == 0 and ': row removed; it was not valid\n' in removed.out, removed
    assert len(place.rows()) == 3 and place.run('check').status == 0
    assert len(rows) == 4
    run = place.run('restore', good, '--yes')
    assert run.status == 0 and [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]


def test_odd_row_is_named_as_check_shows_it(four: Any) -> None:
    place, _uuids, _good = four
    sql(place, "UPDATE vms SET vm_uuid = char(27) || '[31m' || char(10) WHERE vm_id = 1")
    assert '\\x1b[31m\\x0a' in place.run('check').out
    assert place.run('remove-vm', '--vm-uuid=\\x1b[31m\\x0a').status == 0
    assert len(place.rows()) == 3


def test_vm_whose_row_is_odd_is_not_registered_a_second_time(four: Any) -> None:
    place, uuids, _good = four
    sql(place, "UPDATE vms SET vm_uuid = vm_uuid || ' ' WHERE vm_id = 1")
    for words in (['register-vm'], ['set-pool', '--pool=B']):
        run = place.run(*words, '--vm-uuid=' + uuids[0])
        assert run.status == 4 and 'remove-vm' in run.err and len(place.rows()) == 4


def test_restore_mends_an_odd_row_in_place(four: Any) -> None:
    place, uuids, good = four
    sql(place, "UPDATE vms SET vm_uuid = vm_uuid || ' ', weight = 66 WHERE vm_id = 1")
    run = place.run('restore', good, '--yes')
    assert run.status == 0 and 'mended' in run.err
    connection = sqlite3.connect(place.db)
    assert connection.execute('SELECT weight FROM vms WHERE vm_uuid = ?', (uuids[0],)
                              ).fetchall() == [(66,)]
    connection.close()


# Restoring what is lost.

def test_lost_registry_is_restored_only_after_a_yes(four: Any) -> None:
    place, uuids, good = four
    os.remove(place.db)
    assert place.run('restore', good, '--dry-run').status == 0 and not os.path.exists(place.db)
    assert place.run('restore', good).status == 2 and not os.path.exists(place.db)
    assert place.answer('no\n', 'restore', good).status == 1 and not os.path.exists(place.db)
    assert place.run('restore', good, '--yes').status == 0
    assert [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]


def test_restore_is_a_cure_for_a_registry_that_lost_its_rows(four: Any) -> None:
    place, uuids, good = four
    sql(place, 'DELETE FROM vms')
    run = place.run('list-vms')
    assert run.status == 5
    run = place.run('accept', '--dry-run', '--json')
    assert run.status == 0 and {vm['vm_uuid'] for vm in run.document['missing']} == set(uuids)
    assert place.run('restore', good, '--yes').status == 0
    assert [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]


@pytest.mark.parametrize('statement', ['DROP TABLE vms', 'PRAGMA user_version = 99', ''],
                         ids=['without-a-table', 'too-new', 'damaged'])
@pytest.mark.parametrize('source', ['file', 'history'])
def test_restore_is_a_cure_for_a_registry_of_no_use_and_keeps_it(
        four: Any, statement: str, source: str) -> None:
    place, uuids, good = four
    if statement:
        sql(place, statement)
    else:
        with open(place.db, 'r+b') as file:
            file.write(b'no database' * 400)
    words = [good] if source == 'file' else ['--at=2099-01-01']
    before = sorted(os.listdir(place.directory))
    run = place.run('restore', *words, '--dry-run')
    assert run.status == 0 and 'would be set aside, and a new one created' in run.err
    assert sorted(os.listdir(place.directory)) == before
    asked = Asked(place, 'restore', *words)
    # What becomes of the file is said before the answer.
    assert b'it is set aside, and a new one is created' in asked.said
    status, _out, err = asked.answer('yes')
    assert status == 0 and 'what was there before is kept as' in err
    assert [numbers(place)[uuid] for uuid in uuids] == [1, 2, 3, 4]
    assert place.run('check').status == 0
    assert len([name for name in os.listdir(place.directory) if '.replaced-' in name]) >= 1


def test_list_of_a_restore_is_printed_once(four: Any) -> None:
    place, uuids, good = four
    assert place.run('remove-vm', '--vm-uuid=' + uuids[0]).status == 0
    run = place.run('restore', good, '--yes')
    assert run.status == 0 and (run.out + run.err).count(uuids[0]) == 1
    assert '1 added, 3 unchanged' in run.out


# A change of a running VM that is only rehearsed.

def test_dry_run_shows_what_is_and_what_would_be_and_whether_the_vm_restarts(four: Any) -> None:
    place, uuids, _good = four
    place.start_vm(place.xapi.find(uuids[0]))
    words = ['set-pool', '--vm-uuid=' + uuids[0], '--pool=B', '--dry-run']
    run = place.run(*words)
    assert run.status == 0
    for text in (f'({uuids[0]}): pool A → B', 'Nothing was changed',
                 'the VM would be stopped and started'):
        assert text in run.out
    document = place.run(*words, '--json').document
    assert (document['before']['pool_id'], document['vm']['pool_id'], document['restart']) \
        == ('A', 'B', True)
    run = place.run(*words, '--no-restart')
    assert 'requires' not in run.out and 'until it is shut down' in run.out
    halted = place.run('set-pool', '--vm-uuid=' + uuids[1], '--pool=B', '--dry-run')
    assert 'no VM would be restarted' in halted.out


# A lock that somebody has.

def test_lock_is_told_after_a_second_and_its_holder_named(four: Any) -> None:
    place, uuids, _good = four
    code = ('import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n'
            'c.execute("BEGIN IMMEDIATE")\nprint("held", flush=True)\nsys.stdin.read()')
    holder = subprocess.Popen([sys.executable, '-c', code, place.db], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b'held\n'
        process = place.start('set-priority', '--vm-uuid=' + uuids[0], '--priority=high')
        said = process.stderr.readline().decode('utf-8')
        assert 'waiting for' in said and f'process {holder.pid}' in said
        assert process.wait(60) == 5
        assert f'process {holder.pid}' in process.stderr.read().decode('utf-8')
        process.communicate()
        process = place.start('set-priority', '--vm-uuid=' + uuids[0], '--priority=high')
        assert 'waiting for' in process.stderr.readline().decode('utf-8')
    finally:
        holder.communicate()
    assert process.wait(60) == 0
    process.communicate()


# Rows that go to other VMs.

def test_row_goes_to_a_restored_copy(four: Any) -> None:
    place, uuids, _good = four
    sql(place, 'UPDATE vms SET weight = 33 WHERE vm_id = 2')
    copy = place.create_vm(name='restored', args=span(2))
    run = place.run('transfer-vm', '--from=' + uuids[1], '--to=restored', '--dry-run', '--json')
    assert run.status == 0 and run.document['result'] == 'would_be_transferred'
    assert numbers(place)[uuids[1]] == 2
    run = place.run('transfer-vm', '--from=' + uuids[1], '--to=' + place.uuid(copy), '--json')
    assert run.status == 0 and run.document['result'] == 'transferred'
    assert [(item['change'], item['from_uuid'], item['vm_uuid'])
            for item in run.document['changes']] == [('moved', uuids[1], place.uuid(copy))]
    assert place.rows()[1] == (2, place.uuid(copy), 'restored', 'A', 1)
    assert place.args(copy) == span(2)
    told = [entry for entry in place.history() if entry.what.startswith('vm_')][:2]
    assert [(entry.command, entry.what, entry.vm_uuid) for entry in told] == [
        ('transfer-vm', 'vm_added', place.uuid(copy)), ('transfer-vm', 'vm_removed', uuids[1])]


@pytest.mark.parametrize('words, status', [
    (['--from=NOBODY', '--to=NEW'], 3), (['--from=FIRST', '--to=SECOND'], 4),
    (['--from=FIRST', '--to=NOBODY'], 3), (['--from=FIRST', '--to=no such name'], 3),
    (['--from=FIRST', '--to=FIRST'], 2), (['--from=FIRST'], 2), ([], 2),
    (['--gone', '--from=FIRST'], 2), (['--from=FIRST', '--to=TEMPLATE'], 1),
])
def test_row_that_cannot_be_given_away_stays(four: Any, words: List[str], status: int) -> None:
    place, uuids, _good = four
    template = place.create_vm(name='golden')
    place.xapi.call('VM.set_is_a_template', template, True)
    known = {'FIRST': uuids[0], 'SECOND': uuids[1], 'NEW': place.uuid(place.create_vm('new')),
             'NOBODY': '00000000-1111-2222-3333-444444444444', 'TEMPLATE': place.uuid(template)}
    for name, value in known.items():
        words = [word.replace('=' + name, '=' + value) for word in words]
    before = place.rows()
    run = place.run('transfer-vm', *words)
    assert (run.status, place.rows()) == (status, before), run.err


def test_rows_of_vms_that_are_gone_are_proposed_and_removed(four: Any) -> None:
    place, uuids, _good = four
    for uuid in uuids[:3]:
        place.xapi.call('VM.destroy', place.xapi.find(uuid))
    back = place.create_vm(name='back', args=span(1))
    for name in ('twin', 'other twin'):
        place.create_vm(name=name, args=span(2))
    place.create_vm(name='replica', args=span(3), blocked_operations={'start': 'replica'})
    run = place.run('transfer-vm', '--gone')
    assert run.status == 2 and numbers(place)[uuids[0]] == 1
    run = place.run('transfer-vm', '--gone', '--yes', '--json')
    assert run.status == 0 and run.document['counts'] == {'moved': 1}
    assert numbers(place) == {place.uuid(back): 1, uuids[1]: 2, uuids[2]: 3, uuids[3]: 4}
    said = ' '.join(run.document['notes'])
    assert 'several VMs' in said and 'no VM has brought' in said
    assert f"'vgpu-admin transfer-vm --from={uuids[2]} --to=VM' gives the row to one, " in said
    run = place.run('remove-vm', '--gone', '--dry-run', '--json')
    assert run.document['counts'] == {'removed': 2} and len(place.rows()) == 4
    assert place.run('remove-vm', '--gone').status == 2
    assert place.run('remove-vm', '--gone', '--yes').status == 0
    assert numbers(place) == {place.uuid(back): 1, uuids[3]: 4}
    assert place.run('remove-vm', '--gone', '--json').document['result'] == 'unchanged'
    assert place.run('remove-vm', '--gone', '--vm-uuid=' + uuids[3]).status == 2


def test_vm_that_became_a_template_is_not_gone(four: Any) -> None:
    place, uuids, _good = four
    place.xapi.call('VM.set_is_a_template', place.xapi.find(uuids[0]), True)
    assert place.run('remove-vm', '--gone', '--yes', '--json').document['result'] == 'unchanged'


def test_number_that_a_vm_bears_does_not_use_up_the_automatic_ones(four: Any) -> None:
    place, _uuids, _good = four
    place.create_vm(name='huge', args=span(2147483645))
    new = place.uuid(place.create_vm(name='new'))
    assert place.run('register-vm', '--vm-uuid=' + new).status == 0
    wait_until(lambda: numbers(place).get(new) == 5, 'the next number')


# What was shown is not said a second time.

@pytest.mark.parametrize('is_asked', [False, True], ids=['told', 'asked'])
def test_the_vms_of_a_vgpu_pool_that_is_disabled_are_named_once(four: Any, is_asked: bool) -> None:
    place, uuids, _good = four
    words = ['disable-pool', '--pool-id=A']
    run = place.answer('yes\n', *words) if is_asked else place.run(*words, '--yes')
    assert run.status == 0
    assert run.err.count('vGPU pool A: enabled → disabled') == 1 and 'changed  ' not in run.err
    assert all(run.err.count(f'({uuid})') == 1 and uuid not in run.out for uuid in uuids)
    assert run.out == ('vGPU pool A: enabled → disabled\n'
                       'Each of 4 VMs: staged: its next start takes none of our arguments\n')


def test_an_import_without_xapi_says_that_its_vms_wait(four: Any) -> None:
    place, uuids, _good = four
    place.xapi.stop()
    place.xapi = None
    run = place.run('import', write(place, 'vm_uuid,pool_id\n%s,B\n' % uuids[0]))
    assert run.status == 0 and run.out.splitlines()[2].startswith(
        'vm-001: saved, not staged: XAPI is not reachable')
    assert 'the daemon stages it when XAPI answers' in run.out
    run = place.run('remove-vm', 'vm-001', '--dry-run')
    assert run.status == 0 and run.out.splitlines()[-1].startswith(
        'Nothing was changed (dry run); whether a VM would be stopped is not known: XAPI is not ')
    run = place.run('set-pool', 'vm-001', '--pool=B')
    assert 'pool B; whether it is staged is not known: XAPI is not reachable: ' in run.out


def test_a_transfer_that_is_asked_for_again_changes_nothing_and_says_so(four: Any) -> None:
    place, uuids, _good = four
    copy = place.uuid(place.create_vm(name='restored', args=span(2)))
    words = ['transfer-vm', '--from=' + uuids[1], '--to=' + copy]
    assert place.run(*words).status == 0
    rows, history = place.rows(), place.history()
    for more in ([], ['--dry-run']):
        run = place.run(*words, *more)
        assert run.status == 0 and run.out == (
            f'restored ({copy}) already has the row of VM {uuids[1]} (pool A, priority medium, '
            'vm_id 2); nothing to do\n')
    assert place.run(*words, '--json').document['result'] == 'unchanged'
    assert (place.rows(), place.history()) == (rows, history)
    # What was not moved from there is no such transfer, nor one that was changed since.
    assert place.run('transfer-vm', '--from=' + uuids[1], '--to=' + uuids[0]).status == 3
    assert place.run('remove-vm', copy).status == 0
    assert place.run('register-vm', copy).status == 0
    assert place.run(*words).status == 3


# An edit waits for the daemon, unless told not to.

@pytest.mark.parametrize('words', [
    ['import', 'LIST'], ['restore', 'NONE', '--yes'], ['adopt', '--yes'],
    ['transfer-vm', '--from=FIRST', '--to=manual'], ['transfer-vm', '--gone', '--yes'],
    ['disable-pool', '--pool-id=A', '--yes'], ['enable-pool', '--pool-id=B'],
    ['update-pool', '--pool-id=A', '--disable', '--yes'],
    ['registry', 'rebuild', '--source=history', '--yes'],
], ids=lambda words: '-'.join(word.strip('-') for word in words[:2]))
def test_every_edit_that_waits_for_the_daemon_can_be_told_not_to(four: Any,
                                                                 words: List[str]) -> None:
    place, uuids, _good = four
    sql(place, "UPDATE pools SET enabled = 0 WHERE pool_id = 'B'")
    place.create_vm(name='manual', args='-device vgpu-cuda,pool_id=A,priority=1,vm_id=40')
    for number, pool_id in ((50, 'B'), (60, 'A')):
        ref = place.create_vm(name=f'vm-{number}')
        with place.registry.edit(who='test', command='test') as edit:
            edit.add_vm(place.uuid(ref), vm_name=f'vm-{number}', vm_id=number, pool_id=pool_id)
    place.create_vm(name='back', args=span(60, 'A', 'low'))
    place.xapi.call('VM.destroy', ref)
    if words[0] == 'registry':
        sql(place, 'DELETE FROM vms WHERE vm_id = 1')
        place.xapi.call('VM.remove_from_platform', place.xapi.find(uuids[0]), KEY)
    files = {'LIST': 'vm_uuid,pool_id\n%s,B\n' % uuids[0],
             'NONE': {'format': 1, 'pools': [{'pool_id': 'A'}], 'vms': []}}
    words = [write(place, files[word]) if word in files else
             word.replace('FIRST', uuids[0]) for word in words]
    with WriterLock(place.db) as lock:
        assert lock.acquire()
        run = place.run(*words, '--no-wait')
    assert run.status == 0, run.err
    assert 'the running daemon stages it' in run.out and 'within 3 s' not in run.out


def test_what_is_asked_about_is_not_told_as_done(four: Any) -> None:
    place, uuids, good = four
    other = '00000000-0000-4000-8000-000000000009'
    for words in (['register-vm', f'--vm-uuid={other}', '--missing-ok'],
                  ['remove-vm', f'--vm-uuid={uuids[0]}', '--no-restart']):
        assert place.run(*words).status == 0
    for words in (['remove-vm', '--gone'], ['restore', good]):
        told = '1 to be removed.' if words[0] == 'remove-vm' else '1 to be added, 1 to be removed.'
        assert told[:-1] in place.run(*words, '--dry-run').out
        asked = place.answer('no\n', *words)
        assert asked.status == 1 and told in asked.err
    run = place.run('restore', good, '--yes')
    assert told in run.err and '1 added, 1 removed, 3 unchanged.' in run.out
    assert place.run('restore', good, '--yes', '--json').document['staging'] == {}
