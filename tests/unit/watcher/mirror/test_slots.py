"""Codes beside the slots: what counts with them, what 0.1 reads beside them, how they are written."""

import itertools
import json
import zlib

import pytest

from registry.values import Pool, Priority
from tests.unit.watcher.builders import uuid_of
from tests.unit.watcher.mirror.test_comparison import carry_out, row_of
from watcher.mirror import entries
from watcher.mirror.codes import NO_TRUST, Trust, derive_key
from watcher.mirror.comparison import EntryKind, find_entry_kind, plan_row
from watcher.mirror.entries import (Generation, MirroredRow, PoolEntry, VmEntry, digest_contents,
                                    parse_pool_entry, parse_vm_entry, render_pool_entry,
                                    render_vm_entry)
from watcher.mirror.slots import (Found, apply_change, attach_pool, attach_vm, find_current,
                                  plan_entry, read_mirror, read_pool_entry)
from watcher.vm.mirror_keys import CODE, MORE, SLOTS

HERE, VM, OTHER = uuid_of(900), uuid_of(10), uuid_of(11)
NEW, OLD = derive_key(b'the secret of now'), derive_key(b'the one before')
TRUST = Trust((NEW, OLD), True)
AT = Generation(12, '1a2b3c4d')
ENTRY = VmEntry(VM, HERE, AT, 'A', Priority.HIGH, 10)
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Büro', 'für später', False))
ROWS = (MirroredRow(VM, 10, 'A', Priority.HIGH), MirroredRow(OTHER, 11, 'B', Priority.LOW))
WHOLE = PoolEntry(HERE, AT, 2, digest_contents(ROWS, POOLS), 17, POOLS, ROWS[1:], (uuid_of(12),),
                  ('10-00000001', '11-00000002'))
OF_A_LATER_VERSION = '{"format":2,"sum":"%08x"}' % zlib.crc32(b'{"format":2}')
# Made by version 0.1: what it reads and writes.
VM_OF_0_1 = (
    '{"format":1,"vm":"0000000a-1111-2222-3333-44444444abcd","in":"00000384-1111-2222-3333-'
    '44444444abcd","generation":"12-1a2b3c4d","pool":"A","priority":"high","vm_id":10,'
    '"sum":"cee9fa87"}')
POOL_OF_0_1 = (
    '{"format":1,"in":"00000384-1111-2222-3333-44444444abcd","generation":"12-1a2b3c4d","vms":2,'
    '"digest":"8e56374552f73f3856ae0ffee51fd778","largest":17,"pools":[["A","Pool A",null,1],'
    '["B","B\\u00fcro","f\\u00fcr sp\\u00e4ter",0]],"absent":[["0000000b-1111-2222-3333-'
    '44444444abcd",11,"B",0]],"gone":["0000000c-1111-2222-3333-44444444abcd"],"line":'
    '["10-00000001","11-00000002"],"sum":"ae23d51c"}')


def signed(entry, key=NEW, slot=SLOTS[0], record=None):
    """The keys of one slot with an entry and its code."""
    text = render_vm_entry(entry)
    return {slot: text, slot + CODE: Trust((key,)).sign(record or entry.vm_uuid, (text,))}


def find(slots, trust=TRUST, record=VM, **fields):
    return find_current(slots.items(), trust=trust, record=record, **fields)


def read_as_0_1(slots):
    """What a host with 0.1 takes from the slots: the whole entry of the highest generation."""
    valid = []
    for slot in ('vgpu-watcher-1', 'vgpu-watcher-2'):
        try:
            fields = json.loads(slots.get(slot, ''))
        except ValueError:
            continue
        rest = {name: value for name, value in fields.items() if name != 'sum'}
        text = json.dumps(rest, sort_keys=True, separators=(',', ':'))
        if fields.get('sum') == '%08x' % (zlib.crc32(text.encode()) & 0xffffffff):
            valid.append((int(fields['generation'].split('-')[0]), slot, rest))
    return max(valid)[2] if valid else None


def test_entries_are_those_of_0_1_to_the_letter():
    assert render_vm_entry(ENTRY) == VM_OF_0_1 and parse_vm_entry(VM_OF_0_1) == ENTRY
    assert render_pool_entry(WHOLE) == (POOL_OF_0_1, ())
    assert parse_pool_entry(POOL_OF_0_1) == WHOLE
    assert attach_vm(ENTRY, TRUST)[0] == VM_OF_0_1 and attach_pool(WHOLE, TRUST)[0] == POOL_OF_0_1


def test_key_tells_nothing_of_the_secret_and_is_another_for_another():
    assert len({derive_key(b'a'), derive_key(b'b'), NEW, OLD}) == 4
    assert b'a' * 8 not in derive_key(b'a' * 8)


@pytest.mark.parametrize('slots, kind, signer', [
    pytest.param(signed(ENTRY), EntryKind.OWN, 1, id='signed'),
    pytest.param(signed(ENTRY, OLD), EntryKind.OWN, 2, id='with-the-key-before'),
    pytest.param(signed(ENTRY, derive_key(b'x')), EntryKind.FORGED, 0, id='with-an-unknown-key'),
    pytest.param({SLOTS[0]: VM_OF_0_1}, EntryKind.FORGED, 0, id='without-a-code'),
    pytest.param(dict(signed(ENTRY), **{SLOTS[0] + CODE: ''}), EntryKind.FORGED, 0, id='empty'),
    pytest.param(dict(signed(ENTRY), **{SLOTS[0] + CODE: '1-é' * 9}), EntryKind.FORGED, 0,
                 id='not-ascii'),
    pytest.param(dict(signed(ENTRY), **{SLOTS[0]: render_vm_entry(ENTRY._replace(vm_id=11))}),
                 EntryKind.FORGED, 0, id='another-content'),
    pytest.param(dict(signed(ENTRY), **{SLOTS[0]: render_vm_entry(ENTRY._replace(
        generation=Generation(13, AT.token)))}), EntryKind.FORGED, 0, id='another-generation'),
    pytest.param({SLOTS[1]: VM_OF_0_1, SLOTS[0] + CODE: signed(ENTRY)[SLOTS[0] + CODE]},
                 EntryKind.FORGED, 0, id='code-of-another-slot'),
    pytest.param(signed(ENTRY, record=OTHER), EntryKind.FORGED, 0, id='signed-for-another-vm'),
    pytest.param(signed(ENTRY._replace(vm_uuid=OTHER)), EntryKind.COPY, 0, id='moved'),
    pytest.param(signed(ENTRY._replace(resource_pool=uuid_of(901)), derive_key(b'x')),
                 EntryKind.ARRIVED, 0, id='of-another-pool')])
def test_what_counts_where_codes_are_demanded(slots, kind, signer):
    found = find(slots)
    assert (find_entry_kind(found, VM, HERE), found.signer) == (kind, signer)
    assert found.is_fresh == (signer == 1)
    # Where no valid code was ever seen all of them count as before.
    before = find(slots, Trust((NEW, OLD)))
    assert find_entry_kind(before, VM, HERE) is (
        EntryKind.OWN if kind is EntryKind.FORGED else kind)


def test_signed_entry_counts_before_a_later_one_that_is_not():
    later = ENTRY._replace(generation=Generation(10 ** 9, '0badf00d'), vm_id=2147483646)
    slots = dict(signed(ENTRY, OLD), **{SLOTS[1]: render_vm_entry(later)})
    found = find(slots)
    assert found.entry == ENTRY and found.untrusted == (later,)
    assert find(slots, Trust((NEW, OLD))).entry == later
    assert find(slots, committed=12).entry == ENTRY


@pytest.mark.parametrize('code, trust, is_too_new', [
    pytest.param('', TRUST, False, id='without-a-code'),
    pytest.param(Trust((derive_key(b'x'),)).sign(HERE, (OF_A_LATER_VERSION,)), TRUST, False,
                 id='with-an-unknown-key'),
    pytest.param(Trust((OLD,)).sign(HERE, (OF_A_LATER_VERSION,)), TRUST, True, id='signed'),
    pytest.param('', Trust((NEW, OLD)), True, id='where-nothing-was-signed')])
def test_what_a_later_version_has_written_counts_when_it_is_signed(code, trust, is_too_new):
    slots = {SLOTS[0]: OF_A_LATER_VERSION, SLOTS[0] + CODE: code}
    assert read_mirror(slots.items(), trust, HERE).is_too_new is is_too_new


def test_code_covers_all_parts_of_the_pools_entry():
    rows = tuple(MirroredRow(uuid_of(number), number, 'A', Priority.LOW) for number in range(100, 2500))
    entry = WHOLE._replace(absent=rows)
    text, attached = attach_pool(entry, TRUST)
    slots = {SLOTS[0]: text}
    slots.update((SLOTS[0] + end, part) for end, part in attached)
    assert SLOTS[0] + MORE + '1' in slots and SLOTS[0] + CODE in slots
    found = read_pool_entry(slots.items(), TRUST, HERE)
    assert found.entry == entry._replace(line=found.entry.line) and found.signer == 1
    for key in set(slots) - {SLOTS[0], SLOTS[0] + CODE}:
        for text in (None, slots[key].replace('-1111-', '-1112-', 1)):
            changed = dict(slots, **{key: text}) if text else {
                name: item for name, item in slots.items() if name != key}
            assert not read_pool_entry(changed.items(), TRUST, HERE).is_trusted
    stray = dict(slots, **{SLOTS[0] + MORE + str(len(attached)): slots[SLOTS[0] + MORE + '1']})
    assert not read_pool_entry(stray.items(), TRUST, HERE).is_trusted
    assert not read_pool_entry(slots.items(), TRUST, uuid_of(1)).is_trusted


LATER = ENTRY._replace(generation=Generation(13, '0000000c'), pool_id='B')
STATES = {
    'nothing': {}, 'signed': signed(ENTRY), 'in-the-other-slot': signed(ENTRY, slot=SLOTS[1]),
    'unsigned': {SLOTS[0]: VM_OF_0_1}, 'with-the-key-before': signed(ENTRY, OLD),
    'code-left-over': dict(signed(ENTRY), **{SLOTS[1] + CODE: '1-x'}),
    'code-alone': {SLOTS[0] + CODE: '1-x'},
    'forged-beside': dict(signed(ENTRY), **{SLOTS[1]: render_vm_entry(
        ENTRY._replace(generation=Generation(99, '0badf00d')))}),
    'garbage': {SLOTS[0]: 'x', SLOTS[1]: 'y', SLOTS[0] + CODE: 'z'}}


@pytest.mark.parametrize('name', sorted(STATES))
@pytest.mark.parametrize('wanted', [ENTRY, LATER], ids=['the-same', 'another'])
def test_entry_is_replaced_with_its_code_and_one_counts_at_every_moment(name, wanted):
    slots = dict(STATES[name])
    text, attached = attach_vm(wanted, TRUST)
    found = find(slots)
    change = plan_entry(found, text, is_right=False, attached=attached)
    states = list(carry_out(slots, change))
    assert states[-1] == signed(wanted, slot=change.slot)
    assert states[-1] == dict(apply_change(tuple(slots.items()), change))
    assert len(states) == change.calls
    was_trusted = found.entry == ENTRY and found.is_trusted
    for state in states:
        assert find(state).entry in (ENTRY, wanted) or not was_trusted
        # Nobody reads a code that belongs to another entry.
        assert not was_trusted or find(state).is_trusted
        assert read_as_0_1(state) is not None or read_as_0_1(slots) is None


@pytest.mark.parametrize('name', sorted(STATES))
def test_nothing_of_ours_stays_where_no_entry_belongs(name):
    change = plan_entry(find(STATES[name]), None, is_right=False)
    left = list(carry_out(STATES[name], change))[-1] if change else STATES[name]
    assert left == {}


@pytest.mark.parametrize('trust, is_right', [
    (TRUST, True), (Trust((OLD, NEW), True), False), (Trust((derive_key(b'x'),)), False),
    (Trust(), True)])
def test_row_is_signed_anew_when_the_key_of_now_is_another(trust, is_right):
    slots = tuple(signed(ENTRY).items())
    change = plan_row(slots, ROWS[0], HERE, AT, None, trust)
    assert (change is None) == is_right
    if change is not None:
        after = apply_change(slots, change)
        assert find_current(after, trust=trust, record=VM).is_fresh
        assert find_current(after, trust=trust, record=VM).entry == ENTRY


def test_whatever_stands_in_the_keys_is_read_or_left():
    texts = ['', 'x', VM_OF_0_1, POOL_OF_0_1, '1-' + '0' * 64]
    keys = [SLOTS[0], SLOTS[0] + CODE, SLOTS[0] + MORE + '1', SLOTS[1], SLOTS[1] + MORE + '2']
    for chosen in itertools.product([None] + texts, repeat=len(keys)):
        slots = {key: text for key, text in zip(keys, chosen) if text is not None}
        for parse in (parse_vm_entry, parse_pool_entry):
            found = find_current(slots.items(), parse, None, TRUST, VM)
            assert isinstance(found, Found)
            assert set(found.spare) | set(found.attached) | {found.slot} >= set(slots)


def test_what_stands_beside_an_entry_that_does_not_count_is_read_for_people_only(mocker):
    """It can have two megabytes, and whoever may write there can change it all the time (P28)."""
    rows = tuple(row_of(number) for number in range(1, 2001))
    text, attached = attach_pool(WHOLE._replace(absent=rows), NO_TRUST)
    slots = dict({SLOTS[0]: text}, **{SLOTS[0] + end: part for end, part in attached})
    parse_part = mocker.spy(entries, '_parse_part')
    entry, = read_pool_entry(slots.items(), TRUST, HERE).untrusted
    assert entry.generation == AT and not parse_part.called
    entry, = read_pool_entry(slots.items(), TRUST, HERE, is_whole=True).untrusted
    assert entry.absent == rows and parse_part.call_count == len(attached) > 1
    assert read_pool_entry(slots.items(), NO_TRUST, HERE).entry.absent == rows


def test_valid_code_of_an_earlier_entry_shows_that_codes_are_demanded():
    """A host that has not been in this pool: a later entry that nobody has signed is no mirror."""
    text, attached = attach_pool(WHOLE, TRUST)
    forged, _none = attach_pool(WHOLE._replace(generation=Generation(13, '0badf00d')), NO_TRUST)
    slots = dict({SLOTS[0]: text, SLOTS[1]: forged},
                 **{SLOTS[0] + end: part for end, part in attached})
    reading = read_mirror(slots.items(), Trust((NEW,)), HERE)
    assert (reading.mirror, reading.is_signed) == (WHOLE, True)
    assert reading.rival is not None and reading.rival.generation.number == 13
