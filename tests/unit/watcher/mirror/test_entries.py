"""The mirror's entries: what goes out comes back, and nothing else passes."""

import json

import pytest

from registry.values import Pool, Priority, Vm
from tests.unit.watcher.builders import UUID, uuid_of
from watcher.mirror.entries import (MAX_GENERATION, MAX_PART_BYTES, MAX_POOL_BYTES, MAX_VM_BYTES,
                                    Generation, MirroredRow, MirrorInvalid, PoolEntry, VmEntry,
                                    digest_contents, parse_generation, parse_pool_entry,
                                    parse_vm_entry, render_pool_entry, render_vm_entry)
from watcher.mirror.slots import Found, find_current
from watcher.vm.mirror_keys import SLOTS

RESOURCE_POOL = uuid_of(900)
GENERATION = Generation(12, '1a2b3c4d')
ENTRY = VmEntry(UUID, RESOURCE_POOL, GENERATION, 'A', Priority.HIGH, 10)
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Büro "B"\n', 'für später', False))
WHOLE = PoolEntry(RESOURCE_POOL, GENERATION, 1, '0' * 32, 17, POOLS,
                  (MirroredRow(uuid_of(3), 3, 'B', Priority.LOW),), (uuid_of(4),), ('10-00000001', '11-00000002'))


def render_by_hand(**changes):
    fields = json.loads(render_vm_entry(ENTRY))
    del fields['sum']
    fields.update(changes)
    return json.dumps(fields)


def test_vm_entry_comes_back_as_it_went_out():
    assert parse_vm_entry(render_vm_entry(ENTRY)) == ENTRY


def test_longest_vm_entry_is_within_its_bound_and_printable():
    entry = ENTRY._replace(generation=Generation(MAX_GENERATION, 'ffffffff'), vm_id=2147483646,
                           priority=Priority.MEDIUM)
    text = render_vm_entry(entry)
    assert len(text) < MAX_VM_BYTES / 2 and all(' ' <= char <= '~' for char in text)


def test_entry_without_a_checksum_is_one_made_by_hand():
    assert parse_vm_entry(render_by_hand(pool='B')) == ENTRY._replace(pool_id='B', is_ours=False)


@pytest.mark.parametrize('text', [
    pytest.param('', id='empty'), pytest.param('{', id='torn'), pytest.param('[]', id='list'),
    pytest.param('[' * 500, id='deep'), pytest.param('{}', id='no-fields'),
    pytest.param(render_by_hand() + ' ' * 512, id='too-long'),
    pytest.param(render_by_hand(format=2), id='newer-format'),
    pytest.param(render_by_hand(format=True), id='format-true'),
    pytest.param(render_by_hand(format=1.0), id='format-float'),
    pytest.param(render_by_hand(vm='x'), id='no-uuid'),
    pytest.param(render_by_hand(vm=None), id='uuid-null'),
    pytest.param(render_by_hand(**{'in': 7}), id='no-resource-pool'),
    pytest.param(render_by_hand(generation='12'), id='no-generation'),
    pytest.param(render_by_hand(generation='0-00000000'), id='generation-zero'),
    pytest.param(render_by_hand(generation='1000000001-00000000'), id='generation-huge'),
    pytest.param(render_by_hand(pool='C'), id='no-such-pool'),
    pytest.param(render_by_hand(pool=['A']), id='pool-list'),
    pytest.param(render_by_hand(priority='urgent'), id='no-such-priority'),
    pytest.param(render_by_hand(priority=2), id='priority-number'),
    pytest.param(render_by_hand(vm_id=0), id='number-too-small'),
    pytest.param(render_by_hand(vm_id=2147483647), id='number-too-large'),
    pytest.param(render_by_hand(vm_id='10'), id='number-as-text'),
    pytest.param(render_by_hand(vm_id=True), id='number-true'),
    pytest.param(render_by_hand(more=1), id='one-field-more'),
    pytest.param(render_by_hand(sum='00000000'), id='wrong-sum'),
    pytest.param(render_by_hand(sum=None), id='sum-null'),
    pytest.param(render_by_hand()[:-1] + ',"vm_id":11}', id='field-twice')])
def test_anything_else_is_no_entry(text):
    with pytest.raises(MirrorInvalid):
        parse_vm_entry(text)


@pytest.mark.parametrize('position', range(0, len(render_vm_entry(ENTRY)), 7))
def test_damage_anywhere_is_noticed(position):
    text = render_vm_entry(ENTRY)
    damaged = text[:position] + ('0' if text[position] != '0' else '1') + text[position + 1:]
    with pytest.raises(MirrorInvalid):
        parse_vm_entry(damaged)


def test_pool_entry_comes_back_as_it_went_out():
    text, parts = render_pool_entry(WHOLE)
    assert parse_pool_entry(text) == WHOLE and parts == ()
    assert all(' ' <= char <= '~' for char in text)


@pytest.mark.parametrize('changes', [
    {'pools': []}, {'pools': [['A', 'x', None, 1], ['A', 'y', None, 1]]},
    {'pools': [['A', 1, None, 1], ['B', 'y', None, 1]]}, {'absent': [['x', 1, 'A', 0]]},
    {'absent': [[UUID, 1, 'A', 9]]}, {'absent': 'x'}, {'gone': ['x']}, {'gone': None},
    {'digest': 'x'}, {'vms': -1}, {'line': ['x']}, {'line': None}, {'largest': True}, {'largest': 2147483647}, {'vms': 10 ** 6 + 1}, {'generation': 'x'}, {'in': 'x'}],
    ids=lambda changes: '-'.join(changes))
def test_pool_entry_with_an_odd_field_is_none(changes):
    fields = json.loads(render_pool_entry(WHOLE)[0])
    fields.update(changes)
    rest = {name: value for name, value in fields.items() if name != 'sum'}
    fields['sum'] = json.loads(render_with_sum(rest))['sum']
    with pytest.raises(MirrorInvalid):
        parse_pool_entry(json.dumps(fields))


def render_with_sum(fields):
    """As our programs make the checksum, written here once more."""
    import zlib
    text = json.dumps(fields, sort_keys=True, separators=(',', ':'))
    return json.dumps(dict(fields, sum='%08x' % (zlib.crc32(text.encode()) & 0xffffffff)))


def test_the_checksum_is_a_crc32_over_the_other_fields_in_order():
    fields = json.loads(render_pool_entry(WHOLE)[0])
    rest = {name: value for name, value in fields.items() if name != 'sum'}
    assert json.loads(render_with_sum(rest)) == fields


def build_large(absent=500, gone=500):
    """The longest names, as many generations as are named, many rows without a VM."""
    pools = tuple(Pool(letter, '\x01' * 255, '\x7f\x02' * 127) for letter in 'AB')
    line = tuple('%d-%08x' % (10 ** 8 + number, number) for number in range(100))
    return WHOLE._replace(
        pools=pools, line=line, gone=tuple(uuid_of(20000 + number) for number in range(gone)),
        absent=tuple(MirroredRow(uuid_of(number), number, 'A', Priority.LOW)
                     for number in range(1, absent + 1)))


@pytest.mark.parametrize('absent, gone', [(0, 0), (1, 1), (120, 0), (0, 300), (500, 500),
                                          (9000, 9000)])
def test_pool_entry_holds_every_row_over_as_many_keys_as_it_takes(absent, gone):
    entry = build_large(absent, gone)
    text, parts = render_pool_entry(entry)
    read = parse_pool_entry(text, parts)
    assert read._replace(line=()) == entry._replace(line=())
    assert read.line == entry.line[len(entry.line) - len(read.line):]
    assert len(text) <= MAX_POOL_BYTES and len(parts) <= 64
    assert all(len(part) <= MAX_PART_BYTES + 512 for part in parts)
    # One of 0.1 reads the entry alone, and finds by the digest whether that is all.
    assert parse_pool_entry(text) is not None


def test_part_that_is_missing_damaged_or_of_another_generation_leaves_its_rows_out():
    entry = build_large(2000, 0)
    text, parts = render_pool_entry(entry)
    other = render_pool_entry(entry._replace(generation=Generation(13, '00000000')))[1]
    for changed in (parts[:-1], parts[:-1] + ('x',), parts[:-1] + (parts[-1][:-9] + '0"}',),
                    parts[:-1] + other[-1:]):
        read = parse_pool_entry(text, changed)
        assert read.absent == entry.absent[:len(read.absent)] and len(read.absent) < 2000


def test_digest_knows_every_assignment_and_no_order_or_name():
    one, two = Vm(1, uuid_of(1), 'a', 'A', Priority.LOW), Vm(2, uuid_of(2), 'b', 'B', Priority.HIGH)
    digest = digest_contents((one, two), POOLS)
    assert digest == digest_contents((two._replace(vm_name='z'), one), reversed(POOLS))
    assert digest == digest_contents([MirroredRow(vm.vm_uuid, vm.vm_id, vm.pool_id, vm.priority)
                                      for vm in (one, two)], POOLS)
    assert digest != digest_contents((one, two._replace(vm_id=3)), POOLS)
    assert digest != digest_contents((one,), POOLS)
    assert digest != digest_contents((one, two), (POOLS[0], POOLS[1]._replace(enabled=True)))


def test_generation_is_a_number_and_chance():
    assert parse_generation('12-1a2b3c4d') == GENERATION and GENERATION.text == '12-1a2b3c4d'
    for text in ('', '12', '-1-1a2b3c4d', '012-1a2b3c4d', '12-1A2B3C4D', None, 12):
        with pytest.raises(MirrorInvalid):
            parse_generation(text)


NEWER = ENTRY._replace(generation=Generation(13, '00000000'), pool_id='B')


@pytest.mark.parametrize('slots, slot, entry, spare', [
    pytest.param({}, None, None, (), id='none'),
    pytest.param({0: ENTRY}, 0, ENTRY, (), id='one'),
    pytest.param({0: ENTRY, 1: NEWER}, 1, NEWER, (0,), id='higher-generation'),
    pytest.param({0: NEWER, 1: ENTRY}, 0, NEWER, (1,), id='higher-generation-first'),
    pytest.param({0: ENTRY, 1: 'x'}, 0, ENTRY, (1,), id='one-damaged'),
    pytest.param({0: 'x', 1: 'y'}, None, None, (0, 1), id='both-damaged'),
    pytest.param({0: ENTRY._replace(pool_id='B', is_ours=False), 1: ENTRY}, 0,
                 ENTRY._replace(pool_id='B', is_ours=False), (1,), id='by-hand')])
def test_slot_that_counts(slots, slot, entry, spare):
    texts = {SLOTS[number]: item if isinstance(item, str) else
             render_vm_entry(item) if item.is_ours else render_by_hand(pool=item.pool_id)
             for number, item in slots.items()}
    found = find_current(texts.items())
    assert found == Found(None if slot is None else SLOTS[slot], entry,
                          tuple(SLOTS[number] for number in spare), found.problem)
    assert bool(found.problem) == any(isinstance(item, str) for item in slots.values())


def test_keys_of_others_are_no_slots():
    assert find_current([('vgpu-watcher-3', 'x'), ('folder', 'y')]) == Found()
