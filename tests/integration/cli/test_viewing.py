"""The commands that look, and the manners of the command line."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import Dict

import pytest

from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from tests.integration.cli.program import Place, span
from tests.support import programs
from tests.support.documents import ROOT

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
FIXTURES = os.path.join(ROOT, 'tests', 'fixtures')


@pytest.fixture
def later(place: Place) -> Place:
    """A registry that the earlier tool wrote, and no XAPI."""
    shutil.copy(os.path.join(FIXTURES, 'registry-later-form.db'), place.db)
    os.chmod(place.db, 0o644)
    return place


def test_a_foreign_registry_is_listed_in_the_known_order(later: Place) -> None:
    run = later.run('list-vms', '--json')
    order = [(vm['pool_id'], vm['priority'], vm['vm_id']) for vm in run.document['vms']]
    assert order == sorted(order, key=lambda item: (
        item[0], -['low', 'medium', 'high'].index(item[1]), item[2]))
    assert len(order) == len(later.rows()) > 0


def test_lists_can_be_narrowed(later: Place) -> None:
    document = later.run('list-vms', '--pool=B', '--priority=high', '--json').document
    assert [vm['vm_id'] for vm in document['vms']] == [10]


def test_a_vm_is_shown_in_the_known_lines(later: Place) -> None:
    run = later.run('show-vm', '--vm-name=Test-2')
    assert run.status == 0
    assert run.out.splitlines()[:6] == [
        'VM Configuration:', '  UUID: 00000002-1111-2222-3333-444444444442', '  Name: Test-2',
        '  VM ID: 10', '  Pool: B', '  Priority: high (2)']


def test_show_vm_gives_the_documented_fields(later: Place) -> None:
    vm = later.run('show-vm', '--vm-name=Test-2', '--json').document['vm']
    assert {'vm_uuid', 'vm_name', 'vm_id', 'pool_id', 'priority', 'last_boot'} <= set(vm)
    assert vm['priority'] == 'high' and vm['last_boot'] is None


def test_pools_are_listed_and_shown_with_their_counts(later: Place) -> None:
    pools = later.run('list-pools', '--json').document['pools']
    assert [pool['pool_id'] for pool in pools] == ['A', 'B']
    assert all({'pool_name', 'description', 'enabled', 'vm_count'} <= set(pool)
               for pool in pools)
    pool = later.run('show-pool', '--pool-id=B', '--json').document['pool']
    assert pool['vm_count'] == len(pool['vms']) == pools[1]['vm_count']


def test_show_vm_by_uuid_imports_no_xapi_when_there_is_none(later: Place) -> None:
    code = ('import sys; from cli.__main__ import main; '
            "status = main(['--db', %r, 'show-vm', '--vm-uuid', %r]); "
            "sys.exit(status or bool({'XenAPI', 'structlog', 'apscheduler'} & set(sys.modules)))"
            % (later.db, '00000002-1111-2222-3333-444444444442'))
    assert subprocess.call([sys.executable, '-c', code], cwd=ROOT,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


@pytest.mark.parametrize('words', [
    pytest.param(['--db={db}', 'list-vms', '--json'], id='before'),
    pytest.param(['list-vms', '--json', '--db', '{db}'], id='after'),
    pytest.param(['--json', '--db', '{db}', 'list-vms'], id='with-blanks-before'),
])
def test_options_stand_before_or_after_the_command(later: Place, words: list) -> None:
    run = later.run(*[word.format(db=later.db) for word in words])
    assert run.status == 0 and len(run.document['vms']) == len(later.rows())


@pytest.mark.parametrize('words,said', [
    pytest.param([], 'help', id='no-command'),
    pytest.param(['lst-vms'], "did you mean 'list-vms'? See 'vgpu-admin help'", id='mistyped-command'),
    pytest.param(['list-vms', '--prioritty=high'], "did you mean '--priority'", id='mistyped'),
    pytest.param(['list-vms', '--pri=high'], 'unknown option', id='abbreviated-option'),
    pytest.param(['list-vms', '--priority=urgent'], 'low, medium, high', id='allowed-values'),
    pytest.param(['list-vms', '--pool'], 'needs a value', id='no-value'),
    pytest.param(['list-vms', '--json=yes'], 'takes no value', id='value-of-a-flag'),
    pytest.param(['list-vms', '--vm-id=1'], 'not an option of list-vms', id='of-another'),
    pytest.param(['list-vms', 'extra'], "options only, not 'extra'", id='extra-word'),
    pytest.param(['show-vm'], '--vm-uuid', id='no-vm'),
    pytest.param(['update-vm', '--vm-uuid=' + UUID], '--pool', id='nothing-to-change'),
    pytest.param(['set-pool', '--vm-uuid=' + UUID], '--pool', id='no-new-value'),
    pytest.param(['list-vms', '--pool=A', '--pool=B'], 'given twice', id='twice'),
    pytest.param(['fence'], 'fence clear', id='half-a-command'),
])
def test_what_is_not_understood_is_a_usage_error(later: Place, words: list, said: str) -> None:
    run = later.run(*words)
    assert run.status == 2 and said in run.err and run.out == ''


def test_a_usage_error_is_json_when_json_was_asked_for(later: Place) -> None:
    run = later.run('list-vms', '--pool=C', '--json')
    assert run.status == 2 and run.error['kind'] == 'usage'
    assert json.loads(run.err)['format'] == 1


def test_a_word_behind_two_dashes_is_no_option_for_an_error_either(later: Place) -> None:
    run = later.run('list-vms', '--', '--json')
    assert run.status == 2 and run.err.startswith("vgpu-admin: list-vms takes options only")


def test_a_missing_configuration_is_a_usage_error(later: Place) -> None:
    run = later.run('list-vms', '--config', '/nowhere/watcher.conf')
    assert run.status == 2  # given twice
    assert programs.run('cli', ['list-vms', '--config=/nowhere/x'],
                        **programs.surroundings())[0] == 2


@pytest.mark.parametrize('content', [
    pytest.param(None, id='missing'), pytest.param(b'', id='empty'),
    pytest.param(b'no database' * 500, id='corrupt'),
])
def test_a_registry_that_cannot_be_read_is_unavailable(place: Place, content: bytes) -> None:
    if content is not None:
        with open(place.db, 'wb') as stream:
            stream.write(content)
    for command in ('list-vms', 'list-pools', 'scan-vms', 'check'):
        run = place.run(command, '--json')
        assert run.status == 5 and run.error['kind'] == 'unavailable', command
        assert 'registry rebuild' in run.error['message']
    run = place.run('status', '--json')
    assert run.status == 5 and 'registry rebuild' in run.document['registry']['problem']
    assert place.run('set-pool', '--vm-uuid=' + UUID, '--pool=B').status == 5


def test_a_vm_of_which_nothing_is_known_is_told_in_one_line(later: Place) -> None:
    run = later.run('show-vm', '--vm-uuid=11111111-1111-1111-1111-111111111111')
    assert run.status == 3 and run.err.count('\n') == 1
    assert 'is not registered, and XAPI is not reachable' in run.err


def test_scan_and_status_without_xapi_are_unavailable(later: Place) -> None:
    assert later.run('scan-vms').status == 5
    run = later.run('status')
    assert run.status == 5 and '=== Pool A: Pool A' in run.out and 'XAPI does not answer' in run.out


def test_hostile_names_are_shown_escaped(pool: Place) -> None:
    name = 'a\x1b[2Jb\x9bc\u202ed\ne'
    ref = pool.create_vm(name)
    assert pool.run('register-vm', '--vm-uuid=' + pool.uuid(ref)).status == 0
    for words in (['list-vms'], ['scan-vms'], ['status'], ['show-vm', 'uuid=' + pool.uuid(ref)]):
        run = pool.run(*words)
        assert 'a\\x1b[2Jb\\x9bc\\u202ed\\x0ae' in run.out, words
        assert not set('\x1b\x9b\u202e') & set(run.out + run.err)
    assert pool.run('list-vms', '--json').document['vms'][0]['vm_name'] == name


def test_rows_that_cannot_be_understood_are_named_and_hide_no_other(later: Place) -> None:
    connection = sqlite3.connect(later.db)
    with connection:
        connection.execute("INSERT INTO vms (vm_id, vm_uuid, pool_id, priority) "
                           "VALUES (99, 'x\x1by', 'A', 1)")
    connection.close()
    run = later.run('list-vms')
    assert run.status == 0 and 'Test-1' in run.out and 'x\\x1by' in run.err
    run = later.run('check')
    assert run.status == 1 and 'x\\x1by' in run.out


def test_the_scan_shows_each_group_and_what_each_vm_carries(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web', '--priority=high')
    pool.create_vm('manual', args=span(40))
    plain = pool.create_vm('plain')
    run = pool.run('scan-vms')
    lines = run.out.splitlines()
    assert lines[0] == '=== Pool A: 1 VMs ==='
    assert lines[1] == ('UUID: %s | Name: web | Pool: A | Priority: high (2) | VM ID: 1 | '
                        '\u2713 Configured | Power: Halted | Carries: %s'
                        % (pool.uuid(ref), span(1, 'A', 'high')))
    assert '=== Unregistered VMs: 2 ===' in lines
    assert lines[-1] == ("UUID: %s | Name: plain | Status: \u26a0 Not registered | "
                         "Action: Run 'vgpu-admin register-vm' | Power: Halted | Carries: -"
                         % pool.uuid(plain))
    # Of one vGPU pool nothing is said of the VMs that are in none.
    assert pool.run('scan-vms', '--pool=A').out.splitlines() == lines[:2]
    assert pool.run('scan-vms', '--pool=A', '--json').document['groups']['unregistered'] == []
    states = pool.run('scan-vms', '--json').document['states']
    assert states == {'as_desired': 1, 'manual': 1, 'unregistered': 1}


def test_a_disabled_pool_s_vm_is_not_called_configured(pool: Place) -> None:
    pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.run('disable-pool', '--pool-id=A', '--yes')
    scan = pool.run('scan-vms').out
    assert ('| \u26a0 Disabled (vGPU pool A is disabled: it gets no arguments) | Power: Halted | '
            'Carries: -') in scan
    shown = pool.run('show-vm', 'web').out
    assert 'State: as_desired (vGPU pool A is disabled: it gets no arguments)' in shown
    assert pool.run('show-vm', 'web', '--json').document['vm']['state'] == 'as_desired'


def test_the_scan_tells_drift_by_its_exit_status_when_asked(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    assert pool.run('scan-vms', '--exit-code').status == 0
    pool.xapi.call('VM.remove_from_platform', ref, 'device-model-args')
    assert pool.run('scan-vms', '--exit-code').status == 6
    assert pool.run('scan-vms').status == 0


def test_ticks_are_shown_only_where_the_locale_can(pool: Place) -> None:
    pool.create_vm('caf\u00e9')
    pool.run('register-vm', '--vm-name=caf\u00e9')
    run = pool.run('scan-vms', environment={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    assert run.status == 0 and '| OK Configured |' in run.out and 'caf\\xe9' in run.out


@pytest.mark.parametrize('locale, is_shown', [
    ({'LC_ALL': 'C'}, False), ({'LC_ALL': 'POSIX', 'LANG': 'C.UTF-8'}, False),
    ({'LANG': 'C'}, False), ({'LANG': 'C', 'LC_ALL': 'C.UTF-8'}, True),
    ({'LANG': 'C.UTF-8'}, True)])
def test_the_locale_c_shows_no_ticks_though_python_could(
        pool: Place, locale: Dict[str, str], is_shown: bool) -> None:
    pool.create_vm('web')
    pool.run('register-vm', 'web')
    run = pool.run('scan-vms', environment=dict(
        {'LC_ALL': '', 'LC_CTYPE': '', 'LANG': '', 'PYTHONIOENCODING': ''}, **locale))
    assert run.status == 0 and ('\u2713' in run.out) is is_shown


def test_a_reader_that_goes_away_is_no_error(later: Place) -> None:
    process = later.start('list-vms')
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 0 and err == b''


def test_identifiers_only_as_xe_prints_them(later: Place) -> None:
    run = later.run('list-vms', '--minimal', '--pool=B')
    assert run.out.count(',') == len(run.out.strip().split(',')) - 1 > 0
    assert later.run('list-pools', '--minimal').out == 'A,B\n'


def test_xe_spellings_of_a_vm_are_accepted(later: Place) -> None:
    assert later.run('show-vm', 'name-label=Test-2').status == 0
    assert later.run('show-vm', 'uuid=00000002-1111-2222-3333-444444444442').status == 0


def test_every_command_has_a_help_that_ends_with_an_example(place: Place) -> None:
    from cli.commandline.commands import COMMANDS
    for command in COMMANDS:
        run = place.run('help', command.name)
        assert run.status == 0
        assert run.out.splitlines()[-1].startswith('  vgpu-admin ' + command.name)
    assert place.run('--help').out == place.run('help').out
    assert place.run('set-pool', '--help').out == place.run('help', 'set-pool').out


def test_init_creates_once(place: Place) -> None:
    assert place.run('init', '--json').document['result'] == 'created'
    assert place.run('init', '--json').document['result'] == 'already_there'
    assert place.run('check').status == 0


def test_accept_shows_the_plan_and_asks(later: Place) -> None:
    assert later.run('accept').status == 2
    assert later.answer('no\n', 'accept').status == 1
    assert not later.registry.read().accepted
    before = later.rows()
    assert later.run('accept', '--yes').status == 0
    assert later.registry.read().accepted and later.rows() == before
    assert later.run('accept', '--json').document['result'] == 'already_accepted'


def test_a_start_block_that_0_1_left_is_lifted_and_a_foreign_one_is_not(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.xapi.call('VM.add_to_blocked_operations', ref, 'start', 'vgpu-watcher: left behind')
    pool.xapi.call('VM.add_to_blocked_operations', ref, 'start_on', 'somebody else')
    run = pool.run('fence', 'clear', '--json')
    assert run.status == 0 and run.document['lifted'] == 1
    assert pool.xapi.vm(ref)['blocked_operations'] == {'start_on': 'somebody else'}


def test_without_a_daemon_reconcile_lifts_a_start_block_that_0_1_left(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.xapi.call('VM.add_to_blocked_operations', ref, 'start', 'vgpu-watcher: left behind')
    assert pool.run('reconcile').status == 0
    assert pool.xapi.vm(ref)['blocked_operations'] == {}


@pytest.mark.parametrize('command', ['scan-vms', 'status'])
def test_a_survey_costs_three_calls(pool: Place, command: str) -> None:
    pool.create_vm('web')
    pool.xapi.clear_calls()
    assert pool.run(command).status == 0
    assert [call.method for call in pool.xapi.calls] == [
        'session.login_with_password', 'VM.get_all_records', 'session.logout']


def test_a_record_that_cannot_be_understood_is_unreadable_and_not_orphaned(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.xapi.add_fault('record', method='VM', ref=ref, parameters={'set': {'platform': 'x'}})
    run = pool.run('scan-vms', '--json')
    assert [vm['state'] for vm in run.document['vms']] == ['unreadable']
    assert 'could not be understood' in run.document['notes'][0]
    run = pool.run('set-pool', '--vm-uuid=' + pool.uuid(ref), '--pool=B', '--json')
    assert run.status == 0 and run.document['staging']['result'] == 'not_asked'


def test_a_value_that_is_left_alone_is_shown_with_the_command_that_mends_it(pool: Place) -> None:
    pool.create_vm('web', args='-foo "bar')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    vm = pool.run('show-vm', '--vm-name=web', '--json').document['vm']
    assert vm['state'] == 'unreadable' and 'unbalanced' in vm['problem']
    assert vm['mend'].endswith("platform:device-model-args='-foo bar'")
    assert 'Mend it with: xe vm-param-set' in pool.run('show-vm', '--vm-name=web').out


def test_a_contested_number_is_shown_by_every_command(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.registry_row(ref, 77)
    pool.create_vm('bearer', args=span(77))
    for words in (['show-vm', '--vm-name=web'], ['show-vm', '--vm-name=bearer']):
        assert pool.run(*words, '--json').document['vm']['state'] == 'contested'
    states = pool.run('scan-vms', '--json').document['states']
    assert states == {'contested': 2}
    out = pool.run('scan-vms').out
    assert out.count('an unregistered VM had its number before') == 1
    assert out.count('had its number before the row that has it now') == 1
    # Who was first cannot be told without the journal: the owner must not be given another number.
    with open(pool.registry.journal_path, 'wb') as stream:
        stream.write(b'garbage' * 1000)
    for words, count in ((['scan-vms'], 2), (['status'], 2), (['show-vm', 'web'], 1)):
        out = pool.run(*words).out
        assert 'before' not in out and out.count('change nothing until it can') == count


@pytest.mark.parametrize('verdict,is_listed', [
    ('missing', True), ('unverified', True), ('frozen', False), ('pending', False)])
def test_only_boots_that_need_a_look_need_attention(pool: Place, verdict: str,
                                                    is_listed: bool) -> None:
    ref = pool.create_vm('web')
    pool.registry_row(ref, 1)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, pool.uuid(ref), 'web', 'resume', None, 1, None, None,
                    '2026-01-01 00:00:00', closed_at='2026-01-01 00:00:01', verdict=verdict)
        journal.write_boot(journal.open_boot(boot), boot)
    boots = pool.run('status', '--json').document['boots']
    assert bool(boots) is is_listed


def test_withheld_boot_of_an_unregistered_vm_needs_attention_and_is_explained(pool: Place) -> None:
    """P26: while it runs; later the scan shows what it carries."""
    ref = pool.create_vm('copy')
    pool.xapi.call('VM.start', ref, False, False)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, pool.uuid(ref), 'copy', 'start', None, 1, None, None,
                    '2026-01-01 00:00:00', closed_at='2026-01-01 00:00:01', verdict='withheld',
                    carried=span(5))
        journal.write_boot(journal.open_boot(boot), boot)
    assert [item['verdict'] for item in pool.run('status', '--json').document['boots']] == [
        'withheld']
    assert "start: withheld: 'vgpu-admin explain copy'\n" in pool.run('status').out
    run = pool.run('explain', '--vm-uuid', pool.uuid(ref))
    assert run.status == 0 and 'verdict withheld' in run.out
    assert "belongs to the row of another VM" in run.out
    pool.xapi.call('VM.hard_shutdown', ref)
    assert pool.run('status', '--json').document['boots'] == []


def test_explain_shows_what_is_odd_about_the_vm_now(pool: Place) -> None:
    ref = pool.create_vm('odd', args='-foo "')
    assert pool.run('register-vm', 'odd').status == 0
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        boot = Boot(0, pool.uuid(ref), 'odd', 'start', None, 1, None, None, '2026-01-01 00:00:00',
                    closed_at='2026-01-01 00:00:01', verdict='missing')
        journal.write_boot(journal.open_boot(boot), boot)
    said = ("\n  State: unreadable (its device-model-args cannot be parsed; see 'vgpu-admin show-vm "
            "odd')\n")
    assert said in pool.run('explain', 'odd').out and said in pool.run('explain', 'odd', '--all').out
    pool.xapi.call('VM.remove_from_platform', ref, 'device-model-args')
    pool.run('reconcile')
    assert 'State:' not in pool.run('explain', 'odd').out


def test_status_shows_what_the_consumer_of_this_host_does(pool: Place) -> None:
    document = pool.run('status', '--json').document
    # There is no dom0 around these tests.
    assert document['consumer']['state'] == 'no_dom0'
    assert document['consumer']['numbers_confirmed'] is False
    assert 'Consumer: ' in pool.run('status').out


def test_a_running_copy_is_told_whose_number_it_carries_and_how_to_get_its_own(
        pool: Place) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    pool.start_vm(pool.create_vm('copy', args=span(1)))
    hint = ("doubled (carries vm_id 1, that of web, and loses that when it is halted: "
            "'vgpu-admin register-vm copy' gives it a number of its own)")
    assert f'State: {hint}' in pool.run('show-vm', 'copy').out
    assert hint in pool.run('status').out
    line = pool.run('scan-vms').out.splitlines()[-1]
    assert 'Doubled number |' in line and line.count('register-vm copy') == 1, line


def test_a_vm_without_a_row_is_called_so_once(pool: Place) -> None:
    pool.create_vm('web')
    out = pool.run('show-vm', 'web').out
    assert "State: unregistered (no row; 'vgpu-admin register-vm web')" in out
    assert 'Status' not in out


def test_an_xapi_that_hangs_is_called_the_same_by_all(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.registry_row(ref, 1)
    with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.open_boot(Boot(0, pool.uuid(ref), 'web', 'start', 'host', 5, 'boot', None, ''))
        opened = journal.last_boot(pool.uuid(ref))
        journal.write_boot(opened.id, opened._replace(verdict='missing',
                                                      closed_at=opened.opened_at))
    pool.xapi.add_fault('hang', method='session.login_with_password')
    for words, said in ((['scan-vms'], 'vgpu-admin: XAPI did not answer within '),
                        (['show-vm', pool.uuid(ref)], 'vgpu-admin: XAPI did not answer within '),
                        (['explain', pool.uuid(ref)], '  not known: XAPI did not answer within ')):
        run = pool.run(*words)
        assert said in run.err + run.out, run
