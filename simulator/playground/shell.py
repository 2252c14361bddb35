"""The shell of the playground: the user's bash, with a file of ours in place of ~/.bashrc.

With a terminal it is interactive and completes vgpu-admin and xe. Otherwise it reads its commands
from standard input, so that a script or a test can drive the playground.
"""

import os
import shlex
import shutil
import signal
import subprocess
from typing import Optional

from simulator.playground import files
from simulator.playground.held_signals import held_signals

END_SECONDS = 3.0
# vgpu-admin brings its own completion. bash splits words at `=`: what it gets back is what stands
# behind the last one.
RC = r'''# Read in place of ~/.bashrc.
unset BASH_ENV HISTFILE
cd {place}
PS1='[playground \W]$ '
trap 'kill $(jobs -p) 2>/dev/null' EXIT
case $- in *i*)
    eval "$(vgpu-admin completion)"
    _xe() {{
        local line=${{COMP_LINE:0:COMP_POINT}} current=${{COMP_WORDS[COMP_CWORD]}} reply
        [ "$current" = "=" ] && current=
        COMPREPLY=()
        while IFS= read -r reply; do
            [[ $reply == "$current"* ]] && COMPREPLY+=("$reply")
        done < <(xe complete "$line" 2>/dev/null)
        [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
        return 0
    }}
    complete -F _xe xe
esac
'''


def find_bash() -> Optional[str]:
    """Find the user's bash; None when there is none."""
    return shutil.which('bash')


def run_shell(bash: str, place: str, *, is_interactive: bool) -> int:
    """Run the shell until it ends; its exit status."""
    rc = os.path.join(place, 'bashrc')
    with open(rc, 'w', encoding='utf-8') as stream:
        stream.write(RC.format(place=shlex.quote(place)))
    path = os.pathsep.join([os.path.join(place, 'bin'), os.environ.get('PATH', os.defpath)])
    environment = dict(os.environ, VGPU_CONFIG=files.find_configuration(place), PATH=path)
    words = [bash, '--rcfile', rc, '-i'] if is_interactive else [bash]
    if not is_interactive:
        environment['BASH_ENV'] = rc
    # Ctrl-C belongs to the shell; a handler, unlike SIG_IGN, is not handed on to it.
    before = signal.signal(signal.SIGINT, lambda *unused: None)
    process = None
    try:
        with held_signals():
            process = subprocess.Popen(words, env=environment)
        return process.wait()
    finally:
        if process is not None:
            _end(process)
        signal.signal(signal.SIGINT, before)


def _end(process: subprocess.Popen) -> None:
    """End a shell that outlived its terminal."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGHUP)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
