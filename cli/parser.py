"""Reads the command line: options before or after the command, with `=` or a blank.

What is not understood is refused, with the allowed values and the nearest name. Options are
never abbreviated: a script must not change its meaning when an option is added.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.errors import CommandError, Kind
from cli.grammar import BY_NAME, COMMANDS, Command
from cli.options import (CONFIG, DB, EVERYWHERE, FROM_FILE, GONE, HELP, POOL_ID, RESTART, STREAM,
                         VERSION, VM, VM_ID, VM_NAME, VM_UUID, Option, parse_text)
from cli.text import escape, nearest
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


_Pair = Tuple[Option, str, str]
"""An option, as it was spelled, and the text given for it."""
_ALL_OPTIONS = {option.name: option
                for command in COMMANDS for option in command.options + EVERYWHERE}
_END_OF_OPTIONS = '--'
_SHORT = {'-h': HELP, '-V': VERSION}
_UUID = re.compile(r'[0-9a-fA-F-]{36}\Z')
_XE_NAMES = {name: option for option in VM for name in option.xe_names}


def parse(argv: Sequence[str], default_config: str = '') -> Arguments:
    """Turn the words of the command line into Arguments, or raise a usage error.

    `default_config` is the configuration file where the command line names none.
    """
    arguments = _parse(argv)
    if not default_config or CONFIG.name in arguments.values:
        return arguments
    return arguments._replace(values=dict(arguments.values, **{CONFIG.name: default_config}))


def _parse(argv: Sequence[str]) -> Arguments:
    words, pairs = _split(list(argv))
    if not words:
        return Arguments(None, _checked(None, pairs))
    command = BY_NAME.get(words[0])
    if command is None:
        raise _usage(f"unknown command '{escape(words[0])}'"
                     f"{nearest(words[0], list(BY_NAME))}; see 'vgpu-admin help'")
    words, pairs = _take_operand(command, words, pairs)
    values = _checked(command, pairs)
    if 'version' in values:
        return Arguments(None, values)
    if 'help' in values or command.name == 'help':
        return Arguments(command, values, _find_topic(command, words[1:]))
    _check_words(command, words[1:])
    _check_needs(command, values)
    return Arguments(command, values, words=tuple(words) + _spell(pairs))


def _spell(pairs: List[_Pair]) -> Tuple[str, ...]:
    return tuple(option.flag if option.placeholder is None else f'{option.flag}={text}'
                 for option, _spelling, text in pairs if option not in (CONFIG, DB))


def _split(argv: List[str]) -> Tuple[List[str], List[_Pair]]:
    """Part words from options; each option with the text given for it."""
    words, pairs = [], []  # type: List[str], List[_Pair]
    waiting = list(reversed(argv))
    while waiting:
        word = waiting.pop()
        name, equals, text = word.lstrip('-').partition('=')
        if word == _END_OF_OPTIONS:
            words += reversed(waiting)
            break
        if word in _SHORT:
            pairs.append((_SHORT[word], word, ''))
        elif word.startswith('--'):
            pairs.append(_take_option(word, name, equals, text, waiting))
        elif equals and not word.startswith('-') and name in _XE_NAMES:
            pairs.append((_XE_NAMES[name], name, text))
        elif word.startswith('-') and word != STREAM:
            raise _usage(f"unknown option '{escape(word)}'{_hint(name)}")
        else:
            words.append(word)
    return words, pairs


def _take_option(word: str, name: str, equals: str, text: str,
                 waiting: List[str]) -> Tuple[Option, str, str]:
    option = _ALL_OPTIONS.get(name) if word[2:3] != '-' else None
    if option is None:
        raise _usage(f"unknown option '{escape(word.partition('=')[0])}'{_hint(name)}")
    if option.placeholder is None:
        if equals:
            raise _usage(f'{option.flag} takes no value')
        return option, option.flag, ''
    if not equals:
        # A value that begins like an option is more likely an option whose value was forgotten.
        if not waiting or waiting[-1].startswith('--'):
            also = (f'; one that begins with dashes is given as {option.flag}={escape(waiting[-1])}'
                    if waiting and option.parse is parse_text else '')
            raise _usage(f'{option.flag} needs a value: {option.shown}{also}')
        text = waiting.pop()
    return option, option.flag, text


def _take_operand(command: Command, words: List[str], pairs: List[_Pair]) \
        -> Tuple[List[str], List[_Pair]]:
    """Turn the one word behind a command that takes one into its option: a VM, or its operand."""
    if len(words) != 2 or command.words:
        return words, pairs
    option = command.operand
    if option is None and VM_NAME in command.options and not _names_vms(pairs):
        option = VM_UUID if _UUID.match(words[1]) else VM_NAME
    if option is None:
        return words, pairs
    return words[:1], pairs + [(option, option.flag, words[1])]


def _names_vms(pairs: List[_Pair]) -> bool:
    return any(option.name in (VM_UUID.name, VM_NAME.name) for option, _spelling, _text in pairs)


def _checked(command: Optional[Command], pairs: List[_Pair]) -> Dict[str, Any]:
    allowed = {option.name for option in EVERYWHERE + (command.options if command else ())}
    values = {}  # type: Dict[str, Any]
    own = {option.name: option for option in (command.options if command else ())}
    for option, spelling, text in pairs:
        option = own.get(option.name, option)
        if option.name not in allowed:
            known = command.options if command and command.options else EVERYWHERE
            raise _usage(f"{spelling} is not an option of "
                         f"{command.name if command else 'vgpu-admin'}; allowed: "
                         f"{'' if known is not EVERYWHERE else 'none but '}"
                         f"{' '.join(item.flag for item in known)}")
        if option.name in values and option.placeholder is not None:
            raise _usage(f'{option.flag} is given twice')
        values[option.name] = True if option.placeholder is None else _value(option, text)
    return values


def _value(option: Option, text: str) -> Any:
    try:
        return option.parse(text)
    except InvalidValue as error:
        hint = nearest(text.lower(), option.choices) if option.choices else ''
        raise _usage(f'{option.flag}: {_without_field(str(error), option)}{hint}') from error


def _without_field(message: str, option: Option) -> str:
    """A message of the registry without the name of its field: the option stands there already."""
    field, colon, rest = message.partition(': ')
    return rest if colon and field in option.name.replace('-', '_') else message


def _check_words(command: Command, words: List[str]) -> None:
    if tuple(words) == command.words:
        return
    if command.words:
        raise _usage(f"say 'vgpu-admin {command.name} {' '.join(command.words)}'")
    if POOL_ID in command.options and words[0] in POOL_ID.choices:
        raise _usage(f"{command.name}: '{words[0]}' is not understood; a vGPU pool is named by "
                     f'{POOL_ID.flag}={words[0]}')
    raise _usage(f"{command.name}: '{escape(words[0])}' is not understood; "
                 f"example: vgpu-admin {command.example}")


def _check_needs(command: Command, values: Mapping[str, Any]) -> None:
    for option in command.required:
        if option.name not in values:
            raise _usage(f'{command.name} needs {option.shown}')
    if command.any_of and not any(option.name in values for option in command.any_of):
        raise _usage(f"{command.name} needs at least one of "
                     f"{' '.join(option.shown for option in command.any_of)}")
    _check_vm(command, values)
    if 'json' in values and 'minimal' in values:
        raise _usage('--json and --minimal exclude each other')
    if 'restart' in values and 'no-restart' in values:
        raise _usage('--restart and --no-restart exclude each other')


def _check_vm(command: Command, values: Mapping[str, Any]) -> None:
    """A command that needs a VM has one, or a file that lists several and nothing for only one."""
    if FROM_FILE.name in values:
        for option in VM + (VM_ID, RESTART):
            if option.name in values:
                raise _usage(f'{FROM_FILE.flag} and {option.flag} exclude each other')
    elif GONE.name in values:
        for option in VM:
            if option.name in values:
                raise _usage(f'{GONE.flag} and {option.flag} exclude each other')
    elif command.needs_vm and not any(option.name in values for option in VM):
        other = ''.join(f' or {option.shown}' for option in (FROM_FILE, GONE)
                        if option in command.options)
        raise _usage(f'{command.name} needs a VM: --vm-uuid=UUID or --vm-name=NAME{other}, or the '
                     'UUID or name alone')


def _find_topic(command: Command, words: List[str]) -> Optional[str]:
    if command.name != 'help':
        return command.name
    if words and words[0] not in BY_NAME:
        raise _usage(f"no help for '{escape(words[0])}'{nearest(words[0], list(BY_NAME))}")
    return words[0] if words else None


def _hint(name: str) -> str:
    if name in _XE_NAMES:
        return f"; did you mean '{_XE_NAMES[name].flag}', or '{name}=' without dashes?"
    return nearest(name, list(_ALL_OPTIONS)).replace("mean '", "mean '--")


def _usage(message: str) -> CommandError:
    return CommandError(Kind.USAGE, message)
