"""Which numbers a VM has, and how a number comes to the VM whose row has it (P6, P10)."""

import itertools

import pytest

from tests.unit.watcher.builders import HOST, OTHER_HOST, POLICY, build_vm
from registry.values import MAX_VM_ID
from watcher.vm.numbers import (PARKED_ABOVE, Owner, Run, find_holders, find_interim, follow_holders,
                                find_numbers, find_parking, find_spans, find_taken,
                                is_blocked_by_others, is_parked, steps_aside)
from watcher.vm.record import PowerState

OLD = '-device vgpu-stub,pool_id=A,priority=medium,vm_id=1'
NEW = '-device vgpu-stub,pool_id=A,priority=medium,vm_id=7'
THIRD = '-device vgpu-stub,pool_id=A,priority=medium,vm_id=3'
VERIFIED = Run((HOST, 7), True, OLD, OLD, OLD)
OPEN = Run((HOST, 7), False, None, THIRD, OLD)
RUNNING = build_vm(power_state=PowerState.RUNNING, domid=7, resident_on=HOST)
REBOOTED = RUNNING._replace(domid=8)
SUSPENDED = build_vm(power_state=PowerState.SUSPENDED)


@pytest.mark.parametrize('vm, run, staged, unproven, spans', [
    pytest.param(build_vm(), VERIFIED, OLD, (), {NEW}, id='at-rest-what-the-record-carries'),
    pytest.param(build_vm(operation='start'), None, None, (OLD, NEW), {OLD, NEW},
                 id='a-start-may-take-what-stood-before-our-write'),
    pytest.param(build_vm(resident_on=HOST), None, OLD, (), {OLD, NEW},
                 id='halted-on-a-host-may-run'),
    pytest.param(RUNNING, VERIFIED, THIRD, (), {OLD}, id='what-the-receipt-found'),
    pytest.param(RUNNING, VERIFIED._replace(found=None), OLD, (), {None},
                 id='nothing-when-the-receipt-found-nothing'),
    pytest.param(RUNNING, OPEN, None, (), {OLD, NEW, THIRD},
                 id='without-a-verdict-all-that-it-may-be'),
    pytest.param(RUNNING, OPEN._replace(carried=NEW, desired=NEW), OLD, (), {OLD, NEW},
                 id='also-what-was-staged-last'),
    pytest.param(RUNNING, None, None, (), {NEW}, id='no-receipt'),
    pytest.param(REBOOTED, VERIFIED, None, (), {OLD, NEW}, id='a-domain-not-looked-at-yet'),
    pytest.param(RUNNING._replace(resident_on=OTHER_HOST), VERIFIED, None, (), {OLD, NEW},
                 id='on-its-way-to-another-host'),
    pytest.param(SUSPENDED, VERIFIED, None, (), {OLD, NEW}, id='suspended'),
    pytest.param(SUSPENDED, None, '', (), {None, NEW}, id='nothing-was-staged')])
def test_vm_has_what_runs_and_not_what_its_record_says(vm, run, staged, unproven, spans):
    assert find_spans(vm, NEW, run, staged, frozenset(unproven)) == spans


def test_numbers_are_read_from_spans():
    assert find_numbers([OLD, None, NEW, '-device vgpu-stub,vm_id=x'], POLICY) == {1, 7}


def test_consumer_that_left_arguments_out_is_no_pending_change():
    run = VERIFIED._replace(found=None, is_consumed=False)
    assert find_taken(RUNNING, run, frozenset([None])) == {OLD}
    assert find_taken(REBOOTED, run, frozenset([NEW])) == {NEW}
    assert find_taken(RUNNING, VERIFIED, frozenset([OLD])) == {OLD}


@pytest.mark.parametrize('blocks, is_blocked', [
    pytest.param({}, False, id='not-blocked'),
    pytest.param({'start': 'replica: do not start'}, True, id='by-others'),
    pytest.param({'start_on': 'replica: do not start'}, False, id='only-on-a-host'),
    pytest.param({'start': 'vgpu-watcher: gone in a moment'}, False, id='by-an-older-version')])
def test_copy_that_others_block_is_known(blocks, is_blocked):
    assert is_blocked_by_others(build_vm(start_blocks=tuple(blocks.items()))) == is_blocked


# Circles.

class Pool:
    """Rows and VMs by letters, and the same questions that number_claims.py answers."""

    def __init__(self, wanted, had, resting=None):
        self.wanted = wanted
        self.had = {name: set(numbers) for name, numbers in had.items()}
        self.resting = set(had) if resting is None else set(resting)

    def owner(self, name):
        return Owner(name, self.wanted.get(name), frozenset(self.had[name]), name in self.resting)

    def holders(self, owner):
        return find_holders(owner, map(self.owner, self.had))

    def step(self, name):
        """One write at a VM that rests, as the decision says; whether there was any."""
        owner = self.owner(name)
        if name not in self.resting or owner.wanted in (None,) or owner.had == {owner.wanted}:
            return False
        if not self.holders(owner):
            self.had[name] = {owner.wanted}
        elif steps_aside(follow_holders(owner, self.holders)[1]) == name:
            taken = set(self.wanted.values()).union(*self.had.values())
            self.had[name] = {find_parking(taken.__contains__)}
        else:
            return False
        return True

    def check(self):
        """No two VMs have one number, and none is without."""
        all_had = [number for numbers in self.had.values() for number in numbers]
        assert len(all_had) == len(set(all_had)) and all(self.had.values()), self.had


ROTATIONS = [
    pytest.param({'a': 2, 'b': 1}, {'a': [1], 'b': [2]}, id='swapped'),
    pytest.param({'a': 2, 'b': 3, 'c': 1}, {'a': [1], 'b': [2], 'c': [3]}, id='rotated'),
    pytest.param({'a': 2, 'b': 3, 'c': 4, 'd': 1}, {'a': [1], 'b': [2], 'c': [3], 'd': [4]},
                 id='rotated-by-four'),
    pytest.param({'a': 2, 'b': 1, 'c': 4, 'd': 3}, {'a': [1], 'b': [2], 'c': [3], 'd': [4]},
                 id='swapped-twice'),
    pytest.param({'a': 2, 'b': 3, 'c': 9}, {'a': [1], 'b': [2], 'c': [3]}, id='moved-up')]


@pytest.mark.parametrize('wanted, had', ROTATIONS)
def test_rotated_numbers_settle_in_any_order_of_writes_without_a_double(wanted, had):
    for order in itertools.permutations(wanted):
        pool = Pool(wanted, had)
        for _round in range(20):
            for name in order:
                pool.step(name)
                pool.check()
        assert {name: {number} for name, number in wanted.items()} == pool.had


@pytest.mark.parametrize('wanted, had', ROTATIONS)
def test_rotated_numbers_settle_whoever_starts_and_rests_in_between(wanted, had):
    names = sorted(wanted)
    for script in itertools.product(names, repeat=4):
        pool = Pool(wanted, had)
        for name in script:
            pool.resting ^= {name}   # it starts with what it carries, or comes to rest
            for other in names:
                pool.step(other)
                pool.check()
        pool.resting = set(names)
        for _round in range(10):
            for name in names:
                pool.step(name)
                pool.check()
        assert {name: {number} for name, number in wanted.items()} == pool.had


def test_circle_with_a_vm_that_runs_waits():
    pool = Pool({'a': 2, 'b': 1}, {'a': [1], 'b': [2]}, resting='a')
    assert not pool.step('a') and not pool.step('b')


@pytest.mark.parametrize('wanted, had', [
    pytest.param({'a': 2, 'b': 2}, {'a': [1], 'b': [2]}, id='the-holder-stays'),
    pytest.param({'a': 2}, {'a': [1], 'b': [2]}, id='the-holder-has-no-row'),
    pytest.param({'a': 2, 'b': 1}, {'a': [1], 'b': [2], 'c': [1]}, id='two-have-one-number'),
    pytest.param({'a': 2, 'b': 3, 'c': 2}, {'a': [1], 'b': [2], 'c': [3]}, id='beside-a-circle')])
def test_what_is_no_circle_waits(wanted, had):
    pool = Pool(wanted, had)
    _path, circle = follow_holders(pool.owner('a'), pool.holders)
    assert 'a' not in [owner.vm_uuid for owner in circle]
    assert not pool.step('a')


def test_parking_is_the_largest_number_that_is_free():
    taken = {MAX_VM_ID, MAX_VM_ID - 1}
    assert find_parking(taken.__contains__) == MAX_VM_ID - 2
    assert is_parked(MAX_VM_ID - 2) and not is_parked(PARKED_ABOVE)
    assert find_parking(lambda _number: True) is None


@pytest.mark.parametrize('staged, carried, taken, interim', [
    pytest.param(1, {1}, (), 1, id='its-own-old-one'),
    pytest.param(1, set(), (), 1, id='also-when-somebody-took-it-away'),
    pytest.param(1, {9}, (), 1, id='and-not-what-somebody-put-there'),
    pytest.param(1, {1}, (1,), None, id='that-another-has-by-now'),
    pytest.param(1, {MAX_VM_ID}, (), MAX_VM_ID, id='the-parked-one'),
    pytest.param(1, {MAX_VM_ID}, (MAX_VM_ID,), 1, id='a-parked-one-that-another-has'),
    pytest.param(None, {9}, (), None, id='none-was-ever-staged')])
def test_vm_keeps_its_old_number_until_its_new_one_is_free(staged, carried, taken, interim):
    assert find_interim(staged, frozenset(carried),
                        lambda number: number not in taken) == interim
