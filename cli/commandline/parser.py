"""Turns the command line into Arguments, with argparse and the parser of the one command called.

`words.py` prepares the words; argparse converts and checks the values. Options are never
abbreviated: a script must not change its meaning when an option is added.
"""

import argparse
import functools
import re
from typing import Any, Dict, List, Mapping, NamedTuple, NoReturn, Optional, Sequence, Tuple

from cli.commandline.commands import BY_NAME, GROUPS, Command
from cli.commandline.options import (CONFIG, DB, EVERYWHERE, EXCLUSIVE, FROM_FILE, GONE, HELP,
                                     RESTART, VERSION, VM, VM_ID, VMS, Option)
from cli.commandline.words import Words, refuse_bare_words, take_apart, usage
from cli.errors import CommandError, Kind
from cli.output.text import escape, nearest, then_see
from registry.errors import InvalidValue


class Arguments(NamedTuple):
    """A command line as we understand it."""

    command: Optional[Command]
    values: Mapping[str, Any]
    topic: Optional[str] = None
    """The command that help is wanted for."""
    words: Tuple[str, ...] = ()
    """The command as it is sent to another host: without what is about this one."""
    file_text: Optional[str] = None
    """The content of the file that the command names, where another host has read it."""

    def get(self, option: Option) -> Any:
        """Give the value of an option, True for a flag; None when it is not there."""
        return self.values.get(option.name)


def parse(argv: Sequence[str], default_config: str = '') -> Arguments:
    """Turn the words of the command line into Arguments, or raise a usage error.

    `default_config` is the configuration file where the command line names none.
    """
    arguments = _parse(take_apart(list(argv)))
    if not default_config or CONFIG.name in arguments.values:
        return arguments
    return arguments._replace(values=dict(arguments.values, **{CONFIG.name: default_config}))


def _parse(words: Words) -> Arguments:
    command = words.command
    if words.has(VERSION, HELP) or command is None or command.name == 'help':
        values = _convert(words, is_checked=False)
        if 'version' in values or command is None:
            return Arguments(None, values)
        return Arguments(command, values, _find_topic(command, words.rest))
    if not (command.takes_several and words.rest and not words.has(*VM)):
        refuse_bare_words(words)
    values = _convert(words)
    _check_needs(command, values)
    return Arguments(command, values, words=_spell(words))


def _spell(words: Words) -> Tuple[str, ...]:
    """The command for another host; several VMs stand behind the end of the options."""
    assert words.command is not None
    options = tuple(item.word for item in words.given if item.option not in (CONFIG, DB))
    if words.command.takes_several and words.rest:
        options += ('--',) + words.rest
    return (words.command.name,) + words.command.words + options


# What argparse does.

class _Parser(argparse.ArgumentParser):
    """The parser of one command; what it finds wrong is said in our words."""

    def __init__(self, command: Optional[Command], *, is_checked: bool) -> None:
        super().__init__(prog='vgpu-admin', add_help=False, allow_abbrev=False, usage='%(prog)s',
                         formatter_class=functools.partial(argparse.HelpFormatter, width=80))
        self._command = command
        known = (command.options if command else ()) + EVERYWHERE
        self._known = {option.name: option for option in known}
        required = command.required if command and is_checked else ()
        contrary = [group for group in EXCLUSIVE if is_checked and set(group) <= set(known)]
        for group in contrary:
            exclusive = self.add_mutually_exclusive_group()
            for option in group:
                _add_option(exclusive, option)
        for option in known:
            if not any(option in group for group in contrary):
                _add_option(self, option, is_required=option in required)

    def _get_values(self, action: argparse.Action, arg_strings: List[str]) -> Any:
        """Take `--` for a value where it is one: argparse takes it out of `--name=--` as well."""
        if action.option_strings and arg_strings == ['--']:
            value = self._get_value(action, arg_strings[0])
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as a usage error, in our words."""
        required = re.match(r'the following arguments are required: (.*)\Z', message)
        if required and self._command:
            missing = [self._known[flag[2:]] for flag in required.group(1).split(', ')]
            known = [_describe(self._command, option) for option in missing]
            raise usage(f"{self._command.name} needs {' and '.join(known)}")
        choice = re.match(r'(?s)argument --(\S+): invalid choice: (.*) \(choose from', message)
        if choice:
            flag, value = choice.groups()
            choices = self._known[flag].choices
            option = self._known[flag]
            is_word = self._command and option == self._command.operand
            name = self._command.name if self._command and is_word else f'--{flag}'
            raise usage(f"{name}: {value} is not understood; allowed: {', '.join(choices)}"
                        f"{nearest(value.strip(chr(39)).lower(), choices)}")
        message = re.sub(r'\Aargument (\S+): not allowed with argument (\S+)\Z',
                         r'\1 and \2 exclude each other', message)
        raise usage(re.sub(r'\Aargument (\S+: )', r'\1', message))


def _describe(command: Optional[Command], option: Option) -> str:
    """An option that is missing; one that is better given as a bare word, as that."""
    is_word = command is not None and option == command.operand
    return str(option.placeholder) if is_word else option.shown


class _Once(argparse.Action):
    """An option with a value, which stands once on a command line."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: Optional[str] = None) -> None:
        """Keep the value."""
        if hasattr(namespace, self.dest):
            raise usage(f'{option_string} is given twice')
        setattr(namespace, self.dest, values)


def _add_option(parser: Any, option: Option, *, is_required: bool = False) -> None:
    if option.placeholder is None:
        parser.add_argument(option.flag, dest=option.name, action='store_true',
                            default=argparse.SUPPRESS)
    else:
        parser.add_argument(option.flag, dest=option.name, action=_Once, required=is_required,
                            default=argparse.SUPPRESS, choices=_list_choices(option),
                            type=functools.partial(_convert_value, option))


def _list_choices(option: Option) -> Optional[Sequence[str]]:
    """The choices of an option whose value is the word itself; others convert, and check."""
    return option.choices if option.parse is str and option.choices else None


def _convert(words: Words, *, is_checked: bool = True) -> Dict[str, Any]:
    """Convert and check the values of all options, and several VMs behind them."""
    parser = _Parser(words.command, is_checked=is_checked)
    line = [item.word for item in words.given]
    if is_checked and words.command and words.command.takes_several and words.rest:
        parser.add_argument(VMS.name, nargs='+', type=functools.partial(_convert_value, VMS))
        line += ['--'] + list(words.rest)
    return vars(parser.parse_args(line))


def _convert_value(option: Option, text: str) -> Any:
    try:
        return option.parse(text)
    except InvalidValue as error:
        hint = nearest(text.lower(), option.choices) if option.choices else ''
        raise argparse.ArgumentTypeError(f'{_without_field(str(error), option)}{hint}') from error


def _without_field(message: str, option: Option) -> str:
    """A message of the registry without the name of its field: the option stands there already."""
    field, colon, rest = message.partition(': ')
    is_own = field == 'vm_uuid' or field in option.name.replace('-', '_')
    return rest if colon and is_own else message


# What argparse cannot say: one of several, and what stands in the place of a VM.

def _check_needs(command: Command, values: Mapping[str, Any]) -> None:
    if command.any_of and not any(option.name in values for option in command.any_of):
        known = [_describe(command, option) for option in command.any_of]
        raise usage(f'{command.name} needs ' + (' or '.join(known) if len(known) == 2 else
                                                f"at least one of {', '.join(known)}"))
    if VM_ID.name in values and len(set(values.get(VMS.name, ()))) > 1:
        raise CommandError(Kind.CONFLICT, f'vm_id {values[VM_ID.name]} can be that of one VM only: '
                           'name one; nothing was changed')
    for alone in (FROM_FILE, GONE):
        if alone.name in values:
            _refuse_beside(alone, values)
            return
    if command.needs_vm and not any(option.name in values for option in VM + (VMS,)):
        other = ''.join(f' or {option.shown}' for option in (FROM_FILE, GONE)
                        if option in command.options)
        raise usage(f'{command.name} needs a VM: --vm-uuid=UUID or --vm-name=NAME{other}, or the '
                    'UUID or name alone')


def _refuse_beside(alone: Option, values: Mapping[str, Any]) -> None:
    """Refuse what is for one VM beside an option that names several."""
    for option in VM + (VMS,) + ((VM_ID, RESTART) if alone is FROM_FILE else ()):
        if option.name in values:
            name = 'a VM' if option is VMS else option.flag
            raise usage(f'{alone.flag} and {name} exclude each other')


def _find_topic(command: Command, rest: Sequence[str]) -> Optional[str]:
    """What help is wanted for: a command, a group of them, or nothing in particular."""
    if command.name != 'help':
        return command.name
    known = list(BY_NAME) + list(GROUPS)
    if rest and rest[0] not in known:
        raise usage(then_see(f"no help for '{escape(rest[0])}'{nearest(rest[0], known)}",
                             'vgpu-admin help --all'))
    if rest[1:] and not _belong(BY_NAME.get(rest[0]), rest[1:]):
        raise usage(f"help is for one command or group at a time; '{escape(rest[1])}' is one too "
                    'many')
    return rest[0] if rest else None


def _belong(command: Optional[Command], rest: Sequence[str]) -> bool:
    """Whether words stand behind a command when it is called, as those of `consumer enable`."""
    actions = command.operand.choices if command and command.operand else ()
    return command is not None and (tuple(rest) == command.words
                                    or len(rest) == 1 and rest[0] in actions)
