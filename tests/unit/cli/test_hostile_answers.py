"""What XAPI and a host answer ends on root's terminal: nothing of it may act there."""

import pytest

from cli.commandline.parser import Arguments
from cli.context import Context
from cli.effects.follow_up import Follow, build_answer
from cli.output.text import Style
from cli.queries.preflight import Situation
from registry.values import Priority, Vm
from tests.unit.watcher.builders import UUID

HOSTILE = 'it runs with \x1b]0;pwned\x07 -device vgpu-stub,x=\u202e'


@pytest.mark.parametrize('message', [HOSTILE, HOSTILE.upper()])
def test_message_about_an_edit_is_shown_escaped(message):
    row = Vm(7, UUID, 'web', 'A', Priority.HIGH)
    context = Context(Arguments(None, {'verbose': True}), errors=None, answers=None, environment={})
    result = build_answer(context, 'changed', 'changed', row,
                          Situation(problem='away'), Follow('stale', message))
    text = '\n'.join(result.lines(Style()))
    assert text.replace('\n', '').isprintable() and '\\x1b' in text
    assert result.document['staging']['message'] == message
