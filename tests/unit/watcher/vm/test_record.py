"""What a VM record says of itself."""

import pytest

from tests.unit.watcher.builders import HOST, build_vm
from watcher.vm.record import PowerState


@pytest.mark.parametrize('fields, is_at_rest, is_starting', [
    pytest.param({}, True, False, id='halted'),
    pytest.param({'operation': 'start'}, False, True, id='starting'),
    pytest.param({'operation': 'start_on'}, False, True, id='starting-on-a-host'),
    pytest.param({'operation': 'clone'}, False, False, id='halted-in-another-operation'),
    pytest.param({'operations': (('a', 'start'), ('b', 'snapshot'))}, False, False,
                 id='start-and-another-operation'),
    pytest.param({'power_state': PowerState.RUNNING}, False, False, id='running'),
    pytest.param({'power_state': PowerState.RUNNING, 'operation': 'start'}, False, False,
                 id='running-while-the-start-ends'),
    pytest.param({'power_state': PowerState.PAUSED, 'operation': 'start'}, False, False,
                 id='paused-while-the-start-ends'),
    pytest.param({'power_state': PowerState.SUSPENDED}, False, False, id='suspended')])
def test_rest_and_start_are_told_apart(fields, is_at_rest, is_starting):
    vm = build_vm(**fields)
    assert (vm.is_at_rest, vm.is_starting) == (is_at_rest, is_starting)


@pytest.mark.parametrize('power_state, domid, host, domain', [
    pytest.param(PowerState.RUNNING, 7, HOST, (HOST, 7), id='running'),
    pytest.param(PowerState.PAUSED, 7, HOST, (HOST, 7), id='paused'),
    pytest.param(PowerState.RUNNING, 0, HOST, (HOST, 0), id='domid-zero'),
    pytest.param(PowerState.RUNNING, -1, HOST, None, id='running-before-the-domid'),
    pytest.param(PowerState.RUNNING, 7, None, None, id='running-without-a-host'),
    pytest.param(PowerState.HALTED, 7, HOST, None, id='halted-before-the-domid-goes'),
    pytest.param(PowerState.SUSPENDED, 7, HOST, None, id='suspended')])
def test_domain_is_named_only_when_all_of_it_is_known(power_state, domid, host, domain):
    assert build_vm(power_state=power_state, domid=domid, resident_on=host).domain == domain


def test_start_is_known_by_its_task():
    vm = build_vm(operations=(('OpaqueRef:a', 'clone'), ('OpaqueRef:b', 'start')))
    assert vm.start_task == 'OpaqueRef:b'
    assert build_vm(operation='clone').start_task is None


def test_vm_that_a_host_still_has_is_neither_at_rest_nor_starting():
    for operations in ((), (('OpaqueRef:task', 'start'),)):
        vm = build_vm(resident_on=HOST, operations=operations)
        assert not vm.is_at_rest and not vm.is_starting
        assert vm.is_halted_resident == (not operations)
