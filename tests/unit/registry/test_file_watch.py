"""Noticing that the file changed: by its status alone."""

import itertools
import os

import pytest

from registry.file_watch import FileWatch
from tests.unit.registry.helpers import other_program, run_child


def looks(watch, count):
    return [watch.has_changed() for _ in range(count)]


def build_watch(path):
    """A watch on whose clock a tenth of a second goes by at each look."""
    return FileWatch(path, clock=itertools.count(0.0, 0.1).__next__)


@pytest.fixture
def watch(registry):
    watch = build_watch(registry.path)
    assert looks(watch, 3) == [True, True, False]
    return watch


def test_file_that_rests_has_not_changed(registry, watch):
    registry.read()
    assert looks(watch, 2) == [False, False]


def test_commit_of_another_program_is_noticed_and_looked_at_twice(registry, watch):
    with other_program(registry.path) as other:
        other.execute("UPDATE pools SET description = 'x'")
    assert looks(watch, 3) == [True, True, False]


def test_change_during_the_second_look_is_looked_at_twice_again(registry, watch):
    os.utime(registry.path, ns=(1, 1))
    assert watch.has_changed()
    os.utime(registry.path, ns=(2, 2))
    assert looks(watch, 3) == [True, True, False]


def test_file_replaced_by_one_of_the_same_size_and_time_is_noticed(registry, watch):
    status = os.stat(registry.path)
    with open(registry.path + '.new', 'wb') as file:
        file.write(b'x' * status.st_size)
    os.utime(registry.path + '.new', ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(registry.path + '.new', registry.path)
    assert watch.has_changed()


def test_file_that_goes_and_comes_back_is_noticed_each_time(registry, watch):
    os.rename(registry.path, registry.path + '.away')
    assert looks(watch, 3) == [True, True, False]
    os.rename(registry.path + '.away', registry.path)
    assert looks(watch, 3) == [True, True, False]


def test_file_that_was_never_there_is_a_state_too(tmp_path):
    assert looks(build_watch(str(tmp_path / 'none')), 3) == [True, False, False]


def test_second_look_inside_a_tick_of_the_clock_does_not_count(registry):
    now = [0.0]
    watch = FileWatch(registry.path, clock=lambda: now[0])
    assert watch.has_changed()
    now[0] = 0.01
    assert looks(watch, 2) == [False, False]
    now[0] = 0.1
    assert looks(watch, 2) == [True, False]


def test_looking_keeps_the_locks_of_a_connection_in_this_process(registry, watch):
    with other_program(registry.path) as holder:
        holder.execute('BEGIN IMMEDIATE')
        watch.has_changed()
        status, output, errors = run_child(
            'import sqlite3, sys\n'
            'connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n'
            'try:\n'
            '    connection.execute("BEGIN IMMEDIATE")\n'
            'except sqlite3.OperationalError:\n'
            '    print("locked")\n'
            'connection.close()\n', registry.path)
        assert (status, output.strip()) == (0, 'locked'), errors
