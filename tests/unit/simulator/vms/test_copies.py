"""Clones, snapshots and reverts: what goes along, and what comes back."""

from typing import Any, Callable

import pytest

from simulator.database.rows import NULL
from simulator.server import Simulator
from simulator.wire.failures import Failure
from tests.unit.simulator.write_recorder import Recorder

ARGS = 'device-model-args'


@pytest.fixture
def vm(simulator: Simulator) -> str:
    return simulator.create_vm('web', platform={ARGS: 'first'}, other_config={'k': 'old'},
                               blocked_operations={'destroy': 'precious'})


def _copy(simulator: Simulator, ref: str, method: str) -> str:
    extra = (NULL,) if method == 'VM.copy' else ()
    if method == 'VM.checkpoint' and simulator.vm(ref)['power_state'] == 'Halted':
        simulator.call('VM.start', ref, False, False)
    return simulator.call(method, ref, 'copy', *extra)


@pytest.mark.parametrize('method, blocked', [
    pytest.param('VM.clone', {}, id='clone'),
    pytest.param('VM.copy', {}, id='copy'),
    pytest.param('VM.snapshot', {'destroy': 'precious'}, id='snapshot'),
    pytest.param('VM.checkpoint', {'destroy': 'precious'}, id='checkpoint'),
])
def test_a_copy_carries_the_platform_map(simulator: Simulator, vm: str, method: str,
                                         blocked: Any) -> None:
    record = simulator.vm(_copy(simulator, vm, method))
    assert record['platform'] == simulator.vm(vm)['platform']
    assert record['other_config']['k'] == 'old'
    assert bool(record['other_config'].get('mac_seed')) == (method in ('VM.clone', 'VM.copy'))
    assert record['blocked_operations'] == blocked
    assert record['uuid'] != simulator.vm(vm)['uuid']
    assert record['current_operations'] == {}
    assert set(record) == set(simulator.vm(vm))


@pytest.mark.parametrize('method, is_a_snapshot', [('VM.clone', False), ('VM.snapshot', True)])
def test_a_snapshot_names_its_vm_and_a_clone_does_not(
        simulator: Simulator, vm: str, method: str, is_a_snapshot: bool) -> None:
    copy = _copy(simulator, vm, method)
    assert simulator.vm(copy)['is_a_snapshot'] is is_a_snapshot
    assert simulator.vm(copy)['snapshot_of'] == (vm if is_a_snapshot else NULL)
    assert simulator.vm(vm)['snapshots'] == [copy] * is_a_snapshot


def test_a_copy_shows_its_operation_while_it_lasts(simulator: Simulator, vm: str) -> None:
    recorder = Recorder(simulator)
    copy = _copy(simulator, vm, 'VM.clone')
    operations = [list(write.value.values()) for write in recorder.writes
                  if write.ref == copy and write.field == 'current_operations']
    assert operations == [['clone'], []]


def test_a_revert_brings_three_maps_back_in_separate_writes(
        simulator: Simulator, vm: str) -> None:
    snapshot = _copy(simulator, vm, 'VM.snapshot')
    simulator.call('VM.remove_from_platform', vm, ARGS)
    simulator.call('VM.add_to_platform', vm, ARGS, 'second')
    simulator.call('VM.set_other_config', vm, {'k': 'new'})
    simulator.call('VM.set_blocked_operations', vm, {'start': 'fence'})
    recorder = Recorder(simulator)
    simulator.call('VM.revert', snapshot)
    record = simulator.vm(vm)
    assert record['platform'][ARGS] == 'first'
    assert record['other_config']['k'] == 'old'
    assert record['blocked_operations'] == {'destroy': 'precious'}
    written = recorder.fields(vm)
    assert written[0] == written[-2] == 'current_operations'
    assert {'platform', 'other_config', 'blocked_operations'} <= set(written[1:-2])
    operations = [list(write.value.values()) for write in recorder.writes
                  if write.ref == vm and write.field == 'current_operations']
    assert operations == [['reverting'], []]


def test_a_revert_stops_a_running_vm(simulator: Simulator, vm: str) -> None:
    snapshot = _copy(simulator, vm, 'VM.snapshot')
    simulator.call('VM.start', vm, False, False)
    simulator.call('VM.revert', snapshot)
    assert simulator.vm(vm)['power_state'] == 'Halted'
    assert simulator.state.hypervisor.domains == {}


def test_a_revert_of_a_suspended_vm_shows_it_at_rest_in_the_middle(
        simulator: Simulator, vm: str) -> None:
    snapshot = _copy(simulator, vm, 'VM.snapshot')
    simulator.call('VM.start', vm, False, False)
    simulator.call('VM.suspend', vm)
    simulator.call('VM.add_tags', vm, 'later')
    recorder = Recorder(simulator)
    simulator.call('VM.revert', snapshot)
    fields = recorder.fields(vm)
    emptied = [index for index, write in enumerate(
        [write for write in recorder.writes if write.ref == vm])
        if write.field == 'current_operations' and write.value == {}]
    assert emptied[0] < fields.index('tags')


def test_a_checkpoint_shows_the_vm_running_with_its_old_domid_first(
        simulator: Simulator, vm: str) -> None:
    simulator.call('VM.start', vm, False, False)
    recorder = Recorder(simulator)
    simulator.call('VM.checkpoint', vm, 'checkpoint')
    assert [(write.field, write.value) for write in recorder.writes
            if write.ref == vm and write.field in ('power_state', 'resident_on', 'domid')] == [
                ('power_state', 'Suspended'), ('power_state', 'Running'), ('domid', 2)]


def test_a_checkpoint_resumes_the_vm_with_its_frozen_map(simulator: Simulator, vm: str) -> None:
    simulator.call('VM.start', vm, False, False)
    simulator.call('VM.remove_from_platform', vm, ARGS)
    checkpoint = _copy(simulator, vm, 'VM.checkpoint')
    assert [(boot.kind, boot.args) for boot in simulator.boots] == [
        ('start', 'first'), ('resume', 'first')]
    assert simulator.vm(checkpoint)['power_state'] == 'Suspended'
    simulator.call('VM.revert', checkpoint)
    assert simulator.vm(vm)['power_state'] == 'Suspended'
    simulator.call('VM.resume', vm, False, False)
    assert simulator.boots[-1].args == 'first'


def test_a_clone_of_a_suspended_snapshot_resumes_with_its_parents_map(
        simulator: Simulator, vm: str) -> None:
    checkpoint = _copy(simulator, vm, 'VM.checkpoint')
    clone = simulator.call('VM.clone', checkpoint, 'twin')
    assert simulator.vm(clone)['power_state'] == 'Suspended'
    simulator.call('VM.set_is_a_template', clone, False)
    simulator.call('VM.remove_from_platform', clone, ARGS)
    simulator.call('VM.resume', clone, False, False)
    assert (simulator.boots[-1].ref, simulator.boots[-1].args) == (clone, 'first')


def test_a_vm_comes_from_a_template_by_clone_and_provision(
        build: Callable[..., Simulator]) -> None:
    simulator = build(templates=1)
    template = simulator.call('VM.get_all_records_where', 'field "is_a_template"="true"')
    clone = simulator.call('VM.clone', next(iter(template)), 'new')
    assert simulator.vm(clone)['is_a_template'] and not simulator.vm(clone)['is_default_template']
    simulator.call('VM.provision', clone)
    simulator.call('VM.start', clone, False, False)
    assert simulator.boots[0].name == 'new'


def test_only_a_snapshot_can_be_reverted_to(simulator: Simulator, vm: str) -> None:
    with pytest.raises(Failure):
        simulator.call('VM.revert', vm)


def test_a_destroyed_vm_takes_its_devices_along(simulator: Simulator, vm: str) -> None:
    record = simulator.vm(vm)
    simulator.call('VM.remove_from_blocked_operations', vm, 'destroy')
    simulator.call('VM.destroy', vm)
    database = simulator.state.database
    assert database.find('VBD', record['VBDs'][0]) is None
    assert database.find('VM_metrics', record['metrics']) is None
    with pytest.raises(Failure) as caught:
        simulator.call('VM.get_record', vm)
    assert caught.value.description == ['HANDLE_INVALID', 'VM', vm]
