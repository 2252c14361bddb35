"""What cannot be prevented and must be seen."""

from typing import Any, List, Optional, Sequence

import pytest

from tests.unit.watcher.builders import build_vm, uuid_of
from watcher.vm.hazards import OTHERS_AT_MOST, DangerKind, build_having, find_dangers
from watcher.vm.record import PowerState, VmKind

OTHER = '99999999-1111-2222-3333-444455556666'


def find(vm: Any, carriers: List[Any], owner: Optional[str], number: Optional[int]) -> Any:
    """The dangers of a VM that has a number, as these have it too."""
    numbers = frozenset() if number is None else frozenset([number])
    return find_dangers(vm, numbers, lambda _number: build_having([vm, *carriers]),
                        lambda _number: owner)


def kinds_of(vm: Any, carriers: Sequence[Any] = (), owner: Optional[str] = None,
             number: Optional[int] = 5) -> List[DangerKind]:
    """The kinds alone."""
    return [danger.kind for danger in find(vm, carriers, owner, number)]


def in_state(state: PowerState, **fields: Any) -> Any:
    """A VM in a power state."""
    return build_vm()._replace(power_state=state, **fields)


@pytest.mark.parametrize('mine,others,is_found', [
    pytest.param(PowerState.RUNNING, PowerState.RUNNING, True, id='both-run'),
    pytest.param(PowerState.PAUSED, PowerState.RUNNING, True, id='one-is-paused'),
    pytest.param(PowerState.RUNNING, PowerState.SUSPENDED, False, id='the-other-is-suspended'),
    pytest.param(PowerState.HALTED, PowerState.RUNNING, False, id='this-one-is-halted')])
def test_number_runs_twice_when_two_qemus_carry_it(mine: PowerState, others: PowerState,
                                                   is_found: bool) -> None:
    vm, other = in_state(mine), in_state(others, uuid=OTHER)
    assert (kinds_of(vm, [other]) == [DangerKind.NUMBER_RUNS_TWICE]) == is_found


def test_others_are_named() -> None:
    vm, other = in_state(PowerState.RUNNING), in_state(PowerState.RUNNING, uuid=OTHER)
    assert find(vm, [other], None, 5)[0].others == (OTHER,)


@pytest.mark.parametrize('state', [PowerState.RUNNING, PowerState.HALTED])
def test_some_of_many_others_are_named_and_all_are_counted(state: PowerState) -> None:
    vms = [in_state(state, uuid=uuid_of(number)) for number in range(1, 101)]
    danger, = find(vms[0], vms[1:], None, 5)
    assert danger.others == tuple(vm.uuid for vm in vms[1:OTHERS_AT_MOST + 1])
    assert danger.others_count == 99


@pytest.mark.parametrize('owner,found', [
    pytest.param(None, [DangerKind.NUMBER_BORNE_TWICE], id='of-no-row'),
    pytest.param(OTHER, [], id='of-a-row')])
def test_number_that_two_unregistered_vms_carry_is_shown_before_they_start(
        owner: Optional[str], found: List[DangerKind]) -> None:
    vm, other = in_state(PowerState.HALTED), in_state(PowerState.HALTED, uuid=OTHER)
    assert kinds_of(vm, [other], owner) == found


@pytest.mark.parametrize('owner,is_found', [
    pytest.param(OTHER, True, id='of-another'), pytest.param(None, False, id='of-nobody'),
    pytest.param(build_vm().uuid, False, id='its-own')])
def test_suspended_vm_with_the_number_of_another_will_resume_with_it(
        owner: Optional[str], is_found: bool) -> None:
    kinds = kinds_of(in_state(PowerState.SUSPENDED), owner=owner)
    assert (kinds == [DangerKind.RESUMES_WITH_ANOTHERS_NUMBER]) == is_found
    assert kinds_of(in_state(PowerState.RUNNING), owner=owner) == []


@pytest.mark.parametrize('name,number,is_found', [
    pytest.param('pool_migrate', 5, True, id='within-the-pool'),
    pytest.param('migrate_send', 5, True, id='to-another-pool'),
    pytest.param('clean_reboot', 5, False, id='another-operation'),
    pytest.param('pool_migrate', None, False, id='without-our-device')])
def test_migration_of_our_device_is_a_danger(name: str, number: Optional[int],
                                             is_found: bool) -> None:
    vm = in_state(PowerState.RUNNING, operations=(('OpaqueRef:task', name),))
    assert (kinds_of(vm, number=number) == [DangerKind.MIGRATES_WITH_DEVICE]) == is_found
    assert kinds_of(vm._replace(power_state=PowerState.HALTED), number=number) == []


def test_templates_and_snapshots_are_in_no_danger() -> None:
    vm = in_state(PowerState.SUSPENDED, kind=VmKind.SNAPSHOT)
    assert kinds_of(vm, owner=OTHER) == []
