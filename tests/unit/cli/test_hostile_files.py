"""P28: whatever stands in a file of VMs, its reader gives rows or problems, and at linear cost."""

import pytest
from hypothesis import example, given, settings, strategies as st

from cli.exchange import registry_format
from tests.unit.watcher.test_hostile_input import count_steps_of

CSV = ['vm_uuid', 'vm_uuid,vm_id\n', ',', ';', '\t', '\n', '\r\n', '"', '""', 'sep=;\n', 'sep=',
       '0a0b0c0d-1111-2222-3333-444455556666', '7', ' ', '\0', 'ä', '\ufeff', '9' * 30]
JSON = ['{', '}', '[', ']', '"', ':', ',', '{"format": 1, "pools": [], "vms": [', '"vm_uuid"',
        '1e999', '{"vm_uuid": "0a0b0c0d-1111-2222-3333-444455556666"}, ', 'null', '-', '\\u',
        '9' * 400]
SIZE = 24000


@settings(deadline=None)
@given(st.lists(st.sampled_from(CSV + JSON) | st.text(max_size=3), max_size=40).map(''.join))
@example('[' * 100000)
@example('{"a":' * 100000)
@example('vm_uuid\n"')
@example('{"format": 1, "pools": [], "vms": ' + '9' * 5000)
def test_whatever_stands_there_is_read_or_refused(text):
    parsed = registry_format.parse(text)
    assert parsed.problems or all(row.vm_uuid for row in parsed.rows)


@pytest.mark.parametrize('beginning', [
    '', 'vm_uuid,vm_id\n', '{"format": 1, "pools": [], "vms": ['])
@pytest.mark.parametrize('word', CSV + JSON, ids=repr)
def test_twice_as_much_costs_twice_as_much_at_most(beginning, word):
    (few, _), (many, seconds) = [count_steps_of(
        lambda text: registry_format.parse(text), beginning + word * (size // len(word)))
        for size in (SIZE, 2 * SIZE)]
    assert many <= 2.2 * few + 200, (few, many)
    assert seconds < 2.0


def test_heading_of_many_columns_is_refused_at_once():
    _steps, seconds = count_steps_of(registry_format.parse, 'vm_uuid' + ',vm_name' * 40000)
    assert seconds < 2.0
