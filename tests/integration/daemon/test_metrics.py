"""The daemon's metrics, as node_exporter and Prometheus find them, and its note in the journal."""

import json
import os
import signal
import socket
import urllib.request
from typing import Callable, Dict

from registry.journal.journal import Journal
from tests.integration.daemon.world import World, span, wait_until


def read_samples(path: str) -> Dict[str, str]:
    """The samples in the file, without the common prefix; none while it is not there."""
    try:
        with open(path, encoding='utf-8') as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return {}


def parse(text: str) -> Dict[str, str]:
    return dict(line[len('vgpu_watcher_'):].rsplit(' ', 1) for line in text.splitlines()
                if not line.startswith('#'))


def test_file_tells_of_vms_boots_and_calls(build_world: Callable[..., World]) -> None:
    world = build_world()
    path = os.path.join(world.directory, 'vgpu.prom')
    world.write_config('[metrics]\ntextfile = %s\n' % path, interval_seconds=1)
    world.start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    world.booted(ref)
    boots = 'boots_total{kind="start",verdict="as_desired"}'
    samples = wait_until(
        lambda: read_samples(path).get(boots) == '1' and read_samples(path), boots)
    assert samples['in_sync'] == '1' and samples['writer'] == '1'
    assert samples['registered_vms'] == '1' and samples['waiting_vms'] == '0'
    assert samples['vms{pool="A",state="as_desired"}'] == '1'
    assert samples['staging_margin_seconds_count'] == '1'
    assert samples['xapi_calls_total{method="VM.add_to_platform"}'] == '1'
    assert float(samples['last_answer_time_seconds']) >= float(samples['start_time_seconds'])
    assert world.daemon.stop() == 0
    assert not os.path.exists(path)


def test_mirror_is_told(build_world: Callable[..., World]) -> None:
    world = build_world()
    path = os.path.join(world.directory, 'vgpu.prom')
    world.write_config('[metrics]\ntextfile = %s\n' % path, interval_seconds=1)
    world.start()

    def read_mirrored(generation: str) -> Dict[str, str]:
        samples = read_samples(path)
        is_there = (samples.get('mirror_state{state="mirrored"}') == '1'
                    and samples['mirror_generation'] == generation)
        return samples if is_there else {}
    first = wait_until(lambda: read_mirrored('1'), 'the first fill')
    assert first['mirror_writes_total'] == '2' and first['mirror_waiting_entries'] == '0'
    ref = world.create_vm()
    world.register(ref, 5)
    # The VM's entry; the pool's new one, and its old one away; each with its code.
    second = wait_until(lambda: read_mirrored('2'), 'the edit')
    assert second['mirror_writes_total'] == '8'
    assert [name for name in second if name.startswith('mirror_state')] \
        == ['mirror_state{state="mirrored"}']
    world.xapi.add_fault('failure', method='*add_to_other_config', parameters={
        'code': 'RBAC_PERMISSION_DENIED', 'params': ['x']})
    world.change(ref, pool_id='B')
    third = wait_until(lambda: read_samples(path).get('mirror_state{state="off"}') == '1'
                       and read_samples(path), 'the refusal')
    assert third['mirror_writes_total'] == '8' and third['mirror_generation'] == '3'


def test_outage_is_counted(build_world: Callable[..., World]) -> None:
    world = build_world()
    path = os.path.join(world.directory, 'vgpu.prom')
    world.write_config('[metrics]\ntextfile = %s\n' % path, interval_seconds=1)
    world.start()
    world.xapi.restart()
    # A busy machine may cost a second session.
    wait_until(lambda: int(read_samples(path).get('reconnects_total', '0')) >= 1,
               lambda: 'a reconnect: %r' % read_samples(path))
    assert any(name.startswith('xapi_errors_total{') for name in read_samples(path))


def test_file_that_cannot_be_written_is_told_once_and_is_no_reason_to_stop(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    world.write_config('[metrics]\ntextfile = %s/none/vgpu.prom\n' % world.directory,
                       interval_seconds=1)
    world.start()
    wait_until(lambda: len(world.daemon.events('scan.completed')) >= 3, 'three scans')
    assert len(world.daemon.events('metrics.not_written')) == 1


def test_port_answers_on_the_loopback_and_a_reload_switches_it_off(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    world.write_config('[metrics]\nlisten = 127.0.0.1:%d\n' % port)
    world.start()

    def ask() -> Dict[str, str]:
        with urllib.request.urlopen('http://127.0.0.1:%d/metrics' % port, timeout=10) as answer:
            return parse(answer.read().decode('utf-8'))

    wait_until(lambda: ask()['in_sync'] == '1', 'the daemon in sync')
    world.write_config()
    world.daemon.process.send_signal(signal.SIGHUP)
    world.daemon.wait_for('settings.reloaded')

    def is_closed() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(('127.0.0.1', port)) != 0
    wait_until(is_closed, 'the port closed')


def test_port_that_is_taken_is_told_and_is_no_reason_to_stop(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        world.write_config('[metrics]\nlisten = 127.0.0.1:%d\n' % taken.getsockname()[1])
        world.start()
        assert len(world.daemon.events('metrics.not_listening')) == 1


def read_note(world: World) -> Dict[str, object]:
    with Journal(world.registry.journal_path, timeout_seconds=10.0) as journal:
        return json.loads(journal.read_note('daemon') or '{}')


def test_daemon_notes_who_watches_and_that_it_does_not_while_xapi_is_away(world: World) -> None:
    note = wait_until(lambda: read_note(world).get('since') and read_note(world), 'the note')
    assert note['pid'] == world.daemon.process.pid
    assert note['last_answer'] >= note['since'] > 0
    world.xapi.stop()
    wait_until(lambda: read_note(world)['since'] is None, 'the note that nobody watches')
