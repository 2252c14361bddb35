"""The options of `vgpu-admin consumer`, which are its alone."""

from cli.options import Option, parse_text
from registry.errors import InvalidValue

ACTIONS = ('enable', 'disable', 'pause', 'resume', 'status')


def parse_action(text: str) -> str:
    """Check what is to be done with the consumer."""
    if text not in ACTIONS:
        raise InvalidValue(f"{ascii(text)} is not understood; allowed: {', '.join(ACTIONS)}")
    return text


ACTION = Option('action', '|'.join(ACTIONS), 'what to do; the word alone will do as well',
                parse_action, (), ACTIONS)
ROOT = Option('root', 'DIR', 'the directory that holds dom0 (/)', parse_text)
