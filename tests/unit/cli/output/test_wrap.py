"""Lines on a terminal: broken at blanks, with what people copy in one piece."""

import pytest

from cli.output.wrap import wrap

UUID = 'd8f33418-0000-4000-8000-000000000001'


@pytest.mark.parametrize('line, expected', [
    pytest.param('short', ['short'], id='fits'),
    pytest.param('one two three four', ['one two', '  three', '  four'], id='prose'),
    pytest.param(f'it was stopped: xe vm-start uuid={UUID}',
                 ['it was', '  stopped:', f'  xe vm-start uuid={UUID}'], id='command-at-the-end'),
    pytest.param(f'xe vm-start uuid={UUID}', [f'xe vm-start uuid={UUID}'], id='command-alone'),
    pytest.param('ok  it  is so and so it goes',
                 ['ok  it  is so', '        and so', '        it goes'], id='columns'),
    pytest.param('    a b c d e f', ['    a b c d', '      e f'], id='indented')])
def test_a_line_is_broken(line, expected) -> None:
    assert wrap(line, 16 if line.startswith('ok') else 11) == expected


def test_a_command_in_quotes_stays_whole_behind_another() -> None:
    lines = wrap("'systemctl restart vgpu-watcher'; 'journalctl -u vgpu-watcher'", 45)
    assert lines == ["'systemctl restart vgpu-watcher';", "  'journalctl -u vgpu-watcher'"]
