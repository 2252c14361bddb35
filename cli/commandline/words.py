"""Prepares the words of the command line for argparse: what argparse cannot do, step by step.

Options stand before or after the command, `uuid=` and `name-label=` are understood as `xe`
understands them, a value may begin with a dash, `--` ends the options, and a slip is met with the
nearest name. What comes out is one option a word, as `--name=value`, and bare words.
"""

from typing import List, Mapping, NamedTuple, Optional, Tuple

from cli.commandline.commands import BY_NAME, COMMANDS, EARLIER, Command
from cli.commandline.options import (EVERYWHERE, HELP, POOL_ID, STREAM, VERSION, VM, VM_NAME,
                                     VM_UUID, Option, parse_text)
from cli.errors import CommandError, Kind
from cli.output.text import escape, nearest, then_see


class Given(NamedTuple):
    """One option as it was given."""

    option: Option
    spelling: str
    """How it was spelled: `uuid` or `--vm-uuid`."""
    text: str = ''

    @property
    def word(self) -> str:
        """The option as one word."""
        flag = self.option.flag
        return flag if self.option.placeholder is None else f'{flag}={self.text}'


class Words(NamedTuple):
    """A command line, taken apart."""

    command: Optional[Command]
    given: Tuple[Given, ...]
    rest: Tuple[str, ...] = ()
    """The bare words behind the command that are no option in disguise."""

    def has(self, *options: Option) -> bool:
        """Whether one of these options was given."""
        names = {option.name for option in options}
        return any(item.option.name in names for item in self.given)


_ALL_OPTIONS = {option.name: option
                for command in COMMANDS for option in command.options + EVERYWHERE}
_END_OF_OPTIONS = '--'
# What people call it elsewhere; the nearest names would be register-vm and update-vm.
_REMOVING = ('unregister', 'deregister', 'delete', 'destroy')
_SHORT = {'-h': HELP, '-V': VERSION}
_UUID_CHARACTERS = frozenset('0123456789abcdefABCDEF-')
_XE_NAMES = {name: option for option in VM for name in option.xe_names}


def take_apart(argv: List[str]) -> Words:
    """Find the command, its options and its bare words, or raise a usage error."""
    answer_earlier(argv)
    words, given = split_options(argv, _list_options(argv))
    if not words:
        return _checked(Words(None, tuple(given)))
    command = find_command(words[0])
    return _checked(name_operand(Words(command, tuple(given), tuple(words[1:]))))


def _list_options(argv: List[str]) -> Mapping[str, Option]:
    """All options by name; those of the command, whichever word that is, as it has them."""
    known = dict(_ALL_OPTIONS)
    for command in (BY_NAME[word] for word in argv if word in BY_NAME):
        known.update((option.name, option) for option in command.options)
        break
    return known


def split_options(argv: List[str],
                  known: Mapping[str, Option]) -> Tuple[List[str], List[Given]]:
    """Part bare words from options; each option takes its value, joined by `=` or not."""
    words: List[str] = []
    given: List[Given] = []
    waiting = list(reversed(argv))
    while waiting:
        word = waiting.pop()
        if word == _END_OF_OPTIONS:
            return words + waiting[::-1], given
        name, equals, text = word.partition('=')
        if word in _SHORT:
            given.append(Given(_SHORT[word], word))
        elif word.startswith('-') and word != STREAM:
            given.append(_take_option(known, name, text if equals else None, waiting))
        elif equals and name in _XE_NAMES:
            given.append(Given(_XE_NAMES[name], name, text))
        else:
            words.append(word)
    return words, given


def _take_option(known: Mapping[str, Option], flag: str, text: Optional[str],
                 waiting: List[str]) -> Given:
    """One option, with the next word as its value where it needs one."""
    option = known.get(flag[2:]) if flag.startswith('--') else None
    if option is None:
        raise usage(f"unknown option '{escape(flag)}'{hint_at_option(flag.lstrip('-'))}")
    if option.placeholder is None:
        if text is not None:
            raise usage(f'{flag} takes no value')
        return Given(option, flag)
    if text is None:
        text = _take_value(option, waiting)
    return Given(option, flag, text)


def _take_value(option: Option, waiting: List[str]) -> str:
    """The next word, which may begin with one dash: two are more likely a forgotten value."""
    if waiting and not waiting[-1].startswith('--'):
        return waiting.pop()
    also = (f'; one that begins with dashes is given as {option.flag}={escape(waiting[-1])}'
            if waiting and option.parse is parse_text else '')
    raise usage(f'{option.flag} needs a value: {option.shown}{also}')


def answer_earlier(argv: List[str]) -> None:
    """Say of a scheduler command of the earlier tool what it was; its options are not ours."""
    if any(word in BY_NAME and word != 'help' for word in argv):
        return
    for name in (word for word in argv if not word.startswith('-')):
        parts = name.replace('unquarantine', 'quarantine').split('-')
        for about in (said for word, said in EARLIER.items() if word in parts[:2] and parts[1:]):
            raise usage(f"'{escape(name)}' was a scheduler command of the earlier tool ({about}); "
                        'vgpu-admin has none, and leaves the scheduler columns as they are')


def find_command(name: str) -> Command:
    """The command of a name; a slip is met with the nearest one."""
    if name in BY_NAME:
        return BY_NAME[name]
    meant = 'remove-vm' if name.startswith(_REMOVING) else name
    raise usage(then_see(f"unknown command '{escape(name)}'{nearest(meant, list(BY_NAME))}",
                         'vgpu-admin help'))


def name_operand(words: Words) -> Words:
    """Turn a bare word into the option that it stands for: a VM, or the command's operand."""
    words = _name_several(words)
    command = words.command
    if command is None or command.words or len(words.rest) != 1:
        return words
    option = command.operand
    if option is None and VM_NAME in command.options and not words.has(*VM):
        option = VM_UUID if _is_uuid(words.rest[0]) else VM_NAME
    if option is None:
        return words
    return Words(command, words.given + (Given(option, option.flag, words.rest[0]),))


def _name_several(words: Words) -> Words:
    """Turn options that name several VMs into bare words; beside a bare word they are a slip."""
    named = [item for item in words.given if item.option.name in (VM_UUID.name, VM_NAME.name)]
    is_several = len({item.option.name for item in named}) < len(named)
    if words.command is None or not words.command.takes_several or not is_several or words.rest:
        return words
    for item in named:
        if (item.option.name == VM_UUID.name) != _is_uuid(item.text):
            raise usage(f'{item.option.flag}: {ascii(item.text)} is '
                        f"{'a' if _is_uuid(item.text) else 'not a'} UUID; give it alone")
    return words._replace(
        given=tuple(item for item in words.given if item not in named),
        rest=tuple(item.text for item in named))


def _is_uuid(word: str) -> bool:
    """Whether a word is meant as a UUID."""
    return len(word) == 36 and _UUID_CHARACTERS.issuperset(word)


def _checked(words: Words) -> Words:
    """Refuse options of other commands, and options given twice."""
    known = words.command.options if words.command else ()
    allowed = {option.name for option in known + EVERYWHERE}
    for item in words.given:
        if item.option.name not in allowed:
            flags = ' '.join(option.flag for option in known or EVERYWHERE)
            raise usage(f"{item.spelling} is not an option of "
                        f"{words.command.name if words.command else 'vgpu-admin'}; allowed: "
                        f"{flags if known else 'none but ' + flags}")
    return words


def refuse_bare_words(words: Words) -> None:
    """Refuse bare words that stand for nothing, with what was probably meant."""
    command = words.command
    if command is None or words.rest == command.words:
        return
    if command.words:
        raise usage(f"say 'vgpu-admin {command.name} {' '.join(command.words)}'")
    first = escape(words.rest[0])
    if any(option.name == POOL_ID.name for option in command.options) and first in POOL_ID.choices:
        raise usage(f"{command.name}: '{first}' is not understood; a vGPU pool is named by "
                    f'{POOL_ID.flag}={first}')
    raise usage(f'{command.name}{_say_unwanted(words, command)}; '
                f'example: vgpu-admin {command.example}')


def _say_unwanted(words: Words, command: Command) -> str:
    """What the command does not want, in words that say what it takes."""
    takes_vm = VM_NAME in command.options and not command.takes_several
    if command.operand is None and not takes_vm:
        return (': name the VMs alone, or each by --vm-uuid or --vm-name; not both'
                if command.takes_several else f" takes options only, not '{escape(words.rest[0])}'")
    wanted = 'VM' if command.operand is None else str(command.operand.placeholder)
    is_given = words.has(*(VM if command.operand is None else (command.operand,)))
    return (f" takes one {'word' if '|' in wanted else wanted}; "
            f"'{escape(words.rest[0 if is_given else 1])}' is one too many")


def hint_at_option(name: str) -> str:
    """The hint at the option whose name is near a slip."""
    if name in _XE_NAMES:
        return f"; did you mean '{_XE_NAMES[name].flag}', or '{name}=' without dashes?"
    return nearest(name, list(_ALL_OPTIONS)).replace("mean '", "mean '--")


def usage(message: str) -> CommandError:
    """An error in the command line."""
    return CommandError(Kind.USAGE, message)
