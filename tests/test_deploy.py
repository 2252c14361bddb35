"""What is deployed: the configuration, the unit and the installer, without touching this host."""

import configparser
import os
import shutil
import subprocess
import sys

import pytest

from watcher import config

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONF = os.path.join(ROOT, 'deploy', 'vgpu-watcher.conf')
UNIT = os.path.join(ROOT, 'deploy', 'vgpu-watcher.service')
INSTALL = os.path.join(ROOT, 'deploy', 'install.sh')

# What systemd 219 knows and newer ones take without a warning (the project's table of dom0).
KNOWN_TO_ALL = {
    'Unit': {'Description', 'After', 'Before', 'PartOf'},
    'Service': {
        'Type', 'NotifyAccess', 'WatchdogSec', 'Restart', 'RestartSec', 'RestartPreventExitStatus',
        'StartLimitInterval', 'ExecStart', 'ExecReload', 'ExecStopPost', 'TimeoutStopSec',
        'RuntimeDirectory', 'UMask', 'ProtectSystem', 'ProtectHome', 'PrivateTmp',
        'ReadWriteDirectories', 'ReadOnlyDirectories', 'InaccessibleDirectories',
        'NoNewPrivileges', 'CapabilityBoundingSet', 'RestrictAddressFamilies',
        'SystemCallArchitectures', 'OOMScoreAdjust', 'Nice', 'LimitNOFILE', 'SyslogIdentifier',
        'SyslogFacility', 'StandardOutput'},
    'Install': {'WantedBy'},
}


def read_ini(path):
    parser = configparser.RawConfigParser(delimiters=('=',), comment_prefixes=('#',))
    parser.optionxform = str
    with open(path, encoding='utf-8') as stream:
        parser.read_file(stream)
    return parser


@pytest.fixture(scope='module')
def unit():
    return read_ini(UNIT)


def test_shipped_configuration_is_accepted_and_equals_the_defaults():
    assert config.load(CONF) == config.Settings()


def test_shipped_configuration_shows_every_key():
    shipped = read_ini(CONF)
    found = [(section, key, value) for section in shipped.sections()
             for key, value in shipped.items(section)]
    assert found == [(key.section, key.name, key.default) for key in config.KEYS]


def test_each_directive_of_the_unit_works_on_old_and_new_systemd(unit):
    unknown = [(section, key) for section in unit.sections() for key in unit[section]
               if key not in KNOWN_TO_ALL.get(section, ())]
    assert unknown == []


@pytest.mark.parametrize('section, key, value', [
    ('Unit', 'After', 'xapi-init-complete.target'),
    ('Unit', 'Before', 'xapi-domains.service'),
    ('Unit', 'PartOf', 'toolstack.target'),
    ('Service', 'Type', 'notify'),
    ('Service', 'NotifyAccess', 'main'),
    ('Service', 'ExecStart', '/usr/bin/vgpu-watcher run'),
    ('Service', 'ExecStopPost', '-/usr/bin/vgpu-watcher clear-fences'),
    ('Service', 'Restart', 'always'),
    ('Service', 'StartLimitInterval', '0'),
    ('Service', 'RestartPreventExitStatus', '78'),
    ('Service', 'WatchdogSec', '60'),
    ('Service', 'UMask', '0077'),
    ('Service', 'ProtectSystem', 'full'),
    ('Install', 'WantedBy', 'multi-user.target'),
])
def test_unit_says_what_the_service_depends_on(unit, section, key, value):
    assert unit[section][key] == value


def test_writable_directory_of_the_unit_may_be_missing_and_holds_the_registry(unit):
    path = unit['Service']['ReadWriteDirectories']
    assert path.startswith('-')
    assert os.path.dirname(config.Settings().registry.path) == path[1:]


def test_comments_of_the_unit_stand_on_lines_of_their_own():
    with open(UNIT, encoding='utf-8') as stream:
        assert [line for line in stream if '#' in line and not line.startswith('#')] == []


@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='systemd-analyze is missing')
def test_systemd_here_finds_no_fault_with_the_unit(tmp_path):
    with open(UNIT, encoding='utf-8') as stream:
        text = stream.read().replace('/usr/bin/vgpu-watcher', '/bin/true')
    (tmp_path / 'vgpu-watcher.service').write_text(text)
    done = subprocess.run(['systemd-analyze', 'verify', str(tmp_path / 'vgpu-watcher.service')],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert (done.returncode, done.stdout.decode()) == (0, '')


class Image:
    """A root directory to install into."""

    def __init__(self, path):
        self.path = path

    def run(self, *options, source=INSTALL):
        """Run the installer: exit status, and all that it said."""
        done = subprocess.run(
            ['sh', source, '--root', str(self.path)] + list(options), timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, PYTHON=sys.executable))
        return done.returncode, done.stdout.decode('utf-8', 'replace')

    def files(self):
        """All files in it, as paths of the installed host."""
        return {'/' + str(path.relative_to(self.path)) for path in self.path.rglob('*')
                if path.is_file()}

    def launch(self, *arguments):
        """Run an installed program: exit status, and all that it said."""
        done = subprocess.run(
            [str(self.path / 'usr/bin' / arguments[0])] + list(arguments[1:]), timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/')
        return done.returncode, done.stdout.decode('utf-8', 'replace')


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a root'
    path.mkdir()
    return Image(path)


CONFIGURATION = '/etc/vgpu/vgpu-watcher.conf'


def test_installation_runs_from_its_private_directory(image):
    assert image.run()[0] == 0
    code, said = image.launch('vgpu-watcher', 'check-config')
    assert (code, said) == (0, config.render(config.Settings()))
    assert {'/usr/bin/vgpu-watcher', '/usr/bin/vgpu-admin', CONFIGURATION,
            '/usr/lib/systemd/system/vgpu-watcher.service',
            '/opt/vgpu-watcher/lib/watcher/errors.py'} <= image.files()


def test_simulator_and_byte_code_are_not_installed(image):
    image.run()
    image.launch('vgpu-watcher', '--version')
    assert [name for name in image.files() if 'simulator' in name or '.pyc' in name] == []


def test_uninstallation_leaves_configuration_and_registry_and_nothing_else(image):
    image.run()
    (image.path / 'etc/vgpu/vgpu_config.db').write_bytes(b'registry')
    (image.path / 'usr/bin/other').write_bytes(b'')
    assert image.run('--uninstall')[0] == 0
    assert image.files() == {CONFIGURATION, '/etc/vgpu/vgpu_config.db', '/usr/bin/other'}
    assert not (image.path / 'opt/vgpu-watcher').exists()


def test_file_that_somebody_put_among_ours_survives_and_is_mentioned(image):
    image.run()
    (image.path / 'opt/vgpu-watcher/lib/notes').write_text('mine')
    _code, said = image.run('--uninstall')
    assert image.files() == {CONFIGURATION, '/opt/vgpu-watcher/lib/notes'}
    assert 'files of others are in it' in said


def test_configuration_that_is_there_is_kept(image):
    (image.path / 'etc/vgpu').mkdir(parents=True)
    (image.path / 'etc/vgpu/vgpu-watcher.conf').write_text('[log]\nlevel = debug\n')
    image.run()
    assert (image.path / 'etc/vgpu/vgpu-watcher.conf').read_text() == '[log]\nlevel = debug\n'


def test_second_installation_brings_up_to_date_and_removes_what_is_gone(image):
    image.run()
    stale, changed = [image.path / 'opt/vgpu-watcher/lib/watcher' / name
                      for name in ('stale.py', 'errors.py')]
    stale.write_text('')
    manifest = image.path / 'opt/vgpu-watcher/MANIFEST'
    manifest.write_text(manifest.read_text() + '/opt/vgpu-watcher/lib/watcher/stale.py\n')
    changed.write_text('old')
    before = image.files()
    assert image.run()[0] == 0
    assert image.files() == before - {'/opt/vgpu-watcher/lib/watcher/stale.py'}
    assert changed.read_text() != 'old'


def test_program_of_somebody_else_stops_the_installation_before_anything_is_changed(image):
    (image.path / 'usr/bin').mkdir(parents=True)
    (image.path / 'usr/bin/vgpu-admin').write_text('theirs')
    code, said = image.run()
    assert code == 1 and 'not ours' in said
    assert image.files() == {'/usr/bin/vgpu-admin'}


@pytest.mark.parametrize('line', [
    '/etc/passwd', '/opt/vgpu-watcher/../../etc/passwd', '/opt/vgpu-watcher/..', 'etc/passwd'])
def test_damaged_manifest_removes_nothing_outside_our_places(image, line):
    image.run()
    (image.path / 'etc/passwd').write_text('root')
    manifest = image.path / 'opt/vgpu-watcher/MANIFEST'
    manifest.write_text(manifest.read_text() + line + '\n')
    _code, said = image.run('--uninstall')
    assert (image.path / 'etc/passwd').read_text() == 'root'
    assert 'left alone' in said


def test_check_tells_a_whole_installation_from_a_damaged_one(image):
    assert image.run('--check')[0] == 1
    image.run()
    (image.path / 'opt/vgpu-watcher/lib/watcher/errors.py').unlink()
    code, said = image.run('--check')
    assert code == 1 and 'missing file' in said and 'errors.py' in said


def test_wheels_are_unpacked_and_removed_again(image, tmp_path):
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    (tmp_path / 'content/stub_package').mkdir(parents=True)
    (tmp_path / 'content/stub_package/__init__.py').write_text('')
    shutil.make_archive(str(wheels / 'stub'), 'zip', str(tmp_path / 'content'))
    (wheels / 'stub.zip').rename(wheels / 'stub-1-py3-none-any.whl')
    assert image.run('--wheels', str(wheels))[0] == 0
    assert '/opt/vgpu-watcher/packages/stub_package/__init__.py' in image.files()
    image.run('--uninstall')
    assert image.files() == {CONFIGURATION}


@pytest.mark.parametrize('options', [['--nonsense'], ['--wheels']])
def test_wrong_option_is_a_usage_error_and_changes_nothing(image, options):
    code, said = image.run(*options)
    assert code == 2 and '--uninstall' in said
    assert image.files() == set()
