"""doctor as a program: each check good and bad, on real files, a real daemon and the simulator."""

import json
import os
import sqlite3
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest
from pytest_mock import MockerFixture

from cli.__main__ import main
from cli.consumer import withholding
from cli.consumer.installation import FRAGMENTS, OURS, SETTING, STOCK, ConsumerHost
from cli.doctor import registry_checks
from cli.doctor.findings import CheckResult, Finding, bad, doubtful, good, render_findings, skipped
from cli.output.text import Style
from cli.queries.daemon_status import parse_note
from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from registry.sqlite.timestamps import render_timestamp
from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, span, wait_until
from tests.support import programs
from tests.support.left_by_0_1 import BLOCK, add_replacement
from watcher.consumer.numbers_file import Numbers
from watcher.consumer.run_directory import RunDirectory, read_instant
from watcher.errors import XapiUnreachable
from watcher.version import VERSION

STOCK_TEXT = "import sys\nargs = ['qemu-system-i386', '-xen-domid']\n"
PATCHED_TEXT = STOCK_TEXT + "while len(args) > 9:\n    pass\nargs.append('device-model-args')\n"
HOOK = '/etc/xapi.d/pool-pre-ha-vm-restart/50-vgpu-watcher'


def examine(place: Place) -> Dict[str, Tuple[str, str]]:
    """Check -> (verdict, what it saw)."""
    run = place.run('doctor', '--json', '--root', place.directory)
    found = list_findings(run.document)
    is_failed = any(verdict == 'fail' for verdict, _saw in found.values())
    assert run.status == (1 if is_failed else 0), run
    assert all(item['advice'] or item['verdict'] in ('ok', 'skip')
               for item in run.document['checks'])
    return found


def list_findings(document: Dict[str, Any]) -> Dict[str, Tuple[str, str]]:
    """Check -> (verdict, what it saw)."""
    return {item['check']: (item['verdict'], item['saw']) for item in document['checks']}


def write(place: Place, path: str, text: str, mode: int = 0o644) -> None:
    """Put a file into the directory that stands for dom0."""
    target = place.directory + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(target, mode)


def journal(place: Place) -> Journal:
    return Journal(place.registry.journal_path, timeout_seconds=5.0)


@pytest.fixture
def daemon(pool: Place) -> Iterator[subprocess.Popen]:
    """The real daemon on the registry and XAPI of the pool."""
    process = programs.start('watcher', ['run', '--config', pool.config],
                             stderr=subprocess.DEVNULL, **pool.surroundings({}))
    wait_until(lambda: json.loads(note(pool) or '{}').get('since'), 'the note of the daemon')
    yield process
    process.kill()
    process.wait()


def note(place: Place) -> Any:
    with journal(place) as opened:
        return opened.read_note('daemon')


# All at once.

def test_everything_is_well_beside_a_daemon(pool: Place, daemon: subprocess.Popen) -> None:
    prepare_dom0(pool)
    give_key(pool, 0o600)
    found = examine(pool)
    assert {check: found[check] for check in found if found[check][0] != 'ok'} \
        == {'password': ('skip', 'there is none')}
    assert set(found) >= {
        'configuration', 'versions', 'verification', 'consumer', 'hooks', 'registry',
        'registry.accepted', 'registry.mode', 'space', 'journal', 'journal.mode', 'boots',
        'daemon', 'daemon.watching', 'daemon.version', 'mirror', 'mirror.key', 'xapi',
        'xapi.version', 'xapi.role',
        'platform-filter', 'clock', 'fences', 'drift', 'numbers'}
    run = pool.run('doctor', '--root', pool.directory)
    assert run.status == 0 and '0 failed' in run.out


def prepare_dom0(place: Place) -> None:
    write(place, STOCK, STOCK_TEXT)
    write(place, OURS, '#!/bin/true\n', 0o755)
    for path in FRAGMENTS:
        write(place, path, '%s = %s\n' % (SETTING, OURS))
    write(place, HOOK, '#!/bin/true\n', 0o755)


def give_key(place: Place, mode: int) -> None:
    """A secret of the pool, with this mode."""
    write(place, '/ptoken', 'a/b/c', mode)
    with open(place.config, 'a', encoding='utf-8') as stream:
        stream.write('[mirror]\nkey_file = %s/ptoken\n' % place.directory)


def test_secret_that_others_may_read_signs_nothing_that_counts(place: Place) -> None:
    verdict, saw = examine(place)['mirror.key']
    assert verdict == 'warn' and 'not signed' in saw
    give_key(place, 0o644)
    verdict, saw = examine(place)['mirror.key']
    assert verdict == 'fail' and '0644' in saw


def test_nothing_there_at_all_is_told_and_not_an_error_of_ours(place: Place) -> None:
    found = examine(place)
    assert found['registry'][0] == found['daemon'][0] == found['xapi'][0] == 'fail'
    assert found['consumer'][0] == found['hooks'][0] == found['clock'][0] == 'skip'


def test_what_comes_with_the_registry_is_no_fault_of_a_daemon_that_waits_for_it(
        place: Place) -> None:
    with WriterLock(place.db) as lock:
        assert lock.acquire()
        found = examine(place)
    assert found['registry'][0] == 'fail' and found['daemon'][0] == 'ok'
    for check in ('journal', 'daemon.watching', 'mirror'):
        assert found[check][0] == 'skip', found[check]


def test_bad_configuration_is_a_finding(place: Place) -> None:
    with open(place.config, 'a', encoding='utf-8') as stream:
        stream.write('[nonsense]\na = b\n')
    found = examine(place)
    assert list(found) == ['configuration'] and found['configuration'][0] == 'fail'


def test_doctor_changes_nothing(pool: Place) -> None:
    pool.registry_row(pool.create_vm(), 5)
    pool.xapi.clear_calls()
    before = os.stat(pool.db)
    examine(pool)
    assert [call.method for call in pool.xapi.calls
            if 'add_to' in call.method or 'remove_from' in call.method] == []
    after = os.stat(pool.db)
    assert (before.st_mtime, before.st_size) == (after.st_mtime, after.st_size)


# One thing is wrong.

def damage_registry(place: Place) -> None:
    with open(place.db, 'r+b') as stream:
        stream.write(b'not a database at all')


def doubt_row(place: Place) -> None:
    connection = sqlite3.connect(place.db)
    with connection:
        connection.execute("INSERT INTO vms (vm_id, vm_uuid) VALUES (7, 'no uuid')")
    connection.close()


def open_to_all(place: Place) -> None:
    os.chmod(place.db, 0o666)


def open_journal(place: Place) -> None:
    os.chmod(place.registry.journal_path, 0o644)


def give_registry_away(place: Place) -> None:
    os.chown(place.db, 12345, -1)


def damage_journal(place: Place) -> None:
    with open(place.registry.journal_path, 'r+b') as stream:
        stream.write(b'not a database at all')


def leave_replacement(place: Place) -> None:
    with journal(place):
        add_replacement(place.registry.journal_path, 'u', 'OpaqueRef:u', 'a', 'b')


def boot_wrong(place: Place) -> None:
    with journal(place) as opened:
        now = render_timestamp(time.time())
        boot = Boot(0, 'u', 'n', 'start', 'host', 1, None, None, now)
        opened.write_boot(opened.open_boot(boot),
                          boot._replace(closed_at=now, verdict='not_consumed'))


def filter_platform(place: Place) -> None:
    place.xapi.set_field(place.xapi.pool, 'restrictions', {'platform_filter': 'true'}, 'pool')


def hide_filter(place: Place) -> None:
    place.xapi.set_field(place.xapi.pool, 'restrictions', {}, 'pool')


def leave_block(place: Place) -> None:
    ref = place.create_vm()
    place.xapi.set_field(ref, 'blocked_operations', {
        'start': BLOCK % (place.uuid(ref), 'start', '-foo')})


def drift(place: Place) -> None:
    place.registry_row(place.create_vm(), 5)


def lose_vm(place: Place) -> None:
    with place.registry.edit(who='test', command='test') as edit:
        edit.add_vm('0a0b0c0d-1111-2222-3333-444455556666', vm_id=5)


def double_number(place: Place) -> None:
    place.create_vm('one', span(5))
    place.create_vm('two', span(5))


def patch_wrapper(place: Place) -> None:
    write(place, STOCK, PATCHED_TEXT)


def forget_consumer(place: Place) -> None:
    write(place, STOCK, STOCK_TEXT)


def lose_consumer(place: Place) -> None:
    prepare_dom0(place)
    os.unlink(place.directory + OURS)


def run_old_xenopsd(place: Place) -> None:
    prepare_dom0(place)
    write(place, '/proc/sys/kernel/random/boot_id', 'b\n')
    write(place, '/proc/100/comm', 'xenopsd-xc\n')
    write(place, '/proc/100/stat', '100 (x) S 1 %s 5000 0\n' % ' '.join(['0'] * 17))
    for path in FRAGMENTS:
        write(place, path, '# xenopsd that had not read this yet: b/100/5000\n%s = %s\n'
              % (SETTING, OURS))


def disable_consumer(place: Place) -> None:
    """xenopsd runs on as it was started."""
    run_old_xenopsd(place)
    host = ConsumerHost(place.directory)
    for path in FRAGMENTS:
        write(place, path, '%s = %s\n' % (SETTING, OURS))
    host.remove_fragment()


def replace_wrapper(place: Place) -> None:
    prepare_dom0(place)
    write(place, STOCK, 'something else\n')


def pause_consumer(place: Place) -> None:
    confirm_numbers(place)
    write(place, '/etc/vgpu/consumer.paused', '')


def confirm_numbers(place: Place) -> None:
    prepare_dom0(place)
    now = read_instant()
    RunDirectory(place.host + '/run/vgpu-watcher').write_numbers(Numbers(
        ((5, '11111111-1111-4111-8111-111111111111'),), now.boot_id, now.seconds))


def show_password(place: Place) -> None:
    write(place, '/password', 'sesame', 0o640)
    change_config('[registry]', 'password_file = %s/password\n[registry]' % place.directory)(place)


def lose_password(place: Place) -> None:
    change_config('[registry]', 'password_file = /none\n[registry]')(place)


def keep_password(place: Place) -> None:
    show_password(place)
    os.chmod(place.directory + '/password', 0o600)


def save_password(place: Place, text: str) -> None:
    keep_password(place)
    with open(place.directory + '/password', 'w', encoding='utf-8') as stream:
        stream.write(text)


def lose_hook(place: Place) -> None:
    os.makedirs(place.directory + '/etc/xapi.d')


def open_hook(place: Place) -> None:
    write(place, HOOK, '', 0o777)


def block_hook(place: Place) -> None:
    write(place, HOOK, '', 0o644)


def link_hook(place: Place) -> None:
    os.makedirs(os.path.dirname(place.directory + HOOK))
    os.symlink('/bin/true', place.directory + HOOK)


def change_config(old: str, new: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        with open(place.config, encoding='utf-8') as stream:
            text = stream.read()
        assert old in text
        with open(place.config, 'w', encoding='utf-8') as stream:
            stream.write(text.replace(old, new))
    return change


@pytest.mark.parametrize('arrange, check, verdict, words', [
    (damage_registry, 'registry', 'fail', 'damaged'),
    (doubt_row, 'registry', 'fail', 'no uuid'),
    (open_to_all, 'registry.mode', 'fail', '0666'),
    (give_registry_away, 'registry.mode', 'fail', 'belongs to user 12345'),
    (open_journal, 'journal.mode', 'fail', '0644'),
    (damage_journal, 'journal', 'fail', 'is damaged'),
    (leave_replacement, 'journal', 'fail', '1 value that a version before 0.2'),
    (boot_wrong, 'boots', 'warn', 'not_consumed 1'),
    (lambda place: None, 'daemon', 'fail', 'no daemon is running'),
    (filter_platform, 'platform-filter', 'fail', 'is on'),
    (hide_filter, 'platform-filter', 'warn', 'not told'),
    (leave_block, 'fences', 'fail', '1 VM cannot be started'),
    (drift, 'drift', 'warn', 'drift: '),
    (lose_vm, 'drift', 'warn', 'orphaned: VM 0a0b0c0d'),
    (double_number, 'numbers', 'fail', '1 number on several VMs: 5 on one ('),
    (patch_wrapper, 'consumer', 'warn', 'patched by hand'),
    (forget_consumer, 'consumer', 'fail', 'not enabled'),
    (lose_consumer, 'consumer', 'fail', 'no VM can start'),
    (run_old_xenopsd, 'consumer', 'warn', 'has not read that yet'),
    (disable_consumer, 'consumer', 'warn', 'is disabled, and the xenopsd that runs goes on'),
    (replace_wrapper, 'consumer', 'warn', 'not one that is known'),
    (prepare_dom0, 'consumer', 'warn', 'withholds no stolen number: the daemon has written no'),
    (patch_wrapper, 'consumer', 'warn', 'no stolen number is withheld'),
    (pause_consumer, 'consumer', 'warn', 'paused'),
    (confirm_numbers, 'consumer', 'ok', 'withholds stolen numbers; 1 row confirmed '),
    (show_password, 'password', 'fail', 'has mode 0640'),
    (lose_password, 'password', 'fail', 'No such file'),
    (lambda place: save_password(place, '\ufeffsesame'), 'password', 'fail', 'byte order mark'),
    (lambda place: save_password(place, 'sesame '), 'password', 'warn', 'ends with a blank'),
    (keep_password, 'password', 'ok', 'for root only'),
    (lose_hook, 'hooks', 'warn', 'there is no 50-vgpu-watcher'),
    (open_hook, 'hooks', 'fail', '0777'),
    (block_hook, 'hooks', 'fail', 'cannot be run (0644)'),
    (link_hook, 'hooks', 'fail', 'not a regular file'),
    (change_config('/bin/xenstore-read', '/bin/none'), 'verification', 'fail', 'cannot be run'),
], ids=lambda item: getattr(item, '__name__', None))
def test_what_is_wrong_is_found(pool: Place, arrange: Callable[[Place], None], check: str,
                                verdict: str, words: str) -> None:
    if arrange is give_registry_away and os.geteuid() != 0:
        pytest.skip('only root gives files away')
    arrange(pool)
    found = examine(pool)[check]
    assert found[0] == verdict and words in found[1]


def test_numbers_that_no_daemon_confirms_any_more_are_told(
        pool: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    confirm_numbers(pool)
    now = read_instant()
    monkeypatch.setattr(withholding, 'read_instant',
                        lambda: now._replace(seconds=now.seconds + 301.0))
    main(['--config', pool.config, 'doctor', '--root', pool.directory])
    assert 'which is more than 300 s' in ' '.join(capsys.readouterr().out.split())


def test_registry_of_another_program_is_doubtful(pool: Place) -> None:
    os.unlink(pool.db)
    connection = sqlite3.connect(pool.db)
    with connection:
        connection.execute('CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY, pool_name TEXT NOT '
                           'NULL, description TEXT, enabled INTEGER, created_at, updated_at)')
        connection.execute('CREATE TABLE vms (vm_id INTEGER, vm_uuid TEXT, vm_name TEXT, pool_id '
                           'CHAR(1), priority INTEGER, created_at, updated_at)')
    connection.close()
    assert examine(pool)['registry.accepted'][0] == 'warn'


def test_old_xapi_is_found(place: Place) -> None:
    place.registry.create('test')
    place.start_xapi(xapi_version='1.20.0')
    assert examine(place)['xapi.version'][0] == 'fail'


def test_member_is_told_its_master(place: Place) -> None:
    place.registry.create('test')
    xapi = place.start_xapi(hosts=2)
    xapi.set_master(xapi.hosts[1])
    found = examine(place)
    assert 'a member; its master is ' in found['xapi.role'][1]
    assert found['xapi.version'][0] == found['fences'][0] == 'ok'


# What takes long to bring about.

@pytest.mark.parametrize('free, verdict', [
    (1 << 20, 'fail'), (20 << 20, 'warn'), (1 << 30, 'ok')])
def test_space_is_judged(pool: Place, mocker: MockerFixture, capsys: pytest.CaptureFixture,
                         free: int, verdict: str) -> None:
    mocker.patch('os.statvfs', autospec=True, return_value=os.statvfs_result(
        (4096, 4096, 1 << 30, free // 4096, free // 4096, 1 << 20, 1 << 20, 1 << 20, 0, 255)))
    main(['--config', pool.config, 'doctor', '--json', '--root', pool.directory])
    assert list_findings(json.loads(capsys.readouterr().out))['space'][0] == verdict


def tell_time(place: Place, text: str) -> None:
    """Have XAPI say that its clock shows this."""
    place.xapi.add_fault('replace_body', method='host.get_servertime', parameters={
        'body': json.dumps({'jsonrpc': '2.0', 'result': text, 'id': 1})})


@pytest.mark.parametrize('apart, verdict', [
    (4, 'ok'), (30, 'warn'), (-30, 'warn'), (4000, 'fail')])
@pytest.mark.parametrize('form', ['%Y%m%dT%H:%M:%SZ', '%Y-%m-%dT%H:%M:%SZ'])
def test_clock_is_judged(pool: Place, apart: int, verdict: str, form: str) -> None:
    tell_time(pool, time.strftime(form, time.gmtime(time.time() + apart)))
    assert examine(pool)['clock'][0] == verdict


def test_clock_that_is_not_understood_is_doubtful(pool: Place) -> None:
    tell_time(pool, 'noon\x1b[2J')
    verdict, saw = examine(pool)['clock']
    assert verdict == 'warn' and 'noon' in saw and '\x1b' not in saw


@pytest.mark.parametrize('silent, since, verdict', [
    (10, 1000.0, CheckResult.OK), (500, 1000.0, CheckResult.FAIL), (10, None, CheckResult.FAIL),
    (None, None, CheckResult.WARN)])
def test_daemon_that_does_not_hear_from_xapi_is_found(silent: Any, since: Any,
                                                      verdict: CheckResult) -> None:
    now = 5000.0
    note_text = json.dumps({'pid': 1, 'since': since,
                            'last_answer': None if silent is None else now - silent})
    watch = parse_note('pid 1, vgpu-watcher', note_text, now, 60)
    assert registry_checks._judge_watch(watch).result is verdict


@pytest.mark.parametrize('text, verdict', [
    ('{"version": "%s"}' % VERSION, CheckResult.OK), ('{"version": "0.0.1"}', CheckResult.WARN),
    (None, CheckResult.SKIP), ('nonsense', CheckResult.SKIP), ('[]', CheckResult.SKIP)])
def test_daemon_of_another_version_is_found(text: Any, verdict: CheckResult) -> None:
    assert registry_checks._judge_version(text).result is verdict


def test_check_that_stumbles_is_a_finding_and_the_others_go_on() -> None:
    from cli.doctor.command import _make

    def check_platform_filter(_examination: Any) -> Iterator[Finding]:
        yield good('first', 'seen')
        raise XapiUnreachable('gone')
    found = _make(check_platform_filter, None)
    assert [(item.check, item.result, item.saw) for item in found] \
        == [('platform-filter', CheckResult.FAIL, 'XAPI is not reachable: gone')]


def test_findings_are_shown_with_their_advice_and_harmless() -> None:
    lines = render_findings([good('a', 'x\x1b[2J'), doubtful('b', 'y', 'do this'),
                             bad('c', 'z', 'do that'), skipped('d', 'no')], Style())
    assert [line.split()[0] for line in lines] == ['ok', 'WARN', '->', 'FAIL', '->', 'skip']
    assert not any('\x1b' in line for line in lines)
