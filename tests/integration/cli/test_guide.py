"""The guides of vgpu-admin: each of their commands is run, and its output compared."""

import contextlib
import os
import shlex
import stat
import sys
import tempfile

import pytest

from cli.commandline.commands import BY_NAME, COMMANDS
from cli.commandline.parser import parse
from cli.errors import ExitStatus, Kind
from tests.meta.test_docs_commands import Dom0, matches
from tests.support.documents import GUIDES, find_rows, read, read_blocks, read_steps

GUIDE = 'docs/cli.md'
_NO_DAEMON = ('vgpu-admin: no daemon is running: what is not staged yet waits until one runs: '
              'systemctl start vgpu-watcher\n')
# As much of xe as the guides show: a VM starts, a VM stops.
_XE = '''#!{python}
import sys
from watcher.config.settings import XapiSettings
from watcher.xapi.blocking_client import BlockingClient
client = BlockingClient(XapiSettings(url='unix:{socket}'))
client.login()
ref = client.call('VM.get_by_uuid', sys.argv[2].partition('=')[2])
method, more = {{'vm-start': ('VM.start', [False, False]),
                'vm-shutdown': ('VM.clean_shutdown', [])}}[sys.argv[1]]
client.call(method, ref, *more)
client.logout()
'''


@pytest.mark.parametrize('path', GUIDES)
def test_the_commands_of_the_guide_do_what_it_shows(path: str) -> None:
    steps = [step for block in read_blocks(path, is_run=True) for step in read_steps(block)]
    assert steps
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory, \
            contextlib.closing(Dom0(directory)) as dom0:
        _write_program(os.path.join(directory, 'xe'), _XE.format(
            python=sys.executable, socket=directory + '/xapi'))
        for command, expected in steps:
            status, printed = dom0.run(command)
            # The guides are about hosts with a daemon; here vgpu-admin stages by itself.
            printed = printed.replace(_NO_DAEMON, '')
            assert status == 0 and matches(expected, printed), '$ %s\n%s\nexit status %d' % (
                command, printed, status)


def _write_program(path: str, text: str) -> None:
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(path, stat.S_IRWXU)


@pytest.mark.parametrize('path', GUIDES)
def test_commands_that_are_only_shown_are_understood(path: str) -> None:
    for block in read_blocks(path, is_run=False):
        for command, _output in read_steps(block):
            program, *words = shlex.split(command.partition('>')[0])
            if program == 'vgpu-admin':
                assert parse(words).command.name in BY_NAME
            else:
                assert program in ('xenstore-read', 'systemctl')


def test_the_guide_names_every_command_and_every_exit_status() -> None:
    text = read(GUIDE)
    assert [command.name for command in COMMANDS if command.name not in text] == []
    rows = find_rows(GUIDE, 'exit status')
    assert [int(row[0]) for row in rows] == sorted(int(status) for status in ExitStatus)
    kinds = {kind for row in rows for kind in row[1].split(', ') if kind}
    assert kinds == {kind.value for kind in Kind}
