"""An upgrade from the ISO: the file system is new, the database is not."""

import os

import pytest

from simulator.hosts.reinstall import wipe
from simulator.wire.failures import Failure


def put(*parts, text='x'):
    path = os.path.join(*parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    return path


def test_everything_below_the_root_is_gone_and_nothing_beside_it(tmp_path):
    root = str(tmp_path / 'root')
    put(root, 'etc/vgpu/registry')
    put(root, 'file')
    outside = put(str(tmp_path), 'outside/kept')
    os.symlink(os.path.dirname(outside), os.path.join(root, 'link'))
    os.symlink(os.path.dirname(outside), os.path.join(root, 'etc', 'link'))
    os.symlink(outside, os.path.join(root, 'etc', 'file'))
    wipe(root)
    assert os.listdir(root) == []
    assert os.path.exists(outside)


@pytest.mark.parametrize('kind', ['link', 'file', 'missing'])
def test_what_is_no_directory_of_its_own_is_refused(tmp_path, kind):
    kept = put(str(tmp_path), 'target/kept')
    root = str(tmp_path / 'root')
    if kind == 'link':
        os.symlink(os.path.dirname(kept), root)
    elif kind == 'file':
        put(root)
    with pytest.raises(ValueError):
        wipe(root)
    assert os.path.exists(kept)


@pytest.mark.parametrize('number', [0, 1], ids=['the-master', 'a-member'])
def test_the_database_stays_and_the_version_is_newer(pool, clients, number):
    host = pool.hosts[number]
    vm = pool.create_vm('web', affinity=host)
    pool.call('VM.add_to_other_config', vm, 'kept', '1')
    pool.call('VM.start', vm, False, False)
    put(pool.nodes[host].root, 'etc/vgpu/registry')
    other = put(pool.nodes[pool.hosts[2]].root, 'etc/vgpu/registry')
    pool.upgrade_host(host, version='27.1.0')
    session = clients.local(pool, host)
    assert session.xenapi.VM.get_other_config(vm)['kept'] == '1'
    assert session.xenapi.VM.get_power_state(vm) == 'Halted'
    assert session.xenapi.host.get_software_version(host)['xapi_build'] == '27.1.0'
    assert session.xenapi.pool.get_master(pool.pool) == pool.hosts[0]
    assert not os.path.exists(os.path.join(pool.nodes[host].root, 'etc/vgpu'))
    assert os.path.exists(other)


def test_a_consumer_may_be_gone_with_the_file_system(pool):
    vm = pool.create_vm('web', platform={'device-model-args': '-device x'})
    pool.upgrade_host(pool.hosts[0], consumer='off')
    pool.call('VM.start', vm, False, False)
    assert pool.boots[-1].args == '-device x' and '-device x' not in ' '.join(
        pool.boots[-1].qemu_arguments)


def test_until_all_are_upgraded_vms_start_where_the_master_is_alike_and_move_to_nothing_older(pool):
    master, second, third = pool.hosts
    vm = pool.create_vm('web', affinity=third)
    pool.upgrade_host(master)
    pool.call('VM.start', vm, False, False)
    assert pool.boots[-1].host == master
    with pytest.raises(Failure) as caught:
        pool.call('VM.pool_migrate', vm, second, {})
    assert caught.value.code == 'VM_HOST_INCOMPATIBLE_VERSION'
    other = pool.create_vm('other')
    with pytest.raises(Failure) as caught:
        pool.call('VM.start_on', other, third, False, False)
    assert caught.value.code == 'NOT_SUPPORTED_DURING_UPGRADE'
    pool.upgrade_host(second)
    pool.call('VM.pool_migrate', vm, second, {})
    assert pool.vm(vm)['resident_on'] == second
