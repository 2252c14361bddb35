"""The host: what programs can read of its domains."""

import os
import subprocess
import sys
from typing import Any, Callable, List

import pytest

from simulator.failures import Failure
from simulator.server import Simulator

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


@pytest.mark.parametrize('consumer, tail', [
    pytest.param('working', ['-device', '"a', 'b"'], id='splits-at-blanks'),
    pytest.param('shell', ['-device', 'a b'], id='splits-like-a-shell'),
    pytest.param('off', ['-S', '-priv'], id='appends-nothing'),
])
def test_the_consumer_decides_what_becomes_of_the_value(
        simulator: Simulator, consumer: str, tail: List[str]) -> None:
    simulator.set_consumer(consumer)
    ref = simulator.create_vm('web', platform={ARGS: '-device "a b"'})
    simulator.call('VM.start', ref, False, False)
    assert simulator.boots[0].qemu_arguments[-len(tail):] == tail


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


def test_the_reader_needs_no_shell(directory: str, simulator: Simulator) -> None:
    reader = os.path.join(directory, 'host', 'bin', 'xenstore-read')
    with open(reader, encoding='utf-8') as opened:
        assert opened.readline() == f'#!{sys.executable} -IS\n'
