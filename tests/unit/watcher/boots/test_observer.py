"""What the receipts are told of a boot besides the VM's records."""

from typing import Any, Dict, List, Optional

import pytest

from tests.unit.watcher.builders import HOST, SPAN, UUID, build_vm
from tests.unit.watcher.watchers import build_writer
from watcher.boots.receipts import Inspected
from watcher.vm.boot import BootFinding
from watcher.vm.record import Batch, PowerState

ADDED = SPAN.replace('priority=high', 'priority=medium')


@pytest.mark.parametrize('found, rescued, verdict', [
    (ADDED, True, 'as_desired'), (None, False, 'pending')])
def test_a_boot_with_what_is_being_added_is_rescued_before_xapi_has_answered(
        tmp_path: Any, log_output: List[Dict[str, Any]], found: Optional[str], rescued: bool,
        verdict: str) -> None:
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10})
    starting = build_vm(None, operation='start')
    watcher.handle(Batch('1', (starting,), is_first=True))
    assert watcher.staging.busy[starting.ref].is_rescue
    watcher.handle(Batch('2', (build_vm(
        found, power_state=PowerState.RUNNING, domid=7, resident_on=HOST),)))
    watcher.handle(Inspected(UUID, (HOST, 7), BootFinding(found)))
    watcher.pump()
    line, = [line for line in log_output if line['event'] == 'vm.booted']
    assert (line['rescued'], line['verdict']) == (rescued, verdict)
