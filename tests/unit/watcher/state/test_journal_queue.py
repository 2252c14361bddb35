"""P20: what a boot took is in the journal before it is said, and is said in any case."""

import sqlite3
from typing import Any, Dict, List

from tests.unit.watcher.builders import HOST, UUID, build_vm
from tests.unit.watcher.watchers import build_writer
from watcher.boots.receipts import Inspected
from watcher.vm.boot import BootFinding
from watcher.vm.record import Batch, PowerState

RUNNING = build_vm(None, power_state=PowerState.RUNNING, domid=7, resident_on=HOST)


def _build(tmp_path: Any) -> Any:
    """A daemon that has seen a boot, and has just been shown what its QEMU runs with."""
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    watcher.handle(Batch('1', (build_vm(None),), is_first=True))
    watcher.handle(Batch('2', (RUNNING,)))
    watcher.pump()
    assert len(watcher._view.journal.open_boots()) == 1
    watcher.handle(Inspected(UUID, (HOST, 7), BootFinding()))
    return watcher


def _told(log_output: List[Dict[str, Any]]) -> List[Any]:
    return [line['domid'] for line in log_output if line['event'] == 'vm.booted']


def test_a_daemon_killed_before_the_commit_has_not_said_what_the_next_one_says(
        tmp_path: Any, log_output: List[Dict[str, Any]]) -> None:
    watcher = _build(tmp_path)
    assert _told(log_output) == []
    watcher.pump()
    assert _told(log_output) == [7] and watcher._view.journal.open_boots() == ()
    watcher.pump()
    assert _told(log_output) == [7]


def test_a_journal_that_takes_nothing_keeps_no_line_back(
        tmp_path: Any, log_output: List[Dict[str, Any]]) -> None:
    watcher = _build(tmp_path)
    lock = sqlite3.connect(watcher._view.journal.path, isolation_level=None)
    lock.execute('BEGIN IMMEDIATE')
    watcher.pump()
    lock.close()
    assert _told(log_output) == [7]
