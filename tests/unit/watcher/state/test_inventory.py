"""What is known of all VMs: records, rest, numbers, and who stands how by them."""

import pytest

from tests.unit.watcher.builders import NAMES, OTHER_SPAN, POLICY, SPAN, build_vm, uuid_of
from watcher.state.inventory import Claim, Inventory, find_standing
from watcher.vm.device_args import parse_template
from watcher.vm.plan import Policy, Standing
from watcher.vm.record import PowerState, VmKind

OWNER, OTHER = uuid_of(1), uuid_of(2)


def vm_of(number, args=None, **fields):
    return build_vm(args, ref='OpaqueRef:%d' % number, uuid=uuid_of(number), **fields)


@pytest.fixture
def inventory():
    return Inventory()


@pytest.fixture
def take(inventory):
    """Have the inventory take a record at a time."""
    def take(vm, now=100.0):
        return inventory.update(vm, POLICY, now)
    return take


def test_newest_record_is_found_by_ref_and_by_uuid(inventory, take):
    first, second = vm_of(1), vm_of(1, SPAN)
    assert take(first) is None and take(second) is first
    assert inventory.find('OpaqueRef:1') is second is inventory.find_by_uuid(uuid_of(1))
    assert list(inventory.vms) == [second] and len(inventory) == 1


def test_unknown_vm_is_not_found(inventory):
    assert inventory.find('OpaqueRef:9') is None and inventory.find_by_uuid(uuid_of(9)) is None
    assert inventory.number_of('OpaqueRef:9') is None and inventory.drop('OpaqueRef:9') is None


def test_import_that_changes_its_uuid_is_found_by_the_new_one_only(inventory, take):
    take(vm_of(1))
    take(vm_of(1)._replace(uuid=uuid_of(5)))
    assert inventory.find_by_uuid(uuid_of(1)) is None
    assert inventory.find_by_uuid(uuid_of(5)).ref == 'OpaqueRef:1'


def test_uuid_that_moved_to_another_ref_outlives_the_old_one(inventory, take):
    take(vm_of(1))
    take(vm_of(2)._replace(uuid=uuid_of(1)))
    inventory.drop('OpaqueRef:1')
    assert inventory.find_by_uuid(uuid_of(1)).ref == 'OpaqueRef:2'


def test_dropped_vm_is_forgotten_with_its_number(inventory, take):
    take(vm_of(1, SPAN))
    assert inventory.drop('OpaqueRef:1') == vm_of(1, SPAN)
    assert len(inventory) == 0 and inventory.find_by_uuid(uuid_of(1)) is None
    assert inventory.carriers_of(10) == frozenset() and inventory.number_of('OpaqueRef:1') is None
    assert inventory.rested_seconds('OpaqueRef:1', 200.0) == 0.0


# Rest.

def test_rest_counts_from_the_first_record_that_shows_it(inventory, take):
    take(vm_of(1), 100.0)
    take(vm_of(1, SPAN), 101.0)
    assert inventory.rested_seconds('OpaqueRef:1', 102.5) == 2.5


@pytest.mark.parametrize('between', [
    pytest.param({'operation': 'start'}, id='an-operation'),
    pytest.param({'power_state': PowerState.RUNNING}, id='running'),
    pytest.param({'power_state': PowerState.SUSPENDED}, id='suspended'),
    pytest.param({'kind': VmKind.TEMPLATE}, id='another-kind')])
def test_rest_counts_afresh_after(between, inventory, take):
    take(vm_of(1), 100.0)
    take(vm_of(1, **between), 101.0)
    take(vm_of(1), 102.0)
    assert inventory.rested_seconds('OpaqueRef:1', 103.0) == 1.0


def test_rest_counts_afresh_when_the_uuid_changes(inventory, take):
    take(vm_of(1), 100.0)
    take(vm_of(1)._replace(uuid=uuid_of(5)), 104.0)
    assert inventory.rested_seconds('OpaqueRef:1', 105.0) == 1.0


@pytest.mark.parametrize('fields', [{'operation': 'start'}, {'power_state': PowerState.RUNNING}])
def test_vm_that_does_not_rest_has_rested_for_no_time(fields, inventory, take):
    take(vm_of(1), 100.0)
    take(vm_of(1, **fields), 101.0)
    assert inventory.rested_seconds('OpaqueRef:1', 200.0) == 0.0


def test_interruption_makes_all_rest_count_afresh(inventory, take):
    take(vm_of(1), 100.0)
    take(vm_of(2, power_state=PowerState.RUNNING), 100.0)
    inventory.restart_rest(150.0)
    assert inventory.rested_seconds('OpaqueRef:1', 151.0) == 1.0
    assert inventory.rested_seconds('OpaqueRef:2', 151.0) == 0.0


# Numbers.

def test_carriers_of_a_number_are_ordinary_vms_only(inventory, take):
    take(vm_of(1, SPAN))
    take(vm_of(2, OTHER_SPAN))
    take(vm_of(3, SPAN, kind=VmKind.SNAPSHOT))
    assert inventory.carriers_of(10) == {'OpaqueRef:1', 'OpaqueRef:2'}
    assert inventory.number_of('OpaqueRef:3') == 10


def test_carrier_changes_with_the_args(inventory, take):
    take(vm_of(1, SPAN))
    take(vm_of(1, '-device vgpu-stub,vm_id=11'))
    assert (inventory.carriers_of(10), inventory.carriers_of(11)) == (
        frozenset(), {'OpaqueRef:1'})
    take(vm_of(1))
    assert inventory.carriers_of(11) == frozenset()


def test_vm_made_into_a_template_is_no_carrier_any_more(inventory, take):
    take(vm_of(1, SPAN))
    take(vm_of(1, SPAN, kind=VmKind.TEMPLATE))
    assert inventory.carriers_of(10) == frozenset() and inventory.number_of('OpaqueRef:1') == 10


def test_numbers_are_read_again_under_another_template(inventory, take):
    take(vm_of(1, '-device gpu,slot=7'))
    assert inventory.number_of('OpaqueRef:1') is None
    inventory.renumber(Policy(parse_template('-device gpu,slot={vm_id}'), frozenset(['gpu'])))
    assert inventory.carriers_of(7) == {'OpaqueRef:1'}
    inventory.renumber(Policy(POLICY.template, NAMES))
    assert inventory.carriers_of(7) == frozenset()


# Standing (P10, P12).

@pytest.mark.parametrize('number, is_owned, claims, bearers, orphans, standing', [
    pytest.param(None, False, {}, {}, (), Standing.CLEAR, id='carries-nothing'),
    pytest.param(10, False, {}, {}, (), Standing.CLEAR, id='a-number-of-nobody'),
    pytest.param(10, True, {10: 5}, {OTHER: Claim(10, 7)}, (), Standing.COPY,
                 id='began-after-the-row-was-committed'),
    pytest.param(10, True, {10: 5}, {}, (), Standing.COPY, id='just-began-and-not-noted-yet'),
    pytest.param(10, True, {10: 5}, {OTHER: Claim(9, 2)}, (), Standing.COPY,
                 id='bore-another-number-before'),
    pytest.param(10, True, {10: 5}, {OTHER: Claim(10, 3)}, (), Standing.CONTESTED,
                 id='bore-it-before'),
    pytest.param(10, True, {9: 1}, {OTHER: Claim(10, 3)}, (), Standing.CONTESTED,
                 id='who-was-first-is-not-known'),
    pytest.param(10, True, {10: 5}, {OTHER: Claim(10, 3)}, (OTHER,), Standing.ORPHAN,
                 id='its-row-was-deleted'),
    pytest.param(None, False, {}, {}, (OTHER,), Standing.ORPHAN,
                 id='its-row-was-deleted-and-it-carries-no-number')])
def test_unregistered_vm_stands_as_its_claim_and_the_row_say(number, is_owned, claims, bearers,
                                                             orphans, standing):
    assert find_standing(vm_of(2, SPAN), number, claims, is_owned, bearers,
                         frozenset(orphans)) is standing
