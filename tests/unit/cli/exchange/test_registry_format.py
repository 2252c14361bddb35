"""The registry as text and back."""

import json

import pytest
from hypothesis import given, strategies as some

from cli.exchange.registry_format import (COLUMNS, Parsed, VmRow, is_table, parse, render_csv,
                                          render_json)
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


UUID = '0a0b0c0d-1111-2222-3333-444455556666'
ROW = VmRow(2, UUID, vm_id=7, pool_id='B')


@pytest.mark.parametrize('text, line', [
    pytest.param('vm_uuid,vm_id,pool_id\n{0},7,B\n', 2, id='commas'),
    pytest.param('vm_uuid;vm_id;pool_id\r\n{0};7;B\r\n', 2, id='semicolons'),
    pytest.param('vm_uuid\tvm_id\tpool_id\n{0}\t7\tB\n', 2, id='tabs'),
    pytest.param('sep=;\nvm_uuid;vm_id;pool_id\n{0};7;B\n', 3, id='said'),
    pytest.param('"sep=,"\r\nvm_uuid,vm_id,pool_id\r\n{0},7,B\r\n', 3, id='said-in-quotes'),
    pytest.param('vm_uuid,vm_id,pool_id,,\n{0},7,B,,\n', 2, id='empty-columns'),
    pytest.param('vm_uuid,vm_id,pool_id\n{0},7,B,,\n,,,\n , ,\n', 2, id='rows-of-commas'),
    pytest.param(',,\nvm_uuid,vm_id,pool_id\n{0},7,B\n', 3, id='row-of-commas-first'),
    pytest.param('VM_UUID, vm_id ,pool_id\n {0} , 7 ,B\n', 2, id='blanks-and-capitals'),
    pytest.param('vm_uuid,vm_id,pool_id\r{0},7,B\r', 2, id='old-line-ends'),
])
def test_tables_of_spreadsheets_are_read(text: str, line: int) -> None:
    assert parse(text.format(UUID)) == Parsed((ROW._replace(line=line),), (), ())
    assert is_table(text.format(UUID))


@pytest.mark.parametrize('text, said', [
    pytest.param('vm_uuid,vm_id,vm_id\n{0},1,2\n', "'vm_id' stands in the heading twice",
                 id='column'),
    pytest.param('vm_uuid,Vm_Uuid\n', 'twice', id='column-in-capitals'),
    pytest.param('vm_uuid,vm_name\n{0},"web\n{0},db\n', 'not CSV', id='open-quotation'),
    pytest.param('vm_uuid,vm_id,\n{0},1,2\n', 'line 2', id='value-beyond-the-heading'),
    pytest.param('sep=x\nvm_uuid\n', 'UTF-8 with commas', id='odd-separator'),
    pytest.param('{{"format":1,"vms":[],"vms":[]}}', "'vms' stands twice", id='field'),
    pytest.param('{{"format":1,"vms":[{{"vm_uuid":"{0}","vm_id":1,"vm_id":2}}]}}',
                 "'vm_id' stands twice", id='field-of-a-vm'),
    pytest.param('{{"format":1,"vms":[],"pools":[{{"pool_id":"A"}},{{"pool_id":"A"}}]}}',
                 'pool 2', id='vgpu-pool'),
    pytest.param('{{"format":1,"vms":[{{"vm_uuid":"{0}","vm_id":{1}}}]}}', '5000 digits',
                 id='huge-number'),
    pytest.param('{{"format":1,"vms":[{{"vm_uuid":"{0}","weight":5}}]}}', 'unknown field',
                 id='unknown-field-of-a-vm'),
])
def test_what_can_be_read_in_two_ways_is_refused(text: str, said: str) -> None:
    parsed = parse(text.format(UUID, '9' * 5000))
    assert said in ' '.join(parsed.problems), parsed


@pytest.mark.parametrize('text', [
    '{"format":1,"vm":{"vm_uuid":"%s"}}' % UUID, '{"format":1,"error":{"kind":"usage"}}',
    '{"format":1}', '{"format":1,"pools":[]}', '{"format":1,"vms":[]}',
    '{"format":1,"vms":[],"pools":[]}', '{"format":1,"vms":[{"vm_uuid":"%s"}],"poools":[]}' % UUID,
    '{"format":1,"vms":[],"poools":[]}', '{"vms":[]}',
    '{}', '[]', '["format","vms"]', '{"format":1,"result":"written","path":"/x","vm_count":1}',
    '[' * 100000])
def test_what_is_no_export_is_not_taken_for_an_empty_registry(text: str) -> None:
    parsed = parse(text)
    assert len(parsed.problems) == 1 and 'neither an export nor a backup' in parsed.problems[0]
    assert len(parsed.problems[0]) < 200


def test_an_export_with_notes_is_one() -> None:
    assert parse('{"format":1,"vms":[],"pools":[{"pool_id":"A"}],'
                 '"notes":["XAPI is away"]}').problems == ()


def test_a_description_of_null_is_told_from_a_missing_one() -> None:
    pools = parse('{"format":1,"vms":[],"pools":[{"pool_id":"A","description":null},'
                  '{"pool_id":"B"}]}').pools
    assert ['description' in pool.given for pool in pools] == [True, False]
