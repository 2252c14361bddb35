"""The log's own file: the rule for rsyslog and the rotation, run by real ones of both."""

import re
import socket
import subprocess

import pytest

from tests.documents import read
from tests.package.host import obtain, run
from tests.waiting import wait_until

RULE = 'deploy/rsyslog.conf'
ROTATION = 'deploy/logrotate.conf'
LOG = '/var/log/vgpu-watcher.log'


class Syslog:
    """A real rsyslogd with our rule, and behind it one that takes the rest, as dom0 has it."""

    def __init__(self, directory, limit):
        self.directory = directory
        rotate = directory / 'rotate'
        rotate.write_text('#!/bin/sh\necho "$#" "$@" >>%s/called\nmv %s/log %s/log.1\n' % (
            (directory,) * 3))
        rotate.chmod(0o755)
        rule = read(RULE).replace(LOG, '%s/log' % directory)
        rule = rule.replace(',104857600,/usr/sbin/logrotate ', ',%d,%s ' % (limit, rotate))
        (directory / 'rsyslog.conf').write_text(
            'module(load="imuxsock" SysSock.Use="off")\n'
            'input(type="imuxsock" Socket="%s/socket")\n%s*.* %s/rest\n' % (
                directory, rule, directory))
        self._process = subprocess.Popen(
            [obtain('rsyslogd'), '-n', '-f', str(directory / 'rsyslog.conf'),
             '-i', str(directory / 'pid')])
        wait_until((directory / 'socket').exists)

    def send(self, program, text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(str(self.directory / 'socket'))
            client.send(('<30>Nov 25 10:00:00 %s[7]: %s' % (program, text)).encode())

    def has(self, name, text):
        path = self.directory / name
        return path.exists() and text in path.read_text()

    def close(self):
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def make_syslog(tmp_path):
    started = []

    def make(limit):
        started.append(Syslog(tmp_path, limit))
        return started[-1]
    yield make
    for syslog in started:
        syslog.close()


def test_rsyslog_finds_no_fault_with_the_rule(tmp_path):
    path = tmp_path / 'rsyslog.conf'
    path.write_text(read(RULE) + '*.* /dev/null\n')
    assert run([obtain('rsyslogd'), '-N1', '-f', str(path)])[0] == 0
    path.write_text(path.read_text() + '$nonsense yes\n')
    assert run([obtain('rsyslogd'), '-N1', '-f', str(path)])[0] != 0


def test_lines_of_the_daemon_and_only_those_go_into_its_own_log(make_syslog):
    syslog = make_syslog(1000000)
    for program in ('vgpu-watcher', 'vgpu-watcher-not', 'xapi'):
        syslog.send(program, '{"event": "of %s"}' % program)
    wait_until(lambda: syslog.has('rest', 'of xapi') and syslog.has('rest', 'of vgpu-watcher-not'))
    wait_until(lambda: syslog.has('log', '{"event": "of vgpu-watcher"}'))
    assert not syslog.has('log', 'xapi') and not syslog.has('rest', 'of vgpu-watcher"')


def test_full_log_is_handed_to_the_rotation_with_one_argument_and_goes_on(make_syslog):
    syslog = make_syslog(2000)

    def is_rotated():
        syslog.send('vgpu-watcher', 'x' * 60)
        return syslog.has('log.1', 'x')
    wait_until(is_rotated)
    assert '1 /etc/logrotate.d/vgpu-watcher\n' in (syslog.directory / 'called').read_text()
    syslog.send('vgpu-watcher', 'the last one')
    wait_until(lambda: syslog.has('log', 'the last one') or syslog.has('log.1', 'the last one'))


def read_limit():
    """The size at which rsyslog calls the rotation."""
    return int(re.search(r'%s,(\d+),' % LOG, read(RULE)).group(1))


@pytest.mark.parametrize('missing, is_rotated', [(0, True), (1, False)])
def test_rotation_begins_at_the_size_at_which_rsyslog_calls_it(tmp_path, missing, is_rotated):
    log = tmp_path / 'vgpu-watcher.log'
    text = read(ROTATION).replace(LOG, str(log))
    # Nothing of this machine's own is told, and compressing is logrotate's affair.
    text = text.replace('/bin/systemctl', '/bin/true').replace('compress\n', 'nocompress\n')
    (tmp_path / 'conf').write_text(text)
    (tmp_path / 'conf').chmod(0o644)
    with log.open('wb') as stream:
        stream.truncate(read_limit() - missing)
    done = run([obtain('logrotate'), '-s', str(tmp_path / 'state'), str(tmp_path / 'conf')])
    assert done == (0, '')
    assert (tmp_path / 'vgpu-watcher.log.1').exists() is is_rotated
