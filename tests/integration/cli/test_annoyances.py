"""What annoyed an administrator at the terminal: outputs that cannot be written, slips of names."""

import os
import sqlite3
import subprocess
import sys
from typing import Any

import pytest

from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, span
from watcher.version import VERSION


def _run(place: Place, redirection: str, *words: str) -> Any:
    """Run the program from a shell; status and what it said on standard error."""
    surroundings = place.surroundings({})
    done = subprocess.run(['sh', '-c', 'exec "$@" ' + redirection, 'sh'] + place.command(*words),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **surroundings)
    return done.returncode, done.stderr.decode('utf-8')


@pytest.mark.parametrize('words', [['list-vms'], ['list-vms', '--json'], ['export'],
                                   ['scan-vms'], ['help'], ['completion'],
                                   ['history', '--minimal']], ids=' '.join)
def test_an_output_on_a_full_disk_is_a_failure_in_one_line(pool: Place, words: list) -> None:
    status, said = _run(pool, '>/dev/full', *words)
    assert (status, said) == (1, 'vgpu-admin: the output could not be written: '
                              'No space left on device\n')


def test_a_full_disk_does_not_hide_that_an_edit_was_made(pool: Place) -> None:
    ref = pool.create_vm('web')
    status, said = _run(pool, '>/dev/full', 'register-vm', '--vm-name=web')
    assert status == 1 and 'could not be written' in said and 'Traceback' not in said
    assert pool.args(ref) == span(1) and len(pool.rows()) == 1


@pytest.mark.parametrize('redirection', ['>&-', '2>&-', '2>/dev/full', '<&-', '>&- 2>&- <&-'])
def test_streams_that_are_closed_or_full_do_not_stop_a_restart(pool: Place,
                                                               redirection: str) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    pool.start_vm(ref)
    status, said = _run(pool, redirection, 'set-pool', '--vm-name=web', '--pool=B', '--yes')
    assert (status, 'Traceback' in said) == (0, False)
    assert pool.power(ref) == 'Running' and pool.xapi.boots[-1].args == span(1, 'B')


def test_a_slip_in_a_name_is_met_with_the_nearest_one(pool: Place) -> None:
    pool.create_vm('web01')
    pool.create_vm('data\x1bbase')
    run = pool.run('show-vm', '--vm-name=wbe01')
    assert run.status == 3 and "did you mean 'web01'?" in run.err
    run = pool.run('show-vm', '--vm-name=databsae')
    assert run.status == 3 and "did you mean 'data\\x1bbase'?" in run.err


@pytest.mark.parametrize('words,hint', [
    pytest.param(['set-pool', '--vm-name=web01', 'B'], 'example:', id='another-word'),
    pytest.param(['show-vm', 'web01', 'web02'], 'example:', id='two-words'),
    pytest.param(['status', 'web01'], 'example:', id='no-vm-wanted'),
    pytest.param(['enable-pool', 'B'], '--pool-id=B', id='a-pool'),
    pytest.param(['show-vm', '--name-label=web01'], "'name-label=' without", id='xe-with-dashes'),
    pytest.param(['show-vm', '--vm-name', '--odd'], '--vm-name=--odd', id='a-name-with-dashes')])
def test_a_bare_word_is_met_with_the_option_that_was_meant(pool: Place, words: list,
                                                           hint: str) -> None:
    run = pool.run(*words)
    assert run.status == 2 and hint in run.err


def test_a_vm_is_named_by_a_bare_word_before_or_behind_the_options(pool: Place) -> None:
    pool.create_vm('web01')
    assert pool.run('register-vm', 'web01').status == 0
    shown = pool.run('show-vm', '--vm-name=web01', '--json').document
    for words in (['show-vm', 'web01', '--json'], ['--json', 'show-vm', '--', 'web01'],
                  ['show-vm', '--json', shown['vm']['vm_uuid'].upper()]):
        assert pool.run(*words).document == shown
    run = pool.run('set-priority', 'web01', '--priority=low', '--no-restart')
    assert run.status == 0, run.err
    assert pool.run('show-vm', 'web01', '--json').document['vm']['priority'] == 'low'
    assert pool.run('show-vm', '--', '--odd').status == 3


def test_the_configuration_is_named_by_the_environment_and_more_so_by_the_line(
        pool: Place, tmp_path: Any) -> None:
    def run(config: str, *words: str) -> Any:
        return subprocess.run([sys.executable, '-m', 'cli'] + list(words), timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **pool.surroundings({'VGPU_CONFIG': config}))
    pool.create_vm('web01')
    assert pool.run('register-vm', 'web01').status == 0
    none = str(tmp_path / 'none')
    named = run(none, '--config', pool.config, 'list-vms', '--json')
    asked = run(pool.config, 'list-vms', '--json')
    assert named.returncode == 0 and b'web01' in named.stdout
    assert asked.stdout == named.stdout
    missing = run(none, 'list-vms')
    assert missing.returncode == 2 and b'none' in missing.stderr
    assert run('', 'help').returncode == 0


def test_what_the_daemon_has_not_staged_yet_is_not_called_drift_without_a_word(
        pool: Place) -> None:
    pool.create_vm('web')
    pool.create_vm('other')
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        run = pool.run('register-vm', '--vm-name=web', '--no-wait', '--verbose')
        assert run.status == 0 and 'drift (the daemon is staging it)' in run.out
        assert 'Saved; the running daemon stages it.' in run.out
        run = pool.run('set-pool', 'web', '--pool=B')
        assert run.status == 0 and 'Not staged: the daemon has not done it within 3 s' in run.out
        with open(pool.directory + '/list', 'w', encoding='utf-8') as stream:
            stream.write('other\n')
        run = pool.run('register-vm', '--from-file=' + pool.directory + '/list')
    assert 'other: not staged: the daemon has not done it within 3 s' in run.out


def test_a_registry_that_somebody_writes_is_shown_all_the_same(pool: Place) -> None:
    other = sqlite3.connect(pool.db, isolation_level=None)
    other.execute('BEGIN IMMEDIATE')
    assert pool.run('list-vms').status == 0
    other.close()


_AS_NOBODY = '''
import os, pkgutil, importlib, sys
import configparser, json  # nobody may read what is imported later
import cli, registry, watcher
for package in (cli, registry, watcher):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        if not module.name.endswith('.__main__'):
            importlib.import_module(module.name)
from cli.__main__ import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
'''


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_whoever_is_not_root_is_told_what_cannot_be_seen_and_nothing_that_is_wrong(
        pool: Place) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    os.chmod(pool.directory, 0o755)

    def run(*words: str) -> Any:
        done = subprocess.run([sys.executable, '-c', _AS_NOBODY] + list(words)
                              + ['--config=' + pool.config], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              **pool.surroundings({}))
        return done.returncode, done.stdout.decode('utf-8'), done.stderr.decode('utf-8')

    assert run('list-vms')[0] == 0
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        _status, out, err = run('status')
    assert 'pid %d' % os.getpid() in out, err
    assert 'XAPI: \u26a0 is not reachable: no permission for ' + pool.socket in out
    assert 'you are not root' in err and 'systemctl' not in out
    for words in (['history'], ['explain', '--vm-name=web'], ['watch']):
        status, out, err = run(*words)
        assert (status, out) == (5, '') and err.count('cannot be read') == 1, (words, out, err)
        assert err.endswith('\nvgpu-admin: you are not root: run vgpu-admin as root\n')
    status, out, err = run('plan')
    assert (status, out) == (5, '') and 'no permission for ' + pool.socket in err
    assert 'Errno' not in err and 'systemctl' not in err
    os.chmod(pool.config, 0o600)
    status, out, err = run('list-vms')
    assert (status, out) == (2, '') and err.endswith('you are not root: run vgpu-admin as root\n')
    status, out, err = run('doctor')
    assert f"'vgpu-watcher check-config --config={pool.config}'" in out
    assert status == 1 and 'you are not root' in err and '\n1 check: ' in out
    os.chmod(pool.config, 0o644)
    status, out, err = run('set-pool', '--vm-name=web', '--pool=B')
    assert (status, out) == (5, '') and 'cannot be written' in err
    assert pool.rows()[0][3] == 'A'


def test_a_question_whose_input_ends_leaves_its_line(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.run('register-vm', '--vm-name=web')
    pool.start_vm(ref)
    run = pool.answer('\x04', 'set-pool', '--vm-name=web', '--pool=B')
    assert '(yes/no): \nvgpu-admin: not confirmed' in run.err


@pytest.mark.parametrize('words', [['--version'], ['-V'], ['status', '--version']], ids=' '.join)
def test_the_version_is_told_without_registry_and_xapi(place: Place, words: list) -> None:
    run = place.run(*words)
    assert (run.status, run.out, run.err) == (0, 'vgpu-admin %s\n' % VERSION, '')
    assert place.run(*words, '--json').document == {'format': 1, 'version': VERSION}


@pytest.mark.parametrize('name,typed', [
    pytest.param('e\u0301t\u00e9', '\u00e9t\u00e9', id='composed-otherwise'),
    pytest.param('new\nline', 'new\\x0aline', id='as-it-is-shown'),
    pytest.param('  web ', 'web', id='blanks')])
def test_a_name_that_only_looks_the_same_is_met_with_the_uuid(pool: Place, name: str,
                                                              typed: str) -> None:
    ref = pool.create_vm(name)
    run = pool.run('register-vm', '--vm-name=' + typed)
    assert run.status == 3 and 'looks the same: name it by --vm-uuid=' + pool.uuid(ref) in run.err
    path = os.path.join(pool.directory, 'list')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(typed + '\n')
    run = pool.run('register-vm', '--from-file=' + path)
    assert run.status == 3 and '--vm-uuid=' + pool.uuid(ref) in run.err


def test_the_bad_lines_of_a_list_are_told_in_their_order(pool: Place) -> None:
    pool.create_vm('web01')
    path = os.path.join(pool.directory, 'list')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('web01\nweb01\nnobody\n\nwbe01\n')
    said = pool.run('register-vm', '--from-file=' + path).err.splitlines()
    assert [line.split(':')[1].strip() for line in said[:-1]] == ['line 2', 'line 3', 'line 5']
    assert "did you mean 'web01'?" in said[2]


def test_what_a_daemon_leaves_alone_is_not_said_to_be_staged_by_it(pool: Place) -> None:
    pool.create_vm('odd', '-device vgpu-stub,pool_id="A')
    run_ref = pool.create_vm('runs', span(2, 'B'))
    pool.registry_row(run_ref, 2)
    gone = pool.create_vm('gone', span(3))
    pool.registry_row(gone, 3)
    pool.start_vm(run_ref)
    with pool.registry.edit(who='test', command='test') as edit:
        edit.change_vm(pool.uuid(run_ref), pool_id='B')
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        run = pool.run('register-vm', '--vm-name=odd')
        assert run.status == 0 and 'cannot be parsed and are left alone' in run.out
        assert 'daemon' not in run.out
        run = pool.run('disable-pool', '--pool-id=B', '--yes')
        assert pool.uuid(run_ref) + ': saved; applied at its next boot: pending' in run.out
        run = pool.run('remove-vm', '--vm-uuid=' + pool.uuid(gone), '--json')
        assert (run.document['vm']['state'], run.document['vm']['desired']) == ('orphaned', None)


def test_a_vgpu_pool_that_is_disabled_is_why_a_vm_gets_nothing(pool: Place) -> None:
    said = "vGPU pool B is disabled: its VMs get no arguments until 'vgpu-admin enable-pool " \
        "--pool-id=B'"
    for name in ('web', 'db', 'runs'):
        pool.create_vm(name)
    assert pool.run('disable-pool', '--pool-id=B', '--yes').status == 0
    run = pool.run('register-vm', 'web', '--pool=B')
    assert run.status == 0 and said in run.err
    assert 'Staged: its next start takes none of our arguments.' in run.out
    assert said not in pool.run('set-priority', 'web', '--priority=high').err
    run = pool.run('register-vm', 'db')
    assert run.err == '' and 'Staged: its next start takes it.' in run.out
    run = pool.run('set-pool', 'db', '--pool=B', '--json')
    assert run.document['notes'] == [said]
    run = pool.run('enable-pool', '--pool-id=B')
    assert run.err == '' and run.out.endswith('Each of 2 VMs: staged: its next start takes it\n')


def test_a_running_vm_whose_row_was_removed_keeps_its_arguments_until_it_is_shut_down(
        pool: Place) -> None:
    web, other = pool.create_vm('web'), pool.create_vm('other')
    assert pool.run('register-vm', 'web', 'other').status == 0
    for ref in (web, other):
        pool.start_vm(ref)
    late = pool.create_vm('late')
    pool.start_vm(late)
    assert pool.run('register-vm', 'late').status == 0
    assert pool.run('plan').out == (f'late ({pool.uuid(late)}), Running: waits for shutdown: '
                                    'nothing → A/medium/3\n')
    asked = pool.answer('no\n', 'apply-pending')
    assert asked.status == 1 and 'Do you want to restart it? (yes/no)' in asked.err
    assert pool.run('apply-pending', '--dry-run').out.endswith(
        'Nothing was changed (dry run).\n')
    assert pool.run('remove-vm', 'web', '--no-restart').status == 0
    assert pool.run('remove-vm', 'web').err == (
        f"vgpu-admin: web ({pool.uuid(web)}) is not registered; see 'vgpu-admin list-vms'\n")
    said = 'orphaned (its row was removed; it keeps our arguments until it is shut down)'
    assert 'State: ' + said in pool.run('show-vm', 'web').out
    assert said in pool.run('status').out
    run = pool.run('remove-vm', 'other', '--yes')
    assert run.out.endswith('  Stopped; staged: its next start takes none of our arguments.\n')


def test_what_we_staged_for_an_earlier_row_is_not_called_made_by_hand(pool: Place) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', 'web', '--priority=high').status == 0
    pool.start_vm(ref)
    assert pool.run('remove-vm', 'web', '--no-restart').status == 0
    run = pool.run('register-vm', 'web')
    assert run.err.startswith(f'vgpu-admin: web ({pool.uuid(ref)}) runs with A/high/1 from its '
                              'earlier registration until it is shut down and started\n')
    assert 'by hand' not in run.err


def test_a_dry_run_judges_the_state_as_the_edit_would(pool: Place) -> None:
    """What the row's removal would take away was called made by hand."""
    ref = pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    words = ['remove-vm', 'web', '--dry-run']
    document = pool.run(*words, '--json').document
    assert (document['vm']['state'], document['restart'], document['before']['vm_id']) \
        == ('orphaned', False, 1)
    assert ('State: orphaned (its row would be removed; its next start takes none of our '
            'arguments)\nNothing was changed (dry run).\n') in pool.run(*words, '--verbose').out
    assert 'State: drift (it would be staged)' in pool.run(
        'set-pool', 'web', '--pool=B', '--dry-run', '--verbose').out
    pool.start_vm(ref)
    for words, said in (
            (['remove-vm', 'web'], '; the VM would be stopped.'),
            (['remove-vm', 'web', '--restart'], '; the VM would be stopped and started.'),
            (['remove-vm', 'web', '--no-restart'], '.'),
            (['register-vm', 'web', '--restart'], '.')):
        run = pool.run(*words, '--dry-run')
        assert run.out.endswith('\nNothing was changed (dry run)' + said + '\n'), words
    late = pool.create_vm('late')
    pool.start_vm(late)
    words = ['register-vm', 'late', '--dry-run', '--restart']
    assert pool.run(*words).out.endswith('(dry run); the VM would be stopped and started.\n')
    assert pool.run(*words, '--json').document['restart'] is True
    assert pool.power(late) == 'Running' and len(pool.rows()) == 1


def test_what_is_so_already_and_not_staged_says_so(pool: Place) -> None:
    pool.registry_row(pool.create_vm('web'), 1)
    ref = pool.create_vm('late')
    pool.start_vm(ref)
    undone = "; not staged yet: the daemon stages it; without one: 'vgpu-admin reconcile'\n"
    for words in (['register-vm', 'web'], ['set-pool', 'web', '--pool=A']):
        assert pool.run(*words).out.endswith(undone)
    assert pool.run('register-vm', 'late').status == 0
    run = pool.run('set-priority', 'late', '--priority=medium', '--no-restart')
    assert run.out.endswith('; it runs with none of our arguments until it is shut down and '
                            "started: 'vgpu-admin apply-pending late'\n")


def test_a_vm_that_was_restarted_is_not_said_to_wait_for_it(pool: Place) -> None:
    run_ref, _rests = pool.create_vm('runs'), pool.create_vm('rests')
    pool.start_vm(run_ref)
    run = pool.run('register-vm', 'runs', 'rests', '--restart')
    assert run.status == 0 and 'pending' not in run.out, run.err
    lines = run.out.splitlines()
    assert lines[1].startswith('  Restarted; ') and lines[3] == '  Staged: its next start takes it.'
    assert len(lines) == 5 and pool.xapi.boots[-1].args == span(1)


def test_what_was_made_by_hand_is_not_replaced_without_a_word(pool: Place) -> None:
    refs = {name: pool.create_vm(name, args=span(number, 'B', 'low'))
            for number, name in ((40, 'one'), (41, 'two'), (42, 'same'))}
    pool.create_vm('new')
    uuids = {name: pool.uuid(ref) for name, ref in refs.items()}
    said = ('{0} ({1}) carried B/low/{2}, made by hand, {3}; to keep that for good: vgpu-admin '
            'update-vm --vm-uuid={1} --pool=B --priority=low --vm-id={2}')
    assert pool.run('register-vm', 'one', '--dry-run').err == (
        f"vgpu-admin: one ({uuids['one']}) carries B/low/40, made by hand; 'vgpu-admin adopt' "
        'registers a VM with what it carries\n')
    expected = said.format('one', uuids['one'], 40, 'and keeps it until it is staged')
    run = pool.run('register-vm', 'one')
    assert run.err == f'vgpu-admin: {expected}\n'
    pool.start_vm(refs['two'])
    run = pool.run('register-vm', 'two', 'new', '--json')
    two = said.format('two', uuids['two'], 41, 'and keeps it until it is shut down and started')
    assert run.document['notes'][0] == two
    assert pool.run(*two.partition(': vgpu-admin ')[2].split()).status == 0
    assert 'State: as_desired' in pool.run('show-vm', 'two').out
    run = pool.run('register-vm', 'same', '--pool=B', '--priority=low', '--vm-id=42')
    assert (run.status, run.err) == (0, '')


def test_an_adoption_names_what_cannot_be_adopted_and_what_to_do(pool: Place) -> None:
    for name, args in (('odd', '-device vgpu-stub,pool_id="A'), ('one', span(7)),
                       ('two', span(7)), ('none', '-device vgpu-stub,pool_id=A')):
        pool.create_vm(name, args)
    run = pool.run('adopt', '--dry-run')
    assert run.status == 0 and run.err.count('is left alone') == 4
    assert run.err.count("'vgpu-admin register-vm'") == 3 and "'vgpu-admin show-vm odd'" in run.err
    scan = pool.run('scan-vms').out
    assert scan.count("Action: Run 'vgpu-admin register-vm' or 'vgpu-admin adopt'") == 3


def test_scripts_get_words_and_the_vms_that_need_attention(pool: Place) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    assert pool.run('status', '--minimal').out == '\n'
    pool.start_vm(ref)
    assert pool.run('set-priority', '--vm-name=web', '--priority=high', '--no-restart').status == 0
    assert pool.run('status', '--minimal').out == pool.uuid(ref) + '\n'
    entry = pool.run('history', '--limit=1', '--json').document['history'][0]
    assert (entry['before']['priority'], entry['after']['priority']) == ('medium', 'high')


def test_an_xapi_that_went_away_is_named(pool: Place) -> None:
    pool.xapi.stop()
    with open(pool.socket, 'w', encoding='utf-8'):
        run = pool.run('scan-vms')
    assert run.status == 5 and 'XAPI is not reachable: ' in run.err


# What is said of a system that is not well.

def test_what_waits_for_a_shutdown_without_a_daemon_says_so(pool: Place) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', 'web').err == ''
    pool.start_vm(ref)
    for words in (['set-pool', 'web', '--pool=B', '--no-restart'],
                  ['set-priority', 'web', pool.uuid(ref), '--priority=low', '--no-restart'],
                  ['disable-pool', '--pool-id=B', '--yes']):
        run = pool.run(*words)
        assert run.status == 0, run.err
        assert run.err.count('no daemon is running: what is not staged yet waits until one runs: systemctl start') == 1
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        run = pool.run('set-pool', 'web', '--pool=A', '--no-restart')
    assert run.status == 0 and 'no daemon' not in run.err
    assert pool.run('set-pool', 'web', '--pool=B', '--no-restart', '--json').document['notes'][1:] == [
        'no daemon is running: what is not staged yet waits until one runs: systemctl start vgpu-watcher']


def test_an_xapi_that_is_away_is_said_once_with_where_to_look(pool: Place) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    pool.xapi.stop()
    pool.xapi = None
    for words in (['plan'], ['scan-vms'], ['adopt'], ['registry', 'compare'], ['fence', 'clear'],
                  ['transfer-vm', '--gone'], ['show-vm', 'web'], ['set-pool', 'web', '--pool=B'],
                  ['register-vm', 'other'], ['disable-pool', '--pool-id=B', '--yes']):
        run = pool.run(*words)
        said = run.err + run.out
        assert said.count('XAPI is not reachable: no socket at ' + pool.socket) == 1, words
        assert 'could not be asked' not in said and 'Errno' not in said, words
    assert pool.run('plan').err.endswith("; see 'systemctl status xapi'\n")


def test_errors_call_vms_by_the_names_that_were_typed(pool: Place) -> None:
    web, other = (pool.create_vm(name) for name in ('web', 'other'))
    assert pool.run('register-vm', 'web', '--vm-id=7').status == 0
    for words, said in (
            (['remove-vm', 'other'], f'other ({pool.uuid(other)}) is not registered'),
            (['set-pool', 'other', '--pool=B'], "register it with 'vgpu-admin register-vm other'"),
            (['register-vm', 'other', '--vm-id=7'], f'taken by web ({pool.uuid(web)})'),
            (['transfer-vm', '--from=' + pool.uuid(other), '--to=web'], pool.uuid(other)),
            (['explain', 'other'], f'no boot of other ({pool.uuid(other)})')):
        run = pool.run(*words)
        assert run.status in (3, 4) and said in run.err, run.err


def test_what_there_is_nothing_to_do_for_says_why(pool: Place) -> None:
    hand = pool.create_vm('hand', args='-device vgpu-stub,pool_id=B,priority=high,vm_id=40')
    for words, said in (
            (['transfer-vm', '--gone'], 'XAPI has the VM of every row; nothing to do.\n'),
            (['remove-vm', '--gone'], 'XAPI has the VM of every row; nothing to do.\n'),
            (['init'], f'The registry {pool.db} already exists; nothing to do.\n'),
            (['accept'], f'The registry {pool.db} is already accepted; nothing to do.\n')):
        run = pool.run(*words)
        assert (run.status, run.out) == (0, said)
    assert pool.run('adopt', '--dry-run').out == (
        f'hand ({pool.uuid(hand)}): pool B, priority high, vm_id 40\n'
        '1 VM would be registered.\nNothing was changed (dry run).\n')


def test_a_vm_that_is_left_alone_is_told_with_the_reason_in_words(pool: Place) -> None:
    pool.create_vm('odd', args='-device vgpu-stub,pool_id="A')
    said = ("unreadable (its device-model-args cannot be parsed; see "
            "'vgpu-admin show-vm odd')")
    assert f'left alone: {said}' in pool.run('plan').out
    assert said in pool.run('status').out
    assert 'State: unreadable\n' in pool.run('show-vm', 'odd').out  # the cure stands above it


def test_an_empty_list_says_of_what_there_is_none(pool: Place) -> None:
    pool.registry_row(pool.create_vm('web'), 1)
    for words, said in ((['--pool=B'], ' in vGPU pool B'), (['--priority=high'],
                                                            ' with priority high'),
                        (['--pool=A', '--priority=low'], ' in vGPU pool A with priority low')):
        assert pool.run('list-vms', *words).out == f'No VM is registered{said}.\n'


def test_a_plan_calls_vms_by_their_names(pool: Place) -> None:
    ref = pool.create_vm('web')
    pool.registry_row(ref, 1)
    assert pool.run('plan').out == f'web ({pool.uuid(ref)}), Halted: to be staged: A/medium/1\n'
    assert pool.run('reconcile').out == (
        f'web ({pool.uuid(ref)}): staged: its next start takes it\n')
