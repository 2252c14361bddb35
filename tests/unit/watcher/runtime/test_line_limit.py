"""No log line is longer than what journald of systemd 219 keeps whole."""

import json
import operator

import pytest
from hypothesis import given, settings, strategies as some

from watcher.runtime.line_limit import MAX_LINE_BYTES
from watcher.runtime.log_format import render_console, render_json

# systemd 219 reads into 2,048 bytes: a line of which that many come without a newline is cut.
KEPT_BYTES = 2047
HEAD = {'event': 'vm.booted', 'level': 'warning', 'timestamp': '2026-11-29T04:20:00.000Z'}
# What is long repeats itself: it takes a moment to make up.
TEXTS = some.builds(operator.mul, some.text(max_size=10), some.sampled_from([1, 1, 1, 2, 200]))
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | TEXTS
    | some.binary(max_size=50),
    lambda inner: some.builds(operator.mul, some.lists(inner, max_size=4),
                              some.sampled_from([1, 1, 20]))
    | some.dictionaries(TEXTS, inner, max_size=4), max_leaves=8)


def multiply(fields, times):
    """The same fields so often, under other names."""
    return {name + '_' * number: value for name, value in fields.items()
            for number in range(times)}


FIELDS = some.builds(multiply, some.dictionaries(TEXTS, VALUES, max_size=5),
                     some.sampled_from([1, 1, 2, 25]))


def test_limit_leaves_room_for_the_newline():
    assert MAX_LINE_BYTES + 1 <= KEPT_BYTES


def test_fields_of_a_boot_are_all_there_and_short_ones_are_whole():
    long = '-device other,x=' + 'y' * 5000
    fields = dict(HEAD, vm_uuid='d8f33418-1111-2222-3333-444455556666', vm_name='web01',
                  kind='start', domid=7, desired='-device vgpu-stub,vm_id=1', carried=long,
                  found=long, verdict='stale', rescued=False, elapsed_ms=12.5)
    line = render_json(fields)
    shown = json.loads(line)
    assert len(line) <= MAX_LINE_BYTES and list(shown) == list(fields)
    assert {key: value for key, value in shown.items() if key not in ('carried', 'found')} == {
        key: value for key, value in fields.items() if key not in ('carried', 'found')}
    for key in ('carried', 'found'):
        kept = shown[key].index('...')
        assert shown[key] == long[:kept] + '... (%d more characters)' % (len(long) - kept)
        assert kept > 600


def test_traceback_keeps_its_end():
    text = 'Traceback\n' + '  File "x"\n' * 900 + 'ValueError: the end'
    shown = json.loads(render_json(dict(HEAD, exception=text)))['exception']
    kept = shown[shown.index('more characters) ...') + len('more characters) ...'):]
    assert text.endswith(kept) and len(kept) > 1400
    assert shown.startswith('... (%d more characters) ...' % (len(text) - len(kept)))


@pytest.mark.parametrize('value, most', [
    pytest.param({'a': 'x' * 3000, 'b': 1}, "b", id='map'),
    pytest.param(['x' * 30] * 100, 'more items', id='list'),
    pytest.param({'k' * 1500: 1, 'b': 'y' * 1500}, '...', id='long-key'),
    pytest.param({str(key): 'v' * 20 for key in range(100)}, '" more"', id='many-keys'),
    pytest.param('\u05e9' * 1999, 'more characters', id='six-bytes-each'),
    pytest.param('\U0001f600' * 1999, 'more characters', id='twelve-bytes-each'),
    pytest.param('"\\' * 999, 'more characters', id='two-bytes-each'),
])
def test_every_kind_of_value_is_shortened_and_marked(value, most):
    line = render_json(dict(HEAD, value=value, last=1))
    assert MAX_LINE_BYTES - 200 < len(line) <= MAX_LINE_BYTES or isinstance(value, dict)
    shown = json.loads(line)
    assert most.strip('" ') in line and shown['last'] == 1
    assert {key: shown[key] for key in HEAD} == HEAD


@settings(max_examples=200, deadline=None)
@given(FIELDS)
def test_whatever_is_logged_fits(fields):
    line = render_json(dict(fields, **HEAD))
    assert len(line.encode('utf-8')) <= MAX_LINE_BYTES
    shown = json.loads(line)
    assert {key: shown[key] for key in HEAD} == HEAD
    text = render_console(dict(fields, **HEAD), is_coloured=True)
    assert all(len(part.encode('utf-8', 'backslashreplace')) <= MAX_LINE_BYTES
               for part in text.split('\n'))
