"""A stolen number does not boot (P26): the real daemon, the simulator and the shipped wrapper.

What a VM booted with is judged by the arguments that QEMU got of the wrapper, which runs as
xenopsd would run it, for the domain that the simulator has built and in its xenstore.
"""

import os
import subprocess
import sys
from typing import Any, Callable, Iterator, List, Sequence

import pytest

from registry.errors import Conflict
from registry.journal.journal import Journal
from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.integration.qemu_wrapper.conftest import Dom0
from tests.integration.qemu_wrapper.stock import program
from tests.integration.qemu_wrapper.wrapper import point_wrapper
from tests.support import programs
from tests.support.building import building
from watcher.consumer.run_directory import RunDirectory, read_instant


class Host:
    """A world whose QEMUs are started by the shipped wrapper."""

    def __init__(self, directory: str, **settings: Any) -> None:
        self.world = World(directory, **settings)
        os.mkdir(os.path.join(directory, 'dom0'))
        self.dom0 = Dom0(os.path.join(directory, 'dom0'))
        self.run = RunDirectory(os.path.join(self.world.host_directory, 'run/vgpu-watcher'))
        self.wrapper = os.path.join(directory, 'dom0', 'vgpu-qemu-wrapper')
        # The boot id is the kernel's: the daemon's clock is its, too.
        program(self.wrapper, point_wrapper(
            STOCK=self.dom0.path('qemu-wrapper'), SYSLOG=self.dom0.path('log'),
            XENSTORE_READ=os.path.join(self.world.host_directory, 'bin', 'xenstore-read'),
            CONFIGURATION=self.world.config_path, TIMEOUT_SECONDS=10.0))

    def close(self) -> None:
        """End everything."""
        self.dom0.close()
        self.world.close()

    def wait_confirmed(self) -> None:
        """Wait until the daemon has told the consumer."""
        wait_until(self.is_confirmed, 'a confirmed file')

    def is_confirmed(self) -> bool:
        """Whether the consumer goes by the file now."""
        numbers = self.run.read_numbers()
        return numbers is not None and numbers.is_confirmed(*read_instant())

    def register(self, ref: str, vm_id: int) -> None:
        """Give a VM a row, and wait until it is staged: what vgpu-admin waits for."""
        self.world.register(ref, vm_id)
        self.world.wait_args(ref, span(vm_id))

    def start(self, ref: str, *arguments: str) -> List[str]:
        """Start a VM; what of ours its QEMU got."""
        self.world.xapi.call('VM.start', ref, False, False)
        return self.launch(ref, arguments)

    def launch(self, ref: str, arguments: Sequence[str] = ()) -> List[str]:
        """Start the QEMU of a domain that was built."""
        domid = str(self.world.xapi.vm(ref)['domid'])
        if os.path.exists(self.dom0.record):
            os.unlink(self.dom0.record)
        subprocess.run([sys.executable, self.wrapper, domid, '-xen-domid', domid, '-m', '1024']
                       + list(arguments), stdout=subprocess.DEVNULL, timeout=60, check=True)
        with open(self.dom0.record, encoding='ascii') as stream:
            words = stream.read().split('\0')
        return [item for item in words if item.startswith('vgpu-')]


@pytest.fixture
def build_host() -> Iterator[Callable[..., Host]]:
    with building(Host) as build:
        yield build


@pytest.fixture
def host(build_host: Callable[..., Host]) -> Host:
    """A daemon in sync, and a VM with the number 10."""
    built = build_host()
    built.world.start()
    built.owner = built.world.create_vm('owner')  # type: ignore
    built.register(built.owner, 10)  # type: ignore
    built.wait_confirmed()
    return built


DEVICE = span(10).split()[1]


def test_key_set_by_hand_with_a_start_at_once_is_refused_ten_times_of_ten(host: Any) -> None:
    """Fault C9."""
    found = []
    for number in range(10):
        thief = host.world.create_vm('thief-%d' % number)
        host.world.xapi.call('VM.add_to_platform', thief, KEY, span(10))
        found.append(host.start(thief))
    assert found == [[]] * 10


def test_clone_that_is_started_at_once_boots_without_the_number(host: Any) -> None:
    clone = host.world.xapi.call('VM.clone', host.owner, 'clone')
    assert host.start(clone) == []
    # The simulator's own host runs the same wrapper.
    assert DEVICE not in host.world.last_boot(clone).qemu_arguments
    uuid = host.world.uuid(clone)
    line, = host.dom0.read_log()
    assert 'withheld %s' % span(10) in line and uuid in line
    marker = host.run.read_marker(int(host.world.xapi.vm(clone)['domid']))
    assert marker is not None and (marker.vm_uuid, marker.number) == (uuid, 10)
    assert marker.owner == host.world.uuid(host.owner)


def test_import_that_brings_the_number_boots_without_it(host: Any) -> None:
    # An import shows its VM with all that it brings at once.
    imported = host.world.create_vm('imported', args=span(10) + ',addr=5')
    assert host.start(imported) == []


def test_registered_vm_gets_what_xapi_carries(host: Any) -> None:
    assert host.start(host.owner) == [DEVICE]


def test_registered_vm_gets_even_the_number_of_another_one(host: Any) -> None:
    """XAPI froze it: what is given is what it carries, whatever the daemon thinks of it."""
    other = host.world.create_vm('other')
    host.register(other, 11)
    host.world.xapi.call('VM.start', other, False, False)
    host.wait_confirmed()
    domid = str(host.world.xapi.vm(other)['domid'])
    path = os.path.join(host.world.host_directory, 'xenstore/local/domain', domid,
                        'platform', KEY)
    with open(path, 'w', encoding='ascii') as stream:
        stream.write(span(10))
    assert host.launch(other) == [DEVICE]


def test_row_is_known_to_the_consumer_before_the_vm_carries_its_number(host: Any) -> None:
    """A number that goes from one row to another: nobody is taken for a thief."""
    heir = host.world.create_vm('heir')
    for _time in range(3):
        host.world.remove(host.owner)
        host.world.wait_args(host.owner, None)
        wait_until(lambda heir=heir: _is_registered(host, heir), 'the number to be free')
        assert host.start(heir) == [DEVICE]
        host.world.xapi.call('VM.hard_shutdown', heir)
        host.owner, heir = heir, host.owner


def _is_registered(host: Any, ref: str) -> bool:
    """Whether the VM could have the number: the journal learns a moment later that it is free."""
    try:
        host.register(ref, 10)
    except Conflict:
        return False
    return True


def test_number_that_nobody_has_is_left_to_whoever_carries_it(host: Any) -> None:
    manual = host.world.create_vm('manual', args=span(99))
    assert host.start(manual) == [span(99).split()[1]]


def test_saved_state_of_a_thief_gets_its_device_back(host: Any) -> None:
    thief = host.world.create_vm('thief', args=span(10))
    assert host.start(thief, '-loadvm', '/var/lib/xen/qemu-resume.1') == [DEVICE]


def test_paused_consumer_passes_everything(host: Any) -> None:
    with open(os.path.join(host.world.directory, 'consumer.paused'), 'w', encoding='ascii'):
        pass
    assert host.start(host.world.create_vm('thief', args=span(10))) == [DEVICE]
    os.unlink(os.path.join(host.world.directory, 'consumer.paused'))
    assert host.start(host.world.create_vm('again', args=span(10))) == []


def test_daemon_that_stopped_just_now_still_counts(host: Any) -> None:
    assert host.world.daemon.stop() == 0
    assert host.start(host.world.create_vm('thief', args=span(10))) == []


def test_vm_that_is_registered_without_a_daemon_is_not_taken_for_a_thief(host: Any) -> None:
    """What the daemon confirmed before it stopped knows nothing of the new row."""
    host.world.daemon.stop()
    heir = host.world.create_vm('heir')
    for words in (['set-vm-id', '--vm-uuid=' + host.world.uuid(host.owner), '--vm-id=12'],
                  ['register-vm', '--vm-uuid=' + host.world.uuid(heir), '--vm-id=10']):
        status, out, err = programs.run(
            'cli', words + ['--config', host.world.config_path],
            stdin=subprocess.DEVNULL, **programs.surroundings(programs.UTF_8))
        assert status == 0, (out, err)
    assert host.world.args(heir) == span(10) and not host.is_confirmed()
    assert host.start(heir) == [DEVICE]


def test_rows_that_are_lost_at_once_are_not_confirmed(host: Any) -> None:
    """P17: the registry is unavailable, and what stands in the file ages."""
    wait_until(lambda: host.world.daemon.events(
        'mirror.written', generation=host.run.read_numbers().generation, vms=1),
        'the generation of the row, in the file as well')
    before = host.run.read_numbers()
    os.rename(host.world.registry_path, host.world.registry_path + '.away')
    host.world.daemon.wait_for('registry.unavailable')
    assert host.run.read_numbers() == before


def test_steady_pool_writes_neither_to_xapi_nor_to_the_shared_file_for_it(host: Any) -> None:
    def look() -> Any:
        found = os.stat(host.world.registry_path)
        return found.st_mtime_ns, len(host.world.writes())

    host.world.daemon.stop()
    before = look()
    os.unlink(os.path.join(host.run.path, 'numbers'))
    host.world.start_daemon()
    host.wait_confirmed()
    host.world.daemon.stop()
    assert look() == before


def test_daemon_over_tcp_tells_this_hosts_consumer_nothing(build_host: Any) -> None:
    host = build_host(listen=('127.0.0.1', 0))
    world = host.world
    world.start(with_daemon=False)
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('unix:' + world.socket_path,
                                  'http://%s:%d' % world.xapi.address))
    world.start_daemon()
    world.daemon.stop()
    assert not os.path.exists(host.run.path)


# The receipt. The simulator's host runs the shipped wrapper for each QEMU of its own.

def test_receipt_log_and_explain_tell_of_a_withheld_boot(host: Any) -> None:
    thief = host.world.create_vm('thief', args=span(10))
    host.world.xapi.call('VM.start', thief, False, False)
    line = host.world.booted(thief)
    assert (line['verdict'], line['kind'], line['carried'], line['found'], line['level']) == (
        'withheld', 'start', span(10), None, 'warning')
    run = programs.run('cli', ['explain', '--vm-uuid=' + host.world.uuid(thief), '--config',
                               host.world.config_path], stdin=subprocess.DEVNULL,
                       **programs.surroundings(programs.UTF_8))
    assert run[0] == 0 and b'verdict withheld' in run[1] and b'register-vm' in run[1]


def test_reboot_of_the_guest_is_a_fresh_start_and_is_withheld_again(host: Any) -> None:
    thief = host.world.create_vm('thief', args=span(10))
    host.world.xapi.call('VM.start', thief, False, False)
    assert host.world.booted(thief, kind='start')['verdict'] == 'withheld'
    host.world.xapi.call('VM.clean_reboot', thief)
    assert host.world.booted(thief, kind='reboot')['verdict'] == 'withheld'


@pytest.mark.parametrize('consumer', ['paused', 'beside', 'patched'])
def test_what_is_not_withheld_is_not_called_so(host: Any, consumer: str) -> None:
    host.world.xapi.set_consumer(consumer)
    thief = host.world.create_vm('thief', args=span(10))
    host.world.xapi.call('VM.start', thief, False, False)
    boot = wait_until(lambda: _find_receipt(host, thief), 'a receipt')
    # Without a row nothing was asked for: no line, and a receipt that says what runs.
    assert boot.verdict != 'withheld' and boot.found == span(10)


def _find_receipt(host: Any, ref: str) -> Any:
    with Journal(host.world.registry.journal_path, timeout_seconds=10.0) as journal:
        boot = journal.last_boot(host.world.uuid(ref))
    return boot if boot is not None and boot.closed_at else None
