"""Every order of steps in small resource pools, breadth-first, each state once.

    python -m tests.verification.model_checker.pool_model [--deeper N] [--json] [WORLD ...]

Exit 0 when no invariant was broken; otherwise the shortest way there is printed, and it is 1. From
each state the pool is also left alone until nobody has anything to do: then all must agree.
"""

import argparse
import json
import sys
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from tests.verification.model_checker.lines import hear
from tests.verification.model_checker.pool_daemon import in_model, rows_in_mirror
from tests.verification.model_checker.pool_steps import Step, list_disturbances, list_undisturbed
from tests.verification.model_checker.pool_world import (RESOURCE_POOL, Pool, build_pool,
                                                         generation_in, mirror_rows, uuid_of)
from watcher.mirror.comparison import EntryKind, find_entry_kind, is_entry_right
from watcher.mirror.entries import parse_pool_entry
from watcher.mirror.slots import find_current

# As long as undisturbed work may take, in steps.
_LONGEST_CHAIN = 300
_TWO = ((1, 1, 1), (2, 2, 0))


class Seen(NamedTuple):
    """What an exploration has seen; `path` is the shortest way to what is wrong."""
    states: int = 0
    schedules: int = 0
    chains: int = 0
    """States from which the pool was left alone until the end."""
    operator: int = 0
    """Of them: ends that wait for `registry rebuild`, because the mirror is newer and not whole."""
    depth: int = 0
    problem: str = ''
    path: Tuple[str, ...] = ()
    seconds: float = 0.0


_Path = Optional[Tuple[object, str]]


class _Exploration:
    """The states seen, and which of them are known to end well."""

    def __init__(self) -> None:
        self.seen: Dict[Pool, None] = {}
        self.ends_well: Dict[Pool, bool] = {}
        """Whether it ends in agreement, or waits for an operator."""
        self.schedules = self.depth = 0
        self.problem, self.path = '', None  # type: str, _Path

    def run(self, pool: Pool, depth: int) -> None:
        """Level by level, to a depth."""
        level: List[Tuple[Pool, _Path]] = [(pool, None)]
        self.seen[pool] = None
        for self.depth in range(1, depth + 1):
            deeper: List[Tuple[Pool, _Path]] = []
            for state, path in level:
                if not self._expand(state, path, deeper):
                    return
            level = deeper
        for state, path in level:
            if not self._leave_alone(state, path):
                return

    def _expand(self, state: Pool, path: _Path, deeper: List[Tuple[Pool, _Path]]) -> bool:
        undisturbed = list_undisturbed(state)
        for name, take in undisturbed + list_disturbances(state):
            after = take(state)
            self.schedules += 1
            if after in self.seen:
                continue
            self.seen[after] = None
            if after.problem:
                self.problem, self.path = after.problem, (path, name)
                return False
            deeper.append((after, (path, name)))
        return self._leave_alone(state, path, undisturbed)

    def _leave_alone(self, state: Pool, path: _Path,
                     steps: Optional[List[Step]] = None) -> bool:
        walked = []
        for _ in range(_LONGEST_CHAIN):
            if state in self.ends_well:
                break
            walked.append(state)
            steps = list_undisturbed(state) if steps is None else steps
            if not steps:
                self.problem, is_good = find_unfinished(state)
                self.ends_well[state] = is_good
                break
            name, take = steps[0]
            state, steps, path = take(state), None, (path, name)
            self.problem = state.problem
            if self.problem:
                break
        else:
            self.problem = 'left alone it never comes to an end'
        if self.problem:
            self.path = path
            return False
        for item in walked:
            self.ends_well[item] = self.ends_well[state]
        return True


def explore(pool: Pool, depth: int) -> Seen:
    """Take every step in every state, up to a depth."""
    began = time.monotonic()
    exploration = _Exploration()
    with hear(), in_model():
        exploration.run(pool, depth)
    return Seen(len(exploration.seen), exploration.schedules, len(exploration.ends_well),
                sum(not is_good for is_good in exploration.ends_well.values()),
                exploration.depth, exploration.problem, _unroll(exploration.path),
                time.monotonic() - began)


def find_unfinished(pool: Pool) -> Tuple[str, bool]:
    """What is wrong although nobody has anything left to do; and whether all agree."""
    is_good = True
    for number, host in enumerate(pool.hosts):
        if not host.is_up or host.follows != number:
            continue
        mirror = generation_in(host.db.pool)
        if mirror is None and host.rows is None:
            continue  # nothing was ever mirrored, and nothing is there
        newest = host.lineage[-1][0] if host.lineage else None
        if newest != mirror and mirror not in [item[0] for item in host.lineage]:
            is_good = False  # not whole, told, and for an operator to decide
            continue
        problem = _find_disagreement(pool, number, mirror)
        if problem:
            return 'left alone it ends with %s' % problem, False
    return '', is_good


def _find_disagreement(pool: Pool, master: int, mirror: Optional[str]) -> str:
    host = pool.hosts[master]
    if host.lineage[-1][0] != mirror:
        return 'the mirror at %s and the master at %s' % (mirror, host.lineage[-1][0])
    if rows_in_mirror(host.db) != host.rows:
        return 'the mirror %r and the master %r' % (rows_in_mirror(host.db), host.rows)
    entry = find_current(host.db.pool, parse_pool_entry).entry
    rows = {row.vm_uuid: row for row in mirror_rows(host.rows)}
    for vm, slots in host.db.vms:
        found = find_current(slots)
        kind = find_entry_kind(found, uuid_of(vm), RESOURCE_POOL)
        row = rows.get(uuid_of(vm))
        if row is None and kind not in (EntryKind.NONE, EntryKind.INVALID):
            return 'an entry on VM %d, which is not registered' % vm
        if row is not None and not is_entry_right(found, row, RESOURCE_POOL,
                                                  entry.generation.number):
            return 'a wrong entry on VM %d' % vm
    return _find_member(pool, master, mirror)


def _find_member(pool: Pool, master: int, mirror: Optional[str]) -> str:
    """A member agrees, or it knows a later state of which the master's copy knows nothing."""
    for number, host in enumerate(pool.hosts):
        if number == master or not host.is_up or host.follows != master:
            continue
        is_ahead = mirror in [item[0] for item in host.lineage[:-1]]
        if host.rows != pool.hosts[master].rows and not is_ahead:
            return 'host %d at %r and the master at %r' % (
                number, host.rows, pool.hosts[master].rows)
    return ''


class Plot(NamedTuple):
    """How a world begins, and how deep it is explored in CI."""
    hosts: int
    depth: int
    budgets: Dict[str, int]
    vms: int = 2
    is_settled: bool = True
    """Everything is mirrored and copied when it begins."""

    def build(self) -> Pool:
        """The pool at its beginning."""
        pool = build_pool(self.hosts, _TWO[:self.vms], 2, **self.budgets)
        if self.is_settled:
            with hear(), in_model():
                pool = _settle(pool)
        return pool


def _settle(pool: Pool) -> Pool:
    """Leave the pool alone until nobody has anything to do, and copy the database then."""
    for _ in range(_LONGEST_CHAIN):
        steps = list_undisturbed(pool)
        if not steps:
            break
        pool = steps[0][1](pool)
    for number in range(len(pool.hosts)):
        pool = pool.put(number, db=pool.hosts[0].db)
    return pool


PLOTS: Dict[str, Plot] = {
    'nothing-mirrored-yet': Plot(2, 12, dict(edit=1, kill=1, lose=1), is_settled=False),
    'edits-and-kills': Plot(2, 12, dict(edit=2, kill=1)),
    'master-lost-with-an-older-copy': Plot(2, 9, dict(edit=2, lose=1, sync=1)),
    'older-database-restored': Plot(2, 11, dict(edit=2, sync=1, restore=1), 1),
    'two-masters': Plot(2, 9, dict(edit=2, split=1, sync=1), 1),
    'two-masters-of-three': Plot(3, 7, dict(edit=2, split=1), 1),
    'wiped': Plot(2, 10, dict(edit=1, wipe=1, kill=1)),
    'wiped-and-lost': Plot(2, 10, dict(edit=1, wipe=1, lose=1, sync=1), 1),
    'masters-change': Plot(3, 7, dict(edit=1, designate=2, kill=1), 1),
    'entries-meddled-with': Plot(2, 7, dict(edit=1, clone=1, revert=1, by_hand=1, lose=1), 1),
    'reverted-and-killed': Plot(2, 11, dict(edit=1, revert=1, kill=1), 1),
    'reverted-and-lost-asleep': Plot(2, 8, dict(edit=1, revert=1, kill=1, lose=1, sync=1), 1),
    'cloned-in-a-split': Plot(2, 8, dict(edit=1, clone=1, split=1), 1),
    'member-knows-more': Plot(3, 6, dict(edit=2, kill=1, lose=1), 1),
}


def main(argv: Sequence[str]) -> int:
    """Explore what is asked for."""
    parser = argparse.ArgumentParser(prog='python -m tests.verification.model_checker.pool_model',
                                     description=__doc__, allow_abbrev=False)
    parser.add_argument('--deeper', type=int, default=0, help='steps beyond the depth of CI')
    parser.add_argument('--json', action='store_true', help='print one JSON document at the end')
    parser.add_argument('worlds', nargs='*', metavar='WORLD', default=sorted(PLOTS))
    arguments = parser.parse_args(argv)
    total = Seen()
    for name in arguments.worlds:
        seen = explore(PLOTS[name].build(), PLOTS[name].depth + arguments.deeper)
        total = add(total, seen)
        print(render(name, seen), file=sys.stderr if arguments.json else sys.stdout, flush=True)
        if seen.problem:
            return 1
    if arguments.json:
        print(json.dumps(dict(total._asdict(), worlds=len(arguments.worlds))))
    else:
        print(render('%d pools' % len(arguments.worlds), total))
    return 0


def add(total: Seen, seen: Seen) -> Seen:
    """Both together."""
    return Seen(total.states + seen.states, total.schedules + seen.schedules,
                total.chains + seen.chains, total.operator + seen.operator,
                max(total.depth, seen.depth), seen.problem, seen.path,
                total.seconds + seen.seconds)


def render(name: str, seen: Seen) -> str:
    """One line, and the way to what is wrong."""
    line = ('%-34s %7d states %8d schedules %7d chains %6d wait for an operator, depth %2d, '
            '%5.1f s' % (name, seen.states, seen.schedules, seen.chains, seen.operator,
                         seen.depth, seen.seconds))
    if seen.problem:
        line += '\nWRONG: %s\n  %s' % (seen.problem, '\n  '.join(seen.path))
    return line


def _unroll(path: _Path) -> Tuple[str, ...]:
    names: List[str] = []
    while path is not None:
        path, name = path  # type: ignore
        names.append(name)
    return tuple(reversed(names))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
