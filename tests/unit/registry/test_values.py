"""Values at the boundary: what is accepted, and what the refusal says."""

import pytest

from registry.errors import InvalidValue
from registry.values import (MAX_VM_ID, Contents, Priority, Vm, clean_name, parse_pool_id,
                             parse_priority, parse_uuid, parse_vm_id, text_of)

UUID = '0A0b0c0D-1111-2222-3333-44444444ABCD'


def test_uuid_in_any_case_is_given_in_lower_case():
    assert parse_uuid(UUID) == UUID.lower()


@pytest.mark.parametrize('text', [
    pytest.param('', id='empty'),
    pytest.param(UUID + '\n', id='newline-behind'),
    pytest.param(UUID[:-1], id='one-digit-short'),
    pytest.param(UUID.replace('-', ''), id='no-dashes'),
    pytest.param(UUID[:-1] + '١', id='digit-of-another-script'),
    pytest.param('x' * 1000000, id='huge'),
    pytest.param(None, id='nothing'),
    pytest.param(UUID.encode(), id='bytes'),
])
def test_what_is_not_a_uuid_is_refused(text):
    with pytest.raises(InvalidValue, match='^vm_uuid: .*allowed: ') as caught:
        parse_uuid(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize('value, number', [
    pytest.param('1', 1, id='smallest'),
    pytest.param(17, 17, id='number'),
    pytest.param(str(MAX_VM_ID), MAX_VM_ID, id='largest'),
    pytest.param('007', 7, id='leading-zeros'),
])
def test_vm_id_in_range_is_accepted(value, number):
    assert parse_vm_id(value) == number


@pytest.mark.parametrize('value', [
    pytest.param('0', id='zero'),
    pytest.param('-5', id='negative'),
    pytest.param('abc', id='word'),
    pytest.param('1 ', id='space-behind'),
    pytest.param('1_0', id='underscore'),
    pytest.param('٣', id='digit-of-another-script'),
    pytest.param(MAX_VM_ID + 1, id='too-large'),
    pytest.param('9' * 5000, id='too-long'),
    pytest.param(True, id='truth'),
    pytest.param(1.0, id='fraction'),
    pytest.param(None, id='nothing'),
])
def test_what_is_not_a_vm_id_is_refused(value):
    with pytest.raises(InvalidValue, match='^vm_id: .*from 1 to 2147483646'):
        parse_vm_id(value)


@pytest.mark.parametrize('parse, value, allowed', [
    pytest.param(parse_pool_id, 'C', 'A, B', id='pool-that-is-none'),
    pytest.param(parse_pool_id, 'a', 'A, B', id='pool-in-lower-case'),
    pytest.param(parse_pool_id, 'AB', 'A, B', id='two-pools'),
    pytest.param(parse_priority, 'urgent', 'low, medium, high', id='priority-that-is-none'),
    pytest.param(parse_priority, '2', 'low, medium, high', id='priority-as-number'),
])
def test_refusal_names_the_allowed_values(parse, value, allowed):
    with pytest.raises(InvalidValue, match=f'{value}.*allowed: {allowed}'):
        parse(value)


def test_priority_words_and_values_go_both_ways():
    assert [parse_priority(priority.word) for priority in Priority] == [0, 1, 2]


@pytest.mark.parametrize('name, cleaned', [
    pytest.param(None, None, id='none'),
    pytest.param('A,vm_id=1 Pool: B', 'A,vm_id=1 Pool: B', id='looks-like-properties'),
    pytest.param('a\0b', 'a\ufffdb', id='nul'),
    pytest.param('a\nb', 'a\nb', id='newline-is-kept'),
    pytest.param('\ud800', '?', id='lone-surrogate'),
    pytest.param('é' * 200, 'é' * 127, id='cut-between-characters'),
])
def test_names_are_stored_clean_and_bounded(name, cleaned):
    assert clean_name(name) == cleaned
    assert clean_name(cleaned) == cleaned


@pytest.mark.parametrize('value, text', [
    pytest.param(b'\xff\x00x', '\ufffd\ufffdx', id='blob'),
    pytest.param(12, '12', id='number'),
    pytest.param(None, None, id='null'),
])
def test_column_of_any_type_becomes_text(value, text):
    assert text_of(value) == text


def test_contents_find_a_vm_by_its_uuid():
    vm = Vm(1, UUID.lower(), None, 'A', Priority.LOW)
    contents = Contents(0, (), (vm,))
    assert contents.by_uuid[UUID.lower()] is vm
    assert not contents.accepted
    assert contents._replace(version=1).accepted
