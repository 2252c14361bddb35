"""What the consumer adds to the start of a QEMU: with it and without, one after the other.

Under Python 3.6, which dom0 has, where pyenv has one; otherwise under the newest there is. An
imitation of the stock wrapper starts a QEMU that is a shell script; xenstore-read is compiled, as
the real one is, or a shell script where there is no compiler.
"""

import os
import resource
import shutil
import subprocess
import tempfile
import time
from typing import Any, List, NamedTuple, Optional, Tuple

from benchmarks.figures import Figure, compare, summarise
from tests.integration.qemu_wrapper.conftest import ARGUMENTS, Dom0
from tests.integration.qemu_wrapper.stock import OLD, program

ROUNDS = 40
ROWS = 1000
OWNER = '0000000a-0000-4000-8000-000000000000'
THIEF = 'ffffffff-0000-4000-8000-000000000000'
SPAN = '-device vgpu-stub,pool_id=B,priority=high,vm_id=10'
READER = r'''#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
    char value[2000];
    FILE *file = fopen(count > 1 && strstr(words[1], "/platform/") ? "%s" : "%s", "r");
    if (!file) return 1;
    fwrite(value, 1, fread(value, 1, sizeof value, file), stdout);
    return 0;
}
'''


def run() -> List[Figure]:
    """Measure starts with no value, with one, and with one that is withheld."""
    python, version = find_python()
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        bench = Bench(directory, python)
        try:
            title = f'What the consumer adds to the start of a QEMU, Python {version}'
            figures = []
            for what, value, vm in (('a VM without a vGPU', None, OWNER),
                                    ('a registered VM', SPAN, OWNER),
                                    ('a VM whose number is withheld', SPAN, THIEF)):
                added = bench.measure(value, vm)
                figures += [
                    summarise(title, what, 'ms', [item.seconds * 1000 for item in added],
                              'at most 60', 60.0),
                    # What a machine that has other things to do does not change much.
                    summarise(title, what + ': processor time', 'ms',
                              [item.processor * 1000 for item in added])]
            return figures + [compare(title, 'with an xenstore that hangs',
                                      bench.measure_hanging(), 'at most 450 + 60', most=510.0,
                                      unit='ms')]
        finally:
            bench.dom0.close()


def find_python() -> Tuple[str, str]:
    """The interpreter that is nearest to dom0's, and its version."""
    paths = [os.path.expanduser('~/.pyenv/versions/3.6.15/bin/python3'),
             shutil.which('python3.6'), shutil.which('python3')]
    path = next(item for item in paths if item and os.access(item, os.X_OK))
    text = subprocess.check_output([path, '-c', 'import platform; '
                                    'print(platform.python_version())'])
    return path, text.decode('ascii').strip()


class Cost(NamedTuple):
    """What one start took."""
    seconds: float
    processor: float
    """Seconds of a processor, of all programs that took part."""


class Bench:
    """A dom0 in a directory, and two wrappers in it that are run in turn."""

    def __init__(self, directory: str, python: str) -> None:
        self.dom0 = Dom0(directory)
        self._stock, self._ours = self.dom0.path('qemu-wrapper'), self.dom0.path('ours-as-shipped')
        program(self._stock, OLD.render(directory).replace('#! /usr/bin/python3', '#! ' + python))
        with open(self.dom0.install(0.4), encoding='utf-8') as stream:
            text = stream.read()
        program(self._ours, text.replace('#!/usr/bin/python3', '#!' + python, 1))
        # As it is shipped: reading it is part of each start.
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        shutil.copy(os.path.join(root, 'deploy/vgpu-watcher.conf'), self.dom0.path('watcher.conf'))
        with open(self.dom0.path('watcher.conf'), encoding='utf-8') as stream:
            text = stream.read()
        self.dom0.write('watcher.conf', text.replace('/run/vgpu-watcher', self.dom0.path('run')))

    def measure(self, value: Optional[str], vm: str) -> List[Cost]:
        """What ours took more than the stock wrapper, start by start."""
        self._set_xenstore(value, vm)
        self._set_numbers()
        self._time(self._stock), self._time(self._ours)
        return [self._compare() for _round in range(ROUNDS)]

    def measure_hanging(self) -> float:
        """The median of a few starts for which xenstore gives no answer at all."""
        self.dom0.set_xenstore('exec sleep 600')
        found = sorted(self._compare().seconds * 1000 for _round in range(9))
        return found[len(found) // 2]

    def _compare(self) -> Cost:
        ours, stock = self._time(self._ours), self._time(self._stock)
        return Cost(ours.seconds - stock.seconds, ours.processor - stock.processor)

    def _set_numbers(self) -> None:
        self.dom0.set_numbers([(number, f'{number:08x}-0000-4000-8000-000000000000')
                               for number in range(1, ROWS + 1)])

    def _set_xenstore(self, value: Optional[str], vm: str) -> None:
        self.dom0.set_value(value, '/vm/' + vm)
        compiler = shutil.which('cc') or shutil.which('gcc')
        if compiler is None:
            return
        if value is None and os.path.exists(self.dom0.path('value')):
            os.unlink(self.dom0.path('value'))
        self.dom0.write('reader.c', READER % (self.dom0.path('value'), self.dom0.path('vm')))
        subprocess.check_call([compiler, '-O1', '-o', self.dom0.path('xenstore-read'),
                               self.dom0.path('reader.c')])

    def _time(self, path: str) -> Cost:
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done: Any = subprocess.run([path] + ARGUMENTS, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f'{path} failed: {done.stdout}')
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
