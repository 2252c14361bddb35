"""docs/reference says what is so: its tests exist, its figures and orders are those recorded."""

import glob
import json
import os
import re

import pytest

from simulator.__main__ import build_parser
from tests.support.documents import (ROOT, find_named_tests, find_rows, list_missing_tests, read,
                                     read_tables)

FOLDER = 'docs/reference'
PROMISES = FOLDER + '/promises.md'
BOOT_PATH = FOLDER + '/boot-path.md'
RECORDED = os.path.join(ROOT, 'tests/fixtures/real-xapi')
RELEASES = ('26.17', '26.1.4')
ROOTS = ('watcher', 'registry', 'cli', 'deploy', 'simulator', 'tests', 'docs', 'benchmarks')


def read_recording(release, name):
    with open(os.path.join(RECORDED, release, name), encoding='utf-8') as stream:
        return json.load(stream)


def list_promises():
    return [row for _heading, heads, rows in read_tables(PROMISES)
            if heads[1] == 'promise' for row in rows]


def test_the_promises_are_all_there():
    assert sorted(int(row[0][1:]) for row in list_promises()) == list(range(1, 32))


def test_no_promise_is_named_that_is_not_there():
    promised = {row[0] for row in list_promises()}
    paths = [path for root in ROOTS for suffix in ('py', 'md')
             for path in glob.glob(os.path.join(ROOT, root, '**', '*.' + suffix), recursive=True)]
    named = {(number, os.path.relpath(path, ROOT)) for path in paths
             for number in re.findall(r'\bP[1-9][0-9]?\b', read(os.path.relpath(path, ROOT)))}
    assert len(named) > 100
    assert {(number, path) for number, path in named if number not in promised} == set()


@pytest.mark.parametrize('page', ['promises', 'wire', 'dom0'])
def test_each_row_names_tests_and_they_exist(page):
    path = f'{FOLDER}/{page}.md'
    rows = [row for _heading, heads, rows in read_tables(path)
            if heads[-1] == 'shown by' for row in rows]
    assert len(rows) > 12
    assert [row[:2] for row in rows if not find_named_tests(row[-1])] == []
    assert list_missing_tests(path) == []


@pytest.mark.parametrize('column, release, figure', [
    (1, '26.17', 'median_ms'), (2, '26.17', 'max_ms'),
    (3, '26.1.4', 'median_ms'), (4, '26.1.4', 'max_ms')])
def test_the_window_is_the_one_that_was_measured(column, release, figure):
    measured = {load: f'{values[figure]:.0f}'
                for load, values in read_recording(release, 'window.json').items()}
    assert {row[0]: row[column] for row in find_rows(BOOT_PATH, 'load')} == measured


@pytest.mark.parametrize('release', RELEASES)
def test_the_order_of_writes_is_the_one_that_was_recorded(release):
    recorded = read_recording(release, 'writes.json')
    rows = find_rows(BOOT_PATH, 'operation')
    assert len(rows) == 4
    for operation, fields in rows:
        assert fields.split(', ') == recorded[operation]['vm_row_in_order'], operation


def test_the_simulator_has_the_eras_of_the_page():
    serving = next(action for action in build_parser()._actions
                   if action.dest == 'command').choices['serve']
    eras = next(action for action in serving._actions if action.dest == 'era').choices
    assert [row[0] for row in find_rows(FOLDER + '/wire.md', 'era')] == list(eras)
