"""What is deployed: the configuration, the unit with its preset and drop-in, and the log's files.

Each is also read by the program that it is made for. The package is tested in tests/package.
"""

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
