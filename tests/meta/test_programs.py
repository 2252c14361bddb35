"""A program that tests/support/fork_server.py forks is the same as one that was started afresh."""

import json
import os
import pty
import signal
import subprocess
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from tests.integration.cli.program import Place, span
from tests.support import programs

BOTH = pytest.mark.parametrize('variables', [{}, programs.UTF_8], ids=['plain', 'utf-8'])


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: Any) -> None:
    """Programs are forked in here, also in a run in which all others are started afresh."""
    monkeypatch.delenv(programs.SWITCH, raising=False)


def both(monkeypatch: Any, package: str, words: List[Any], **options: Any) -> List[Tuple]:
    """What becomes of a program that is forked, and of one that is started."""
    ends = []
    for is_forked in (True, False):
        if not is_forked:
            monkeypatch.setenv(programs.SWITCH, '1')
        ends.append(programs.run(package, words, **options))
    monkeypatch.delenv(programs.SWITCH)
    return ends


@BOTH
@pytest.mark.parametrize('ending', ['returns', '0', '3', 'fails', 'a word', 'thread', 'unwritable'])
def test_forked_program_sees_what_a_started_one_sees_and_ends_like_it(
        monkeypatch: Any, tmp_path: Any, variables: Dict[str, str], ending: str) -> None:
    surroundings = programs.surroundings(dict(variables, NAME='v\u00e4lue', EMPTY=''))
    surroundings['cwd'] = str(tmp_path)
    words = [ending, '', 'two words', b'not \xff text', 'f\u00fcr']
    forked, started = both(monkeypatch, 'tests.support.witness', words, stdin=subprocess.DEVNULL,
                           **surroundings)
    assert forked[0] == started[0]
    assert _told(forked) == _told(started)
    # Above the program a traceback also names who forked it.
    assert forked[2].splitlines()[-1:] == started[2].splitlines()[-1:]


def _told(end: Tuple) -> Any:
    lines = end[1].decode('ascii').splitlines()
    return [json.loads(lines[0]) if lines else None] + lines[1:]


def test_forked_program_has_the_terminal_it_was_given(monkeypatch: Any) -> None:
    ours, theirs = pty.openpty()
    forked, started = both(monkeypatch, 'tests.support.witness', ['returns'], stdin=theirs,
                           **programs.surroundings())
    os.close(ours)
    os.close(theirs)
    assert _told(forked) == _told(started) and _told(forked)[0]['streams'][0][5] is True


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_forked_program_ends_by_a_signal(monkeypatch: Any, number: int) -> None:
    ends = []
    for is_forked in (True, False):
        if not is_forked:
            monkeypatch.setenv(programs.SWITCH, '1')
        process = programs.start('tests.support.witness', ['waits'], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 **programs.surroundings())
        assert json.loads(process.stdout.readline().decode('ascii'))['parent'] == os.getpid()
        assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        ends.append((process.returncode, out, err.splitlines()[-1:]))
    assert ends[0] == ends[1]


def test_forked_program_is_seen_by_its_pid_until_it_was_waited_for() -> None:
    process = programs.start('tests.support.witness', ['5'], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, **programs.surroundings())
    assert isinstance(process, programs._Forked)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists('/proc/%d' % process.pid)
    assert process.wait(10) == 5
    assert not os.path.exists('/proc/%d' % process.pid)


@pytest.mark.parametrize('options, is_forked', [
    pytest.param({}, True, id='nothing-special'),
    pytest.param({'env': {'LD_PRELOAD': 'x.so'}}, False, id='preloaded-library'),
    pytest.param({'env': {'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'}}, False, id='other-locale'),
    pytest.param({'env': {'PYTHONHASHSEED': '1'}}, False, id='for-the-interpreter'),
    pytest.param({'env': {'MALLOC_ARENA_MAX': '1'}}, False, id='for-the-c-library'),
    pytest.param({'env': {'PATH': '/bin'}}, True, id='for-the-program'),
    pytest.param({'pass_fds': (0,)}, False, id='descriptors'),
    pytest.param({'preexec_fn': os.getpid}, False, id='what-goes-before'),
])
def test_what_only_a_fresh_interpreter_heeds_is_started_afresh(
        options: Dict[str, Any], is_forked: bool) -> None:
    surroundings = dict(programs.surroundings(options.get('env')))
    surroundings.update((name, options[name]) for name in options if name != 'env')
    assert programs._can_be_forked(surroundings) is is_forked


@pytest.fixture(scope='module')
def filled(tmp_path_factory: Any) -> Iterator[Place]:
    """A registry with a VM that runs, one that rests and one that is unknown to XAPI."""
    place = Place(str(tmp_path_factory.mktemp('p')))
    place.registry.create('test')
    place.start_xapi()
    for number, name in enumerate(('run', 'rest'), 1):
        ref = place.create_vm(name, span(number))
        place.registry_row(ref, number)
        if name == 'run':
            place.start_vm(ref)
    yield place
    place.close()


@pytest.mark.parametrize('package, words', [
    ('cli', ['list-vms']), ('cli', ['list-vms', '--json']), ('cli', ['scan-vms', '--json']),
    ('cli', ['status', '--minimal']), ('cli', ['show-vm', '--vm-name=run', '--json']),
    ('cli', ['show-vm', '--vm-name=nobody']), ('cli', ['history', '--json']),
    ('cli', ['plan']), ('cli', ['check']), ('cli', ['export']), ('cli', ['help']),
    ('cli', ['set-pool', '--help']), ('cli', ['nonsense']), ('cli', []),
    ('watcher', ['check-config']), ('watcher', ['clear-fences']), ('watcher', ['--version']),
    ('watcher', []), ('watcher', ['run', '--config', '/nowhere/x']),
], ids=lambda value: ' '.join(value) if isinstance(value, list) else value)
def test_forked_program_prints_what_a_started_one_prints(
        monkeypatch: Any, filled: Place, package: str, words: List[str]) -> None:
    if '/nowhere/x' not in words and words and words != ['--version']:
        words = words + ['--config', filled.config]
    forked, started = both(monkeypatch, package, words, stdin=subprocess.DEVNULL,
                           **programs.surroundings(programs.UTF_8))
    assert forked == started and forked[1] + forked[2]
