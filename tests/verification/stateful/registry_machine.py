"""What may happen to the registry, in any order that hypothesis thinks of.

Administrators edit, import, restore, rebuild, adopt, keep; other programs write with SQL, remove
rows, add triggers, put files back; files are deleted, emptied, spoiled; commands are killed at a
system call that writes, or meet a full disk; the daemon mirrors, is killed, is started. The
machine knows what persons have decided. No assignment may ever be gone that no person, and no
other program that may, has removed; in the end file, mirror and history agree.
"""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple, Union

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from registry.errors import RegistryError
from registry.journal.journal import Journal
from registry.schema import MIRROR_NOTE
from tests.integration.daemon.world import World, wait_until
from tests.integration.faults.killing import Calls
from tests.support import programs

VMS = st.integers(0, 3)
POOLS = st.sampled_from('AB')
PRIORITIES = st.sampled_from(['low', 'medium', 'high'])
# How a command ends; most do so by themselves.
FATES = st.sampled_from(['ends'] * 4 + ['killed', 'full disk'])
CALLS = st.integers(1, 70)
WORDS = ('low', 'medium', 'high')
# From so many rows on it is an accident when all are gone (P17).
ALL_OF = 3
KILLED, REFUSED, DIFFERS = -9, 4, 6
# A number that was given away is taken until whoever had it is staged.
CARRIED = 'carries this one until it is staged'
# A command takes long where many tests run.
PATIENCE_SECONDS = 90.0
TRIGGER = ('CREATE TRIGGER swallow BEFORE %s ON vms BEGIN SELECT raise(IGNORE); END')

Rows = Dict[str, Tuple[int, str, str]]


class Registering(RuleBasedStateMachine):
    """The rules; `library` is set by whoever runs it.

    What may be done depends on what programs have left, which no seed decides: so no rule has a
    precondition, and one that cannot be done does nothing.
    """

    library = ''
    orders = commands = 0
    """How many were tried, and commands in them."""

    def __init__(self) -> None:
        super().__init__()
        type(self).orders += 1
        self.directory = tempfile.mkdtemp(prefix='vgpu')
        self.world = World(self.directory).start()
        self.calls = Calls(self.directory, self.library)
        refs = [self.world.create_vm('vm-%d' % number) for number in range(4)]
        self.uuids = [self.world.uuid(ref) for ref in refs]
        self.hand = self.world.uuid(self.world.create_vm(
            'hand', args='-device vgpu-stub,pool_id=B,priority=high,vm_id=40'))
        self.number = 100
        self.wanted: Rows = {}
        """What persons, and other programs that may, have decided."""
        self.mirrored: Optional[Rows] = {}
        """What the mirror says, where that is known."""
        self.saved: Optional[Rows] = None
        self.copied: Optional[Rows] = None
        self.times: Dict[str, Rows] = {}
        self.has_trigger = False
        self.log: List[str] = []
        for index in range(ALL_OF):
            self.edit('register-vm', index, 'A', 'medium', 'ends', 1)

    # What is there.

    def path(self, name: str) -> str:
        """A file beside the registry."""
        return os.path.join(self.directory, name)

    def read(self) -> Union[Rows, str]:
        """What the registry says; in a word, why it says nothing."""
        try:
            contents = self.world.registry.read()
        except RegistryError as error:
            return str(getattr(error, 'reason', error))
        return {vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority.word) for vm in contents.vms}

    def look(self) -> None:
        """Somebody of ours looks, as the daemon does twice a second: what others did is noted."""
        with Journal(self.world.registry.journal_path, timeout_seconds=10.0) as journal:
            journal.note_contents(self.world.registry.read())

    @property
    def is_usable(self) -> bool:
        """Whether the registry can be edited."""
        return isinstance(self.read(), dict)

    @property
    def is_alive(self) -> bool:
        """Whether the daemon runs."""
        process = self.world.daemon.process
        return process is not None and process.poll() is None

    def run(self, *words: str, fate: str = 'ends', at: int = 1) -> int:
        """Run vgpu-admin; its status."""
        type(self).commands += 1
        environment = dict(programs.UTF_8)
        if fate != 'ends':
            environment.update(self.calls.arm(at if fate == 'killed' else -at))
        status, out, err = programs.run('cli', ('--config', self.world.config_path) + words,
                                        stdin=None, **programs.surroundings(environment))
        self.log.append('%s: %s, %d: %s' % (' '.join(words), fate, status,
                                            (out + err).decode('utf-8', 'replace')[-600:]))
        assert status in (0, 1, 2, 3, REFUSED, 5, DIFFERS, KILLED), self.told()
        assert status != KILLED or fate == 'killed', self.told()
        return status

    def told(self) -> str:
        """What has happened, for whoever has to understand it."""
        return '\n'.join(self.log[-12:] + ['wanted: %r' % self.wanted, 'found: %r' % (self.read(),)]
                         + self.world.daemon.raw[-8:])

    def change(self, after: Rows, words: Tuple[str, ...], fate: str = 'ends', at: int = 1, *,
               can_cure: Tuple[str, ...] = (), may_refuse: bool = False) -> int:
        """Run a command that does all of this or nothing; what it did is what is wanted now."""
        before, begun = self.read(), int(time.time())
        status = self.run(*words, fate=fate, at=at)
        found = self.read()
        if isinstance(before, str) and before not in can_cure:
            assert found == before and status != 0, self.told()
        elif status == 0:
            assert found == after, self.told()
        elif fate == 'ends':
            assert found == before, self.told()
            assert may_refuse or self.has_trigger or self.wanted == after or (
                status == REFUSED and CARRIED in self.log[-1]), self.told()
        else:
            assert found in (before, after) or before in can_cure and isinstance(found, str), \
                self.told()
        if isinstance(found, dict):
            if found != self.wanted:
                self.wanted, self.mirrored = found, None
            self.remember(begun)
        return status

    def remember(self, begun: int) -> None:
        """What the registry says at this second, when nothing else happened within it."""
        self.look()
        now = int(time.time())
        self.forget(begun, now)
        self.times[_render(now)] = dict(self.wanted)

    def forget(self, begun: int, now: int) -> None:
        """Within a second there may have been several states."""
        for second in range(begun, now + 1):
            self.times.pop(_render(second), None)

    # Administrators.

    @rule(name=st.sampled_from(['register-vm', 'register-vm', 'remove-vm', 'set-pool',
                                'set-priority', 'set-vm-id', 'update-vm']),
          index=VMS, pool=POOLS, priority=PRIORITIES, fate=FATES, at=CALLS)
    def edit(self, name: str, index: int, pool: str, priority: str, fate: str, at: int) -> None:
        """One VM's row."""
        uuid, after = self.uuids[index], dict(self.wanted)
        self.number += 1
        words = {'register-vm': ('--pool=' + pool, '--priority=' + priority,
                                 '--vm-id=%d' % self.number),
                 'remove-vm': (), 'set-pool': ('--pool=' + pool,),
                 'set-priority': ('--priority=' + priority,),
                 'set-vm-id': ('--vm-id=%d' % self.number,),
                 'update-vm': ('--pool=' + pool, '--vm-id=%d' % self.number)}[name]
        if name == 'register-vm':
            after.setdefault(uuid, (self.number, pool, priority))
        elif name == 'remove-vm':
            after.pop(uuid, None)
        elif uuid in after:
            number, old_pool, old_priority = after[uuid]
            after[uuid] = (self.number if name in ('set-vm-id', 'update-vm') else number,
                           pool if name in ('set-pool', 'update-vm') else old_pool,
                           priority if name == 'set-priority' else old_priority)
        self.change(after, (name, '--vm-uuid=' + uuid) + words, fate, at)

    @rule(first=VMS, second=VMS, fate=FATES, at=CALLS)
    def swap(self, first: int, second: int, fate: str, at: int) -> None:
        """A list of two VMs, whose numbers change places."""
        one, two = self.uuids[first], self.uuids[second]
        if one == two or not {one, two} <= set(self.wanted):
            return
        after = dict(self.wanted)
        after[one] = (self.wanted[two][0],) + self.wanted[one][1:]
        after[two] = (self.wanted[one][0],) + self.wanted[two][1:]
        with open(self.path('in.csv'), 'w', encoding='utf-8') as stream:
            stream.write('vm_uuid,vm_id\n%s,%d\n%s,%d\n' % (one, after[one][0], two, after[two][0]))
        self.change(after, ('import', self.path('in.csv')), fate, at)

    @rule()
    def save(self) -> None:
        """A backup."""
        if self.run('backup', self.path('saved.json')) == 0:
            with open(self.path('saved.json'), encoding='utf-8') as stream:
                rows = json.load(stream)['vms']
            self.saved = {row['vm_uuid']: (row['vm_id'], row['pool_id'], row['priority'])
                          for row in rows}
            assert self.saved == self.wanted, self.told()

    @rule(fate=FATES, at=CALLS)
    def restore(self, fate: str, at: int) -> None:
        """What was saved comes back, whatever was lost."""
        if self.saved is not None:
            self.change(dict(self.saved), ('restore', self.path('saved.json'), '--yes'), fate,
                        at, can_cure=('missing', 'empty', 'doubtful'), may_refuse=True)

    @rule(choice=st.integers(0, 20))
    def go_back(self, choice: int) -> None:
        """The registry of an earlier second."""
        times = sorted(at for at in self.times if at < _render(int(time.time())))
        if times:
            at = times[choice % len(times)]
            self.change(dict(self.times[at]), ('restore', '--at=' + at, '--yes'),
                        can_cure=('missing', 'empty', 'doubtful'), may_refuse=True)

    @rule(fate=FATES, at=CALLS)
    def adopt(self, fate: str, at: int) -> None:
        """A VM with arguments made by hand."""
        if not any(row[0] == 40 for row in self.wanted.values()):
            after = dict(self.wanted, **{self.hand: (40, 'B', 'high')})
            before = self.read()
            self.run('adopt', '--yes', fate=fate, at=at)
            found = self.read()
            # What it carried may have been removed with its row.
            assert found in (before, after), self.told()
            if found == after and found != before:
                self.wanted, self.mirrored = after, None
                self.remember(int(time.time()) - 1)

    @rule()
    def init(self) -> None:
        """Where assignments are held, there is no new registry."""
        before = self.read()
        status = self.run('init')
        if before in ('missing', 'empty') and self.wanted:
            assert status == REFUSED and self.read() == before, self.told()
        elif isinstance(before, dict):
            assert status == 0 and self.read() == before, self.told()

    @rule()
    def accept(self) -> None:
        """Somebody says that the rows were meant to go."""
        if self.read() != 'doubtful':
            return
        assert self.run('accept', '--yes') == 0, self.told()
        found = self.read()
        assert isinstance(found, dict), self.told()
        self.wanted, self.mirrored = found, None
        self.remember(int(time.time()) - 1)

    @rule(source=st.sampled_from(['mirror', 'history']), fate=FATES, at=CALLS)
    def rebuild(self, source: str, fate: str, at: int) -> None:
        """The cure that the message names first."""
        if self.is_usable or source == 'mirror' and self.mirrored != self.wanted:
            return
        self.change(dict(self.wanted), ('registry', 'rebuild', '--source=' + source, '--yes'),
                    fate, at, may_refuse=self.has_trigger,
                    can_cure=('missing', 'empty', 'corrupt', 'doubtful', 'foreign'))

    # Other programs.

    @rule(index=VMS, priority=st.integers(0, 2))
    def write_with_sql(self, index: int, priority: int) -> None:
        """A row is changed, or comes."""
        if self.is_usable and not self.has_trigger:
            uuid, begun = self.uuids[index], int(time.time())
            self.number += 1
            if uuid in self.wanted:
                self.sql('UPDATE vms SET priority = ? WHERE vm_uuid = ?', priority, uuid)
            else:
                self.sql('INSERT INTO vms (vm_id, vm_uuid, priority) VALUES (?, ?, ?)',
                         self.number, uuid, priority)
            number, pool, _ = self.wanted.get(uuid, (self.number, 'A', ''))
            self.wanted = dict(self.wanted, **{uuid: (number, pool, WORDS[priority])})
            self.mirrored = None
            self.remember(begun)

    @rule(index=VMS)
    def remove_with_sql(self, index: int) -> None:
        """A single row goes: that is an edit like any other."""
        uuid = self.uuids[index]
        if self.is_usable and not self.has_trigger and uuid in self.wanted:
            begun = int(time.time())
            self.sql('DELETE FROM vms WHERE vm_uuid = ?', uuid)
            self.wanted = {key: row for key, row in self.wanted.items() if key != uuid}
            self.mirrored = None
            self.remember(begun)

    @rule()
    def remove_all_with_sql(self) -> None:
        """All rows go at once: that is an accident."""
        if self.is_usable and not self.has_trigger and len(self.wanted) >= ALL_OF:
            self.sql('DELETE FROM vms')
            assert self.read() == 'doubtful', self.told()

    @rule(statement=st.sampled_from(['INSERT', 'UPDATE', 'DELETE']))
    def add_or_drop_a_trigger(self, statement: str) -> None:
        """It swallows what is written: no command says that it was done."""
        if self.is_usable:
            self.sql('DROP TRIGGER swallow' if self.has_trigger else TRIGGER % statement)
            self.has_trigger = not self.has_trigger

    @rule()
    def copy_the_file(self) -> None:
        """For later."""
        if self.is_usable and not self.has_trigger:
            connection = sqlite3.connect(self.world.registry_path, timeout=10.0,
                                         isolation_level=None)
            connection.execute('BEGIN IMMEDIATE')  # nobody is half-way
            shutil.copy(self.world.registry_path, self.path('copy'))
            connection.close()
            self.copied = dict(self.wanted)

    @rule()
    def put_the_copy_back(self) -> None:
        """Somebody replaces the file."""
        if self.copied is None:
            return
        begun = int(time.time())
        shutil.copy(self.path('copy'), self.path('moved'))
        os.replace(self.path('moved'), self.world.registry_path)
        self.has_trigger = False
        if len(self.wanted) >= ALL_OF and not set(self.wanted) & set(self.copied):
            assert self.read() == 'doubtful', self.told()
            return
        self.wanted, self.mirrored = dict(self.copied), None
        self.remember(begun)

    @rule(how=st.sampled_from(['delete', 'empty', 'spoil']))
    def damage(self, how: str) -> None:
        """The file is of no use any more."""
        path = self.world.registry_path
        _remove(path)
        if how != 'delete':
            with open(path, 'wb') as stream:
                stream.write(b'' if how == 'empty' else b'no database' * 1000)
        self.has_trigger = False
        assert self.read() in ('missing', 'empty', 'corrupt'), self.told()

    # The daemon.

    @rule()
    def kill_or_start_the_daemon(self) -> None:
        """In the middle of whatever it does."""
        if self.is_alive:
            self.world.daemon.kill()
        else:
            self.world.start_daemon()

    @rule()
    def settle(self) -> None:
        """Undisturbed, the mirror says what the registry says."""
        if not self.is_alive:
            self.world.start_daemon()
        if self.is_usable:
            self.wait_mirrored()

    @rule()
    def install_anew(self) -> None:
        """The host's disk is new: all comes back from the mirror."""
        if self.mirrored != self.wanted:
            return
        self.world.daemon.kill()
        for name in os.listdir(self.directory):
            if name.startswith(('vgpu_config.db', 'vgpu_journal.db')):
                os.remove(self.path(name))
        self.has_trigger, self.times = False, {}
        self.world.start_daemon()
        if self.wanted:
            wait_until(lambda: self.read() == self.wanted, self.told, PATIENCE_SECONDS)
        elif not self.is_usable:
            self.run('init')
        self.wait_mirrored()

    def wait_mirrored(self) -> None:
        """Wait until both agree; registry compare says so."""
        wait_until(lambda: self.is_noted() and self.run('registry', 'compare', '--exit-code') == 0,
                   self.told, PATIENCE_SECONDS)
        self.mirrored = dict(self.wanted)

    def is_noted(self) -> bool:
        """Whether the daemon has noted that the mirror is whole, and nothing waits."""
        with Journal(self.world.registry.journal_path, timeout_seconds=10.0) as journal:
            note = json.loads(journal.read_note(MIRROR_NOTE) or '{}')
            return (note.get('state') == 'mirrored' and not journal.waiting_edits()
                    and journal.lineage()[-1:] == (note.get('generation'),))

    def sql(self, statement: str, *values: Any) -> None:
        """A statement of another program."""
        connection = sqlite3.connect(self.world.registry_path, timeout=10.0)
        try:
            with connection:
                connection.execute(statement, values)
        finally:
            connection.close()

    def teardown(self) -> None:
        """In the end nothing is lost, and all agree."""
        try:
            if self.has_trigger:
                self.add_or_drop_a_trigger('')
            if not self.is_usable:
                self.rebuild('history', 'ends', 1)
            assert self.read() == self.wanted, self.told()
            self.settle()
            self.look()
            with Journal(self.world.registry.journal_path, timeout_seconds=10.0) as journal:
                past = journal.past(os.path.basename(self.world.registry_path))
            assert {vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority.word)
                    for vm in past.vms} == self.wanted, self.told()
        finally:
            self.world.close()
            shutil.rmtree(self.directory, ignore_errors=True)


def _render(second: int) -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(second))


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
