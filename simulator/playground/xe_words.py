"""The words of an xe command line, and what xe says when XAPI refuses. Pure."""

from typing import Dict, NamedTuple, Sequence, Set

FLAGS = ('--minimal', '--force', '--multiple')
# The texts of XAPI's own datamodel, for what is likely in here.
TEXTS = {
    'VM_BAD_POWER_STATE': (
        'You attempted an operation on a VM that was not in an appropriate power state at the '
        'time; for example, you attempted to start a VM that was already running.  The parameters '
        "returned are the VM's handle, and the expected and actual VM state at the time of the "
        'call.', ('vm', 'expected', 'actual')),
    'UUID_INVALID': ('The uuid you supplied was invalid.', ('type', 'uuid')),
    'OPERATION_BLOCKED': (
        'You attempted an operation that was explicitly blocked (see the blocked_operations field '
        'of the given object).', ('ref', 'code')),
    'OTHER_OPERATION_IN_PROGRESS': (
        'Another operation involving the object is currently in progress',
        ('class', 'object', 'operation_type', 'operation_ref')),
    'VM_REVERT_FAILED': ('An error occurred while reverting the specified virtual machine to the '
                         'specified snapshot', ('vm', 'snapshot')),
}


class UsageError(Exception):
    """The command line cannot be carried out; the message is xe's."""


class Refusal(Exception):
    """XAPI said no; the message is xe's, of several lines."""


class Words(NamedTuple):
    """A command with its parameters."""
    command: str
    given: Dict[str, str]
    flags: Set[str]

    def take(self, *names: str) -> str:
        """Return the first of these parameters that is given."""
        for name in names:
            if name in self.given:
                return self.given[name]
        raise UsageError(f'Required parameter not found: {names[0]}')


def parse(words: Sequence[str]) -> Words:
    """Read a command line."""
    if not words:
        raise UsageError('Usage: xe COMMAND [NAME=VALUE ...]; xe help lists the commands')
    given, flags = {}, set()
    for word in words[1:]:
        name, equals, value = word.partition('=')
        if word in FLAGS:
            flags.add(word[2:])
        elif equals:
            given[name] = value
        else:
            raise UsageError(f'Syntax error: {word} is not NAME=VALUE')
    for name in ('force', 'multiple', 'minimal'):
        if given.pop(name, '') == 'true':
            flags.add(name)
    return Words(words[0], given, flags)


def describe_refusal(code: str, params: Sequence[str], names: Dict[str, str]) -> str:
    """Say why XAPI refused, line by line; what is known by reference is named."""
    shown = [names.get(param, param) for param in params]
    if code not in TEXTS:
        return f'Error code: {code}\nError parameters: {", ".join(shown)}'
    text, heads = TEXTS[code]
    return '\n'.join([text] + [f'{head}: {param}' for head, param in zip(heads, shown)])
