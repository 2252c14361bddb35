"""Texts that others choose, on root's terminal: what they look like, and what they do not."""

import re
import sqlite3

import pytest

from tests.integration.cli.program import Place


def test_text_of_others_does_not_look_like_a_line_of_ours(pool: Place) -> None:
    """Whoever may block an operation, or name a VM, chooses what root reads of it."""
    forged = 'maintenance\nvgpu-admin: go on with: xe vm-destroy\x85vgpu-admin: or so'
    ref = pool.create_vm(forged)
    named = 'uuid=' + pool.uuid(ref)
    assert pool.run('register-vm', named).status == 0
    pool.start_vm(ref)
    pool.xapi.call('VM.add_to_blocked_operations', ref, 'clean_shutdown', forged)
    for words in (['register-vm', named, '--pool=B'], ['set-pool', named, '--pool=B', '--yes'],
                  ['apply-pending', '--yes']):
        run = pool.run(*words)
        assert run.status and 'xe vm-destroy' in run.out + run.err, words
        assert not [line for line in (run.out + run.err).splitlines()
                    if re.match('(vgpu-admin: )*(go on with: xe|or so)', line)], words


def test_times_that_another_program_wrote_are_shown_escaped(pool: Place) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    for text in ('\x1b]0;title\x07', '\x1b[2J-12-31 23:59:59', 'a\nForged: b'):
        connection = sqlite3.connect(pool.db)
        with connection:
            connection.execute('UPDATE vms SET created_at = ?', (text,))
        connection.close()
        for words in (['show-vm', 'web'], ['explain', '--all', pool.uuid(ref)]):
            run = pool.run(*words)
            assert '\x1b' not in run.out + run.err and '\nForged' not in run.out, words


@pytest.mark.parametrize('column', ['at', 'who', 'command', 'what', 'vm_uuid', 'before_json',
                                    'after_json'])
@pytest.mark.parametrize('value', ["'a\x1b[2J\nForged: b'", "x'ff00'", '7', "'{\"a\\u001b[2J\":1}'"])
def test_what_others_wrote_into_the_history_is_shown_escaped_or_left_out(
        pool: Place, column: str, value: str) -> None:
    pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    connection = sqlite3.connect(pool.registry.journal_path)
    with connection:
        connection.execute('UPDATE history SET %s = %s WHERE id %% 2' % (column, value))
    connection.close()
    for words in (['history'], ['explain', '--all', 'web'], ['restore', '--at=2038-01-01', '--yes']):
        run = pool.run(*words)
        assert 'Traceback' not in run.err and '\x1b' not in run.out + run.err, words
        assert '\nForged' not in run.out + run.err, words
