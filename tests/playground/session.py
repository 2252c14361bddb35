"""A playground that a test drives, by a pipe or by a terminal."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from typing import Any, Dict, List, Tuple

from tests.support import programs

PATIENCE_SECONDS = 120.0
COLUMNS = 100
PROMPT = re.compile(rb'(?:^|\n)\[playground [^\]\n]*\]\$ \Z')
_END = re.compile(rb'\x1e(\d+)\n\Z')


class Session:
    """One playground: what it has said so far, and a way to speak to it."""

    def __init__(self) -> None:
        # Everything that it leaves behind would lie in here.
        self.temporary = tempfile.mkdtemp(prefix='vgpu')
        self.said = b''

    def start(self, **options: Any) -> subprocess.Popen:
        """Start the program in a session of its own, as a terminal does."""
        environment = dict(os.environ, TMPDIR=self.temporary, PYTHONPATH=os.pathsep.join(
            filter(None, [programs.ROOT, os.environ.get('PYTHONPATH')])),
            TERM='dumb', NO_COLOR='1', **programs.UTF_8)
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'simulator.playground'], cwd=programs.ROOT, env=environment,
            start_new_session=True, **options)
        return self.process

    def read_until(self, pattern: 're.Pattern', descriptor: int) -> bytes:
        """Read until what was said since the last time fits; all of that."""
        heard, deadline = b'', time.monotonic() + PATIENCE_SECONDS
        while not pattern.search(heard):
            ready = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
            part = os.read(descriptor, 65536) if ready else b''
            assert part, 'it ended, or said no more, after %r' % (self.said + heard)
            heard += part.replace(b'\r\n', b'\n')
        self.said += heard
        return heard

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(PATIENCE_SECONDS)

    def list_left(self) -> Tuple[List[str], List[str]]:
        """What it left behind: files, and the command lines of processes."""
        return os.listdir(self.temporary), list_processes(self.temporary)

    def close(self) -> None:
        """End it, however the test went."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)
        shutil.rmtree(self.temporary, ignore_errors=True)


class PipeSession(Session):
    """One whose shell reads its commands from a pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.run(':')

    def run(self, command: str) -> Tuple[int, str]:
        """Run a command: exit status, and all that it printed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write((command + "\nprintf '\\036%d\\n' $?\n").encode('utf-8'))
        self.process.stdin.flush()
        heard = self.read_until(_END, self.process.stdout.fileno())
        status = _END.search(heard)
        assert status is not None
        return int(status.group(1)), heard[:status.start()].decode('utf-8')

    def exit(self, status: int = 0) -> int:
        """Leave the shell; the exit status of the playground."""
        assert self.process.stdin is not None
        self.process.stdin.write(b'exit %d\n' % status)
        self.process.stdin.flush()
        return self.wait()

    def close(self) -> None:
        """End it, and close the pipes."""
        super().close()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class TerminalSession(Session):
    """One on a terminal, as a person has it."""

    def __init__(self) -> None:
        super().__init__()
        self.terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 50, COLUMNS, 0, 0))
        self._is_open = True
        try:
            self.start(stdin=theirs, stdout=theirs, stderr=theirs,
                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        finally:
            os.close(theirs)

    def wait_for_prompt(self) -> str:
        """Wait until the shell is ready; what was said before."""
        heard = self.read_until(PROMPT, self.terminal)
        return PROMPT.sub(b'\n', heard).decode('utf-8')

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.terminal, text.encode('utf-8'))

    def run(self, command: str) -> Tuple[int, str]:
        """Run a command: exit status, and all that it printed."""
        self.type(command + '\n')
        _echo, _, printed = self.wait_for_prompt().partition('\n')
        self.type('echo $?\n')
        status = self.wait_for_prompt().split('\n')[1]
        return int(status), printed.lstrip('\n') if printed == '\n' else printed

    def hang_up(self) -> None:
        """Close the terminal's window."""
        self._is_open = False
        os.close(self.terminal)

    def close(self) -> None:
        """End it, and close the terminal."""
        if self._is_open:
            self.hang_up()
        super().close()


def list_processes(place: str) -> List[str]:
    """Command lines of processes that name a directory, or whose environment does."""
    return [line for line in read_processes().values() if place in line]


def read_processes() -> Dict[str, str]:
    """Command line and environment of each process that can be read."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            found[pid] = ' '.join(open_text('/proc/%s/%s' % (pid, name))
                                  for name in ('cmdline', 'environ'))
        except OSError:
            continue  # it has ended meanwhile
    return found


def open_text(path: str) -> str:
    """The text of a file of /proc, with blanks for its zeros."""
    with open(path, encoding='utf-8', errors='replace') as stream:
        return stream.read().replace('\0', ' ')
