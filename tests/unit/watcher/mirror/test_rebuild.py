"""A registry made anew from its mirror, and an edit that comes in that very moment."""

import os
import sqlite3
from typing import Any, Optional, Tuple

import pytest

from registry.journal.journal import Journal
from registry.store import Registry
from registry.values import Pool, Priority
from tests.unit.watcher.builders import POLICY, SPAN, build_permit, build_vm, uuid_of
from watcher.config.settings import MirrorSettings
from watcher.mirror import mirror
from watcher.mirror.codes import NO_TRUST
from watcher.mirror.entries import Generation, MirroredRow, PoolEntry, digest_contents
from watcher.mirror.slots import attach_pool
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.vm.mirror_keys import SLOTS
from watcher.vm.record import PoolRecord
from watcher.xapi.role import Role

RESOURCE_POOL = '0f3ad6ee-1111-2222-3333-44444444abcd'
VM = '00000001-1111-2222-3333-44444444abcd'
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B'))
ROW = MirroredRow(VM, 7, 'A', Priority.HIGH)
MIRROR = PoolEntry(RESOURCE_POOL, Generation(3, '0000abcd'), 1, digest_contents([ROW], POOLS), 7,
                   POOLS, absent=(ROW,))
ROLES = {'master': Role(True, True, 'host', '26.1', master='host'),
         'member': Role(False, True, 'host', '26.1', is_member=True, master='other')}


class Daemon:
    """The books and the mirroring of a daemon on a host that was wiped."""

    def __init__(self, path: str) -> None:
        self.view = RegistryView(path)
        self.writes: list = []
        self.inventory = Inventory()
        self.permit = build_permit(ROLES['master'])
        self.mirroring = mirror.Mirroring(
            self.view, self.inventory, self.permit, settings=MirrorSettings(key_file=''),
            submit=lambda *task: self.writes.append(task), poll=self.poll,
            write=lambda _action: None, review=lambda _uuids: None)
        self.show(MIRROR)

    def show(self, entry: PoolEntry) -> None:
        """XAPI shows this entry of the resource pool."""
        text, attached = attach_pool(entry, NO_TRUST)
        self.mirroring.note_pool(PoolRecord(
            'OpaqueRef:pool', RESOURCE_POOL, 'host', ((SLOTS[0], text),) + attached))

    def poll(self) -> None:
        """As the daemon's main loop does."""
        if self.view.poll().is_changed:
            self.mirroring.note_contents()

    def attend(self, role: Role, now: float) -> None:
        """One turn."""
        self.poll()
        self.permit.role = role
        self.mirroring.attend(now, jobs=0, is_staging=False)


@pytest.fixture
def path(tmp_path: Any) -> str:
    """Where there is no registry, and no journal."""
    return str(tmp_path / 'vgpu_config.db')


def lock_when_it_appears(monkeypatch: Any, path: str) -> Tuple[sqlite3.Connection, ...]:
    """Some program has the journal from the moment on in which the registry is there."""
    others: list = []
    link = os.link

    def lock(source: str, target: str) -> None:
        link(source, target)
        other = sqlite3.connect(Registry(path, timeout_seconds=0.1).journal_path,
                                isolation_level=None)
        other.execute('BEGIN EXCLUSIVE')
        others.append(other)
    monkeypatch.setattr(os, 'link', lock)
    return others  # type: ignore


@pytest.mark.parametrize('with_history', [True, False])
def test_an_edit_in_the_moment_of_the_rebuild_is_an_edit_of_the_mirrors_generation(
        path: str, monkeypatch: Any, with_history: bool) -> None:
    """Whether the edit finds the journal free or not: the mirror follows, nothing is undecided."""
    daemon = Daemon(path)
    others = lock_when_it_appears(monkeypatch, path)
    daemon.attend(ROLES['master'], 100.0)
    if with_history:
        others[0].execute('ROLLBACK')
    with Registry(path, timeout_seconds=0.1).edit(who='root', command='set-pool') as edit:
        edit.change_vm(VM, pool_id='B')
    assert bool(edit.journal_problem) != with_history
    daemon.attend(ROLES['master'], 103.0)
    others[0].close()
    daemon.attend(ROLES['master'], 106.0)
    assert daemon.mirroring.state == mirror.PUSHING
    target = daemon.mirroring.push.target
    assert target is not None and target.generation.number == 4
    assert target.rows[VM].pool_id == 'B' and MIRROR.generation.text in target.entry.line


@pytest.mark.parametrize('role', sorted(ROLES))
def test_a_journal_that_is_locked_when_the_registry_is_to_be_made_costs_time_only(
        path: str, role: str) -> None:
    with Journal(Registry(path, timeout_seconds=0.1).journal_path, timeout_seconds=0.1):
        pass
    daemon = Daemon(path)
    other = sqlite3.connect(daemon.view.journal.path, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    daemon.attend(ROLES[role], 100.0)
    assert not os.path.exists(path) and daemon.mirroring.state == mirror.NO_REGISTRY
    other.close()
    daemon.attend(ROLES[role], 103.0)
    assert [vm.vm_id for vm in Registry(path, timeout_seconds=0.1).read().vms] == [7]
    assert daemon.view.journal.generation() is not None


def test_a_journal_that_remembers_a_registry_is_not_taken_for_a_wiped_host(path: str) -> None:
    """Somebody has deleted the file: people decide (P17)."""
    Registry(path, timeout_seconds=0.1).create('root')
    os.remove(path)
    daemon = Daemon(path)
    daemon.attend(ROLES['master'], 100.0)
    daemon.attend(ROLES['master'], 103.0)
    assert not os.path.exists(path) and daemon.mirroring.state == mirror.NO_REGISTRY


@pytest.mark.parametrize('role', sorted(ROLES))
@pytest.mark.parametrize('bearer, is_claimed', [(None, True), (VM, True), (uuid_of(8), False)])
def test_a_number_that_no_other_vm_bears_is_claimed_with_its_row(
        path: str, role: str, bearer: Optional[str], is_claimed: bool) -> None:
    """Not some moments later: the number may move on, and its next VM would seem to be first."""
    daemon = Daemon(path)
    if bearer is not None:
        daemon.inventory.update(build_vm(SPAN.replace('10', '7'), uuid=bearer), POLICY, 90.0)
    daemon.attend(ROLES[role], 100.0)
    assert (7 in daemon.view.claims) == is_claimed


def test_a_row_that_is_followed_claims_its_number(path: str) -> None:
    """As one does of a registry that is made anew."""
    daemon = Daemon(path)
    daemon.attend(ROLES['member'], 100.0)
    row = MirroredRow(uuid_of(9), 9, 'A', Priority.LOW)
    generation = Generation(4, '0000abce')
    daemon.show(MIRROR._replace(
        generation=generation, digest=digest_contents([ROW, row], POOLS), largest=9,
        absent=(ROW, row), line=(MIRROR.generation.text,)))
    daemon.attend(ROLES['member'], 101.0)
    assert sorted(daemon.view.claims) == [7, 9]


@pytest.mark.parametrize('role', sorted(ROLES))
def test_generations_that_come_incomplete_again_and_again_are_told_once_a_minute(
        path: str, role: str, log_output: Any) -> None:
    daemon = Daemon(path)
    daemon.attend(ROLES[role], 90.0)
    digest = digest_contents([ROW, MirroredRow(uuid_of(9), 9, 'A', Priority.LOW)], POOLS)
    for second in range(300):
        daemon.show(MIRROR._replace(
            generation=Generation(4 + second, '0000abce'), vms=2, digest=digest,
            line=(MIRROR.generation.text,)))
        daemon.attend(ROLES[role], 100.0 + second)
    told = [line for line in log_output if line['event'] == 'mirror.incomplete']
    assert len(told) == 5 and told[-1]['problems']


def test_a_master_that_was_overtaken_stays_so_while_its_journal_cannot_be_read(path: str) -> None:
    """What the mirror forbids is not staged from the older registry because of somebody's lock."""
    daemon = Daemon(path)
    daemon.attend(ROLES['master'], 90.0)
    daemon.show(MIRROR._replace(generation=Generation(50, '0000abce'), digest='0' * 32))
    daemon.attend(ROLES['master'], 100.0)
    assert daemon.permit.is_overtaken
    other = sqlite3.connect(daemon.view.journal.path, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    daemon.view.reread()
    daemon.attend(ROLES['master'], 103.0)
    assert not daemon.view.is_journal_open and daemon.permit.is_overtaken
    daemon.mirroring.begin_session()
    daemon.show(MIRROR._replace(generation=Generation(50, '0000abce'), digest='0' * 32))
    daemon.attend(ROLES['master'], 106.0)
    assert daemon.permit.is_overtaken
    other.close()
    daemon.show(MIRROR._replace(generation=Generation(51, '0000abcf')))
    daemon.view.reread()
    daemon.attend(ROLES['master'], 109.0)
    assert daemon.permit.take_regained() and not daemon.permit.is_overtaken


def test_a_member_whose_journal_cannot_be_read_is_not_said_to_follow(path: str) -> None:
    daemon = Daemon(path)
    daemon.attend(ROLES['member'], 90.0)
    assert daemon.mirroring.state == mirror.FOLLOWING
    other = sqlite3.connect(daemon.view.journal.path, isolation_level=None)
    other.execute('BEGIN EXCLUSIVE')
    daemon.view.reread()
    daemon.poll()
    daemon.show(MIRROR._replace(generation=Generation(4, '0000abce'), digest='0' * 32))
    daemon.attend(ROLES['member'], 92.0)
    assert not daemon.view.is_journal_open and daemon.mirroring.state == mirror.WAITING
    other.close()
    daemon.show(MIRROR)
    daemon.view.reread()
    daemon.attend(ROLES['member'], 95.0)
    assert daemon.mirroring.state == mirror.FOLLOWING
