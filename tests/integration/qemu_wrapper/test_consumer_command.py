"""vgpu-admin consumer on a directory that stands for dom0."""

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple

import pytest

from cli.commandline.parser import parse
from cli.consumer import withholding
from cli.consumer.installation import (DIRECTORIES, FRAGMENTS, OURS, REMEMBERED, SETTING, STOCK,
                                       ConsumerHost)
from cli.consumer.withholding import advise_consumer, describe_consumer, read_consumer_state
from tests.integration.qemu_wrapper import stock
from tests.integration.qemu_wrapper.stock import Stock, program
from tests.integration.qemu_wrapper.wrapper import WRAPPER
from tests.support import programs
from watcher.consumer.numbers_file import Numbers
from watcher.consumer.run_directory import RunDirectory, read_instant

ASSIGNMENT = '%s = %s' % (SETTING, OURS)
FRAGMENT = FRAGMENTS[0]


class Done(NamedTuple):
    """One run of the command."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Dict[str, Any]:
        """What it says to programs."""
        return json.loads(self.out)


class Host:
    """A root directory with the stock wrapper, ours, and an xenopsd that runs."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.run_directory = root + '/run-directory'
        self.config = root + '/watcher.conf'
        self.write('/watcher.conf', '[consumer]\nrun_directory = %s\n' % self.run_directory)
        self.put_stock(stock.OLD)
        self.make(os.path.dirname(OURS))
        shutil.copy(WRAPPER, self.path(OURS))
        self.make('/etc/xenopsd.conf.d')
        self.write('/etc/xenopsd.conf', '# %s = /commented/out\nsearch-path=/usr\n' % SETTING)
        self.write('/proc/sys/kernel/random/boot_id', 'boot-1\n')
        self.run_xenopsd(100)

    def path(self, name: str) -> str:
        """Where a path of the host lies."""
        return self.root + name

    def make(self, name: str) -> None:
        """Make a directory."""
        os.makedirs(self.path(name), exist_ok=True)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        self.make(os.path.dirname(name))
        with open(self.path(name), 'w', encoding='utf-8') as stream:
            stream.write(text)

    def read(self, name: str) -> str:
        """Read a file."""
        with open(self.path(name), encoding='utf-8') as stream:
            return stream.read()

    def put_stock(self, form: Stock) -> None:
        """Make this the stock wrapper."""
        self.make(os.path.dirname(STOCK))
        program(self.path(STOCK), form.render(self.root))

    def enable(self) -> None:
        """Enable the consumer, and start xenopsd again, which reads that."""
        assert self.run('enable').status == 0
        self.run_xenopsd(101)

    def run_xenopsd(self, pid: int, began: int = 5000, comm: str = 'xenopsd-xc') -> None:
        """Let this be the only xenopsd."""
        for name in os.listdir(self.path('/proc')):
            if name.isdigit():
                shutil.rmtree(self.path('/proc/' + name))
        self.write('/proc/%d/comm' % pid, comm + '\n')
        self.write('/proc/%d/stat' % pid, '%d (odd) name) S 1 %s %d 0 0\n'
                   % (pid, ' '.join(['0'] * 17), began))

    def stop_xenopsd(self) -> None:
        """Let none run."""
        self.run_xenopsd(1, comm='systemd')

    def set_numbers(self, age: float, boot_id: Any = None) -> None:
        """Let the daemon have confirmed its numbers so many seconds ago."""
        now = read_instant()
        RunDirectory(self.run_directory).write_numbers(Numbers(
            ((10, '11111111-1111-4111-8111-111111111111'),), boot_id or now.boot_id,
            now.seconds - age, 'pool', '1'))

    def run(self, *words: str) -> Done:
        """Run vgpu-admin consumer."""
        status, out, err = programs.run(
            'cli', ['consumer'] + list(words) + ['--root', self.root, '--config', self.config],
            stdin=subprocess.DEVNULL, **programs.surroundings(programs.UTF_8))
        return Done(status, out.decode('utf-8'), err.decode('utf-8'))

    def status(self) -> Dict[str, Any]:
        """The document of `consumer status`."""
        done = self.run('status', '--json')
        assert done.status == 0, done
        return done.document


@pytest.fixture
def host(tmp_path: Any) -> Host:
    """A host as the package leaves it: installed, not enabled."""
    return Host(str(tmp_path))


def test_installed_host_is_disabled_until_asked(host: Host) -> None:
    document = host.status()
    assert (document['format'], document['form'], document['enabled'], document['installed'],
            document['fragment'], document['xenopsd'], document['next_step'],
            document['in_use']) == (1, 'stock', False, True, False, 'unaware', None, False)


def test_status_says_how_it_is_switched_on_where_nothing_else_hands_arguments_on(
        host: Host) -> None:
    said = "To switch it on: 'vgpu-admin consumer enable'\n"
    assert said in host.run('status').out
    host.run('enable')
    assert said not in host.run('status').out
    host.run('disable')
    host.put_stock(stock.PATCHED_1)
    assert said not in host.run('status').out


def test_enable_writes_a_fragment_that_everybody_can_read(host: Host) -> None:
    done = host.run('enable')
    assert done.status == 0 and 'was enabled' in done.out
    assert 'Next: restart xenopsd on this host' in done.out and 'dropped and logged' in done.err
    for path in FRAGMENTS:
        assert [line for line in host.read(path).splitlines()
                if not line.startswith('#')] == [ASSIGNMENT]
        # xenopsd reads every file in there.
        assert os.listdir(host.path(os.path.dirname(path))) == [os.path.basename(path)]
        assert stat.S_IMODE(os.stat(host.path(path)).st_mode) == 0o644


def test_directory_of_fragments_is_made_where_it_is_missing(host: Host) -> None:
    os.rmdir(host.path('/etc/xenopsd.conf.d'))
    assert host.run('enable').status == 0 and host.status()['enabled'] is True


@pytest.mark.parametrize('actions, results', [
    (['enable', 'enable'], ['enabled', 'already_enabled']),
    (['disable', 'disable'], ['already_disabled', 'already_disabled']),
    (['enable', 'disable', 'disable', 'enable'],
     ['enabled', 'disabled', 'already_disabled', 'enabled']),
])
def test_asking_for_what_is_so_succeeds_and_says_so(
        host: Host, actions: List[str], results: List[str]) -> None:
    dones = [host.run(action, '--json') for action in actions]
    assert [(done.status, done.document['result']) for done in dones] == [
        (0, result) for result in results]


def test_disable_leaves_nothing(host: Host) -> None:
    host.run('enable')
    host.run('disable')
    assert sorted(os.listdir(host.path('/etc'))) == ['xenopsd.conf', 'xenopsd.conf.d']
    assert os.listdir(host.path('/etc/xenopsd.conf.d')) == []
    assert not os.path.exists(host.path(REMEMBERED)) and host.status()['in_use'] is False


@pytest.mark.parametrize('form, word', [
    (stock.PATCHED_1, 'patched_1'), (stock.PATCHED_2, 'patched_2'),
    (stock.PATCHED_3, 'patched_3'), (stock.PATCHED_OTHERWISE, 'patched_otherwise')])
def test_hand_made_patch_is_recognised_and_reported(host: Host, form: Stock, word: str) -> None:
    host.put_stock(form)
    document = host.status()
    assert (document['form'], document['stolen_numbers']['state']) == (word, 'not_in_force')
    done = host.run('status')
    assert done.status == 0 and 'put the packaged file back' in done.err
    assert 'patched by hand' in done.out and 'Stolen numbers: not in force' in done.out


def test_enable_refuses_beside_a_hand_made_patch_and_changes_nothing(host: Host) -> None:
    host.put_stock(stock.PATCHED_1)
    done = host.run('enable')
    assert done.status == 4 and 'Put the packaged file back first; nothing was changed' in done.err
    assert not any(os.path.exists(host.path(path)) for path in FRAGMENTS)


def test_patch_that_comes_later_takes_it_out_of_force(host: Host) -> None:
    host.run('enable')
    host.put_stock(stock.PATCHED_3)
    assert host.status()['stolen_numbers']['state'] == 'not_in_force'
    assert host.run('enable').status == 4


# Stolen numbers.

def test_pause_and_resume_are_a_file_that_the_consumer_looks_for(host: Host) -> None:
    host.enable()
    path = host.path('/etc/vgpu/consumer.paused')
    results = []
    for action in ('pause', 'pause', 'resume', 'resume', 'pause'):
        done = host.run(action, '--json')
        assert done.status == 0 and done.document['format'] == 1
        results.append((done.document['result'], done.document['stolen_numbers']['paused'],
                        os.path.exists(path)))
    assert results == [('paused', True, True), ('already_paused', True, True),
                       ('resumed', False, False), ('already_resumed', False, False),
                       ('paused', True, True)]
    assert host.status()['stolen_numbers']['state'] == 'paused'
    done = host.run('status')
    assert 'Stolen numbers: paused' in done.out and "'vgpu-admin consumer resume'" in done.out


def test_pause_says_where_it_has_no_effect_and_status_that_it_is_there(host: Host) -> None:
    noted = "The pause is noted; the consumer is disabled, so it has no effect until 'vgpu-admin " \
        "consumer enable'.\n"
    assert 'Paused' not in host.run('status').out
    done = host.run('pause')
    assert done.out.startswith(noted) and 'a stolen number too' not in done.out
    assert '\nPaused: yes\n' in host.run('status').out
    host.run('enable')
    host.run('resume')
    assert 'was started before the consumer was enabled, so it has no' in host.run('pause').out
    host.run_xenopsd(101)
    host.run('resume')
    assert host.run('pause').out.startswith('The consumer is paused: from now on each VM gets')
    host.run('resume')
    host.put_stock(stock.PATCHED_1)
    assert 'patched by hand, so it has no effect.' in host.run('pause').out


def test_outside_dom0_that_is_all_there_is_to_say(host: Host) -> None:
    os.remove(host.path(STOCK))
    done = host.run('status')
    assert f'{STOCK} does not exist: no VM with a QEMU can start on this host' in done.err
    assert 'xenopsd: runs' in done.out and 'dom0' not in done.out
    host.stop_xenopsd()
    done = host.run('status')
    assert (done.out, done.err) == (f'{STOCK} does not exist: this is not dom0\n', '')
    assert host.status()['stolen_numbers']['state'] == 'no_dom0'
    assert 'this is not dom0, so it has no effect.' in host.run('pause').out


def test_pause_stands_beside_the_configuration_where_the_consumer_looks(
        host: Host, tmp_path: Any) -> None:
    config = tmp_path / 'elsewhere' / 'watcher.conf'
    config.parent.mkdir()
    config.write_text('')
    status, _out, _err = programs.run(
        'cli', ['consumer', 'pause', '--config', str(config)], stdin=subprocess.DEVNULL,
        **programs.surroundings(programs.UTF_8))
    assert status == 0 and os.listdir(str(config.parent)) == ['consumer.paused', 'watcher.conf']


@pytest.mark.parametrize('stock_path, found', [
    ('/nowhere', '{0}/consumer.paused'), (WRAPPER, '/etc/vgpu/consumer.paused')])
def test_pause_in_dom0_stands_where_the_consumer_looks_whatever_was_named(
        tmp_path: Any, monkeypatch: Any, stock_path: str, found: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(withholding, 'STOCK', stock_path)
    context = SimpleNamespace(arguments=parse(['consumer', 'pause', '--config=watcher.conf']))
    assert withholding.find_paused(context, None) == found.format(tmp_path)


@pytest.mark.parametrize('age, boot_id, state, seconds, said', [
    (12.0, None, 'on', 12, 'withholds stolen numbers; 1 row confirmed 12 s ago'),
    (299.0, None, 'on', 299, 'withholds stolen numbers'),
    (400.0, None, 'on_without_numbers', 400, 'confirmed 400 s ago, which is more than 300 s'),
    (12.0, 'another', 'on_without_numbers', None, 'not confirmed since this host booted'),
])
def test_status_says_whether_the_numbers_are_confirmed_and_how_old(
        host: Host, age: float, boot_id: Any, state: str, seconds: Any, said: str) -> None:
    host.enable()
    host.set_numbers(age, boot_id)
    found = host.status()['stolen_numbers']
    assert (found['state'], found['numbers_confirmed'], found['rows']) == (state, state == 'on', 1)
    # Each run of the program takes its time.
    assert found['confirmed_seconds'] is None if seconds is None else (
        seconds <= found['confirmed_seconds'] < seconds + 10)
    host.set_numbers(age, boot_id)
    assert re.sub('[0-9]+ s ago', '%d s ago' % (seconds or 0), said) in re.sub(
        '[0-9]+ s ago', '%d s ago' % (seconds or 0), host.run('status').out)


@pytest.mark.parametrize('spoil, said', [
    (lambda path: None, 'has written no numbers'),
    (lambda path: (os.mkdir(path, 0o700), open(path + '/numbers', 'w').close()), 'not whole'),
    (lambda path: (os.mkdir(path), os.chmod(path, 0o777)), 'others may write'),
    (lambda path: os.symlink('/tmp', path), 'Not a directory|symbolic link'),
])
def test_numbers_that_cannot_be_gone_by_are_told_with_their_reason(
        host: Host, spoil: Any, said: str) -> None:
    host.enable()
    spoil(host.run_directory)
    found = host.status()['stolen_numbers']
    assert found['state'] == 'on_without_numbers' and re.search(said, found['problem'])
    assert re.search(said, host.run('status').out)


def test_half_written_fragment_never_lies_where_xenopsd_reads(
        host: Host, monkeypatch: Any) -> None:
    seen = []

    def rename(made: str, target: str) -> None:
        seen.append((os.listdir(os.path.dirname(target)), os.path.exists(made)))
        os.replace(made, target)

    monkeypatch.setattr('cli.consumer.installation.os.rename', rename)
    ConsumerHost(host.root).write_fragment()
    assert seen == [([], True)] * len(FRAGMENTS)


# Whether the xenopsd that runs knows of it.

def test_xenopsd_takes_the_fragment_when_it_is_started_again(host: Host) -> None:
    host.run('enable')
    assert (host.status()['xenopsd'], host.status()['enabled']) == ('unaware', True)
    host.run_xenopsd(101)
    assert (host.status()['xenopsd'], host.status()['next_step']) == ('aware', None)


def test_same_number_at_another_time_is_another_xenopsd(host: Host) -> None:
    host.run('enable')
    host.run_xenopsd(100, began=6000)
    assert host.status()['xenopsd'] == 'aware'


def test_same_number_and_time_after_a_reboot_is_another_xenopsd(host: Host) -> None:
    host.run('enable')
    host.write('/proc/sys/kernel/random/boot_id', 'boot-2\n')
    assert host.status()['xenopsd'] == 'aware'


def test_fragments_of_others_in_the_second_directory_stay(host: Host) -> None:
    host.write('/etc/xenopsd-xc.conf.d/other.conf', 'x=1\n')
    host.run('enable')
    host.run('disable')
    assert os.listdir(host.path('/etc/xenopsd-xc.conf.d')) == ['other.conf']


@pytest.mark.parametrize('lost', FRAGMENTS)
def test_half_of_the_fragments_is_not_enabled_and_is_mended(host: Host, lost: str) -> None:
    host.run('enable')
    os.unlink(host.path(lost))
    document = host.status()
    assert (document['enabled'], document['fragment']) == (False, True)
    assert host.run('enable', '--json').document['result'] == 'enabled'
    assert host.status()['enabled'] is True


@pytest.mark.parametrize('option', [
    [], ['--config-dir', DIRECTORIES[0]], ['--config-dir=' + DIRECTORIES[1]],
    ['-config-dir', DIRECTORIES[0] + '/']])
def test_directories_that_xenopsd_is_known_to_read_are_served(
        host: Host, option: List[str]) -> None:
    _tell_xenopsd(host, option)
    assert host.run('enable').status == 0


def test_disabled_consumer_is_in_use_until_xenopsd_is_started_again(host: Host) -> None:
    host.run('enable')
    host.run_xenopsd(101)
    done = host.run('disable', '--json')
    assert (done.document['xenopsd'], done.document['in_use']) == ('aware', True)
    assert 'xe-toolstack-restart' in done.document['next_step']
    host.run_xenopsd(102)
    assert (host.status()['xenopsd'], host.status()['in_use']) == ('unaware', False)


def test_directories_that_are_made_are_roots_alone_whatever_the_umask(host: Host) -> None:
    umask = os.umask(0)
    try:
        host.enable()
        host.run('pause')
    finally:
        os.umask(umask)
    for path in (DIRECTORIES[1], '/etc/vgpu'):
        assert stat.S_IMODE(os.stat(host.path(path)).st_mode) == 0o755


def test_what_counts_is_the_xenopsd_that_runs(host: Host) -> None:
    host.set_numbers(12.0, None)
    states = []
    for action in (lambda: host.run('enable'), lambda: host.run_xenopsd(101),
                   lambda: host.run('disable'), lambda: host.run_xenopsd(102),
                   lambda: host.run('enable'), host.stop_xenopsd):
        action()
        states.append(host.status()['stolen_numbers']['state'])
    assert states == ['not_read_yet', 'on', 'on', 'off', 'not_read_yet', 'on']
    host.run_xenopsd(103)
    host.run('disable')
    host.run_xenopsd(104)
    said = host.run('enable').out
    assert 'Stolen numbers: not in force yet: the xenopsd that runs was started before' in said
    assert said.count('xe-toolstack-restart') == 1


def test_what_cannot_be_read_is_a_state_and_no_end_of_status(host: Host) -> None:
    host.make('/etc/xenopsd.conf.d/old')
    state = read_consumer_state(ConsumerHost(host.root), host.path('/p'), host.run_directory)
    assert (state.state, state.is_well) == ('unreadable', False)
    assert describe_consumer(state) == 'not known: %s: Is a directory' % host.path(
        '/etc/xenopsd.conf.d/old')
    assert 'consumer status' in advise_consumer(state)


def test_disable_works_where_run_is_a_file_system_of_its_own(host: Host) -> None:
    with tempfile.TemporaryDirectory(prefix='vgpu', dir='/dev/shm') as directory:
        if os.stat(directory).st_dev == os.stat(host.root).st_dev:
            pytest.skip('there is only one file system here')
        os.symlink(directory, host.path('/run'))
        host.run('enable')
        host.run_xenopsd(101)
        assert host.run('disable').status == 0
        assert not host.status()['fragment'] and host.status()['in_use']
        assert os.listdir(directory) == [os.path.basename(REMEMBERED)]


def test_enabling_again_does_not_forget_who_knows_already(host: Host) -> None:
    host.run('enable')
    host.run_xenopsd(101)
    host.run('disable')
    assert os.path.exists(host.path(REMEMBERED))
    host.run('enable')
    assert (host.status()['xenopsd'], host.status()['next_step']) == ('aware', None)
    assert not os.path.exists(host.path(REMEMBERED))


def test_host_without_xenopsd_has_nothing_to_restart(host: Host) -> None:
    host.stop_xenopsd()
    host.run('enable')
    assert (host.status()['xenopsd'], host.status()['next_step']) == ('not_running', None)
    host.run_xenopsd(101)
    assert host.status()['xenopsd'] == 'aware'


def test_fragment_written_by_hand_is_taken_for_read(host: Host) -> None:
    # Who removes our wrapper must rather be told once too often.
    for path in FRAGMENTS:
        host.write(path, ASSIGNMENT + '\n')
    assert (host.status()['xenopsd'], host.status()['enabled']) == ('aware', True)


@pytest.mark.parametrize('is_enabled, status', [(True, 6), (False, 0)])
def test_exit_code_tells_whether_our_wrapper_may_be_removed(
        host: Host, is_enabled: bool, status: int) -> None:
    if is_enabled:
        host.run('enable')
    assert host.run('status', '--exit-code').status == status
    assert host.run('status').status == 0


# What is refused.

def _remove(path: str) -> Any:
    return lambda host: os.unlink(host.path(path))


@pytest.mark.parametrize('prepare, status, said', [
    pytest.param(_remove(OURS), 1, 'cannot be run', id='ours-is-missing'),
    pytest.param(lambda host: os.chmod(host.path(OURS), 0o644), 1, 'cannot be run',
                 id='ours-is-not-executable'),
    pytest.param(_remove(STOCK), 1, 'is not there', id='stock-is-missing'),
    pytest.param(lambda host: host.write('/etc/xenopsd.conf', SETTING + '=/opt/other\n'), 4,
                 '/etc/xenopsd.conf sets', id='another-wrapper'),
    pytest.param(lambda host: host.write('/etc/xenopsd.conf.d/a.conf', SETTING + ' = "/x"'), 4,
                 '/etc/xenopsd.conf.d/a.conf sets', id='another-fragment'),
    pytest.param(lambda host: host.write('/etc/xenopsd.conf.d/z', '%s=%s' % (SETTING, STOCK)), 4,
                 '/etc/xenopsd.conf.d/z sets', id='a-later-fragment'),
    pytest.param(lambda host: host.write('/etc/xenopsd-xc.conf.d/z', SETTING + '=/x'), 4,
                 '/etc/xenopsd-xc.conf.d/z sets', id='in-the-other-directory'),
    pytest.param(lambda host: _tell_xenopsd(host, ['--config-dir', '/etc/mine']), 4,
                 'told to read /etc/mine', id='a-directory-of-somebody'),
    pytest.param(lambda host: host.make('/etc/xenopsd.conf.d/vgpu-watcher.conf'), 1,
                 FRAGMENT, id='a-directory-in-its-place'),
])
def test_enable_refuses_what_would_break_and_changes_nothing(
        host: Host, prepare: Any, status: int, said: str) -> None:
    prepare(host)
    before = _list_files(host)
    done = host.run('enable')
    assert (done.status, done.out) == (status, '') and said in done.err
    assert _list_files(host) == before


@pytest.mark.parametrize('value', [STOCK, 'qemu-wrapper', STOCK + ' # as packaged'])
def test_configuration_that_names_the_stock_wrapper_is_no_obstacle(
        host: Host, value: str) -> None:
    host.write('/etc/xenopsd.conf', '%s=%s\n' % (SETTING, value))
    assert host.run('enable').status == 0 and host.status()['enabled'] is True


def test_fragment_that_another_one_overrules_is_not_enabled(host: Host) -> None:
    host.run('enable')
    host.write('/etc/xenopsd.conf.d/z.conf', SETTING + '=/x\n')
    assert host.status()['enabled'] is False
    assert 'Set elsewhere: /etc/xenopsd.conf.d/z.conf: /x' in host.run('status').out
    host.run_xenopsd(101)
    assert host.status()['stolen_numbers']['state'] == 'off'


def test_stock_wrapper_that_is_not_known_is_said_to_be(host: Host) -> None:
    host.write(STOCK, '#!/bin/sh\n')
    assert host.status()['form'] == 'unknown'
    assert 'as_desired' in host.run('enable').err


def test_missing_stock_wrapper_is_no_reason_not_to_tell_the_status(host: Host) -> None:
    os.unlink(host.path(STOCK))
    assert host.status()['form'] == 'missing'
    assert 'no VM with a QEMU can start' in host.run('status').err


@pytest.mark.parametrize('words, said', [
    ([], 'consumer needs enable|disable|pause|resume|status'), (['enabel'], "did you mean 'enable'")])
def test_what_is_not_understood_is_refused(host: Host, words: List[str], said: str) -> None:
    done = host.run(*words)
    assert done.status == 2 and said in done.err


def _list_files(host: Host) -> List[str]:
    return sorted(os.path.join(parent, name) for parent, directories, names in os.walk(host.root)
                  for name in names + directories)


def _tell_xenopsd(host: Host, option: List[str]) -> None:
    host.write('/proc/100/cmdline', '\0'.join(['/usr/sbin/xenopsd-xc'] + option) + '\0')
