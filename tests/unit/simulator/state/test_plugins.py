"""host.call_plugin: a program on the host concerned, XML-RPC both ways, and who may call it."""

import os
import stat
import sys

import pytest
import XenAPI

from simulator.wire.failures import Failure
from tests.support.waiting import wait_until

BOILERPLATE = '''#!%s
import os, sys, xmlrpc.client
# Without a locale the words are bytes in disguise.
(session, arguments), function = xmlrpc.client.loads(os.fsencode(sys.argv[1]))
answer = {'Status': 'Success', 'Value': ''}
''' % sys.executable
ANSWER = '''
sys.stdout.buffer.write(xmlrpc.client.dumps((answer,), '', True).encode('utf-8'))
'''


def write_plugin(pool, host, name, text, mode=0o755):
    path = os.path.join(pool.nodes[host].plugins_directory, name)
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(path, mode)


@pytest.fixture
def call(pool):
    """Calls a plugin that consists of these lines."""
    def run(lines, arguments=None, mode=stat.S_IRWXU):
        write_plugin(pool, pool.hosts[0], 'tried', BOILERPLATE + lines + ANSWER, mode)
        return pool.call('host.call_plugin', pool.hosts[0], 'tried', 'f', arguments or {})
    return run


def refusal(act, *arguments):
    with pytest.raises((Failure, XenAPI.Failure)) as caught:
        act(*arguments)
    return getattr(caught.value, 'details', None) or caught.value.description


def test_it_runs_on_the_host_that_is_named_with_the_callers_session_on_the_master_only(
        pool, clients):
    for host in pool.hosts:
        write_plugin(pool, host, 'who', BOILERPLATE + (
            'answer["Value"] = "%s %%s %%s %%s" %% (function, arguments["a"], session)'
            % pool.nodes[host].name) + ANSWER)
    session = clients.local(pool, pool.hosts[1])
    for number, host in enumerate(pool.hosts, 1):
        answer = session.xenapi.host.call_plugin(host, 'who', 'f', {'a': 'é<&'})
        assert answer.startswith('host-%d f é<& OpaqueRef:' % number)
        # A member gets a session of XAPI's own (message_forwarding.ml, call_slave_with_session).
        assert answer.endswith(session.handle) == (host == pool.master)
    task = session.xenapi.Async.host.call_plugin(pool.hosts[2], 'who', 'f', {'a': ''})
    wait_until(lambda: session.xenapi.task.get_status(task) == 'success')
    assert session.xenapi.task.get_result(task).startswith('<value>host-3 f ')


def test_its_session_is_good_on_its_own_hosts_socket(pool, clients):
    path = pool.socket_path(pool.hosts[2])
    write_plugin(pool, pool.hosts[2], 'asks', BOILERPLATE + '''
import http.client, socket
connection = http.client.HTTPConnection('localhost')
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(%r)
connection.request('POST', '/', xmlrpc.client.dumps((session,), 'pool.get_all'))
(found,), _ = xmlrpc.client.loads(connection.getresponse().read())
answer['Value'] = found['Value'][0]
''' % path + ANSWER)
    session = clients.local(pool, pool.hosts[0])
    assert session.xenapi.host.call_plugin(pool.hosts[2], 'asks', 'f', {}) == pool.pool
    assert pool.calls_of(pool.hosts[2])[-1].method == 'pool.get_all'


def test_its_environment_is_a_search_path_and_nothing_else(call):
    assert call('answer["Value"] = ",".join(sorted(os.environ)) + os.getcwd()') in (
        # An interpreter may add its idea of a locale.
        'PATH/', 'LC_CTYPE,PATH/')


def test_a_plugin_that_is_not_there_cannot_be_called(pool):
    assert refusal(pool.call, 'host.call_plugin', pool.hosts[0], '../x', 'f', {}) == [
        'XENAPI_MISSING_PLUGIN', '../x']
    assert refusal(pool.call, 'host.call_plugin', 'OpaqueRef:x', 'p', 'f', {}) == [
        'HANDLE_INVALID', 'host', 'OpaqueRef:x']


@pytest.mark.parametrize('lines, expected', [
    pytest.param('answer = {"Status": "Failure", "ErrorDescription": ["X", "y"]}', ['X', 'y'],
                 id='a-failure-of-its-own'),
    pytest.param('print("out"); sys.stdout.flush(); os._exit(3)',
                 ['XENAPI_PLUGIN_FAILURE', 'non-zero exit', 'out\n', ''], id='a-status'),
    pytest.param('os.kill(os.getpid(), 9)',
                 ['XENAPI_PLUGIN_FAILURE', 'signal: SIGKILL', '', ''], id='a-signal'),
    pytest.param('answer = 5', ['XENAPI_PLUGIN_FAILURE', 'unexpected XMLRPC result'],
                 id='another-answer'),
    pytest.param('print("<")', ['XENAPI_PLUGIN_FAILURE', 'failed to parse plugin output'],
                 id='no-xml'),
    pytest.param('answer = xmlrpc.client.Fault(7, "why")',
                 ['XENAPI_PLUGIN_FAILURE', 'fault', '7', 'why'], id='a-fault'),
    pytest.param('answer["Value"] = ["a"]', ['INTERNAL_ERROR'], id='a-value-that-is-no-string'),
])
def test_what_goes_wrong_in_it_is_told_as_xapi_tells_it(call, lines, expected):
    if 'Fault' in lines:
        lines += '\nprint(xmlrpc.client.dumps(answer)); sys.exit(0)'
    assert refusal(call, lines)[:len(expected)] == expected


def test_a_file_that_is_no_program_fails(call):
    assert refusal(call, '', None, 0o600)[:2] == ['XENAPI_PLUGIN_FAILURE', 'non-zero exit']


def test_it_fails_on_a_host_that_is_silent_and_on_one_that_is_known_to_be_gone(pool):
    pool.lose_host(pool.hosts[2])
    assert refusal(pool.call, 'host.call_plugin', pool.hosts[2], 'p', 'f', {}) == [
        'CANNOT_CONTACT_HOST', pool.hosts[2]]
    pool.declare_dead(pool.hosts[2])
    assert refusal(pool.call, 'host.call_plugin', pool.hosts[2], 'p', 'f', {}) == [
        'HOST_OFFLINE', pool.hosts[2]]


def test_only_a_pool_admin_may_call_it_and_each_role_what_is_its_own(build_pool, clients):
    pool = build_pool(accounts=(('op', 'x', 'pool-operator'), ('vma', 'x', 'vm-admin'),
                                ('vmo', 'x', 'vm-operator'), ('ro', 'x', 'read-only')))
    vm = pool.create_vm('web')
    allowed = {}
    for name in ('root', 'op', 'vma', 'vmo', 'ro'):
        session = clients.remote(pool, pool.hosts[0], logs_in=False)
        session.login_with_password(name, '' if name == 'root' else 'x', '', 'tests/1')
        xenapi, allowed[name] = session.xenapi, []
        for what, act in (
                ('read', lambda: xenapi.VM.get_record(vm)),
                ('start', lambda: xenapi.VM.hard_shutdown(vm)),
                ('vm', lambda: xenapi.VM.add_to_other_config(vm, name, '')),
                ('pool', lambda: xenapi.pool.add_to_other_config(pool.pool, name, '')),
                ('plugin', lambda: xenapi.host.call_plugin(pool.hosts[0], 'none', 'f', {}))):
            try:
                act()
                allowed[name].append(what)
            except XenAPI.Failure as failure:
                if failure.details[0] != 'RBAC_PERMISSION_DENIED':
                    allowed[name].append(what)
    assert allowed == {'root': ['read', 'start', 'vm', 'pool', 'plugin'],
                       'op': ['read', 'start', 'vm', 'pool'], 'vma': ['read', 'start', 'vm'],
                       'vmo': ['read', 'start'], 'ro': ['read']}
