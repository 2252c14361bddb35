"""Which is newer, what shall stand in the slots, and what can be rebuilt."""

import itertools

import pytest

from registry.values import Pool, Priority
from tests.unit.watcher.builders import UUID, build_vm, uuid_of
from watcher.mirror.comparison import (Judgement, EntryKind, collect_image, find_entry_kind,
                                       is_entry_right, judge, plan_row)
from watcher.mirror.entries import (Generation, MirroredRow, PoolEntry, VmEntry, digest_contents,
                                    parse_vm_entry, render_vm_entry)
from watcher.mirror.slots import SlotChange, find_current, plan_entry
from watcher.vm.mirror_keys import SLOTS
from watcher.vm.record import VmKind

HERE, ELSEWHERE = uuid_of(900), uuid_of(901)
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B', None, False))
AT = Generation(5, '0000000a')
BEFORE, AFTER = Generation(4, '0000000b'), Generation(6, '0000000c')


def row_of(number, **changes):
    return MirroredRow(uuid_of(number), number, 'A', Priority.MEDIUM)._replace(**changes)


def entry_of(row, generation=AT, resource_pool=HERE):
    return VmEntry(row.vm_uuid, resource_pool, generation, row.pool_id, row.priority, row.vm_id)


def vm_with(row, generation=AT, number=None, **fields):
    number = number or row.vm_id
    return build_vm(ref='OpaqueRef:%d' % number, uuid=uuid_of(number), name='vm-%d' % number,
                    mirror=((SLOTS[0], render_vm_entry(entry_of(row, generation))),))._replace(
                        **fields)


def mirror_of(*rows, **fields):
    return PoolEntry(HERE, AT, len(rows), digest_contents(rows, POOLS), 40, POOLS)._replace(
        **fields)


MIRROR = mirror_of(row_of(1))


@pytest.mark.parametrize('mirror, lineage, noted, digest, judgement', [
    pytest.param(None, (), None, 'x', Judgement.NO_MIRROR, id='no-entry'),
    pytest.param(None, (AT.text,), 'x', 'x', Judgement.NO_MIRROR, id='entry-taken-away'),
    pytest.param(MIRROR, (BEFORE.text, AT.text), 'x', 'x', Judgement.SAME, id='same'),
    pytest.param(MIRROR, (AT.text,), 'x', 'y', Judgement.EDITED, id='edited-since'),
    pytest.param(MIRROR, (AT.text,), 'x', None, Judgement.EDITED, id='registry-gone'),
    pytest.param(MIRROR, (AT.text, AFTER.text), 'x', 'x', Judgement.OLDER, id='older'),
    pytest.param(MIRROR, (), None, None, Judgement.NEWER, id='no-registry'),
    pytest.param(MIRROR, (), None, 'x', Judgement.UNDECIDED, id='no-lineage'),
    pytest.param(MIRROR, (), None, MIRROR.digest, Judgement.SAME, id='no-lineage-and-equal'),
    pytest.param(MIRROR, (BEFORE.text,), 'x', MIRROR.digest, Judgement.SAME,
                 id='another-line-and-equal'),
    pytest.param(MIRROR, (BEFORE.text,), 'x', 'x', Judgement.NEWER, id='newer'),
    pytest.param(MIRROR, (BEFORE.text, '5-000000ff'), 'x', 'x', Judgement.NEWER,
                 id='same-number-of-another-line')])
def test_which_is_newer(mirror, lineage, noted, digest, judgement):
    assert judge(mirror, lineage, noted, digest) is judgement


@pytest.mark.parametrize('led, judgement', [
    pytest.param(0, Judgement.NEWER, id='not-yet'), pytest.param(4, Judgement.NEWER, id='less-far'),
    pytest.param(5, Judgement.OLDER, id='as-far'), pytest.param(6, Judgement.OLDER, id='further')])
def test_what_was_never_seen_is_old_where_this_host_has_led_further(led, judgement):
    assert judge(MIRROR, ('7-0000000d',), 'x', 'x', led) is judgement


@pytest.mark.parametrize('slots, kind', [
    pytest.param({}, EntryKind.NONE, id='none'),
    pytest.param({0: entry_of(row_of(10))}, EntryKind.OWN, id='own'),
    pytest.param({0: entry_of(row_of(11))}, EntryKind.COPY, id='names-another-vm'),
    pytest.param({0: entry_of(row_of(11), AT, ELSEWHERE)}, EntryKind.COPY, id='and-pool'),
    pytest.param({0: entry_of(row_of(10), AT, ELSEWHERE)}, EntryKind.ARRIVED, id='arrived'),
    pytest.param({0: 'x'}, EntryKind.INVALID, id='invalid')])
def test_what_an_entry_is_to_its_vm(slots, kind):
    texts = [(SLOTS[number], item if isinstance(item, str) else render_vm_entry(item))
             for number, item in slots.items()]
    assert find_entry_kind(find_current(texts), UUID, HERE) is kind


def test_entry_without_a_checksum_is_by_hand():
    text = render_vm_entry(entry_of(row_of(10))).partition(',"sum"')[0] + '}'
    assert find_entry_kind(find_current([(SLOTS[0], text)]), UUID, HERE) is EntryKind.BY_HAND


@pytest.mark.parametrize('generation, resource_pool, row, is_right', [
    pytest.param(AT, HERE, row_of(1), True, id='as-the-row'),
    pytest.param(BEFORE, HERE, row_of(1), True, id='written-earlier'),
    pytest.param(AFTER, HERE, row_of(1), False, id='later-than-the-pool'),
    pytest.param(AT, ELSEWHERE, row_of(1), False, id='other-resource-pool'),
    pytest.param(AT, HERE, row_of(1, vm_id=2), False, id='another-number'),
    pytest.param(AT, HERE, row_of(1, pool_id='B'), False, id='another-vgpu-pool'),
    pytest.param(AT, HERE, row_of(1, priority=Priority.LOW), False, id='another-priority')])
def test_whether_an_entry_may_stay(generation, resource_pool, row, is_right):
    text = render_vm_entry(entry_of(row_of(1), generation, resource_pool))
    found = find_current([(SLOTS[1], text)])
    assert is_entry_right(found, row, HERE, AT.number) is is_right


OLD, NEW = (render_vm_entry(entry_of(row_of(1), generation)) for generation in (BEFORE, AT))


def carry_out(slots, change):
    """The states that the slots go through."""
    slots = dict(slots)
    for slot in change.before:
        del slots[slot]
        yield dict(slots)
    for key, text in change.additions:
        assert key not in slots, 'adding to a key that is taken fails'
        slots[key] = text
        yield dict(slots)
    for slot in change.after:
        del slots[slot]
        yield dict(slots)


@pytest.mark.parametrize('slots', [
    dict(zip(SLOTS, texts)) for texts in itertools.product((OLD, 'x', NEW), repeat=2)] + [
        {slot: text} for slot in SLOTS for text in (OLD, 'x')] + [{}],
    ids=lambda slots: '-'.join('%s%d' % (slot[-1], len(text)) for slot, text in slots.items()))
def test_an_entry_is_replaced_without_a_moment_without_one(slots):
    found = find_current(slots.items())
    change = plan_entry(found, NEW.replace('"pool":"A"', '"pool":"A"'), is_right=False)
    states = list(carry_out(slots, change))
    assert states[-1] == {change.slot: NEW}
    if found.entry is not None:
        for state in states:
            current = find_current(state.items()).entry
            assert current in (found.entry, parse_vm_entry(NEW))


def test_what_is_right_stays_and_what_does_not_count_goes():
    both = find_current(zip(SLOTS, (OLD, NEW)))
    assert plan_entry(both, NEW, is_right=True) == SlotChange(before=(SLOTS[0],))
    assert plan_entry(find_current([(SLOTS[1], NEW)]), NEW, is_right=True) is None
    assert plan_entry(both, None, is_right=False) == SlotChange(before=(SLOTS[0], SLOTS[1]))
    assert plan_entry(find_current([]), None, is_right=False) is None


# What a push that broke off has left beside what the pool's entry goes by, and what people do.
STRAY = {'none': None, 'invalid': 'x',
         'of-a-dead-master': render_vm_entry(entry_of(row_of(1, priority=Priority.LOW),
                                                      Generation(5, '000000dd'))),
         'by-hand': render_vm_entry(entry_of(row_of(1, vm_id=3), BEFORE)
                                    ).partition(',"sum"')[0] + '}'}


@pytest.mark.parametrize('place', [0, 1])
@pytest.mark.parametrize('stray', sorted(STRAY))
@pytest.mark.parametrize('is_changed', [True, False], ids=['changed', 'as-it-was'])
def test_what_the_pool_entry_goes_by_stays_until_there_is_another(place, stray, is_changed):
    old, row = row_of(1, pool_id='B'), row_of(1) if is_changed else row_of(1, pool_id='B')
    slots = {SLOTS[place]: render_vm_entry(entry_of(old, BEFORE))}
    if STRAY[stray] is not None:
        slots[SLOTS[1 - place]] = STRAY[stray]
    was, will_be = (mirror_of(item, generation=generation)
                    for item, generation in ((old, BEFORE), (row, AT)))
    for _ in range(4):
        change = plan_row(tuple(slots.items()), row, HERE, AT, was)
        if change is None or change.slot is None:
            break
        for slots in carry_out(slots, change):
            assert rows_in(slots, was) == [old], 'whole as it was'
    # Now the pool's entry is written, and then what it no longer goes by is taken away.
    assert rows_in(slots, will_be) == [row] and (change is None) == (len(slots) == 1)
    for slots in carry_out(slots, change) if change else ():
        assert rows_in(slots, will_be) == [row]
    assert plan_row(tuple(slots.items()), row, HERE, AT, will_be) is None


def rows_in(slots, mirror):
    """What the mirror of one VM says, when it is exactly what the pool's entry does."""
    vm = build_vm(ref='OpaqueRef:1', uuid=uuid_of(1), mirror=tuple(slots.items()))
    image = collect_image([vm], mirror).image
    assert digest_contents(image.vms, image.pools) == mirror.digest
    return [MirroredRow(item.vm_uuid, item.vm_id, item.pool_id, item.priority) for item in image.vms]


def test_wrong_entry_of_the_same_generation_is_replaced_once():
    """It could not be told from the new one, so it goes; nothing is written for ever."""
    slots = {SLOTS[0]: render_vm_entry(entry_of(row_of(1, pool_id='B')))}
    change = plan_row(tuple(slots.items()), row_of(1), HERE, AT, mirror_of(row_of(1)))
    slots = list(carry_out(slots, change))[-1]
    assert plan_row(tuple(slots.items()), row_of(1), HERE, AT, mirror_of(row_of(1))) is None


def test_half_a_swap_of_numbers_does_not_count():
    """The pool's entry is of before, so are both rows, although one VM has its new entry."""
    rows = [row_of(1), row_of(2)]
    vms = [vm_with(rows[0]), vm_with(rows[1])]
    vms[0] = vms[0]._replace(mirror=vms[0].mirror + (
        (SLOTS[1], render_vm_entry(entry_of(row_of(1, vm_id=2), AFTER))),))
    collected = collect_image(vms, mirror_of(*rows))
    assert collected.is_complete and not collected.problems
    assert [(vm.vm_uuid, vm.vm_id) for vm in collected.image.vms] == [
        (uuid_of(1), 1), (uuid_of(2), 2)]


def test_registry_comes_back_from_its_mirror():
    rows = [row_of(1), row_of(2, pool_id='B', priority=Priority.HIGH), row_of(3)]
    mirror = mirror_of(*rows, absent=(rows[2],))
    collected = collect_image([vm_with(row) for row in rows[:2]] + [build_vm()], mirror)
    assert collected.is_complete and not collected.problems
    assert [(vm.vm_uuid, vm.vm_id, vm.pool_id, vm.priority, vm.vm_name)
            for vm in collected.image.vms] == [
                (row.vm_uuid, row.vm_id, row.pool_id, row.priority, name)
                for row, name in zip(rows, ('vm-1', 'vm-2', None))]
    assert (collected.image.pools, collected.image.largest) == (POOLS, 40)


@pytest.mark.parametrize('vm', [
    pytest.param(vm_with(row_of(1), number=7), id='clone'),
    pytest.param(vm_with(row_of(7), kind=VmKind.SNAPSHOT), id='snapshot'),
    pytest.param(vm_with(row_of(7), kind=VmKind.TEMPLATE), id='template'),
    pytest.param(vm_with(row_of(7), mirror=((SLOTS[0], 'x'),)), id='damaged'),
    pytest.param(vm_with(row_of(7), mirror=((SLOTS[0], render_vm_entry(
        entry_of(row_of(7), AT, ELSEWHERE))),)), id='arrived'),
    pytest.param(vm_with(row_of(7), mirror=((SLOTS[0], render_vm_entry(
        entry_of(row_of(7))).partition(',"sum"')[0] + '}'),)), id='by-hand')])
def test_entry_that_does_not_count_adds_nothing(vm):
    collected = collect_image([vm_with(row_of(1)), vm], mirror_of(row_of(1)))
    assert collected.is_complete and len(collected.image.vms) == 1


def test_vm_whose_row_was_removed_does_not_come_back():
    """The pool entry names it from before its entry is taken away."""
    mirror = mirror_of(row_of(1), gone=(uuid_of(2),))
    collected = collect_image([vm_with(row_of(1)), vm_with(row_of(2), BEFORE)], mirror)
    assert collected.is_complete and [vm.vm_id for vm in collected.image.vms] == [1]


def test_entries_later_than_the_pools_are_shown_and_never_taken_for_all():
    """Whoever may edit a VM can write any number of them, of any generation (C2)."""
    collected = collect_image([vm_with(row_of(1, pool_id='B'), AFTER)], mirror_of(row_of(1)))
    assert not collected.is_complete and collected.image.vms[0].pool_id == 'B'


@pytest.mark.parametrize('vms', [
    pytest.param([vm_with(row_of(1))], id='one-missing'),
    pytest.param([vm_with(row_of(1)), vm_with(row_of(2, pool_id='B'), BEFORE)], id='reverted'),
    pytest.param([vm_with(row_of(1), AFTER)], id='newer-and-one-missing'),
    pytest.param([vm_with(row_of(number)) for number in (1, 2, 3)], id='one-too-many')])
def test_what_does_not_fit_the_pool_entry_is_not_complete(vms):
    collected = collect_image(vms, mirror_of(row_of(1), row_of(2)))
    assert not collected.is_complete and collected.problems


def test_of_two_rows_with_one_number_the_later_stays():
    loser, winner = vm_with(row_of(1), BEFORE), vm_with(row_of(2, vm_id=1), AT, number=2)
    for vms in ([loser, winner], [winner, loser]):
        collected = collect_image(vms, mirror_of(row_of(2, vm_id=1)))
        assert [vm.vm_uuid for vm in collected.image.vms] == [uuid_of(2)]
        assert 'vm_id 1' in collected.problems[0]


def test_absent_vm_that_is_back_with_an_old_entry_gets_what_the_pool_entry_says():
    mirror = mirror_of(row_of(1, vm_id=9), absent=(row_of(1, vm_id=9),))
    collected = collect_image([vm_with(row_of(1), BEFORE)], mirror)
    assert collected.is_complete and collected.image.vms[0].vm_id == 9
