"""Editing the registry: what is allowed, what is a conflict, and that history goes with it."""

import pytest

from registry.errors import Conflict, InvalidValue, NotFound, RegistryUnavailable
from registry.journal.journal import Bearer
from registry.values import MAX_VM_ID, Priority
from tests.unit.registry.helpers import other_program, uuid_of

INSERT = 'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)'


@pytest.fixture
def edit_with(registry):
    """Do one thing to the registry in an edit of its own."""
    def edit_with(action):
        with registry.edit(who='me', command='test') as edit:
            result = action(edit)
            edit_with.changed = edit.changed
        return result
    return edit_with


def test_added_vm_has_the_defaults_and_the_time(registry, edit_with):
    vm = edit_with(lambda edit: edit.add_vm(uuid_of(1).upper(), vm_name='one'))
    assert vm == registry.read().by_uuid[uuid_of(1)]
    assert vm == (1, uuid_of(1), 'one', 'A', Priority.MEDIUM, '2027-01-15 08:00:00',
                  '2027-01-15 08:00:00')


def test_adding_what_is_registered_just_so_changes_nothing(edit_with, journal):
    first = edit_with(lambda edit: edit.add_vm(uuid_of(1), pool_id='B'))
    entries = journal.list_history()
    assert edit_with(lambda edit: edit.add_vm(uuid_of(1), pool_id='B', vm_id=1)) == first
    assert not edit_with.changed and journal.list_history() == entries


@pytest.mark.parametrize('assignment', [
    pytest.param({'pool_id': 'B'}, id='pool'),
    pytest.param({'priority': Priority.LOW}, id='priority'),
    pytest.param({'vm_id': 2}, id='vm_id'),
])
def test_adding_what_is_registered_otherwise_names_the_command_to_use(edit_with, assignment):
    edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    with pytest.raises(Conflict, match='pool A, priority medium, vm_id 1.*update-vm'):
        edit_with(lambda edit: edit.add_vm(uuid_of(1), **assignment))


@pytest.mark.parametrize('arguments', [
    pytest.param({'pool_id': 'C'}, id='pool'),
    pytest.param({'vm_id': 0}, id='vm_id'),
    pytest.param({'vm_id': MAX_VM_ID + 1}, id='vm_id-too-large'),
])
def test_value_that_is_not_allowed_is_refused(registry, edit_with, arguments):
    with pytest.raises(InvalidValue):
        edit_with(lambda edit: edit.add_vm(uuid_of(1), **arguments))
    assert registry.read().vms == ()


def test_automatic_number_is_one_more_than_the_largest_row(edit_with):
    edit_with(lambda edit: edit.add_vm(uuid_of(1), vm_id=10))
    assert edit_with(lambda edit: edit.add_vm(uuid_of(2))).vm_id == 11


def test_automatic_number_counts_rows_of_others_also_faulty_ones(registry, edit_with):
    with other_program(registry.path) as other:
        other.execute(INSERT, (70, 'not a uuid', None, 'A', 1))
    assert edit_with(lambda edit: edit.add_vm(uuid_of(1))).vm_id == 71


def test_number_of_a_removed_vm_is_not_given_out_again(edit_with):
    edit_with(lambda edit: edit.add_vm(uuid_of(1), vm_id=10))
    edit_with(lambda edit: edit.remove_vm(uuid_of(1)))
    assert edit_with(lambda edit: edit.add_vm(uuid_of(2))).vm_id == 11


def test_number_given_out_and_taken_back_in_one_edit_is_not_given_out_again(edit_with):
    def add_change_and_remove(edit):
        edit.add_vm(uuid_of(1))
        edit.change_vm(uuid_of(1), vm_id=20)
        edit.remove_vm(uuid_of(1))
        return edit.add_vm(uuid_of(1))
    assert edit_with(add_change_and_remove).vm_id == 21


@pytest.mark.parametrize('kind', ['vm', 'template', 'snapshot'])
def test_automatic_number_avoids_what_bearers_have(edit_with, journal, kind):
    journal.note_bearers([Bearer(uuid_of(9), 'nine', 40, kind)])
    assert edit_with(lambda edit: edit.add_vm(uuid_of(1))).vm_id == 41


def test_automatic_number_avoids_taken_numbers_and_the_floor(edit_with):
    assert edit_with(lambda edit: edit.add_vm(uuid_of(1), taken={5: 'VM five'})).vm_id == 6
    assert edit_with(lambda edit: edit.add_vm(uuid_of(2), floor=99)).vm_id == 100


def test_numbers_that_only_vms_bear_cannot_use_up_the_automatic_ones(edit_with, journal):
    journal.note_bearers([Bearer(uuid_of(9), 'nine', MAX_VM_ID - 1)])
    taken = {MAX_VM_ID: 'VM eight'}
    assert edit_with(lambda edit: edit.add_vm(uuid_of(1), taken=taken)).vm_id == 1


def test_automatic_number_steps_over_what_a_vm_bears_beyond_the_bound(edit_with, journal):
    edit_with(lambda edit: edit.add_vm(uuid_of(1), vm_id=2000000))
    journal.note_bearers([Bearer(uuid_of(9), 'nine', 2000001)])
    assert edit_with(lambda edit: edit.add_vm(
        uuid_of(2), taken={2000002: 'VM eight'})).vm_id == 2000003


def test_no_automatic_number_is_left_at_the_end_of_the_range(registry, edit_with):
    edit_with(lambda edit: edit.add_vm(uuid_of(1), floor=MAX_VM_ID - 1))
    assert registry.read().vms[0].vm_id == MAX_VM_ID
    with pytest.raises(Conflict, match='--vm-id'):
        edit_with(lambda edit: edit.add_vm(uuid_of(2)))
    assert edit_with(lambda edit: edit.add_vm(uuid_of(2), vm_id=3)).vm_id == 3


def add_with_number(edit, taken):
    return edit.add_vm(uuid_of(2), vm_id=10, taken=taken)


def change_number(edit, taken):
    edit.add_vm(uuid_of(2), vm_id=50)
    return edit.change_vm(uuid_of(2), vm_id=10, taken=taken)


@pytest.mark.parametrize('action', [add_with_number, change_number])
@pytest.mark.parametrize('owner, taken, bearer', [
    pytest.param(uuid_of(1), {}, None, id='row'),
    pytest.param('VM five', {10: 'VM five'}, None, id='told-by-the-caller'),
    pytest.param('nine', {}, Bearer(uuid_of(9), 'nine', 10), id='ordinary-bearer'),
])
def test_taken_number_is_a_conflict_that_names_its_owner(
        registry, edit_with, journal, action, owner, taken, bearer):
    edit_with(lambda edit: edit.add_vm(uuid_of(1), vm_id=11 if bearer or taken else 10))
    journal.note_bearers([bearer] if bearer else [])
    before = registry.read()
    with pytest.raises(Conflict, match=f'vm_id 10 is taken by .*{owner}'):
        edit_with(lambda edit: action(edit, taken))
    assert registry.read() == before


@pytest.mark.parametrize('bearer', [
    pytest.param(Bearer(uuid_of(2), 'itself', 10), id='the-vm-itself'),
    pytest.param(Bearer(uuid_of(9), 'nine', 10, 'template'), id='template'),
    pytest.param(Bearer(uuid_of(9), 'nine', 10, 'snapshot'), id='snapshot'),
])
def test_number_may_be_claimed_when_no_other_ordinary_vm_bears_it(edit_with, journal, bearer):
    journal.note_bearers([bearer])
    assert edit_with(lambda edit: add_with_number(edit, {})).vm_id == 10


def test_change_gives_the_vm_before_and_after(registry, edit_with, clock):
    before = edit_with(lambda edit: edit.add_vm(uuid_of(1), vm_name='one'))
    clock.now += 61
    changed = edit_with(lambda edit: edit.change_vm(
        uuid_of(1), pool_id='B', priority=Priority.HIGH, vm_id=7, vm_name='uno'))
    after = before._replace(pool_id='B', priority=Priority.HIGH, vm_id=7, vm_name='uno',
                            updated_at='2027-01-15 08:01:01')
    assert changed == (before, after)
    assert registry.read().vms == (after,)


def test_change_to_what_already_is_changes_nothing(edit_with, clock):
    vm = edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    clock.now += 61
    assert edit_with(lambda edit: edit.change_vm(uuid_of(1), pool_id='A')) == (vm, vm)
    assert not edit_with.changed


@pytest.mark.parametrize('action', [
    pytest.param(lambda edit: edit.change_vm(uuid_of(1), pool_id='B'), id='change'),
    pytest.param(lambda edit: edit.remove_vm(uuid_of(1)), id='remove'),
])
def test_vm_without_a_row_is_not_found(edit_with, action):
    with pytest.raises(NotFound, match=uuid_of(1)):
        edit_with(action)


def test_removed_vm_is_an_orphan_until_it_is_added_again(registry, edit_with, journal):
    vm = edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    assert edit_with(lambda edit: edit.remove_vm(uuid_of(1))) == vm
    assert registry.read().vms == ()
    assert [orphan[:2] for orphan in journal.orphans().values()] == [(uuid_of(1), 1)]
    edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    assert journal.orphans() == {}


def test_faulty_row_can_be_removed(registry, edit_with):
    with other_program(registry.path) as other:
        other.execute(INSERT, (-5, uuid_of(1), None, 'A', 1))
    edit_with(lambda edit: edit.remove_vm(uuid_of(1)))
    assert registry.read().faults == ()


def test_rename_touches_only_what_differs(registry, edit_with):
    edit_with(lambda edit: [edit.add_vm(uuid_of(1), vm_name='one'),
                            edit.add_vm(uuid_of(2), vm_name='x' * 255)])
    names = {uuid_of(1): 'eins', uuid_of(2): 'x' * 300, uuid_of(3): 'nobody'}
    assert edit_with(lambda edit: edit.rename_vms(names)) == 1
    assert {vm.vm_name for vm in registry.read().vms} == {'eins', 'x' * 255}
    assert edit_with(lambda edit: edit.rename_vms(names)) == 0
    assert not edit_with.changed


def test_pool_can_be_disabled_described_and_renamed(registry, edit_with, clock):
    clock.now += 61
    before, after = edit_with(lambda edit: edit.change_pool(
        'B', enabled=False, description='slow', pool_name='Second'))
    assert before.enabled and not after.enabled
    assert registry.read().pools[1] == after
    assert after[1:4] + after[5:] == ('Second', 'slow', False, '2027-01-15 08:01:01')
    edit_with(lambda edit: edit.change_pool('B', enabled=False))
    assert not edit_with.changed


def test_dry_run_shows_the_outcome_and_leaves_nothing(registry, journal):
    with registry.edit(who='me', command='test', dry_run=True) as edit:
        edit.add_vm(uuid_of(1))
        assert len(edit.contents().vms) == 1
    assert registry.read().vms == ()
    assert [entry.what for entry in journal.list_history()] == ['registry_created']
    assert journal.largest_number() == 0


def test_exception_in_the_block_undoes_everything(registry, journal):
    with pytest.raises(KeyboardInterrupt):
        with registry.edit(who='me', command='test') as edit:
            edit.add_vm(uuid_of(1))
            raise KeyboardInterrupt
    assert registry.read().vms == () and len(journal.list_history()) == 1


def test_history_says_who_when_and_what(edit_with, journal):
    edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    edit_with(lambda edit: edit.change_vm(uuid_of(1), priority=Priority.HIGH))
    edit_with(lambda edit: edit.remove_vm(uuid_of(1)))
    entries = journal.list_history(uuid_of(1))
    assert [(entry.what, entry.who, entry.command, entry.at) for entry in entries] == [
        (what, 'me', 'test', '2027-01-15 08:00:00')
        for what in ('vm_removed', 'vm_changed', 'vm_added')]
    assert (entries[1].before['priority'], entries[1].after['priority']) == (1, 2)
    assert entries[0].after is None and entries[2].before is None
    assert entries[0].before == {'vm_id': 1, 'vm_uuid': uuid_of(1), 'vm_name': None,
                                 'pool_id': 'A', 'priority': 2}


def test_row_that_another_program_inserted_meanwhile_is_kept(registry, edit_with, journal):
    edit_with(lambda edit: edit.add_vm(uuid_of(1)))
    with other_program(registry.path) as other:
        other.execute(INSERT, (30, uuid_of(2), 'theirs', 'B', 0))
    edit_with(lambda edit: edit.add_vm(uuid_of(3)))
    assert {vm.vm_id for vm in registry.read().vms} == {1, 30, 31}
    assert [(entry.who, entry.what) for entry in journal.list_history()[:2]] == [
        ('me', 'vm_added'), ('another program', 'vm_added')]


def test_doubtful_registry_takes_no_edit_until_told_to(registry, edit_with, journal):
    edit_with(lambda edit: [edit.add_vm(uuid_of(number)) for number in (1, 2, 3)])
    with other_program(registry.path) as other:
        other.execute('DELETE FROM vms')
    with pytest.raises(RegistryUnavailable, match='accept') as caught:
        edit_with(lambda edit: edit.add_vm(uuid_of(4)))
    assert caught.value.reason == 'doubtful'
    with registry.edit(who='me', command='accept', allow_loss=True):
        pass
    edit_with(lambda edit: edit.add_vm(uuid_of(4)))
    assert set(journal.orphans()) == {uuid_of(1), uuid_of(2), uuid_of(3)}


def test_our_own_removal_of_all_rows_is_no_accident(registry, edit_with):
    edit_with(lambda edit: [edit.add_vm(uuid_of(1)), edit.add_vm(uuid_of(2))])
    edit_with(lambda edit: [edit.remove_vm(uuid_of(1)), edit.remove_vm(uuid_of(2))])
    assert edit_with(lambda edit: edit.add_vm(uuid_of(3))).vm_id == 3
