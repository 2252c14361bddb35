"""Who may write other_config, and does not know the pool's secret, changes no assignment (P27).

The real daemon against the simulator: entries are forged, replayed, moved, cut, mixed and taken
away by vm-admin (VM.other_config) and pool-operator (pool.other_config), while the daemon runs and
while its host is wiped.
"""

import os
import random
import re
import sqlite3
import threading
from typing import Any, Callable, Dict, List

import pytest

from registry.errors import RegistryError
from registry.values import Priority
from tests.integration.cli.program import Place
from tests.integration.daemon.conftest import build_world as build_world  # noqa: F401
from tests.integration.daemon.world import World, span, wait_until
from tests.integration.security.forging import (KEYS, SLOTS, begin, forge_pool, forge_vm, judge,
                                                keys_of, put, read_slots, with_sum, write_secret)


class Mirrored:
    """Three VMs with the numbers 1 to 3, mirrored and signed."""

    def __init__(self, world: World) -> None:
        begin()
        self.world = world
        self.secret = write_secret(os.path.join(world.directory, 'ptoken'))
        world.write_config('[mirror]\nkey_file = %s\n' % self.secret)
        world.start()
        self.refs = [world.create_vm('vm%d' % number) for number in (1, 2, 3)]
        for number, ref in enumerate(self.refs, 1):
            world.register(ref, number)
        for number, ref in enumerate(self.refs, 1):
            world.wait_args(ref, span(number))
        self.pool, = world.xapi.call('pool.get_all')
        self.uuid = world.xapi.call('pool.get_uuid', self.pool)
        self.wait_mirrored()

    @property
    def entry(self) -> Dict[str, Any]:
        """The pool's entry, when there is one only."""
        entries = read_slots(self.pool_record)
        return entries[0] if len(entries) == 1 else {}

    @property
    def pool_record(self) -> Dict[str, Any]:
        return {'other_config': self.world.xapi.call('pool.get_other_config', self.pool)}

    def wait_mirrored(self) -> Dict[str, Any]:
        """Wait until the mirror is whole, signed, and of the registry's newest generation."""
        told = self.world.daemon
        wait_until(lambda: self.entry and told.events(
            'mirror.written', generation=self.entry['generation'])
            and self.entry['vms'] == len(self.assignments()) and all(
                len(keys_of(self.world.xapi.vm(ref))) == 2 for ref in self.refs),
            lambda: '%r\n%s' % (self.pool_record, '\n'.join(told.raw[-20:])))
        return self.entry

    def assignments(self) -> Dict[str, Any]:
        try:
            contents = self.world.registry.read()
        except RegistryError:
            return {}
        return {vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority) for vm in contents.vms}

    def snapshot(self) -> List[Any]:
        """All keys of the mirror, to be put back some day."""
        return [('VM', ref, keys_of(self.world.xapi.vm(ref))) for ref in self.refs] + [
            ('pool', self.pool, keys_of(self.pool_record))]

    def replay(self, snapshot: List[Any]) -> None:
        for table, ref, texts in snapshot:
            put(self.world.xapi, table, ref, dict(dict.fromkeys(KEYS), **texts))

    def forge_pool(self, generation: str, slot: str = '', **fields: Any) -> str:
        """Write a pool entry that gives the first VM's number to the second; the slot."""
        free = [item for item in SLOTS if item not in keys_of(self.pool_record)]
        uuids = [self.world.uuid(ref) for ref in self.refs]
        text = forge_pool(self.uuid, generation, [(uuids[1], 1, 'B', 2)],
                          gone=uuids[:1] + uuids[2:], **fields)
        put(self.world.xapi, 'pool', self.pool, {slot or free[0]: text})
        return slot or free[0]

    def wipe(self) -> None:
        """As an installation from the ISO does it; XAPI's database stays."""
        self.world.daemon.kill()
        for name in os.listdir(self.world.directory):
            if name.startswith('vgpu_'):
                os.unlink(os.path.join(self.world.directory, name))

    def all_carry(self) -> bool:
        return [self.world.args(ref) for ref in self.refs] == [span(1), span(2), span(3)]


@pytest.fixture
def mirrored(build_world: Callable[..., World]) -> Mirrored:  # noqa: F811
    return Mirrored(build_world())


def run_admin(world: World, *words: str) -> Any:
    """Run vgpu-admin beside the daemon."""
    place = Place.__new__(Place)  # it has its files already
    place.config, place.directory = world.config_path, world.directory
    return place.run(*words)


def number_of(entry: Dict[str, Any]) -> int:
    return int(entry['generation'].split('-')[0])


# While the daemon runs.

def test_each_entry_is_signed_and_the_secret_stands_nowhere(mirrored: Mirrored) -> None:
    for _table, _ref, texts in mirrored.snapshot():
        assert [key for key in sorted(texts) if key in KEYS] == sorted(texts)
        assert len(texts) == 2 and all('a/b/c' not in text for text in texts.values())
    with open(os.path.join(mirrored.world.directory, 'vgpu_journal.db'), 'rb') as stream:
        content = stream.read()
    assert b'a/b/c' not in content and b'a/b/c'.hex().encode('ascii') not in content
    assert not any('a/b/c' in line for line in mirrored.world.daemon.raw)


@pytest.mark.parametrize('generation', ['999999999-0badf00d', '40-0badf00d'])
def test_forged_pool_entry_of_a_later_generation_waits_for_people(
        mirrored: Mirrored, generation: str) -> None:
    """C1: one call of a pool-operator replaced the registry of all hosts at once."""
    world, wanted, before = mirrored.world, mirrored.assignments(), mirrored.wait_mirrored()
    slot = mirrored.forge_pool(generation)
    forged = keys_of(mirrored.pool_record)[slot]
    world.daemon.wait_for('mirror.undecided', generation=generation, level='error')
    # What people decide goes on: the registry here is staged from.
    world.change(mirrored.refs[0], priority=Priority.HIGH)
    world.wait_args(mirrored.refs[0], span(1, priority='high'))
    assert keys_of(mirrored.pool_record)[slot] == forged, 'nothing is overwritten'
    assert len(mirrored.assignments()) == 3 and not world.daemon.events('registry.rebuilt')
    run = run_admin(world, 'registry', 'compare')
    assert 'not signed' in run.out, run
    run = run_admin(world, 'registry', 'keep', '--yes')
    assert run.status == 0, run
    world.daemon.wait_for('mirror.forged', table='pool', generation=generation)
    after = mirrored.wait_mirrored()
    assert number_of(before) < number_of(after) < number_of(before) + 5
    wanted[world.uuid(mirrored.refs[0])] = (1, 'A', Priority.HIGH)
    judge(mirrored.assignments(), wanted)


def test_forged_pool_entry_of_a_generation_that_was_is_put_right(mirrored: Mirrored) -> None:
    wanted, entry = mirrored.assignments(), mirrored.wait_mirrored()
    for generation in ('1-0badf00d', '%d-0badf00d' % number_of(entry)):
        slot = mirrored.forge_pool(generation)
        wait_until(lambda: slot not in keys_of(mirrored.pool_record),
                   lambda: '\n'.join(mirrored.world.daemon.raw[-20:]))
    assert mirrored.world.daemon.wait_for('mirror.forged')['table'] == 'pool'
    assert mirrored.wait_mirrored()['vms'] == 3
    judge(mirrored.assignments(), wanted)
    assert not mirrored.world.daemon.events('mirror.undecided')


@pytest.mark.parametrize('is_beside', [True, False], ids=['beside', 'instead'])
def test_forged_pool_entry_of_a_later_version_does_not_end_the_mirror(
        mirrored: Mirrored, is_beside: bool) -> None:
    world, (slot,) = mirrored.world, set(keys_of(mirrored.pool_record)) & set(SLOTS)
    texts = {slot: None if not is_beside else keys_of(mirrored.pool_record)[slot]}
    texts[[item for item in SLOTS if item != slot][0]] = with_sum({'format': 2})
    put(world.xapi, 'pool', mirrored.pool, texts)
    world.change(mirrored.refs[0], priority=Priority.HIGH)
    wanted = mirrored.assignments()
    wait_until(lambda: [entry['format'] for entry in read_slots(mirrored.pool_record)] == [1],
               lambda: '%r\n%s' % (mirrored.pool_record, '\n'.join(world.daemon.raw[-20:])))
    mirrored.wait_mirrored()
    judge(mirrored.assignments(), wanted)
    assert not world.daemon.events('mirror.unavailable')
    assert is_beside or world.daemon.wait_for('mirror.forged')['table'] == 'pool'


@pytest.mark.parametrize('generation', ['999999999-0badf00d', '1-0badf00d'])
def test_forged_vm_entry_is_put_right_and_uses_up_no_numbers(mirrored: Mirrored,
                                                             generation: str) -> None:
    """C2, while the daemon runs: any number, any pool, any priority."""
    world, wanted, ref = mirrored.world, mirrored.assignments(), mirrored.refs[1]
    text = forge_vm(world.uuid(ref), mirrored.uuid, generation, 2147483646, 'B')
    free = [slot for slot in SLOTS if slot not in keys_of(world.xapi.vm(ref))][0]
    put(world.xapi, 'VM', ref, {free: text})
    line = world.daemon.wait_for('mirror.forged', vm_uuid=world.uuid(ref))
    assert '2147483646' in line['found']
    mirrored.wait_mirrored()
    judge(mirrored.assignments(), wanted)
    assert mirrored.all_carry()
    fourth = world.create_vm('fourth')
    assert world.register(fourth) == 4
    wait_until(lambda: mirrored.entry.get('vms') == 4, 'the fourth')
    assert mirrored.entry['largest'] == 4


@pytest.mark.parametrize('is_code', [True, False], ids=['its-code', 'its-text'])
@pytest.mark.parametrize('table', ['VM', 'pool'])
def test_an_entry_that_was_changed_by_hand_is_put_right_and_told(mirrored: Mirrored, table: str,
                                                                 is_code: bool) -> None:
    world = mirrored.world
    mirrored.wait_mirrored()
    ref = mirrored.refs[0] if table == 'VM' else world.xapi.call('pool.get_all')[0]

    def read() -> Dict[str, str]:
        return keys_of(world.xapi.vm(ref) if table == 'VM' else mirrored.pool_record)

    key, text = [item for item in read().items() if item[0].endswith('-code') == is_code][0]
    put(world.xapi, table, ref, {key: text[:-9] + '0badf00d' + text[-1]})
    line = world.daemon.wait_for('mirror.forged', table=table)
    assert line['vm_uuid'] == (world.uuid(ref) if table == 'VM' else None)
    wait_until(lambda: key not in read() and len(read()) == 2, 'put right')
    assert len(mirrored.assignments()) == 3 and mirrored.all_carry()


def test_code_that_was_taken_away_or_moved_comes_back(mirrored: Mirrored) -> None:
    world, (one, two, _three) = mirrored.world, mirrored.refs
    wanted = mirrored.assignments()
    texts = [keys_of(world.xapi.vm(ref)) for ref in (one, two)]
    code = [key for key in texts[0] if key.endswith('-code')][0]
    put(world.xapi, 'VM', one, {code: None})
    world.daemon.wait_for('mirror.forged', vm_uuid=world.uuid(one))
    wait_until(lambda: len(keys_of(world.xapi.vm(one))) == 2, 'a code')
    # The entry of one VM with its code on another: it names the one.
    put(world.xapi, 'VM', two, dict(dict.fromkeys(KEYS), **texts[0]))
    world.daemon.wait_for('mirror.corrected', vm_uuid=world.uuid(two), reason='copy')
    wait_until(lambda: [entry['vm'] for entry in read_slots(world.xapi.vm(two))]
               == [world.uuid(two)], 'its own entry')
    judge(mirrored.assignments(), wanted)
    assert mirrored.all_carry()


def test_older_signed_mirror_that_is_put_back_is_overwritten(mirrored: Mirrored) -> None:
    world, before = mirrored.world, mirrored.snapshot()
    world.change(mirrored.refs[0], pool_id='B')
    world.wait_args(mirrored.refs[0], span(1, pool='B'))
    newest, wanted = mirrored.wait_mirrored(), mirrored.assignments()
    mirrored.replay(before)
    wait_until(lambda: mirrored.entry and number_of(mirrored.entry) >= number_of(newest)
               and [entry['pool'] for entry in read_slots(
                   world.xapi.vm(mirrored.refs[0]))][-1:] == ['B'],
               lambda: '\n'.join(world.daemon.raw[-20:]))
    assert wanted[world.uuid(mirrored.refs[0])][1] == 'B'
    judge(mirrored.assignments(), wanted)


@pytest.mark.parametrize('tables', [['pool'], ['VM', 'pool']], ids=['the-pools-entry', 'all'])
def test_older_signed_mirror_that_the_master_has_never_seen_is_overwritten(
        mirrored: Mirrored, tables: List[str]) -> None:
    """As after an installation from the ISO: of what was long ago the journal knows nothing."""
    world, before = mirrored.world, mirrored.snapshot()
    world.change(mirrored.refs[0], pool_id='B')
    world.wait_args(mirrored.refs[0], span(1, pool='B'))
    newest, wanted = mirrored.wait_mirrored(), mirrored.assignments()
    world.daemon.stop()
    with sqlite3.connect(os.path.join(world.directory, 'vgpu_journal.db')) as journal:
        journal.execute('DELETE FROM lineage WHERE generation <> ?', (newest['generation'],))
    journal.close()
    world.start_daemon()
    with world.xapi.state.database.lock:  # at once: what stands in between is another case
        mirrored.replay([item for item in before if item[0] in tables])
    wait_until(lambda: mirrored.entry and number_of(mirrored.entry) >= number_of(newest),
               lambda: '\n'.join(world.daemon.raw[-20:]))
    judge(mirrored.assignments(), wanted)
    # Staging goes on.
    world.change(mirrored.refs[1], pool_id='B')
    world.wait_args(mirrored.refs[1], span(2, pool='B'))


def test_whoever_changes_an_entry_all_the_time_keeps_no_edit_from_being_mirrored(
        mirrored: Mirrored) -> None:
    """P30: it is put right with growing pauses, and told once; the row stands elsewhere."""
    world, (one, two, _three) = mirrored.world, mirrored.refs
    text = forge_vm(world.uuid(one), mirrored.uuid, '7-0badf00d', 9, 'B')
    is_over = threading.Event()

    def meddle() -> None:
        while not is_over.wait(0.02):
            put(world.xapi, 'VM', one, dict(dict.fromkeys(KEYS), **{SLOTS[0]: text}))
    meddling = threading.Thread(target=meddle)
    meddling.start()
    try:
        line = world.daemon.wait_for('mirror.contended', vm_uuid=world.uuid(one))
        assert line['level'] == 'warning'
        before_edit = read_slots(mirrored.pool_record)[-1]['generation']
        world.change(two, pool_id='B')
        wait_until(lambda: mirrored.entry and mirrored.entry['generation'] != before_edit
                   and mirrored.entry['absent'] == [[world.uuid(one), 1, 'A', 1]],
                   lambda: '%r\n%s' % (mirrored.pool_record, '\n'.join(world.daemon.raw[-20:])))
        wanted = mirrored.assignments()
        before = len([call for call in world.xapi.calls if call.method.startswith(
            'VM.add_to_other_config') and call.session and one in call.params])
        assert before < 200
        # Also now it is whole: a host that is wiped has all of it back.
        mirrored.wipe()
        world.start_daemon()
        wait_until(lambda: mirrored.assignments() == wanted,
                   lambda: '\n'.join(world.daemon.raw[-20:]))
    finally:
        is_over.set()
        meddling.join(10.0)
    wait_until(lambda: not mirrored.entry.get('absent', [1]),
               lambda: '%r' % mirrored.pool_record, 60.0)
    mirrored.wait_mirrored()
    assert len(world.daemon.events('mirror.contended')) <= 2


# While the host is wiped.

def forge_numbers(mirrored: Mirrored) -> None:
    """C2: two VMs lose their entries, the third claims their numbers with a huge generation."""
    xapi, refs = mirrored.world.xapi, mirrored.refs
    for ref in refs[:2]:
        put(xapi, 'VM', ref, dict.fromkeys(KEYS))
    put(xapi, 'VM', refs[2], dict(dict.fromkeys(KEYS), **{SLOTS[0]: forge_vm(
        mirrored.world.uuid(refs[2]), mirrored.uuid, '999999999-0badf00d', 1)}))


def forge_whole(mirrored: Mirrored) -> None:
    """A pool-operator replaces all that he can find, and forgets a snapshot."""
    xapi = mirrored.world.xapi
    for ref in mirrored.refs:
        put(xapi, 'VM', ref, dict.fromkeys(KEYS))
    put(xapi, 'pool', mirrored.pool, dict.fromkeys(KEYS))
    mirrored.forge_pool('7-0badf00d')


def strip_codes(mirrored: Mirrored) -> None:
    """The codes of two VMs and of the pool are taken away, and one assignment changed."""
    xapi = mirrored.world.xapi
    codes = {key: None for key in KEYS if key.endswith('-code')}
    for ref in mirrored.refs[:2]:
        put(xapi, 'VM', ref, codes)
    put(xapi, 'pool', mirrored.pool, codes)
    mirrored.forge_pool('%d-0badf00d' % number_of(read_slots(mirrored.pool_record)[0]))


def move_entry(mirrored: Mirrored) -> None:
    """One VM's entry and code stand on another as well, in place of its own."""
    texts = keys_of(mirrored.world.xapi.vm(mirrored.refs[0]))
    put(mirrored.world.xapi, 'VM', mirrored.refs[1], dict(dict.fromkeys(KEYS), **texts))


def rename_entry(mirrored: Mirrored) -> None:
    """A moved entry that was made to name the VM on which it stands."""
    world, (one, two, _three) = mirrored.world, mirrored.refs
    texts = keys_of(world.xapi.vm(one))
    slot = [key for key in texts if key in SLOTS][0]
    entry = read_slots(world.xapi.vm(one))[0]
    texts[slot] = forge_vm(world.uuid(two), mirrored.uuid, entry['generation'], 2, 'B')
    put(world.xapi, 'VM', two, dict(dict.fromkeys(KEYS), **texts))


def give_garbage_codes(mirrored: Mirrored) -> None:
    """Every code is replaced by one of another key."""
    for table, ref, texts in mirrored.snapshot():
        put(mirrored.world.xapi, table, ref,
            {key: '1-' + '0' * 64 for key in texts if key.endswith('-code')})


@pytest.mark.parametrize('attack', [
    forge_numbers, forge_whole, strip_codes, move_entry, rename_entry, give_garbage_codes],
    ids=lambda attack: attack.__name__)
def test_a_wiped_host_takes_nothing_from_a_mirror_that_somebody_changed(
        mirrored: Mirrored, attack: Callable[[Mirrored], None]) -> None:
    world, wanted = mirrored.world, mirrored.assignments()
    kept = mirrored.snapshot()
    world.xapi.call('VM.snapshot', mirrored.refs[0], 'before')
    mirrored.wipe()
    attack(mirrored)
    attacked = mirrored.snapshot()
    world.start_daemon()
    wait_until(lambda: [line for line in world.daemon.lines if line['event'] in (
        'mirror.incomplete', 'mirror.undecided')], lambda: '\n'.join(world.daemon.raw))
    world.start_vm(mirrored.refs[0])
    judge(mirrored.assignments(), {})
    assert mirrored.all_carry()
    assert mirrored.snapshot() == attacked, 'a host without a registry removes nothing'
    # What was there is put back, from wherever: then it is the registry again.
    mirrored.replay(kept)
    wait_until(lambda: mirrored.assignments() == wanted, lambda: '\n'.join(world.daemon.raw[-20:]))
    assert mirrored.all_carry()


# At random: whatever somebody writes who has no key.

class Forger:
    """Forges, moves, cuts, mixes, puts back and takes away what stands there, or stood before.

    The third VM's newest entry is left alone: a complete older mirror, or one without any code,
    is what a wiped host cannot tell from the newest (docs/security.md).
    """

    def __init__(self, mirrored: Mirrored, seed: int) -> None:
        self._mirrored = mirrored
        self._random = random.Random(seed)
        self._older = mirrored.snapshot()

    def strike(self) -> None:
        """Do one of them to the entry of a VM, or of the pool."""
        table, ref, older = self._random.choice([self._older[0], self._older[1], self._older[3]])
        texts = keys_of(self._mirrored.pool_record if table == 'pool'
                        else self._mirrored.world.xapi.vm(ref))
        put(self._mirrored.world.xapi, table, ref, self._random.choice([
            self._forge, self._move, self._cut, self._mix, self._put_back, self._take_away])(
                table, ref, texts, older))

    def _forge(self, table: str, ref: str, texts: Any, _older: Any) -> Any:
        newest = max(map(int, re.findall(r'"generation":"(\d+)-', ' '.join(
            keys_of(self._mirrored.pool_record).values())) or [7]))
        generation = '%d-0badf00d' % self._random.choice([1, newest, newest + 1, 999999999])
        slot = self._random.choice(SLOTS)
        uuids = [self._mirrored.world.uuid(item) for item in self._mirrored.refs]
        number = self._random.choice([1, 2, 3, 4, 2147483646])
        text = forge_pool(self._mirrored.uuid, generation, [(uuids[1], number, 'B', 2)],
                          gone=uuids[:1]) if table == 'pool' else forge_vm(
            self._mirrored.world.uuid(ref), self._mirrored.uuid, generation, number, 'B')
        return {slot: text, slot + '-code': self._random.choice(
            [texts.get(slot + '-code'), '1-' + '0' * 64, None])}

    def _move(self, _table: str, _ref: str, _texts: Any, _older: Any) -> Any:
        return dict(dict.fromkeys(KEYS), **self._random.choice(self._mirrored.snapshot())[2])

    def _cut(self, _table: str, _ref: str, texts: Any, older: Any) -> Any:
        key, text = self._random.choice(sorted((texts or older).items()))
        return {key: text[:self._random.randrange(len(text))]}

    def _mix(self, _table: str, _ref: str, texts: Any, older: Any) -> Any:
        return {key: older.get(key) for key in KEYS
                if self._random.random() < 0.5 and key in {**texts, **older}}

    def _put_back(self, _table: str, _ref: str, _texts: Any, older: Any) -> Any:
        return dict(dict.fromkeys(KEYS), **older)

    def _take_away(self, _table: str, _ref: str, texts: Any, older: Any) -> Any:
        return {key: None for key in texts or older if self._random.random() < 0.7}


@pytest.mark.parametrize('seed', range(12 if os.environ.get('SWEEP') == 'all' else 1))
def test_no_mixture_of_forgeries_changes_an_assignment(mirrored: Mirrored, seed: int) -> None:
    """While the daemon runs and goes on with what people decide, and while its host is wiped."""
    world, forger = mirrored.world, Forger(mirrored, seed)
    wanted, third = mirrored.assignments(), mirrored.refs[2]
    for number in range(12):
        forger.strike()
        if number % 4 == 3:
            priority = (Priority.LOW, Priority.HIGH)[number // 4 % 2]
            world.change(third, priority=priority)
            wanted[world.uuid(third)] = (3, 'A', priority)
            world.wait_args(third, span(3, priority=priority.word))
            judge(mirrored.assignments(), wanted)
    if world.daemon.events('mirror.undecided'):
        run_admin(world, 'registry', 'keep', '--yes')
    mirrored.wait_mirrored()
    mirrored.wipe()
    for _strike in range(8):
        forger.strike()
    world.daemon.start()
    wait_until(lambda: mirrored.assignments() or [line for line in world.daemon.lines if line[
        'event'] in ('mirror.incomplete', 'mirror.undecided', 'registry.unavailable')],
        lambda: '\n'.join(world.daemon.raw))
    # After one more look: a registry that is made late is one.
    polls = [call.method for call in world.xapi.calls].count('event.from')
    world.create_vm('new')
    wait_until(lambda: [call.method for call in world.xapi.calls].count('event.from') > polls + 1,
               'the daemon to look once more')
    judge(mirrored.assignments() or wanted, wanted)
    assert [world.args(ref) for ref in mirrored.refs] == [
        span(1), span(2), span(3, priority=wanted[world.uuid(third)][2].word)]


def test_rows_of_vms_that_are_gone_come_back_however_many_there_are(mirrored: Mirrored) -> None:
    """More than the pool's entry has room for: they stand in keys of their own."""
    world = mirrored.world
    with world.registry.edit(who='test', command='import') as edit:
        for number in range(4, 900):
            edit.add_vm('%08x-0000-4000-8000-00000000abcd' % number, vm_id=number)
    wait_until(lambda: mirrored.entry.get('vms') == 899 and world.daemon.events(
        'mirror.written', generation=mirrored.entry['generation']),
        lambda: '\n'.join(world.daemon.raw[-20:]))
    texts = keys_of(mirrored.pool_record)
    assert len([key for key in texts if '-more-' in key]) >= 2
    assert max(len(text) for text in texts.values()) < 40000
    wanted = mirrored.assignments()
    mirrored.wipe()
    world.start_daemon()
    wait_until(lambda: mirrored.assignments() == wanted, lambda: '\n'.join(world.daemon.raw[-20:]))
    # What was taken over is written once more, as the master's own; before that two are there.
    world.daemon.wait_for('mirror.written')
    # Without one of these keys it is not complete, and not taken.
    mirrored.wipe()
    wait_until(lambda: mirrored.entry, 'one entry')
    put(world.xapi, 'pool', mirrored.pool, {sorted(
        key for key in keys_of(mirrored.pool_record) if '-more-' in key)[-1]: None})
    world.start_daemon()
    world.daemon.wait_for('mirror.undecided')
    judge(mirrored.assignments(), {})
    assert mirrored.all_carry()


def test_a_wiped_host_has_its_registry_back_from_a_whole_and_signed_mirror(
        mirrored: Mirrored) -> None:
    world, wanted = mirrored.world, mirrored.assignments()
    mirrored.wipe()
    world.start_daemon()
    wait_until(lambda: mirrored.assignments() == wanted, lambda: '\n'.join(world.daemon.raw[-20:]))
    assert not world.daemon.events('mirror.undecided') and mirrored.all_carry()


# Keys that change, and hosts without one.

def test_a_new_secret_has_every_entry_signed_anew_without_a_new_generation(
        mirrored: Mirrored) -> None:
    world, before, entry = mirrored.world, mirrored.snapshot(), mirrored.wait_mirrored()
    write_secret(mirrored.secret, 'd/e/f')
    wait_until(lambda: all(now != then and len(now[2]) == 2
                           for now, then in zip(mirrored.snapshot(), before)),
               lambda: '\n'.join(world.daemon.raw[-20:]))
    assert mirrored.entry == entry
    quiet = [line for line in world.daemon.lines if line['event'] in (
        'mirror.forged', 'mirror.corrected', 'mirror.undecided')]
    assert quiet == []
    # A host that comes up with the new secret alone reads what the other has left.
    wanted = mirrored.assignments()
    mirrored.wipe()
    world.start_daemon()
    wait_until(lambda: mirrored.assignments() == wanted, lambda: '\n'.join(world.daemon.raw[-20:]))


def test_a_secret_that_is_gone_costs_a_word_and_the_journals_key_goes_on(
        mirrored: Mirrored) -> None:
    world = mirrored.world
    world.daemon.stop()
    os.unlink(mirrored.secret)
    world.start_daemon()
    assert world.daemon.wait_for('mirror.unsigned')['is_signing'] is True
    world.change(mirrored.refs[0], pool_id='B')
    world.wait_args(mirrored.refs[0], span(1, pool='B'))
    mirrored.wait_mirrored()
    assert not world.daemon.events('mirror.undecided')


def test_a_pool_that_never_had_a_key_is_followed_as_before_until_it_has_one(
        build_world: Callable[..., World]) -> None:  # noqa: F811
    world = build_world()
    world.write_config('[mirror]\nkey_file =\n')
    world.start()
    ref = world.create_vm('vm')
    world.register(ref, 1)
    world.wait_args(ref, span(1))
    assert world.daemon.wait_for('mirror.unsigned')['is_signing'] is False
    wait_until(lambda: len(keys_of(world.xapi.vm(ref))) == 1 and world.daemon.events(
        'mirror.written', vms=1), 'an entry')
    generation = read_slots(world.xapi.vm(ref))[0]['generation']
    assert len(keys_of(world.xapi.vm(ref))) == 1
    world.daemon.stop()
    secret = write_secret(os.path.join(world.directory, 'ptoken'))
    world.write_config('[mirror]\nkey_file = %s\n' % secret)
    world.start_daemon()
    wait_until(lambda: len(keys_of(world.xapi.vm(ref))) == 2 and SLOTS[0] + '-code' in keys_of(
        world.xapi.vm(ref)) or SLOTS[1] + '-code' in keys_of(world.xapi.vm(ref)), 'a code')
    world.daemon.wait_for('mirror.written')
    assert read_slots(world.xapi.vm(ref))[-1]['generation'] == generation
    assert not [line for line in world.daemon.lines if line['event'] in (
        'mirror.forged', 'mirror.corrected', 'mirror.undecided')]


def test_people_may_rebuild_from_an_unsigned_mirror_that_is_whole(mirrored: Mirrored) -> None:
    """As after a master with version 0.1, or with another secret."""
    world, uuid = mirrored.world, mirrored.world.uuid(mirrored.refs[1])
    mirrored.forge_pool('500-0badf00d')
    world.daemon.wait_for('mirror.undecided')
    run = run_admin(world, 'registry', 'rebuild', '--yes')
    assert run.status == 0, run
    assert mirrored.assignments() == {uuid: (1, 'B', Priority.HIGH)}
    wait_until(lambda: mirrored.entry and mirrored.entry['vms'] == 1
               and number_of(mirrored.entry) > 500 and len(keys_of(mirrored.pool_record)) == 2,
               lambda: '\n'.join(world.daemon.raw[-20:]))


def test_what_is_not_whole_is_rebuilt_from_what_is_signed(mirrored: Mirrored) -> None:
    """A vm-admin took one entry away, and gave a VM of his the number of another."""
    world = mirrored.world
    evil = world.create_vm('evil')
    mirrored.wipe()
    put(world.xapi, 'VM', mirrored.refs[1], dict.fromkeys(KEYS))
    put(world.xapi, 'VM', evil, {SLOTS[0]: forge_vm(
        world.uuid(evil), mirrored.uuid, '100000000-0badf00d', 1)})
    run = run_admin(world, 'registry', 'rebuild', '--yes')
    assert run.status == 0 and 'not whole' in run.err and 'no key known here has signed' in run.err
    judge({vm_uuid: row[0] for vm_uuid, row in mirrored.assignments().items()},
          {world.uuid(mirrored.refs[0]): 1, world.uuid(mirrored.refs[2]): 3})
