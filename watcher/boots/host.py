"""What this host really runs: xenstore, and the arguments of a domain's QEMU.

Receipts ask here what a boot took. Nothing is written, no shell is started, and only paths that
the toolstack writes are followed, never one that a guest can write.
"""

import os
import re
import subprocess
from typing import Callable, Optional, Sequence, Tuple

from watcher.consumer.numbers_file import NumberFileInvalid
from watcher.consumer.run_directory import RunDirectory, read_instant
from watcher.errors import HostUnreadable

# xenstored answers in milliseconds, or hangs.
TIMEOUT_SECONDS = 2.0
# The largest pid that Linux can be configured to give.
MAX_PID = 4194304
# Above what the kernel lets one program have as arguments in dom0.
MAX_CMDLINE_BYTES = 1 << 21

_NUMBER = re.compile(r'[0-9]{1,7}\Z')
_DOMID_OPTION = '-xen-domid'

# Program and time-out in; exit status, standard output and standard error out.
Runner = Callable[[Sequence[str], float], Tuple[int, bytes, bytes]]


def run_program(arguments: Sequence[str], timeout_seconds: float) -> Tuple[int, bytes, bytes]:
    """Run a program to its end: exit status, standard output, standard error."""
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout_seconds)
    return done.returncode, done.stdout, done.stderr


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

    def read_qemu_arguments(self, domid: int) -> Tuple[str, ...]:
        """The arguments with which the domain's QEMU was started."""
        pid = self._read_pid(domid)
        content = self._read_file('%d/cmdline' % pid, MAX_CMDLINE_BYTES)
        if not content:
            raise HostUnreadable('domain %d: process %d shows no arguments' % (domid, pid))
        words = tuple(word.decode('ascii', 'backslashreplace')
                      for word in content.rstrip(b'\0').split(b'\0'))
        return _check_domid(words, domid, pid)

    def read_delivered(self, domid: int) -> Optional[str]:
        """The value that the consumer of this domain was given; None when it was given none."""
        return self._read_xenstore(domid, 'platform/device-model-args')

    def read_vm_uuid(self, domid: int) -> Optional[str]:
        """The UUID of the VM whose domain it is; None when xenstore does not say."""
        text = self._read_xenstore(domid, 'vm')
        return text.rsplit('/', 1)[-1].lower() if text else None

    def is_withheld(self, domid: int) -> bool:
        """Whether the consumer has left word that it withheld the span of this very domain."""
        try:
            marker = self._run_directory.read_marker(domid) if self._run_directory else None
        except (OSError, NumberFileInvalid):
            return False
        return (marker is not None and marker.boot_id == read_instant().boot_id
                and marker.vm_uuid == self.read_vm_uuid(domid))

    def read_boot_id(self) -> str:
        """What tells this boot of the host from another; '' when the kernel does not say."""
        try:
            content = self._read_file('sys/kernel/random/boot_id', 100)
        except HostUnreadable:
            return ''
        return content.decode('ascii', 'replace').strip()

    def _read_pid(self, domid: int) -> int:
        text = self._read_xenstore(domid, 'qemu-pid')
        if text is None:
            raise HostUnreadable('domain %d: xenstore knows no qemu-pid' % domid)
        if not _NUMBER.match(text) or not 1 <= int(text) <= MAX_PID:
            raise HostUnreadable('domain %d: qemu-pid %r is no process number' % (domid, text))
        return int(text)

    def _read_xenstore(self, domid: int, key: str) -> Optional[str]:
        """One value; None when xenstore-read says, by exit status 1, that there is none."""
        if not isinstance(domid, int) or domid < 0:
            raise HostUnreadable('%r is no domain number' % (domid,))
        path = '/local/domain/%d/%s' % (domid, key)
        try:
            status, output, complaint = self._run([self._xenstore_read, path],
                                                  self._timeout_seconds)
        except (OSError, subprocess.SubprocessError) as error:
            raise HostUnreadable('%s %s: %s' % (self._xenstore_read, path, error)) from error
        if status not in (0, 1):
            raise HostUnreadable('%s %s: exit status %d: %s' % (
                self._xenstore_read, path, status,
                complaint[:200].decode('ascii', 'backslashreplace').strip()))
        text = output.decode('ascii', 'backslashreplace')
        return None if status else text[:-1] if text.endswith('\n') else text

    def _read_file(self, name: str, limit: int) -> bytes:
        path = os.path.join(self._proc, name)
        try:
            with open(path, 'rb') as stream:
                return stream.read(limit)
        except OSError as error:
            raise HostUnreadable('%s: %s' % (path, error.strerror)) from error


def _check_domid(words: Tuple[str, ...], domid: int, pid: int) -> Tuple[str, ...]:
    """The words, unless they tell that the process number went to the QEMU of another domain."""
    for option, value in zip(words, words[1:]):
        if option == _DOMID_OPTION and value != str(domid):
            raise HostUnreadable('domain %d: process %d runs domain %s' % (domid, pid, value))
    return words
