"""What may happen next in a resource pool, whoever does it; every step is a function of its state.

The first of the undisturbed steps is the one that is taken when nobody interferes.
"""

import functools
from typing import Any, Callable, List, Optional, Tuple

from tests.verification.model_checker.pool_daemon import run_call, take_turn
from tests.verification.model_checker.pool_world import Pool, Rows, ref_of, slots_of, with_slots
from watcher.mirror.entries import render_vm_entry
from watcher.mirror.slots import find_current
from watcher.vm.mirror_keys import SLOTS

Step = Tuple[str, Callable[[Pool], Pool]]
_COPY = 9
"""The VM that a clone is."""


def list_undisturbed(pool: Pool) -> List[Step]:
    """What daemons do, their start, and a master for those that have none."""
    steps: List[Step] = []
    for number, host in enumerate(pool.hosts):
        if host.is_up and not host.has_daemon:
            steps.append(('%s: daemon starts' % _name(number),
                          functools.partial(Pool.put, number=number, has_daemon=True)))
        if not (host.is_up and host.has_daemon):
            continue
        for index, job in enumerate(host.jobs):
            steps.append(('%s: call %d for %s' % (_name(number), job.progress + 1, job.ref),
                          functools.partial(run_call, number=number, index=index)))
        if not host.jobs and take_turn(pool, number)[0] != pool:
            steps.append(('%s: turn' % _name(number), functools.partial(_turn, number=number)))
    return steps + _list_promotions(pool)


def list_disturbances(pool: Pool) -> List[Step]:
    """Faults, and people; each as often as its budget allows."""
    steps: List[Step] = []
    for number, host in enumerate(pool.hosts):
        steps += _list_host_faults(pool, number) if host.is_up else [
            ('%s: returns' % _name(number), functools.partial(_return, number=number))]
        if host.is_up and host.follows == number:
            steps += _list_edits(pool, number) + _list_meddling(pool, number)
            steps += _list_master_changes(pool, number)
    return steps


def _list_host_faults(pool: Pool, number: int) -> List[Step]:
    host = pool.hosts[number]
    steps: List[Step] = []
    if host.has_daemon and pool.budget('kill'):
        steps.append(_spending('kill', '%s: daemon is killed' % _name(number), functools.partial(
            Pool.put, number=number, has_daemon=False, jobs=())))
        commits = take_turn(pool, number)[1] if not host.jobs else 0
        for deaths in range(commits):
            steps.append(_spending(
                'kill', '%s: daemon is killed after commit %d' % (_name(number), deaths + 1),
                functools.partial(_turn, number=number, deaths=deaths)))
    if pool.budget('lose') and sum(item.is_up for item in pool.hosts) > 1:
        steps.append(_spending('lose', '%s: is lost' % _name(number), functools.partial(
            Pool.put, number=number, is_up=False, jobs=())))
    if pool.budget('wipe'):
        steps.append(_spending('wipe', '%s: is wiped' % _name(number), functools.partial(
            Pool.put, number=number, rows=None, lineage=(), kept=frozenset(), jobs=())))
    live = pool.live(number)
    if live not in (None, number) and host.db != pool.hosts[live].db and pool.budget('sync'):
        steps.append(_spending('sync', '%s: gets the database' % _name(number),
                               functools.partial(Pool.put, number=number,
                                                 db=pool.hosts[live].db)))
    return steps


def _list_promotions(pool: Pool) -> List[Step]:
    """A host whose master is gone may become one; with two halves, both have one."""
    return [('%s: becomes master' % _name(number), functools.partial(_promote, number=number))
            for number, host in enumerate(pool.hosts)
            if host.is_up and pool.live(number) is None]


def _list_master_changes(pool: Pool, master: int) -> List[Step]:
    steps: List[Step] = []
    for number, host in enumerate(pool.hosts):
        if number == master or not host.is_up:
            continue
        if host.follows == number:
            steps.append(('%s: joins %s' % (_name(number), _name(master)),
                          functools.partial(_join, number=number, master=master)))
        elif host.follows == master:
            if pool.budget('split'):
                steps.append(_spending('split', '%s: becomes a second master' % _name(number),
                                       functools.partial(_promote, number=number)))
            if pool.budget('designate'):
                steps.append(_spending('designate', '%s: is made the master' % _name(number),
                                       functools.partial(_designate, number=number)))
        if pool.budget('restore') and host.db != pool.hosts[master].db:
            steps.append(_spending(
                'restore', "%s: its database becomes %s's copy" % (
                    _name(master), _name(number)),
                functools.partial(_drop_sessions, master=master, db=host.db)))
    return steps


def _list_edits(pool: Pool, number: int) -> List[Step]:
    rows = pool.hosts[number].rows
    if rows is None or not pool.budget('edit'):
        return []
    return [_spending('edit', '%s: %s' % (_name(number), name), functools.partial(
        Pool.put, number=number, rows=tuple(sorted(after))))
        for name, after in _list_edited(rows)]


def _list_edited(rows: Rows) -> List[Tuple[str, Any]]:
    found: List[Tuple[str, Any]] = []
    if rows:
        vm, vm_id, priority = rows[0]
        found.append(('another priority for VM %d' % vm,
                      ((vm, vm_id, (priority + 1) % 3),) + rows[1:]))
        found.append(('VM %d is removed' % rows[-1][0], rows[:-1]))
    if len(rows) > 1:
        (one, first, high), (two, second, low) = rows[:2]
        found.append(('VMs %d and %d swap numbers' % (one, two),
                      ((one, second, high), (two, first, low)) + rows[2:]))
    missing = [vm for vm in (1, 2) if vm not in [row[0] for row in rows]]
    for vm in missing:
        largest = max([row[1] for row in rows] or [0])
        found.append(('VM %d is registered' % vm, rows + ((vm, largest + 1, 1),)))
    return found


def _list_meddling(pool: Pool, master: int) -> List[Step]:
    """What people do to VMs and to other_config, with the master's database."""
    db = pool.hosts[master].db
    steps: List[Step] = []
    first = slots_of(db, ref_of(1)) or ()
    if pool.budget('clone') and first and slots_of(db, ref_of(_COPY)) is None:
        steps.append(_spending('clone', 'VM 1 is cloned', functools.partial(
            Pool.put, number=master, db=db._replace(vms=db.vms + ((_COPY, first),)))))
    if pool.budget('revert') and pool.snapshot is None and first:
        steps.append(('VM 1 gets a snapshot', lambda pool: pool._replace(snapshot=first)))
    if pool.budget('revert') and pool.snapshot not in (None, first):
        steps.append(_spending('revert', 'VM 1 is reverted', functools.partial(
            _write_slots, master=master, slots=pool.snapshot)))
    entry = find_current(first).entry
    if pool.budget('by_hand') and entry is not None:
        text = render_vm_entry(entry._replace(vm_id=7))
        text = text[:text.index(',"sum"')] + '}'
        steps.append(_spending('by_hand', 'somebody edits the entry of VM 1', functools.partial(
            _write_slots, master=master, slots=((SLOTS[0], text),))))
    return steps


def _turn(pool: Pool, number: int, deaths: Optional[int] = None) -> Pool:
    return take_turn(pool, number, deaths)[0]


def _promote(pool: Pool, number: int) -> Pool:
    """Its own copy is the database now; those whose master is gone go with it."""
    orphans = [other for other, host in enumerate(pool.hosts)
               if host.is_up and pool.live(other) is None]
    for other in set(orphans) | {number}:
        pool = pool.put(other, follows=number, jobs=())
    return pool


def _designate(pool: Pool, number: int) -> Pool:
    """The way that loses nothing: the database goes over first."""
    old = pool.hosts[number].follows
    pool = pool.put(number, db=pool.hosts[old].db)
    for other, host in enumerate(pool.hosts):
        if host.follows == old:
            pool = pool.put(other, follows=number, jobs=())
    return pool


def _join(pool: Pool, number: int, master: int) -> Pool:
    """A split ends: what followed this one follows the other, and its database is dropped."""
    for other, host in enumerate(pool.hosts):
        if host.follows == number:
            pool = pool.put(other, follows=master, jobs=(), db=pool.hosts[master].db)
    return pool


def _return(pool: Pool, number: int) -> Pool:
    """A lost host is up again: under the master there is, or as the master it was."""
    pool = pool.put(number, is_up=True, jobs=(), has_daemon=True)
    for other, host in enumerate(pool.hosts):
        if other != number and host.is_up and host.follows == other:
            return pool.put(number, follows=other, db=host.db)
    return pool


def _drop_sessions(pool: Pool, master: int, db: Any) -> Pool:
    """XAPI restarts with another database: what is on its way fails."""
    pool = pool.put(master, db=db)
    for other, host in enumerate(pool.hosts):
        if host.follows == master:
            pool = pool.put(other, jobs=())
    return pool


def _write_slots(pool: Pool, master: int, slots: Any) -> Pool:
    return pool.put(master, db=with_slots(pool.hosts[master].db, ref_of(1), dict(slots)))


def _spending(name: str, text: str, take: Callable[[Pool], Pool]) -> Step:
    return text, lambda pool: take(pool).spend(name)


def _name(number: int) -> str:
    return 'host %s' % 'ABCDE'[number]
