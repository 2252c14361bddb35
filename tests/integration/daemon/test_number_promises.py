"""Numbers: what a VM has is what runs, and a number belongs to its row (P6, P10).

Judged by the arguments that QEMUs got: at no moment may two of them run with one number.
"""

import itertools
import json
import random
import re
import sqlite3
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import pytest

from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import programs

_NUMBER = re.compile(r'vm_id=([0-9]+)')


class Fleet:
    """Some registered VMs, and the numbers with which their QEMUs run."""

    def __init__(self, world: World, numbers: List[int]) -> None:
        self.world = world
        self.refs = {}
        for number in numbers:
            self.refs[number] = world.create_vm('vm%d' % number)
            world.register(self.refs[number], vm_id=number)
        for number, ref in self.refs.items():
            world.wait_args(ref, span(number))

    def ref(self, number: int) -> str:
        """The VM that had this number at first."""
        return self.refs[number]

    def runs(self) -> Dict[str, int]:
        """The numbers with which the VMs run now."""
        found = {}
        for ref in self.refs.values():
            if self.world.xapi.vm(ref)['power_state'] == 'Running':
                found[ref] = number_of(self.world.last_boot(ref).args)
        return found

    def check(self) -> None:
        """No number runs twice, and nothing runs without one."""
        numbers = list(self.runs().values())
        assert None not in numbers and len(numbers) == len(set(numbers)), self.runs()

    def start(self, number: int) -> None:
        """Start a VM, unless it runs."""
        if self.world.xapi.vm(self.ref(number))['power_state'] == 'Halted':
            self.world.start_vm(self.ref(number))

    def stop(self, number: int) -> None:
        """Stop a VM, unless it is stopped."""
        if self.world.xapi.vm(self.ref(number))['power_state'] == 'Running':
            self.world.xapi.call('VM.hard_shutdown', self.ref(number))

    def reboot(self, number: int) -> None:
        """Reboot a VM from inside, if it runs."""
        if self.world.xapi.vm(self.ref(number))['power_state'] == 'Running':
            self.world.xapi.guest_reboot(self.ref(number))

    def renumber(self, wanted: Dict[int, int], **changes: Any) -> None:
        """Give the rows other numbers, in one edit."""
        connection = sqlite3.connect(self.world.registry_path)
        with connection:
            for number, ref in self.refs.items():
                connection.execute('UPDATE vms SET vm_id = ? WHERE vm_uuid = ?',
                                   (1000 + number, self.world.uuid(ref)))
            for number, new in wanted.items():
                connection.execute('UPDATE vms SET vm_id = ? WHERE vm_uuid = ?',
                                   (new, self.world.uuid(self.ref(number))))
                for column, value in changes.items():
                    connection.execute('UPDATE vms SET %s = ? WHERE vm_uuid = ?' % column,
                                       (value, self.world.uuid(self.ref(number))))
        connection.close()


def number_of(args: Optional[str]) -> Optional[int]:
    """The number in a value."""
    found = _NUMBER.search(args or '')
    return int(found.group(1)) if found else None


class Answer(NamedTuple):
    """What vgpu-admin ended with and said; blanks where it was wrapped."""
    returncode: int
    stdout: str
    stderr: str


def admin(world: World, *words: str) -> Answer:
    """Run vgpu-admin."""
    status, out, err = programs.run('cli', ['--config', world.config_path] + list(words))
    return Answer(status, ' '.join(out.decode().split()), ' '.join(err.decode().split()))


def write_by_hand(world: World, ref: str, value: Optional[str]) -> None:
    """As `xe vm-param-set platform:device-model-args` does it, in any power state."""
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    if value is not None:
        world.xapi.call('VM.add_to_platform', ref, KEY, value)


# What a running VM has is what its receipt found (P6).

def test_change_stays_pending_and_its_number_taken_whatever_is_written_into_the_record(
        world: World) -> None:
    fleet = Fleet(world, [1])
    web, other = fleet.ref(1), world.create_vm('db')
    fleet.start(1)
    world.booted(web, verdict='as_desired')
    world.change(web, vm_id=7)
    write_by_hand(world, web, span(7))
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(web))
    shown = json.loads(admin(world, '--json', 'show-vm', '--vm-uuid=' + world.uuid(web)).stdout)
    assert (shown['vm']['state'], shown['vm']['carried']) == ('pending', span(7))
    refused = admin(world, 'register-vm', '--vm-uuid=' + world.uuid(other), '--vm-id=1')
    assert refused.returncode == 4 and world.uuid(web) in refused.stderr
    fleet.stop(1)
    wait_until(lambda: admin(world, 'register-vm', '--vm-uuid=' + world.uuid(other),
                             '--vm-id=1').returncode == 0, 'the old number to be free')
    world.wait_args(other, span(1))
    world.start_vm(other)
    assert world.start_vm(web).args == span(7) and world.last_boot(other).args == span(1)


def test_number_that_runs_unregistered_is_taken_though_the_record_says_otherwise(
        world: World) -> None:
    stray, other = world.create_vm('stray', args=span(30)), world.create_vm('other')
    world.start_vm(stray)
    wait_until(lambda: admin(world, '--json', 'explain', '--vm-uuid=' + world.uuid(stray))
               .returncode == 0 and 'vm_id=30' in admin(
                   world, '--json', 'explain', '--vm-uuid=' + world.uuid(stray)).stdout,
               'the quiet receipt')
    write_by_hand(world, stray, None)
    refused = admin(world, 'register-vm', '--vm-uuid=' + world.uuid(other), '--vm-id=30')
    assert refused.returncode == 4 and world.uuid(stray) in refused.stderr
    assert not world.daemon.events('vm.booted', vm_uuid=world.uuid(stray))


# A number is staged only when no other VM has it (P10).

def test_vm_keeps_its_old_number_with_the_new_priority_while_another_runs_with_the_new_one(
        world: World) -> None:
    fleet = Fleet(world, [1, 2])
    one, two = fleet.ref(1), fleet.ref(2)
    fleet.start(2)
    world.booted(two)
    fleet.renumber({1: 2, 2: 3}, priority=2)
    world.wait_args(one, span(1, priority='high'))
    line = world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(one))
    assert line['holder'] == world.uuid(two)
    shown = admin(world, 'show-vm', '--vm-uuid=' + world.uuid(one)).stdout
    assert 'pending' in shown and world.uuid(two) in shown
    fleet.start(1)
    fleet.check()
    fleet.stop(1)
    fleet.stop(2)
    world.wait_args(one, span(2, priority='high'))
    world.wait_args(two, span(3, priority='high'))


@pytest.mark.parametrize('order', list(itertools.permutations([1, 2, 3])), ids=str)
def test_rotated_numbers_settle_when_their_vms_rest_in_any_order(
        world: World, order: Any) -> None:
    fleet = Fleet(world, [1, 2, 3])
    for number in (1, 2, 3):
        fleet.start(number)
        world.booted(fleet.ref(number))
    fleet.renumber({1: 2, 2: 3, 3: 1})
    for number in order[:-1]:
        fleet.stop(number)
        fleet.start(number)
        fleet.check()
        fleet.stop(number)
    fleet.stop(order[-1])
    for number, wanted in ((1, 2), (2, 3), (3, 1)):
        world.wait_args(fleet.ref(number), span(wanted))
    for number in (1, 2, 3):
        fleet.start(number)
    assert fleet.runs() == {fleet.ref(1): 2, fleet.ref(2): 3, fleet.ref(3): 1}


@pytest.mark.parametrize('seed', range(4))
def test_swapped_numbers_never_run_twice_whoever_starts_reboots_or_is_killed(
        build_world: Callable[..., World], seed: int) -> None:
    chance = random.Random(seed)
    world = build_world().start()
    fleet = Fleet(world, [1, 2, 3])
    fleet.start(1)
    fleet.renumber({1: 2, 2: 1, 3: 30})
    for _step in range(20):
        number = chance.choice((1, 2, 3))
        chance.choice((fleet.start, fleet.stop, fleet.stop, fleet.reboot))(number)
        if chance.random() < 0.2:
            world.daemon.kill()
            world.start_daemon()
        fleet.check()
    for number in (1, 2, 3):
        fleet.stop(number)
    for number, wanted in ((1, 2), (2, 1), (3, 30)):
        world.wait_args(fleet.ref(number), span(wanted))
    for number in (1, 2, 3):
        fleet.start(number)
    assert fleet.runs() == {fleet.ref(1): 2, fleet.ref(2): 1, fleet.ref(3): 30}


def test_daemon_that_is_killed_while_a_vm_has_stepped_aside_leaves_no_double(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    fleet = Fleet(world, [1, 2])
    world.daemon.kill()
    fleet.renumber({1: 2, 2: 1})
    parked = span(2147483646)
    write_by_hand(world, fleet.ref(1), parked)   # as a daemon that is killed after its first write
    world.start_vm(fleet.ref(1))
    world.start_daemon()
    world.wait_args(fleet.ref(2), span(1))
    fleet.start(2)
    fleet.check()
    fleet.stop(1)
    fleet.stop(2)
    world.wait_args(fleet.ref(1), span(2))


def test_swapped_numbers_settle_without_a_daemon(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    fleet = Fleet(world, [1, 2, 3])
    world.daemon.stop()
    fleet.renumber({1: 2, 2: 3, 3: 1})
    done = admin(world, 'reconcile')
    assert done.returncode == 0, done
    assert [world.args(fleet.ref(number)) for number in (1, 2, 3)] == [span(2), span(3), span(1)]


# A number belongs to its row, whatever has become of the row's VM (P10).

@pytest.mark.parametrize('fate', ['template', 'gone', 'ordinary'])
def test_who_began_to_carry_a_rows_number_loses_it_and_gets_it_back_with_a_row(
        world: World, fate: str) -> None:
    fleet = Fleet(world, [1])
    golden = fleet.ref(1)
    write_by_hand(world, golden, '-mine ' + span(1) + ',addr=5')
    world.wait_args(golden, '-mine ' + span(1) + ',addr=5')
    wait_until(lambda: world.daemon.events('stream.resynced'), 'the daemon')
    if fate == 'template':
        world.xapi.call('VM.set_is_a_template', golden, True)
        world.daemon.wait_for('vm.converted', vm_uuid=world.uuid(golden), kind='template')
        clones = [world.xapi.call('VM.clone', golden, 'kid%d' % kid) for kid in (1, 2)]
        for clone in clones:
            world.xapi.set_field(clone, 'is_a_template', False)
    elif fate == 'gone':
        vm_uuid, value = world.uuid(golden), world.args(golden)
        world.xapi.call('VM.destroy', golden)
        world.daemon.wait_for('vm.vanished', vm_uuid=vm_uuid, vm_id=1)
        clones = [world.create_vm('restored%d' % kid, args=value) for kid in (1, 2)]
    else:
        clones = [world.xapi.call('VM.clone', golden, 'kid%d' % kid) for kid in (1, 2)]
    for clone in clones:
        world.wait_args(clone, '-mine')
        assert world.start_vm(clone).args == '-mine'
        world.xapi.call('VM.hard_shutdown', clone)
    number = world.register(clones[0])
    world.wait_args(clones[0], '-mine ' + span(number) + ',addr=5')
    assert number != 1
    if fate == 'template':
        assert world.args(golden) == '-mine ' + span(1) + ',addr=5'
        shown = admin(world, '--json', 'status').stdout
        assert 'vm_is_template' in shown and 'vm_not_in_xapi' not in shown


def test_copy_that_others_block_is_left_alone_while_it_is_blocked(world: World) -> None:
    fleet = Fleet(world, [1])
    replica = world.create_vm('replica', args=span(1), blocked_operations={'start': 'a replica'})
    line = world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(replica))
    assert (line['state'], line['reason']) == ('doubled', 'copy_blocked')
    world.change(fleet.ref(1), pool_id='B')
    world.wait_args(fleet.ref(1), span(1, pool='B'))
    assert world.args(replica) == span(1)
    world.xapi.call('VM.remove_from_blocked_operations', replica, 'start')
    world.wait_args(replica, None)


def test_number_is_claimed_at_the_commit_and_not_by_who_writes_it_first(world: World) -> None:
    fleet = Fleet(world, [1])
    fleet.start(1)
    assert admin(world, 'set-vm-id', '--vm-uuid=' + world.uuid(fleet.ref(1)), '--vm-id=7',
                 '--no-restart').returncode == 0
    thief = world.create_vm('thief', args=span(7))
    world.wait_args(thief, None)
    fleet.stop(1)
    world.wait_args(fleet.ref(1), span(7))
    assert world.start_vm(fleet.ref(1)).args == span(7)


def test_number_that_a_vm_bore_before_is_contested_and_neither_is_changed(world: World) -> None:
    bearer, other = world.create_vm('bearer', args=span(5)), world.create_vm('other')
    refused = admin(world, 'register-vm', '--vm-uuid=' + world.uuid(other), '--vm-id=5')
    assert refused.returncode == 4 and world.uuid(bearer) in refused.stderr
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) '
                           'VALUES (5, ?, ?, ?, 1)', (world.uuid(other), 'other', 'A'))
    connection.close()
    for ref in (bearer, other):
        world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(ref), state='contested')
    assert (world.args(bearer), world.args(other)) == (span(5), None)
    third = world.create_vm('third')
    assert world.register(third) == 6


def test_two_unregistered_vms_with_one_number_are_shown_before_they_start(world: World) -> None:
    first, second = world.create_vm('first', args=span(9)), world.create_vm('second', args=span(9))
    for ref, other in ((first, second), (second, first)):
        line = world.daemon.wait_for('vm.endangered', vm_uuid=world.uuid(ref))
        assert (line['danger'], line['others']) == ('number_borne_twice', [world.uuid(other)])
    shown = admin(world, '--json', 'status').stdout
    assert shown.count('number_borne_twice') == 2


def test_number_that_only_a_vm_bears_does_not_use_up_the_automatic_ones(world: World) -> None:
    world.create_vm('hog', args=span(2147483645))
    victim = world.create_vm('victim')
    done = admin(world, 'register-vm', '--vm-uuid=' + world.uuid(victim))
    assert done.returncode == 0
    world.wait_args(victim, span(1))


def test_edit_of_a_vm_whose_record_was_written_by_hand_still_needs_a_restart(world: World) -> None:
    fleet = Fleet(world, [1])
    web = fleet.ref(1)
    fleet.start(1)
    world.booted(web)
    write_by_hand(world, web, span(7))
    vm = '--vm-uuid=' + world.uuid(web)
    assert admin(world, 'set-vm-id', vm, '--vm-id=7').returncode == 2
    done = admin(world, 'set-vm-id', vm, '--vm-id=7', '--no-restart', '--json')
    shown = json.loads(done.stdout)
    assert (done.returncode, shown['vm']['state']) == (0, 'pending')
    assert json.loads(admin(world, 'verify', '--json').stdout)['vms'][0]['state'] == 'pending'


def test_explain_tells_what_was_asked_for_then_and_what_has_become_of_the_vm(
        world: World) -> None:
    fleet = Fleet(world, [1])
    web, vm = fleet.ref(1), '--vm-uuid=' + world.uuid(fleet.ref(1))
    fleet.start(1)
    world.booted(web, verdict='as_desired')
    assert 'it still runs like that' in admin(world, 'explain', vm).stdout
    world.change(web, pool_id='B')
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(web))
    said = admin(world, 'explain', vm).stdout
    assert 'took what was assigned then' in said
    assert span(1, pool='B') + ' is assigned; this waits' in said
    fleet.stop(1)
    assert 'that domain has ended' in admin(world, 'explain', vm).stdout
    world.xapi.call('VM.destroy', web)
    world.daemon.wait_for('vm.vanished', vm_id=1)
    assert 'the VM was destroyed' in admin(world, 'explain', vm).stdout
