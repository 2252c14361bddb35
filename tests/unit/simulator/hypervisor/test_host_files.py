"""The host: what programs can read of its domains."""

import os
import subprocess
from typing import Any, Callable, List, Optional

import pytest

from simulator.hypervisor.wrapper_runner import RUNNER, run_once
from simulator.server import Simulator
from simulator.wire.failures import Failure

ARGS = 'device-model-args'


@pytest.fixture
def simulator(build: Callable[..., Simulator], directory: str) -> Simulator:
    return build(host_directory=os.path.join(directory, 'host'))


def _xenstore_read(directory: str, *paths: str) -> Any:
    reader = os.path.join(directory, 'host', 'bin', 'xenstore-read')
    return subprocess.run([reader] + list(paths), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


def _cmdline(directory: str, pid: str) -> List[str]:
    with open(os.path.join(directory, 'host', 'proc', pid, 'cmdline'), encoding='utf-8') as opened:
        return opened.read().split('\0')[:-1]


def test_a_running_vm_is_seen_from_outside(simulator: Simulator, directory: str) -> None:
    ref = simulator.create_vm('web', platform={ARGS: '-device vgpu-stub,pool_id=A'})
    simulator.call('VM.start', ref, False, False)
    base = '/local/domain/{}'.format(simulator.vm(ref)['domid'])
    read = _xenstore_read(directory, base + '/platform/' + ARGS, base + '/qemu-pid')
    value, pid = read.stdout.splitlines()
    assert (read.returncode, value) == (0, '-device vgpu-stub,pool_id=A')
    assert _cmdline(directory, pid)[-2:] == ['-device', 'vgpu-stub,pool_id=A']
    assert _cmdline(directory, pid) == simulator.boots[0].qemu_arguments


def test_a_missing_path_is_an_error_on_standard_error(simulator: Simulator,
                                                      directory: str) -> None:
    for path in ('/local/domain/99', '/../../etc/passwd', ''):
        read = _xenstore_read(directory, path)
        assert read.returncode == 1 and read.stdout == '' and read.stderr


def test_a_domain_that_ends_leaves_nothing(simulator: Simulator, directory: str) -> None:
    ref = simulator.create_vm('web')
    simulator.call('VM.start', ref, False, False)
    simulator.call('VM.clean_shutdown', ref)
    assert os.listdir(os.path.join(directory, 'host', 'xenstore', 'local', 'domain')) == []
    assert os.listdir(os.path.join(directory, 'host', 'proc')) == ['sys']


def test_only_this_hosts_domains_are_seen(build: Callable[..., Simulator],
                                          directory: str) -> None:
    simulator = build(hosts=2, host_directory=os.path.join(directory, 'host'))
    ref = simulator.create_vm('web', affinity=simulator.hosts[1])
    simulator.call('VM.start', ref, False, False)
    domains = os.path.join(directory, 'host', 'xenstore', 'local', 'domain')
    assert os.listdir(domains) == []
    simulator.call('VM.pool_migrate', ref, simulator.hosts[0], {})
    assert os.listdir(domains) == [str(simulator.vm(ref)['domid'])]


OURS = '-device vgpu-stub,pool_id=A,priority=low,vm_id=5'


@pytest.mark.parametrize('consumer, tail', [
    pytest.param('reading', ['-device', '"a', 'b"'], id='splits-at-blanks'),
    pytest.param('shell', ['-device', 'a b'], id='splits-like-a-shell'),
    pytest.param('off', ['-S', '-priv'], id='appends-nothing'),
])
def test_a_consumer_that_is_only_read_decides_what_becomes_of_the_value(
        simulator: Simulator, consumer: str, tail: List[str]) -> None:
    simulator.set_consumer(consumer)
    ref = simulator.create_vm('web', platform={ARGS: '-device "a b"'})
    simulator.call('VM.start', ref, False, False)
    assert simulator.boots[0].qemu_arguments[-len(tail):] == tail


@pytest.mark.parametrize('consumer, value, tail', [
    ('working', OURS, OURS.split()),
    ('working', '-device foreign ' + OURS, OURS.split()),
    ('working', '-device foreign', ['-S', '-priv']),
    ('working', None, ['-S', '-priv']),
    ('paused', OURS, OURS.split()),
    ('patched', '-device foreign ' + OURS, ['-device', 'foreign'] + OURS.split()),
    ('patched', None, ['-S', '-priv']),
    ('beside', OURS, ['-priv'] + OURS.split()),
    ('off', OURS, ['-S', '-priv'])])
def test_qemu_is_started_by_the_shipped_wrapper(
        simulator: Simulator, consumer: str, value: Optional[str], tail: List[str]) -> None:
    simulator.set_consumer(consumer)
    ref = simulator.create_vm('wéb \udc80"', platform={ARGS: value} if value else {})
    simulator.call('VM.start', ref, False, False)
    boot = simulator.boots[0]
    assert boot.qemu_arguments[-len(tail):] == tail
    assert boot.qemu_arguments[0] == 'qemu-dm-%d' % boot.domid
    assert boot.qemu_arguments.count('-machine') == 1


@pytest.mark.parametrize('name', [
    pytest.param('n' * 200000, id='long'), pytest.param('a\0b', id='with-a-null'),
    pytest.param('-loadvm', id='like-an-option')])
def test_no_name_keeps_a_vm_from_starting(simulator: Simulator, name: str) -> None:
    ref = simulator.create_vm(name, platform={ARGS: OURS})
    simulator.call('VM.start', ref, False, False)
    assert simulator.boots[0].qemu_arguments[-2:] == OURS.split()


def test_what_is_shown_of_a_qemu_is_what_the_wrapper_gave_it(
        simulator: Simulator, directory: str) -> None:
    ref = simulator.create_vm('web', platform={ARGS: OURS})
    simulator.call('VM.start', ref, False, False)
    host = os.path.join(directory, 'host')
    with open(os.path.join(host, 'xenstore/local/domain/1/qemu-pid'), encoding='ascii') as opened:
        pid = opened.read()
    with open(os.path.join(host, 'proc', pid, 'cmdline'), 'rb') as opened:
        words = opened.read().decode().split('\0')[:-1]
    assert words == simulator.boots[0].qemu_arguments
    assert words[-2:] == OURS.split()


def test_a_qemu_that_goes_on_is_told_so(simulator: Simulator) -> None:
    ref = simulator.create_vm('web', platform={ARGS: OURS})
    for method, parameters in (('start', (False, False)), ('suspend', ()),
                               ('resume', (False, False)), ('hard_reboot', ())):
        simulator.call('VM.' + method, ref, *parameters)
    assert [(boot.kind, '-loadvm' in boot.qemu_arguments) for boot in simulator.boots] == [
        ('start', False), ('resume', True), ('reboot', False)]


def test_the_process_that_forks_may_die(simulator: Simulator) -> None:
    ref = simulator.create_vm('web', platform={ARGS: OURS})
    simulator.call('VM.start', ref, False, False)
    RUNNER._process.kill()
    RUNNER._process.wait()
    for _ in range(2):
        simulator.call('VM.hard_reboot', ref)
    assert [boot.qemu_arguments[-2:] for boot in simulator.boots] == [OURS.split()] * 3


def test_a_wrapper_of_its_own_python_does_the_same(simulator: Simulator, monkeypatch: Any) -> None:
    monkeypatch.setattr(RUNNER, 'run', run_once)
    ref = simulator.create_vm('web', platform={ARGS: OURS})
    simulator.call('VM.start', ref, False, False)
    assert simulator.boots[0].qemu_arguments[-2:] == OURS.split()


def test_many_qemus_at_once_each_get_their_own(build: Callable[..., Simulator],
                                               directory: str) -> None:
    simulator = build(host_directory=os.path.join(directory, 'many'))
    spans = {simulator.create_vm(str(number), platform={ARGS: OURS[:-1] + str(number)}):
             OURS[:-1] + str(number) for number in range(1, 13)}
    for spawned in [simulator.spawn('VM.start', ref, False, False) for ref in spans]:
        spawned.join(60.0)
        assert spawned.error is None
    assert {boot.ref: ' '.join(boot.qemu_arguments[-2:]) for boot in simulator.boots} == spans


def test_without_a_wrapper_to_run_the_value_is_read_in_here(
        build: Callable[..., Simulator], directory: str) -> None:
    simulator = build(host_directory=os.path.join(directory, 'none'),
                      consumer_path=os.path.join(directory, 'is-not-there'))
    ref = simulator.create_vm('web', platform={ARGS: '-device foreign'})
    simulator.call('VM.start', ref, False, False)
    assert simulator.boots[0].qemu_arguments[-2:] == ['-device', 'foreign']


def test_an_unbalanced_quote_kills_the_shell_like_consumer(simulator: Simulator) -> None:
    simulator.set_consumer('shell')
    ref = simulator.create_vm('web', platform={ARGS: '-device "a'})
    with pytest.raises(Failure) as caught:
        simulator.call('VM.start', ref, False, False)
    assert caught.value.code == 'INTERNAL_ERROR'
    assert simulator.vm(ref)['power_state'] == 'Halted'


def test_a_restart_of_the_host_ends_its_domains_and_changes_the_boot_id(
        simulator: Simulator, directory: str) -> None:
    path = os.path.join(directory, 'host', 'proc', 'sys', 'kernel', 'random', 'boot_id')
    with open(path, encoding='utf-8') as opened:
        before = opened.read()
    ref = simulator.create_vm('web', other_config={'auto_poweron': 'true'})
    simulator.call('VM.start', ref, False, False)
    simulator.reboot_host()
    with open(path, encoding='utf-8') as opened:
        assert opened.read() != before
    assert simulator.vm(ref)['power_state'] == 'Halted'
    simulator.auto_power_on()
    assert [boot.kind for boot in simulator.boots] == ['start', 'start']


@pytest.mark.parametrize('path, status, output', [
    ('/local/domain/1/platform/k', 0, b' a b \n'), ('/local/domain/1/platform', 0, b'\n'),
    ('/local/domain/../domain/1/vm', 1, b''), ('/nothing', 1, b'')])
def test_the_reader_reads_as_the_real_one_does(
        simulator: Simulator, directory: str, path: str, status: int, output: bytes) -> None:
    ref = simulator.create_vm('web', platform={'k': ' a b '})
    simulator.call('VM.start', ref, False, False)
    reader = os.path.join(directory, 'host', 'bin', 'xenstore-read')
    done = subprocess.run([reader, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (status, output)
