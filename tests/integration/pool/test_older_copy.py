"""A new master whose copy of XAPI's database is older than what its daemon knows."""

import contextlib
import sqlite3
import time
from typing import Any

from cli.output.text import Style
from cli.queries.mirror_status import read_mirror_state, render_mirror
from registry.journal.journal import Journal
from registry.values import Priority
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.world import Host, PoolWorld
from tests.support.waiting import LOADED

# A statement of docs/pool-wide.md: from the moment in which a login succeeds on the new master.
STAGING_SECONDS = 5.0 * LOADED


def test_edits_that_the_copy_does_not_know_are_not_lost(pool: PoolWorld) -> None:
    old, new, third = pool.hosts
    refs = [pool.create_vm('vm-%d' % number) for number in range(1, 4)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    pool.wait_agreed()
    pool.xapi.sync_database()
    pool.change(refs[0], pool_id='B')
    pool.change(refs[1], priority=Priority.HIGH)
    pool.remove(refs[2])
    pool.wait_args(refs[0], span(1, pool='B'))
    wanted = pool.wait_agreed()
    pool.lose(old)
    pool.xapi.fail_over(new.ref)
    began = time.monotonic()
    pool.wait_args(refs[0], span(1, pool='B'))
    pool.wait_args(refs[1], span(2, priority='high'))
    pool.wait_args(refs[2], None)
    assert time.monotonic() - began < STAGING_SECONDS
    assert pool.wait_agreed() == wanted
    pool.bring_back(old)
    assert pool.wait_agreed(wanted) == wanted
    for ref, host in zip(refs, pool.hosts):
        pool.start_vm(ref, host)
    assert pool.took(refs[0], span(1, pool='B')) and pool.took(refs[1], span(2, priority='high'))
    assert third.node.is_up and pool.writes_of(third) == []


def test_a_master_that_comes_back_with_an_older_database_carries_on(pool: PoolWorld) -> None:
    """Nobody took over: its own disk lost the last writes, its registry did not."""
    ref = pool.create_vm('web')
    pool.register(ref, vm_id=7)
    pool.wait_args(ref, span(7))
    pool.wait_agreed()
    before = pool.xapi.state.database.generation
    pool.change(ref, pool_id='B')
    pool.wait_args(ref, span(7, pool='B'))
    wanted = pool.wait_agreed()
    master = pool.master
    pool.lose(master, flushed_generation=before)
    assert pool.args(ref) == span(7)
    pool.bring_back(master)
    pool.wait_args(ref, span(7, pool='B'))
    assert pool.wait_agreed() == wanted


def test_while_there_is_no_master_vms_boot_with_what_they_carry(pool: Any) -> None:
    """VMs that are staged need no daemon: a guest that reboots meanwhile takes its span."""
    old, new, third = pool.hosts
    ref = pool.create_vm('web')
    pool.register(ref, vm_id=3)
    pool.wait_args(ref, span(3))
    pool.start_vm(ref, third)
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.guest_reboot(ref)
    assert pool.took(ref, span(3))
    pool.xapi.fail_over(new.ref)
    wait_until(lambda: pool.xapi.vm(ref)['domid'] == pool.last_boot(ref).domid, 'the new domid')


def test_a_registry_that_cannot_be_made_like_the_mirror_is_told_as_such(pool: PoolWorld) -> None:
    """Somebody holds it: the copy of a member follows nothing then, and is confirmed by nobody."""
    old, new, _third = pool.hosts
    ref = pool.create_vm('web')
    pool.register(ref, vm_id=7)
    pool.wait_args(ref, span(7))
    pool.wait_agreed()
    with contextlib.closing(sqlite3.connect(new.registry_path, isolation_level=None)) as reader:
        reader.execute('BEGIN')
        reader.execute('SELECT * FROM vms').fetchall()
        pool.change(ref, pool_id='B')
        wait_until(lambda: 'cannot be compared with the registry here' in says(new), says(new))
        assert 'is locked by' in says(new) and 'Mirror: OK' not in says(new)
        pool.xapi.sync_database(new.ref)
        pool.lose(old)
        pool.xapi.fail_over(new.ref)
        wait_until(lambda: 'which cannot be brought up to date' in says(new), says(new))
        assert 'not whole' not in says(new) and 'nothing is staged' in says(new)
    pool.wait_args(ref, span(7, pool='B'))
    wait_until(lambda: 'Mirror: OK' in says(new), says(new))


def says(host: Host) -> str:
    """What is said of the mirror on a host, with OK when it is well."""
    with Journal(host.registry.journal_path, timeout_seconds=5.0) as journal:
        state = read_mirror_state('the daemon', journal, True)
    return render_mirror(state, Style())
