"""Sentences of the contract's section 8 that rest on how XAPI behaves, as a stranger reads them."""

import os
import signal
import time
from typing import Any, Callable

import pytest

from tests.integration.second_xapi.stranger import Stranger, span
from tests.integration.second_xapi.tables import KEY, Refusal
from tests.integration.second_xapi.xapi import Manner
from tests.support.waiting import LOADED, wait_until

QUIET = {'scan': {'interval_seconds': 1}}


def test_p8_from_ready_on_a_steady_pool_costs_the_long_poll_and_one_read_per_scan(
        make: Callable[..., Stranger]) -> None:
    stranger = make(sections=QUIET)
    for number in range(1, 21):
        ref = stranger.xapi.create_vm(args=span(number))
        assert stranger.register(ref, '--vm-id', str(number)) == number
    status = os.stat(stranger.registry)
    stranger.start()
    before, began = len(stranger.xapi.calls), len(stranger.events('scan.completed'))
    wait_until(lambda: len(stranger.events('scan.completed')) >= began + 3)
    later = stranger.xapi.calls[before:]
    assert {call.method for call in later} <= {'event.from', 'VM.get_all_records'}
    assert 3 <= sum(call.method == 'VM.get_all_records' for call in later) <= 4
    after = os.stat(stranger.registry)
    assert (after.st_mtime_ns, after.st_size) == (status.st_mtime_ns, status.st_size)


def test_p3_our_own_writes_cause_none(make: Callable[..., Stranger]) -> None:
    stranger = make(sections=QUIET)
    ref = stranger.xapi.create_vm()
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    wait_until(lambda: stranger.events('mirror.written', vms=1))
    before, scans = len(stranger.xapi.calls), len(stranger.events('scan.completed'))
    wait_until(lambda: len(stranger.events('scan.completed')) >= scans + 3)
    assert not stranger.xapi.writes(before)
    assert stranger.xapi.count('VM.add_to_platform') == 1
    assert stranger.xapi.count('VM.add_to_blocked_operations') == 0


def test_p5_p6_a_running_vm_is_not_touched_and_other_keys_stay(
        make: Callable[..., Stranger]) -> None:
    stranger = make(sections=QUIET)
    xapi = stranger.xapi
    ref = xapi.create_vm()
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    xapi.run(ref)
    before = xapi.vm(ref)
    assert stranger.admin('set-pool', '--vm-uuid', before['uuid'], '--pool=B',
                          '--no-restart').status == 0
    scans = len(stranger.events('scan.completed'))
    wait_until(lambda: len(stranger.events('scan.completed')) >= scans + 2)
    after = xapi.vm(ref)
    assert {key: after[key] for key in ('platform', 'blocked_operations')} == {
        key: before[key] for key in ('platform', 'blocked_operations')}
    xapi.vm_suspend(ref)
    scans = len(stranger.events('scan.completed'))
    wait_until(lambda: len(stranger.events('scan.completed')) >= scans + 2)
    assert xapi.vm(ref)['platform'] == before['platform']
    assert not xapi.count('VM.set_platform')


def test_p5_p7_one_call_that_writes_soon_after_the_vm_rests(make: Callable[..., Stranger]) -> None:
    stranger = make()
    xapi, seen = stranger.xapi, []
    ref = xapi.create_vm('web', '-foreign "a  b"')
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, '-foreign "a  b" ' + span(number))
    xapi.run(ref)
    uuid = xapi.vm(ref)['uuid']
    stranger.admin('set-priority', '--vm-uuid', uuid, '--priority=low', '--no-restart')
    xapi.on_call = lambda method, params: seen.append((time.monotonic(), method))
    before = xapi.vm(ref)['platform']
    xapi.vm_clean_shutdown(ref)
    rested_at = time.monotonic()
    value = '-foreign "a  b" ' + span(number, priority='low')
    stranger.wait_args(ref, value)
    wrote = [at for at, method in seen if method == 'VM.set_platform']
    assert len(wrote) == 1 and wrote[0] - rested_at < 1.0
    assert xapi.vm(ref)['platform'] == dict(before, **{KEY: value})
    assert not [method for _at, method in seen if 'blocked_operations' in method]


def test_p7_a_stop_followed_by_a_start_is_never_refused(make: Callable[..., Stranger]) -> None:
    stranger = make()
    xapi = stranger.xapi
    ref = xapi.create_vm()
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    carried = 'medium'
    for priority, gap_seconds in (('low', 0.0), ('high', 0.6)):
        xapi.run(ref)
        stranger.admin('set-priority', '--vm-uuid', xapi.vm(ref)['uuid'],
                       '--priority', priority, '--no-restart')
        xapi.vm_clean_shutdown(ref)
        time.sleep(gap_seconds)
        taken = xapi.run(ref)
        assert taken in (span(number, priority=carried), span(number, priority=priority))
        assert not gap_seconds or taken == span(number, priority=priority)
        xapi.vm_clean_shutdown(ref)
        stranger.wait_args(ref, span(number, priority=priority))
        carried = priority
    assert not xapi.count('VM.add_to_blocked_operations')


@pytest.mark.parametrize('value', [
    '-foreign', ' -foreign  x ', '-a 1 -b "q r"', "-device other,x=1 -device vgpu-stubborn,vm_id=9"])
def test_p4_p12_p13_foreign_text_is_preserved_byte_for_byte(
        make: Callable[..., Stranger], value: str) -> None:
    stranger = make()
    ref = stranger.xapi.create_vm('web', value)
    stranger.start()
    stranger.register(ref)
    wait_until(lambda: 'vgpu-stub,pool_id' in (stranger.xapi.args(ref) or ''))
    assert stranger.admin('disable-pool', '--pool-id=A', '--yes').status == 0
    stranger.wait_args(ref, value)
    assert stranger.admin('enable-pool', '--pool-id=A').status == 0
    wait_until(lambda: 'vgpu-stub,pool_id' in (stranger.xapi.args(ref) or ''))
    assert stranger.admin('remove-vm', '--vm-uuid', stranger.xapi.vm(ref)['uuid']).status == 0
    stranger.wait_args(ref, value)


def test_p9_p10_manual_args_a_copy_and_a_contested_number(make: Callable[..., Stranger]) -> None:
    stranger = make()
    xapi = stranger.xapi
    manual = xapi.create_vm('manual', span(7))
    ref = xapi.create_vm('web')
    stranger.start()
    assert stranger.register(ref) == 8
    stranger.wait_args(ref, span(8))
    refused = stranger.admin('set-vm-id', '--vm-uuid', xapi.vm(ref)['uuid'], '--vm-id=7')
    assert refused.status == 4 and xapi.vm(manual)['uuid'] in refused.err
    copy = xapi.vm_clone(ref, 'copy')
    stranger.wait_args(copy, None)
    assert (xapi.args(ref), xapi.args(manual)) == (span(8), span(7))
    snapshot = xapi.create_vm('snapshot', span(8), is_a_snapshot=True, is_a_template=True)
    xapi.tables.touch('VM', ref)
    other = xapi.create_vm('other')
    stranger.wait_args(other, span(stranger.register(other)))
    assert xapi.args(snapshot) == span(8)


TROUBLE = ['500', 'close', 'garbage', 'short', 'gone', 'sessions', 'lower', 'login']


@pytest.mark.parametrize('trouble', TROUBLE)
def test_p14_within_five_seconds_of_a_login_that_succeeds_again(
        make: Callable[..., Stranger], trouble: str) -> None:
    stranger = make()
    xapi, served = stranger.xapi, stranger.served
    ref = xapi.create_vm()
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    log_in = xapi.log_in
    if trouble in ('gone', 'lower'):
        served.stop()
    elif trouble == 'login':
        def refuse(*_params: Any) -> str:
            raise Refusal('HOST_STILL_BOOTING')
        xapi.log_in = refuse  # type: ignore
    elif trouble != 'sessions':
        served.spoil(trouble)
    # Meanwhile the registry is edited, and somebody takes the key away.
    uuid = xapi.vm(ref)['uuid']
    assert stranger.admin('set-priority', '--vm-uuid', uuid, '--priority=high').status in (0, 5)
    stranger.admin('set-priority', '--vm-uuid', uuid, '--priority=high', '--no-restart')
    xapi.tables.remove_from_map('VM', ref, 'platform', KEY)
    if trouble == 'lower':
        xapi.tables.generation = 10
        for marks in xapi.tables._marks.values():  # pylint: disable=protected-access
            marks[:] = [5, 5]
    xapi.forget_sessions()
    if trouble not in ('sessions', 'gone', 'lower'):
        served.cut()
        stranger.wait_line('stream.broken')
    xapi.log_in = log_in  # type: ignore
    served.spoil(None)
    if trouble in ('gone', 'lower'):
        served.start()
    stranger.wait_args(ref, span(number, priority='high'), timeout=5.0 * LOADED)


def test_p14_a_connection_that_does_not_answer_leaves_scan_and_edits_working(
        make: Callable[..., Stranger]) -> None:
    """The long poll hangs; other calls are answered."""
    stranger = make(sections=QUIET)
    ref = stranger.xapi.create_vm()
    stranger.start()
    stranger.xapi.manner = Manner(missing=(('event.from', 'hang'),))
    stranger.xapi.tables.touch('VM', ref)
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number), timeout=2.0 * LOADED)
    scans = len(stranger.events('scan.completed'))
    wait_until(lambda: len(stranger.events('scan.completed')) > scans)


def test_p21_on_a_member_nothing_is_written_and_edits_name_the_master(
        make: Callable[..., Stranger]) -> None:
    stranger = make(sections=QUIET)
    xapi = stranger.xapi
    ref = xapi.create_vm()
    master = xapi.tables.add('host', dict(xapi.tables.read('host', xapi.host), uuid='x',
                                          name_label='the-master'))
    xapi.tables.set('pool', xapi.pool, master=master)
    stranger.start()
    before = len(xapi.calls)
    run = stranger.admin('register-vm', '--vm-uuid', xapi.vm(ref)['uuid'])
    assert run.status == 1 and 'the-master' in run.err
    wait_until(lambda: len(stranger.events('scan.completed')) > 2)
    assert not [call for call in xapi.writes(before) if call.method != 'host.call_plugin'
                and not call.method.startswith('Async.host.call_plugin')]


@pytest.mark.parametrize('speaks', [('xml',), ('json',), ('xml', 'json')], ids='-'.join)
def test_p21_over_tcp_it_stages_and_does_not_verify(
        make: Callable[..., Stranger], tmp_path: Any, speaks: Any) -> None:
    secret = tmp_path / 'secret'
    secret.write_text('pässword\n', encoding='utf-8')
    stranger = make(Manner(speaks=speaks), is_tcp=True, sections={
        'xapi': {'password_file': str(secret), 'username': 'admin'}})
    asked = []
    log_in = stranger.xapi.log_in
    stranger.xapi.log_in = lambda *params: (  # type: ignore
        asked.append(params[:2]), log_in(*params))[1]
    stranger.start()
    ref = stranger.xapi.create_vm()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    assert stranger.xapi.run(ref) == span(number)
    line = stranger.wait_line('vm.booted')
    assert (line['verdict'], line['level']) == ('unverified', 'warning')
    assert set(asked) == {('admin', 'pässword')}


def test_p24_sigterm_ends_it_in_a_long_poll_and_while_xapi_hangs(
        make: Callable[..., Stranger]) -> None:
    stranger = make()
    stranger.start()
    assert stranger.stop(signal.SIGINT) == 0
    assert 'STOPPING=1' in stranger.notes
    stranger.start()
    stranger.served.spoil('hang')
    stranger.served.cut()
    began = time.monotonic()
    assert stranger.stop() == 0
    assert time.monotonic() - began < 5.0 * LOADED
