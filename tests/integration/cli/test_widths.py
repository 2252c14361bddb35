"""What fits a terminal of 40, 80 and 200 columns: long lines, help, the panel, odd names."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
from typing import List

import pytest

from cli.commandline.commands import COMMANDS
from cli.output.text import display_width
from tests.integration.cli.program import Place
from tests.support import programs

NAMES = ('web', '\u30c7\u30fc\u30bf\u30d9\u30fc\u30b9\u4e00\u53f7' * 4,
         '\u05e9\u05e8\u05ea \u05e7\u05d1\u05e6\u05d9\u05dd', 'x' * 255, 'esc\x1b[31mred')
_COLOUR = re.compile('\033\\[[0-9;]*m')
# What people copy is left whole: a UUID with its heading, a path, a command.
_PATH = re.compile(' *(-> )?/[^ ]+$')
_UUID = re.compile('[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_COMMAND = re.compile('(^|: )(xe|vgpu-admin|systemctl) ')


def _shown(place: Place, columns: int, *words: str, shows_errors: bool = False,
           **variables: str) -> List[str]:
    """The lines of results, or of errors, that the program writes to a terminal of a width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))
    surroundings = place.surroundings(dict({'TERM': 'xterm'}, **variables))
    surroundings['env'].pop('COLUMNS', None)
    process = programs.start('cli', place.command(*words)[3:], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL if shows_errors else theirs,
                             stderr=theirs if shows_errors else subprocess.DEVNULL, **surroundings)
    os.close(theirs)
    data = b''
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break  # the other end was closed
        if not part:
            break
        data += part
    os.close(ours)
    assert (process.wait(20) in (0, 1)) is not shows_errors or '--yes' in words
    return data.decode('utf-8').replace('\r', '').splitlines()


@pytest.fixture
def named(pool: Place) -> Place:
    """VMs with all sorts of names, one of which runs without what its row says."""
    refs = [pool.create_vm(name) for name in NAMES]
    refs.append(pool.create_vm('hand', '-device vgpu-stub,pool_id="A'))
    for ref in refs[:3]:
        assert pool.run('register-vm', '--vm-uuid=' + pool.uuid(ref)).status == 0
    pool.start_vm(refs[0])
    assert pool.run('set-pool', '--vm-name=web', '--pool=B', '--no-restart').status == 0
    return pool


@pytest.mark.parametrize('columns', [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(named: Place, columns: int) -> None:
    for words in ('status', 'scan-vms', 'list-vms', 'show-vm --vm-name=web',
                  'show-vm --vm-name=hand', 'show-pool --pool-id=A', 'history', 'plan', 'verify',
                  'doctor', 'list-pools', 'help', 'help register-vm',
                  'set-pool --vm-name=web --pool=B --no-restart'):
        lines = _shown(named, columns, *shlex.split(words))
        wide = [line for line in lines if display_width(_COLOUR.sub('', line)) > columns
                and not _UUID.search(line) and not _PATH.match(line)
                and not _COMMAND.search(_COLOUR.sub('', line))]
        assert lines and wide == [], words
        assert not any('\x1b' in _COLOUR.sub('', line) for line in lines), words


@pytest.mark.parametrize('words, command', [
    ('register-vm web --pool=A', "'vgpu-admin update-vm'"),
    ('explain web', "'vgpu-admin explain web --all'"),
    ('set-pool nobody-of-this-name --pool=A', "'vgpu-admin scan-vms'")])
def test_errors_are_broken_at_blanks_and_no_command_is(named: Place, words: str,
                                                       command: str) -> None:
    """D7: the terminal broke them in the middle of a word."""
    for columns in (50, 80):
        lines = _shown(named, columns, *words.split(), shows_errors=True)
        assert lines and [line for line in lines if display_width(line) > columns] == []
        assert len(lines) > 1 and any(command in line for line in lines), lines
    [line] = _shown(named, 300, *words.split(), shows_errors=True)
    narrow = _shown(named, 50, *words.split(), shows_errors=True)
    assert ' '.join(part.strip() for part in narrow) == line


def test_what_is_told_before_it_is_done_is_broken_at_blanks(named: Place) -> None:
    lines = _shown(named, 50, 'disable-pool', '--pool-id=A', '--yes', shows_errors=True)
    assert [line for line in lines if display_width(line) > 50 and not _UUID.search(line)] == []
    at = lines.index('Disabling vGPU pool A affects 2 VMs, which lose')
    assert lines[at + 1] == '  their arguments when they are halted:'


@pytest.mark.parametrize('words', ['show-vm --vm-name=web', 'history', 'help import', 'plan'])
def test_what_is_broken_says_the_same(named: Place, words: str) -> None:
    narrow, wide = (''.join(_shown(named, columns, *shlex.split(words))).replace(' ', '')
                    for columns in (40, 2000))
    assert _COLOUR.sub('', narrow) == _COLOUR.sub('', wide)


def test_the_arguments_of_a_vm_are_broken_after_a_comma(named: Place) -> None:
    lines = _shown(named, 40, 'show-vm', '--vm-name=web')
    at = lines.index('  Carried: -device vgpu-stub,pool_id=A,')
    assert lines[at + 1] == '    priority=medium,vm_id=1'


@pytest.mark.parametrize('command', [command.name for command in COMMANDS])
def test_help_of_every_command_fits_forty_columns(place: Place, command: str) -> None:
    lines = _shown(place, 40, command, '--help')
    assert [line for line in lines if len(line) > 40 and not _UUID.search(line)] == []


def test_a_command_that_mends_is_left_whole(named: Place) -> None:
    lines = _shown(named, 40, 'show-vm', '--vm-name=hand')
    assert any('xe vm-param-set uuid=' in line and 'platform:device-model-args=' in line
               for line in lines)


def test_the_panel_has_a_line_for_each_vm_at_eighty_columns(named: Place) -> None:
    lines = [_COLOUR.sub('', line) for line in _shown(named, 80, 'status')]
    assert any(re.match('1 +medium +Running +pending +web', line) for line in lines)
    wide = [_COLOUR.sub('', line) for line in _shown(named, 120, 'status')]
    assert any(re.match('1 +medium +Running +pending +%s +web' % _UUID.pattern, line)
               for line in wide)


def test_what_programs_read_is_not_broken(named: Place) -> None:
    for words in ('export --format=csv', 'completion', 'list-vms --json', 'scan-vms --minimal'):
        on_terminal = _shown(named, 40, *shlex.split(words))
        elsewhere = named.run(*shlex.split(words)).out.splitlines()
        assert len(on_terminal) == len(elsewhere), words


def test_no_color_and_a_dumb_terminal_get_no_colours(named: Place) -> None:
    for variables in ({'NO_COLOR': '1'}, {'NO_COLOR': ''}, {'TERM': 'dumb'}):
        assert '\x1b' not in ''.join(_shown(named, 80, 'status', **variables))
    assert '\x1b[' in ''.join(_shown(named, 80, 'status'))
