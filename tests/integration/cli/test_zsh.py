"""Completion in a real zsh, on a terminal."""

import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.integration.cli.program import Place
from tests.support import programs

PATIENCE_SECONDS = 60.0
PROGRAM = '#!%s\nimport sys\nsys.path[:1] = %r\nfrom cli.__main__ import main\nsys.exit(main())\n'
SETUP = '''PS1='READY> '
fpath=(%s $fpath)
autoload -U compinit; compinit -u -D
# Show the line as it stands, and forget it.
tell() { print -r -- "<$BUFFER>"; BUFFER=; zle accept-line; }
zle -N tell
bindkey '^X' tell
'''


@pytest.mark.skipif(shutil.which('zsh') is None, reason='zsh is not installed')
@pytest.mark.parametrize('typed, completed', [
    ('vgpu-admin set-prio\t', 'vgpu-admin set-priority '),
    ('vgpu-admin set-priority --prio\t', 'vgpu-admin set-priority --priority='),
    ('vgpu-admin set-priority --priority=h\t', 'vgpu-admin set-priority --priority=high '),
    ('vgpu-admin show-vm we\t', 'vgpu-admin show-vm web01 '),
    ('vgpu-admin show-vm --vm-name=we\t', 'vgpu-admin show-vm --vm-name=web01 ')])
def test_tab_completes(pool: Place, tmp_path: Any, typed: str, completed: str) -> None:
    with pool.registry.edit(who='test', command='test') as edit:
        edit.add_vm('2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c', vm_name='web01')
    program = tmp_path / 'vgpu-admin'
    program.write_text(PROGRAM % (sys.executable, [programs.ROOT] + [
        path for path in sys.path if path]), encoding='utf-8')
    program.chmod(stat.S_IRWXU)
    (tmp_path / '.zshrc').write_text(SETUP % os.path.join(programs.ROOT, 'deploy/completion'))
    environment = dict(os.environ, PATH='%s:%s' % (tmp_path, os.environ['PATH']), TERM='dumb',
                       ZDOTDIR=str(tmp_path), VGPU_CONFIG=pool.config, **programs.UTF_8)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(['zsh', '-i'], stdin=theirs, stdout=theirs, stderr=theirs,
                               env=environment, start_new_session=True)
    os.close(theirs)
    try:
        read_until(ours, rb'READY> ')
        os.write(ours, typed.encode('ascii') + b'\x18')
        heard = read_until(ours, rb'<vgpu-admin [^>]*>')
        assert '<%s>' % completed in heard.decode('utf-8')
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(descriptor: int, pattern: bytes) -> bytes:
    """Read from a terminal until something is said."""
    heard, deadline = b'', time.monotonic() + PATIENCE_SECONDS
    while not re.search(pattern, heard):
        ready = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
        assert ready, heard
        heard += os.read(descriptor, 65536)
    return heard
