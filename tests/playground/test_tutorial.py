"""The tutorial: each of its blocks is typed into the playground, on a terminal, in order.

What a command shows that only looks may take a moment to become so (the daemon writes within 2 s):
it is given again, as a reader would, until it shows what the page shows.
"""

import contextlib
import re
from typing import Tuple

from tests.meta.test_docs_commands import matches
from tests.playground.session import PATIENCE_SECONDS, TerminalSession
from tests.support.documents import TUTORIAL, read_blocks, read_steps
from tests.support.waiting import wait_until

LOOKS = re.compile(r'xe vm-(list|param-get) |vgpu-admin (show-vm|explain|list-vms) ')


def test_tutorial_shows_what_happens() -> None:
    steps = [step for block in read_blocks(TUTORIAL, is_run=True) for step in read_steps(block)]
    assert len(steps) > 40
    with contextlib.closing(TerminalSession()) as session:
        session.wait_for_prompt()
        for command, expected in steps:
            give(session, command, expected)


def give(session: TerminalSession, command: str, expected: str) -> None:
    """Give a command until it shows what is expected, if it only looks, else once."""
    last = (-1, '')

    def fits() -> bool:
        nonlocal last
        last = session.run(command)
        return is_right(last, expected)

    if not fits():
        if LOOKS.match(command):
            with contextlib.suppress(AssertionError):
                wait_until(fits, PATIENCE_SECONDS)
        assert is_right(last, expected), '$ %s\n%s\nexit status %d' % (command, last[1], last[0])


def is_right(given: Tuple[int, str], expected: str) -> bool:
    """Whether a command succeeded and printed this."""
    return given[0] == 0 and matches(expected, given[1])
