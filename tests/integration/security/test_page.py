"""docs/security.md names, for each threat, tests that exist; and what only it promises."""

import pytest

from tests.support.documents import find_named_tests, list_missing_tests, read, read_tables
from watcher.config.values import parse_listen

PAGE = 'docs/security.md'


def test_each_test_that_the_page_names_exists():
    assert len(find_named_tests(read(PAGE))) > 40
    assert list_missing_tests(PAGE) == []


def test_each_threat_has_its_test():
    rows = [row for _heading, heads, rows in read_tables(PAGE)
            if heads[-1] == 'shown by' for row in rows]
    assert len(rows) > 25 and [row[0] for row in rows if not find_named_tests(row[-1])] == []


@pytest.mark.parametrize('text, address', [
    ('127.0.0.1:9477', ('127.0.0.1', 9477)), ('[::1]:9477', ('::1', 9477)),
    ('127.1.2.3:1', ('127.1.2.3', 1))])
def test_loopback_can_be_listened_on(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize('text', [
    '0.0.0.0:9477', '[::]:9477', '192.168.1.1:9477', 'localhost:9477', ':9477', '127.0.0.1',
    '127.0.0.1:0', '127.0.0.1:65536', '127.0.0.1:9477/', '1.2.3:4', '[::1:9477',
    '127.0.0.1:9477\n'])
def test_only_the_loopback_can_be_listened_on(text):
    with pytest.raises(ValueError):
        parse_listen(text)
