"""The whole life of the RPM with real rpm and real scriptlets, in a directory by chroot."""

import os

import pytest

from tests.packaging.package.conftest import LOST_MANUAL
from tests.packaging.package.host import CONFIGURATION, LIFECYCLE, REGISTRY, run
from tests.packaging.package.jail import Jail

JOURNAL = '/etc/vgpu/vgpu_journal.db'
LOST_FILE = '/usr/share/man/man8/' + LOST_MANUAL
RELOADED = ['daemon-reload', 'try-restart rsyslog.service']
OURS = ('/opt/', '/etc/', '/usr/bin/vgpu', '/usr/lib/systemd/', '/usr/share/', '/var/log/')


def list_ours(jail):
    return {path for path in jail.files() if path.startswith(OURS)}


@pytest.mark.skipif(os.getuid() != 0, reason='only root may chroot')
def test_installed_run_upgraded_and_removed(tmp_path, bare_python, rpm_file, next_rpm_file):
    jail = Jail(tmp_path / 'jail', bare_python)
    before = list_ours(jail)
    assert jail.rpm('-i', rpm_file).status == 0
    assert jail.take_calls() == ['preset vgpu-watcher.service'] + RELOADED + [
        '--quiet is-enabled vgpu-watcher.service', '--no-block start vgpu-watcher.service']

    done = jail.launch('vgpu-admin', 'init')
    assert done.status == 0 and done.said.endswith('The registry %s was created.\n' % REGISTRY)
    jail.write(CONFIGURATION, '[log]\nlevel = debug\n')
    assert jail.rpm('-V', 'vgpu-watcher').said.split() == ['S.5....T.', 'c', CONFIGURATION]

    assert jail.rpm('-U', next_rpm_file).status == 0
    assert jail.take_calls() == RELOADED + ['--no-block try-restart vgpu-watcher.service']
    assert jail.launch('vgpu-watcher', '--version') == (0, 'vgpu-watcher 99.0.0\n')
    assert jail.read(CONFIGURATION) == '[log]\nlevel = debug\n'
    assert os.path.exists(jail.path + JOURNAL + '.before-99.0.0')
    # Nothing that only the older version had is left behind.
    assert LOST_FILE in run(['rpm', '-qpl', rpm_file]).said
    assert LOST_FILE not in list_ours(jail)

    jail.write(REGISTRY + '.lock', '')
    done = jail.rpm('-e', 'vgpu-watcher')
    assert done.status == 0 and 'XAPI did not answer' in done.said
    assert jail.take_calls() == ['stop vgpu-watcher.service',
                                 'disable vgpu-watcher.service'] + RELOADED
    kept = {REGISTRY, JOURNAL}
    assert {path for path in list_ours(jail) - before if not path.endswith('-journal')} == {
        CONFIGURATION + '.rpmsave'} | kept | {path + '.before-99.0.0' for path in kept}


@pytest.mark.skipif(os.getuid() != 0, reason='only root may chroot')
def test_with_a_manifest_that_is_lost_no_module_of_others_is_compiled(tmp_path, bare_python,
                                                                      rpm_file):
    jail = Jail(tmp_path / 'jail', bare_python)
    assert jail.rpm('-i', rpm_file).status == 0
    compiled = [path for path in jail.files() if path.endswith('.pyc')]
    assert compiled and all(path.startswith('/opt/vgpu-watcher/lib/') for path in compiled)
    jail.write('/opt/vgpu-watcher/MANIFEST', '')
    assert run(['chroot', jail.path, LIFECYCLE, 'upgraded']).status == 0
    assert [path for path in jail.files() if path.endswith('.pyc')] == []
