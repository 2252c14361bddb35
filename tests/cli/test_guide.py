"""The guide docs/cli.md: each of its commands is run, and its output compared."""

import contextlib
import tempfile

from cli.errors import ExitStatus, Kind
from cli.grammar import COMMANDS
from tests.documents import find_rows, read, read_blocks, read_steps
from tests.test_docs_commands import Dom0, matches

GUIDE = 'docs/cli.md'


def test_the_commands_of_the_guide_do_what_it_shows() -> None:
    steps = [step for block in read_blocks(GUIDE, is_run=True) for step in read_steps(block)]
    assert steps
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory, \
            contextlib.closing(Dom0(directory)) as dom0:
        for command, expected in steps:
            status, printed = dom0.run(command)
            assert status == 0 and matches(expected, printed), '$ %s\n%s\nexit status %d' % (
                command, printed, status)


def test_the_guide_names_every_command_and_every_exit_status() -> None:
    text = read(GUIDE)
    assert [command.name for command in COMMANDS if command.name not in text] == []
    rows = find_rows(GUIDE, 'exit status')
    assert [int(row[0]) for row in rows] == sorted(int(status) for status in ExitStatus)
    kinds = {kind for row in rows for kind in row[1].split(', ') if kind}
    assert kinds == {kind.value for kind in Kind}
