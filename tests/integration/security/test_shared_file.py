"""What a hostile registry file can do: change its own rows, and nothing of ours."""

import sqlite3
from typing import Any

import pytest

from registry.errors import RegistryError
from registry.journal.journal import Journal
from registry.store import Registry

UUID = '0a0b0c0d-1111-2222-3333-444455556666'


@pytest.fixture
def registry(tmp_path: Any) -> Registry:
    registry = Registry(str(tmp_path / 'vgpu_config.db'), timeout_seconds=2.0)
    registry.create('test')
    return registry


def run(registry: Registry, *statements: str) -> None:
    """What another program does to the shared file."""
    connection = sqlite3.connect(registry.path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize('table', ['history', 'replacements', 'staged', 'notes'])
def test_trigger_in_the_shared_file_does_not_reach_the_journal(registry: Registry,
                                                               table: str) -> None:
    run(registry, 'CREATE TRIGGER t AFTER INSERT ON vms BEGIN DELETE FROM %s; END' % table)
    with Journal(registry.journal_path, timeout_seconds=2.0) as journal:
        journal.write_note('mine', 'kept')
        before = len(journal.list_history())
    with pytest.raises(RegistryError):
        with registry.edit(who='me', command='x') as edit:
            edit.add_vm(UUID)
    with Journal(registry.journal_path, timeout_seconds=2.0) as journal:
        assert len(journal.list_history()) == before and journal.read_note('mine') == 'kept'


def test_table_that_is_really_a_view_is_refused(registry: Registry) -> None:
    run(registry, 'ALTER TABLE vms RENAME TO hidden', 'CREATE VIEW vms AS SELECT * FROM hidden')
    with pytest.raises(RegistryError):
        registry.read()


@pytest.mark.parametrize('value', [
    "x'; DROP TABLE vms; --", '-priv', 'A,addr=5', 'A\n-priv', "A' -chardev file"])
def test_row_with_a_hostile_vgpu_pool_is_a_fault_and_gives_no_assignment(registry: Registry,
                                                                         value: str) -> None:
    run(registry, 'PRAGMA foreign_keys=OFF',
        "INSERT INTO vms (vm_id, vm_uuid, pool_id) VALUES (5, '%s', '%s')"
        % (UUID, value.replace("'", "''")))
    contents = registry.read()
    assert contents.vms == () and [fault.vm_uuid for fault in contents.faults] == [UUID]
