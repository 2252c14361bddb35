"""The master's host dies at any write of any edit: nothing is lost or doubled, no boot is wrong.

The host goes with its disk: registry and journal of the dead master are of no use to the next
one, which has what it followed, and XAPI's database in the state of its own copy. A bounded part
runs here; SWEEP=all tries every write of every edit with every copy (`make assurance`).
"""

import json
import os
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from tests.integration.pool.dying import COPIES, DAEMONS, EDITS, MOST_WRITES, Round

IS_WHOLE = os.environ.get('SWEEP') == 'all'
# Where a test leaves word of what it did, one JSON document a line.
FIGURES = os.environ.get('SWEEP_FIGURES')

# The writes at which most depends on the next one: before and after a VM's arguments, between two
# entries, before and after the pool's entry.
SOME = [
    ('register', 'newest', 'followed', 1), ('import', 'newest', 'asleep', 5),
    ('import', 'before', 'wiped', 4), ('change', 'newest', 'followed', 3),
    ('change', 'before', 'followed', 7), ('change', 'older', 'followed', 3),
    ('remove', 'before', 'followed', 1), ('remove', 'newest', 'wiped', 2),
    ('swap', 'newest', 'followed', 8), ('swap', 'newest', 'asleep', 10),
    ('swap', 'newest', 'wiped', 9), ('move', 'newest', 'followed', 3),
    ('disable', 'newest', 'followed', 1), ('disable', 'older', 'followed', 3)]


def list_all() -> Iterator[Tuple[str, str, str, int]]:
    """Every edit, copy and daemon; an older copy means another thing only where one followed."""
    for edit in sorted(EDITS):
        for copy in COPIES:
            for daemon in DAEMONS if copy != 'older' else DAEMONS[:1]:
                yield edit, copy, daemon, -1


@pytest.mark.parametrize('edit, copy, daemon, number', list(list_all()) if IS_WHOLE else SOME)
def test_at_a_write_of_an_edit(build_pool: Any, edit: str, copy: str, daemon: str,
                               number: int) -> None:
    wrong: List[str] = []
    deaths = 0
    for point in range(MOST_WRITES) if number < 0 else (number,):
        try:
            has_struck = die(build_pool, edit, copy, daemon, point)
        except AssertionError as error:
            wrong.append('write %d: %s' % (point, error))
            continue
        if number < 0 and not has_struck:
            break
        assert has_struck, 'the edit has fewer writes than it had'
        deaths += 1
    if FIGURES:
        with open(FIGURES, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps({'deaths': deaths, 'wrong': len(wrong)}) + '\n')
    assert not wrong, '\n'.join(wrong)
    assert deaths < MOST_WRITES


def die(build_pool: Callable[..., Any], edit: str, copy: str, daemon: str, number: int) -> bool:
    """One round in a pool of its own; False when the edit has no such write."""
    pool = build_pool(hosts=2).start()
    try:
        one = Round(pool, edit, number)
        one.prepare(copy, daemon)
        if not one.run(number, copy):
            return False
        one.fail_over(daemon)
        one.settle(daemon)
        one.judge()
        one.bring_back()
        one.judge()
        return True
    finally:
        pool.close()
