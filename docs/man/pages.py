"""The man pages, from the same source as the help: the commands, the keys, the parser.

The tables of vgpu(7) are those of the guides (concepts.py). The dates of man pages are left out,
so that the same code gives the same pages.
"""

import argparse
from typing import Any, Dict, List, Sequence

from cli.commandline.commands import BY_NAME, GROUPS, HIDDEN, Command
from cli.commandline.options import EVERYWHERE, Option
from cli.commands.help import list_examples, render_usage
from cli.commands.help_texts import TEXTS
from cli.errors import ExitStatus
from docs.man.concepts import render_concepts
from docs.man.layout import escape, finish, head, items
from watcher.__main__ import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, build_parser
from watcher.config.settings import DEFAULT_PATH, KEYS, Settings, render

_STATUSES = {
    ExitStatus.DONE: 'Done, also when it already was so.',
    ExitStatus.FAILED: 'Failed or declined; what was done is said.',
    ExitStatus.USAGE: 'The command line or the configuration is not understood.',
    ExitStatus.NOT_FOUND: 'There is no such VM.',
    ExitStatus.CONFLICT: 'It contradicts what is there.',
    ExitStatus.UNAVAILABLE: 'The registry or XAPI cannot be used.',
    ExitStatus.DRIFT: 'Something differs, with --exit-code.',
    ExitStatus.INTERRUPTED: 'Ctrl-C; the message says what was done.',
}
_FILES = {
    DEFAULT_PATH: 'The configuration, shared by the daemon and vgpu-admin.',
    Settings().registry.path: 'The registry, which other programs share.',
    '/etc/vgpu/vgpu_journal.db': 'The journal: history, receipts, and what is under way.',
}


def render_pages() -> Dict[str, str]:
    """All pages, by the names of their files."""
    return {'vgpu-admin.1': _render_admin(), 'vgpu-watcher.8': _render_watcher(),
            'vgpu-watcher.conf.5': _render_configuration(), 'vgpu.7': render_concepts()}


def _render_admin() -> str:
    lines = head('vgpu-admin', 1, 'assign vGPU pools, priorities and numbers to VMs')
    lines += ['.SH SYNOPSIS', '.B vgpu\\-admin', escape('[--config FILE] [--db FILE] [--json]'),
              escape('COMMAND [OPTIONS]')]
    lines += ['.SH DESCRIPTION', 'Edits the registry, shows what VMs carry and run with, and '
              'restarts a VM when a change needs it.', 'Options stand before or after the '
              'command and are never abbreviated.', escape('VMs are named by a bare word, a '
              'UUID or a name, by --vm-uuid=UUID or --vm-name=NAME, or as xe does it by uuid=UUID '
              'and name-label=NAME; commands that show VM... take several bare words.')]
    lines += ['.SH COMMANDS']
    for name in (name for group in GROUPS.values() for name in group if name != HIDDEN):
        lines += _describe_command(BY_NAME[name])
    lines += ['.SH OPTIONS OF EVERY COMMAND'] + _describe_options(EVERYWHERE)
    lines += ['.SH EXIT STATUS'] + items([(str(int(status)), text)
                                          for status, text in _STATUSES.items()])
    lines += ['.SH ENVIRONMENT'] + items([
        ('NO_COLOR', 'When it is set, nothing is coloured.'),
        ('VGPU_CONFIG', 'The configuration file, where --config does not name one.')])
    return finish(lines + _describe_files(), 'vgpu-watcher (8)', 'vgpu-watcher.conf (5)',
                  'vgpu (7)')


def _describe_command(command: Command) -> List[str]:
    lines = ['.SS ' + escape(' '.join((command.name,) + command.words)),
             '.B ' + escape(f'vgpu-admin {render_usage(command)}'), '.PP',
             escape(TEXTS[command.name].meaning)]
    lines += _describe_options(command.options) + ['.PP', 'Examples:', '.PP', '.in +4', '.nf']
    return lines + [escape(f'vgpu-admin {example}') for example in list_examples(command)] \
        + ['.fi', '.in']


def _describe_options(found: Sequence[Option]) -> List[str]:
    return items([(option.shown, option.summary) for option in found])


def _render_watcher() -> str:
    parser = build_parser()
    lines = head('vgpu-watcher', 8, "keep the vGPU arguments of this pool's VMs as the registry "
                  'says')
    lines += ['.SH SYNOPSIS']
    for name in _list_commands(parser):
        lines += [f'.B vgpu\\-watcher {escape(name)}', escape('[--config FILE]'), '.br']
    lines += [escape('vgpu-watcher --version'), '.SH DESCRIPTION',
              escape(str(parser.description)), 'While a registered VM is halted, the daemon '
              'keeps the arguments in its platform map, so that each start takes them;',
              'afterwards it verifies what QEMU runs with.', '.SH COMMANDS']
    lines += items([(name, item.description[0].upper() + item.description[1:] + '.')
                    for name, item in _list_commands(parser).items()])
    lines += ['.SH OPTIONS'] + items([
        (f'{action.option_strings[-1]} {action.metavar or ""}'.strip(), action.help)
        for action in _list_commands(parser)['run']._actions])
    lines += ['.SH SIGNALS'] + items([
        ('SIGTERM, SIGINT', 'Stop in order, within 5 s.'),
        ('SIGHUP', 'Read the configuration again, and look at all VMs. A file that does not pass '
         'leaves the old settings in force.')])
    lines += ['.SH EXIT STATUS'] + items([
        (str(EXIT_OK), 'All is well.'),
        (str(EXIT_FAILED), 'Failed; also when another writer holds the registry.'),
        ('2', 'The command line is not understood.'),
        (str(EXIT_CONFIG), 'The configuration is bad; systemd does not start it again.')])
    return finish(lines + _describe_files(), 'vgpu-admin (1)', 'vgpu-watcher.conf (5)',
                  'vgpu (7)')


def _list_commands(parser: argparse.ArgumentParser) -> Dict[str, Any]:
    """The commands of a parser, by name."""
    return next(dict(action.choices) for action in parser._actions
                if isinstance(action, argparse._SubParsersAction))


def _render_configuration() -> str:
    lines = head('vgpu-watcher.conf', 5, 'configuration of vgpu-watcher and vgpu-admin')
    lines += ['.SH SYNOPSIS', '.I ' + escape(DEFAULT_PATH), '.SH DESCRIPTION',
              'An INI file in UTF\\-8. Every key is optional; unknown sections and keys are '
              'errors.',
              'Comments stand on lines of their own; there is no interpolation.',
              escape('vgpu-watcher check-config says whether a file is good.')]
    for section in Settings._fields:
        lines += ['.SH ' + escape(f'[{section}]')]
        lines += items([(f'{key.name} = {key.default}'.rstrip(),
                         f'({key.unit}) The default is so because: {key.reason}.')
                        for key in KEYS if key.section == section])
    lines += ['.SH EXAMPLE', 'The defaults, as a file:', '.PP', '.nf']
    lines += [escape(line) for line in render(Settings()).splitlines()] + ['.fi']
    return finish(lines, 'vgpu-watcher (8)', 'vgpu-admin (1)', 'vgpu (7)')


def _describe_files() -> List[str]:
    return ['.SH FILES'] + items(sorted(_FILES.items()))
