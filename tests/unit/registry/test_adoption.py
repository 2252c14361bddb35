"""Files of the earlier tool, in all their shapes: read, edited and taken over without a loss."""

import csv
import os

import pytest

from registry.store import Registry
from registry.values import Priority
from tests.unit.registry.helpers import FIXTURES, other_program, uuid_of
from tests.unit.registry.shapes import SHAPES, dump

INSERT = 'INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES (?, ?, ?, ?, ?)'


@pytest.fixture(params=sorted(SHAPES))
def foreign(request, tmp_path):
    """A registry that our programs did not create, in one of the four shapes."""
    path = str(tmp_path / 'vgpu_config.db')
    SHAPES[request.param](path)
    return Registry(path, timeout_seconds=0.25)


@pytest.mark.parametrize('form', ['first', 'later'])
def test_rows_of_the_fixtures_are_read_as_listed(tmp_path, form):
    path = str(tmp_path / 'vgpu_config.db')
    SHAPES[form](path)
    with open(os.path.join(FIXTURES, f'registry-{form}-form.tsv'), encoding='utf-8') as file:
        listed = list(csv.DictReader(file, delimiter='\t'))
    vms = sorted(Registry(path, timeout_seconds=0.25).read().vms)
    assert [(str(vm.vm_id), vm.vm_uuid, vm.vm_name or '', vm.pool_id, str(int(vm.priority)),
             vm.created_at, vm.updated_at) for vm in vms] == [
        tuple(row[name] for name in ('vm_id', 'vm_uuid', 'vm_name', 'pool_id', 'priority',
                                     'created_at', 'updated_at')) for row in listed]


def test_foreign_file_is_read_without_being_taken_over(foreign):
    before = dump(foreign.path)
    contents = foreign.read()
    assert not contents.accepted and contents.faults == ()
    assert [pool.enabled for pool in contents.pools] == [True, True]
    assert dump(foreign.path) == before


def test_taking_over_changes_no_row_column_or_default(foreign):
    schema, vms, pools = dump(foreign.path)
    with foreign.edit(who='me', command='accept') as edit:
        edit.accept()
        assert edit.changed
    assert foreign.read().accepted
    new_schema, new_vms, new_pools = dump(foreign.path)
    assert (new_schema, new_vms) == (schema, vms)
    assert set(pools) <= set(new_pools) and [pool[0] for pool in new_pools] == ['A', 'B']
    with foreign.edit(who='me', command='accept') as edit:
        edit.accept()
        assert not edit.changed


def test_foreign_file_can_be_edited_without_being_taken_over(foreign):
    schema, vms, _ = dump(foreign.path)
    with foreign.edit(who='me', command='x') as edit:
        added = edit.add_vm(uuid_of(99), pool_id='B')
        edit.change_vm(vms[0][1], priority=Priority.LOW)
    assert added.vm_id == max(row[0] for row in vms) + 1
    contents = foreign.read()
    assert contents.version == 0 and contents.by_uuid[vms[0][1]].priority == Priority.LOW
    new_schema, new_vms, _ = dump(foreign.path)
    assert new_schema == schema
    assert new_vms[1:-1] == vms[1:]


def test_other_columns_survive_an_edit_and_get_their_own_defaults(tmp_path):
    path = str(tmp_path / 'vgpu_config.db')
    SHAPES['scripted'](path)
    with Registry(path, timeout_seconds=0.25).edit(who='me', command='x') as edit:
        edit.change_vm('00000007-1111-2222-3333-444444444447', pool_id='B', vm_id=70)
        edit.add_vm(uuid_of(99))
    with other_program(path) as other:
        assert other.execute('SELECT vm_id, weight FROM vms ORDER BY vm_id').fetchall() == [
            (8, 1.0), (70, 2.5), (71, 1.0)]


def test_row_inserted_by_another_program_is_valid_in_every_shape(foreign):
    with foreign.edit(who='me', command='accept') as edit:
        edit.accept()
    with other_program(foreign.path) as other:
        other.execute('PRAGMA foreign_keys=ON')
        other.execute(INSERT, (5000, uuid_of(50), 'theirs', 'B', 2))
    vm = foreign.read().by_uuid[uuid_of(50)]
    assert vm[:5] == (5000, uuid_of(50), 'theirs', 'B', Priority.HIGH)
    assert len(vm.created_at) == 19
    assert foreign.check().problems == ()


def test_new_registry_takes_rows_of_others_with_the_defaults_of_the_later_form(registry):
    with other_program(registry.path) as other:
        other.execute('PRAGMA foreign_keys=ON')
        other.execute(INSERT, (1, uuid_of(1), None, 'A', 1))
        row = other.execute('SELECT weight, max_jobs_per_sec, max_queue_depth, quarantined, '
                            'error_count FROM vms').fetchone()
    assert row == (50, 0, 0, 0, 0)


def test_directory_and_file_keep_their_modes(foreign):
    os.chmod(foreign.path, 0o604)
    os.chmod(os.path.dirname(foreign.path), 0o711)
    with foreign.edit(who='me', command='accept') as edit:
        edit.accept()
    assert os.stat(foreign.path).st_mode & 0o777 == 0o604
    assert os.stat(os.path.dirname(foreign.path)).st_mode & 0o777 == 0o711
