"""Texts that others choose, on root's terminal: what they look like, and what they do not."""

import re

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
