"""The playground as a whole: what the shell offers, and that nothing is left when it ends."""

import contextlib
import os
import re
import signal
import subprocess
from typing import Any, Iterator

import pytest

from simulator.playground.__main__ import WELCOME
from simulator.playground.vms import VMS
from tests.integration.cli.program import span
from tests.playground.session import PATIENCE_SECONDS, PipeSession, TerminalSession
from tests.support import programs
from tests.support.waiting import wait_until


@pytest.fixture(scope='module')
def piped() -> Iterator[PipeSession]:
    """A playground that reads from a pipe."""
    with contextlib.closing(PipeSession()) as session:
        yield session


@pytest.fixture
def terminal() -> Iterator[TerminalSession]:
    """A playground on a terminal."""
    with contextlib.closing(TerminalSession()) as session:
        yield session


def test_what_to_try_is_said_in_five_lines_which_work(piped: PipeSession) -> None:
    lines = re.findall(r'^  (\S.*?)  +\S.*$', WELCOME, re.MULTILINE)
    assert len(lines) == 5 and WELCOME in piped.said.decode('utf-8')
    for line in lines:
        # What asks a question on a terminal is told the answer.
        more = ' --no-restart' if 'set-' in line else ''
        status, printed = piped.run(line + more)
        assert status == 0, printed
    status, printed = piped.run('vgpu-admin show-vm web01 --json')
    assert status == 0 and '"state": "pending"' in printed


def test_twelve_vms_are_on_two_hosts_and_both_daemons_follow(piped: PipeSession) -> None:
    _status, printed = piped.run('xe vm-list is-control-domain=false params=name-label --minimal')
    assert set(printed.strip().split(',')) >= {vm.name for vm in VMS} and len(VMS) == 12
    _status, printed = piped.run('xe host-list params=name-label --minimal')
    assert printed.strip() == 'host-1,host-2'
    assert piped.run('grep -c stream.resynced host-1/*.log host-2/*.log')[0] == 0


def test_boot_on_the_other_host_is_verified_and_told_there_too(piped: PipeSession) -> None:
    assert piped.run('vgpu-admin register-vm desk03 --pool=B --priority=low')[0] == 0
    assert piped.run('xe vm-start vm=desk03 on=host-2')[0] == 0
    wait_until(lambda: '"verdict": "as_desired"' in piped.run(
        'vgpu-admin show-vm desk03 --json')[1], PATIENCE_SECONDS)
    status, printed = piped.run(
        'vgpu-admin --config host-2/vgpu-watcher.conf show-vm desk03 --json')
    number = int(re.findall(r'"vm_id": (\d+)', printed)[0])
    assert status == 0 and span(number, 'B', 'low') in printed


def test_clone_boots_without_the_number_of_its_parent(piped: PipeSession) -> None:
    assert piped.run('vgpu-admin register-vm web03')[0] == 0
    wait_until(lambda: 'vgpu-stub' in piped.run('xe vm-list name-label=web03 params=platform')[1],
               PATIENCE_SECONDS)
    status, printed = piped.run('xe vm-start uuid=$(xe vm-clone vm=web03 new-name-label=thief) '
                                '&& xe vm-start vm=web03')
    assert (status, printed) == (0, '')
    for name, count in (('thief', '0'), ('web03', '1')):
        status, printed = piped.run('grep -c -a vm_id= $(grep -l -a %s host-*/proc/*/cmdline)'
                                    % name)
        assert printed.strip() == count


def test_status_of_the_shell_is_that_of_the_playground_and_nothing_is_left() -> None:
    with contextlib.closing(PipeSession()) as session:
        assert session.run('sleep 1000 &')[0] == 0
        assert session.exit(7) == 7
        wait_until(lambda: session.list_left() == ([], []), PATIENCE_SECONDS)


def test_terminal_has_a_prompt_and_completion(terminal: TerminalSession) -> None:
    assert WELCOME in terminal.wait_for_prompt()
    assert terminal.run('vgpu-admin register-vm build01 --pool=B')[0] == 0
    status, printed = terminal.run('vgpu-admin show-vm --vm-na\tbui\t --json')
    assert status == 0 and '"vm_name": "build01"' in printed
    uuid = terminal.run('xe vm-list name-label=web01 params=uuid --minimal')[1].strip()
    status, printed = terminal.run('xe vm-param-g\tuuid=%s\t param-n\tn\t' % uuid[:12])
    assert status != 0 and 'Unknown field n' in printed  # nothing begins so
    status, printed = terminal.run('xe vm-param-g\tuuid=%s\t param-n\tp\t' % uuid[:12])
    assert status == 0 and 'device-model: qemu' in printed


def test_exit_on_a_terminal_is_success_and_leaves_nothing(terminal: TerminalSession) -> None:
    terminal.wait_for_prompt()
    assert terminal.run('false')[0] == 1
    terminal.type('exit\n')
    assert terminal.wait() == 0
    wait_until(lambda: terminal.list_left() == ([], []), PATIENCE_SECONDS)


def test_ctrl_c_in_the_shell_ends_the_command_only(terminal: TerminalSession) -> None:
    terminal.wait_for_prompt()
    terminal.type("sh -c 'echo begun; exec sleep 1000'\n")
    terminal.read_until(re.compile(rb'\nbegun\n'), terminal.terminal)
    terminal.type('\x03')
    terminal.wait_for_prompt()
    status, printed = terminal.run('vgpu-admin status')
    assert 'watching' in printed, (status, printed)


def test_ctrl_c_while_it_starts_leaves_nothing(terminal: TerminalSession) -> None:
    terminal.read_until(re.compile(rb'Starting'), terminal.terminal)
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.wait() == 130
    wait_until(lambda: terminal.list_left() == ([], []), PATIENCE_SECONDS)


@pytest.mark.parametrize('is_busy', [False, True], ids=['idle', 'busy'])
def test_closed_terminal_leaves_nothing(terminal: TerminalSession, is_busy: bool) -> None:
    terminal.wait_for_prompt()
    if is_busy:
        terminal.type("sh -c 'echo begun; exec sleep 1000'\n")
        terminal.read_until(re.compile(rb'\nbegun\n'), terminal.terminal)
    terminal.hang_up()
    terminal.process.send_signal(signal.SIGHUP)  # as the shell that started it does
    terminal.wait()
    wait_until(lambda: terminal.list_left() == ([], []), PATIENCE_SECONDS)


def test_sigterm_leaves_nothing(terminal: TerminalSession) -> None:
    terminal.wait_for_prompt()
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    wait_until(lambda: terminal.list_left() == ([], []), PATIENCE_SECONDS)


def test_without_bash_it_says_so(tmp_path: Any) -> None:
    status, out, err = programs.run('simulator.playground', [], stdin=subprocess.DEVNULL,
                                    **programs.surroundings({'PATH': str(tmp_path)}))
    assert (status, out) == (1, b'') and b'needs bash' in err
