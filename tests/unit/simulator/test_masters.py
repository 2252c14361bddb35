"""Copies of the database, masters that change, hosts that are lost, a pool that is split."""

import http.client
import os
import socket
import threading
import xmlrpc.client

import pytest
import XenAPI

from simulator.wire.failures import Failure, XapiGone
from tests.support.waiting import wait_until


def add(pool, vm, key, value='1'):
    pool.call('VM.add_to_other_config', vm, key, value)


def keys(pool, vm):
    return sorted(set(pool.vm(vm)['other_config']) - {'mac_seed'})


def post(path, method, *params):
    """One call over a socket: the status and the decoded answer."""
    connection = http.client.HTTPConnection('localhost')
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(path)
        connection.sock = connected
        connection.request('POST', '/', xmlrpc.client.dumps(params, method))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    return answer.status, xmlrpc.client.loads(body)[0][0] if answer.status == 200 else None


def refused(pool, host, code):
    """Whether a login on a host is answered with this error."""
    try:
        return post(pool.socket_path(host), 'session.login_with_password', 'root', '')[1].get(
            'ErrorDescription', [''])[0] == code
    except (OSError, http.client.HTTPException):
        return False


def test_a_new_master_comes_up_with_its_own_copy(pool):
    vm = pool.create_vm('web')
    add(pool, vm, 'old')
    pool.sync_database()
    add(pool, vm, 'new')
    generation = pool.state.database.generation
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    assert keys(pool, vm) == ['old']
    assert pool.master == pool.hosts[1] == pool.state.master
    assert pool.state.database.generation < generation + 20


def test_without_a_copy_of_a_vm_the_new_master_does_not_know_it(pool):
    pool.create_vm('web')
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    assert [row.fields['name_label'] for row in pool.state.database.tables['VM'].rows.values()
            if not row.fields['is_control_domain']] == []


def test_the_api_hands_the_database_out_too(pool):
    vm = pool.create_vm('web')
    pool.call('pool.sync_database')
    assert vm in [ref for ref, _, _, _ in pool.copy_of(pool.hosts[2]).tables['VM']]


def test_by_itself_the_database_is_handed_out_again_and_again(build_pool):
    pool = build_pool(database_sync_seconds=0.01)
    vm = pool.create_vm('web')
    wait_until(lambda: vm in [ref for ref, _, _, _ in pool.copy_of(pool.hosts[2]).tables['VM']])


def test_sessions_and_tokens_do_not_outlive_a_failover(pool, clients):
    vm = pool.create_vm('web')
    pool.sync_database()
    for number in range(50):
        add(pool, vm, str(number))
    before = clients.local(pool, pool.hosts[1])
    token = before.xenapi.event_from(['vm'], '', 0.0)['token']
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[2])
    status, answer = post(pool.socket_path(pool.hosts[1]), 'pool.get_all', before.handle)
    assert (status, answer['ErrorDescription'][0]) == (200, 'SESSION_INVALID')
    after = clients.local(pool, pool.hosts[1])
    assert after.xenapi.session.get_this_host(after.handle) == pool.hosts[1]
    assert int(token.split(',')[0]) > pool.state.database.generation
    add(pool, vm, 'unseen')
    # A token from before is too high: what changes is silently not told.
    assert after.xenapi.event_from(['vm'], token, 0.1)['events'] == []


def test_a_masters_last_writes_may_be_lost_with_it(pool):
    vm = pool.create_vm('web')
    add(pool, vm, 'flushed')
    flushed = pool.state.database.generation
    add(pool, vm, 'unflushed')
    pool.lose_host(pool.hosts[0], flushed_generation=flushed)
    pool.return_host(pool.hosts[0])
    assert pool.master == pool.hosts[0]
    assert keys(pool, vm) == ['flushed']


def test_a_member_whose_master_is_gone_answers_with_500_and_later_with_an_error(build_pool,
                                                                                clients):
    pool = build_pool(member_patience_seconds=0.3)
    member = pool.hosts[1]
    session = clients.local(pool, member)
    pool.lose_host(pool.hosts[0])
    assert post(pool.socket_path(member), 'pool.get_all', session.handle) == (500, None)
    wait_until(lambda: refused(pool, member, 'INTERNAL_ERROR'))
    pool.fail_over(pool.hosts[2])
    assert clients.local(pool, member).xenapi.pool.get_master(pool.pool) == pool.hosts[2]


def test_a_login_on_a_member_whose_master_is_gone_waits_until_xapi_restarts(build_pool):
    pool = build_pool(member_patience_seconds=0.2)
    pool.lose_host(pool.hosts[0])
    with pytest.raises((OSError, http.client.HTTPException)):
        post(pool.socket_path(pool.hosts[1]), 'session.login_with_password', 'root', '')


def test_a_network_that_heals_while_members_lose_patience_leaves_none_alone(build_pool):
    pool = build_pool(member_patience_seconds=0.05)
    first, second, third = (pool.nodes[ref] for ref in pool.hosts)
    closes, healing = third.close, []

    def heal_first() -> None:
        # The second one has just lost its patience, the third one is about to.
        third.close = closes
        healing.append(threading.Thread(target=pool.heal))
        healing[0].start()
        healing[0].join(0.2)
        closes()

    third.close = heal_first
    pool.split([first.ref], [second.ref, third.ref])
    wait_until(lambda: healing and not healing[0].is_alive())
    wait_until(lambda: [node.emergency for node in (second, third)] == [None, None])
    assert pool.reaches_master(second) and pool.reaches_master(third)


def test_a_master_that_goes_silently_leaves_calls_hanging(build_pool, clients):
    pool = build_pool(member_patience_seconds=0.3, master_goes_silently=True)
    session = clients.local(pool, pool.hosts[1])
    pool.lose_host(pool.hosts[0])
    with pytest.raises((OSError, http.client.HTTPException)):
        post(pool.socket_path(pool.hosts[1]), 'pool.get_all', session.handle)


def test_while_xapi_comes_up_it_says_so(build_pool):
    pool = build_pool(boot_seconds=0.5)
    pool.lose_host(pool.hosts[0])
    pool.beside(pool.fail_over, pool.hosts[1])
    wait_until(lambda: refused(pool, pool.hosts[1], 'HOST_STILL_BOOTING'))
    wait_until(lambda: not refused(pool, pool.hosts[2], 'HOST_STILL_BOOTING')
               and pool.nodes[pool.hosts[2]].reign is pool.reigns[-1])


def test_an_orderly_change_of_master_loses_nothing(pool, clients):
    vm = pool.create_vm('web')
    add(pool, vm, 'last')
    clients.local(pool, pool.hosts[0]).xenapi.pool.designate_new_master(pool.hosts[2])
    wait_until(lambda: pool.master == pool.hosts[2] and all(
        pool.reaches_master(node) and node.emergency is None for node in pool.nodes.values()))
    assert keys(pool, vm) == ['last']
    first = clients.local(pool, pool.hosts[0])
    assert first.xenapi.pool.get_master(pool.pool) == pool.hosts[2]


def test_with_ha_no_master_is_designated(pool):
    pool.set_field(pool.pool, 'ha_enabled', True, 'pool')
    with pytest.raises(Failure) as caught:
        pool.call('pool.designate_new_master', pool.hosts[1])
    assert caught.value.code == 'HA_IS_ENABLED'


def test_an_operator_makes_a_master_by_hand(build_pool, clients):
    pool = build_pool(member_patience_seconds=0.05)
    vm = pool.create_vm('web')
    pool.sync_database()
    pool.lose_host(pool.hosts[0])
    wait_until(lambda: refused(pool, pool.hosts[1], 'INTERNAL_ERROR'))
    path = pool.socket_path(pool.hosts[1])
    session = post(path, 'session.slave_local_login_with_password', 'root', '')[1]['Value']
    assert post(path, 'host.is_in_emergency_mode', session)[1]['Value'] is True
    assert post(path, 'pool.emergency_transition_to_master', session)[1]['Status'] == 'Success'
    wait_until(lambda: pool.master == pool.hosts[1]
               and pool.nodes[pool.hosts[1]].emergency is None)
    assert pool.find(pool.vm(vm)['uuid']) == vm
    again = clients.local(pool, pool.hosts[1])
    assert again.xenapi.pool.recover_slaves() == [pool.hosts[2]]
    assert clients.local(pool, pool.hosts[2]).xenapi.pool.get_master(pool.pool) == pool.hosts[1]


def test_vms_of_a_lost_host_run_by_the_records_until_it_is_declared_dead(pool):
    protected = pool.create_vm('a', affinity=pool.hosts[2], ha_restart_priority='restart')
    other = pool.create_vm('b', affinity=pool.hosts[2])
    for vm in (protected, other):
        pool.call('VM.start', vm, False, False)
    pool.lose_host(pool.hosts[2])
    assert [pool.vm(vm)['power_state'] for vm in (protected, other)] == ['Running', 'Running']
    assert len(pool.state.hypervisor.domains) == 0
    with pytest.raises(Failure) as caught:
        pool.call('VM.clean_shutdown', other)
    assert caught.value.code == 'CANNOT_CONTACT_HOST'
    assert pool.declare_dead(pool.hosts[2]) == []
    assert [pool.vm(vm)['power_state'] for vm in (protected, other)] == ['Running', 'Halted']
    assert pool.boots[-1].ref == protected and pool.boots[-1].host != pool.hosts[2]


def test_a_host_that_returns_has_no_domains_and_begins_to_count_anew(pool):
    vm = pool.create_vm('web', affinity=pool.hosts[1])
    pool.call('VM.start', vm, False, False)
    boot_id = os.path.join(pool.nodes[pool.hosts[1]].directory,
                           'proc/sys/kernel/random/boot_id')
    with open(boot_id, encoding='utf-8') as stream:
        before = stream.read()
    pool.lose_host(pool.hosts[1])
    pool.return_host(pool.hosts[1])
    assert pool.vm(vm)['power_state'] == 'Halted'
    with open(boot_id, encoding='utf-8') as stream:
        assert stream.read() != before
    pool.call('VM.start', vm, False, False)
    assert [boot.domid for boot in pool.boots] == [1, 1]


def test_a_former_master_that_finds_another_becomes_its_member(pool, clients):
    pool.sync_database()
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    pool.return_host(pool.hosts[0])
    session = clients.local(pool, pool.hosts[0])
    assert session.xenapi.pool.get_master(pool.pool) == pool.hosts[1]
    assert session.xenapi.session.get_this_host(session.handle) == pool.hosts[0]


def test_a_new_master_finds_what_runs(pool):
    vm = pool.create_vm('web', affinity=pool.hosts[2])
    pool.sync_database()
    pool.call('VM.start', vm, False, False)
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    record = pool.vm(vm)
    assert (record['power_state'], record['resident_on'], record['domid']) == (
        'Running', pool.hosts[2], pool.boots[-1].domid)


def test_a_domain_whose_build_had_begun_comes_up_when_the_master_dies(build_pool):
    pool = build_pool(build_seconds=0.2)
    vm = pool.create_vm('web', affinity=pool.hosts[2], platform={'device-model-args': '-device x'})
    pool.sync_database()
    pool.spawn('VM.start', vm, False, False)
    pool.wait_for(lambda: pool.cutoffs)
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    wait_until(lambda: pool.vm(vm)['power_state'] == 'Running')
    assert pool.boots[-1].args == '-device x' and pool.vm(vm)['current_operations'] == {}


def test_a_pool_that_is_split_has_two_masters_until_it_is_mended(pool, clients):
    first, second, third = pool.hosts
    vm = pool.create_vm('web')
    pool.sync_database()
    pool.split([first], [second, third])
    pool.fail_over(second)
    old, new = clients.local(pool, first), clients.local(pool, third)
    assert old.xenapi.pool.get_master(pool.pool) == first
    assert new.xenapi.pool.get_master(pool.pool) == second
    old.xenapi.VM.add_to_other_config(vm, 'old', '')
    new.xenapi.VM.add_to_other_config(vm, 'new', '')
    for session, host in ((old, first), (new, third)):
        session.xenapi.VM.start_on(vm, host, False, False)
    assert [boot.host for boot in pool.boots] == [first, third]
    with pytest.raises(XenAPI.Failure) as caught:
        old.xenapi.host.call_plugin(third, 'p', 'f', {})
    assert caught.value.details == ['CANNOT_CONTACT_HOST', third]
    pool.heal()
    assert keys(pool, vm) == ['new']
    joined = clients.local(pool, first)
    assert joined.xenapi.pool.get_master(pool.pool) == second
    assert joined.xenapi.VM.get_resident_on(vm) == third
    assert os.listdir(os.path.join(pool.nodes[first].directory, 'xenstore/local/domain')) == []


def test_a_split_that_nobody_answers_mends_without_a_trace(build_pool, clients):
    pool = build_pool(member_patience_seconds=0.05)
    vm = pool.create_vm('web')
    pool.split(pool.hosts[:1], pool.hosts[1:])
    wait_until(lambda: refused(pool, pool.hosts[1], 'INTERNAL_ERROR'))
    add(pool, vm, 'meanwhile')
    pool.heal()
    assert 'meanwhile' in clients.local(pool, pool.hosts[1]).xenapi.VM.get_other_config(vm)


def test_scripts_run_when_a_host_becomes_and_ceases_to_be_master(pool):
    for host in pool.hosts:
        for name in ('02-b', '01-a'):
            path = os.path.join(pool.nodes[host].master_scripts_directory, name)
            with open(path, 'w', encoding='utf-8') as stream:
                stream.write('#!/bin/sh\necho "%s $1" >> %s/told\n' % (name, pool.nodes[host].root))
            os.chmod(path, 0o700)

    def told(host):
        try:
            with open(os.path.join(pool.nodes[host].root, 'told'), encoding='utf-8') as stream:
                return stream.read().split('\n')[:-1]
        except OSError:
            return []

    pool.designate_new_master(pool.hosts[1])
    assert [told(host) for host in pool.hosts] == [
        ['02-b stop', '01-a stop'], ['01-a start', '02-b start'], []]
    pool.lose_host(pool.hosts[1])
    pool.fail_over(pool.hosts[2])
    # Who is cut off does not reach its stop.
    assert [len(told(host)) for host in pool.hosts] == [2, 2, 2]


def test_copies_may_be_of_different_age(pool):
    vm = pool.create_vm('web')
    pool.sync_database(pool.hosts[1])
    add(pool, vm, 'new')
    pool.sync_database(pool.hosts[2])
    pool.lose_host(pool.hosts[0])
    pool.fail_over(pool.hosts[1])
    assert keys(pool, vm) == []


def test_a_restored_database_is_as_it_was(pool, clients):
    vm = pool.create_vm('web')
    dump = pool.dump_database()
    add(pool, vm, 'later')
    pool.create_vm('later')
    pool.call('VM.start', vm, False, False)
    before = clients.local(pool, pool.hosts[1])
    pool.restore_database(dump)
    assert keys(pool, vm) == [] and pool.master == pool.hosts[0]
    assert post(pool.socket_path(pool.hosts[1]), 'pool.get_all',
                before.handle)[1]['ErrorDescription'][0] == 'SESSION_INVALID'
    # What runs is found out anew.
    assert pool.vm(vm)['power_state'] == 'Running'


def test_other_config_of_vm_and_pool_is_a_map_with_a_test_and_set(pool, clients):
    session = clients.local(pool, pool.hosts[2]).xenapi
    vm = pool.create_vm('web')
    token = session.event_from(['vm', 'pool'], '', 0.0)['token']
    session.pool.add_to_other_config(pool.pool, 'ours', 'x')
    with pytest.raises(XenAPI.Failure) as caught:
        session.pool.add_to_other_config(pool.pool, 'ours', 'x')
    assert caught.value.details == ['MAP_DUPLICATE_KEY', 'pool', 'other_config', pool.pool, 'ours']
    session.VM.add_to_other_config(vm, 'ours', 'a')
    events = session.event_from(['vm', 'pool'], token, 5.0)['events']
    assert {event['ref'] for event in events} == {vm, pool.pool}
    snapshot = session.VM.snapshot(vm, 'now')
    clone = session.VM.clone(vm, 'copy')
    session.VM.remove_from_other_config(vm, 'ours')
    session.VM.add_to_other_config(vm, 'ours', 'b')
    assert session.VM.get_other_config(clone)['ours'] == 'a'
    session.VM.revert(snapshot)
    assert session.VM.get_other_config(vm)['ours'] == 'a'
    session.pool.remove_from_other_config(pool.pool, 'ours')
    assert session.pool.get_other_config(pool.pool) == {}


def test_a_request_may_be_300_kib_at_most(pool, clients):
    session = clients.local(pool, pool.hosts[1])
    vm = pool.create_vm('web')
    # xapi refuses at the headers, and may close before all is sent.
    with pytest.raises((xmlrpc.client.ProtocolError, OSError)):
        session.xenapi.VM.add_to_other_config(vm, 'k', 'v' * 300 * 1024)
    assert keys(pool, vm) == []
    session.xenapi.VM.add_to_other_config(vm, 'k', 'v' * 299 * 1024)
    assert keys(pool, vm) == ['k']


def test_a_master_that_dies_in_the_middle_of_a_call_carries_nothing_out(pool, clients):
    vm = pool.create_vm('web')
    pool.sync_database()
    member = clients.local(pool, pool.hosts[1])
    pool.add_fault('run_before', method='VM.add_to_other_config', count=1, parameters={
        'run': lambda: pool.lose_host(pool.hosts[0])})
    with pytest.raises(xmlrpc.client.ProtocolError):
        member.xenapi.VM.add_to_other_config(vm, 'k', 'v')
    with pytest.raises(XapiGone):
        pool.call('VM.get_record', vm)
    pool.fail_over(pool.hosts[2])
    assert keys(pool, vm) == []


def test_guests_reboot_and_stop_while_there_is_no_master(pool):
    again, stopped = [pool.create_vm(name, affinity=pool.hosts[2],
                                     platform={'device-model-args': name}) for name in 'ab']
    for vm in (again, stopped):
        pool.call('VM.start', vm, False, False)
    pool.sync_database()
    pool.lose_host(pool.hosts[0])
    pool.guest_reboot(again)
    pool.guest_shutdown(stopped)
    assert (pool.boots[-1].kind, pool.boots[-1].args) == ('guest_reboot', 'a')
    pool.fail_over(pool.hosts[1])
    assert pool.vm(again)['domid'] == pool.boots[-1].domid
    assert pool.vm(stopped)['power_state'] == 'Halted'
