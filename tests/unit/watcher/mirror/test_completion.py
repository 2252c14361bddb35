"""A mirror that is not whole is completed where the digest proves it, and nowhere else."""

import itertools
import random
from typing import Any, Dict

import pytest

from tests.unit.watcher.mirror.test_comparison import mirror_of, row_of, vm_with
from watcher.mirror import completion
from watcher.mirror.comparison import collect_image
from watcher.mirror.completion import prove

TRUE = [row_of(number) for number in range(1, 6)]
MIRROR = mirror_of(*TRUE)


def rows(*replaced, leave=(), number=5):
    """The true rows with others in place of some, and without some."""
    found = {row.vm_uuid: row for row in TRUE[:number]}
    found.update((row.vm_uuid, row) for row in replaced)
    return {uuid: row for uuid, row in found.items() if row.vm_id not in leave}


OLD_2, OLD_3 = row_of(2, pool_id='B'), row_of(3, pool_id='B')


@pytest.mark.parametrize('entries, known', [
    pytest.param(rows(OLD_2), rows(OLD_3), id='one-reverted-and-one-changed-since'),
    pytest.param(rows(OLD_2, OLD_3), rows(), id='two-reverted'),
    pytest.param(rows(leave=(4,)), rows(OLD_2), id='entry-taken-away'),
    pytest.param(rows(leave=(2, 4)), rows(OLD_3, row_of(9)), id='two-taken-away-one-removed-since'),
    pytest.param(rows(row_of(9)), rows(), id='one-too-many'),
    pytest.param(rows(row_of(2, vm_id=3), row_of(3, vm_id=2)), rows(), id='a-swap-reverted'),
    pytest.param(rows(), {}, id='nothing-to-prove')])
def test_what_has_the_digest_is_taken(entries, known):
    assert prove(entries, known, MIRROR) == TRUE


@pytest.mark.parametrize('entries, known', [
    pytest.param(rows(OLD_2), rows(OLD_2), id='both-wrong'),
    pytest.param(rows(leave=(4,)), rows(leave=(4,)), id='in-neither'),
    pytest.param(rows(leave=(4,)), rows(row_of(4, pool_id='B')), id='known-of-before-a-change'),
    pytest.param({}, {}, id='nothing')])
def test_nothing_else_is(entries, known):
    assert prove(entries, known, MIRROR) is None


def test_no_search_takes_long(mocker):
    """The loop is held up by it: however much differs, so many rows are put through the digest."""
    digest = mocker.spy(completion, 'digest_contents')
    many = [row_of(number) for number in range(1, 1001)]
    entries = {row.vm_uuid: row._replace(pool_id='B') for row in many}
    known = {row.vm_uuid: row._replace(vm_id=row.vm_id + 5000) for row in many}
    assert prove(entries, known, mirror_of(*many)) is None
    assert 0 < sum(len(call[0][0]) for call in digest.call_args_list) <= completion._MOST_ROWS


class Walked(Dict[str, Any]):
    """Rows that count how often all of them are gone through."""

    walks = 0

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()

    def keys(self) -> Any:
        self.walks += 1
        return super().keys()

    def values(self) -> Any:
        self.walks += 1
        return super().values()


def test_guesses_that_double_a_number_cost_no_more_the_more_rows_there_are():
    """All that is known of some VMs is one number: no choice of them can be right."""
    entries = Walked((row.vm_uuid, row) for row in map(row_of, range(1, 1001)))
    known = {uuid: row._replace(vm_id=1000) if row.vm_id < 300 else row
             for uuid, row in entries.items()}
    doubtful = sorted(uuid for uuid, row in known.items() if row != entries[uuid])
    assert list(completion._guess(entries, known, doubtful, 1001)) == []
    assert len(doubtful) == 299 and list(completion._guess(entries, known, doubtful, 1000)) == [
        sorted(dict.values(entries))]
    # Once for each call, and once for the guess that has each number once: the entries as they are.
    assert entries.walks <= 6


@pytest.mark.parametrize('seed', range(5))
def test_each_guess_has_each_number_once_and_none_of_them_is_left_out(seed):
    chance = random.Random(seed)
    for _ in range(200):
        entries, known = ({row.vm_uuid: row._replace(vm_id=chance.randint(1, 5))
                           for row in TRUE if chance.random() < 0.7} for _ in range(2))
        count = chance.randint(0, 5)
        doubtful = sorted(uuid for uuid in set(entries) | set(known)
                          if entries.get(uuid) != known.get(uuid))
        wanted = []
        for size in range(len(doubtful) + 1):
            for chosen in itertools.combinations(doubtful, size):
                rows = dict(entries)
                for uuid in chosen:
                    rows.pop(uuid, None)
                    rows.update({uuid: known[uuid]} if uuid in known else {})
                if len(rows) == count == len({row.vm_id for row in rows.values()}):
                    wanted.append(sorted(rows.values()))
        assert list(completion._guess(entries, known, doubtful, count)) == wanted


def test_a_mirror_is_completed_from_the_registry_and_says_of_which_vm():
    vms = [vm_with(row) for row in (TRUE[0], OLD_2) + tuple(TRUE[2:])]
    collected = collect_image(vms, MIRROR, rows(OLD_3))
    assert collected.is_complete and [vm.pool_id for vm in collected.image.vms] == ['A'] * 5
    assert len(collected.problems) == 1 and OLD_2.vm_uuid in collected.problems[0]


def test_what_cannot_be_completed_names_who_is_missing():
    vms = [vm_with(row) for row in TRUE[:3]]
    collected = collect_image(vms, MIRROR, rows(row_of(4, pool_id='B')))
    assert not collected.is_complete
    assert [TRUE[3].vm_uuid in problem for problem in collected.problems].count(True) == 1
