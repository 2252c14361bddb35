"""Migration to another pool: the same UUID, platform and other_config arrive there."""

import os

import pytest

from simulator.database.rows import NULL
from simulator.pool import PoolSimulator
from simulator.server import Simulator
from simulator.wire.failures import Failure
from tests.unit.simulator.conftest import QUICK

KEY = 'device-model-args'


@pytest.fixture
def elsewhere(directory):
    """Another pool of two hosts."""
    pool = PoolSimulator(os.path.join(directory, 'b'), QUICK._replace(hosts=2, seed=2))
    pool.start()
    yield pool
    pool.stop()


def move(pool, vm, target, host, **options):
    ticket = target.call('host.migrate_receive', host, 'OpaqueRef:NULL', {})
    return pool.call('VM.migrate_send', vm, ticket, True, {}, {}, options)


@pytest.fixture
def vm(pool):
    return pool.create_vm('web', platform={KEY: '-device x'}, other_config={'ours': '1'},
                          blocked_operations={'clone': 'no'})


def test_a_running_vm_arrives_with_the_map_of_its_boot(pool, elsewhere, vm):
    uuid = pool.vm(vm)['uuid']
    pool.call('VM.start', vm, False, False)
    pool.call('VM.remove_from_platform', vm, KEY)
    pool.call('VM.add_to_platform', vm, KEY, '-device y')
    there = move(pool, vm, elsewhere, elsewhere.hosts[1])
    record = elsewhere.vm(there)
    assert (record['uuid'], record['power_state'], record['resident_on']) == (
        uuid, 'Running', elsewhere.hosts[1])
    assert record['platform'][KEY] == '-device y' and record['other_config']['ours'] == '1'
    assert record['blocked_operations'] == {} and record['current_operations'] == {}
    assert (elsewhere.boots[-1].kind, elsewhere.boots[-1].args) == ('migration', '-device x')
    assert pool.find(uuid) is None and len(pool.state.hypervisor.domains) == 0


def test_a_halted_vm_arrives_halted(pool, elsewhere, vm):
    uuid = pool.vm(vm)['uuid']
    there = move(pool, vm, elsewhere, elsewhere.hosts[0])
    assert elsewhere.vm(there)['power_state'] == 'Halted' and elsewhere.find(uuid) == there
    assert elsewhere.boots == [] and pool.find(uuid) is None
    assert elsewhere.vm(there)['scheduled_to_be_resident_on'] == NULL


def test_an_older_xapi_keeps_a_host_for_a_halted_vm_until_it_starts(pool, directory, vm):
    older = PoolSimulator(os.path.join(directory, 'c'), QUICK._replace(xapi_version='1.249.32'))
    older.start()
    try:
        there = move(pool, vm, older, older.hosts[0])
        assert older.vm(there)['scheduled_to_be_resident_on'] == older.hosts[0]
        older.call('VM.start', there, False, False)
        assert older.vm(there)['scheduled_to_be_resident_on'] == NULL
    finally:
        older.stop()


def test_a_suspended_vm_resumes_with_the_map_of_its_boot(pool, elsewhere, vm):
    pool.call('VM.start', vm, False, False)
    pool.call('VM.suspend', vm)
    pool.call('VM.remove_from_platform', vm, KEY)
    there = move(pool, vm, elsewhere, elsewhere.hosts[0])
    elsewhere.call('VM.resume', there, False, False)
    assert elsewhere.boots[-1].args == '-device x'


def test_a_copy_has_a_uuid_of_its_own(pool, elsewhere, vm):
    there = move(pool, vm, elsewhere, elsewhere.hosts[0], copy='true')
    assert elsewhere.vm(there)['uuid'] != pool.vm(vm)['uuid']


def test_a_uuid_that_is_there_already_is_refused(pool, elsewhere, vm):
    elsewhere.create_vm('taken', uuid=pool.vm(vm)['uuid'])
    with pytest.raises(Failure) as caught:
        move(pool, vm, elsewhere, elsewhere.hosts[0])
    assert caught.value.code == 'DUPLICATE_VM'
    assert pool.vm(vm)['current_operations'] == {}


def test_a_lone_simulator_takes_vms_in_too(pool, directory, vm):
    lone = Simulator(QUICK._replace(seed=3))
    there = move(pool, vm, lone, lone.hosts[0])
    assert lone.vm(there)['platform'][KEY] == '-device x'


def test_within_the_pool_it_is_a_migration(pool, vm):
    pool.call('VM.start_on', vm, pool.hosts[0], False, False)
    assert move(pool, vm, pool, pool.hosts[2]) == vm
    assert pool.vm(vm)['resident_on'] == pool.hosts[2]


def test_who_has_not_made_ready_receives_nothing(pool, vm):
    with pytest.raises(Failure) as caught:
        pool.call('VM.migrate_send', vm, {'session_id': 'x'}, True, {}, {}, {})
    assert caught.value.code == 'INVALID_VALUE'
