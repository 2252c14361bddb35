"""Operations: what is refused, repeated, cancelled; tasks; what happens to hosts and pools."""

from typing import Any, Callable, Dict, List

import pytest

from simulator.database.rows import NULL
from simulator.faults import Fault
from simulator.server import Simulator
from simulator.wire.failures import Failure
from tests.unit.simulator.write_recorder import Recorder

ARGS = 'device-model-args'


@pytest.fixture
def vm(simulator: Simulator) -> str:
    return simulator.create_vm('web', platform={ARGS: 'first'})


REFUSALS = [
    pytest.param({'blocked_operations': {'start': 'why'}}, 'VM.start',
                 ['OPERATION_BLOCKED', 'why'], id='blocked'),
    pytest.param({'blocked_operations': {'clean_shutdown': 'why'}}, 'VM.clean_shutdown',
                 ['OPERATION_BLOCKED', 'why'], id='blocked-is-tested-before-the-power-state'),
    pytest.param({}, 'VM.clean_shutdown', ['VM_BAD_POWER_STATE', 'running', 'halted'],
                 id='power-state'),
    pytest.param({}, 'VM.hard_shutdown',
                 ['VM_BAD_POWER_STATE', 'paused, suspended, running', 'halted'],
                 id='power-states'),
    pytest.param({'is_a_template': True}, 'VM.start', ['VM_IS_TEMPLATE', 'start'], id='template'),
    pytest.param({'is_a_snapshot': True}, 'VM.start', ['VM_IS_SNAPSHOT', 'start'], id='snapshot'),
    pytest.param({'current_operations': {'T': 'clone'}}, 'VM.start',
                 ['OTHER_OPERATION_IN_PROGRESS', 'clone', 'T'], id='other-operation'),
]


@pytest.mark.parametrize('fields, method, expected', REFUSALS)
def test_an_operation_is_refused_as_xapi_refuses_it(
        simulator: Simulator, fields: Dict[str, Any], method: str, expected: List[str]) -> None:
    ref = simulator.create_vm('web', **fields)
    with pytest.raises(Failure) as caught:
        simulator.call(method, ref, *((False, False) if method == 'VM.start' else ()))
    said = [word for word in caught.value.description if word not in (ref, 'VM')]
    assert said == expected
    assert simulator.vm(ref)['power_state'] == 'Halted' and not simulator.boots


def test_the_conflict_had_other_parameters_before_25_27(
        build: Callable[..., Simulator]) -> None:
    simulator = build(xapi_version='25.6.0')
    ref = simulator.create_vm('web', current_operations={'T': 'clone'})
    with pytest.raises(Failure) as caught:
        simulator.call('VM.start', ref, False, False)
    assert caught.value.description == ['OTHER_OPERATION_IN_PROGRESS', 'VM.start', ref]


def test_a_second_start_waits_and_then_finds_the_vm_running(
        build: Callable[..., Simulator]) -> None:
    simulator = build(cutoff_seconds=0.1, conflict_wait_seconds=20.0)
    ref = simulator.create_vm('web')
    first = simulator.spawn('VM.start', ref, False, False)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    second = simulator.spawn('VM.start', ref, False, False)
    second.join(5.0)
    first.join(5.0)
    assert first.error is None
    assert isinstance(second.error, Failure) and second.error.code == 'VM_BAD_POWER_STATE'
    assert len(simulator.boots) == 1


def test_a_hard_shutdown_cancels_what_is_under_way(
        build: Callable[..., Simulator]) -> None:
    simulator = build(shutdown_seconds=30.0)
    ref = simulator.create_vm('web')
    simulator.call('VM.start', ref, False, False)
    gentle = simulator.spawn('VM.clean_shutdown', ref)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    simulator.call('VM.hard_shutdown', ref)
    gentle.join(5.0)
    assert isinstance(gentle.error, Failure) and gentle.error.code == 'TASK_CANCELLED'
    assert simulator.vm(ref)['power_state'] == 'Halted'
    assert simulator.vm(ref)['current_operations'] == {}


def test_a_task_can_be_cancelled(build: Callable[..., Simulator]) -> None:
    simulator = build(shutdown_seconds=30.0)
    ref = simulator.create_vm('web')
    simulator.call('VM.start', ref, False, False)
    task = simulator.call('Async.VM.clean_shutdown', ref)
    assert simulator.wait_for(lambda: simulator.vm(ref)['current_operations'])
    simulator.call('task.cancel', task)
    assert simulator.wait_for(lambda: simulator.call('task.get_status', task) == 'cancelled')
    assert simulator.call('task.get_error_info', task) == ['TASK_CANCELLED', task]
    assert simulator.vm(ref)['power_state'] == 'Running'


def test_a_failed_boot_leaves_the_vm_halted(simulator: Simulator, vm: str) -> None:
    simulator.faults.add(Fault('boot_failure', ref=vm, count=1))
    with pytest.raises(Failure):
        simulator.call('VM.start', vm, False, False)
    record = simulator.vm(vm)
    assert (record['power_state'], record['current_operations']) == ('Halted', {})
    assert record['scheduled_to_be_resident_on'] == NULL
    simulator.call('VM.start', vm, False, False)
    assert simulator.vm(vm)['power_state'] == 'Running'


def test_an_asynchronous_call_gives_a_task_with_the_result(simulator: Simulator, vm: str) -> None:
    recorder = Recorder(simulator)
    task = simulator.call('Async.VM.clone', vm, 'copy')
    assert simulator.wait_for(lambda: simulator.call('task.get_status', task) == 'success')
    copy = simulator.call('VM.get_by_name_label', 'copy')[0]
    assert simulator.call('task.get_result', task) == f'<value>{copy}</value>'
    assert recorder.fields(task)[-5:] == [
        'allowed_operations', 'finished', 'progress', 'result', 'status']


def test_the_allowed_operations_follow_the_power_state(simulator: Simulator, vm: str) -> None:
    assert 'start' in simulator.vm(vm)['allowed_operations']
    simulator.call('VM.start', vm, False, False)
    assert 'start' not in simulator.vm(vm)['allowed_operations']
    assert 'clean_shutdown' in simulator.vm(vm)['allowed_operations']


def test_a_lost_host_has_its_vms_started_elsewhere_unless_blocked(
        build: Callable[..., Simulator]) -> None:
    simulator = build(hosts=2)
    first, second = (simulator.create_vm(name, affinity=simulator.hosts[1]) for name in 'ab')
    for ref in (first, second):
        simulator.call('VM.start', ref, False, False)
    simulator.call('VM.add_to_blocked_operations', second, 'start', 'why')
    refused = simulator.host_fails(simulator.hosts[1])
    assert [failure.code for failure in refused] == ['OPERATION_BLOCKED']
    assert simulator.vm(first)['resident_on'] == simulator.hosts[0]
    assert simulator.vm(second)['power_state'] == 'Halted'


def test_auto_power_on_starts_whom_it_should(simulator: Simulator) -> None:
    wanted = simulator.create_vm('a', other_config={'auto_poweron': 'true'})
    other = simulator.create_vm('b')
    assert simulator.auto_power_on() == []
    assert [boot.ref for boot in simulator.boots] == [wanted]
    assert simulator.vm(other)['power_state'] == 'Halted'


def test_two_pools_of_one_seed_have_the_same_rows(build: Callable[..., Simulator]) -> None:
    pools = [build(socket_path=None, vms=5, templates=2, snapshots=2, seed=7) for _ in range(2)]
    records = [pool.call('VM.get_all_records') for pool in pools]
    assert sorted(records[0]) == sorted(records[1])
    assert len(records[0]) == 10
