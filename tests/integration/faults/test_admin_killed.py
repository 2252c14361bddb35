"""P16, P18: SIGKILL at the system calls with which vgpu-admin writes, a daemon running beside it.

Each command that writes is killed at each such call: what it leaves is the state before it or the
state after it, in the registry, in the history and in the files it writes; nothing is locked, and
the same command run again ends well. So is it with a disk that is full from such a call on. A
sample runs here; SWEEP=all tries every call of every command (`make assurance`).
"""

import json
import os
import sqlite3
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest

from registry.errors import RegistryError
from registry.journal.journal import Journal
from registry.store import Registry
from registry.values import Image, Pool, Priority, Vm
from tests.integration.daemon.world import World, wait_until
from tests.integration.faults.killing import Calls, compile_library
from tests.support import programs

IS_WHOLE = os.environ.get('SWEEP') == 'all'
FIGURES = os.environ.get('SWEEP_FIGURES')
# Of the sample: a kill and a full disk each, a third and two thirds of the way.
POINTS = 2
# Of the whole: a full disk at every third call.
FULL_EACH = 3
NOT_FOUND = 3
# Numbers beyond those that are given by hand here are automatic, and another each time.
AUTOMATIC = 78
HAND = '-device vgpu-stub,pool_id=B,priority=high,vm_id=40'
GHOST = '0000dead-1111-2222-3333-44444444abcd'
POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B', 'nightly'))
SOURCE = 'vgpu_config.db'
# What is left beside registry and journal by whoever is killed: it is removed by the next.
LEFT = ('.new', '.part')
# Beside an output file nobody can tell whose it is: it stays, for nobody else to read.
BESIDE = '.vgpu-admin.'

State = Any


class Stand:
    """A pool of halted VMs with a daemon, a registry that can be put back, vgpu-admin."""

    def __init__(self, world: World, library: str) -> None:
        self.world = world
        self.calls = Calls(world.directory, library)
        self.refs = [world.create_vm('vm-%d' % number) for number in range(1, 6)]
        self.refs.append(world.create_vm('hand', args=HAND))
        self.uuids = [world.uuid(ref) for ref in self.refs]
        vms = [Vm(number, uuid, 'vm-%d' % number, 'AB'[number % 2], Priority(number % 3))
               for number, uuid in enumerate(self.uuids[:4], 1)]
        self.image = Image(tuple(vms) + (Vm(9, GHOST, 'ghost', 'A', Priority.LOW),), POOLS, 9)
        self.journal_path = world.registry.journal_path
        self._write_files()
        self.put_back()
        self.other_time = self._make_past()
        self.put_back()

    def _write_files(self) -> None:
        one, new = self.uuids[0], self.uuids[4]
        self._write('in.csv', 'vm_uuid,vm_id,pool_id,priority\n%s,51,B,low\n%s,52,A,high\n'
                    % (one, new))
        self._write('list.txt', new + '\n')
        self._write('other.json', json.dumps({
            'format': 1, 'pools': [{'pool_id': 'A', 'pool_name': 'Render', 'description': None,
                                    'enabled': False}],
            'vms': [{'vm_uuid': one, 'vm_id': 61, 'pool_id': 'B', 'priority': 'high',
                     'vm_name': 'vm-1'},
                    {'vm_uuid': new, 'vm_id': 1, 'pool_id': 'A', 'priority': 'low',
                     'vm_name': 'vm-5'}]}))

    def _write(self, name: str, text: str) -> None:
        with open(self.path(name), 'w', encoding='utf-8') as stream:
            stream.write(text)

    def _make_past(self) -> str:
        """A time at which the registry said something else."""
        with self.world.registry.edit(who='test', command='test') as edit:
            edit.remove_vm(self.uuids[1])
            edit.change_vm(self.uuids[2], vm_id=77)
        made = time.time()
        wait_until(lambda: int(time.time()) > int(made), 'the next second')
        return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(made))

    def path(self, name: str) -> str:
        """A file of the stand."""
        return os.path.join(self.world.directory, name)

    def put_back(self) -> None:
        """The registry as it was, whatever became of it; output files are gone."""
        if not os.path.exists(self.world.registry_path):
            self._replace(may_create=True)
        try:
            self._replace()
        except RegistryError:
            os.remove(self.world.registry_path)
            self._replace(may_create=True)
        for name in ('out.json', 'out.csv', 'sub'):
            _remove(self.path(name))

    def _replace(self, **how: Any) -> None:
        self.world.registry.replace_contents(
            self.image, who='test', command='test', keep_copy=False, **how)

    def words(self, command: 'Command') -> List[str]:
        """The words of a command, with what they name."""
        names = dict(zip(('one', 'two', 'three', 'four', 'new', 'hand'), self.uuids),
                     ghost=GHOST, dir=self.world.directory, past=self.other_time)
        return command.words.format(**names).split(' ')

    def run(self, command: 'Command', kill_at: Optional[int] = None) -> Tuple[int, str]:
        """Run vgpu-admin to its end, or to its death at a call; below zero: the disk is full from
        there on. Status, and what it says."""
        environment = dict(programs.UTF_8)
        if kill_at is not None:
            environment.update(self.calls.arm(kill_at))
        status, out, err = programs.run('cli', ['--config', self.world.config_path]
                                        + self.words(command), stdin=None,
                                        **programs.surroundings(environment))
        return status, (out + err).decode('utf-8', 'replace')

    def state(self) -> State:
        """What registry, another registry and output files say, without times."""
        return (self._read_rows(), read_rows(self.other),
                read_text(self.path('out.json')), read_text(self.path('out.csv')))

    def _read_rows(self) -> Any:
        """Those of the registry; an automatic number, and the VM with arguments made by hand, are
        others each time."""
        found = read_rows(self.world.registry)
        if isinstance(found, str):
            return found
        rows, pools = found
        return sorted(('hand' if row[0] == self.uuids[-1] else row[0],
                       min(row[1], AUTOMATIC)) + row[2:] for row in rows), pools

    @property
    def other(self) -> Registry:
        """Another registry than that of the daemon."""
        return Registry(self.path('sub/other.db'), timeout_seconds=10.0)

    def assert_remembered(self, what: Any) -> None:
        """The rows last seen, from which the history is told, are those of the file."""
        registry = self.world.registry
        try:
            contents = registry.read()
        except RegistryError:
            return
        with Journal(self.journal_path, timeout_seconds=10.0) as journal:
            journal.note_contents(contents)
            past = journal.past(SOURCE)
        assert {vm.vm_uuid: vm.vm_id for vm in past.vms} \
            == {vm.vm_uuid: vm.vm_id for vm in contents.vms}, what
        assert registry.check().problems == (), what


class Command(NamedTuple):
    """A command that writes, and what must have happened before it."""
    words: str
    prepare: Callable[[Stand], None] = lambda _stand: None
    between: str = ''
    """The state that may be seen half-way as well, as the registry says it."""


def lose_file(stand: Stand) -> None:
    """Somebody deletes the registry."""
    os.remove(stand.world.registry_path)


def spoil_file(stand: Stand) -> None:
    """Somebody writes over it, and puts another file in its place."""
    with open(stand.path('garbage'), 'wb') as stream:
        stream.write(b'no database' * 1000)
    os.replace(stand.path('garbage'), stand.world.registry_path)


def lose_rows(stand: Stand) -> None:
    """Another program removes all rows at once."""
    _sql(stand, 'DELETE FROM vms')


def edit_by_hand(stand: Stand) -> None:
    """Another program changes a row."""
    _sql(stand, 'UPDATE vms SET priority = 2 WHERE vm_id = 1')


def bring_by_hand(stand: Stand) -> None:
    """A VM with arguments made by hand: when one loses its row, they go as well."""
    gone = stand.uuids[-1]
    stand.world.xapi.call('VM.destroy', stand.refs.pop())
    stand.refs.append(stand.world.create_vm('hand', args=HAND))
    stand.uuids[-1] = stand.world.uuid(stand.refs[-1])
    with Journal(stand.journal_path, timeout_seconds=10.0) as journal:
        wait_until(lambda: {gone, stand.uuids[-1]} & set(journal.bearers()) == {stand.uuids[-1]},
                   'that the daemon knows of it')


def disable_pool(stand: Stand) -> None:
    """A vGPU pool is disabled."""
    with stand.world.registry.edit(who='test', command='test') as edit:
        edit.change_pool('A', enabled=False)


COMMANDS = {
    'register-vm': Command('register-vm --vm-uuid={new} --vm-id=70'),
    'register-vm --from-file': Command('register-vm --from-file={dir}/list.txt --pool=B'),
    'set-pool': Command('set-pool --vm-uuid={one} --pool=A'),
    'set-priority': Command('set-priority --vm-uuid={one} --priority=high'),
    'set-vm-id': Command('set-vm-id --vm-uuid={one} --vm-id=71'),
    'update-vm': Command('update-vm --vm-uuid={one} --vm-id=72 --pool=A --priority=low'),
    'an edit after another program': Command('set-vm-id --vm-uuid={two} --vm-id=71', edit_by_hand),
    'remove-vm': Command('remove-vm --vm-uuid={one}'),
    'remove-vm --gone': Command('remove-vm --gone --yes'),
    'transfer-vm': Command('transfer-vm --from={ghost} --to={new}'),
    'set-pool-name': Command('set-pool-name --pool-id=A --name=Render'),
    'set-pool-description': Command('set-pool-description --pool-id=A --description=x'),
    'disable-pool': Command('disable-pool --pool-id=B --yes'),
    'enable-pool': Command('enable-pool --pool-id=A', disable_pool),
    'import': Command('import {dir}/in.csv'),
    'restore': Command('restore {dir}/other.json --yes'),
    'restore a lost file': Command('restore {dir}/other.json --yes', lose_file),
    'restore --at': Command('restore --at={past} --yes'),
    'adopt': Command('adopt --yes', bring_by_hand),
    'accept': Command('accept --yes', lose_rows),
    'registry rebuild of a lost file': Command('registry rebuild --yes', lose_file),
    'registry rebuild of a spoiled file': Command('registry rebuild --yes', spoil_file, 'missing'),
    'registry rebuild of lost rows': Command('registry rebuild --yes', lose_rows),
    'registry rebuild --source=history': Command('registry rebuild --source=history --yes',
                                                 lose_file),
    'registry keep': Command('registry keep --yes', edit_by_hand),
    'init': Command('init --db={dir}/sub/other.db'),
    'backup': Command('backup {dir}/out.json'),
    'export': Command('export --format=csv --file={dir}/out.csv'),
    'reconcile': Command('reconcile'),
}
SAMPLE = ('register-vm', 'set-vm-id', 'restore a lost file', 'transfer-vm',
          'registry rebuild of a spoiled file', 'init', 'backup')


@pytest.fixture(scope='module')
def library(tmp_path_factory: Any) -> str:
    """The calls that kill, compiled."""
    return compile_library(str(tmp_path_factory.mktemp('kill')))


@pytest.fixture
def stand(build_world: Callable[..., World], library: str) -> Stand:
    """A stand whose daemon has mirrored the registry."""
    world = build_world().start()
    stand = Stand(world, library)
    wait_mirrored(stand)
    return stand


@pytest.mark.parametrize('names', [[name] for name in COMMANDS] if IS_WHOLE else [SAMPLE],
                         ids=list(COMMANDS) if IS_WHOLE else ['sample'])
def test_a_command_killed_at_a_call_that_writes_has_done_all_or_nothing(
        stand: Stand, names: Any) -> None:
    killed: List[bool] = []
    refused: List[bool] = []
    for name in names:
        command = COMMANDS[name]
        before, after, total = rehearse(stand, command)
        for kill_at in choose(total):
            trouble = meet_trouble(stand, command, (name, kill_at), before, after)
            (killed if kill_at > 0 else refused).append(trouble)
        put_back(stand, Command(''))
    # How often a command waits, and writes meanwhile, is not the same in each run.
    assert sum(killed) >= len(killed) * 0.8
    wait_mirrored(stand)
    if FIGURES:
        with open(FIGURES, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps({
                'command': names[0], 'calls': total, 'kills': sum(killed),
                'full': len(refused), 'refused': sum(refused)}) + '\n')


def choose(total: int) -> List[int]:
    """The calls at which there is trouble; below zero: the disk is full from there on."""
    if IS_WHOLE:
        return list(range(1, total + 1)) + list(range(-1, -total - 1, -FULL_EACH))
    third = 1 + total // (POINTS + 1)
    return [third, -third]


def rehearse(stand: Stand, command: Command) -> Tuple[State, State, int]:
    """The state before a command and after it, and how many calls of it write."""
    put_back(stand, command)
    before = stand.state()
    status, said = stand.run(command, 0)
    assert status == 0, (command, said)
    return before, stand.state(), stand.calls.made


def meet_trouble(stand: Stand, command: Command, what: Any, before: State,
                 after: State) -> bool:
    """Have it meet trouble there, look, and run it again; whether it did not end well."""
    put_back(stand, command)
    status, said = stand.run(command, what[1])
    assert status in ((0, -9) if what[1] > 0 else (0, 1, 2, 5)), (what, said)
    left = stand.state()
    for found, old, new in zip(left, before, after):
        assert found in (old, new, command.between), (what, found, old, new)
    assert status != 0 or left == after, what
    if status > 0 and 'nothing was changed' in said:
        assert left[0] == before[0], (what, said)
    stand.assert_remembered(what)
    again, said = stand.run(command)
    # Whoever removes or moves a row finds none when that was done already.
    is_done = again == NOT_FOUND and left == after
    assert (again == 0 or is_done) and stand.state() == after, (what, again, said, stand.state())
    stand.assert_remembered(what)
    names = os.listdir(stand.world.directory)
    beside = [name for name in names if name.startswith(BESIDE)]
    assert len(beside) <= (status == -9), (what, names)
    for name in beside:
        assert os.stat(stand.path(name)).st_mode & 0o077 == 0, (what, name)
        os.remove(stand.path(name))
    assert not [name for name in set(names) - set(beside) if name.endswith(LEFT)], (what, names)
    process = stand.world.daemon.process
    assert process is not None and process.poll() is None, what
    return status != 0


def put_back(stand: Stand, command: Command) -> None:
    """The registry as it was, and what must have happened."""
    stand.put_back()
    if command.words.startswith('registry '):
        wait_mirrored(stand)  # what comes goes by the mirror, which takes a moment to follow
    command.prepare(stand)


def wait_mirrored(stand: Stand) -> None:
    """Wait until the mirror says what the registry says."""
    compare = Command('registry compare --exit-code')
    wait_until(lambda: stand.run(compare)[0] == 0,
               lambda: 'the mirror: %s\n%s' % (stand.run(compare)[1],
                                               '\n'.join(stand.world.daemon.raw[-20:])))


def read_rows(registry: Registry) -> Any:
    """What a registry says, without times; in a word, when it says nothing."""
    try:
        contents = registry.read()
    except RegistryError as error:
        return str(getattr(error, 'reason', error))
    return (sorted((vm.vm_uuid, vm.vm_id, vm.vm_name, vm.pool_id, int(vm.priority))
                   for vm in contents.vms), [pool[:4] for pool in contents.pools])


def read_text(path: str) -> Optional[Dict[str, Any]]:
    """What a file says; of a backup all but its time."""
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as stream:
        text = stream.read()
    if path.endswith('.json'):
        return {name: value for name, value in json.loads(text).items() if name != 'at'}
    return {'text': text}


def _remove(path: str) -> None:
    if os.path.isdir(path):
        for name in os.listdir(path):
            os.remove(os.path.join(path, name))
        os.rmdir(path)
    elif os.path.exists(path):
        os.remove(path)


def _sql(stand: Stand, statement: str) -> None:
    connection = sqlite3.connect(stand.world.registry_path, timeout=10.0)
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()
