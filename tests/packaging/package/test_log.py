"""The log's own file: the rule for rsyslog and the rotation, run by real ones of both."""

import gzip
import re
import socket
import subprocess

import pytest

from tests.packaging.package.host import obtain, run
from tests.support.documents import read
from tests.support.waiting import wait_until

RULE = 'deploy/rsyslog.conf'
ROTATION = 'deploy/logrotate.conf'
LOG = '/var/log/vgpu-watcher.log'


class Syslog:
    """A real rsyslogd with our rule, and behind it one that takes the rest, as dom0 has it."""

    def __init__(self, directory, limit, command=''):
        self.directory = directory
        rotate = directory / 'rotate'
        rotate.write_text('#!/bin/sh\necho "$#" "$@" >>%s/called\nmv %s/log %s/log.1\n' % (
            (directory,) * 3))
        rotate.chmod(0o755)
        rule = read(RULE).replace(LOG, '%s/log' % directory)
        rule = rule.replace(',104857600,/usr/sbin/logrotate /etc/logrotate.d/vgpu-watcher',
                            ',%d,%s' % (limit, command or '%s /etc/logrotate.d/vgpu-watcher'
                                        % rotate))
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
        try:
            return text in path.read_text()
        except FileNotFoundError:  # not yet, or it is just being rotated
            return False

    def close(self):
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def make_syslog(tmp_path):
    started = []

    def make(limit, command=''):
        started.append(Syslog(tmp_path, limit, command))
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
    text = text.replace('/bin/systemctl', '/bin/true').replace(' compress\n', ' nocompress\n')
    (tmp_path / 'conf').write_text(text)
    (tmp_path / 'conf').chmod(0o644)
    with log.open('wb') as stream:
        stream.truncate(read_limit() - missing)
    done = run([obtain('logrotate'), '-s', str(tmp_path / 'state'), str(tmp_path / 'conf')])
    assert done == (0, '')
    assert (tmp_path / 'vgpu-watcher.log.1').exists() is is_rotated


class Rotation:
    """Our rotation run by a real logrotate, for a log and a rsyslogd of this test's own."""

    def __init__(self, directory, *, host_wide='', size='20000'):
        self.directory = directory
        self.program = directory / 'logrotate'
        text = read(ROTATION).replace(LOG, '%s/log' % directory).replace('100M', size)
        text = text.replace('rotate 5\n', 'rotate 1000\n')
        text = text.replace('/bin/systemctl', '%s/systemctl' % directory)
        self._write('own', text)
        self._write('all', '%s\ninclude %s/own\n' % (host_wide, directory))
        self._write('systemctl', _SYSTEMCTL.format(directory), 0o755)
        # rsyslog's channel gives the name of the file with our rotation, and nothing else.
        self._write('logrotate', '#!/bin/sh\nexec %s -s %s/state "$1"\n' % (
            obtain('logrotate'), directory), 0o755)

    def _write(self, name, text, mode=0o644):
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(mode)

    def run(self, name):
        """Rotate as rsyslog's call does (`own`), or as cron's does (`all`)."""
        return run([str(self.program), str(self.directory / name)])

    def read_lines(self):
        """All lines of all generations that are there."""
        lines = []
        for path in self.directory.iterdir():
            if path.name.startswith('log') and path.name != 'logrotate':
                content = path.read_bytes()
                content = gzip.decompress(content) if path.suffix == '.gz' else content
                lines += content.decode().splitlines()
        return lines


# As systemd does it: a signal for the service reaches its whole control group, and so logrotate,
# which rsyslog has started, unless it is for the main process only. SIGHUP ends it in dom0; here,
# where a newer rsyslog starts programs with that signal blocked, SIGKILL stands for it.
_SYSTEMCTL = """#!/bin/sh
parent=$(sed -n 's/^PPid:.//p' /proc/$PPID/status)
case " $* " in
    *' --kill-who=main '*) ;;
    *) kill -KILL "$parent" ;;
esac
kill -HUP "$(cat {0}/pid 2>/dev/null)" 2>/dev/null
"""


def test_rotation_that_rsyslog_starts_loses_no_line(make_syslog, tmp_path):
    rotation = Rotation(tmp_path)
    syslog = make_syslog(20000, '%s %s/own' % (rotation.program, tmp_path))
    count = 9000
    for number in range(count):
        syslog.send('vgpu-watcher', '{"number": %05d, "rest": "%s"}' % (number, 'x' * 60))
    wait_until(lambda: syslog.has('log', '"number": %05d' % (count - 1)))
    syslog.close()
    found = {int(number) for line in rotation.read_lines()
             for number in re.findall(r'"number": (\d+)', line)}
    assert len(found) == count
    assert len([path for path in tmp_path.iterdir() if path.suffix == '.gz']) > 10


@pytest.mark.parametrize('host_wide', [
    'delaycompress', 'dateext', 'dateext\ndelaycompress\ndaily', 'olddir {0}/old',
    'copytruncate', 'copy'])
def test_what_holds_for_the_whole_host_loses_no_generation(tmp_path, host_wide):
    (tmp_path / 'old').mkdir()
    rotation = Rotation(tmp_path, host_wide=host_wide.format(tmp_path))
    log = tmp_path / 'log'
    for number, name in enumerate(('own', 'all', 'own', 'all', 'all', 'own')):
        log.write_text('generation %d\n' % number + 'x' * 30000 + '\n')
        assert rotation.run(name) == (0, '')
    found = {line for line in rotation.read_lines() if line.startswith('generation')}
    assert len(found) == 6 and list((tmp_path / 'old').iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith('log.')) == [
        'log.%d.gz' % number for number in range(1, 7)]
