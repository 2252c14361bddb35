"""What this host runs, read from a real program and real files."""

import signal
import subprocess
import sys
import time

import pytest

from tests.unit.watcher.steps import answer
from watcher.boots.host import Host
from watcher.consumer.run_directory import read_instant
from watcher.errors import HostUnreadable, WatcherError
from watcher.loop.loop import Loop
from watcher.loop.steps import run

QEMU = b'qemu-dm\0-xen-domid\x007\0-device\0vgpu-stub,vm_id=1\0'


class Xenstore:
    """Plays xenstore-read, and remembers what it was asked."""

    def __init__(self, values):
        self.values = values
        self.calls = []

    def __call__(self, arguments, timeout_seconds):
        self.calls.append((tuple(arguments), timeout_seconds))
        value = self.values.get(arguments[1])
        if isinstance(value, Exception):
            raise value
        if isinstance(value, int):
            return answer((value, b'', b'cannot connect'))
        return answer(
            (1, b'', b"couldn't read path") if value is None else (0, value + b'\n', b''))


@pytest.fixture
def build(tmp_path):
    """Build a host: `build({'qemu-pid': b'42'}, {'42/cmdline': b'...'})` for domain 7."""
    def build_host(values, files=None):
        for name, content in (files or {}).items():
            path = tmp_path / 'proc' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        xenstore = Xenstore({'/local/domain/7/' + key: value for key, value in values.items()})
        return Host('/bin/xenstore-read', str(tmp_path / 'proc'), run=xenstore), xenstore
    return build_host


@pytest.mark.parametrize('content, words', [
    pytest.param(QEMU, ('qemu-dm', '-xen-domid', '7', '-device', 'vgpu-stub,vm_id=1'), id='qemu'),
    pytest.param(b'qemu\0\0x\0', ('qemu', '', 'x'), id='empty-word-in-between'),
    pytest.param(b'qemu\0\xff\xc3\xa9\0', ('qemu', '\\xff\\xc3\\xa9'), id='not-ascii'),
])
def test_arguments_are_split_at_nul(build, content, words):
    host, _xenstore = build({'qemu-pid': b'42'}, {'42/cmdline': content})
    assert run(host.read_qemu_arguments(7)) == words


def test_each_call_asks_for_one_path_with_a_time_limit(build):
    host, xenstore = build({'qemu-pid': b'42'}, {'42/cmdline': QEMU})
    run(host.read_qemu_arguments(7))
    assert xenstore.calls == [(('/bin/xenstore-read', '/local/domain/7/qemu-pid'), 2.0)]


@pytest.mark.parametrize('pid', [
    b'0', b'-1', b'4194305', b'99999999999', b'', b'42 43', b'4x', b'../1', b'\xd9\xa4', b'42\n43'])
def test_odd_process_number_is_refused(build, pid):
    host, _xenstore = build({'qemu-pid': pid}, {'42/cmdline': QEMU})
    with pytest.raises(HostUnreadable, match='no process number'):
        run(host.read_qemu_arguments(7))


@pytest.mark.parametrize('values, files, problem', [
    pytest.param({}, {}, 'knows no qemu-pid', id='no-qemu'),
    pytest.param({'qemu-pid': b'42'}, {}, 'No such file', id='process-gone'),
    pytest.param({'qemu-pid': b'42'}, {'42/cmdline': b''}, 'shows no arguments', id='zombie'),
    pytest.param({'qemu-pid': b'42'}, {'42/cmdline': QEMU.replace(b'\x007\0', b'\x008\0')},
                 'runs domain 8', id='number-went-to-another-domain'),
    pytest.param({'qemu-pid': 2}, {}, 'exit status 2: cannot connect', id='xenstore-down'),
    pytest.param({'qemu-pid': OSError('no program')}, {}, 'no program', id='no-program'),
])
def test_what_cannot_be_read_is_told_with_its_reason(build, values, files, problem):
    host, _xenstore = build(values, files)
    with pytest.raises(HostUnreadable, match=problem):
        run(host.read_qemu_arguments(7))


@pytest.mark.parametrize('domid', [-1, '7', '7/../0', None])
def test_only_numbers_of_domains_are_looked_up(build, domid):
    host, xenstore = build({'qemu-pid': b'42'})
    with pytest.raises(HostUnreadable, match='no domain number'):
        run(host.read_qemu_arguments(domid))
    assert xenstore.calls == []


@pytest.mark.parametrize('value, delivered', [
    pytest.param(b'-device x,vm_id=1', '-device x,vm_id=1', id='value'),
    pytest.param(b' two  blanks ', ' two  blanks ', id='blanks-are-kept'),
    pytest.param(b'', '', id='empty'),
    pytest.param(b'\xff', '\\xff', id='not-ascii'),
    pytest.param(None, None, id='absent'),
])
def test_delivered_value_is_read_as_it_stands(build, value, delivered):
    host, _xenstore = build({'platform/device-model-args': value})
    assert run(host.read_delivered(7)) == delivered


def test_delivered_value_of_a_broken_xenstore_is_an_error_and_not_absent(build):
    host, _xenstore = build({'platform/device-model-args': 3})
    with pytest.raises(HostUnreadable):
        run(host.read_delivered(7))


def test_boot_id_is_empty_when_the_kernel_does_not_say(build):
    assert build({})[0].read_boot_id() == ''
    assert build({}, {'sys/kernel/random/boot_id': b'abc-1\n'})[0].read_boot_id() == 'abc-1'


@pytest.fixture
def program(tmp_path):
    """Write a real xenstore-read."""
    def write(body, name='xenstore-read'):
        path = tmp_path / name
        path.write_text('#!%s\nimport os, sys, time\n%s\n' % (sys.executable, body))
        path.chmod(0o755)
        return str(path)
    return write


def test_real_program_gets_one_path_no_shell_and_no_input(program, tmp_path):
    path = program('print(sys.argv[1:], sys.stdin.read())')
    assert run(Host(path, str(tmp_path), timeout_seconds=30).read_delivered(7)) == (
        "['/local/domain/7/platform/device-model-args'] ")


@pytest.fixture
def started(monkeypatch):
    """The processes of the programs that were started."""
    processes, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', lambda *words, **options: (
        processes.append(start(*words, **options)) or processes[-1]))
    return processes


@pytest.mark.parametrize('body', [
    pytest.param('time.sleep(60)', id='says-nothing'),
    pytest.param('os.close(1); os.close(2); time.sleep(60)', id='has-closed-its-output'),
    pytest.param('while True: os.write(1, b"x" * 4096)', id='never-stops-talking'),
    pytest.param('while True: os.write(2, b"x" * 4096)', id='never-stops-complaining')])
def test_real_program_that_hangs_is_given_up_and_ended(program, started, tmp_path, body):
    host, began_at = Host(program(body), str(tmp_path), timeout_seconds=1.0), time.monotonic()
    with pytest.raises(HostUnreadable, match='does not end'):
        run(host.read_delivered(7))
    assert 1.0 <= time.monotonic() - began_at < 10.0
    assert [process.wait(60) for process in started] == [-signal.SIGKILL]


def test_real_program_that_hangs_holds_up_no_other_and_is_ended_with_its_task(
        program, started, tmp_path):
    loop, found = Loop(), []
    quick = Host(program('print("quick")', 'quick'), str(tmp_path), timeout_seconds=30)
    hanging = Host(program('time.sleep(60)'), str(tmp_path), timeout_seconds=30)
    task = loop.start('hanging', hanging.read_delivered(7))
    loop.start('quick', quick.read_delivered(7), found.append)
    while not found:
        assert loop.turn(30.0)
    assert found == ['quick']
    loop.cancel(task)
    assert [process.wait(60) for process in started] == [-signal.SIGKILL, 0]


@pytest.mark.parametrize('make, is_available', [
    pytest.param(lambda path: '', False, id='switched-off'),
    pytest.param(lambda path: str(path / 'none'), False, id='missing'),
    pytest.param(str, False, id='directory'),
    pytest.param(lambda path: sys.executable, True, id='there'),
])
def test_host_is_available_when_its_program_is_there(tmp_path, make, is_available):
    assert Host(make(tmp_path), '/proc').is_available is is_available


def test_program_that_may_not_be_run_is_not_available(tmp_path):
    path = tmp_path / 'xenstore-read'
    path.write_text('')
    path.chmod(0o644)
    assert not Host(str(path), '/proc').is_available


def test_error_is_one_of_the_watchers():
    assert issubclass(HostUnreadable, WatcherError)


VM = '22222222-2222-4222-8222-222222222222'


@pytest.fixture
def marked(tmp_path):
    """A host on which the consumer withheld the span of domain 7; `marked(vm=…)` runs that VM."""
    place = tmp_path / 'run' / 'withheld'
    place.mkdir(parents=True, mode=0o700)
    (tmp_path / 'run').chmod(0o700)

    def build_host(vm=VM, boot_id=None):
        (place / '7').write_text(
            'vgpu-watcher withheld 1\nboot_id %s\nvm_uuid %s\ndomid 7\nat 1.0\nnumber 10\n'
            'owner x\nspan -device vgpu-stub,vm_id=10\n' % (boot_id or read_instant().boot_id, VM))
        (place / '7').chmod(0o600)
        xenstore = Xenstore({'/local/domain/7/vm': b'/vm/' + vm.encode('ascii')})
        return Host('/bin/xenstore-read', str(tmp_path), str(tmp_path / 'run'), run=xenstore)
    return build_host


def test_marker_of_the_consumer_says_that_a_span_was_withheld(marked):
    host = marked()
    assert run(host.is_withheld(7)) and not run(host.is_withheld(8))


def test_marker_of_another_vm_or_another_boot_of_the_host_says_nothing(marked):
    assert not run(marked(vm=VM.replace('2', '3')).is_withheld(7))
    assert not run(marked(boot_id='another').is_withheld(7))


@pytest.mark.parametrize('spoil', [
    lambda path: path.write_bytes(b'\xff' * 10000), lambda path: path.write_text(''),
    lambda path: path.chmod(0o666), lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.rename(str(path) + 'x'), path.symlink_to(str(path) + 'x'))])
def test_marker_that_cannot_be_trusted_says_nothing(marked, tmp_path, spoil):
    host = marked()
    spoil(tmp_path / 'run' / 'withheld' / '7')
    assert not run(host.is_withheld(7))


def test_without_a_run_directory_nothing_is_withheld(build):
    assert not run(build({})[0].is_withheld(7))
