"""What the values of options are turned into."""

import pytest

from cli.commandline.commands import BY_NAME
from cli.commandline.options import parse_time
from cli.commands import history, watch
from cli.effects import restart
from registry.errors import InvalidValue


@pytest.mark.parametrize('text, at', [
    pytest.param('2026-11-29', '2026-11-29 00:00:00', id='a-date-is-its-beginning'),
    pytest.param('2026-11-29 04:05:06', '2026-11-29 04:05:06', id='utc-without-a-zone'),
    pytest.param('2026-11-29T04:05:06Z', '2026-11-29 04:05:06', id='iso'),
    pytest.param('2026-11-29t04:05:06z', '2026-11-29 04:05:06', id='iso-in-small-letters'),
    pytest.param('2026-11-29 04:05', '2026-11-29 04:05:00', id='minutes'),
    pytest.param('2026-11-29T04:05Z', '2026-11-29 04:05:00', id='iso-minutes'),
    pytest.param('2026-11-29T04:05:06.789Z', '2026-11-29 04:05:06', id='fraction'),
    pytest.param('2026-11-29T01:05:06+02:00', '2026-11-28 23:05:06', id='east'),
    pytest.param('2026-11-29 23:05:06 -0230', '2026-11-30 01:35:06', id='west'),
    pytest.param('2026-11-29T12:00:00+05', '2026-11-29 07:00:00', id='hours-only'),
    pytest.param('2028-02-29', '2028-02-29 00:00:00', id='leap-day'),
])
def test_time_is_understood_as_utc(text, at):
    assert parse_time(text) == at


@pytest.mark.parametrize('text', [
    '', 'yesterday', '2026-11', '2026-13-01', '2026-02-30', '2026-11-29T25:00:00Z',
    '2026-11-29T04:05:06X', '29.11.2026', '2026-11-29T', '2026-11-29Z', '20261129', ' 2026-11-29',
    '2026-11-29\n', '2026-11-29T04:05:06+2', '2026-11-29T04:05:06+25:00', '2026-11-29T04:05:06+02:99',
    '\u0662026-11-29', '0001-01-01'])
def test_what_is_no_time_is_refused_with_the_form(text):
    with pytest.raises(InvalidValue, match='YYYY-MM-DDTHH:MM:SSZ'):
        parse_time(text)


@pytest.mark.parametrize('command, option, default', [
    ('history', 'limit', history.DEFAULT_LIMIT), ('watch', 'limit', watch.DEFAULT_LIMIT),
    ('set-pool', 'timeout', restart.STOP_SECONDS)])
def test_help_names_the_default_that_holds(command, option, default):
    known = {item.name: item.summary for item in BY_NAME[command].options}
    assert f'({default})' in known[option]
