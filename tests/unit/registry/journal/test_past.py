"""What the registry said at a time in the past."""

import contextlib
import os
import sqlite3

import pytest

from registry.errors import JournalUnavailable, NotFound
from registry.sqlite.timestamps import render_timestamp
from registry.values import Priority
from tests.unit.registry.helpers import other_program, uuid_of

SOURCE = 'vgpu_config.db'


@pytest.fixture
def at(clock):
    """The time now; the clock goes on by a minute."""
    def note():
        found = render_timestamp(clock.now)
        clock.now += 60
        return found
    return note


def told(past):
    return ([(vm.vm_uuid, vm.vm_id, vm.pool_id, vm.priority.word) for vm in past.vms],
            [(pool.pool_id, pool.pool_name, pool.enabled) for pool in past.pools])


def edit(registry, change, who='me'):
    with registry.edit(who=who, command='x') as edit:
        change(edit)


def test_each_state_is_found_again(registry, journal, at):
    steps = [
        lambda edit: edit.add_vm(uuid_of(1)),
        lambda edit: edit.add_vm(uuid_of(2), pool_id='B', priority=Priority.HIGH),
        lambda edit: edit.change_vm(uuid_of(1), vm_id=77, pool_id='B'),
        lambda edit: edit.change_pool('A', pool_name='Render', enabled=False),
        lambda edit: edit.change_vm(uuid_of(1), priority=Priority.LOW),
        lambda edit: edit.remove_vm(uuid_of(2)),
        lambda edit: edit.add_vm(uuid_of(2), vm_id=5),
        lambda edit: edit.remove_vm(uuid_of(1))]
    times, states = [at()], [told(journal.past(SOURCE))]
    for step in steps:
        edit(registry, step)
        contents = registry.read()
        states.append(told(contents))
        times.append(at())
    assert states[1][0] == [(uuid_of(1), 1, 'A', 'medium')] and states[-1] != states[-2]
    assert [told(journal.past(SOURCE, time)) for time in times] == states
    assert told(journal.past(SOURCE)) == states[-1]
    assert journal.past(SOURCE, times[1]).largest == 77


def test_edits_of_other_programs_are_taken_back_too_and_names_of_the_scan_are_not_edits(
        registry, journal, at):
    edit(registry, lambda edit: edit.add_vm(uuid_of(1), vm_name='one'))
    before = at()
    with other_program(registry.path) as other:
        other.execute('UPDATE vms SET priority = 2')
    journal.note_contents(registry.read())
    between = at()
    edit(registry, lambda edit: edit.rename_vms({uuid_of(1): 'uno'}), who='vgpu-watcher')
    assert [vm.priority.word for vm in journal.past(SOURCE, before).vms] == ['medium']
    assert [vm.priority.word for vm in journal.past(SOURCE, between).vms] == ['high']


def test_registry_that_is_gone_is_known_as_it_was(registry, journal, at):
    edit(registry, lambda edit: edit.add_vm(uuid_of(1)))
    before = at()
    edit(registry, lambda edit: edit.remove_vm(uuid_of(1)))
    os.unlink(registry.path)
    assert [vm.vm_uuid for vm in journal.past(SOURCE, before).vms] == [uuid_of(1)]
    assert journal.past(SOURCE).vms == ()


def test_time_before_the_history_is_refused(registry, journal, at):
    with pytest.raises(NotFound, match='does not reach back'):
        journal.past(SOURCE, '2001-01-01 00:00:00')
    with pytest.raises(NotFound, match='no changes'):
        journal.past('another.db', '2001-01-01 00:00:00')


def test_clock_that_was_set_back_does_not_mix_edits_up(registry, journal, clock, at):
    edit(registry, lambda edit: edit.add_vm(uuid_of(1)))
    before = at()
    clock.now -= 3600
    edit(registry, lambda edit: edit.remove_vm(uuid_of(1)))
    assert journal.past(SOURCE, before).vms == ()
    clock.now += 7200
    edit(registry, lambda edit: edit.add_vm(uuid_of(3)))
    assert [vm.vm_uuid for vm in journal.past(SOURCE).vms] == [uuid_of(3)]


def test_entries_of_before_the_migration_count_for_every_file(registry, journal, at):
    edit(registry, lambda edit: edit.add_vm(uuid_of(1)))
    before = at()
    edit(registry, lambda edit: edit.remove_vm(uuid_of(1)))
    with other_program(registry.journal_path) as other:
        other.execute("UPDATE history SET source = ''")
    assert [vm.vm_uuid for vm in journal.past(SOURCE, before).vms] == [uuid_of(1)]


@pytest.mark.parametrize('text', [
    None, 'not JSON', '"text"', '[1]', '{"vm_uuid": "x"}', '{"vm_id": "1", "vm_uuid": "%s", '
    '"vm_name": 3, "pool_id": "A", "priority": 1}' % uuid_of(1), '[[' * 50000])
def test_entry_that_somebody_wrote_to_is_no_row_that_was_not_there(registry, journal, at, text):
    """A restore to what was before it would remove the VM."""
    edit(registry, lambda edit: edit.add_vm(uuid_of(1), vm_id=1))
    between = at()
    edit(registry, lambda edit: edit.change_vm(uuid_of(1), pool_id='B'))
    with contextlib.closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute("UPDATE history SET before_json = ? WHERE what = 'vm_changed'", (text,))
    with pytest.raises(JournalUnavailable, match='cannot be understood: what the registry was'):
        journal.past(SOURCE, between)


def test_row_that_was_not_valid_gave_no_assignment(registry, journal, at):
    edit(registry, lambda edit: edit.add_vm(uuid_of(1), vm_id=1))
    with other_program(registry.path) as connection:
        connection.execute("INSERT INTO vms (vm_id, vm_uuid) VALUES (9, 'not a UUID')")
    before = at()
    edit(registry, lambda edit: edit.remove_vm('not a UUID'))
    assert told(journal.past(SOURCE, before))[0] == [(uuid_of(1), 1, 'A', 'medium')]
