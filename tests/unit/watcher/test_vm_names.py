"""The file of names that completion reads: what stands in it, and when it is written."""

import os
import stat
from typing import Any, List

import pytest

from tests.unit.watcher.builders import build_vm
from watcher.consumer.run_directory import NAMES, RunDirectory
from watcher.vm.record import VmKind
from watcher.vm_names import LOOK_SECONDS, MAX_BYTES, VmNames, render_names


class Bench:
    """The names of a pool, kept in a directory."""

    def __init__(self, path: str) -> None:
        self.path = os.path.join(path, NAMES)
        self.names = VmNames()
        self.names.use(RunDirectory(path))

    def read(self) -> List[str]:
        """What stands in the file."""
        with open(self.path, encoding='utf-8') as stream:
            return stream.read().splitlines()

    def attend(self, now: float, *names: str) -> List[str]:
        """One turn of the main loop with these VMs; what stands in the file after it."""
        self.names.attend(now, [build_vm(name=name) for name in names])
        return self.read()


@pytest.fixture
def bench(tmp_path: Any) -> Bench:
    return Bench(str(tmp_path / 'run'))


def test_names_are_written_whole_and_for_root_alone(bench: Bench) -> None:
    assert bench.attend(0.0, 'web', 'db', 'web') == ['db', 'web']
    assert stat.S_IMODE(os.stat(bench.path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(bench.path)) == [NAMES]


def test_names_are_looked_at_now_and_then_and_written_when_they_changed(bench: Bench) -> None:
    bench.attend(0.0, 'web')
    assert bench.attend(LOOK_SECONDS - 1.0, 'web', 'db') == ['web']
    assert bench.attend(LOOK_SECONDS, 'web', 'db') == ['db', 'web']
    written = os.stat(bench.path).st_ino
    bench.attend(2 * LOOK_SECONDS, 'db', 'web')
    assert os.stat(bench.path).st_ino == written
    bench.attend(3 * LOOK_SECONDS, 'db')
    assert os.stat(bench.path).st_ino != written


def test_only_ordinary_vms_are_named(bench: Bench) -> None:
    bench.names.attend(0.0, [build_vm(name='copy', kind=VmKind.SNAPSHOT), build_vm(name='web'),
                             build_vm(name='Debian', kind=VmKind.TEMPLATE)])
    assert bench.read() == ['web']


def test_hostile_names_are_left_out_and_the_file_is_bounded() -> None:
    names = ['', 'a\nb', '\x1b[2J', 'x' * 101, '\u202eweb', '\ud800', 'é', 'x' * 100]
    assert render_names(names).decode('utf-8').splitlines() == ['x' * 100, 'é']
    many = render_names('n%099d' % number for number in range(10000))
    assert MAX_BYTES - 101 <= len(many) <= MAX_BYTES and many.endswith(b'\n')


def test_directory_that_cannot_be_used_costs_nothing_but_the_file(tmp_path: Any) -> None:
    (tmp_path / 'run').write_text('a file')
    names = VmNames()
    names.use(RunDirectory(str(tmp_path / 'run')))
    names.attend(0.0, [build_vm(name='web')])
    names.use(None)
    names.attend(100.0, [build_vm(name='web')])
    assert os.listdir(str(tmp_path)) == ['run']
