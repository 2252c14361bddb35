"""What this host really runs: xenstore, and the arguments of a domain's QEMU.

Receipts ask here what a boot took. Nothing is written, no shell is started, and only paths that
the toolstack writes are followed, never one that a guest can write.
"""

import contextlib
import os
import re
import subprocess
import time
from typing import Any, Callable, Optional, Sequence, Tuple

from watcher.consumer.numbers_file import NumberFileInvalid
from watcher.consumer.run_directory import RunDirectory, read_instant
from watcher.errors import HostUnreadable
from watcher.loop.blocking import ask
from watcher.loop.steps import Steps, Wait

# xenstored answers in milliseconds, or hangs.
TIMEOUT_SECONDS = 2.0
# The largest pid that Linux can be configured to give.
MAX_PID = 4194304
# One value of xenstore, or a complaint.
MAX_OUTPUT_BYTES = 1 << 16
# Above what the kernel lets one program have as arguments in dom0.
MAX_CMDLINE_BYTES = 1 << 21

_NUMBER = re.compile(r'[0-9]{1,7}\Z')
_DOMID_OPTION = '-xen-domid'

# A program that has closed its output ends soon; a killed one is given so long.
_EXIT_SECONDS, _KILLED_SECONDS = 0.001, 0.02

# Program and time-out in; exit status, standard output and standard error out.
Runner = Callable[[Sequence[str], float], Steps[Tuple[int, bytes, bytes]]]


class _TooSlow(Exception):
    """A program did not end in time."""


def run_program(arguments: Sequence[str],
                timeout_seconds: float) -> Steps[Tuple[int, bytes, bytes]]:
    """Run a program to its end: exit status, standard output, standard error."""
    until = time.monotonic() + timeout_seconds
    program = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        output = yield from _read_pipe(program.stdout, until)
        complaint = yield from _read_pipe(program.stderr, until)
        while program.poll() is None:
            _check_time(until)
            yield Wait(time.monotonic() + _EXIT_SECONDS)
        return program.returncode, output, complaint
    finally:
        _end(program)


def _read_pipe(pipe: Any, until: float) -> Steps[bytes]:
    """What a program writes, up to MAX_OUTPUT_BYTES and a little more."""
    content = b''
    while len(content) < MAX_OUTPUT_BYTES:
        _check_time(until)
        yield Wait(until, pipe.fileno())
        _check_time(until)
        part = os.read(pipe.fileno(), MAX_OUTPUT_BYTES)
        if not part:
            break
        content += part
    return content


def _check_time(until: float) -> None:
    if time.monotonic() >= until:
        raise _TooSlow('it does not end')


def _end(program: Any) -> None:
    """Kill the program if it still runs; one that the kernel keeps alive is not waited for."""
    if program.poll() is None:
        program.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(_KILLED_SECONDS)
    program.stdout.close()
    program.stderr.close()


class Host:
    """Reads what the toolstack and the kernel of this host show; raises HostUnreadable."""

    def __init__(self, xenstore_read: str, proc: str, run_directory: str = '', *,
                 run: Runner = run_program, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._xenstore_read = xenstore_read
        self._proc = proc
        self._run_directory = RunDirectory(run_directory) if run_directory else None
        self._run = run
        self._timeout_seconds = timeout_seconds

    @property
    def is_available(self) -> bool:
        """Whether there is a program that reads xenstore here."""
        return os.path.isfile(self._xenstore_read) and os.access(self._xenstore_read, os.X_OK)

    def read_qemu_arguments(self, domid: int) -> Steps[Tuple[str, ...]]:
        """The arguments with which the domain's QEMU was started."""
        pid = yield from self._read_pid(domid)
        # Reading this can block for as long as the process hangs in the kernel.
        content = yield from self._read_in_thread(f'{pid}/cmdline', MAX_CMDLINE_BYTES)
        if not content:
            raise HostUnreadable(f'domain {domid}: process {pid} shows no arguments')
        words = tuple(word.decode('ascii', 'backslashreplace')
                      for word in content.rstrip(b'\0').split(b'\0'))
        return _check_domid(words, domid, pid)

    def read_delivered(self, domid: int) -> Steps[Optional[str]]:
        """The value that the consumer of this domain was given; None when it was given none."""
        return (yield from self._read_xenstore(domid, 'platform/device-model-args'))

    def read_vm_uuid(self, domid: int) -> Steps[Optional[str]]:
        """The UUID of the VM whose domain it is; None when xenstore does not say."""
        text = yield from self._read_xenstore(domid, 'vm')
        return text.rsplit('/', 1)[-1].lower() if text else None

    def is_withheld(self, domid: int) -> Steps[bool]:
        """Whether the consumer has left word that it withheld the span of this very domain."""
        try:
            marker = self._run_directory.read_marker(domid) if self._run_directory else None
        except (OSError, NumberFileInvalid):
            return False
        return (marker is not None and marker.boot_id == read_instant().boot_id
                and marker.vm_uuid == (yield from self.read_vm_uuid(domid)))

    def read_boot_id(self) -> str:
        """What tells this boot of the host from another; '' when the kernel does not say."""
        try:
            content = self._read_file('sys/kernel/random/boot_id', 100)
        except HostUnreadable:
            return ''
        return content.decode('ascii', 'replace').strip()

    def _read_pid(self, domid: int) -> Steps[int]:
        text = yield from self._read_xenstore(domid, 'qemu-pid')
        if text is None:
            raise HostUnreadable(f'domain {domid}: xenstore knows no qemu-pid')
        if not _NUMBER.match(text) or not 1 <= int(text) <= MAX_PID:
            raise HostUnreadable(f'domain {domid}: qemu-pid {text!r} is no process number')
        return int(text)

    def _read_xenstore(self, domid: int, key: str) -> Steps[Optional[str]]:
        """One value; None when xenstore-read says, by exit status 1, that there is none."""
        if not isinstance(domid, int) or domid < 0:
            raise HostUnreadable(f'{domid!r} is no domain number')
        path = f'/local/domain/{domid}/{key}'
        try:
            status, output, complaint = yield from self._run([self._xenstore_read, path],
                                                             self._timeout_seconds)
        except (OSError, _TooSlow) as error:
            raise HostUnreadable(f'{self._xenstore_read} {path}: {error}') from error
        if status not in (0, 1):
            reason = complaint[:200].decode('ascii', 'backslashreplace').strip()
            raise HostUnreadable(f'{self._xenstore_read} {path}: exit status {status}: {reason}')
        text = output.decode('ascii', 'backslashreplace')
        return None if status else text[:-1] if text.endswith('\n') else text

    def _read_in_thread(self, name: str, limit: int) -> Steps[bytes]:
        path = os.path.join(self._proc, name)
        try:
            return (yield from ask(lambda: _read(path, limit),
                                   time.monotonic() + self._timeout_seconds))
        except OSError as error:
            raise HostUnreadable(f'{path}: {error.strerror or error}') from error

    def _read_file(self, name: str, limit: int) -> bytes:
        path = os.path.join(self._proc, name)
        try:
            return _read(path, limit)
        except OSError as error:
            raise HostUnreadable(f'{path}: {error.strerror}') from error


def _read(path: str, limit: int) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read(limit)


def _check_domid(words: Tuple[str, ...], domid: int, pid: int) -> Tuple[str, ...]:
    """The words, unless they tell that the process number went to the QEMU of another domain."""
    for option, value in zip(words, words[1:]):
        if option == _DOMID_OPTION and value != str(domid):
            raise HostUnreadable(f'domain {domid}: process {pid} runs domain {value}')
    return words
