"""Sentences of the contract's sections 2 to 7, to the letter, as a stranger reads them."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from typing import Any, Callable

import pytest

from tests.integration.second_xapi.stranger import Stranger, span
from tests.support import programs
from tests.support.waiting import LOADED, wait_until

DEFAULTS = (
    '[xapi]', 'url = unix:/var/lib/xcp/xapi', 'username = root', 'verify_tls = yes', '[registry]',
    'path = /etc/vgpu/vgpu_config.db', '[device]', 'names = vgpu-stub vgpu-cuda', '[host]',
    'template = -device vgpu-stub,pool_id={pool_id},priority={priority},vm_id={vm_id}',
    'xenstore_read = /usr/bin/xenstore-read', 'proc = /proc', '[scan]', 'interval_seconds = 60',
    '[log]', 'format = json', 'level = info')
UUID = '0a1b2c3d-0000-4000-8000-00000000000f'


@pytest.fixture
def alone(make: Callable[..., Stranger]) -> Stranger:
    """A registry, and no XAPI."""
    return make(serves=False)


def test_a_stranger_that_is_closed_leaves_no_thread_behind(tmp_path: Any) -> None:
    before = set(threading.enumerate())
    Stranger(str(tmp_path)).close()
    assert set(threading.enumerate()) <= before


def test_check_config_shows_what_is_in_force(make: Callable[..., Stranger], tmp_path: Any) -> None:
    stranger = make(serves=False, registry=False)
    empty = tmp_path / 'empty.conf'
    empty.write_text('')
    run = stranger.run_program('watcher', 'check-config', '--config', str(empty))
    assert (run.status, run.err) == (0, '')
    assert set(DEFAULTS) <= set(run.out.splitlines())
    assert 'password_file =' in [line.strip() for line in run.out.splitlines()]


@pytest.mark.parametrize('text', [
    '[xapi]\ncolour = red\n', '[colours]\nred = 1\n', '[scan]\ninterval_seconds = often\n',
    '[log]\nformat = xml\n', '[xapi]\nurl = gopher://x\n', '[device]\ntemplate = -drive x\n',
    '[device]\ntemplate = -device vgpu-stub,vm_id={vm_id} -priv\n', 'no section\n',
    '[log]\nlevel = info ; a comment\n', '[device]\ntemplate = -device V g,vm_id={vm_id}\n',
    '[xapi]\nverify_tls = perhaps\n', '[xapi]\nurl = unix:relative\n'])
@pytest.mark.parametrize('command', ['check-config', 'run'])
def test_a_bad_configuration_is_78(make: Callable[..., Stranger], tmp_path: Any, command: str,
                                   text: str) -> None:
    stranger = make(serves=False, registry=False)
    bad = tmp_path / 'bad.conf'
    bad.write_text(text)
    run = stranger.run_program('watcher', command, '--config=%s' % bad)
    assert run.status == 78 and run.err and not run.out
    assert stranger.run_program('cli', 'list-vms', '--config', str(bad)).status == 2


@pytest.mark.parametrize('redirection, status', [
    ('>/dev/full', 1), ('| true', 1), ('>&-', 0)], ids=['full', 'nobody-reads', 'closed'])
def test_check_config_that_cannot_print_ends_without_a_traceback(
        tmp_path: Any, redirection: str, status: int) -> None:
    (tmp_path / 'c').write_text('')
    words = [sys.executable, '-m', 'watcher', 'check-config', '--config', str(tmp_path / 'c')]
    done = subprocess.run(
        ['bash', '-o', 'pipefail', '-c', ' '.join(words) + ' ' + redirection],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **programs.surroundings())
    assert done.returncode == status and b'Traceback' not in done.stderr
    assert (b'cannot be written' in done.stderr) == (status == 1)


def test_a_missing_named_file_is_78_and_no_command_is_2(make: Callable[..., Stranger]) -> None:
    stranger = make(serves=False, registry=False)
    for command in ('run', 'check-config'):
        assert stranger.run_program('watcher', command, '--config', '/nowhere').status == 78
    assert stranger.run_program('watcher').status == 2
    assert stranger.run_program('watcher', 'fly').status == 2
    run = stranger.run_program('watcher', '--version')
    assert run.status == 0 and run.out.startswith('vgpu-watcher ')


def test_clear_fences_needs_no_valid_configuration(make: Callable[..., Stranger]) -> None:
    stranger = make()
    text = 'vgpu-watcher: left behind; owner x pid 1; lift with: xe …'
    ref = stranger.xapi.create_vm(blocked_operations={
        'start': text, 'start_on': 'another program', 'clean_shutdown': 'no'})
    run = stranger.run_program('watcher', 'clear-fences', '--config', stranger.config)
    assert run.status == 0, run
    assert stranger.xapi.vm(ref)['blocked_operations'] == {
        'start_on': 'another program', 'clean_shutdown': 'no'}
    stranger.xapi.tables.set('VM', ref, blocked_operations={'start': text})
    assert stranger.admin('fence', 'clear').status == 0
    assert stranger.xapi.vm(ref)['blocked_operations'] == {}
    stranger.configure('[nonsense]\nx = y\n')
    run = stranger.run_program('watcher', 'clear-fences', '--config', stranger.config)
    # There is no socket at the default's path here: it was tried.
    assert run.status == 1 and '/var/lib/xcp/xapi' in run.err


@pytest.mark.parametrize('words', [
    ['register-vm', '--vm-uuid', UUID.upper(), '--pool', 'B', '--priority', 'high'],
    ['--json', 'register-vm', '--priority=high', '--pool=B', '--vm-uuid=%s' % UUID],
    ['register-vm', '--pool=B', '--json', '--vm-uuid', UUID, '--vm-id=1', '--priority=high']])
def test_options_in_any_order_and_form_and_uuids_in_any_case(
        alone: Stranger, words: Any) -> None:
    run = alone.admin(*words)
    assert run.status == 0, run
    shown = json.loads(alone.admin('show-vm', '--vm-uuid=%s' % UUID.upper(), '--json').out)
    assert shown['format'] == 1
    assert {key: shown['vm'][key] for key in ('vm_uuid', 'vm_id', 'pool_id', 'priority')} == {
        'vm_uuid': UUID, 'vm_id': 1, 'pool_id': 'B', 'priority': 'high'}
    assert alone.admin(*words).status == 0
    assert alone.admin('register-vm', '--vm-uuid', UUID, '--pool=A').status == 4
    listed = json.loads(alone.admin('list-vms', '--json').out)
    assert [vm['vm_uuid'] for vm in listed['vms']] == [UUID]
    pools = json.loads(alone.admin('list-pools', '--json').out)['pools']
    assert [(pool['pool_id'], pool['pool_name'], pool['vm_count']) for pool in pools] == [
        ('A', 'Pool A', 0), ('B', 'Pool B', 1)]
    assert json.loads(alone.admin('show-pool', '--pool-id', 'B', '--json').out)['pool'][
        'pool_id'] == 'B'


@pytest.mark.parametrize('words, status, kind', [
    (['show-vm', '--vm-uuid', UUID], 3, 'not_found'),
    (['register-vm', '--vm-uuid', 'x'], 2, None),
    (['register-vm', '--vm-uuid', UUID, '--pool=C'], 2, None),
    (['register-vm', '--vm-uuid', UUID, '--priority=urgent'], 2, None),
    (['register-vm', '--vm-uuid', UUID, '--vm-id=abc'], 2, None),
    (['register-vm', '--vm-uuid', UUID, '--vm-id=0'], 2, None),
    (['register-vm', '--vm-uuid', UUID, '--vm-id=2147483647'], 2, None),
    (['register-vm', '--vm-name', 'nobody'], 5, 'unavailable'),
    (['scan-vms'], 5, 'unavailable'), (['fly'], 2, None), ([], 2, None)])
def test_exit_statuses_and_errors(alone: Stranger, words: Any, status: int, kind: Any) -> None:
    run = alone.admin('--json', *words)
    assert run.status == status and run.out == '', run
    error = json.loads(run.err)
    assert error['format'] == 1 and set(error['error']) >= {'kind', 'message'}
    assert kind in (None, error['error']['kind'])


def test_an_edit_by_uuid_needs_the_registry_only(make: Callable[..., Stranger]) -> None:
    """Also where XAPI takes the connection and says nothing."""
    stranger = make()
    stranger.served.spoil('hang')
    began = time.monotonic()
    assert stranger.admin('register-vm', '--vm-uuid', UUID).status == 0
    assert stranger.admin('set-pool', '--vm-uuid', UUID, '--pool', 'B', '--yes').status == 0
    assert stranger.admin('remove-vm', '--vm-uuid', UUID, '--yes').status == 0
    assert time.monotonic() - began < 30.0


def test_without_a_terminal_a_change_of_a_running_vm_is_2_and_changes_nothing(
        make: Callable[..., Stranger]) -> None:
    stranger = make()
    xapi = stranger.xapi
    ref = xapi.create_vm()
    number = stranger.start().register(ref)
    stranger.wait_args(ref, span(number))
    xapi.run(ref)
    uuid = xapi.vm(ref)['uuid']
    run = stranger.admin('set-pool', '--vm-uuid', uuid, '--pool=B')
    assert run.status == 2, run
    for text in ('Current configuration', 'New configuration'):
        assert text in run.out + run.err
    assert json.loads(stranger.admin('show-vm', '--vm-uuid', uuid, '--json').out)[
        'vm']['pool_id'] == 'A'
    run = stranger.admin('set-pool', '--vm-uuid', uuid, '--pool=B', '--yes')
    assert run.status == 0, run
    assert xapi.vm(ref)['power_state'] == 'Running'
    assert xapi.vm(ref)['booted'] == span(number, 'B')
    shown = json.loads(stranger.admin('show-vm', '--vm-uuid', uuid, '--json').out)['vm']
    assert (shown['state'], shown['power_state'], shown['carried'], shown['desired']) == (
        'as_desired', 'Running', span(number, 'B'), span(number, 'B'))
    assert shown['last_boot']['verdict'] == 'as_desired'


def test_files_have_the_modes_of_the_contract(make: Callable[..., Stranger]) -> None:
    stranger = make()
    stranger.start()
    stranger.wait_args(*((ref, span(stranger.register(ref)))
                         for ref in [stranger.xapi.create_vm()]).__next__())
    modes = {name: stat.S_IMODE(os.stat(os.path.join(stranger.directory, name)).st_mode)
             for name in ('vgpu_config.db', 'vgpu_journal.db', 'vgpu_config.db.lock')}
    assert modes['vgpu_config.db'] == 0o644 and modes['vgpu_journal.db'] == 0o600


def test_any_program_may_edit_and_is_noticed_within_two_seconds(
        make: Callable[..., Stranger]) -> None:
    stranger = make()
    ref = stranger.xapi.create_vm()
    stranger.start()
    connection = sqlite3.connect(stranger.registry)
    with connection:
        connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) '
                           'VALUES (42, ?, NULL, ?, 2)', (stranger.xapi.vm(ref)['uuid'], 'B'))
    connection.close()
    stranger.wait_args(ref, span(42, 'B', 'high'), timeout=2.0 * LOADED)


def test_ready_status_reload_and_readable_lines(make: Callable[..., Stranger]) -> None:
    stranger = make(serves=False)
    began = time.monotonic()
    stranger.start()
    assert 14.0 < time.monotonic() - began < 19.0 * LOADED
    status = [note for note in stranger.notes if note.startswith('STATUS=')][-1]
    assert 'XAPI' in status and 'WATCHDOG=1' in stranger.notes
    # A configuration that does not pass leaves the old one in force; one that does is taken.
    stranger.configure('[nonsense]\nx = y\n')
    stranger.process.send_signal(1)  # type: ignore
    stranger.wait_line('settings.rejected')
    stranger.served.start()
    stranger.wait_line('stream.resynced')
    stranger.configure(log={'format': 'console'}, scan={'interval_seconds': 1})
    stranger.process.send_signal(1)  # type: ignore
    wait_until(lambda: any('scan.completed' in line and not line.startswith('{')
                           for line in stranger.raw))
    assert stranger.stop() == 0
