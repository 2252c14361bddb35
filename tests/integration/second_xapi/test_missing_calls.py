"""Which calls the daemon needs of XAPI, and what becomes of it when the others fail, in any way."""

from typing import Any, Callable

import pytest

from tests.integration.second_xapi.stranger import Stranger, span
from tests.integration.second_xapi.xapi import Manner
from tests.support.waiting import wait_until

WAYS = ('unknown', '500', 'close', 'garbage', 'fault', 'null', 'hang')
# In one go: what can be done without.
OPTIONAL = ('VM.add_to_other_config', 'VM.remove_from_other_config', 'pool.add_to_other_config',
            'pool.remove_from_other_config', 'pool.get_record', 'pool.get_all_records',
            'event.inject', 'host.call_plugin', 'system.listMethods', 'session.logout',
            'VM.get_all', 'Async.*', 'task.*', 'host.get_name_label',
            'session.get_uuid', 'VM.get_by_uuid', 'VM.get_uuid')
# One at a time: another call tells the same.
REPLACED = ('VM.get_all_records', 'session.get_this_host', 'pool.get_master',
            'host.get_software_version')


def drive(stranger: Stranger) -> None:
    """The promises, one after the other, on one VM."""
    xapi = stranger.xapi
    ref = xapi.create_vm('web', '-foreign,x=1')
    late = xapi.create_vm('late')
    number = stranger.register(ref)
    stranger.wait_args(ref, '-foreign,x=1 %s' % span(number))
    stranger.wait_line('scan.completed')
    xapi.run(ref)
    uuid = xapi.vm(ref)['uuid']
    line = stranger.wait_line('vm.booted', vm_uuid=uuid)
    assert (line['verdict'], line['kind']) == ('as_desired', 'start')
    run = stranger.admin('update-vm', '--vm-uuid', uuid, '--pool', 'B', '--no-restart')
    assert run.status == 0, run
    xapi.vm_clean_shutdown(ref)
    stranger.wait_args(ref, '-foreign,x=1 %s' % span(number, 'B'))
    # A start of a VM that is not staged: rescued.
    xapi.cut_off_seconds = 2.0
    stranger.register(late)
    xapi.run(late)
    assert stranger.wait_line('vm.booted', vm_uuid=xapi.vm(late)['uuid'])['carried']
    assert stranger.stop() == 0


@pytest.mark.parametrize('how', WAYS)
def test_without_every_call_that_can_be_done_without(
        make: Callable[..., Stranger], how: str) -> None:
    stranger = make(Manner(missing=tuple((name, how) for name in OPTIONAL)),
                    sections={'scan': {'interval_seconds': 1}})
    stranger.start()
    drive(stranger)


@pytest.mark.parametrize('how', ['unknown', 'close', 'garbage'])
@pytest.mark.parametrize('method', REPLACED)
def test_another_call_tells_the_same(
        make: Callable[..., Stranger], method: str, how: str) -> None:
    stranger = make(Manner(missing=((method, how),)), sections={'scan': {'interval_seconds': 1}})
    stranger.start()
    ref = stranger.xapi.create_vm()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    stranger.wait_line('scan.completed')


@pytest.mark.parametrize('protocol', ['xml', 'json'])
def test_the_least_that_is_needed(make: Callable[..., Stranger], protocol: str) -> None:
    """Login, who answers, the long poll, and the four calls that read and write a VM."""
    needed = ('session.login_with_password', 'session.get_this_host', 'pool.get_all',
              'pool.get_master', 'host.get_software_version', 'event.from', 'VM.get_record',
              'VM.add_to_platform', 'VM.set_platform', 'VM.remove_from_platform')
    manner = Manner(speaks=(protocol,), classes=('vm',), has_counts=False, keeps_alive=False)
    stranger = make(manner, sections={'scan': {'interval_seconds': 1}})
    only = stranger.xapi.carry_out

    def carry_out(method: str, session: str, params: Any) -> Any:
        if method not in needed:
            raise TypeError('no such method: %s' % method)
        return only(method, session, params)
    stranger.xapi.carry_out = carry_out  # type: ignore
    stranger.start()
    drive(stranger)


def test_a_mirror_that_xapi_does_not_take_is_told_once_and_staging_goes_on(
        make: Callable[..., Stranger]) -> None:
    stranger = make(Manner(missing=(('VM.add_to_other_config', 'unknown'),
                                    ('pool.add_to_other_config', 'unknown'))))
    stranger.start()
    refs = [stranger.xapi.create_vm() for _ in range(3)]
    for ref in refs:
        stranger.wait_args(ref, span(stranger.register(ref)))
    stranger.wait_line('mirror.unavailable')
    assert len(stranger.events('mirror.unavailable')) == 1


def test_an_xapi_that_hides_its_resource_pool_has_no_mirror_and_it_is_told_once(
        make: Callable[..., Stranger]) -> None:
    stranger = make(Manner(classes=('vm',)))
    stranger.start()
    stranger.wait_line('mirror.unavailable')
    stranger.xapi.forget_sessions()
    wait_until(lambda: len(stranger.events('session.opened')) > 1)
    ref = stranger.xapi.create_vm()
    stranger.wait_args(ref, span(stranger.register(ref)))
    assert len(stranger.events('mirror.unavailable')) == 1


@pytest.mark.parametrize('software', [
    pytest.param({'xapi': '1.249.41'}, id='older'), pytest.param({'xapi': '22.6'}, id='nearly'),
    pytest.param({}, id='none'), pytest.param({'xapi': 'of today'}, id='words'),
    pytest.param('26.1', id='no-map'), pytest.param([], id='a-list')])
def test_an_xapi_of_another_version_is_only_watched(
        make: Callable[..., Stranger], software: Any) -> None:
    stranger = make(software=software, sections={'scan': {'interval_seconds': 1}})
    ref = stranger.xapi.create_vm()
    stranger.start(waits=False)
    stranger.wait_line('scan.completed')
    before = len(stranger.xapi.calls)
    stranger.register(ref)
    wait_until(lambda: len(stranger.events('scan.completed')) > 3)
    assert not stranger.xapi.writes(before) and stranger.xapi.args(ref) is None
    assert len(stranger.events('role.read_only')) == 1
    stranger.xapi.tables.set('host', stranger.xapi.host,
                             software_version={'xapi': '24.19.2'})
    stranger.served.cut()
    stranger.wait_args(ref, span(1))


@pytest.mark.parametrize('how', ['unknown', '500', 'fault'])
def test_a_version_that_cannot_be_read_at_all_is_only_watched(
        make: Callable[..., Stranger], how: str) -> None:
    stranger = make(Manner(missing=(('host.get_software_version', how),
                                    ('host.get_record', how))),
                    sections={'scan': {'interval_seconds': 1}})
    ref = stranger.xapi.create_vm()
    stranger.start(waits=False)
    stranger.wait_line('role.read_only')
    before = len(stranger.xapi.calls)
    stranger.register(ref)
    wait_until(lambda: len(stranger.events('scan.completed')) > 2)
    assert not stranger.xapi.writes(before)
    stranger.xapi.manner = Manner()
    stranger.served.cut()
    stranger.wait_args(ref, span(1))
