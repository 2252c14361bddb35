"""Forged entries in a pool of several hosts: while the master runs, fails over, and beside hosts
that sign nothing, as version 0.1 (P27)."""

import contextlib
import os
import sqlite3
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping

import pytest

from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin
from tests.integration.pool.world import Host, PoolWorld
from tests.integration.security.forging import (KEYS, SLOTS, begin, forge_pool, judge, keys_of, put,
                                                read_slots, write_secret)

FORGED = '40-0badf00d'


def configure(pool: PoolWorld, host: Host, secret: str = 'a/b/c') -> None:
    """Give a host the pool's secret, or none."""
    path = os.path.join(host.node.root, 'ptoken')
    if secret:
        os.makedirs(host.node.root, exist_ok=True)
        write_secret(path, secret)
    host.install('[mirror]\nkey_file = %s\n' % (path if secret else ''))


def start(pool: PoolWorld, secrets: Mapping[int, str] = MappingProxyType({})) -> List[str]:
    """Two VMs, registered and mirrored, on hosts that have the secret but for those named."""
    begin()
    pool.xapi.start()
    for number, host in enumerate(pool.hosts):
        configure(pool, host, secrets.get(number, 'a/b/c'))
    pool.master.registry.create('test')
    for host in pool.hosts:
        host.start_daemon()
    refs = [pool.create_vm(name) for name in ('web', 'db')]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    pool.wait_agreed()
    wait_until(lambda: pool_entry(pool).get('vms') == 2, 'the mirror')
    return refs


def pool_keys(pool: PoolWorld) -> Dict[str, str]:
    ref, = pool.xapi.call('pool.get_all')
    return keys_of({'other_config': pool.xapi.call('pool.get_other_config', ref)})


def pool_entry(pool: PoolWorld) -> Dict[str, Any]:
    """The pool's entry, when there is one only."""
    entries = read_slots({'other_config': pool_keys(pool)})
    return entries[0] if len(entries) == 1 else {}


def forge(pool: PoolWorld, refs: List[str], generation: str = FORGED) -> None:
    """C1: another VM gets the number of the first one, whose row is removed.

    While a master replaces its entry both slots are taken, for a moment."""
    ref, = pool.xapi.call('pool.get_all')
    free = wait_until(lambda: [slot for slot in SLOTS if slot not in pool_keys(pool)],
                      'a slot that is free')
    put(pool.xapi, 'pool', ref, {free[0]: forge_pool(
        pool.xapi.call('pool.get_uuid', ref), generation, [(pool.uuid(refs[1]), 1, 'B', 2)],
        gone=[pool.uuid(refs[0])])})


@pytest.fixture
def pool(build_pool: Any) -> PoolWorld:
    """Three hosts, not started."""
    return build_pool()


def test_one_call_of_a_pool_operator_changes_no_registry(pool: PoolWorld) -> None:
    refs = start(pool)
    wanted = pool.master.assignments()
    forge(pool, refs)
    for host in pool.hosts:
        host.daemon.wait_for('mirror.undecided', generation=FORGED)
    pool.change(refs[0], pool_id='B')
    pool.wait_args(refs[0], span(1, pool='B'))
    for host in pool.members:
        judge(host.assignments(), wanted)
    assert Admin(pool.master).run('registry', 'keep', '--yes').status == 0
    after = pool.wait_agreed()
    assert after[pool.uuid(refs[0])][1] == 'B' and len(after) == 2
    wait_until(lambda: pool_entry(pool).get('vms') == 2, 'the mirror of the registry')


def test_an_entry_that_was_forged_while_the_master_died_is_not_followed(pool: PoolWorld) -> None:
    refs = start(pool)
    wanted = pool.master.assignments()
    old, new = pool.master, pool.members[0]
    old.daemon.kill()
    forge(pool, refs)
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.fail_over(new.ref)
    new.daemon.wait_for('mirror.undecided', generation=FORGED, level='error')
    judge(new.assignments(), wanted)
    for number, ref in enumerate(refs, 1):
        assert pool.start_vm(ref, new).args == span(number)
    assert Admin(new).run('registry', 'keep', '--yes').status == 0
    pool.bring_back(old)
    assert pool.wait_agreed(wanted) == wanted


def test_an_entry_that_was_forged_while_two_masters_live(pool: PoolWorld) -> None:
    refs = start(pool)
    wanted = pool.wait_agreed()
    pool.xapi.sync_database()
    old, new, third = pool.hosts
    pool.xapi.split([old.ref], [new.ref, third.ref])
    pool.xapi.fail_over(new.ref)
    forge(pool, refs)
    new.daemon.wait_for('mirror.undecided', generation=FORGED, level='error')
    pool.change(refs[1], host=new, pool_id='B')
    pool.wait_args(refs[1], span(2, pool='B'))
    for host in (old, third):
        judge(host.assignments(), wanted)
    assert Admin(new).run('registry', 'keep', '--yes').status == 0
    wait_until(lambda: pool_entry(pool).get('vms') == 2, 'the mirror of the registry')
    pool.xapi.heal()
    agreed = pool.wait_agreed()
    assert {number: pool_id for number, pool_id, _priority in agreed.values()} == {1: 'A', 2: 'B'}


def test_a_secret_that_was_rotated_in_the_midst_of_a_fail_over(pool: PoolWorld) -> None:
    """The old master has signed with the new one before it died; the next learns it later."""
    refs = start(pool)
    old, new = pool.master, pool.members[0]
    before = pool_keys(pool)
    configure(pool, old, 'd/e/f')
    wait_until(lambda: pool_entry(pool) and pool_keys(pool) != before
               and len(pool_keys(pool)) == 2, 'entries signed anew')
    pool.change(refs[0], pool_id='B')
    pool.wait_args(refs[0], span(1, pool='B'))
    wait_until(lambda: pool_entry(pool) and old.daemon.events(
        'mirror.written', generation=pool_entry(pool)['generation']) and read_slots(
            pool.xapi.vm(refs[0]))[-1]['pool'] == 'B', 'the mirror')
    wanted = pool.master.assignments()
    generation = pool_entry(pool)['generation']
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.fail_over(new.ref)
    new.daemon.wait_for('mirror.undecided', generation=generation)
    configure(pool, new, 'd/e/f')
    wait_until(lambda: new.assignments() == wanted, lambda: '\n'.join(new.daemon.raw[-20:]))
    configure(pool, pool.hosts[2], 'd/e/f')
    pool.bring_back(old)
    assert pool.wait_agreed(wanted) == wanted


def test_hosts_that_sign_nothing_follow_and_lead_until_people_decide(pool: PoolWorld) -> None:
    """As version 0.1: it reads the entries, and writes its own without a code."""
    refs = start(pool, {1: ''})
    old, unsigned = pool.master, pool.hosts[1]
    pool.change(refs[0], pool_id='B')
    pool.wait_args(refs[0], span(1, pool='B'))
    pool.wait_agreed()
    pool.xapi.sync_database()
    pool.lose(old)
    pool.xapi.fail_over(unsigned.ref)
    pool.change(refs[1], pool_id='B')
    pool.wait_args(refs[1], span(2, pool='B'))
    wait_until(lambda: set(pool_keys(pool)) <= set(SLOTS), 'a mirror without codes')
    third = pool.hosts[2]
    third.daemon.wait_for('mirror.undecided')
    assert third.assignments()[pool.uuid(refs[1])][1] == 'A'
    # It is upgraded, and knows the secret: what it has written is signed, and followed.
    unsigned.daemon.stop()
    configure(pool, unsigned)
    unsigned.start_daemon()
    wanted = unsigned.assignments()
    assert pool.wait_agreed(wanted) == wanted
    pool.bring_back(old)
    assert pool.wait_agreed(wanted) == wanted


def test_upgraded_one_after_the_other_no_host_stops_following(pool: PoolWorld) -> None:
    refs = start(pool, {0: '', 1: '', 2: ''})
    for number, host in enumerate(pool.hosts):
        host.daemon.stop()
        configure(pool, host)
        host.start_daemon()
        pool.change(refs[0], priority=number % 3)
        pool.wait_agreed()
    assert any(key in KEYS and key not in SLOTS for key in pool_keys(pool))
    told: List[Any] = [line for host in pool.hosts for line in host.daemon.lines
                       if line['event'] in ('mirror.forged', 'mirror.undecided')]
    assert told == []


def wipe_master_and(pool: PoolWorld, attack: Callable[[], None]) -> Host:
    """The master's host is installed anew; meanwhile somebody writes. The others remember."""
    master = pool.master
    for host in pool.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    master.wipe()
    attack()
    master.start_daemon()
    return master


def forget_what_was(host: Host) -> None:
    """A journal that does not reach back: of all generations it has the newest."""
    with contextlib.closing(sqlite3.connect(host.registry.journal_path)) as journal, journal:
        journal.execute('DELETE FROM lineage WHERE id < (SELECT max(id) FROM lineage)')


@pytest.mark.parametrize('have_followed', [False, True])
def test_a_wiped_master_asks_the_others_before_it_believes_an_older_mirror(
        pool: PoolWorld, have_followed: bool) -> None:
    """Also where it is so old that they have taken it for a newer one meanwhile."""
    refs = start(pool)
    entries = [(ref, keys_of(pool.xapi.vm(ref))) for ref in refs]
    whole = pool_keys(pool)
    pool_ref, = pool.xapi.call('pool.get_all')
    pool.change(refs[0], pool_id='B')
    pool.wait_args(refs[0], span(1, pool='B'))
    wanted = pool.wait_agreed()
    newest = [(ref, keys_of(pool.xapi.vm(ref))) for ref in refs], pool_keys(pool)

    def put_back(vms: Any, texts: Any) -> None:
        for ref, keys in vms:
            put(pool.xapi, 'VM', ref, dict(dict.fromkeys(KEYS), **keys))
        put(pool.xapi, 'pool', pool_ref, dict(dict.fromkeys(KEYS), **texts))

    def attack() -> None:
        if have_followed:
            for member in pool.members:
                forget_what_was(member)
        put_back(entries, whole)
        if have_followed:
            for member in pool.members:
                wait_until(lambda: member.assignments() != wanted, 'it is followed')

    master = wipe_master_and(pool, attack)
    line = master.daemon.wait_for('mirror.undecided', level='error')
    assert 'another host has been at generation' in line['reason']
    judge(master.assignments(), {})
    assert pool.args(refs[0]) == span(1, pool='B')
    put_back(*newest)
    assert pool.wait_agreed(wanted) == wanted


def test_a_wiped_master_asks_the_others_whether_there_were_codes(pool: PoolWorld) -> None:
    """Every code is taken away, and an assignment changed: as a pool of 0.1 looks."""
    refs = start(pool)
    pool_ref, = pool.xapi.call('pool.get_all')

    def strip() -> None:
        for ref in refs:
            put(pool.xapi, 'VM', ref, dict.fromkeys(KEYS))
        put(pool.xapi, 'pool', pool_ref, dict.fromkeys(KEYS))
        forge(pool, refs)

    master = wipe_master_and(pool, strip)
    assert 'signed' in master.daemon.wait_for('mirror.undecided', level='error')['reason']
    judge(master.assignments(), {})
    assert [pool.args(ref) for ref in refs] == [span(1), span(2)]


def test_a_wiped_master_whose_mirror_nobody_doubts_has_its_registry_back_in_time(
        pool: PoolWorld) -> None:
    refs = start(pool)
    wanted = pool.wait_agreed()
    master = wipe_master_and(pool, lambda: None)
    assert pool.wait_agreed(wanted) == wanted and len(refs) == 2
    assert not master.daemon.events('mirror.undecided')
