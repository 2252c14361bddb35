"""What is written to a file: whole or not at all, and never where somebody else points."""

import os

import pytest

from cli.errors import CommandError
from cli.files import write_file


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


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda _descriptor: os.stat('/nowhere/at/all'))
    with pytest.raises(CommandError, match='cannot be written'):
        write_file(str(tmp_path / 'backup.json'), 'text')
    assert os.listdir(str(tmp_path)) == []
