"""The help texts, made from the table of commands."""

from typing import List, Optional

from cli.context import Context
from cli.grammar import BY_NAME, COMMANDS, Command
from cli.options import EVERYWHERE
from cli.parser import Arguments
from cli.result import Result, build_document, plain
from watcher.version import VERSION

# Asked by the completion script; people have no use for it.
_FOR_SCRIPTS = 'complete'
_USAGE = 'usage: vgpu-admin [--config FILE] [--db FILE] [--json] COMMAND [OPTIONS]'


def show_help(arguments: Arguments, _context: Context) -> Result:
    """Show the help for one command, or the list of all."""
    lines = render_help(arguments.topic)
    return Result(build_document(help='\n'.join(lines)), plain(lines))


def show_version(_arguments: Arguments, _context: Context) -> Result:
    """Show which version this is."""
    return Result(build_document(version=VERSION), plain([f'vgpu-admin {VERSION}']),
                  minimal=(VERSION,))


def render_help(topic: Optional[str]) -> List[str]:
    """Give the lines of a help text."""
    return _overview() if topic is None else _describe(BY_NAME[topic])


def _overview() -> List[str]:
    width = max(len(command.name) for command in COMMANDS)
    return ([_USAGE, '', 'Assigns vGPU pools, priorities and numbers to VMs.', '', 'commands:']
            + [f'  {command.name.ljust(width)}  {command.summary}' for command in COMMANDS
               if command.name != _FOR_SCRIPTS]
            + _options('options of every command:', EVERYWHERE)
            + ['', "See 'vgpu-admin help COMMAND' for one command.",
               'example: vgpu-admin register-vm --vm-name=web01 --pool=A --priority=high'])


def _describe(command: Command) -> List[str]:
    words = ' '.join((command.name,) + command.words)
    return ([f"usage: vgpu-admin {words}{' [OPTIONS]' if command.options else ''}", '',
             f'{command.summary[0].upper()}{command.summary[1:]}.']
            + (_options('options:', command.options) if command.options else [])
            + _options('options of every command:', EVERYWHERE)
            + ['', f'example: vgpu-admin {command.example}'])


def _options(title: str, options: tuple) -> List[str]:
    width = max(len(option.shown) for option in options)
    return ['', title] + [f'  {option.shown.ljust(width)}  {option.summary}'
                          for option in options]
