"""install.sh of the tarball: into a directory, checked, and out of it again."""

import hashlib
import os
import signal

import pytest

from tests.packaging.package.host import CONFIGURATION, LIFECYCLE, REGISTRY, Host, obtain, run

LIB = '/opt/vgpu-watcher/lib/watcher'
MANIFEST = '/opt/vgpu-watcher/MANIFEST'


@pytest.fixture(scope='module')
def installed_once(tmp_path_factory, bare_python, installer):
    """Installed once, since that takes a second."""
    host = Host(tmp_path_factory.mktemp('installed') / 'root', bare_python)
    done = host.run_installer(installer)
    assert done.status == 0 and 'vgpu-watcher is installed below' in done.said
    return host


@pytest.fixture
def installed(host, installed_once):
    """A host with what the tarball has installed."""
    host.copy(installed_once)
    return host


def test_installed_programs_run_and_the_check_is_content(installed, installer):
    done = installed.launch('vgpu-watcher', 'check-config', '--config',
                            installed.path + CONFIGURATION)
    assert done.status == 0, done.said
    assert installed.run_installer(installer, '--check') \
        == (0, 'vgpu-watcher is installed and whole\n')


@pytest.mark.parametrize('damage, complaint', [
    pytest.param(lambda path: os.unlink(path), 'missing file', id='missing'),
    pytest.param(lambda path: os.truncate(path, 1), 'changed file',
                 id='changed'),
    pytest.param(lambda path: os.chmod(path, 0o666), 'changed mode', id='mode'),
])
def test_check_finds_what_is_damaged(installed, installer, damage, complaint):
    damage(installed.path + LIB + '/errors.py')
    done = installed.run_installer(installer, '--check')
    assert done.status == 1 and complaint in done.said and 'errors.py' in done.said


def test_check_where_nothing_is_installed(host, installer):
    assert host.run_installer(installer, '--check').status == 1


def test_edited_configuration_is_no_damage_and_survives(installed, installer):
    installed.write(CONFIGURATION, '[log]\nlevel = debug\n')
    assert installed.run_installer(installer, '--check').status == 0
    done = installed.run_installer(installer)
    assert done.status == 0 and 'vgpu-watcher is upgraded below' in done.said
    assert installed.read(CONFIGURATION) == '[log]\nlevel = debug\n'
    done = installed.run_installer(installer, '--uninstall')
    assert done.status == 0 and 'edited' in done.said
    assert done.said.endswith('; registry and journal stay\n')
    assert installed.files() == {CONFIGURATION + '.rpmsave'}


def test_configuration_that_was_not_edited_is_brought_up_to_date(installed, installer):
    """What an older version placed: the rule and the rotation are part of the program."""
    new = {path: installed.read(path) for path in (CONFIGURATION, '/etc/logrotate.d/vgpu-watcher')}
    for path, content in new.items():
        old, digest = [hashlib.sha256(text.encode()).hexdigest() for text in ('old', content)]
        installed.write(path, 'old')
        installed.write(MANIFEST, installed.read(MANIFEST).replace(digest, old))
    installed.write('/etc/rsyslog.d/20-vgpu-watcher.conf', 'edited')
    assert installed.run_installer(installer).status == 0
    assert {path: installed.read(path) for path in new} == new
    assert installed.read('/etc/rsyslog.d/20-vgpu-watcher.conf') == 'edited'


@pytest.mark.parametrize('is_there', [True, False])
def test_link_in_the_place_of_the_configuration_stays(installed, installer, tmp_path, is_there):
    link = installed.path + CONFIGURATION
    target = str(tmp_path / 'target')
    os.rename(link, target)
    os.symlink(target, link)
    if not is_there:
        os.unlink(target)
    assert installed.run_installer(installer).status == 0
    assert os.readlink(link) == target


def test_uninstallation_leaves_the_registry_and_nothing_else(installed, installer):
    installed.write(REGISTRY, 'registry')
    installed.write('/usr/bin/other', '')
    done = installed.run_installer(installer, '--uninstall')
    assert done == (0, 'vgpu-watcher is removed from %s; registry and journal stay\n'
                    % installed.path)
    assert installed.files() == {REGISTRY, '/usr/bin/other'}
    assert not os.path.exists(installed.path + '/opt/vgpu-watcher')
    assert not os.path.exists(installed.path + '/etc/xensource/bugtool/vgpu-watcher')


def test_installation_that_broke_off_is_finished_by_the_next_one(make_host, installer):
    host = make_host(is_running=True)
    host.kill_at('mv', 1)
    assert host.run_installer(installer).status == -signal.SIGKILL
    check_next_installation(host, installer)


def test_installation_that_had_no_room_is_finished_by_the_next_one(make_host, installer):
    host = make_host(is_running=True)
    have_no_room(host, installer)
    check_next_installation(host, installer)


def check_next_installation(host, installer):
    """It is still the first one."""
    done = host.run_installer(installer)
    assert done.status == 0 and 'vgpu-watcher is installed below' in done.said
    assert host.take_calls()[0] == 'preset vgpu-watcher.service'
    assert host.run_installer(installer, '--check').status == 0
    assert 'vgpu-watcher is upgraded below' in host.run_installer(installer).said
    assert 'preset vgpu-watcher.service' not in host.take_calls()


def have_no_room(host, installer):
    """Break off while files are placed: one is half written."""
    host.limit_files(16)
    done = host.run_installer(installer)
    assert done.status == 1 and 'install.sh: [Errno 27] File too large' in done.said
    assert 'Traceback' not in done.said
    host.limit_files(None)


def test_what_a_broken_off_installation_left_is_removed(host, installer):
    have_no_room(host, installer)
    assert [path for path in host.files() if path.endswith('.new')]
    assert host.run_installer(installer, '--uninstall').status == 0
    assert host.files() == set()


@pytest.mark.parametrize('program, count', [('rm', 4), ('xargs', 1)])
def test_removal_that_broke_off_is_finished_by_the_next_one(
        installed, installer, program, count):
    installed.kill_at(program, count)
    assert installed.run_installer(installer, '--uninstall').status != 0
    assert installed.run_installer(installer, '--uninstall').status == 0
    assert installed.files() == set()


def test_removal_that_cannot_ask_whether_our_consumer_is_in_use_removes_nothing(
        installed, installer):
    os.unlink(installed.path + LIFECYCLE)
    before = installed.files()
    assert installed.run_installer(installer, '--uninstall').status != 0
    assert installed.files() == before


def test_installation_after_a_removal_that_broke_off_is_a_whole_one(installed, installer):
    installed.kill_at('xargs', 1)
    installed.run_installer(installer, '--uninstall')
    installed.take_calls()
    assert installed.run_installer(installer).status == 0
    assert installed.take_calls() == ['preset vgpu-watcher.service']
    assert installed.run_installer(installer, '--check').status == 0


def test_edited_rotation_that_was_kept_is_not_read_by_logrotate(installed, installer, tmp_path):
    installed.write('/etc/logrotate.d/vgpu-watcher',
                    installed.read('/etc/logrotate.d/vgpu-watcher') + '# edited\n')
    assert installed.run_installer(installer, '--uninstall').status == 0
    assert installed.run_installer(installer).status == 0
    assert len(os.listdir(installed.path + '/etc/logrotate.d')) == 2
    os.symlink(installed.path + '/etc/logrotate.d', str(tmp_path / 'all'))
    (tmp_path / 'conf').write_text('include %s/all\n' % tmp_path)
    (tmp_path / 'conf').chmod(0o644)
    done = run([obtain('logrotate'), '--debug', str(tmp_path / 'conf')])
    assert done.status == 0 and 'duplicate' not in done.said


def test_file_that_somebody_put_among_ours_survives_and_is_mentioned(installed, installer):
    installed.write(LIB + '/notes', 'mine')
    done = installed.run_installer(installer, '--uninstall')
    assert installed.files() == {LIB + '/notes'}
    assert 'files of others are in it' in done.said


def test_second_installation_brings_up_to_date_and_removes_what_is_gone(installed, installer):
    installed.write(LIB + '/stale.py', '')
    installed.write(MANIFEST, installed.read(MANIFEST) + '0644\tfile\t0\t%s/stale.py\n' % LIB)
    installed.write(LIB + '/errors.py', 'old')
    before = installed.files()
    assert installed.run_installer(installer).status == 0
    assert installed.files() == before - {LIB + '/stale.py'}
    assert installed.run_installer(installer, '--check').status == 0


def test_program_of_somebody_else_stops_the_installation_before_anything_is_changed(
        host, installer):
    host.write('/usr/bin/vgpu-admin', 'theirs')
    done = host.run_installer(installer)
    assert done.status == 1 and 'not ours' in done.said
    assert host.files() == {'/usr/bin/vgpu-admin'}


def test_installation_beside_the_rpm_is_refused(host, installer, rpm_file):
    assert host.rpm('-i', rpm_file).status == 0
    for options in ([], ['--uninstall']):
        done = host.run_installer(installer, *options)
        assert done.status == 1 and 'the RPM is installed' in done.said


def test_rpm_beside_the_tarball_is_refused(installed, rpm_file):
    done = installed.scriptlet(rpm_file, 'PREIN', 1)
    assert done.status == 1 and 'install.sh --uninstall' in done.said
    os.unlink(installed.path + '/opt/vgpu-watcher/TARBALL')
    assert installed.scriptlet(rpm_file, 'PREIN', 1) == (0, '')


@pytest.mark.parametrize('path', [
    '/etc/passwd', '/opt/vgpu-watcher/../../etc/passwd', '/opt/vgpu-watcher/..', 'etc/passwd',
    '/etc/vgpu-watcher/../passwd'])
def test_damaged_manifest_removes_nothing_outside_our_places(installed, installer, path):
    installed.write('/etc/passwd', 'root')
    installed.write(MANIFEST, installed.read(MANIFEST) + '0644\tfile\t0\t%s\n' % path)
    done = installed.run_installer(installer, '--uninstall')
    assert installed.read('/etc/passwd') == 'root'
    assert 'left alone' in done.said


def test_each_place_of_ours_is_one_that_the_uninstallation_knows(installed, installer):
    assert 'left alone' not in installed.run_installer(installer, '--uninstall').said
    assert installed.files() == set()


@pytest.mark.parametrize('options', [['--nonsense'], ['--root'], ['--root='], ['--root', '']])
def test_wrong_option_is_a_usage_error_and_changes_nothing(host, options):
    # That of the repository: one with a tree beside it would change this machine, if it took them.
    done = host.run_installer('deploy/install.sh', *options)
    assert done.status == 2 and '--uninstall' in done.said
    assert host.files() == set()


def test_installer_outside_a_tarball_says_where_it_gets_one(host):
    done = host.run_installer('deploy/install.sh')
    assert done.status == 1 and 'make tarball' in done.said
    assert host.files() == set()
