"""The program: it says where it listens, serves, and stops when told to."""

import http.client
import signal
import subprocess
import sys
import xmlrpc.client
from typing import Any, Iterator, List

import pytest

from simulator.__main__ import main
from tests.support.waiting import wait_until

SPAN = '-device vgpu-stub,pool_id=A,priority=low,vm_id=5'


@pytest.fixture
def program(directory: str) -> Iterator[Any]:
    """Run the simulator as a program, on both kinds of sockets."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'simulator', 'serve', '--socket', directory + '/xapi',
         '--listen', '127.0.0.1:0', '--vms', '3', '--host-directory', directory + '/host',
         '--cutoff', '0.01'], stdout=subprocess.PIPE, universal_newlines=True)
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


def _connect(process: Any) -> xmlrpc.client.ServerProxy:
    line = process.stdout.readline()
    assert line.startswith('listening on ')
    return xmlrpc.client.ServerProxy('http://' + line.split()[-1])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_0(program: Any, number: int) -> None:
    proxy = _connect(program)
    assert len(proxy.sim.hosts()['Value']) == 1
    proxy('close')()
    program.send_signal(number)
    assert program.wait(10.0) == 0


def test_other_programs_drive_it_through_the_class_sim(program: Any) -> None:
    proxy = _connect(program)
    sim = proxy.sim
    ref = sim.create_vm('web', {'platform': {'device-model-args': SPAN}})['Value']
    sim.call('VM.start', [ref, False, False])
    sim.guest_reboot(ref)
    sim.add_fault({'kind': 'consumer', 'count': '1', 'parameters': {'consumer': 'off'}})
    sim.call('VM.hard_reboot', [ref])
    boots = sim.boots()['Value']
    assert [(boot['kind'], boot['args']) for boot in boots] == [
        ('start', SPAN), ('guest_reboot', SPAN), ('reboot', SPAN)]
    device = SPAN.split()[1]
    assert [boot['qemu_arguments'][-1] for boot in boots] == [device, device, '-priv']
    assert sim.boots('2')['Value'] == boots[2:]
    assert sim.vm(ref)['Value']['power_state'] == 'Running'
    assert 'sim.boots' in [call['method'] for call in sim.calls()['Value']]
    proxy('close')()


def test_it_serves_a_pool_whose_hosts_have_sockets_of_their_own(directory: str) -> None:
    process = subprocess.Popen(
        [sys.executable, '-m', 'simulator', 'serve', '--pool-directory', directory, '--hosts', '3',
         '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE, universal_newlines=True)
    try:
        proxy = _connect(process)
        hosts = proxy.sim.hosts()['Value']
        assert proxy.sim.sockets()['Value'] == ['%s/host-%d/xapi' % (directory, number)
                                                for number in (1, 2, 3)]
        proxy.sim.sync_database()
        proxy.sim.designate_new_master(hosts[2])
        wait_until(lambda: _ask(proxy, 'master') == hosts[2])
        proxy('close')()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _ask(proxy: xmlrpc.client.ServerProxy, name: str) -> Any:
    try:
        return getattr(proxy.sim, name)()['Value']
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.parametrize('arguments', [
    pytest.param([], id='no-command'),
    pytest.param(['serve'], id='no-socket'),
    pytest.param(['serve', '--listen', 'nowhere'], id='no-port'),
    pytest.param(['serve', '--socket', '/tmp/x', '--era', 'D'], id='no-era'),
])
def test_a_wrong_command_line_is_usage(arguments: List[str], capsys: Any) -> None:
    try:
        status = main(arguments)
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert 'usage' in capsys.readouterr().err
