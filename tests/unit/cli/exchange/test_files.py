"""What is written to a file: whole or not at all, and never where somebody else points."""

import contextlib
import errno
import os
import threading

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
def test_whoever_changes_what_is_there_all_the_time_leads_nothing_astray(tmp_path):
    everyones, victim = tmp_path / 'tmp', tmp_path / 'victim'
    everyones.mkdir()
    everyones.chmod(0o1777)
    victim.write_text('precious', encoding='utf-8')
    os.mkfifo(str(tmp_path / 'pipe'))
    target, stop = str(everyones / 'backup.json'), threading.Event()

    def attack():
        """Put a link to a file, a link to a pipe, and a pipe there, in turn."""
        made = str(everyones / 'made')
        while not stop.is_set():
            for kind in ('victim', 'pipe', ''):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(made)
                if kind:
                    os.symlink(str(tmp_path / kind), made)
                else:
                    os.mkfifo(made)
                os.chown(made, 65534, 65534, follow_symlinks=False)
                os.rename(made, target)

    # With a reader, so that a pipe which is opened by mistake takes the text.
    reader = os.open(str(tmp_path / 'pipe'), os.O_RDONLY | os.O_NONBLOCK)
    attacker = threading.Thread(target=attack)
    attacker.start()
    refused = 0
    try:
        for _time in range(500):
            try:
                write_file(target, 'text')
            except CommandError:
                refused += 1
    finally:
        stop.set()
        attacker.join()
    assert victim.read_text(encoding='utf-8') == 'precious' and os.read(reader, 10) == b''
    assert 0 < refused < 500
    os.close(reader)
