"""What the daemon says of its files: each change once, and nothing that heals by itself."""

import pytest

from registry.values import Contents, RowFault
from tests.unit.watcher.builders import ASSIGNMENT, UUID, build_vm
from watcher.staging.notices import DaemonNotices
from watcher.state.registry_view import RegistryView, Change
from watcher.vm.record import VmKind


class Desk:
    """A DaemonNotices with a clock that stands still, and what it has said."""

    def __init__(self, path, log_output):
        self.now = 100.0
        self.view = RegistryView(path)
        self.teller = DaemonNotices(self.view, lambda: self.now)
        self._log = log_output

    @property
    def said(self):
        return [line['event'] for line in self._log]

    def tell(self, change=Change(), seconds=0.0):
        self.now += seconds
        self.teller.tell(change)
        return self.said


@pytest.fixture
def desk(tmp_path, log_output):
    return Desk(str(tmp_path / 'vgpu_config.db'), log_output)


MISSING = Change(is_changed=True, became_unavailable='there is no registry', reason='missing')


def test_registry_that_the_mirror_makes_in_an_instant_is_no_error(desk):
    desk.tell(MISSING)
    assert desk.tell(Change(became_available=True), 0.2) == ['registry.available']
    assert desk.tell(seconds=10.0) == ['registry.available']


def test_registry_that_stays_missing_is_told_once(desk):
    desk.tell(MISSING)
    assert desk.tell(seconds=1.0) == []
    assert desk.tell(seconds=1.5) == ['registry.unavailable']
    assert desk.tell(seconds=10.0) == ['registry.unavailable']


@pytest.mark.parametrize('change, was_read', [
    pytest.param(MISSING._replace(reason='corrupt'), False, id='another-reason'),
    pytest.param(MISSING, True, id='it-was-there')])
def test_registry_that_does_not_heal_by_itself_is_told_at_once(desk, change, was_read):
    desk.view.was_read = was_read
    assert desk.tell(change) == ['registry.unavailable']


def test_registered_vm_that_is_gone_or_a_template_is_told(desk, log_output):
    vm = build_vm()
    desk.teller.tell_lost(vm, None)
    assert desk.said == []
    desk.view.assignments = {UUID: ASSIGNMENT}
    desk.teller.tell_lost(vm, None)
    desk.teller.tell_lost(vm, VmKind.TEMPLATE)
    assert [(line['event'], line['vm_id'], line.get('kind')) for line in log_output] == [
        ('vm.vanished', 10, None), ('vm.converted', 10, 'template')]


def leave_out(desk, *uuids):
    faults = tuple(RowFault(uuid, 'priority: 7 is not a priority') for uuid in uuids)
    desk.view.contents = Contents(1, (), (), faults)
    desk.view.faulty = frozenset(fault.key for fault in faults)


def test_rows_that_are_not_valid_are_told_when_they_change(desk, log_output):
    leave_out(desk, UUID)
    assert desk.tell() == desk.tell(seconds=1.0) == ['registry.rows_left_out']
    assert log_output[0]['rows'] == 1
    assert log_output[0]['first'] == UUID + ': priority: 7 is not a priority'
    leave_out(desk)
    assert len(desk.tell()) == 1
    leave_out(desk, 'no-uuid')
    assert len(desk.tell()) == 2


def test_rows_that_become_invalid_again_and_again_are_told_once_a_minute(desk):
    for step in range(600):
        leave_out(desk, *[UUID][:step % 2])
        desk.tell(seconds=0.5)
    assert 6 <= len(desk.said) <= 12
