"""The master dies while an entry is not as it should be, and the next one's daemon had slept."""

from typing import Any, List, Tuple

import pytest

from registry.values import Priority
from tests.integration.daemon.world import KEY, span
from tests.integration.pool.test_forwarding import Admin
from tests.integration.pool.world import Host, PoolWorld
from tests.support.waiting import LOADED

# P1, and the daemon judges again every two seconds.
STAGING_SECONDS = 6.0 * LOADED


@pytest.fixture
def pool(build_pool: Any) -> PoolWorld:
    """Two hosts, two VMs that are registered and mirrored."""
    return build_pool(hosts=2).start()


def register(pool: PoolWorld) -> List[str]:
    refs = [pool.create_vm(name) for name in ('web', 'db')]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    pool.wait_agreed()
    return refs


def change(pool: PoolWorld, ref: str, number: int) -> None:
    """An edit that is staged and mirrored."""
    seen = len(pool.master.daemon.events('mirror.written'))
    pool.change(ref, pool_id='B')
    pool.wait_args(ref, span(number, pool='B'))
    pool.wait_mirrored(seen)


def revert_and_die(pool: PoolWorld, ref: str, snapshot: str) -> Tuple[Host, Host]:
    """The VM is reverted in the moment in which the master goes; the other takes over."""
    old, new = pool.master, pool.members[0]
    old.daemon.kill()
    pool.xapi.call('VM.revert', snapshot)
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.fail_over(new.ref)
    new.start_daemon()
    return old, new


def test_what_the_registry_here_can_prove_is_done_by_itself(pool: PoolWorld) -> None:
    web, db = register(pool)
    snapshot = pool.xapi.call('VM.snapshot', web, 'before')
    change(pool, web, 1)
    pool.wait_agreed()
    pool.members[0].daemon.kill()
    change(pool, db, 2)
    wanted = pool.master.assignments()
    old, new = revert_and_die(pool, web, snapshot)
    rebuilt = new.daemon.wait_for('registry.rebuilt')
    assert rebuilt['is_complete'] and pool.uuid(web) in rebuilt['problems'][0]
    for number, ref in enumerate((web, db), 1):
        pool.wait_args(ref, span(number, pool='B'))
        assert pool.start_vm(ref, new).args == span(number, pool='B')
    pool.bring_back(old)
    assert pool.wait_agreed(wanted) == wanted


def leave_unproven(pool: PoolWorld) -> Tuple[str, Host, Any]:
    """The new master knows neither change: a VM that it does not stage, its host, what it says."""
    web, db = register(pool)
    snapshot = pool.xapi.call('VM.snapshot', web, 'before')
    pool.members[0].daemon.kill()
    change(pool, web, 1)
    change(pool, db, 2)
    _old, new = revert_and_die(pool, web, snapshot)
    return db, new, new.daemon.wait_for('mirror.incomplete')


def test_what_nothing_proves_waits_and_says_what_to_do(pool: PoolWorld) -> None:
    db, new, told = leave_unproven(pool)
    assert told['level'] == 'error' and 'registry rebuild' in told['remedy']
    admin = Admin(new)
    assert 'nothing is staged' in admin.run('status').out
    # Meanwhile a VM boots with what the master of before has staged.
    assert pool.start_vm(db, new).args == span(2, pool='B')
    run = admin.run('registry', 'rebuild', '--yes')
    assert run.status == 0 and 'kept as' in run.out, run
    new.daemon.wait_for('mirror.written')
    assert pool.wait_agreed()[pool.uuid(db)][:2] == (2, 'B')


def test_what_was_held_up_is_staged_as_soon_as_somebody_has_decided(pool: PoolWorld) -> None:
    """No write to its entry follows that would have the VM looked at."""
    db, new, _told = leave_unproven(pool)
    pool.xapi.call('VM.remove_from_platform', db, KEY)
    assert Admin(new).run('registry', 'rebuild', '--yes').status == 0
    pool.wait_args(db, span(2, pool='B'), STAGING_SECONDS)


@pytest.mark.parametrize('word', ['rebuild', 'keep'])
def test_people_decide_also_where_all_that_is_left_of_the_mirror_is_what_the_registry_says(
        pool: PoolWorld, word: str) -> None:
    web, _db = register(pool)
    snapshot = pool.xapi.call('VM.snapshot', web, 'before')
    pool.members[0].daemon.kill()
    change(pool, web, 1)
    _old, new = revert_and_die(pool, web, snapshot)
    new.daemon.wait_for('mirror.incomplete')
    assert f'registry {word}' in Admin(new).run('registry', 'compare').out
    assert Admin(new).run('registry', word, '--yes').status == 0
    new.daemon.wait_for('mirror.written')
    pool.change(web, priority=Priority.LOW)
    pool.wait_args(web, span(1, priority='low'), STAGING_SECONDS)
