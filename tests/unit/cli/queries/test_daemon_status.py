"""The daemon's note about itself: since when it watches, and how late it is."""

import pytest

from cli.commands.feed import Item
from cli.output.text import Style, name_vm
from cli.queries.daemon_status import Watch, describe_watch, parse_note
from registry.journal.clock_steps import ClockStep

NOW = 1700000100.0


@pytest.mark.parametrize('text,watch', [
    pytest.param(None, Watch('pid 7, x'), id='no-note'),
    pytest.param('nonsense', Watch('pid 7, x'), id='not-json'),
    pytest.param('[1]', Watch('pid 7, x'), id='not-a-map'),
    pytest.param('{"pid": 77, "since": 1700000000}', Watch('pid 7, x'), id='of-another-process'),
    pytest.param('{"pid": 7, "since": 1700000000, "last_answer": 1700000090.5}',
                 Watch('pid 7, x', '2023-11-14 22:13:20', '2023-11-14 22:14:50', 9), id='well'),
    pytest.param('{"pid": 7, "since": 1700000000, "last_answer": 1699999990}',
                 Watch('pid 7, x', '2023-11-14 22:13:20', '2023-11-14 22:13:10', 110), id='slow'),
    pytest.param('{"pid": 7, "since": 1700000000, "last_answer": 1699999900}',
                 Watch('pid 7, x', '2023-11-14 22:13:20', '2023-11-14 22:11:40', 200, True),
                 id='late'),
    pytest.param('{"pid": 7, "since": null, "last_answer": null}',
                 Watch('pid 7, x', is_synced=False), id='not-in-sync'),
    pytest.param('{"pid": 7, "since": 1700000000, "last_answer": 1700000200}',
                 Watch('pid 7, x', '2023-11-14 22:13:20', '2023-11-14 22:16:40', 0),
                 id='the-clock-went-back'),
])
def test_the_note_is_understood_as_far_as_it_goes(text: str, watch: Watch) -> None:
    assert parse_note('pid 7, x', text, NOW, 60) == watch


@pytest.mark.parametrize('watch,line', [
    (Watch(), 'Daemon: ! no daemon is running'),
    (Watch('pid 7'), 'Daemon: OK watching (pid 7)'),
    (Watch('pid 7', '2023-11-14 22:13:20', '2023-11-14 22:14:50', 9),
     'Daemon: OK watching (pid 7), since 2023-11-14 22:13:20Z, XAPI answered 9 s ago'),
    (Watch('pid 7', None, '2023-11-14 22:14:50', 200, True),
     'Daemon: ! watching (pid 7), XAPI answered 200 s ago, which is late'),
    (Watch('pid 7', is_synced=False),
     'Daemon: ! running (pid 7), but not in sync with XAPI'),
    (Watch('pid 7', clock_step=ClockStep('', '2000-01-01 00:05:00', '2026-11-29 08:00:00')),
     'Daemon: OK watching (pid 7), the clock was stepped forward by 26 years at '
     '2026-11-29 08:00:00Z'),
])
def test_one_line_tells_whether_it_watches_and_how_late(watch: Watch, line: str) -> None:
    assert describe_watch(watch, Style()) == line


@pytest.mark.parametrize('name,brief', [
    ('web', '22:13:20  boot 1  start of web: missing'),
    ('', '22:13:20  boot 1  start of VM 2f4e6c9a: missing')])
def test_on_a_terminal_a_line_has_the_name_instead_of_the_uuid(name: str, brief: str) -> None:
    vm_uuid = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
    text = f'2023-11-14 22:13:20  boot 1  start of {name_vm(name, vm_uuid)}: missing'
    item = Item('2023-11-14 22:13:20', text, {}, 'bad', vm_uuid, name)
    assert item.brief({vm_uuid: name}) == brief
