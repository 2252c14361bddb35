"""The daemon's note about itself: since when it watches, and how late it is."""

import pytest

from cli.text import Style
from cli.watching import LATE_SECONDS, Watch, describe_watch, parse_note

NOW = 1700000100.0


@pytest.mark.parametrize('text,watch', [
    pytest.param(None, Watch('pid 7'), id='no-note'),
    pytest.param('nonsense', Watch('pid 7'), id='not-json'),
    pytest.param('[1]', Watch('pid 7'), id='not-a-map'),
    pytest.param('{"since": "soon"}', Watch('pid 7'), id='not-a-time'),
    pytest.param('{"pid": 7, "since": 1700000000, "last_answer": 1700000090.5}',
                 Watch('pid 7', '2023-11-14 22:13:20', '2023-11-14 22:14:50', 9), id='numbers'),
    pytest.param('{"since": "2023-11-14 22:13:20", "last_answer": "2023-11-14T22:14:50Z"}',
                 Watch('pid 7', '2023-11-14 22:13:20', '2023-11-14 22:14:50', 10), id='texts'),
    pytest.param('{"since": 1700000000, "last_answer": null}',
                 Watch('pid 7', '2023-11-14 22:13:20'), id='not-answered-yet'),
    pytest.param('{"last_answer": 1700000200}',
                 Watch('pid 7', None, '2023-11-14 22:16:40', 0), id='clock-went-back'),
])
def test_the_note_is_understood_as_far_as_it_goes(text: str, watch: Watch) -> None:
    assert parse_note('pid 7', text, NOW) == watch


@pytest.mark.parametrize('watch,line', [
    (Watch(), "Daemon: ! not watching: nobody holds the writer's lock"),
    (Watch('pid 7'), 'Daemon: OK watching (pid 7)'),
    (Watch('pid 7', '2023-11-14 22:13:20', '2023-11-14 22:14:50', 9),
     'Daemon: OK watching (pid 7), since 2023-11-14 22:13:20, XAPI answered it 9 s ago'),
    (Watch('pid 7', None, '2023-11-14 22:14:50', LATE_SECONDS + 1),
     'Daemon: ! watching (pid 7), XAPI answered it 121 s ago, which is late'),
])
def test_one_line_tells_whether_it_watches_and_how_late(watch: Watch, line: str) -> None:
    assert describe_watch(watch, Style()) == line
