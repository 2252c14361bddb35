"""vgpu-admin on a member: carried out on the master, shown as if it had been here."""

import json
import os
import signal

import pytest
import XenAPI

from registry.journal.journal import Journal
from registry.values import Priority
from tests.integration.cli.program import Place
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin


class Admin(Place):
    """Runs vgpu-admin on one host of a pool."""

    def __init__(self, host):  # no place of its own
        self.config = host.config_path
        self.db = host.registry_path
        self.registry = host.registry
        self.directory = host.etc


@pytest.fixture
def world(build_pool):
    """Three hosts with the plugin, no daemon."""
    world = build_pool().start(with_daemons=False)
    for host in world.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    return world


@pytest.fixture
def member(world):
    """vgpu-admin on the second host."""
    return Admin(world.members[0])


def rows(world):
    """The registry of record."""
    return Admin(world.master).rows()


def history(world):
    """What the master's journal says was changed."""
    with Journal(world.master.registry.journal_path, timeout_seconds=5.0) as journal:
        return journal.list_history()


def test_edit_on_a_member_is_made_on_the_master_and_shown_as_if_here(world, member):
    ref = world.create_vm('web \u2713')
    run = member.run('register-vm', '--vm-uuid', world.uuid(ref), '--pool=B', '--priority=high')
    # A busy machine takes so long that the member says that it waits.
    assert run.status == 0
    assert [line for line in run.err.splitlines() if 'carries it out' not in line] == []
    assert 'registered with pool B, priority high, vm_id 1' in run.out
    assert 'web \u2713' in run.out
    assert rows(world) == [(1, world.uuid(ref), 'web \u2713', 'B', 2)]
    assert world.args(ref) == span(1, pool='B', priority='high')
    assert not os.path.exists(member.db)


def test_history_names_who_and_on_which_host(world, member):
    ref = world.create_vm('web')
    member.run('register-vm', '--vm-uuid', world.uuid(ref), environment={'SUDO_USER': 'alice'})
    name = world.xapi.call('host.get_name_label', world.members[0].ref)
    entry = [item for item in history(world) if item.what == 'vm_added'][0]
    assert (entry.who, entry.command, entry.what) == (
        'alice on %s' % name, 'register-vm', 'vm_added')


@pytest.mark.parametrize('words, status', [
    (('show-vm', '--vm-name=nobody'), 3), (('set-pool', '--vm-name=nobody', '--pool=A'), 3),
    (('register-vm', '--vm-name=web', '--vm-id=5'), 4),
    (('register-vm', '--vm-name=web', '--vm-id=0'), 2)])
def test_status_and_errors_are_the_masters(world, member, words, status):
    world.register(world.create_vm('other'), vm_id=5)
    world.create_vm('web')
    here, there = member.run(*words), Admin(world.master).run(*words)
    assert (here.status, here.out, here.err) == (status, there.out, there.err)


def test_json_is_the_masters_document_on_both_streams(world, member):
    ref = world.create_vm('web')
    run = member.run('register-vm', '--vm-uuid', world.uuid(ref), '--json')
    assert run.document['vm']['vm_id'] == 1
    assert member.run('show-vm', '--json', '--vm-name=nobody').error['kind'] == 'not_found'
    assert member.run('list-vms', '--minimal').out == world.uuid(ref) + '\n'


@pytest.mark.parametrize('command', ['list-vms', 'list-pools', 'status', 'scan-vms', 'plan',
                                     'history', 'export'])
def test_views_on_a_member_show_what_the_master_knows(world, member, command):
    world.register(world.create_vm('web'), vm_id=5)
    here, there = member.run(command), Admin(world.master).run(command)
    assert (here.status, here.out) == (there.status, there.out)


def running_vm(world):
    """A VM that runs with what is registered."""
    ref = world.create_vm('web')
    Admin(world.master).run('register-vm', '--vm-uuid', world.uuid(ref))
    world.start_vm(ref, world.members[1])
    return ref


def test_question_is_asked_here_and_the_restart_made_there(world, member):
    ref = running_vm(world)
    run = member.answer('yes\n', 'set-pool', '--vm-uuid', world.uuid(ref), '--pool=B')
    assert run.status == 0, run
    assert 'Current configuration' in run.err and 'Do you want to apply' in run.err
    assert world.args(ref) == span(1, pool='B')
    assert world.took(ref, span(1, pool='B'))
    assert 'it runs with what is assigned' in run.out


@pytest.mark.parametrize('answer', ['no\n', '\n'])
def test_without_a_yes_nothing_has_changed(world, member, answer):
    ref = running_vm(world)
    run = member.answer(answer, 'set-pool', '--vm-uuid', world.uuid(ref), '--pool=B')
    assert run.status == 1 and 'nothing was changed' in run.err
    assert rows(world)[0][3] == 'A' and world.took(ref, span(1))


def test_nobody_to_ask_is_a_usage_error_as_on_the_master(world, member):
    ref = running_vm(world)
    words = ('set-pool', '--vm-uuid', world.uuid(ref), '--pool=B')
    run = member.run(*words)
    assert run.status == 2 and '--no-restart' in run.err and rows(world)[0][3] == 'A'
    assert member.run(*words, '--no-restart').status == 0 and rows(world)[0][3] == 'B'


def test_answer_holds_for_what_was_shown_only(world, member):
    """Somebody changes the VM while the question is open: it is asked again with what is now."""
    ref = running_vm(world)
    ours, theirs = os.openpty()
    process = member.start('set-pool', '--vm-uuid', world.uuid(ref), '--pool=B', stdin=theirs)
    shown = b''
    while b'(yes/no)' not in shown:
        shown += os.read(process.stderr.fileno(), 4096)
    assert b'medium' in shown
    world.change(ref, priority=Priority.HIGH)
    os.write(ours, b'yes\nno\n')
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 1
    assert 'changed meanwhile' in err.decode() and 'high' in err.decode()
    assert rows(world)[0][3:] == ('A', 2) and world.took(ref, span(1))


def test_without_the_plugin_edits_are_refused_and_the_master_is_named(world, member):
    os.remove(os.path.join(world.master.node.plugins_directory, 'vgpu-watcher'))
    ref = world.create_vm('web')
    run = member.run('register-vm', '--vm-uuid', world.uuid(ref))
    master = world.xapi.call('host.get_name_label', world.master.ref)
    assert run.status == 1 and master in run.err and 'nothing was changed' in run.err
    assert 'plugin' in run.err and rows(world) == [] and not os.path.exists(member.db)


def test_without_the_plugin_a_view_says_whose_knowledge_it_shows(world, member):
    os.remove(os.path.join(world.master.node.plugins_directory, 'vgpu-watcher'))
    run = member.run('list-vms')
    assert run.status == 5 and 'could not be asked' in run.err


def test_named_registry_is_this_hosts_and_nothing_is_forwarded(world, member, tmp_path):
    world.register(world.create_vm('web'), vm_id=5)
    run = member.run('list-vms', '--db', str(tmp_path / 'none.db'))
    assert run.status == 5 and 'none.db' in run.err


def test_file_on_the_member_goes_along(world, member, tmp_path):
    refs = [world.create_vm('vm-%d' % number) for number in range(3)]
    path = tmp_path / 'uuids.txt'
    path.write_text('\n'.join(world.uuid(ref) for ref in refs), encoding='utf-8')
    run = member.run('register-vm', '--from-file', str(path))
    assert run.status == 0 and len(rows(world)) == 3
    exported = member.run('export', '--format=csv')
    path.write_text(exported.out.replace(',A,', ',B,'), encoding='utf-8')
    assert member.run('import', str(path)).status == 0
    assert {row[3] for row in rows(world)} == {'B'}


def test_file_too_large_to_go_along_is_refused_and_says_so(world, member, tmp_path):
    path = tmp_path / 'large.txt'
    path.write_bytes(b''.join(b'%s\n' % os.urandom(60).hex().encode() for _ in range(4000)))
    run = member.run('register-vm', '--from-file', str(path))
    assert run.status == 1 and 'too large' in run.err and rows(world) == []


def test_other_clients_of_xapi_read_and_edit_through_the_same_plugin(world):
    ref = world.create_vm('web')
    words = json.dumps(['register-vm', '--vm-uuid=' + world.uuid(ref), '--json'])
    answer = json.loads(world.xapi.call('host.call_plugin', world.master.ref, 'vgpu-watcher',
                                        'admin', {'words': words}))
    assert answer['status'] == 0 and json.loads(answer['output'])['vm']['vm_id'] == 1
    assert {entry.who for entry in history(world)} >= {'root through XAPI'}


def test_plugin_of_a_member_takes_no_command(world):
    """There XAPI gives a session of its own, so nobody knows who asks."""
    with pytest.raises(Exception, match='CallRefused'):
        world.xapi.call('host.call_plugin', world.members[0].ref, 'vgpu-watcher', 'admin',
                        {'words': '["init"]'})


@pytest.mark.parametrize('words', [
    ['backup', '/tmp/stolen'], ['export', '--file=/tmp/stolen'], ['import', '/etc/shadow'],
    ['restore', '/etc/shadow', '--yes'], ['register-vm', '--from-file=/etc/shadow'],
    ['list-vms', '--db=/etc/shadow'], ['list-vms', '--config=/etc/shadow'], ['doctor'],
    ['consumer', 'enable'], ['fence', 'clear'], ['watch'], ['help'], []])
def test_words_that_reach_for_the_masters_files_are_refused(world, words):
    with pytest.raises(Exception, match='CallInvalid'):
        world.xapi.call('host.call_plugin', world.master.ref, 'vgpu-watcher', 'admin',
                        {'words': json.dumps(words)})


def test_ctrl_c_on_the_member_cancels_on_the_master_and_says_what_was_done(build_pool):
    world = build_pool(shutdown_seconds=60.0).start(with_daemons=False)
    install_plugin(world.master.node.plugins_directory, world.master.config_path)
    member, ref = Admin(world.members[0]), running_vm(world)
    process = member.start('set-pool', '--vm-uuid', world.uuid(ref), '--pool=B', '--yes')
    wait_until(lambda: world.xapi.vm(ref)['current_operations'], 'the stop under way')
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    assert b'cancelling the command on' in err and b'the clean stop was cancelled' in err
    assert world.xapi.vm(ref)['power_state'] == 'Running'
    assert not world.xapi.vm(ref)['current_operations']
    assert rows(world)[0][3] == 'B', 'the edit was committed, and the message says so'


@pytest.mark.parametrize('role, is_taken', [('pool-admin', True), ('pool-operator', False),
                                            ('vm-power-admin', False), ('vm-operator', False)])
def test_only_pool_administrators_edit_also_by_way_of_a_vm(build_pool, role, is_taken):
    """VM.call_host_plugin is open to VM operators, and reaches the same plugin."""
    world = build_pool(accounts=(('bob', 'secret', role),),
                       listen=('127.0.0.1', 0)).start(with_daemons=False)
    install_plugin(world.master.node.plugins_directory, world.master.config_path)
    ref = world.create_vm('web')
    world.start_vm(ref, world.master)
    session = XenAPI.Session('http://%s:%d' % world.xapi.address)
    try:
        session.login_with_password('bob', 'secret', '1.0', 'test')
        check_caller(world, session.xenapi.VM.call_host_plugin, ref, is_taken)
    finally:
        session('close')()


def check_caller(world, call, ref, is_taken):
    """Have an edit made through a VM's host."""
    words = {'words': json.dumps(['set-pool-name', '--pool-id=A', '--name=mine']),
             'user': 'somebody else'}
    if is_taken:
        assert json.loads(call(ref, 'vgpu-watcher', 'admin', words))['status'] == 0
        assert history(world)[0].who == 'bob through XAPI'
        return
    with pytest.raises(XenAPI.Failure, match='CallRefused'):
        call(ref, 'vgpu-watcher', 'admin', words)
    assert world.master.registry.read().pools[0].pool_name == 'Pool A'


def put_plugin(world, body):
    """Another program in the plugin's place on the master; it gets the words of its call."""
    path = os.path.join(world.master.node.plugins_directory, 'vgpu-watcher')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('#!/usr/bin/env python3\nimport os, sys, xmlrpc.client\n'
                     'def answer(value):\n    print(xmlrpc.client.dumps((value,), '
                     'methodresponse=True))\n' + body)
    os.chmod(path, 0o755)


@pytest.mark.parametrize('body', [
    pytest.param('sys.exit(3)', id='dies'), pytest.param('print("rubbish")', id='rubbish'),
    pytest.param('answer({"Status": "Success", "Value": "[]"})', id='no-answer-of-ours'),
    pytest.param('answer({"Status": "Failure", "ErrorDescription": ["XENAPI_PLUGIN_FAILURE", '
                 '"admin", "MemoryError", ""]})', id='fails-in-the-middle')])
def test_what_became_of_a_command_without_an_answer_is_not_known_and_said_so(
        world, member, body):
    put_plugin(world, body)
    run = member.run('register-vm', '--vm-uuid', world.uuid(world.create_vm('web')))
    assert run.status == 1 and 'is not known' in run.err and 'vgpu-admin history' in run.err


def test_older_plugin_without_the_function_has_done_nothing(world, member):
    put_plugin(world, 'answer({"Status": "Failure", '
               '"ErrorDescription": ["UNKNOWN_XENAPI_PLUGIN_FUNCTION", "admin"]})')
    run = member.run('register-vm', '--vm-uuid', world.uuid(world.create_vm('web')))
    assert run.status == 1 and 'nothing was changed' in run.err


def test_hostile_text_from_the_master_reaches_no_terminal_unescaped(world, member):
    put_plugin(world, 'answer({"Status": "Failure", "ErrorDescription": '
               '["XENAPI_PLUGIN_FAILURE", "admin", "CallRefused", "\\u202eno\\u2028"]})')
    run = member.run('register-vm', '--vm-uuid', world.uuid(world.create_vm('web')))
    assert run.status == 1 and '\u202e' not in run.err and '\u2028' not in run.err


def test_hostile_output_of_the_master_keeps_its_colours_and_nothing_else(world, member):
    document = {'format': 1, 'status': 0, 'output': '\x1b[1mA\x1b[0m\x1b[2J\x9b\n',
                'errors': '\x1b]0;x\x07\n'}
    put_plugin(world, 'answer({"Status": "Success", "Value": %r})' % json.dumps(document))
    run = member.run('list-vms')
    assert (run.out, run.err) == ('\x1b[1mA\x1b[0m\\x1b[2J\\x9b\n', '\\x1b]0;x\\x07\n')


@pytest.mark.parametrize('words', [('backup',), ('export',), ('export', '--format=csv')])
def test_a_file_written_on_a_member_has_what_the_master_says(world, member, tmp_path, words):
    world.register(world.create_vm('web \u2713'), vm_id=5)
    here, there = str(tmp_path / 'here'), str(tmp_path / 'there')
    world.xapi.clear_calls()
    for admin, path in ((member, here), (Admin(world.master), there)):
        run = admin.run(*words, path)
        assert (run.status, run.err) == (0, '') and run.out == '1 VM written to %s.\n' % path
    assert read(here) == read(there) and 'web ' in read(here)
    assert not os.path.exists(member.db)
    # A pool-operator may write the result of anybody's task.
    methods = [call.method for call in world.xapi.calls]
    assert 'host.call_plugin' in methods and 'task.get_result' not in methods


def read(path):
    """A file as text."""
    with open(path, encoding='utf-8') as stream:
        return stream.read()


def test_without_the_master_a_backup_on_a_member_is_of_its_copy_and_says_so(
        world, member, tmp_path):
    ref = world.create_vm('web')
    member.registry.create('test')
    world.register(ref, vm_id=7, host=world.members[0])
    with Journal(member.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.write_note('daemon', '{"is_member": true}')
    os.remove(os.path.join(world.master.node.plugins_directory, 'vgpu-watcher'))
    run = member.run('backup', str(tmp_path / 'file'))
    assert run.status == 0 and 'the copy that this host, a member, has' in run.err
    assert '"vm_id": 7' in read(str(tmp_path / 'file'))


def test_a_registry_that_cannot_be_read_on_the_master_gives_no_file(world, member, tmp_path):
    os.remove(world.master.registry_path)
    run = member.run('backup', str(tmp_path / 'file'))
    assert run.status == 1 and not os.path.exists(str(tmp_path / 'file')), run


def test_named_registry_is_backed_up_from_this_host(world, member, tmp_path):
    world.register(world.create_vm('web'), vm_id=5)
    run = member.run('backup', str(tmp_path / 'file'), '--db', str(tmp_path / 'none.db'))
    assert run.status == 5 and 'none.db' in run.err
