"""All SQL that this test run has recorded so far runs on SQLite 3.7.17."""

import os

import pytest

from registry.store import Registry
from tests.packaging.sqlite_3_7 import recording
from tests.packaging.sqlite_3_7.marks import needs_the_floor
from tests.packaging.sqlite_3_7.replay import replay

UUID = '00000001-1111-2222-3333-444444444444'


@pytest.mark.runs_last
@needs_the_floor
def test_recorded_sql_runs_on_3_7_17(tmp_path):
    if recording.VARIABLE not in os.environ:
        pytest.skip('nothing records: tests/conftest.py did not call recording.start()')
    # Some of ours is in the recording however few tests were selected.
    registry = Registry(str(tmp_path / 'vgpu_config.db'), timeout_seconds=1)
    registry.create('me')
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(UUID)
    statements = recording.read(os.environ[recording.VARIABLE])
    assert any('INTO registry.vms' in statement.sql for statement in statements)
    assert replay(statements) == []
