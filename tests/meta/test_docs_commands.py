"""The commands that the documents show.

A console block marked `run` is run, in a directory of its own with a simulated pool; what stands
below a command is compared with what it prints, and `…` stands for any text. Commands of other
blocks are at least understood by the program that they name.
"""

import contextlib
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile

import pytest

from cli.commandline.commands import BY_NAME
from cli.commandline.parser import parse
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.support import programs
from tests.support.documents import DOCUMENTS, GUIDES, ROOT, TUTORIAL, read, read_blocks, read_steps
from watcher.__main__ import build_parser

PACKAGES = {'vgpu-admin': 'cli', 'vgpu-watcher': 'watcher'}
# What a shell would do nothing with: the program can be forked (tests/support/programs.py).
PLAIN = re.compile(r'(vgpu-admin|vgpu-watcher)( [A-Za-z0-9_./:=,+-]+)*\Z')


def list_commands(is_run):
    return [command for path in DOCUMENTS for block in read_blocks(path, is_run=is_run)
            for command, _output in read_steps(block)]


@pytest.mark.parametrize('command', list_commands(is_run=False))
def test_command_is_understood(command):
    program, *words = shlex.split(command.partition(' > ')[0])
    if program == 'vgpu-admin':
        parse(words)
    elif program == 'vgpu-watcher':
        assert build_parser().parse_args(words).command
    elif program == 'make':
        assert re.search(r'^([a-z ]+ )?%s( [a-z ]+)?:' % words[0], read('Makefile'), re.MULTILINE)
    elif program == 'deploy/install.sh':
        usage = [line for line in read(program).splitlines() if line.startswith('#   install.sh')]
        assert any(set(words) <= set(line.replace('[', ' ').split()) for line in usage)
    else:
        assert program in ('systemctl', 'xe', 'xenstore-read', 'tr', 'grep', 'rpm', 'cp')


@pytest.mark.parametrize('path', DOCUMENTS)
def test_no_document_names_a_command_that_does_not_exist(path):
    for program, word in re.findall(r'(vgpu-admin|vgpu-watcher) ([a-z][a-z-]+)(?=[ `\'.,\n])',
                                    '\n'.join(re.findall('`[^`\n]+`', read(path)))):
        known = BY_NAME if program == 'vgpu-admin' else ('run', 'check-config', 'clear-fences')
        assert word in known, '%s %s' % (program, word)


class Dom0:
    """A directory that stands for dom0, with our programs, and a pool of two halted VMs."""

    def __init__(self, directory):
        self.directory = directory
        self._simulator = Simulator(SimulatorSettings(socket_path=directory + '/xapi'))
        self._simulator.start()
        self._simulator.create_vm('web01', '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c')
        self._simulator.create_vm('db01', '7d1c3b52-6a90-4f3e-8e21-0c9a4b5d6e7f')
        os.makedirs(directory + '/etc/vgpu')
        self._config = directory + '/etc/vgpu/vgpu-watcher.conf'
        self._write('etc/vgpu/vgpu-watcher.conf',
                    '[xapi]\nurl = unix:{0}/xapi\n[registry]\npath = {0}/etc/vgpu/vgpu_config.db\n'
                    '[host]\nxenstore_read =\nproc = {0}/host/proc\n'.format(directory))
        for program, package in PACKAGES.items():
            self._write(program, '#!/bin/sh\nexec %s -m %s "$@" --config %s\n' % (
                shlex.quote(sys.executable), package, self._config))
            os.chmod(os.path.join(directory, program), stat.S_IRWXU)

    def close(self):
        self._simulator.stop()

    def run(self, command):
        """Run a command of a document: exit status, and all that it printed."""
        paths = [ROOT] + [path for path in [os.environ.get('PYTHONPATH')] if path]
        environment = dict(os.environ, LC_ALL='C.UTF-8', PYTHONIOENCODING='utf-8',
                           PYTHONPATH=os.pathsep.join(paths),
                           PATH=os.pathsep.join([self.directory, os.environ['PATH']]))
        options = dict(cwd=self.directory, env=environment, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if PLAIN.match(command):
            program, *words = command.split()
            process = programs.start(PACKAGES[program], words + ['--config', self._config],
                                     **options)
        else:
            process = subprocess.Popen(command, shell=True, **options)
        with process:
            printed, _ = process.communicate(timeout=60)
        return process.returncode, printed.decode('utf-8').replace(self.directory, '')

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), 'w', encoding='utf-8') as stream:
            stream.write(text)


def matches(expected, printed):
    """Whether the output is as documented; `…` is any text, on a line of its own any lines."""
    pattern = ''.join('(?:.*\n)*' if line == '…\n' else
                      '.*'.join(re.escape(part) for part in line.split('…'))
                      for line in expected.splitlines(True))
    return re.match(pattern + r'\Z', printed) is not None


@pytest.mark.parametrize('path', [path for path in DOCUMENTS if path not in GUIDES + (TUTORIAL,)
                                  and read_blocks(path, is_run=True)])
def test_documented_commands_do_what_the_document_shows(path):
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory, \
            contextlib.closing(Dom0(directory)) as dom0:
        for command, expected in [step for block in read_blocks(path, is_run=True)
                                  for step in read_steps(block)]:
            status, printed = dom0.run(command)
            assert status == 0 and matches(expected, printed), '$ %s\n%s\nexit status %d' % (
                command, printed, status)


@pytest.mark.parametrize('expected, printed, answer', [
    pytest.param('a\n', 'a\n', True, id='same'),
    pytest.param('a\n', 'b\n', False, id='other'),
    pytest.param('a\n', 'a\nb\n', False, id='more'),
    pytest.param('a…c\n', 'abc\n', True, id='within-a-line'),
    pytest.param('a\n…\nz\n', 'a\nb\nc\nz\n', True, id='lines-between'),
    pytest.param('a\n…\n', 'b\na\n', False, id='other-beginning'),
])
def test_output_is_compared_with_what_is_shown(expected, printed, answer):
    assert matches(expected, printed) is answer
