"""The life of a VM: the order of writes, the cut-off, and what each QEMU takes."""

import time
from typing import Any, Callable, Dict, List, Optional

import pytest

from simulator.database.rows import NULL
from simulator.server import Simulator
from tests.unit.simulator.write_recorder import Recorder

ARGS = 'device-model-args'


@pytest.fixture
def vm(simulator: Simulator) -> str:
    return simulator.create_vm('web', platform={ARGS: 'first'})


@pytest.fixture
def running(simulator: Simulator, vm: str) -> str:
    simulator.call('VM.start', vm, False, False)
    return vm


def _stage(simulator: Simulator, ref: str, value: str) -> None:
    simulator.call('VM.remove_from_platform', ref, ARGS)
    simulator.call('VM.add_to_platform', ref, ARGS, value)


def _taken(simulator: Simulator) -> List[Any]:
    return [(boot.kind, boot.args) for boot in simulator.boots]


def test_a_start_writes_in_the_order_of_xapi(simulator: Simulator, vm: str) -> None:
    recorder = Recorder(simulator)
    simulator.call('VM.start', vm, False, False)
    interesting = ('current_operations', 'scheduled_to_be_resident_on', 'resident_on',
                   'power_state', 'guest_metrics', 'domid', 'platform')
    assert [field for field in recorder.fields(vm) if field in interesting] == [
        'current_operations', 'scheduled_to_be_resident_on', 'resident_on',
        'scheduled_to_be_resident_on', 'power_state', 'guest_metrics', 'domid',
        'current_operations']


def test_a_halt_tells_the_power_state_first_and_the_domid_last(
        simulator: Simulator, running: str) -> None:
    recorder = Recorder(simulator)
    simulator.call('VM.clean_shutdown', running)
    interesting = ('power_state', 'resident_on', 'domid')
    assert [field for field in recorder.fields(running) if field in interesting] == [
        'power_state', 'resident_on', 'domid']


def test_a_write_before_the_cut_off_reaches_the_boot(
        build: Callable[..., Simulator]) -> None:
    simulator = build(cutoff_seconds=0.3)
    ref = simulator.create_vm('web')
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    simulator.call('VM.add_to_platform', ref, ARGS, 'in time')
    starting.join(5.0)
    assert _taken(simulator) == [('start', 'in time')]


def test_a_write_after_the_cut_off_misses_the_boot(build: Callable[..., Simulator]) -> None:
    simulator = build(build_seconds=0.2)
    ref = simulator.create_vm('web')
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.cutoffs)
    simulator.call('VM.add_to_platform', ref, ARGS, 'too late')
    starting.join(5.0)
    assert _taken(simulator) == [('start', None)]
    assert simulator.vm(ref)['platform'][ARGS] == 'too late'


@pytest.mark.parametrize('window', [0.001, 0.005, 0.02, 0.06, 0.15])
def test_the_cut_off_comes_so_long_after_the_first_event(
        build: Callable[..., Simulator], window: float) -> None:
    simulator = build(cutoff_seconds=window, step_seconds=0.002)
    ref = simulator.create_vm('web')
    seen: List[float] = []

    simulator.state.database.observers.append(
        lambda table, found: seen.append(time.monotonic()) if found == ref else None)
    simulator.call('VM.start', ref, False, False)
    assert window <= simulator.cutoffs[0].at - seen[0] < window + 2.0


def test_a_cut_off_that_comes_at_once_does_not_wait_for_the_other_writes(
        build: Callable[..., Simulator]) -> None:
    simulator = build(cutoff_seconds=0.0, step_seconds=0.3)
    ref = simulator.create_vm('web')
    simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    began = time.monotonic()
    assert simulator.wait_for(lambda: simulator.cutoffs)
    assert simulator.cutoffs[0].at - began < 1.0


def test_many_starts_leave_nothing_in_the_operations_of_the_host(
        build: Callable[..., Simulator]) -> None:
    simulator = build(vms=20, step_seconds=0.001)
    for started in [simulator.spawn('VM.start', ref, False, False)
                    for ref in simulator.call('VM.get_all_where', 'field "domid"="-1"')]:
        started.join(10.0)
    host = simulator.hosts[0]
    assert len(simulator.boots) == 20
    assert simulator.state.database.read('host', host, 'current_operations') == {}
    assert len(simulator.state.database.read('host', host, 'resident_VMs')) == 21


def test_the_whole_map_write_loses_an_edit_between_its_read_and_its_write(
        build: Callable[..., Simulator]) -> None:
    simulator = build(whole_map_seconds=0.2)
    ref = simulator.create_vm('web', platform={'secureboot': 'auto'})
    starting = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(
        lambda: simulator.vm(ref)['scheduled_to_be_resident_on'] != NULL)
    simulator.call('VM.add_to_platform', ref, ARGS, 'lost')
    starting.join(5.0)
    assert _taken(simulator) == [('start', None)]
    assert simulator.vm(ref)['platform']['secureboot'] == 'false'


@pytest.mark.parametrize('given, completed', [
    ({}, {'device-model': 'qemu-upstream-compat'}),
    ({'device-model': 'qemu-trad'}, {'device-model': 'qemu-upstream-compat'}),
    ({'device-model': 'qemu-upstream-uefi', 'secureboot': 'auto'},
     {'device-model': 'qemu-upstream-uefi', 'secureboot': 'false'}),
    ({'device-model': 'qemu-upstream-uefi', 'secureboot': 'true'}, None)])
def test_a_start_completes_the_map_in_one_write(
        simulator: Simulator, given: Dict[str, str], completed: Optional[Dict[str, str]]) -> None:
    ref = simulator.create_vm('web')
    simulator.set_field(ref, 'platform', given)
    recorder = Recorder(simulator)
    simulator.call('VM.start', ref, False, False)
    assert [write.value for write in recorder.writes if write.field == 'platform'] == (
        [completed] if completed else [])


def test_a_guest_without_qemu_has_no_device_model(simulator: Simulator) -> None:
    ref = simulator.create_vm('web', domain_type='pvh')
    simulator.set_field(ref, 'platform', {})
    simulator.call('VM.start', ref, False, False)
    assert simulator.vm(ref)['platform'] == {}


@pytest.mark.parametrize('operation', ['VM.clean_reboot', 'VM.hard_reboot'])
def test_a_reboot_takes_what_was_committed_before_it(
        simulator: Simulator, running: str, operation: str) -> None:
    domid = simulator.vm(running)['domid']
    _stage(simulator, running, 'second')
    simulator.call(operation, running)
    assert _taken(simulator) == [('start', 'first'), ('reboot', 'second')]
    assert simulator.vm(running)['domid'] != domid


def test_a_reboot_from_inside_is_unannounced_and_takes_what_was_pushed_last(
        simulator: Simulator, running: str) -> None:
    _stage(simulator, running, 'second')
    recorder = Recorder(simulator)
    simulator.guest_reboot(running)
    assert _taken(simulator)[-1] == ('guest_reboot', 'second')
    assert recorder.fields(running) == ['domid', 'guest_metrics', 'guest_metrics']


def test_a_reboot_from_inside_can_come_before_the_push(
        build: Callable[..., Simulator]) -> None:
    simulator = build(push_seconds=60.0)
    ref = simulator.create_vm('web', platform={ARGS: 'first'})
    simulator.call('VM.start', ref, False, False)
    _stage(simulator, ref, 'second')
    simulator.guest_reboot(ref)
    assert _taken(simulator)[-1] == ('guest_reboot', 'first')


@pytest.mark.parametrize('action, kinds, state', [
    pytest.param('restart', ['start', 'crash_restart'], 'Running', id='restart'),
    pytest.param('destroy', ['start'], 'Halted', id='destroy'),
])
def test_a_crash_does_what_the_vm_asks_for(simulator: Simulator, running: str, action: str,
                                           kinds: List[str], state: str) -> None:
    simulator.call('VM.set_actions_after_crash', running, action)
    simulator.guest_crash(running)
    assert [boot.kind for boot in simulator.boots] == kinds
    assert simulator.vm(running)['power_state'] == state


def test_a_resume_takes_the_map_of_the_boot_that_was_suspended(
        simulator: Simulator, running: str) -> None:
    simulator.call('VM.suspend', running)
    assert simulator.vm(running)['power_state'] == 'Suspended'
    assert simulator.vm(running)['domid'] == -1
    _stage(simulator, running, 'second')
    simulator.call('VM.resume', running, False, False)
    assert _taken(simulator)[-1] == ('resume', 'first')
    assert simulator.vm(running)['power_state'] == 'Running'
    assert simulator.vm(running)['suspend_VDI'] == NULL


def test_an_old_xapi_freezes_nothing(build: Callable[..., Simulator]) -> None:
    simulator = build(xapi_version='1.249.41')
    ref = simulator.create_vm('web', platform={ARGS: 'first'})
    simulator.call('VM.start', ref, False, False)
    simulator.call('VM.suspend', ref)
    _stage(simulator, ref, 'second')
    simulator.call('VM.resume', ref, False, False)
    assert _taken(simulator)[-1] == ('resume', 'second')


def test_a_migration_takes_the_map_of_the_boot_on_the_source(
        build: Callable[..., Simulator]) -> None:
    simulator = build(hosts=2)
    ref = simulator.create_vm('web', platform={ARGS: 'first'}, affinity=simulator.hosts[0])
    simulator.call('VM.start', ref, False, False)
    _stage(simulator, ref, 'second')
    recorder = Recorder(simulator)
    simulator.call('VM.pool_migrate', ref, simulator.hosts[1], {'live': 'true'})
    assert _taken(simulator)[-1] == ('migration', 'first')
    assert simulator.boots[-1].host == simulator.vm(ref)['resident_on'] == simulator.hosts[1]
    assert 'power_state' not in recorder.fields(ref)
    assert ref in simulator.state.database.read('host', simulator.hosts[1], 'resident_VMs')


def test_a_paused_start_is_paused_first(simulator: Simulator, vm: str) -> None:
    simulator.call('VM.start', vm, True, False)
    assert simulator.vm(vm)['power_state'] == 'Paused'
    simulator.call('VM.unpause', vm)
    assert simulator.vm(vm)['power_state'] == 'Running'


def test_the_clock_of_a_guest_is_removed_and_added(simulator: Simulator, running: str) -> None:
    recorder = Recorder(simulator)
    simulator.change_timeoffset(running, '3600')
    maps = [write.value for write in recorder.writes if write.field == 'platform']
    assert ['timeoffset' in written for written in maps] == [False, True]
    assert simulator.vm(running)['platform']['timeoffset'] == '3600'


def test_an_import_shows_the_vm_under_a_fresh_uuid_first(simulator: Simulator) -> None:
    recorder = Recorder(simulator)
    ref = simulator.import_vm('web', '11111111-2222-3333-4444-555555555555', {ARGS: 'x'})
    uuids = [write.value for write in recorder.writes
             if write.ref == ref and write.field == 'uuid']
    assert len(uuids) == 2 and uuids[1] == '11111111-2222-3333-4444-555555555555'
    assert simulator.vm(ref)['platform'][ARGS] == 'x'


def test_a_vm_of_another_pool_arrives_running_with_its_own_boot(simulator: Simulator) -> None:
    uuid = '11111111-2222-3333-4444-555555555555'
    recorder = Recorder(simulator)
    ref = simulator.arrive('web', uuid, {ARGS: 'next'}, {ARGS: 'frozen'})
    assert _taken(simulator) == [('migration', 'frozen')]
    # No operation of this pool tells of it, but the host that has room for it.
    told = [write.field for write in recorder.writes[recorder.fields(ref).index('uuid'):]
            if write.ref == ref and write.field in (
                'current_operations', 'scheduled_to_be_resident_on', 'power_state', 'domid')]
    assert told[-4:] == ['scheduled_to_be_resident_on', 'scheduled_to_be_resident_on',
                         'power_state', 'domid']
    assert [write.value for write in recorder.writes
            if write.ref == ref and write.field == 'current_operations'] == [{}]
    record = simulator.vm(ref)
    assert (record['uuid'], record['power_state'], record['platform'][ARGS]) == (
        uuid, 'Running', 'next')
