"""make playground: start a simulated pool with the service, run a shell in it, clean up.

Whatever ends it (`exit`, Ctrl-C, a closed terminal, SIGTERM), nothing that it started or wrote is
left behind.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile

from simulator.playground import files
from simulator.playground.held_signals import ENDING_SIGNALS, held_signals
from simulator.playground.programs import Failed, Programs
from simulator.playground.shell import find_bash, run_shell

# A socket's path has 107 bytes at most, and ours adds 13 to that of the directory.
LONGEST_PLACE = 80
WELCOME = '''A simulated pool: 12 VMs on 2 hosts, vgpu-watcher on both. No VM is registered. Try:
  xe vm-list                                          what is there
  vgpu-admin register-vm web01 --pool=A               give a VM its vGPU arguments
  xe vm-start vm=web01 ; vgpu-admin explain web01     start it, and see what it booted with
  vgpu-admin set-priority web01 --priority=high       change it while it runs
  vgpu-admin status                                   what waits, what is wrong, what to do
docs/tutorial.md goes on from here, in ten minutes. `exit` ends it and removes everything.
'''


def main() -> int:
    """Run the playground; what a shell that reads from a pipe ended with, otherwise 0."""
    bash = find_bash()
    if bash is None:
        print('The playground needs bash, and there is none on the PATH: install it.',
              file=sys.stderr)
        return 1
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _leave)
    place, programs = '', None
    try:
        with held_signals():
            place = make_place()
            programs = Programs(place)
        return play(programs, place, bash)
    except Failed as error:
        print(f'The playground could not start: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        # A second Ctrl-C must not leave half of it behind.
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if programs is not None:
            programs.close()
            shutil.rmtree(place, ignore_errors=True)


def play(programs: Programs, place: str, bash: str) -> int:
    """Start the pool, say what to try, and hand over to the shell."""
    is_interactive = sys.stdin.isatty()
    files.write_files(place)
    if is_interactive:
        print('Starting a simulated pool …' if _can_print('…') else 'Starting a simulated pool',
              flush=True)
    programs.start()
    print(WELCOME, flush=True)
    status = run_shell(bash, place, is_interactive=is_interactive)
    if not is_interactive:
        return status
    with contextlib.suppress(OSError):
        print('The playground is closed; nothing of it is left.', flush=True)
    return 0


def make_place() -> str:
    """Make the directory of the playground, with a path that is short enough for sockets."""
    place = tempfile.mkdtemp(prefix='vgpu-playground-')
    if len(os.fsencode(place)) > LONGEST_PLACE:
        os.rmdir(place)
        place = tempfile.mkdtemp(prefix='vgpu-playground-', dir='/tmp')
    return place


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or 'ascii')
    except UnicodeEncodeError:
        return False
    return True


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == '__main__':
    sys.exit(main())
