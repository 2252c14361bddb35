"""docs/assurance.md names a test for each item of hazards and faults: each is there."""

import ast
import os
import re
from typing import Iterator, List

from tests.support.documents import ROOT, read

DOCUMENT = 'docs/assurance.md'
SECTION = '## Which test shows which item'
LEAST_ITEMS = 40


def _list_rows() -> List[str]:
    section = read(DOCUMENT).split(SECTION)[1].split('\n## ')[0]
    return [line for line in section.splitlines()
            if line.startswith('| ') and 'named test' not in line]


def _list_tests() -> Iterator[str]:
    for directory, _names, files in os.walk(os.path.join(ROOT, 'tests')):
        for name in files:
            if name.startswith('test_') and name.endswith('.py'):
                path = os.path.join(directory, name)
                with open(path, encoding='utf-8') as stream:
                    for node in ast.walk(ast.parse(stream.read())):
                        if isinstance(node, ast.FunctionDef):
                            yield node.name


def test_each_item_names_tests_and_each_of_them_is_there() -> None:
    rows, there = _list_rows(), set(_list_tests())
    assert len(rows) >= LEAST_ITEMS
    for row in rows:
        named = re.findall(r'`(test_\w+)`', row)
        assert named, row
        assert not set(named) - there, row
