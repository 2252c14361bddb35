"""The files of the package that are made from the code: man pages, and completion for bash."""

import os
import subprocess
import sys
from typing import Iterator, List

from cli.grammar import COMMANDS
from cli.usage import render_help
from watcher.version import VERSION

COMPLETION = '/usr/share/bash-completion/completions/vgpu-admin'
MANUAL = '/usr/share/man/man8'
# What only the completion script calls.
HIDDEN = 'complete'


def render_completion(root: str) -> bytes:
    """Ask vgpu-admin for its script."""
    return subprocess.check_output([sys.executable, '-B', '-m', 'cli', 'completion'], cwd=root)


def render_manual(path: str) -> bytes:
    """Fill in the text of a man page."""
    with open(path, encoding='utf-8') as stream:
        text = stream.read()
    commands = '\n'.join(line for command in COMMANDS if command.name != HIDDEN
                         for line in _describe(command.name))
    return text.replace('@VERSION@', VERSION).replace('@COMMANDS@', commands).encode('ascii')


def list_manuals(root: str) -> Iterator[str]:
    """List the names of the man pages."""
    return iter(sorted(os.listdir(os.path.join(root, 'deploy/man'))))


def _describe(name: str) -> List[str]:
    """Show the help text of a command as it stands: its columns are laid out already."""
    return ['.SS ' + _escape(name), '.nf'] + [
        _escape(line) for line in _without_common(render_help(name))] + ['.fi']


def _without_common(lines: List[str]) -> List[str]:
    """Leave out the options that every command has: they would stand there forty times."""
    begin = lines.index('options of every command:')
    end = lines.index('', begin)
    return lines[:begin] + lines[end + 1:]


def _escape(line: str) -> str:
    escaped = line.replace('\\', '\\e').replace('-', '\\-')
    # A line that begins so would be a request to the formatter.
    return '\\&' + escaped if escaped.startswith(('.', "'")) else escaped
