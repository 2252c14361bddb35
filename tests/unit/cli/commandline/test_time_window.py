"""A span of each day, in UTC."""

import pytest

from cli.commandline.time_window import parse_window
from registry.errors import InvalidValue

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize('text, hour, is_open', [
    ('22:00-04:00', 22, True), ('22:00-04:00', 23.99, True), ('22:00-04:00', 0, True),
    ('22:00-04:00', 3.99, True), ('22:00-04:00', 4, False), ('22:00-04:00', 21.5, False),
    ('01:30-02:00', 1.5, True), ('01:30-02:00', 2, False), ('00:00-23:59', 12, True)])
def test_when_it_is_open(text, hour, is_open):
    window = parse_window(text)
    assert window.is_open(20000 * DAY + hour * HOUR) is is_open
    assert str(window) == text + ' UTC'


@pytest.mark.parametrize('text', ['', '22:00', '22-04', '24:00-04:00', '22:60-04:00', '22:00-22:00',
                                  '22:00-04:00Z', ' 22:00-04:00', '22:00-04:00\n'])
def test_what_is_none(text):
    with pytest.raises(InvalidValue):
        parse_window(text)
