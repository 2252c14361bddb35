"""The registry as text and back."""

import json

from hypothesis import given
from hypothesis import strategies as some

from cli.exchange_format import COLUMNS, parse, render_csv, render_json
from registry.values import Contents, Priority, Vm

_NAMES = some.none() | some.text(
    some.characters(blacklist_categories=['Cs'], blacklist_characters='\0\r'), min_size=1,
    max_size=40)


def _contents(name: str, number: int, pool: str, priority: int) -> Contents:
    vm = Vm(number, '0a0b0c0d-1111-2222-3333-444455556666', name, pool, Priority(priority))
    return Contents(1, (), (vm,))


@given(_NAMES, some.integers(1, 2147483646), some.sampled_from('AB'), some.integers(0, 2))
def test_what_is_written_is_read_again(name: str, number: int, pool: str, priority: int) -> None:
    contents = _contents(name, number, pool, priority)
    for text in (json.dumps(render_json(contents)), '\n'.join(render_csv(contents)) + '\n'):
        parsed = parse(text)
        assert parsed.problems == ()
        row, vm = parsed.rows[0], contents.vms[0]
        assert [getattr(row, column) for column in COLUMNS] == [
            getattr(vm, column) for column in COLUMNS]


@given(some.text())
def test_no_text_whatever_breaks_the_reader(text: str) -> None:
    parsed = parse(text)
    assert parsed.problems or all(row.vm_uuid for row in parsed.rows)
