"""How to mend what cannot be told apart."""

import pytest

from cli.output.repair_hints import describe_unreadable

NAMES = frozenset(['vgpu-stub'])


@pytest.mark.parametrize('args,said,mended', [
    pytest.param('-foo "bar', 'unbalanced', "'-foo bar'", id='unbalanced'),
    pytest.param('-foo\n-bar', 'printable', '-foo-bar', id='control-character'),
    pytest.param('-foo -device', 'without a device', '-foo', id='dangling'),
    pytest.param('"-device" vgpu-stub,vm_id=1', 'inside quotes', "'-device vgpu-stub,vm_id=1'",
                 id='quoted-device'),
    pytest.param('x' * 1000, 'longer', "'THE RIGHT VALUE'", id='too-long'),
])
def test_the_problem_and_the_command_are_named(args: str, said: str, mended: str) -> None:
    problem, command = describe_unreadable('UUID', args, NAMES)
    assert said in problem
    assert command == 'xe vm-param-set uuid=UUID platform:device-model-args=' + mended
