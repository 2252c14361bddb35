"""A host becomes master while its daemon does not run: its registry is not the newest."""

import os
from typing import Any, Dict, List

import pytest

from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.test_forwarding import Admin
from tests.integration.pool.world import Host, PoolWorld

GONE_ON = 'another host has gone on from the registry here'


class Slept:
    """Web and db were changed, and new registered, while the daemon of the new master slept."""

    def __init__(self, pool: PoolWorld) -> None:
        self.pool = pool
        self.web, self.db, self.new, self.other = (
            pool.create_vm(name) for name in ('web', 'db', 'new', 'other'))
        pool.register(self.web, vm_id=1)
        pool.register(self.db, vm_id=2)
        self._wait()
        old, self.host = pool.master, pool.members[0]
        self.host.daemon.kill()
        pool.change(self.web, pool_id='B')
        pool.change(self.db, vm_id=3)
        pool.wait_args(self.db, span(3))
        pool.register(self.new, vm_id=2)
        pool.wait_args(self.new, span(2))
        # What was changed before may be told while this is on its way.
        wait_until(lambda: any(line['vms'] == 3 for line in old.daemon.events('mirror.written')),
                   'all three in the mirror')
        self.newest = old.assignments()
        pool.xapi.sync_database()
        pool.lose(old)
        pool.xapi.fail_over(self.host.ref)
        self.admin = Admin(self.host)

    def _wait(self) -> None:
        for number, ref in enumerate((self.web, self.db), 1):
            self.pool.wait_args(ref, span(number))
        self.pool.wait_agreed()

    def carried(self) -> List[Any]:
        return [self.pool.args(ref) for ref in (self.web, self.db, self.new, self.other)]


@pytest.fixture
def slept(build_pool: Any) -> Slept:
    return Slept(build_pool(hosts=2).start())


def write(host: Host, name: str, text: str) -> str:
    path = os.path.join(host.node.root, name)
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return path


def test_nothing_is_changed_or_staged_by_a_registry_that_the_mirror_has_overtaken(
        slept: Slept) -> None:
    pool, host = slept.pool, slept.host
    backup = os.path.join(host.node.root, 'backup.json')
    assert slept.admin.run('backup', backup).status == 0
    table = write(host, 'vms.csv', 'vm_uuid,priority\n%s,high\n' % pool.uuid(slept.web))
    before, rows = slept.carried(), host.assignments()
    for words in (['reconcile'], ['register-vm', 'other'], ['set-pool', 'web', '--pool=B'],
                  ['set-priority', 'web', 'db', '--priority=low'], ['remove-vm', 'db', '--yes'],
                  ['remove-vm', '--gone', '--yes'], ['import', table], ['adopt', '--yes'],
                  ['restore', backup, '--yes'], ['disable-pool', '--pool-id=A', '--yes'],
                  ['transfer-vm', '--gone', '--yes'], ['apply-pending', '--yes'],
                  ['registry', 'rebuild', '--source=history', '--yes']):
        run = slept.admin.run(*words)
        assert run.status == 4 and GONE_ON in run.err and 'registry rebuild' in run.err, run
    assert GONE_ON in slept.admin.run('plan').err
    assert (slept.carried(), host.assignments()) == (before, rows)


@pytest.mark.parametrize('decision', ['rebuild', 'keep'])
def test_once_it_is_decided_which_counts_edits_are_taken_and_stay(slept: Slept,
                                                                  decision: str) -> None:
    pool, host = slept.pool, slept.host
    kept: Dict[str, Any] = host.assignments() if decision == 'keep' else slept.newest
    assert slept.admin.run('registry', decision, '--yes').status == 0
    assert slept.admin.run('register-vm', 'other', '--vm-id=50').status == 0
    host.start_daemon()
    host.daemon.wait_for('mirror.written')
    found = host.assignments()
    assert found.pop(pool.uuid(slept.other))[0] == 50
    assert found == kept and pool.args(slept.other) == span(50)


def test_a_restore_that_the_daemon_would_undo_at_once_is_refused(slept: Slept) -> None:
    host = slept.host
    backup = os.path.join(host.node.root, 'backup.json')
    assert slept.admin.run('backup', backup).status == 0
    with open(host.registry_path, 'w', encoding='utf-8') as stream:
        stream.write('no registry at all ' * 100)
    host.start_daemon()
    run = slept.admin.run('restore', backup, '--yes')
    assert run.status == 4 and GONE_ON in run.err, run
    assert slept.admin.run('registry', 'rebuild', '--yes').status == 0
    assert slept.pool.wait_agreed(slept.newest) == slept.newest
    assert slept.admin.run('restore', backup, '--yes').status == 0
