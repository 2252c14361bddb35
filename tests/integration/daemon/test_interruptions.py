"""P14 to P18, P21, P23 to P25: XAPI, the file and the daemon itself in trouble."""

import os
import signal
import sqlite3
from typing import Callable

import pytest

from simulator.server import Simulator
from tests.integration.daemon.world import KEY, World, span, wait_until


@pytest.mark.parametrize('mode', ['clean', 'crash'])
def test_a_restarted_xapi_is_followed_afresh(world: World, mode: str) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.xapi.restart(mode=mode, down_seconds=0.5)
    other = world.create_vm('other')
    world.register(other, 6)
    world.wait_args(other, span(6), timeout_seconds=8.0)
    assert world.start_vm(other).args == span(6)


def test_a_vm_that_has_another_ref_is_not_gone(world: World) -> None:
    """A host that joins a resource pool: its VMs are imported there, under their own UUIDs."""
    kept, lost = world.create_vm('kept'), world.create_vm('lost')
    for number, ref in enumerate((kept, lost), 5):
        world.register(ref, number)
        world.wait_args(ref, span(number))
    uuids = [world.uuid(ref) for ref in (kept, lost)]
    world.xapi.stop()
    joined = Simulator(world.xapi.settings._replace(seed=77))
    joined.create_vm('kept', uuids[0])
    joined.start()
    try:
        world.daemon.wait_for('vm.vanished', vm_uuid=uuids[1])
        wait_until(lambda: joined.vm(joined.find(uuids[0]))['platform'].get(KEY) == span(5),
                   'its arguments')
    finally:
        joined.stop()
    assert world.daemon.events('vm.vanished', vm_uuid=uuids[0]) == []


@pytest.mark.parametrize('spoil', [
    pytest.param(lambda path: os.unlink(path), id='missing'),
    pytest.param(lambda path: os.truncate(path, 0), id='empty'),
    pytest.param(lambda path: _write(path, b'not a database at all' * 100), id='corrupt'),
])
def test_a_registry_that_cannot_be_read_leaves_the_vms_as_they_are(
        world: World, spoil: Callable[[str], None]) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    with open(world.registry_path, 'rb') as stream:
        good = stream.read()
    spoil(world.registry_path)
    world.daemon.wait_for('registry.unavailable')
    world.xapi.clear_calls()
    assert world.start_vm(ref).args == span(5)
    world.xapi.call('VM.hard_shutdown', ref)
    assert not world.writes()
    _write(world.registry_path, good)
    world.daemon.wait_for('registry.available')
    world.change(ref, vm_id=6)
    world.wait_settled(ref, span(6))


def _write(path: str, content: bytes) -> None:
    with open(path, 'wb') as stream:
        stream.write(content)


def test_a_registry_that_lost_all_its_rows_is_unavailable(world: World) -> None:
    refs = [world.create_vm('vm%d' % number) for number in range(3)]
    for number, ref in enumerate(refs):
        world.register(ref, number + 1)
        world.wait_args(ref, span(number + 1))
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute('DELETE FROM vms')
    connection.close()
    world.daemon.wait_for('registry.unavailable')
    assert [world.args(ref) for ref in refs] == [span(1), span(2), span(3)]


def test_a_locked_registry_costs_patience_only(world: World) -> None:
    ref = world.create_vm()
    connection = sqlite3.connect(world.registry_path)
    connection.execute('BEGIN EXCLUSIVE')
    connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) '
                       "VALUES (5, ?, 'x', 'A', 1)", (world.uuid(ref),))
    os.utime(world.registry_path)
    world.daemon.wait_for('registry.unavailable')
    connection.commit()
    connection.close()
    world.wait_args(ref, span(5))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_in_order(world: World, number: int) -> None:
    assert world.daemon.stop(number) == 0
    assert world.daemon.events('service.stopped')


def test_a_second_daemon_gives_way(world: World) -> None:
    from tests.integration.daemon.world import Daemon
    second = Daemon(world.config_path).start()
    assert second.process is not None
    assert second.process.wait(20) == 1


@pytest.mark.parametrize('settings, reason', [
    pytest.param({'is_master': False}, 'not the master', id='member'),
    pytest.param({'xapi_version': '1.249.41'}, 'older than 22.7', id='old-xapi'),
])
def test_a_daemon_that_may_not_write_says_so_and_does_not(
        build_world: Callable[..., World], settings: dict, reason: str) -> None:
    world = build_world(**settings).start()
    ref = world.create_vm()
    world.register(ref, 5)
    assert reason in world.daemon.wait_for('role.read_only')['reason']
    world.daemon.wait_for('registry.changed')
    world.start_vm(ref)
    world.booted(ref)
    assert not world.writes()


def test_a_scan_finds_what_events_did_not_show(build_world: Callable[..., World]) -> None:
    world = build_world()
    world.write_config(interval_seconds=1)
    world.start()
    ref = world.create_vm('before')
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.xapi.call('VM.set_name_label', ref, 'after')
    wait_until(lambda: world.registry.read().vms[0].vm_name == 'after', 'the name is refreshed')
    line = wait_until(lambda: [line for line in world.daemon.events('scan.completed')
                               if line['states'].get('as_desired') == 1], 'a scan')[0]
    assert 'A' in line['pools']


def test_sighup_takes_a_good_configuration_and_refuses_a_bad_one(world: World) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    _write(world.config_path, b'[scan]\nno such key = 1\n')
    world.daemon.process.send_signal(signal.SIGHUP)
    world.daemon.wait_for('settings.rejected')
    world.write_config('[device]\ntemplate = -device vgpu-cuda,pool_id={pool_id},'
                       'priority={priority},vm_id={vm_id}\n')
    world.daemon.process.send_signal(signal.SIGHUP)
    world.daemon.wait_for('settings.reloaded')
    world.wait_settled(ref, span(5, name='vgpu-cuda'))


def test_a_scan_of_a_steady_pool_writes_nothing(build_world: Callable[..., World]) -> None:
    world = build_world()
    world.write_config(interval_seconds=1)
    world.start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    scans = len(world.daemon.events('scan.completed'))
    wait_until(lambda: len(world.daemon.events('scan.completed')) > scans + 1, 'a calm scan')
    world.xapi.clear_calls()
    scans = len(world.daemon.events('scan.completed'))
    wait_until(lambda: len(world.daemon.events('scan.completed')) > scans + 2, 'three scans')
    assert {call.method for call in world.xapi.calls if call.originator == 'vgpu-watcher'} <= {
        'event.from', 'VM.get_all_records'}
