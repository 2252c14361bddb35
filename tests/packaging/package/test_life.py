"""Installing, upgrading and removing the RPM, with its scriptlets, in a directory."""

import os
import sqlite3
import stat
import tempfile

import pytest

from registry.schema import JOURNAL_VERSION
from registry.store import Registry
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.packaging.package.host import CONFIGURATION, DROP_IN, LIFECYCLE, REGISTRY, UNIT, Host, run
from tests.support.documents import read

JOURNAL = '/etc/vgpu/vgpu_journal.db'
VM = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
RELOADED = ['daemon-reload', 'try-restart rsyslog.service']


@pytest.fixture(scope='module')
def running_once(tmp_path_factory, bare_python, rpm_file):
    """Installed once, since that takes a while."""
    host = Host(tmp_path_factory.mktemp('running') / 'root', bare_python, is_running=True)
    assert host.install(rpm_file) == (0, '')
    return host


@pytest.fixture
def running(make_host, running_once):
    """A host where systemd runs and the RPM has been installed."""
    host = make_host(is_running=True)
    host.copy(running_once)
    return host


def create_registry(host):
    """A registry with one VM, as our programs make it."""
    registry = Registry(host.path + REGISTRY, timeout_seconds=5)
    registry.create('test')
    with registry.edit(who='test', command='register-vm') as edit:
        edit.add_vm(VM)


def read_bytes(path):
    with open(path, 'rb') as stream:
        return stream.read()


def read_version(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute('PRAGMA user_version').fetchone()[0]
    finally:
        connection.close()


def read_rows(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute('SELECT vm_id, vm_uuid FROM vms').fetchall()
    finally:
        connection.close()


def test_installing_enables_the_service_and_starts_it_in_the_background(running):
    assert running.take_calls() == ['preset vgpu-watcher.service'] + RELOADED + [
        '--quiet is-enabled vgpu-watcher.service', '--no-block start vgpu-watcher.service']


def test_installing_into_an_image_touches_no_service(host, rpm_file):
    host.set_systemctl(257)
    assert host.install(rpm_file) == (0, '')
    assert host.take_calls() == ['preset vgpu-watcher.service']
    # The image's own may be a 219, which would take the directives for no protection at all.
    assert not os.path.lexists(host.path + DROP_IN)


@pytest.mark.parametrize('version, is_linked', [(219, False), (239, False), (240, True),
                                                (257, True)])
def test_drop_in_is_linked_where_systemd_knows_its_directives(running, version, is_linked):
    running.set_systemctl(version)
    assert run_lifecycle(running, 'upgraded').status == 0
    assert os.path.lexists(running.path + DROP_IN) is is_linked
    assert running.rpm('-V', 'vgpu-watcher') == (0, '')


def run_lifecycle(host, step):
    """Run a step by hand."""
    return run(['sh', host.path + LIFECYCLE, step], env=host.environment())


@pytest.mark.parametrize('words', [[], ['nonsense'], ['find_registry']])
def test_unknown_step_is_a_usage_error(running, words):
    done = run(['sh', running.path + LIFECYCLE] + words, env=running.environment())
    assert done.status == 2 and 'installed | upgraded | removing' in done.said


def test_directory_that_is_there_keeps_its_mode(host, rpm_file):
    os.makedirs(host.path + '/etc/vgpu')
    os.chmod(host.path + '/etc/vgpu', 0o770)
    host.install(rpm_file)
    assert stat.S_IMODE(os.stat(host.path + '/etc/vgpu').st_mode) == 0o770


def test_upgrade_keeps_configuration_and_registry_and_backs_up_what_it_will_migrate(
        running, rpm_file, next_rpm_file):
    create_registry(running)
    running.write(CONFIGURATION, '[log]\nlevel = debug\n')
    os.chmod(running.path + REGISTRY, 0o640)
    running.take_calls()
    files = [running.path + path for path in (REGISTRY, JOURNAL)]
    before = [(read_bytes(path), stat.S_IMODE(os.stat(path).st_mode)) for path in files]
    assert running.upgrade(rpm_file, next_rpm_file) == (0, '')
    assert running.take_calls() == RELOADED + ['--no-block try-restart vgpu-watcher.service']
    assert running.read(CONFIGURATION) == '[log]\nlevel = debug\n'
    copies = [path + '.before-99.0.0' for path in files]
    assert [(read_bytes(path), stat.S_IMODE(os.stat(path).st_mode)) for path in copies] == before
    assert before[0][1] == 0o640 and before[1][1] == 0o600
    config = running.write('/etc/test.conf', '[registry]\npath = %s\n' % files[0])
    done = running.launch('vgpu-admin', '--config', config, 'set-pool', '--vm-uuid=' + VM,
                          '--pool=B', '--yes')
    assert done.status == 0, done.said
    assert read_rows(files[0]) == [(1, VM)]
    assert (read_version(files[1]), read_version(copies[1])) \
        == (JOURNAL_VERSION + 1, JOURNAL_VERSION)


def test_upgrade_without_migration_makes_no_copy(running, rpm_file):
    create_registry(running)
    assert run_lifecycle(running, 'upgraded') == (0, '')
    assert [path for path in running.files() if '.before-' in path] == []


def test_registry_of_another_program_is_not_copied(running, rpm_file, next_rpm_file):
    connection = sqlite3.connect(running.path + REGISTRY)
    connection.execute('CREATE TABLE vms (vm_id INTEGER)')
    connection.close()
    assert running.upgrade(rpm_file, next_rpm_file).status == 0
    assert [path for path in running.files() if '.before-' in path] == []


def test_upgrade_that_cannot_back_up_leaves_the_copy_to_the_service(
        running, rpm_file, next_rpm_file):
    create_registry(running)
    running.take_calls()
    running.write(REGISTRY + '.before-99.0.0/in-the-way', '')
    done = running.upgrade(rpm_file, next_rpm_file)
    assert done.status == 1 and 'no copy could be made' in done.said
    assert 'makes the copy itself' in done.said
    assert not os.path.exists(running.path + REGISTRY + '.before-99.0.0.part')
    # The old program would load parts of the new one.
    assert running.take_calls()[-1] == '--no-block try-restart vgpu-watcher.service'


def test_upgrade_with_a_damaged_registry_does_not_ask_for_room(running, rpm_file, next_rpm_file):
    running.write(REGISTRY, 'not a database, and longer than a page of one' * 20)
    done = running.upgrade(rpm_file, next_rpm_file)
    assert done.status == 1 and 'is damaged, or no database' in done.said


@pytest.mark.parametrize('failing', ['daemon-reload', 'try-restart', 'all'])
def test_upgrade_with_a_failing_systemctl_keeps_the_copy_and_says_so(
        running, rpm_file, next_rpm_file, failing):
    create_registry(running)
    running.fail_systemctl(failing)
    done = running.upgrade(rpm_file, next_rpm_file)
    assert done.status == 0 and ('failed' in done.said or 'did not restart' in done.said), done
    assert os.path.exists(running.path + REGISTRY + '.before-99.0.0')
    assert running.take_calls()[-1] == '--no-block try-restart vgpu-watcher.service'


def test_file_that_nobody_has_copied_is_copied_by_the_program_that_migrates_it(
        running, rpm_file, next_rpm_file):
    create_registry(running)
    assert running.rpm('-U', next_rpm_file).status == 0
    journal = running.path + JOURNAL
    before = read_bytes(journal)
    config = running.write('/etc/test.conf', '[registry]\npath = %s\n'
                           % (running.path + REGISTRY))
    words = ('--config', config, 'set-pool-name', '--pool-id=A', '--name=Fast')
    name = '%s.before-schema-%d' % (journal, JOURNAL_VERSION + 1)
    os.makedirs(name + '/in-the-way')
    assert running.launch('vgpu-admin', *words).status == 0
    assert read_version(journal) == JOURNAL_VERSION and read_bytes(journal) == before
    os.rename(name, name + '-moved')
    assert running.launch('vgpu-admin', *words).status == 0
    assert read_version(journal) == JOURNAL_VERSION + 1 and read_bytes(name) == before


def test_removal_leaves_registry_and_journal_and_nothing_else(running, rpm_file):
    create_registry(running)
    for path in (REGISTRY + '.lock', '/var/log/vgpu-watcher.log', '/var/log/vgpu-watcher.log.1.gz',
                 '/run/vgpu-watcher/numbers', '/run/vgpu-watcher/withheld/7',
                 '/etc/vgpu/consumer.paused', '/var/log/vgpu-watcher.log-20261129',
                 '/var/log/vgpu-watcher.log-20261128.gz',
                 '/opt/vgpu-watcher/lib/watcher/__pycache__/plan.cpython-36.pyc'):
        running.write(path, '')
    others = {running.write(path, '')[len(running.path):] for path in (
        '/var/log/daemon.log', '/usr/bin/other', '/etc/xensource/bugtool/other.xml')}
    running.set_systemctl(257)
    assert run_lifecycle(running, 'upgraded').status == 0
    running.take_calls()
    assert running.remove(rpm_file).status == 0
    # SQLite's own rollback journals, empty, belong to their files: others may have them open.
    assert {path for path in running.files() if os.path.getsize(running.path + path)
            or path in others} == {REGISTRY, JOURNAL} | others
    assert running.files() <= {path + suffix for path in (REGISTRY, JOURNAL)
                               for suffix in ('', '-journal')} | others
    assert not os.path.exists(running.path + '/opt/vgpu-watcher')
    assert not os.path.exists(running.path + '/etc/xapi.d/pool-pre-ha-vm-restart')
    assert not os.path.exists(running.path + UNIT + '.d')
    assert running.take_calls() == ['stop vgpu-watcher.service',
                                    'disable vgpu-watcher.service'] + RELOADED
    assert read_rows(running.path + REGISTRY) == [(1, VM)]


def test_removal_without_a_registry_leaves_no_directory(running, rpm_file):
    assert running.remove(rpm_file).status == 0
    assert running.files() == set() and not os.path.exists(running.path + '/etc/vgpu')


@pytest.mark.parametrize('path', [CONFIGURATION, '/etc/rsyslog.d/20-vgpu-watcher.conf',
                                  '/etc/logrotate.d/vgpu-watcher'])
def test_edited_configuration_is_kept_under_another_name(running, rpm_file, path):
    running.write(path, '[log]\nlevel = debug\n')
    assert running.remove(rpm_file).status == 0
    assert running.files() == {path + '.rpmsave'}
    assert path + '.rpmsave' in read('docs/deployment.md').replace(
        '`vgpu-watcher.conf.rpmsave`', CONFIGURATION + '.rpmsave')


def test_removal_lifts_our_fences_and_only_ours(running, rpm_file):
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        simulator = Simulator(SimulatorSettings(socket_path=directory + '/xapi'))
        simulator.start()
        try:
            ref = simulator.create_vm('web', VM)
            for operation, text in (('start', 'vgpu-watcher: pid 1'), ('suspend', 'theirs')):
                simulator.call('VM.add_to_blocked_operations', ref, operation, text)
            running.write(CONFIGURATION, (
                '[xapi]\nurl = unix:%s/xapi\n[registry]\npath = %s\n[consumer]\nrun_directory = %s/run\n'
                % (directory, running.path + REGISTRY, directory)))
            create_registry(running)
            assert running.remove(rpm_file).status == 0
            assert simulator.vm(ref)['blocked_operations'] == {'suspend': 'theirs'}
        finally:
            simulator.stop()


@pytest.mark.parametrize('path', ['/etc/xenopsd.conf', '/etc/xenopsd.conf.d/vgpu.conf'])
def test_removal_is_refused_while_xenopsd_is_told_to_run_our_consumer(running, rpm_file, path):
    running.write(path, 'upstream-compat-qemu-dm-wrapper='
                        '/opt/vgpu-watcher/qemu-wrapper/vgpu-qemu-wrapper\n')
    running.take_calls()
    done = running.scriptlet(rpm_file, 'PREUN', 0)
    assert done.status == 1 and 'vgpu-admin consumer disable' in done.said
    assert running.take_calls() == []
    assert running.scriptlet(rpm_file, 'PREUN', 1).status == 0


@pytest.mark.parametrize('name, status', [('xenopsd-xc', 1), ('bash', 0)])
def test_removal_is_refused_while_a_xenopsd_that_knew_our_consumer_runs(
        running, rpm_file, name, status):
    running.write('/run/vgpu-consumer.known', 'c0ffee/11/5 c0ffee/4711/99\n')
    running.write('/proc/4711/comm', name + '\n')
    done = running.scriptlet(rpm_file, 'PREUN', 0)
    assert done.status == status
    assert ('xe-toolstack-restart' in done.said) is bool(status)


def test_removal_goes_on_when_xapi_does_not_answer(running, rpm_file):
    done = running.remove(rpm_file)
    assert done.status == 0 and 'XAPI did not answer' in done.said
