"""The master's host dies at one write of an edit, and another host carries on: one such round.

What the edit is, how old the next master's copy of XAPI's database is, and what its daemon had
done before are three choices; `test_master_dies.py` goes through them.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from registry.errors import RegistryError
from registry.values import Priority
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.world import Assignments, Host, PoolWorld
from watcher.mirror.comparison import collect_image
from watcher.mirror.entries import digest_contents
from watcher.mirror.slots import read_pool_entry
from watcher.vm.mirror_keys import CODE, SLOTS
from watcher.vm.record import PowerState, VmKind, VmRecord

FOREIGN = '-foo "a  b"'
# The numbers of the VMs whose edits come next; those of a round stand below.
NEXT = 100000
_PER_ROUND = 10
# More writes than any edit here takes; whoever needs so many has a fault of its own.
MOST_WRITES = 80


class Said(NamedTuple):
    """What a host's registry says."""
    assignments: Assignments
    enabled: Tuple[Tuple[str, bool], ...]

    def render(self, uuid: str) -> str:
        """The whole value that a VM shall carry by this."""
        if uuid not in self.assignments:
            return FOREIGN
        vm_id, pool_id, priority = self.assignments[uuid]
        if not dict(self.enabled)[pool_id]:
            return FOREIGN
        return '%s %s' % (FOREIGN, span(vm_id, pool_id, priority.name.lower()))


class Edit(NamedTuple):
    """One transaction on the registry: how many VMs it is about, how many of them have a row."""
    vms: int
    rows: int
    make: Callable[[Any, List[str], int], None]


def _register(edit: Any, uuids: List[str], first: int) -> None:
    for place, uuid in enumerate(uuids):
        edit.add_vm(uuid, vm_name='new', pool_id='A', priority=Priority.MEDIUM,
                    vm_id=first + place)


def _change(edit: Any, uuids: List[str], _first: int) -> None:
    edit.change_vm(uuids[0], pool_id='B', priority=Priority.HIGH)


def _remove(edit: Any, uuids: List[str], _first: int) -> None:
    edit.remove_vm(uuids[0])


def _swap(edit: Any, uuids: List[str], first: int) -> None:
    for uuid, vm_id in ((uuids[0], first + 9), (uuids[1], first), (uuids[0], first + 1)):
        edit.change_vm(uuid, vm_id=vm_id)


def _move(edit: Any, uuids: List[str], first: int) -> None:
    edit.remove_vm(uuids[0])
    _register(edit, uuids[1:], first)


def _disable(edit: Any, _uuids: List[str], first: int) -> None:
    edit.change_pool('A', pool_name='off since %d' % first, enabled=False)


EDITS: Dict[str, Edit] = {
    'register': Edit(1, 0, _register),
    'import': Edit(3, 0, _register),
    'change': Edit(1, 1, _change),
    'remove': Edit(1, 1, _remove),
    'swap': Edit(2, 2, _swap),
    'move': Edit(2, 1, _move),
    'disable': Edit(2, 2, _disable),
}
# How old the copy is that the next master comes up with, and what its daemon did meanwhile.
COPIES = ('newest', 'before', 'older')
DAEMONS = ('followed', 'asleep', 'wiped')


class Round:
    """One edit, one death."""

    def __init__(self, pool: PoolWorld, edit: str, number: int) -> None:
        self.pool = pool
        self.edit = EDITS[edit]
        self.first = 1 + number * _PER_ROUND
        self.old, self.new = pool.master, pool.members[0]
        self.refs: List[str] = []
        self.before = self.after = said(self.old)
        self.went_on = False
        """Whether the edit has survived."""

    def prepare(self, copy: str, daemon: str) -> None:
        """The VMs as they are before the edit; how far the next master knows of them."""
        pool = self.pool
        self.refs = [pool.create_vm('vm-%d' % (self.first + place), args=FOREIGN)
                     for place in range(self.edit.vms)]
        with self.old.registry.edit(who='test', command='test') as edit:
            edit.change_pool('A', pool_name='Pool A', enabled=True)
            _register(edit, self._uuids()[:self.edit.rows], self.first)
        marker = pool.create_vm('marker')
        pool.register(marker, vm_id=self.first + 8)
        self._wait_settled(self.old)
        pool.wait_agreed()
        pool.xapi.sync_database()
        if daemon != 'followed':
            self.new.daemon.kill()
        pool.change(marker, priority=Priority.HIGH)
        self._wait_settled(self.old)
        if daemon == 'followed':
            pool.wait_agreed()
        if copy != 'older':
            pool.xapi.sync_database()
        self.before = said(self.old)

    def run(self, number: int, copy: str) -> bool:
        """Make the edit, and have the host die at a write; False when it has no such write."""
        disarm = self.pool.kill_master_at(number, self.new, is_fresh=copy == 'newest')
        with self.old.registry.edit(who='test', command='test') as edit:
            self.edit.make(edit, self._uuids(), self.first)
        self.after = said(self.old)
        self._wait_settled(self.old)
        return disarm()

    def fail_over(self, daemon: str) -> None:
        """The other host becomes the master, and comes to say what it said before or after."""
        pool, new = self.pool, self.new
        if daemon == 'wiped':
            self.new.wipe()
        pool.xapi.fail_over(new.ref)
        if daemon != 'followed':
            new.start_daemon()
        wait_until(lambda: said(new) in (self.before, self.after) and is_mirrored(
            pool, new), lambda: 'neither\n%r nor\n%r but\n%r\n%s' % (
                       self.before, self.after, said(new), '\n'.join(new.daemon.raw[-20:])))
        self.went_on = said(new) == self.after

    def settle(self, daemon: str) -> None:
        """What an operator does about the one thing that may be left: a VM that was staged and
        not yet mirrored. Its row is gone with the host; what it carries is shown and left (P9),
        its number is given to nobody else, and it is registered once more. When the number is
        another VM's again, a daemon that saw the one begin to carry it after the other was staged
        takes it away (P10); one that did not see it leaves both, and shows them."""
        now = said(self.new)
        numbers = {vm_id for vm_id, _, _ in now.assignments.values()}
        for ref, uuid in zip(self.refs, self._uuids()):
            if uuid in now.assignments:
                continue
            left = self.after.render(uuid)
            wait_until(lambda: not self.pool.xapi.vm(ref)['blocked_operations'], 'the fence to go')
            wait_until(lambda: self.pool.args(ref) in (FOREIGN, left), 'the value to be whole')
            if left == FOREIGN:
                continue
            number = self.after.assignments[uuid][0]
            if number in numbers and daemon == 'followed':
                self.pool.wait_args(ref, FOREIGN)
            elif self.pool.args(ref) == left:
                assert self.new.daemon.events('vm.args_injected', vm_uuid=uuid) == []
                self.pool.register(ref, vm_id=None if number in numbers else number)

    def judge(self) -> None:
        """What the VMs carry, and take when they start, is what the master's registry says."""
        pool, master = self.pool, self.pool.master
        now = said(master)
        numbers = [vm_id for vm_id, _, _ in now.assignments.values()]
        assert len(set(numbers)) == len(numbers)
        for ref, uuid in zip(self.refs, self._uuids()):
            pool.wait_args(ref, now.render(uuid))
            # A host that died is in the records for a while as if it lived.
            boot = pool.start_vm(ref, master)
            assert boot.args == now.render(uuid)
            pool.xapi.call('VM.hard_shutdown', ref)

    def bring_back(self) -> None:
        """With the next edit at the latest the pool is of one mind, the dead master's too."""
        pool = self.pool
        pool.bring_back(self.old)
        pool.register(pool.create_vm('next'), vm_id=NEXT + self.first)
        pool.wait_agreed()
        wait_until(lambda: said(self.old) == said(self.new), 'the vGPU pools')

    def _uuids(self) -> List[str]:
        return [self.pool.uuid(ref) for ref in self.refs]

    def _wait_settled(self, master: Host) -> None:
        """All staged and mirrored, or the master dead."""
        pool = self.pool

        def settled() -> bool:
            now = said(master)
            return all(pool.args(ref) == now.render(pool.uuid(ref))
                       and not pool.xapi.vm(ref)['blocked_operations'] for ref in self.refs
                       ) and is_mirrored(pool, master)

        wait_until(lambda: not master.node.is_up or settled(), lambda: 'settled:\n%s' % (
            '\n'.join(master.daemon.raw[-30:])))


def said(host: Host) -> Said:
    """What a host's registry says now; of a host without one, nothing."""
    try:
        contents = host.registry.read()
    except RegistryError:
        return Said({}, ())
    return Said({vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority) for vm in contents.vms},
                tuple((pool.pool_id, bool(pool.enabled)) for pool in contents.pools))


def is_mirrored(pool: PoolWorld, host: Host) -> bool:
    """Whether the newest database has all that this host's registry says, and nothing else."""
    try:
        contents = host.registry.read()
    except RegistryError:
        return False
    slots, vms = read_slots(pool)
    entry = read_pool_entry(slots).entry
    if entry is None or entry.digest != digest_contents(contents.vms, contents.pools):
        return False
    if len(slots) > 1 or has_codes_left(pool):
        return False
    rows = {vm.vm_uuid for vm in contents.vms}
    image = collect_image(vms, entry).image
    return digest_contents(image.vms, image.pools) == entry.digest and all(
        len(vm.mirror) == (1 if vm.uuid in rows else 0) for vm in vms)


def has_codes_left(pool: PoolWorld) -> bool:
    """Whether a record has the code of an entry that is removed: one write is still to come."""
    database = pool.xapi.state.database
    with database.lock:
        configs = [row.fields['other_config'] for table in ('VM', 'pool')
                   for row in database.tables[table].rows.values()]
        return any(slot + CODE in config and slot not in config
                   for config in configs for slot in SLOTS)


def read_slots(pool: PoolWorld) -> Tuple[Any, List[VmRecord]]:
    """Our keys in the newest database: the resource pool's, and those of ordinary VMs."""
    database = pool.xapi.state.database
    with database.lock:
        vms = {ref: row.fields for ref, row in database.tables['VM'].rows.items()}
        slots = _ours(database.read('pool', pool.xapi.pool, 'other_config'))
    return slots, [VmRecord(ref, fields['uuid'], '', VmKind.VM, PowerState.HALTED,
                            mirror=_ours(fields['other_config']))
                   for ref, fields in vms.items()
                   if not (fields['is_a_template'] or fields['is_a_snapshot']
                           or fields['is_control_domain'])]


def _ours(other_config: Dict[str, str]) -> Tuple[Tuple[str, str], ...]:
    return tuple(sorted((key, other_config[key]) for key in SLOTS if key in other_config))
