"""What VMs are called, by registry and journal."""

import os
from typing import Any

import pytest

from cli.queries.vm_names import find_names
from registry.journal.journal import Journal
from registry.journal.numbers import Bearer
from registry.journal.receipts import Boot
from registry.store import Registry

UUIDS = ['d8f33418-0000-4000-8000-00000000000%d' % number for number in range(5)]


@pytest.fixture
def registry(tmp_path: Any) -> Registry:
    registry = Registry(os.path.join(str(tmp_path), 'vgpu_config.db'), timeout_seconds=5.0)
    registry.create('test')
    with registry.edit(who='test', command='test') as edit:
        edit.add_vm(UUIDS[0], vm_name='row', vm_id=1)
        edit.add_vm(UUIDS[3], vm_name='removed', vm_id=4)
    with registry.edit(who='test', command='test') as edit:
        edit.remove_vm(UUIDS[3])
    return registry


def test_a_name_is_found_wherever_it_is_known(registry: Registry) -> None:
    with Journal(registry.journal_path, timeout_seconds=5.0) as journal:
        journal.note_bearers([Bearer(UUIDS[1], 'bearer', 9)])
        journal.open_boot(Boot(0, UUIDS[2], 'booted', 'start', 'host', 5, 'boot', None, ''))
        journal.open_boot(Boot(0, UUIDS[0], 'as it was called then', 'start', 'host', 6, 'boot',
                               None, ''))
        names = find_names(registry.path, journal, UUIDS)
        assert names == dict(zip(UUIDS, ['row', 'bearer', 'booted', 'removed']))
        assert find_names(registry.path, journal, []) == {}
        os.unlink(registry.path)
        assert find_names(registry.path, journal, UUIDS[:1])[UUIDS[0]] == 'as it was called then'
