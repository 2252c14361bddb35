"""P14: XAPI restarts, refuses, hangs or cuts; soon after a login works all is as promised."""

import signal
import time
from typing import Any, Callable, List

import pytest

from simulator.faults import Fault
from tests.integration.daemon.world import KEY, World, wait_until
from tests.support import scenes
from tests.support.waiting import LOADED
from watcher.xapi.callers import CALLERS

RECOVERY_SECONDS = 5.0 * LOADED
LOGIN = 'session.login_with_password'


def _assert_recovers(world: World, subject: scenes.Subject) -> None:
    """XAPI is well again: within the time promised the stream is afresh, and the VM staged."""
    began = time.monotonic()
    world.wait_args(subject.ref, subject.value('high'))
    assert time.monotonic() - began < RECOVERY_SECONDS
    assert scenes.start(world, subject) == subject.value('high')


def _count(world: World, name: str) -> int:
    return len(world.daemon.events(name))


@pytest.mark.parametrize('mode, rollback', [
    pytest.param('clean', 0, id='clean'), pytest.param('crash', 0, id='crash'),
    pytest.param('crash', 400, id='crash-with-lower-generations')])
def test_what_changed_while_xapi_restarts_is_staged_afterwards(
        pool: World, mode: str, rollback: int) -> None:
    subject, = scenes.stage(pool)
    resynced = _count(pool, 'stream.resynced')
    if rollback:
        other = pool.create_vm('busy')
        for number in range(rollback):
            pool.xapi.set_field(other, 'name_label', 'name %d' % number)
    scenes.prioritise(pool, [subject])
    pool.xapi.restart(mode=mode, rollback_generations=max(0, rollback - 5))
    _assert_recovers(pool, subject)
    assert _count(pool, 'stream.resynced') > resynced


def test_writes_that_a_crash_took_back_are_made_again(pool: World) -> None:
    subject, = scenes.stage(pool)
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    pool.xapi.restart(mode='crash', rollback_generations=5)
    assert pool.args(subject.ref) != subject.value('high') \
        or pool.xapi.vm(subject.ref)['blocked_operations']
    _assert_recovers(pool, subject)


def test_a_vm_that_runs_although_a_crash_took_its_start_back_keeps_its_number(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    first, second = scenes.stage(world, 2)
    before = world.xapi.state.database.generation
    scenes.run(world, [first])
    with world.registry.edit(who='test', command='swap') as edit:
        edit.change_vm(world.uuid(first.ref), vm_id=first.number + 1000)
        edit.change_vm(world.uuid(second.ref), vm_id=first.number)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(second.ref))
    world.xapi.restart('crash', rollback_generations=world.xapi.state.database.generation - before,
                       unaware_seconds=1.0)
    assert world.xapi.vm(first.ref)['power_state'] == 'Running'
    # What the record carries by now is nobody's arguments.
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(first.ref),
                          carried=first._replace(number=first.number + 1000, foreign='').value())
    world.xapi.call('VM.start', second.ref, False, False)
    line = world.daemon.wait_for('vm.endangered', danger='number_runs_twice')
    assert line['vm_id'] == first.number


def test_a_copy_whose_start_outlives_xapi_is_told_although_it_seemed_to_rest(
        build_world: Callable[..., World]) -> None:
    world = build_world(build_seconds=1.0).start()
    subject, = scenes.stage(world)
    scenes.wait_claimed(world, [subject])
    scenes.run(world, [subject])
    world.xapi.set_consumer('paused')
    copy = world.create_vm('copy', args=subject.value())
    world.begin_start(copy)
    wait_until(lambda: world.xapi.cutoffs[-1].ref == copy, 'the map to be read')
    world.xapi.restart('clean')
    world.wait_args(copy, scenes.FOREIGN)
    line = world.daemon.wait_for('vm.endangered', danger='number_runs_twice')
    assert world.uuid(copy) in [line['vm_uuid']] + line['others']


def _refusal(*description: str) -> Fault:
    return Fault('failure', method=LOGIN, parameters={
        'code': description[0], 'params': list(description[1:])})


def _poll_refusal(code: str) -> Fault:
    return Fault('failure', method='event.from', parameters={'code': code, 'params': ['x']})


def _poll_body(text: str) -> Fault:
    return Fault('replace_body', method='event.from', parameters={
        'body': '{"jsonrpc":"2.0","result":%s,"id":1}' % text})


# Five each: the back-off is then still short.
TROUBLES = {
    'login-refused-by-a-host-that-starts': (
        _refusal('HOST_STILL_BOOTING'), _refusal('HOST_HAS_NO_MANAGEMENT_IP'),
        _refusal('UUID_INVALID', 'host', '437cbc8b'), _refusal('INTERNAL_ERROR', 'Uninitialised'),
        _refusal('HOST_BROKEN')),
    'login-refused-by-a-member': (
        _refusal('HOST_UNKNOWN_TO_MASTER', 'OpaqueRef:x'), _refusal('HOST_ITS_OWN_SLAVE'),
        _refusal('HOST_MASTER_CANNOT_TALK_BACK', '10.0.0.1'),
        _refusal('SESSION_AUTHENTICATION_FAILED', 'root', 'no'),
        _refusal('HOST_IS_SLAVE', '10.0.0.1')),
    'login-without-a-proper-answer': (
        Fault('http_500', method=LOGIN), Fault('garbage', method=LOGIN),
        Fault('truncate', method=LOGIN), Fault('drop_before', method=LOGIN),
        Fault('reset_after', method=LOGIN)),
    'the-calls-after-the-login': (
        Fault('failure', method='session.get_this_host'), Fault('garbage', method='pool.get_all'),
        Fault('drop_after', method='pool.get_master'),
        Fault('failure', method='host.get_software_version'),
        Fault('evict_session', method='event.from')),
    'the-long-poll-cut': (
        Fault('drop_before', method='event.from'), Fault('reset_after', method='event.from'),
        Fault('http_500', method='event.from'), Fault('truncate', method='event.from'),
        Fault('garbage', method='event.from')),
    'the-long-poll-refused-or-odd': (
        _poll_refusal('EVENT_FROM_TOKEN_PARSE_FAILURE'), _poll_refusal('SESSION_INVALID'),
        _poll_body('{"events": []}'), _poll_body('[]'),
        _poll_body('{"events": [7, null, {}], "token": 5}')),
}


@pytest.mark.parametrize('name', sorted(TROUBLES))
def test_a_daemon_that_meets_trouble_after_trouble_is_in_order_as_soon_as_it_is_over(
        build_world: Callable[..., World], name: str) -> None:
    world = build_world().start(with_daemon=False)
    subject, = scenes.register(world, 1, foreign='')
    struck: List[str] = []
    for number, fault in enumerate(TROUBLES[name]):
        skip = len([item for item in TROUBLES[name][:number] if item.method == fault.method])
        for item in (Fault('run_before', parameters={'run': lambda: struck.append('')}), fault):
            world.xapi.faults.add(item._replace(method=fault.method, skip=skip, count=1))
    world.daemon.start()
    wait_until(lambda: len(struck) == len(TROUBLES[name]), lambda: 'all troubles: %r' % struck)
    began = time.monotonic()
    world.wait_args(subject.ref, subject.value())
    assert time.monotonic() - began < RECOVERY_SECONDS
    assert scenes.start(world, subject) == subject.value()


def test_the_log_names_what_the_login_was_refused_for(pool: World) -> None:
    fault = pool.xapi.faults.add(_refusal('HOST_STILL_BOOTING'))
    told = len(pool.daemon.events('stream.broken'))
    pool.xapi.restart()
    wait_until(lambda: [line for line in pool.daemon.events('stream.broken')[told:]
                        if 'HOST_STILL_BOOTING' in line['error']], 'the line')
    pool.xapi.faults.remove(fault)


def test_a_stream_that_breaks_after_each_login_is_told_once(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    for outage in (1, 2):
        broken, opened = _count(world, 'stream.broken'), _count(world, 'session.opened')
        fault = world.xapi.faults.add(Fault('failure', method='event.from', parameters={
            'code': 'INTERNAL_ERROR', 'params': ['outage %d' % outage]}))
        logins = len(_list_logins(world))
        world.xapi.set_field(subject.ref, 'name_label', 'ends the poll of now')
        wait_until(lambda: len(_list_logins(world)) > logins + 5, 'one login after the other')
        assert _count(world, 'stream.broken') == broken + 1
        assert _count(world, 'session.opened') == opened + 1
        resynced = _count(world, 'stream.resynced')
        world.xapi.faults.remove(fault)
        wait_until(lambda: _count(world, 'stream.resynced') > resynced, 'the end of the outage')
    scenes.prioritise(world, [subject])
    _assert_recovers(world, subject)


def _list_logins(world: World) -> List[Any]:
    return [call for call in world.xapi.calls if call.method == LOGIN]


def test_a_host_in_emergency_is_asked_until_it_serves(pool: World) -> None:
    subject, = scenes.stage(pool)
    broken = _count(pool, 'stream.broken')
    pool.xapi.set_emergency('HOST_STILL_BOOTING')
    pool.xapi.restart()
    wait_until(lambda: _count(pool, 'stream.broken') > broken, 'an outage')
    scenes.prioritise(pool, [subject])
    pool.xapi.set_emergency(None)
    _assert_recovers(pool, subject)


@pytest.mark.parametrize('arm', [
    pytest.param(lambda: Fault('hang', method='event.from'), id='hangs'),
    pytest.param(lambda: Fault('half_open', method='event.from'), id='half-open'),
    pytest.param(lambda: Fault('lost_wakeup'), id='lost-wakeup')])
def test_registry_edits_work_while_the_long_poll_is_deaf(
        pool: World, arm: Callable[[], Fault]) -> None:
    subject, other = scenes.stage(pool, 2)
    fault = pool.xapi.faults.add(arm())
    pool.xapi.set_field(other.ref, 'name_label', 'ends the poll of now')
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')
    pool.xapi.faults.remove(fault)
    pool.xapi.restart()


# In real time: with `pytest -n` it waits beside others.
@pytest.mark.parametrize('kind', ['hang', 'half_open'])
def test_a_long_poll_that_neither_answers_nor_closes_is_given_up_after_forty_seconds(
        build_world: Callable[..., World], kind: str) -> None:
    world = build_world().start()
    subject, other = scenes.stage(world, 2)
    reached: List[float] = []
    world.xapi.faults.add(Fault('run_before', method='event.from', count=1, parameters={
        'run': lambda: reached.append(time.monotonic())}))
    fault = world.xapi.faults.add(Fault(kind, method='event.from', count=1))
    world.xapi.set_field(other.ref, 'name_label', 'ends the poll of now')
    wait_until(lambda: reached, 'the poll that nobody answers')
    world.xapi.call('VM.add_to_platform', other.ref, 'unseen', 'x')
    wait_until(lambda: len(world.daemon.events('stream.resynced')) > 1, 'a fresh start', 90.0)
    assert 30.0 < time.monotonic() - reached[0] < 41.0 + LOADED
    assert world.daemon.events('stream.broken')
    world.xapi.faults.remove(fault)
    scenes.prioritise(world, [subject])
    world.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(world, subject) == subject.value('high')


@pytest.mark.parametrize('kind', ['hang', 'half_open'])
def test_a_call_that_hangs_holds_up_its_own_vm_only(pool: World, kind: str) -> None:
    stuck, other = scenes.stage(pool, 2)
    fault = pool.xapi.faults.add(Fault(kind, method='VM.set_platform', ref=stuck.ref,
                                       count=1))
    scenes.prioritise(pool, [stuck])
    wait_until(lambda: any(call.method == 'VM.set_platform' and stuck.ref in call.params
                           for call in pool.xapi.calls), 'the replacement hangs')
    scenes.prioritise(pool, [other])
    pool.wait_settled(other.ref, other.value('high'))
    pool.xapi.faults.remove(fault)
    pool.wait_settled(stuck.ref, stuck.value('high'))
    assert scenes.start(pool, stuck) == stuck.value('high')


def test_starts_whose_calls_all_hang_hold_up_neither_an_edit_nor_a_signal(pool: World) -> None:
    other, *stuck = scenes.stage(pool, 1 + CALLERS + 8, foreign='')
    fault = pool.xapi.faults.add(Fault('hang', method='VM.add_to_platform', count=1000))
    for subject in stuck:
        pool.xapi.call('VM.remove_from_platform', subject.ref, KEY)
    beside = [pool.xapi.spawn('VM.start', subject.ref, False, False) for subject in stuck]
    wait_until(lambda: len(_list_adds(pool)) >= CALLERS, 'a call over each connection')
    pool.daemon.process.send_signal(signal.SIGHUP)
    pool.daemon.wait_for('settings.reloaded')
    known = _count(pool, 'registry.changed')
    scenes.prioritise(pool, [other])
    wait_until(lambda: _count(pool, 'registry.changed') > known, 'the edit is noticed')
    # The log begins with the tests before, whose sessions were lost in the midst of a replacement.
    assert not pool.daemon.events('vm.injection_failed', action='add'), 'the calls were waited for'
    pool.xapi.faults.remove(fault)
    for start in beside:
        start.join()
    pool.wait_settled(other.ref, other.value('high'))


def _list_adds(world: World) -> List[Any]:
    return [call for call in world.xapi.calls if call.method == 'VM.add_to_platform'
            and KEY in call.params]


def test_a_deletion_that_xapi_forgot_is_found_by_counting(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, gone = scenes.stage(world, 2, foreign='')
    world.xapi.add_fault('forget_deletion', method='VM', ref=gone.ref)
    world.xapi.call('VM.destroy', gone.ref)
    names = iter(range(1000))

    def is_started_afresh() -> bool:
        world.xapi.set_field(subject.ref, 'name_label', 'name %d' % next(names))
        return len(world.daemon.events('stream.resynced')) > 1
    wait_until(is_started_afresh, 'a fresh start')
    assert 'VM_COUNT' in world.daemon.events('stream.broken')[0]['error']
