"""What is written to a file: whole or not at all, and never where somebody else points."""

import contextlib
import errno
import itertools
import os
import sys
from typing import NamedTuple

import pytest

from cli.errors import CommandError
from cli.exchange.files import write_file


def test_own_link_goes_on_pointing_to_the_file(tmp_path):
    target, link = tmp_path / 'target', str(tmp_path / 'link')
    target.write_text('before', encoding='utf-8')
    os.symlink(str(target), link)
    write_file(link, 'after')
    assert os.path.islink(link) and target.read_text(encoding='utf-8') == 'after'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a link away')
def test_link_of_somebody_else_is_replaced_and_not_followed(tmp_path):
    victim, link = tmp_path / 'victim', str(tmp_path / 'link')
    victim.write_text('precious', encoding='utf-8')
    os.symlink(str(victim), link)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    write_file(link, 'after')
    assert victim.read_text(encoding='utf-8') == 'precious' and not os.path.islink(link)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, mocker):
    mocker.patch('os.fsync', autospec=True, side_effect=OSError(errno.ENOSPC, 'no room'))
    with pytest.raises(CommandError, match='cannot be written'):
        write_file(str(tmp_path / 'backup.json'), 'text')
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
@pytest.mark.parametrize('first, second', tuple(itertools.permutations(
    ('nothing', 'victim', 'pipe', 'own pipe'), 2)))
def test_whoever_changes_what_is_there_between_any_two_calls_leads_nothing_astray(
        tmp_path, first, second):
    everyones, victim, pipe = tmp_path / 'tmp', tmp_path / 'victim', tmp_path / 'pipe'
    everyones.mkdir()
    everyones.chmod(0o1777)
    victim.write_text('precious', encoding='utf-8')
    os.mkfifo(str(pipe))
    target, made = str(everyones / 'backup.json'), str(everyones / 'made')
    led_to = {'victim': str(victim), 'pipe': str(pipe)}
    # With readers, so that a pipe which is opened by mistake takes the text.
    readers = [os.open(str(pipe), os.O_RDONLY | os.O_NONBLOCK)]

    def put(kind):
        """As anybody may in /tmp: a link to a file or a pipe, a pipe, or nothing."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        if kind == 'nothing':
            return
        if kind in led_to:
            os.symlink(led_to[kind], made)
        else:
            os.mkfifo(made)
            readers.append(os.open(made, os.O_RDONLY | os.O_NONBLOCK))
        os.chown(made, 65534, 65534, follow_symlinks=False)
        os.rename(made, target)

    refused = set()
    for before_call in itertools.count():
        put(first)
        attempt = _write_while_attacked(target, before_call, lambda: put(second))
        assert victim.read_text(encoding='utf-8') == 'precious'
        refused.add(attempt.is_refused)
        if before_call >= attempt.call_count:
            break
    while readers:
        reader = readers.pop()
        assert os.read(reader, 10) == b''
        os.close(reader)
    assert before_call > 10 and (True in refused) == ('own pipe' in (first, second))


class _Attempt(NamedTuple):
    call_count: int
    is_refused: bool


def _write_while_attacked(target, before_call, attack):
    """Write a file; the attack comes before that call of the system, counted from 0."""
    count = 0

    def watch(_frame, event, function):
        nonlocal count
        if event == 'c_call' and function.__module__ == 'posix':
            if count == before_call:
                attack()
            count += 1

    sys.setprofile(watch)
    try:
        write_file(target, 'text')
        is_refused = False
    except CommandError:
        is_refused = True
    finally:
        sys.setprofile(None)
    return _Attempt(count, is_refused)
