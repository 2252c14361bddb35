"""The help texts, made from the table of commands."""

import textwrap
from typing import List, Optional, Sequence, Tuple

from cli.context import Context
from cli.grammar import BY_NAME, COMMANDS, Command
from cli.options import EVERYWHERE
from cli.parser import Arguments
from cli.result import Result, build_document, plain
from watcher.version import VERSION

# Asked by the completion script; people have no use for it.
_FOR_SCRIPTS = 'complete'
# Narrower than this a second column is hard to read.
_LEAST_COLUMN = 24
_USAGE = 'usage: vgpu-admin [--config FILE] [--db FILE] [--json] COMMAND [OPTIONS]'


def show_help(arguments: Arguments, _context: Context) -> Result:
    """Show the help for one command, or the list of all."""
    topic = arguments.topic
    return Result(build_document(help='\n'.join(render_help(topic))),
                  lambda style: render_help(topic, style.width))


def show_version(_arguments: Arguments, _context: Context) -> Result:
    """Show which version this is."""
    return Result(build_document(version=VERSION), plain([f'vgpu-admin {VERSION}']),
                  minimal=(VERSION,))


def render_help(topic: Optional[str], width: int = 0) -> List[str]:
    """Give the lines of a help text, for a terminal of a width; 0: as wide as they are."""
    return _overview(width) if topic is None else _describe(BY_NAME[topic], width)


def _overview(width: int) -> List[str]:
    commands = [(command.name, command.summary) for command in COMMANDS
                if command.name != _FOR_SCRIPTS]
    return ([_USAGE, '', 'Assigns vGPU pools, priorities and numbers to VMs.', '', 'commands:']
            + _columns(commands, width)
            + _options('options of every command:', EVERYWHERE, width)
            + ['', "See 'vgpu-admin help COMMAND' for one command.",
               'example: vgpu-admin register-vm --vm-name=web01 --pool=A --priority=high'])


def _describe(command: Command, width: int) -> List[str]:
    words = ' '.join((command.name,) + command.words)
    return ([f"usage: vgpu-admin {words}{' [OPTIONS]' if command.options else ''}", '',
             f'{command.summary[0].upper()}{command.summary[1:]}.']
            + (_options('options:', command.options, width) if command.options else [])
            + _options('options of every command:', EVERYWHERE, width)
            + ['', f'example: vgpu-admin {command.example}'])


def _options(title: str, options: tuple, width: int) -> List[str]:
    return ['', title] + _columns([(option.shown, option.summary) for option in options], width)


def _columns(pairs: Sequence[Tuple[str, str]], width: int) -> List[str]:
    """Two columns; where the second would be too narrow, it stands below the first."""
    first = max(len(name) for name, _text in pairs)
    room = width - first - 4
    if not width or room >= max(len(text) for _name, text in pairs):
        return [f'  {name.ljust(first)}  {text}' for name, text in pairs]
    lines = []  # type: List[str]
    for name, text in pairs:
        if room >= _LEAST_COLUMN:
            parts = textwrap.wrap(text, room)
            lines.append(f'  {name.ljust(first)}  {parts[0]}')
            lines += [' ' * (first + 4) + part for part in parts[1:]]
        else:
            lines += [f'  {name}'] + [f'      {part}' for part in
                                      textwrap.wrap(text, max(1, width - 6))]
    return lines
