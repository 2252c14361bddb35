"""Who reads device-model-args on a host: the shipped wrapper, run as a program, or others.

`working` is the shipped wrapper around an imitation of the stock one, `paused` the same with its
pause, `patched` a stock wrapper patched by hand, `beside` ours in front of that one, `off` the
stock wrapper alone. `reading` and `shell` run nothing: they split the value in here, for tens of
thousands of boots; so does `working` without a host directory or a wrapper to run.
"""

import contextlib
import os
import shlex
from typing import Any, Dict, List, NamedTuple, Optional

from simulator.hypervisor.wrapper_runner import PATIENCE_SECONDS, RUNNER

RUNNING = ('working', 'paused', 'patched', 'beside')
CONSUMERS = RUNNING + ('off', 'reading', 'shell')
_HERE = os.path.dirname(os.path.abspath(__file__))
SHIPPED = os.path.join(os.path.dirname(os.path.dirname(_HERE)),
                       'deploy/qemu-wrapper/vgpu-qemu-wrapper')
MAX_NAME = 255  # an argument has a limit, and a name has none
MACHINE = 'pc-i440fx-2.10,accel=xen,max-ram-below-4g=4026531840'
STOCK = '''#!/usr/bin/python3
# An imitation of the stock qemu-wrapper, by the simulator.
import subprocess
import sys
argv = sys.argv[1:]
qemu_args = ['qemu-dm-' + argv[0], '-machine', {machine!r}] + argv[1:]
qemu_args += ['-device', 'VGA,vgamem_mb=8,addr=2,romfile=', '-S', '-priv']
{patch}
sys.exit(subprocess.Popen(qemu_args, executable={qemu!r}).wait())
'''
# What an administrator wrote into it by hand.
PATCH = '''
extra = subprocess.Popen([{reader!r}, '/local/domain/' + argv[0] + '/platform/device-model-args'],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).communicate()[0]
qemu_args += extra.decode('utf-8', 'replace').split()
'''
QEMU = '''#!/bin/sh
printf '%s\\0' "$@" > "$SIMULATED_QEMU"
'''


class ConsumerCrashed(Exception):
    """The wrapper died on the value, before QEMU started."""


class Start(NamedTuple):
    """A QEMU that is to be started."""
    domid: int
    name: str
    value: Optional[str]
    is_restored: bool


def render_arguments(start: Start, consumer: str) -> List[str]:
    """Build QEMU's argument list without running anything."""
    return ([f'qemu-dm-{start.domid}', '-machine', MACHINE] + list_given(start)
            + ['-device', 'VGA,vgamem_mb=8,addr=2,romfile=', '-S', '-priv']
            + split_value(start.value, consumer))


def list_given(start: Start) -> List[str]:
    """List what xenopsd gives to the wrapper behind the number of the domain."""
    given = ['-xen-domid', str(start.domid), '-m', 'size=8176', '-smp', '4,maxcpus=4', '-vnc',
             f'unix:/var/run/xen/vnc-{start.domid},lock-key-sync=off', '-name',
             start.name.replace('\0', '')[:MAX_NAME]]
    if start.is_restored:
        given += ['-loadvm', f'/var/lib/xen/qemu-resume.{start.domid}']
    return given


def split_value(value: Optional[str], consumer: str) -> List[str]:
    """Split the value as the consumer in use does; without a consumer nothing comes of it."""
    if not value or consumer == 'off':
        return []
    if consumer == 'shell':
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ConsumerCrashed(str(error)) from error
    return value.split()


class Wrapper:
    """The wrappers of one host, on disk."""

    def __init__(self, directory: str, path: Optional[str], configuration: Optional[str]) -> None:
        self._directory = os.path.abspath(directory)
        self._path = os.path.abspath(path or SHIPPED)
        self._configuration = configuration or self._place('vgpu-watcher.conf')
        self._has_paused = False
        if self.can_run:
            self._write_programs()

    @property
    def can_run(self) -> bool:
        """Ask whether there is a wrapper to run: an installed simulator may lack one."""
        return os.path.exists(self._path)

    def run(self, start: Start, consumer: str) -> List[str]:
        """Start a QEMU through the wrapper; return the arguments that it got."""
        record = self._place('qemu', str(start.domid))
        request = self._build_request(start, consumer, record)
        status = RUNNER.run(request)
        try:
            with open(record, 'rb') as stream:
                words = stream.read().decode('utf-8', 'surrogateescape').split('\0')[:-1]
            os.unlink(record)
        except FileNotFoundError as error:
            raise ConsumerCrashed(f'status {status}') from error
        return [f'qemu-dm-{start.domid}'] + words

    def _place(self, *names: str) -> str:
        return os.path.join(self._directory, *names)

    def _build_request(self, start: Start, consumer: str, record: str) -> Dict[str, Any]:
        is_patched = consumer in ('patched', 'beside')
        self._set_pause(consumer)
        given = [str(start.domid)] + list_given(start)
        constants: Dict[str, Any] = {
            'STOCK': self._place('stock', 'patched' if is_patched else 'qemu-wrapper'),
            'XENSTORE_READ': self._place('bin', 'xenstore-read'),
            'CONFIGURATION': self._configuration, 'SYSLOG': self._place('log'),
            'TIMEOUT_SECONDS': PATIENCE_SECONDS}
        if not os.path.exists(self._configuration):
            # A configuration leads to the /run beside its /proc.
            constants['RUN'] = self._place('run', 'vgpu-watcher')
        return {
            'wrapper': None if consumer == 'patched' else self._path,
            'stock': constants['STOCK'],
            'arguments': [word.encode('utf-8', 'surrogatepass').decode('latin-1')
                          for word in given],
            'environment': {'SIMULATED_QEMU': record},
            'constants': constants}

    def _set_pause(self, consumer: str) -> None:
        """Have the pause lie beside the configuration, as `vgpu-admin consumer pause` puts it."""
        if (consumer == 'paused') == self._has_paused:
            return
        path = os.path.join(os.path.dirname(self._configuration), 'consumer.paused')
        self._has_paused = not self._has_paused
        if self._has_paused:
            with open(path, 'w', encoding='utf-8'):
                return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _write_programs(self) -> None:
        for name in ('stock', 'qemu', 'bin'):
            os.makedirs(self._place(name), exist_ok=True)
        qemu, reader = self._place('bin', 'qemu-system-i386'), self._place('bin', 'xenstore-read')
        for name, patch in (('qemu-wrapper', ''), ('patched', PATCH.format(reader=reader))):
            write_program(self._place('stock', name), STOCK.format(
                machine=MACHINE, patch=patch, qemu=qemu))
        write_program(qemu, QEMU)


def write_program(path: str, text: str) -> None:
    """Write a program that every user may run."""
    with open(path + '.new', 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(path + '.new', 0o755)
    os.rename(path + '.new', path)
