"""Every command of vgpu-admin that a member forwards behaves as if it had been typed on the master."""

import os
import re
import signal
import stat

import pytest

from cli.commandline.commands import COMMANDS
from cli.commandline.options import DRY_RUN, EXIT_CODE
from cli.commandline.routing import EDITS, HERE, VIEWS
from registry.values import Priority
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin, rows


@pytest.fixture
def world(build_pool):
    """Two hosts with the plugin, no daemon, three VMs: registered, arrived by hand, and new."""
    world = build_pool(hosts=2).start(with_daemons=False)
    for host in world.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    world.refs = [world.create_vm('web'), world.create_vm('mine', args=span(4, pool='B')),
                  world.create_vm('new')]
    world.register(world.refs[0], vm_id=2)
    return world


@pytest.fixture
def member(world):
    """vgpu-admin on the host that is not the master."""
    return Admin(world.members[0])


@pytest.fixture
def master(world):
    """vgpu-admin on the master."""
    return Admin(world.master)


def write(tmp_path, text):
    """A file of this host."""
    path = tmp_path / 'file'
    path.write_text(text, encoding='utf-8')
    return str(path)


def as_csv(world, *lines):
    """A list of VMs by number, vGPU pool and priority."""
    return 'vm_uuid,vm_id,pool_id,priority\n' + ''.join(
        '%s,%s\n' % (world.uuid(ref), line) for ref, line in zip(world.refs, lines))


WORDS = {
    'register-vm': ['--vm-name=new', '--pool=B'], 'remove-vm': ['--vm-name=web'],
    'set-pool': ['--vm-name=web', '--pool=B'], 'set-priority': ['--vm-name=web', '--priority=low'],
    'set-vm-id': ['--vm-name=web', '--vm-id=9'],
    'update-vm': ['--vm-name=web', '--pool=B', '--vm-id=8'],
    'update-pool': ['--pool-id=A', '--name=Fast', '--disable', '--yes'],
    'set-pool-name': ['--pool-id=A', '--name=Render farm'],
    'set-pool-description': ['--pool-id=A', '--description=\u2713 "x"'],
    'enable-pool': ['--pool-id=A'], 'disable-pool': ['--pool-id=B', '--yes'],
    'adopt': ['--yes'], 'accept': ['--yes'], 'reconcile': [], 'init': [],
    'import': ['FILE'], 'restore': ['FILE', '--yes'], 'transfer-vm': ['--gone', '--yes'],
    'show-vm': ['--vm-name=web'], 'explain': ['--vm-name=web'], 'show-pool': ['--pool-id=A'],
}


def words_of(world, tmp_path, command):
    """A command line on which the command has something to do."""
    path = write(tmp_path, as_csv(world, '2,B,low', '4,B,medium'))
    return [command] + [path if word == 'FILE' else word for word in WORDS.get(command, [])]


def test_each_command_has_its_place():
    assert {command.name for command in COMMANDS} == EDITS | VIEWS | HERE
    assert not EDITS & VIEWS and not (EDITS | VIEWS) & HERE


@pytest.mark.parametrize('command', sorted(
    command.name for command in COMMANDS if DRY_RUN in command.options and command.name in EDITS))
def test_dry_run_says_what_the_master_says_and_changes_nothing(
        world, member, master, tmp_path, command):
    before, words = rows(world), words_of(world, tmp_path, command) + ['--dry-run']
    here, there = member.run(*words), master.run(*words)
    assert (here.status, timeless(here.out), here.err) == (0, timeless(there.out), there.err)
    assert there.status == 0 and rows(world) == before and world.args(world.refs[0]) is None


def timeless(text):
    """What was said, without the second in which it was."""
    return re.sub(r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d', '', text)


@pytest.mark.parametrize('command', sorted(EDITS))
def test_json_of_an_edit_on_a_member_is_one_document(world, member, tmp_path, command):
    run = member.run(*words_of(world, tmp_path, command), '--json')
    assert (run.status, run.err) == (0, '') and run.document['format'] == 1


@pytest.mark.parametrize('command', sorted(VIEWS))
def test_json_of_a_view_on_a_member_is_the_masters(world, member, master, tmp_path, command):
    words = words_of(world, tmp_path, command) + ['--json']
    here, there = member.run(*words), master.run(*words)
    assert here.status == there.status and here.err == there.err
    assert bool(here.out) == (here.status == 0)
    if here.out:
        assert here.document.keys() == there.document.keys()


@pytest.mark.parametrize('command', sorted(
    command.name for command in COMMANDS if EXIT_CODE in command.options and command.name in VIEWS))
def test_exit_status_for_drift_is_the_masters(world, member, command):
    assert member.run(command).status == 0
    assert member.run(command, '--exit-code').status == 6


@pytest.mark.parametrize('words', [
    ('set-pool', '--vm-name=web'), ('set-pool', '--vm-name=web', '--pool=C'),
    ('list-vms', '--nonsense'), ('nonsense',), ('import',), ('register-vm', '--vm-name')])
def test_bad_command_lines_are_usage_errors_before_anybody_is_asked(world, member, words):
    world.xapi.clear_calls()
    run = member.run(*words)
    assert run.status == 2 and not world.xapi.calls


@pytest.mark.parametrize('words', [
    ('import', '/nowhere/file'), ('restore', '/nowhere/file', '--yes'),
    ('register-vm', '--from-file=/nowhere/file')])
def test_file_that_is_not_there_is_missed_here(world, member, words):
    run = member.run(*words)
    assert run.status == 2 and '/nowhere/file: cannot be read' in run.err


def test_bad_line_is_named_with_the_members_file(world, member, tmp_path):
    path = write(tmp_path, as_csv(world, '2,B,low', 'none,B,low'))
    run = member.run('import', path)
    assert run.status == 2 and '%s: line 3' % path in run.err and 'nothing was changed' in run.err


@pytest.mark.parametrize('answer, status', [('yes\n', 0), ('no\n', 1), ('\n', 1), ('\x04', 1)])
def test_restore_from_a_file_here_asks_here(world, member, tmp_path, answer, status):
    path = write(tmp_path, as_csv(world, '2,B,high'))
    run = member.answer(answer, 'restore', path)
    assert run.status == status and 'Do you want to restore' in run.err
    assert rows(world)[0][3:] == (('B', 2) if status == 0 else ('A', 1))


def test_standard_input_of_the_member_goes_along(world, member, tmp_path):
    with open(write(tmp_path, as_csv(world, '2,B,high')), encoding='utf-8') as stream:
        assert member.run('import', '-', stdin=stream).status == 0
    assert rows(world)[0][3:] == ('B', 2)


def test_ctrl_c_at_a_question_changes_nothing(world, member):
    world.start_vm(world.refs[0])
    ours, theirs = os.openpty()
    process = member.start('set-pool', '--vm-name=web', '--pool=B', stdin=theirs)
    shown = b''
    while b'(yes/no)' not in shown:
        shown += os.read(process.stderr.fileno(), 4096)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 130 and b'nothing was changed' in err
    assert rows(world)[0][3] == 'A' and world.xapi.vm(world.refs[0])['power_state'] == 'Running'


def test_force_and_timeout_hold_on_the_master(build_pool):
    world = build_pool(hosts=2, shutdown_seconds=60.0).start(with_daemons=False)
    install_plugin(world.master.node.plugins_directory, world.master.config_path)
    ref = world.create_vm('web')
    world.register(ref, vm_id=2)
    world.start_vm(ref)
    run = Admin(world.members[0]).run('set-pool', '--vm-name=web', '--pool=B', '--yes',
                                      '--timeout=1', '--force')
    assert run.status == 0, run
    assert world.took(ref, span(2, pool='B'))


def test_backup_of_a_member_is_restored_on_the_master(world, member, master, tmp_path):
    path = str(tmp_path / 'backup')
    assert member.run('backup', path).status == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    world.change(world.refs[0], priority=Priority.HIGH)
    assert master.run('restore', path, '--yes').status == 0
    assert rows(world)[0][4] == 1


def test_verbose_answer_of_a_large_pool_comes_whole(world, member, master):
    with world.master.registry.edit(who='test', command='test') as edit:
        for number in range(10, 1500):
            edit.add_vm('0000%04x-1111-2222-3333-44444444abcd' % number,
                        vm_name='vm-%d' % number, vm_id=number)
    here = member.run('list-vms', '--json')
    assert here.status == 0 and here.out == master.run('list-vms', '--json').out
    assert len(here.document['vms']) == 1491


def test_two_members_edit_at_once_and_both_are_done(world, member):
    first = member.start('set-pool', '--vm-name=web', '--pool=B')
    second = member.start('register-vm', '--vm-name=new')
    for process in (first, second):
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    wait_until(lambda: len(rows(world)) == 2, 'both rows')
    assert rows(world)[0][3] == 'B'
