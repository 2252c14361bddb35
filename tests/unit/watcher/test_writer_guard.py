"""The daemon's hold on the writer's lock."""

import fcntl

import pytest

from watcher.writer_guard import WriterGuard, WriterLockTaken


def test_holder_that_left_no_name_is_said_to_have_none(tmp_path):
    """As `flock FILE COMMAND` does it."""
    path = str(tmp_path / 'vgpu_config.db')
    with open(path + '.lock', 'w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(WriterLockTaken) as raised:
            WriterGuard(path).demand(0.0, '; stop it first')
    assert str(raised.value) == (
        f'another program writes for the registry {path}: it does not say who it is; '
        'stop it first')
