"""Who has the locks of a file, from what the kernel tells."""

import os

import pytest

from registry.sqlite.lock_holders import describe_holders, is_shut
from tests.unit.registry.helpers import locked_elsewhere, other_program

@pytest.mark.parametrize('lock', ['BEGIN', 'BEGIN IMMEDIATE', 'BEGIN EXCLUSIVE'])
def test_program_that_reads_or_writes_is_named(registry, lock):
    with locked_elsewhere(registry.path, lock) as process:
        assert f'(process {process})' in describe_holders(registry.path)
    assert describe_holders(registry.path) == ''


def test_this_program_is_not_its_own_holder(registry):
    with other_program(registry.path) as other:
        other.execute('BEGIN IMMEDIATE')
        assert describe_holders(registry.path) == ''


@pytest.mark.parametrize('lock, shuts', [
    ('BEGIN', False), ('BEGIN IMMEDIATE', False), ('BEGIN EXCLUSIVE', True)])
def test_only_an_exclusive_lock_keeps_others_from_reading(registry, lock, shuts):
    with locked_elsewhere(registry.path, lock):
        assert is_shut(registry.path) == shuts
    assert not is_shut(registry.path)


@pytest.mark.parametrize('line', [
    '', 'nonsense', '1: POSIX  ADVISORY  WRITE x 08:01:{inode} 1073741825 1073741825',
    '1: -> POSIX  ADVISORY  WRITE 4711 08:01:{inode} 1073741825 1073741825',
    '1: FLOCK  ADVISORY  WRITE 4711 08:01:{inode} 0 EOF',
    '1: POSIX  ADVISORY  WRITE -1 08:01:{inode} 1073741825 1073741825',
    '1: POSIX  ADVISORY  WRITE 4711 08:01:1 1073741825 1073741825',
    '1: POSIX  ADVISORY  WRITE 4711 08:01:{inode} 0 EOF'])
def test_line_about_something_else_names_nobody(registry, tmp_path, line):
    locks = tmp_path / 'locks'
    inode = os.stat(registry.path).st_ino
    locks.write_text(line.replace('{inode}', str(inode)) + '\n', encoding='utf-8')
    assert describe_holders(registry.path, str(locks)) == ''


def test_holder_without_a_name_is_told_by_its_number(registry, tmp_path):
    locks = tmp_path / 'locks'
    locks.write_text('7: POSIX  ADVISORY  READ 4194303 08:01:%d 1073741826 1073742335\n'
                     % os.stat(registry.path).st_ino, encoding='utf-8')
    assert describe_holders(registry.path, str(locks)) == 'a program (process 4194303)'
    assert describe_holders(registry.path, '/nowhere') == ''
