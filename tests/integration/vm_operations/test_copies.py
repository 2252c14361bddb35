"""Copies, reverts and moves: two VMs with one number, and maps that go back in time."""

import sqlite3
import uuid
from typing import Any, Callable, Dict

import pytest

from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import scenes
from tests.support.left_by_0_1 import BLOCK


def _copy_of(world: World, subject: scenes.Subject, how: str) -> str:
    if how == 'clone':
        return str(world.xapi.call('VM.clone', subject.ref, 'copy'))
    if how == 'copy':
        return str(world.xapi.call('VM.copy', subject.ref, 'copy', 'OpaqueRef:NULL'))
    if how == 'clone-of-a-snapshot':
        snapshot = world.xapi.call('VM.snapshot', subject.ref, 'snap')
        clone = world.xapi.call('VM.clone', snapshot, 'copy')
        world.xapi.call('VM.provision', clone)
        return str(clone)
    platform = dict(world.xapi.vm(subject.ref)['platform'])
    return str(world.xapi.import_vm('copy', str(uuid.uuid4()), platform))


@pytest.mark.parametrize('how', ['clone', 'copy', 'clone-of-a-snapshot', 'import'])
def test_a_copy_loses_the_span_keeps_foreign_text_and_the_original_is_untouched(
        pool: World, how: str) -> None:
    subject, = scenes.stage(pool)
    pool.xapi.clear_calls()
    copy = _copy_of(pool, subject, how)
    pool.wait_settled(copy, scenes.FOREIGN)
    assert pool.start_vm(copy).args == scenes.FOREIGN
    assert not [call for call in pool.writes() if subject.ref in call[1]]
    assert scenes.start(pool, subject) == subject.value()


def test_a_copy_that_starts_at_once_is_not_held_up(pool: World) -> None:
    subject, = scenes.stage(pool)
    copy = _copy_of(pool, subject, 'clone')
    assert scenes.refusal_of(pool.xapi.spawn('VM.start', copy, False, False)) == ()
    assert pool.args(copy) == subject.value()
    pool.xapi.call('VM.hard_shutdown', copy)
    pool.wait_settled(copy, scenes.FOREIGN)


def test_a_vm_made_of_a_template_gets_a_number_of_its_own(pool: World) -> None:
    subject, = scenes.stage(pool)
    template = pool.create_vm('template', args=subject.value(), is_a_template=True)
    clone = pool.xapi.call('VM.clone', template, 'fresh')
    pool.xapi.call('VM.provision', clone)
    pool.wait_settled(clone, scenes.FOREIGN)
    number = pool.register(clone)
    pool.wait_settled(clone, '%s %s' % (scenes.FOREIGN, span(number)))
    assert number != subject.number
    assert pool.start_vm(clone).args == '%s %s' % (scenes.FOREIGN, span(number))
    assert pool.args(template) == subject.value()


def test_a_suspended_copy_resumes_with_its_parents_arguments_and_is_left_alone_until_it_rests(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    scenes.run(world, [subject])
    world.xapi.call('VM.suspend', subject.ref)
    world.xapi.call('pool.add_to_other_config', world.xapi.pool, 'allow_clone_suspended_vm', 'true')
    clone = world.xapi.call('VM.clone', subject.ref, 'copy')
    assert world.xapi.vm(clone)['power_state'] == 'Suspended'
    world.xapi.clear_calls()
    world.xapi.call('VM.resume', clone, False, False)
    assert world.last_boot(clone).args == subject.value()
    assert not world.writes()
    world.xapi.call('VM.hard_shutdown', clone)
    world.wait_settled(clone, scenes.FOREIGN)
    world.xapi.call('VM.resume', subject.ref, False, False)
    assert world.last_boot(subject.ref).args == subject.value()


@pytest.mark.parametrize('kind', ['VM.snapshot', 'VM.checkpoint'])
def test_a_revert_is_staged_again_or_told_when_it_resumes_with_old_arguments(
        pool: World, kind: str) -> None:
    subject, = scenes.stage(pool)
    if kind == 'VM.checkpoint':
        scenes.run(pool, [subject])
    snapshot = pool.xapi.call(kind, subject.ref, 'snap')
    scenes.prioritise(pool, [subject])
    if kind == 'VM.checkpoint':
        pool.xapi.call('VM.hard_shutdown', subject.ref)
    pool.wait_settled(subject.ref, subject.value('high'))
    pool.xapi.call('VM.revert', snapshot)
    if kind == 'VM.checkpoint':
        assert pool.xapi.vm(subject.ref)['power_state'] == 'Suspended'
        pool.xapi.call('VM.resume', subject.ref, False, False)
        assert pool.last_boot(subject.ref).args == subject.value()
        pool.booted(subject.ref, kind='resume', verdict='frozen')
        pool.xapi.call('VM.hard_shutdown', subject.ref)
    wait_until(lambda: pool.args(subject.ref) == subject.value('high')
               and not pool.xapi.vm(subject.ref)['current_operations'], 'staged again')
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')
    assert pool.args(snapshot) == subject.value()


def test_a_destroyed_vm_that_a_revert_of_its_snapshot_makes_again_is_staged(pool: World) -> None:
    subject, = scenes.stage(pool)
    vm_uuid = pool.uuid(subject.ref)
    snapshot = pool.xapi.call('VM.snapshot', subject.ref, 'snap')
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    pool.xapi.call('VM.destroy', subject.ref)
    pool.daemon.wait_for('vm.vanished', vm_uuid=vm_uuid)
    pool.xapi.call('VM.revert', snapshot)
    again = subject._replace(ref=pool.xapi.find(vm_uuid))
    assert again.ref != subject.ref
    pool.wait_settled(again.ref, again.value('high'))
    assert scenes.start(pool, again) == again.value('high')


def test_a_revert_that_brings_back_a_start_block_of_0_1_is_freed_of_it(pool: World) -> None:
    subject, = scenes.stage(pool)
    pool.daemon.kill()
    text = BLOCK % (pool.uuid(subject.ref), 'start', subject.value())
    pool.xapi.call('VM.add_to_blocked_operations', subject.ref, 'start', text)
    snapshot = pool.xapi.call('VM.snapshot', subject.ref, 'blocked')
    pool.xapi.call('VM.remove_from_blocked_operations', subject.ref, 'start')
    pool.start_daemon()
    scenes.prioritise(pool, [subject])
    pool.wait_settled(subject.ref, subject.value('high'))
    assert pool.xapi.vm(snapshot)['blocked_operations']
    pool.xapi.call('VM.revert', snapshot)
    pool.daemon.wait_for('fence.lifted', vm_uuid=pool.uuid(subject.ref))
    pool.wait_settled(subject.ref, subject.value('high'))
    assert scenes.start(pool, subject) == subject.value('high')


def test_a_copy_on_its_way_from_another_pool_loses_its_span_and_is_told_when_it_runs_with_it(
        build_world: Callable[..., World]) -> None:
    world = build_world(suspend_seconds=1.0).start()
    subject, = scenes.stage(world)
    scenes.wait_claimed(world, [subject])
    scenes.run(world, [subject])
    platform = dict(world.xapi.vm(subject.ref)['platform'])
    # All that time it passes for a VM at rest, and its QEMU comes with what it had.
    arrived = world.xapi.arrive('arrived', str(uuid.uuid4()), platform)
    assert world.last_boot(arrived).args == subject.value()
    line = world.daemon.wait_for('vm.endangered', danger='number_runs_twice')
    assert world.uuid(arrived) in [line['vm_uuid']] + line['others']
    world.wait_settled(arrived, scenes.FOREIGN)
    world.xapi.clear_calls()
    world.xapi.call('VM.hard_reboot', arrived)
    assert world.last_boot(arrived).args == scenes.FOREIGN
    assert not world.writes()


def test_a_halted_copy_for_which_xapi_keeps_a_host_loses_its_span(pool: World) -> None:
    """So comes one that was migrated halted, until its first start, before xapi 25.31."""
    subject, = scenes.stage(pool)
    scenes.wait_claimed(pool, [subject])
    platform = dict(pool.xapi.vm(subject.ref)['platform'])
    copy = pool.xapi.create_vm('copy', platform=platform,
                               scheduled_to_be_resident_on=pool.xapi.hosts[0])
    pool.wait_settled(copy, scenes.FOREIGN)


def test_a_registered_vm_that_arrives_running_has_migrated(
        build_world: Callable[..., World]) -> None:
    world = build_world(suspend_seconds=0.3).start()
    vm_uuid = str(uuid.uuid4())
    with world.registry.edit(who='test', command='register-vm') as edit:
        number = edit.add_vm(vm_uuid).vm_id
    arrived = world.xapi.arrive('arrived', vm_uuid, {KEY: span(number + 500)})
    world.booted(arrived, kind='migration', verdict='frozen', found=span(number + 500))
    world.xapi.call('VM.hard_shutdown', arrived)
    world.wait_settled(arrived, span(number))


def test_a_reboot_while_the_disks_of_a_migration_are_copied_has_its_line_at_once(
        build_world: Callable[..., World]) -> None:
    world = build_world(suspend_seconds=30.0, hosts=2).start()
    subject, = scenes.stage(world)
    world.xapi.call('VM.start_on', subject.ref, world.xapi.hosts[0], False, False)
    world.booted(subject.ref, kind='start', verdict='as_desired')
    ticket = world.xapi.call('host.migrate_receive', world.xapi.hosts[1], 'OpaqueRef:NULL', {})
    world.xapi.spawn('VM.migrate_send', subject.ref, ticket, True, {}, {}, {})
    wait_until(lambda: 'migrate_send' in world.xapi.vm(subject.ref)['current_operations'].values(),
               'the migration to begin')
    world.xapi.guest_reboot(subject.ref)
    world.booted(subject.ref, domid=world.last_boot(subject.ref).domid, verdict='as_desired')
    world.xapi.call('VM.clean_reboot', subject.ref)
    world.booted(subject.ref, domid=world.last_boot(subject.ref).domid, kind='reboot',
                 verdict='as_desired')
    assert list(world.xapi.vm(subject.ref)['current_operations'].values()) == ['migrate_send']


def test_a_number_that_moves_between_rows_follows_them(pool: World) -> None:
    first, second = scenes.stage(pool, 2)
    scenes.wait_claimed(pool, [first, second])
    with pool.registry.edit(who='test', command='swap') as edit:
        edit.change_vm(pool.uuid(first.ref), vm_id=first.number + 1000)
        edit.change_vm(pool.uuid(second.ref), vm_id=first.number)
    moved = first._replace(number=first.number + 1000), second._replace(number=first.number)
    for subject in moved:
        pool.wait_settled(subject.ref, subject.value())
        assert scenes.start(pool, subject) == subject.value()


def test_a_row_that_moves_to_another_vm_takes_the_number_along(pool: World) -> None:
    subject, = scenes.stage(pool)
    other = pool.create_vm('other')
    connection = sqlite3.connect(pool.registry_path)
    with connection:
        connection.execute('UPDATE vms SET vm_uuid = ? WHERE vm_id = ?',
                           (pool.uuid(other), subject.number))
    connection.close()
    pool.wait_settled(subject.ref, scenes.FOREIGN)
    pool.wait_settled(other, span(subject.number))
    assert pool.start_vm(other).args == span(subject.number)


MEDDLING: Dict[str, Callable[[World, str], Any]] = {
    'another-value': lambda world, ref: _rewrite(world, ref, '-mine'),
    'away': lambda world, ref: world.xapi.call('VM.remove_from_platform', ref, KEY),
    'our-span-twice': lambda world, ref: _rewrite(world, ref, ' '.join([span(3)] * 2)),
}


def _rewrite(world: World, ref: str, value: str) -> None:
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    world.xapi.call('VM.add_to_platform', ref, KEY, value)


CASES = [(call, name) for call in (1, 2, 3) for name in sorted(MEDDLING)]


@pytest.mark.parametrize('call, name', CASES)
def test_our_span_stands_once_whatever_a_second_tool_writes_between_our_calls(
        pool: World, call: int, name: str) -> None:
    subject, = scenes.stage(pool, foreign='')
    struck = []

    def meddle() -> None:
        MEDDLING[name](pool, subject.ref)
        struck.append(name)
    if call == 3:  # after the write, however often the record was read before it
        scenes.at_call(pool, subject.ref, 1, method='VM.set_platform', act=lambda: scenes.at_call(
            pool, subject.ref, 1, meddle, method='VM.get_record'))
    else:
        scenes.at_call(pool, subject.ref, 1, meddle, method=scenes.REPLACEMENT[call - 1])
    scenes.prioritise(pool, [subject])
    wait_until(lambda: struck, 'the other tool')
    desired = span(subject.number, priority='high')
    wait_until(lambda: (pool.args(subject.ref) or '').count(desired) == 1
               and (pool.args(subject.ref) or '').count('-device') == 1, 'our span')
    value = pool.args(subject.ref) or ''
    pool.wait_settled(subject.ref, value)
    # Between our read (call 1) and our write XAPI gives no means to notice: decision 10. On a busy
    # machine the record is read again before the write, and it is seen after all.
    assert call == 1 or ('-mine' in value) == (name == 'another-value')
    assert scenes.start(pool, subject) == value


def test_a_foreign_registry_is_added_to_only_until_it_is_accepted(
        build_world: Callable[..., World]) -> None:
    world = build_world()
    world.xapi.start()
    _create_as_the_earlier_tool(world.registry_path)
    missing, wrong = world.create_vm('missing'), world.create_vm('wrong', args=span(77))
    for number, ref in enumerate((missing, wrong), 1):
        _insert(world, number, ref)
    world.start_daemon()
    world.wait_args(missing, span(1))
    world.daemon.wait_for('vm.left_alone', vm_uuid=world.uuid(wrong),
                          reason='registry_not_accepted')
    assert world.start_vm(wrong).args == span(77)
    world.xapi.call('VM.hard_shutdown', wrong)
    with world.registry.edit(who='test', command='accept') as edit:
        edit.accept()
    world.wait_settled(wrong, span(2))
    assert world.start_vm(wrong).args == span(2)


def _create_as_the_earlier_tool(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY CHECK (pool_id IN ('A', 'B')), "
        "pool_name TEXT NOT NULL, description TEXT, enabled INTEGER DEFAULT 1, "
        "created_at TIMESTAMP, updated_at TIMESTAMP);"
        "CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT UNIQUE NOT NULL, "
        "vm_name TEXT, pool_id CHAR(1) NOT NULL DEFAULT 'A', priority INTEGER NOT NULL DEFAULT 1, "
        "created_at TIMESTAMP, updated_at TIMESTAMP);"
        "INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'Pool A'), ('B', 'Pool B');")
    connection.close()


def _insert(world: World, number: int, ref: str) -> None:
    connection = sqlite3.connect(world.registry_path)
    with connection:
        connection.execute('INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (?, ?, ?)',
                           (number, world.uuid(ref).upper(), 'x'))
    connection.close()
