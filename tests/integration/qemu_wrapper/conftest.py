"""A directory that stands for dom0: the wrapper, a stock wrapper, xenstore, QEMU and syslog."""

import os
import socket
import subprocess
import sys
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import pytest

from tests.integration.qemu_wrapper.stock import OLD, Stock, program
from tests.integration.qemu_wrapper.wrapper import point_wrapper
from watcher.consumer.numbers_file import Numbers, render_numbers

DOMID = '7'
BOOT_ID = '5c4b1c6e-0000-4000-8000-000000000001'
# As xenopsd gives them: the number first, then what is QEMU's.
ARGUMENTS = [DOMID, '-m', '1024', '-xen-domid', DOMID, '-netdev', 'type=tap,id=n0', '-monitor',
             'null']


class Boot(NamedTuple):
    """What became of one run of the wrapper."""

    status: int
    said: str
    qemu: Optional[List[str]]
    """The arguments of QEMU behind its name; None when it did not start."""
    seconds: float

    @property
    def stock(self) -> List[str]:
        """What QEMU gets when nobody adds anything."""
        return (['-machine', 'pc'] + ARGUMENTS[1:]
                + ['-device', 'cirrus-vga,addr=2', '-xen-domid-restrict', '-runas', '1:1'])

    @property
    def added(self) -> List[str]:
        """What QEMU has behind the arguments of the stock wrapper."""
        assert self.qemu is not None and self.qemu[:len(self.stock)] == self.stock, self
        return self.qemu[len(self.stock):]


class Dom0:
    """The programs and files that the wrapper meets, each as a test wants it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        # dom0 has 3.6; with this in the environment all tests here run the wrappers with it.
        self.python = os.environ.get('VGPU_CONSUMER_PYTHON', sys.executable)
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._syslog.bind(self.path('log'))
        self._syslog.setblocking(False)
        self.record = self.path('qemu-arguments')
        # NUL behind each, so that no argument can look like two.
        program(self.path('qemu-system-i386'), '#!/bin/sh\n[ "$*" = -version ] && '
                'exec echo "QEMU emulator version 10.1.0"\n'
                'printf "%%s\\0" "$@" > %s.part && mv %s.part %s\n'
                'echo "preload $LD_PRELOAD_OF_QEMU"\n'
                % (self.record, self.record, self.record))
        program(self.path('logger'), '#!/bin/sh\ncat > %s\necho logged "$@"\n'
                % self.path('logged'))
        program(self.path('clipboardd'), '#!/bin/sh\necho "$@" > %s\n' % self.path('clipboard'))
        # What lies beside the stock wrapper must be found by it.
        self.write('limits.py', 'LIMIT = 3\n')
        self.write('xenstore.py', 'import subprocess\n\n\ndef read(path):\n'
                   '    return subprocess.run([%r, path], stdout=subprocess.PIPE)'
                   '.stdout.decode()\n' % self.path('xenstore-read'))
        self.write('boot_id', BOOT_ID + '\n')
        os.mkdir(self.path('run'), 0o700)
        self.set_stock(OLD.render(directory))
        self.set_value(None)

    def path(self, name: str) -> str:
        """Where something lies."""
        return os.path.join(self.directory, name)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        with open(self.path(name), 'w', encoding='utf-8') as stream:
            stream.write(text)

    def set_stock(self, text: Any) -> None:
        """Make this the stock wrapper; it runs with the Python of the test."""
        text = text.render(self.directory) if isinstance(text, Stock) else text
        python = os.path.join(os.path.dirname(self.python), 'python3')
        program(self.path('qemu-wrapper'), text.replace('#! /usr/bin/python3', '#! ' + python, 1))

    def set_value(self, value: Any, vm: Any = None) -> None:
        """Put a value into xenstore, and what it says of the domain's VM; None for none."""
        paths = {'value': 'platform/device-model-args', 'vm': 'vm'}
        script = ''
        for name, item in (('value', value), ('vm', vm)):
            if item is None:
                continue
            content = item if isinstance(item, bytes) else item.encode('utf-8')
            with open(self.path(name), 'wb') as stream:
                stream.write(content + b'\n')
            script += '[ "$*" = /local/domain/%s/%s ] && exec cat %s\n' % (
                DOMID, paths[name], self.path(name))
        self.set_xenstore(script + 'echo "no such path" >&2; exit 1')

    def set_xenstore(self, script: str) -> None:
        """Make xenstore-read do something else."""
        program(self.path('xenstore-read'), '#!/bin/sh\n%s\n' % script)

    def set_numbers(self, rows: Sequence[Tuple[int, str]], age: float = 1.0,
                    boot_id: str = BOOT_ID) -> None:
        """Write the file of the numbers, as the daemon does."""
        at = time.clock_gettime(7) - age
        content = render_numbers(Numbers(tuple(rows), boot_id, at, 'pool', '1'))
        with open(self.path('run/numbers'), 'wb') as stream:
            stream.write(content)
        os.chmod(self.path('run/numbers'), 0o600)

    def install(self, timeout_seconds: float = 10.0, **constants: Any) -> str:
        """Our wrapper, as it is shipped but for where things lie and how long it is patient."""
        text = point_wrapper(**dict(
            dict(STOCK=self.path('qemu-wrapper'), XENSTORE_READ=self.path('xenstore-read'),
                 CONFIGURATION=self.path('watcher.conf'), SYSLOG=self.path('log'),
                 BOOT_ID=self.path('boot_id'), RUN=self.path('run'),
                 TIMEOUT_SECONDS=timeout_seconds), **constants))
        os.makedirs(self.path('ours'), exist_ok=True)
        program(self.path('ours/vgpu-qemu-wrapper'), text)
        return self.path('ours/vgpu-qemu-wrapper')

    def boot(self, arguments: Optional[List[str]] = None, timeout_seconds: float = 10.0,
             wrapper: Optional[str] = None) -> Boot:
        """Run the wrapper as xenopsd does, to its end."""
        wrapper = wrapper or self.install(timeout_seconds)
        with open(wrapper, encoding='utf-8') as stream:
            flags = stream.readline().split()[1:]
        began_at = time.monotonic()
        process = subprocess.run(
            [self.python] + flags + [wrapper]
            + (ARGUMENTS if arguments is None else arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=60)
        seconds = time.monotonic() - began_at
        return Boot(process.returncode, process.stdout.decode('utf-8', 'replace'),
                    self._read_record(), seconds)

    def read_log(self) -> List[str]:
        """The lines that syslog got."""
        lines = []
        while True:
            try:
                lines.append(self._syslog.recv(65536).decode('ascii'))
            except BlockingIOError:
                return lines

    def close(self) -> None:
        """Close what is open."""
        self._syslog.close()

    def _read_record(self) -> Optional[List[str]]:
        try:
            with open(self.record, 'rb') as stream:
                return stream.read().decode('utf-8', 'surrogateescape').split('\0')[:-1]
        except FileNotFoundError:
            return None


@pytest.fixture
def dom0(tmp_path: Any) -> Iterator[Dom0]:
    """A dom0 with a stock wrapper, and no value in xenstore."""
    built = Dom0(str(tmp_path))
    yield built
    built.close()
