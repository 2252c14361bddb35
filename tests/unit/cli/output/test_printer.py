"""What is printed, in which order, on streams that keep what is written."""

import io
from typing import Any, Callable

import pytest

from cli.errors import CommandError, Kind
from cli.output.printer import Output
from cli.output.result import Result


class Shared(io.RawIOBase):
    """One place for two streams, as `2>&1` makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ''

    def writable(self) -> bool:
        """It is written to."""
        return True

    def write(self, data: Any) -> int:
        """Take what a stream lets go."""
        self.text += bytes(data).decode('utf-8')
        return len(data)


def _open(raw: io.RawIOBase) -> io.TextIOWrapper:
    """A stream that keeps all until it is flushed: standard error before Python 3.9, in a pipe."""
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding='utf-8', line_buffering=False)


@pytest.mark.parametrize('tell, text', [
    pytest.param(lambda output: output.print_result(
        Result({}, lambda _style: ['done']), ['a note'], is_json=False, is_minimal=False),
        'vgpu-admin: a note\ndone\n', id='result'),
    pytest.param(lambda output: output.print_error(
        CommandError(Kind.FAILED, 'it failed'), ['a note'], is_json=False),
        'vgpu-admin: a note\nvgpu-admin: it failed\n', id='error'),
    pytest.param(lambda output: output.print_lines(['done'], ['a note']), 'a note\ndone\n',
                 id='of-another-host')])
def test_what_is_told_beside_a_result_stands_before_it_in_one_pipe(
        tell: Callable[[Output], None], text: str) -> None:
    shared = Shared()
    output = Output(_open(shared), _open(shared), {})
    tell(output)
    assert output.settle(0) == 0 and shared.text == text
