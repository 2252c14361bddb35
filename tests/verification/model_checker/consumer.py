"""The shipped consumer, run as the program that it is for each QEMU that comes up.

Its own code decides (deploy/qemu-wrapper). What it would read of the host comes from the world:
xenstore, the file of the numbers, the clock, the pause. The stock wrapper becomes QEMU at once.
"""

import contextlib
import functools
import os
import sys
import time
import types
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple
from unittest import mock

from tests.integration.qemu_wrapper.wrapper import WRAPPER, point_wrapper
from watcher.consumer.numbers_file import Numbers, parse_numbers, render_numbers
from watcher.consumer.run_directory import Instant
from watcher.vm.record import ARGS_KEY

BOOT_ID = '5c4b1c6e-0000-4000-8000-000000000001'
# How long the host was up when the daemon's clock began.
_UP_SECONDS = 1000.0
_DOMID = '7'
_QEMU = '/usr/lib64/xen/bin/qemu-system-i386'
_STOCK = ('#!/usr/bin/python3\nimport os, sys\nos.execv(%r, ["qemu-dm"] + sys.argv[1:])\n'
          % _QEMU).encode('ascii')


class Start(NamedTuple):
    """All that a start of a QEMU depends on."""
    value: Optional[str]
    """What XAPI carries."""
    vm_uuid: str
    is_restored: bool
    """It goes on with a saved state."""
    numbers: Optional[bytes]
    """The file in /run; None for none."""
    now: float
    """On CLOCK_BOOTTIME."""
    is_paused: bool


class Became(Exception):
    """The process has become another program."""


_parse_numbers = functools.lru_cache(maxsize=None)(parse_numbers)


class Guard(NamedTuple):
    """What the consumer of the host goes by."""
    numbers: Optional[bytes] = None
    """The file in /run; None for none."""
    dozed: float = 0.0
    """How long nobody has confirmed it, beyond what the daemon's clock tells."""
    is_paused: bool = False

    def at(self, now: float) -> Instant:
        """A time of the daemon's clock, on that of the host."""
        return Instant(BOOT_ID, _UP_SECONDS + now + self.dozed)

    def read(self, now: float) -> Tuple[Tuple[Tuple[int, str], ...], bool]:
        """The rows in the file, and whether they are confirmed: by the daemon's own reader."""
        if self.numbers is None:
            return (), False
        found = _parse_numbers(self.numbers)
        return found.rows, found.is_confirmed(*self.at(now))


class RunDirectory:
    """In the place of the directory in /run: the file is a part of the world."""

    path = '/run/vgpu-watcher'

    def __init__(self, read: Callable[[], Guard], write: Callable[[Guard], None]) -> None:
        self._read = read
        self._write = write

    def read_numbers(self) -> Optional[Numbers]:
        """As the real one."""
        content = self._read().numbers
        return None if content is None else _parse_numbers(content)

    def write_numbers(self, numbers: Numbers) -> None:
        """As the real one."""
        self._write(self._read()._replace(numbers=render_numbers(numbers)))

    def write_names(self, _content: bytes) -> None:
        """The consumer goes by no names."""

    def list_markers(self) -> Tuple[str, ...]:
        """What a marker would tell is told by the VM itself."""
        return ()


@functools.lru_cache(maxsize=None)
def list_added(start: Start) -> Tuple[str, ...]:
    """Run it: what QEMU got beside the arguments that xenopsd gave, which must all be there."""
    wrapper = _load()
    arguments = ['-xen-domid', _DOMID, '-m', '512'] + ['-loadvm', '/save'] * start.is_restored
    with _standing_in(wrapper, start):
        try:
            wrapper.main([WRAPPER] + arguments)
        except Became as became:
            program, words = became.args
    if program == wrapper.STOCK:
        return () if words == [program] + arguments else ('not unchanged',)
    assert (program, words[:1 + len(arguments)]) == (_QEMU, ['qemu-dm'] + arguments), words
    return tuple(words[1 + len(arguments):])


@functools.lru_cache(maxsize=None)
def _load() -> Any:
    wrapper = types.ModuleType('vgpu_qemu_wrapper')
    wrapper.__file__ = WRAPPER
    exec(compile(point_wrapper(), WRAPPER, 'exec'), wrapper.__dict__)
    return wrapper


@contextlib.contextmanager
def _standing_in(wrapper: Any, start: Start) -> Iterator[None]:
    """The world in the place of the host."""
    import subprocess
    popen, path = subprocess.Popen, list(sys.path)
    clock = types.SimpleNamespace(
        monotonic=time.monotonic, clock_gettime=lambda _clock: start.now)
    stand_ins = {
        'Xenstore': functools.partial(_Xenstore, start), 'time': clock,
        'read_stock': lambda: _STOCK, 'read_configuration': lambda: None,
        'read_boot_id': lambda: BOOT_ID, 'is_paused': lambda: start.is_paused,
        'read_root_file': lambda *_arguments: start.numbers,
        'leave_marker': lambda *_arguments: None, 'log': lambda *_arguments: None}
    try:
        with mock.patch.multiple(wrapper, **stand_ins), \
                mock.patch.multiple(os, execv=_become, execve=_become), \
                mock.patch.object(sys, 'argv', list(sys.argv)):
            yield
    finally:
        subprocess.Popen = popen  # type: ignore
        sys.path[:] = path


def _become(program: str, words: List[str], *_environment: Any) -> None:
    raise Became(program, list(words))


class _Xenstore:
    """A value of xenstore, there at once."""

    def __init__(self, start: Start, path: str, _deadline: float) -> None:
        values = {'platform/' + ARGS_KEY: start.value, 'vm': '/vm/' + start.vm_uuid}
        self._value = values[path.partition('/local/domain/%s/' % _DOMID)[2]]

    def read(self) -> Optional[str]:
        """As the real one."""
        return self._value

    def close(self) -> None:
        """As the real one."""
