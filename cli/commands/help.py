"""The help texts, made from the table of commands; argparse lays them out in columns."""

import argparse
import textwrap
from typing import Iterable, List, Optional, Sequence, Tuple

from cli.commandline import options
from cli.commandline.commands import BY_NAME, FIRST_GROUPS, GROUPS, HIDDEN, Command
from cli.commandline.options import EVERYWHERE, EXCLUSIVE, VM, Option
from cli.commandline.parser import Arguments
from cli.commands.help_texts import TEXTS
from cli.context import Context
from cli.output.result import Result, build_document, plain
from watcher.version import VERSION

# Where the terminal's width is unknown.
_WIDTH = 80
_LEAST_WIDTH = 24
_COLUMN = 30
_USAGE = 'usage: vgpu-admin [--config=FILE] [--db=FILE] [--json] COMMAND [VM...] [OPTIONS]'


def show_help(arguments: Arguments, _context: Context) -> Result:
    """Show the everyday commands, a group of commands, all of them, or one."""
    topic = 'all' if arguments.get(options.ALL) else arguments.topic
    return Result(build_document(help='\n'.join(render_help(topic))),
                  lambda style: render_help(topic, style.width))


def show_version(_arguments: Arguments, _context: Context) -> Result:
    """Show which version this is."""
    return Result(build_document(version=VERSION), plain([f'vgpu-admin {VERSION}']),
                  minimal=(VERSION,))


def render_help(topic: Optional[str], width: int = 0) -> List[str]:
    """Give the lines of a help text, for a terminal of a width; 0: not known."""
    width = max(width or _WIDTH, _LEAST_WIDTH)
    if topic in BY_NAME:
        return _describe(BY_NAME[topic], width)
    groups = tuple(GROUPS) if topic == 'all' else (topic,) if topic else FIRST_GROUPS
    return _overview(groups, width)


def list_examples(command: Command) -> Tuple[str, ...]:
    """The examples of a command, three at most, the usual one first."""
    return tuple(dict.fromkeys(TEXTS[command.name].examples + (command.example,)))[:3]


def render_usage(command: Command) -> str:
    """How a command is called: `set-pool VM... --pool=A|B [--yes] …`."""
    parts = [command.name] + list(command.words)
    if command.name == 'help':
        parts.append('[COMMAND | GROUP]')
    vms = [option for option in command.options if option.name in [item.name for item in VM]]
    if vms:
        word = 'VM...' if command.takes_several else 'VM'
        parts.append(word if command.needs_vm else f'[{word}]')
    if command.operand:
        text = str(command.operand.placeholder)
        parts.append(text if command.operand in command.required else f'[{text}]')
    taken = vms + [command.operand]
    rest = [option for option in command.options if option not in taken]
    parts += [option.shown for option in rest if option in command.required]
    rest = [option for option in rest if option not in command.required]
    return ' '.join(parts + _list_optional(rest))


def _list_optional(known: Sequence[Option]) -> List[str]:
    """What may be left out, in brackets; what excludes each other, in one pair of them."""
    parts: List[str] = []
    done: set = set()
    for option in known:
        group = next((item for item in EXCLUSIVE if option in item and set(item) <= set(known)),
                     (option,))
        if option.name not in done:
            parts.append(f"[{' | '.join(item.shown for item in group)}]")
            done.update(item.name for item in group)
    return parts


def _overview(groups: Iterable[str], width: int) -> List[str]:
    """The commands of some groups, with no line between them: one screen has to do."""
    lines = _wrap(_USAGE, width) + ['']
    for group in groups:
        lines += _columns(group, [(name, BY_NAME[name].summary) for name in GROUPS[group]
                                  if name != HIDDEN], width)
    others = '|'.join(name for name in GROUPS if name not in FIRST_GROUPS)
    return lines + [''] + _wrap(f'More: help COMMAND, help --all, help {others}', width)


def _describe(command: Command, width: int) -> List[str]:
    lines = _wrap(f'usage: vgpu-admin {render_usage(command)}', width) + ['']
    lines += textwrap.wrap(TEXTS[command.name].meaning, width, break_on_hyphens=False)
    own = [] if command.operand is None else [(str(command.operand.placeholder), (
        command.operand.summary if command.operand.choices else
        f'{command.operand.summary}; or {command.operand.flag}='))]
    own += [(option.shown, option.summary) for option in command.options
            if option != command.operand]
    if own:
        lines += [''] + _columns('options', own, width)
    lines += [''] + _columns('options of every command', [
        (option.shown, option.summary) for option in EVERYWHERE], width)
    return lines + ['', 'examples:'] + [f'  vgpu-admin {example}'
                                        for example in list_examples(command)]


class _Formatter(argparse.HelpFormatter):
    """Breaks lines at blanks only: a time or an option is one word."""

    def _split_lines(self, text: str, width: int) -> List[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def _columns(title: str, rows: Sequence[Tuple[str, str]], width: int) -> List[str]:
    """A title and two columns, as argparse lays them out."""
    formatter = _Formatter('', max_help_position=_COLUMN, width=width)
    formatter.start_section(title)
    for name, text in rows:
        formatter.add_argument(argparse.Action([], name, metavar=name,
                                               help=text.replace('%', '%%')))
    formatter.end_section()
    return formatter.format_help().splitlines()


def _wrap(text: str, width: int) -> List[str]:
    return textwrap.wrap(text, width, subsequent_indent=' ' * 7, break_on_hyphens=False,
                         break_long_words=False)
