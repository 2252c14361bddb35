"""What is deployed: the configuration, the unit with its preset and drop-in, the support bundle.

Each is also read by the program that it is made for. The package is tested in tests/packaging/package.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from cli.commandline.parser import parse
from registry.journal.journal import Journal
from tests.packaging.package.host import obtain, run
from watcher.config import settings
from watcher.mirror.trust import TrustMemory, write_memory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, 'deploy')
CONF = os.path.join(DEPLOY, 'vgpu-watcher.conf')
UNIT = os.path.join(DEPLOY, 'vgpu-watcher.service')
MODERN = os.path.join(DEPLOY, 'modern.conf')

# The project's table of dom0. What systemd 219 knows and newer ones take without a warning:
KNOWN_TO_ALL = {
    'Unit': {'Description', 'After', 'Before', 'PartOf'},
    'Service': {
        'Type', 'NotifyAccess', 'WatchdogSec', 'Restart', 'RestartSec', 'RestartPreventExitStatus',
        'StartLimitInterval', 'StartLimitBurst', 'EnvironmentFile', 'ExecStart', 'ExecReload',
        'ExecStopPost', 'TimeoutStopSec', 'RuntimeDirectory', 'UMask', 'ProtectSystem',
        'ProtectHome', 'PrivateTmp', 'ReadWriteDirectories', 'ReadOnlyDirectories',
        'InaccessibleDirectories', 'NoNewPrivileges', 'CapabilityBoundingSet',
        'RestrictAddressFamilies', 'SystemCallArchitectures', 'SystemCallFilter', 'MemoryLimit',
        'CPUShares', 'TasksMax', 'Slice', 'OOMScoreAdjust', 'Nice', 'LimitNOFILE',
        'SyslogIdentifier', 'SyslogFacility', 'StandardOutput'},
    'Install': {'WantedBy'},
}
# Values of those that 219 ignores, or takes for no protection at all.
UNKNOWN_TO_OLD = re.compile(
    r'ProtectSystem=strict|SystemCallFilter=.*@|StandardOutput=append:|Type=exec')
# Without these 219 would run the daemon as root with all that root may do.
CONFINEMENT = {'ProtectSystem', 'ProtectHome', 'ReadWriteDirectories', 'NoNewPrivileges',
               'CapabilityBoundingSet', 'RestrictAddressFamilies', 'SystemCallArchitectures'}


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
    assert settings.load(CONF) == settings.Settings()


def test_shipped_configuration_shows_every_key():
    shipped = read_ini(CONF)
    found = [(section, key, value) for section in shipped.sections()
             for key, value in shipped.items(section)]
    assert found == [(key.section, key.name, key.default) for key in settings.KEYS]


def test_each_directive_of_the_unit_works_on_old_and_new_systemd(unit):
    unknown = [(section, key) for section in unit.sections() for key in unit[section]
               if key not in KNOWN_TO_ALL.get(section, ())]
    assert unknown == []


def test_no_value_of_the_unit_is_one_that_old_systemd_does_not_know(unit):
    assert [line for line in read(UNIT).splitlines() if UNKNOWN_TO_OLD.match(line)] == []


def test_confinement_does_not_rest_on_the_drop_in(unit):
    assert CONFINEMENT <= set(unit['Service'])


@pytest.mark.parametrize('section, key, value', [
    ('Unit', 'After', 'xapi-init-complete.target'),
    ('Unit', 'Before', 'xapi-domains.service'),
    ('Unit', 'PartOf', 'toolstack.target'),
    ('Service', 'Type', 'notify'),
    ('Service', 'NotifyAccess', 'main'),
    ('Service', 'ExecStart', '/usr/bin/vgpu-watcher run'),
    ('Service', 'Restart', 'always'),
    ('Service', 'StartLimitInterval', '0'),
    ('Service', 'RestartPreventExitStatus', '78'),
    ('Service', 'WatchdogSec', '60'),
    ('Service', 'UMask', '0077'),
    ('Service', 'SyslogIdentifier', 'vgpu-watcher'),
    ('Service', 'SyslogFacility', 'daemon'),
    ('Service', 'ProtectSystem', 'full'),
    ('Service', 'ReadOnlyDirectories', '/usr'),
    ('Install', 'WantedBy', 'multi-user.target'),
])
def test_unit_says_what_the_service_depends_on(unit, section, key, value):
    assert unit[section][key] == value


def test_writable_directory_of_the_unit_may_be_missing_and_holds_the_registry(unit):
    path = unit['Service']['ReadWriteDirectories']
    assert path.startswith('-')
    assert os.path.dirname(settings.Settings().registry.path) == path[1:]


def test_comments_of_the_unit_stand_on_lines_of_their_own():
    with open(UNIT, encoding='utf-8') as stream:
        assert [line for line in stream if '#' in line and not line.startswith('#')] == []


def read(path):
    with open(path, encoding='utf-8') as stream:
        return stream.read()


@pytest.fixture
def units(tmp_path):
    """The unit with its drop-in, starting a program that is there."""
    (tmp_path / 'vgpu-watcher.service').write_text(
        read(UNIT).replace('/usr/bin/vgpu-watcher', '/bin/true'))
    (tmp_path / 'vgpu-watcher.service.d').mkdir()
    shutil.copy(MODERN, str(tmp_path / 'vgpu-watcher.service.d/50-modern.conf'))
    return tmp_path


def verify(units):
    return run([obtain('systemd-analyze'), 'verify', str(units / 'vgpu-watcher.service')])


def test_systemd_here_finds_no_fault_with_unit_and_drop_in(units):
    assert verify(units) == (0, '')


@pytest.mark.parametrize('name', ['vgpu-watcher.service', 'vgpu-watcher.service.d/50-modern.conf'])
def test_systemd_here_reads_both_files(units, name):
    text = (units / name).read_text()
    (units / name).write_text(text.replace('[Service]', '[Service]\nProtectNonsense=yes'))
    assert 'ProtectNonsense' in verify(units)[1]


def test_drop_in_adds_only_what_the_unit_cannot_say():
    drop_in = read_ini(MODERN)
    assert drop_in.sections() == ['Service']
    added = ['%s=%s' % item for item in drop_in.items('Service')
             if item[0] not in KNOWN_TO_ALL['Service']]
    changed = ['%s=%s' % item for item in drop_in.items('Service')
               if item[0] in KNOWN_TO_ALL['Service']]
    assert len(added) > 5
    assert all(UNKNOWN_TO_OLD.match(line) for line in changed)


def test_drop_in_leaves_the_same_directory_writable(unit):
    assert read_ini(MODERN)['Service']['ReadWritePaths'] == unit['Service']['ReadWriteDirectories']


def test_drop_in_leaves_the_directory_of_the_consumer_to_be_made():
    directory = settings.Settings().run_directory
    assert read_ini(MODERN)['Service']['BindPaths'] == os.path.dirname(directory)


def test_preset_wins_against_that_of_dom0(tmp_path):
    directory = tmp_path / 'usr/lib/systemd'
    (directory / 'system').mkdir(parents=True)
    (directory / 'system-preset').mkdir()
    (directory / 'system-preset/99-default-disable.preset').write_text('disable *\n')
    shutil.copy(UNIT, str(directory / 'system'))
    link = str(tmp_path / 'etc/systemd/system/multi-user.target.wants/vgpu-watcher.service')
    preset = [obtain('systemctl'), '--root=%s' % tmp_path, 'preset', 'vgpu-watcher.service']
    assert run(preset)[0] == 0
    assert not os.path.lexists(link)
    shutil.copy(os.path.join(DEPLOY, 'vgpu-watcher.preset'),
                str(directory / 'system-preset/50-vgpu-watcher.preset'))
    assert run(preset)[0] == 0
    assert os.path.lexists(link)


# The support bundle.

def test_support_bundle_collects_what_there_is():
    xml.etree.ElementTree.parse(os.path.join(DEPLOY, 'bugtool/vgpu-watcher.xml'))
    stuff = xml.etree.ElementTree.parse(os.path.join(DEPLOY, 'bugtool/stuff.xml')).getroot()
    registry = settings.Settings().registry.path
    files = ' '.join(element.text for element in stuff.iter('files')).split()
    assert {settings.DEFAULT_PATH, registry} <= set(files)
    directory = stuff.find('directory')
    collected = [name for name in ('vgpu-watcher.log', 'vgpu-watcher.log.1.gz', 'xensource.log')
                 if re.match(directory.get('pattern'), directory.text + '/' + name)]
    assert collected == ['vgpu-watcher.log', 'vgpu-watcher.log.1.gz']


def test_support_bundle_has_the_journal_without_the_keys_of_the_mirror(tmp_path):
    path = str(tmp_path / 'vgpu_journal.db')
    key = b'k' * 32
    with Journal(path, timeout_seconds=1.0) as journal:
        write_memory(journal, TrustMemory((key,), ('a pool',)))
        journal.write_note('other', 'kept: B\xfcro')
    stuff = xml.etree.ElementTree.parse(os.path.join(DEPLOY, 'bugtool/stuff.xml')).getroot()
    assert not [element for element in stuff.iter('files') if 'journal' in element.text]
    command, = [element.text for element in stuff.iter('command') if 'vgpu_journal' in element.text]
    command = command.replace('/etc/vgpu/vgpu_journal.db', path).replace(
        '/usr/bin/python3', sys.executable)
    # Neither has xen-bugtool a locale; a newer Python would take UTF-8 for that.
    said = subprocess.check_output(
        ['sh', '-c', command.replace('-EsB', '-EsB -X utf8=0')],
        env={'PATH': os.environ['PATH'], 'LC_ALL': 'POSIX'}).decode('utf-8')
    assert 'kept: B\xfcro' in said and said.endswith('COMMIT;\n')
    assert key.hex() not in said and 'mirror_trust' not in said


def test_support_bundle_runs_commands_that_exist_and_cannot_hang():
    stuff = xml.etree.ElementTree.parse(os.path.join(DEPLOY, 'bugtool/stuff.xml')).getroot()
    commands = [element.text for element in stuff.iter('command') if 'vgpu-admin' in element.text]
    assert len(commands) >= 3
    for command in commands:
        timeout, _seconds, program, words = command.split(' ', 3)
        assert (timeout, program) == ('timeout', '/usr/bin/vgpu-admin')
        parse(words.replace(' 2>&1', '').split())


@pytest.mark.parametrize('page, status', [
    ('.TH VGPU 7 "" "vgpu\\-watcher 0.2.0"\n', 0), ('.TH OTHER 7\n', 1)])
def test_the_page_that_0_1_leaves_when_it_is_put_back_is_taken_over(tmp_path, page, status):
    path, lifecycle = 'usr/share/man/man7/vgpu.7', 'opt/vgpu-watcher/libexec/lifecycle'
    manifest = ''.join(f'0644\tfile\t-\t/{name}\n' for name in (path, lifecycle))
    for name, text in (('tree/' + path, 'ours'), ('tree/' + lifecycle, ''),
                       ('tree/opt/vgpu-watcher/MANIFEST', manifest), ('root/' + path, page)):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    shutil.copy(os.path.join(DEPLOY, 'install.sh'), str(tmp_path))
    done = run(['sh', str(tmp_path / 'install.sh'), '--root', str(tmp_path / 'root')])
    assert done.status == status, done.said
    assert (tmp_path / 'root' / path).read_text() == (page if status else 'ours')
