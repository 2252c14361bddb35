"""Logging: what a line looks like, and that no value, reader or library can stop it."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings

import pytest
import structlog

from tests.support.waiting import wait_until
from watcher.runtime import logs
from watcher.runtime.log_format import MAX_CHARACTERS, clean, escape, render_console, render_json
from watcher.runtime.logs import LineWriter, RateLimiter


@pytest.fixture(autouse=True)
def restored():
    """Put back what `configure` changes for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines_of(capfd):
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


class Hostile:
    """Raises whenever somebody wants to see it."""

    def __str__(self):
        raise ValueError('no')

    __repr__ = __str__


def test_json_line_has_event_level_and_time_first(capfd):
    logs.configure('json', 'info')
    logs.get_logger().info('vm.args_injected', vm_uuid='u', elapsed_ms=2.5)
    line, = capfd.readouterr().err.splitlines()
    assert list(json.loads(line)) == ['event', 'level', 'timestamp', 'vm_uuid', 'elapsed_ms']
    assert re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z', json.loads(line)['timestamp'])
    assert (json.loads(line)['event'], json.loads(line)['level']) == ('vm.args_injected', 'info')


@pytest.mark.parametrize('level, shown', [
    ('debug', ['debug', 'info', 'warning', 'error']), ('info', ['info', 'warning', 'error']),
    ('warning', ['warning', 'error']), ('error', ['error'])])
def test_level_says_what_is_left_out(capfd, level, shown):
    logs.configure('json', level)
    for name in ('debug', 'info', 'warning', 'error'):
        getattr(logs.get_logger(), name)('a.b')
    assert [line['level'] for line in lines_of(capfd)] == shown


def test_bound_context_is_on_the_line(capfd):
    logs.configure('json', 'info')
    logs.get_logger().bind(vm_uuid='u').info('a.b', attempt=1)
    assert [(line['vm_uuid'], line['attempt']) for line in lines_of(capfd)] == [('u', 1)]


def test_traceback_is_on_the_line_and_keeps_its_end(capfd):
    logs.configure('json', 'info')
    try:
        raise ValueError('x' * 3000 + 'the end')
    except ValueError:
        logs.get_logger().exception('a.b')
    line, = lines_of(capfd)
    assert line['exception'].endswith('the end')
    assert len(line['exception']) < MAX_CHARACTERS + 100


@pytest.mark.parametrize('value, shown', [
    pytest.param(b'a\xff', 'a\\xff', id='bytes'),
    pytest.param('\ud800', '\ud800', id='surrogate'),
    pytest.param(float('nan'), 'nan', id='nan'),
    pytest.param(10 ** 5000, None, id='huge-integer'),
    pytest.param('x' * 2000, 'x' * 2000, id='longest-text'),
    pytest.param(Hostile(), '(Hostile that cannot be shown: ValueError)', id='hostile'),
    pytest.param({Hostile(): 1}, {'(Hostile that cannot be shown: ValueError)': 1},
                 id='hostile-key'),
    pytest.param(logging.Formatter, "<class 'logging.Formatter'>", id='class'),
    pytest.param(logs.LogLevel.INFO, 'info', id='enum'),
    pytest.param({'a': {1: (2, None)}}, {'a': {'1': [2, None]}}, id='nested'),
    pytest.param({1, }, [1], id='set'),
    pytest.param(list(range(103)), list(range(100)) + ['... (3 more items)'], id='long-list'),
])
def test_any_value_gives_a_line(value, shown):
    found = json.loads(render_json({'event': 'a.b', 'value': value}))['value']
    assert found == shown if shown is not None else found.startswith('0x')


def test_long_text_is_cut_and_marked():
    assert clean('x' * 2007) == 'x' * 2000 + '... (7 more characters)'


def test_endless_nesting_ends():
    nested = []
    nested.append(nested)
    assert len(json.dumps(clean(nested))) < 1000


@pytest.mark.parametrize('text, shown', [
    pytest.param('plain \u00fc', 'plain \u00fc', id='printable'),
    pytest.param('a\nb\tc', 'a\\nb\\tc', id='lines'),
    pytest.param('\x1b[31m', '\\x1b[31m', id='terminal-sequence'),
    pytest.param('\x9b\u202e\ud800', '\\x9b\\u202e\\ud800', id='c1-direction-surrogate'),
])
def test_terminal_gets_printable_characters_only(text, shown):
    assert escape(text) == shown
    line = render_console({'event': text, 'level': text, text: text, 'd': {text: [text]}},
                          is_coloured=False)
    assert line.isprintable()


def test_console_line_is_readable():
    fields = {'event': 'vm.booted', 'level': 'info', 'timestamp': 'T', 'vm_name': 'my "vm"',
              'verdict': 'as_desired', 'empty': '', 'count': 3, 'states': {'a': 1}}
    assert render_console(fields, is_coloured=False) == (
        'T info    vm.booted vm_name="my \\"vm\\"" verdict=as_desired empty="" count=3 '
        'states={"a": 1}')


def test_console_shows_a_traceback_on_lines_of_its_own():
    line = render_console({'event': 'a.b', 'level': 'error', 'timestamp': 'T',
                           'exception': 'Traceback\n  x\x1b'}, is_coloured=False)
    assert line.split('\n') == ['T error   a.b', '    Traceback', '      x\\x1b']


@pytest.mark.parametrize('is_terminal, no_color, is_coloured', [
    (True, None, True), (True, '1', False), (False, None, False)])
def test_colour_needs_a_terminal_and_nobody_against_it(monkeypatch, is_terminal, no_color,
                                                       is_coloured):
    leader, follower = os.openpty()
    read_end, write_end = os.pipe()
    monkeypatch.delenv('NO_COLOR', raising=False)
    if no_color:
        monkeypatch.setenv('NO_COLOR', no_color)
    with open(follower if is_terminal else write_end, 'w') as stream, \
            open(write_end if is_terminal else follower, 'w'):
        monkeypatch.setattr(sys, 'stderr', stream)
        logs.configure('console', 'info')
        logs.get_logger().warning('a.b')
        written = os.read(leader if is_terminal else read_end, 1000)
        monkeypatch.undo()
    os.close(leader)
    os.close(read_end)
    assert (b'\x1b[33mwarning' in written) is is_coloured
    assert b'a.b' in written


def test_what_libraries_log_comes_as_an_event_of_ours(capfd):
    logs.configure('json', 'info')
    logging.getLogger('apscheduler.scheduler').warning('missed %d', 3)
    logging.getLogger('apscheduler.scheduler').info('dull')
    logging.getLogger('other').error('odd %d', 'x')
    found = [(line['event'], line['level'], line['logger'], line['message'].split(',')[0])
             for line in lines_of(capfd)]
    assert found == [
        ('library.logged', 'warning', 'apscheduler.scheduler', 'missed 3'),
        ('library.logged', 'error', 'other', "'odd %d'")]


def test_warning_of_a_library_comes_as_an_event_of_ours(capfd):
    logs.configure('json', 'info')
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        # As logging.captureWarnings left it; pytest records warnings in a way of its own.
        warnings.showwarning = logging._showwarning
        warnings.warn('it is old', UserWarning, stacklevel=1)
    line, = lines_of(capfd)
    assert (line['event'], line['logger']) == ('library.logged', 'py.warnings')
    assert 'it is old' in line['message']


def test_events_can_be_captured(log_output):
    logs.get_logger().warning('a.b', x=1)
    assert log_output == [{'event': 'a.b', 'log_level': 'warning', 'x': 1}]


@pytest.mark.parametrize('replace', [
    pytest.param(lambda: None, id='none'),
    pytest.param(lambda: closed_stream(), id='closed'),
])
def test_missing_standard_error_stops_nobody(monkeypatch, replace):
    logs.configure('json', 'info')
    monkeypatch.setattr(sys, 'stderr', replace())
    said = logs.get_logger().info('a.b')
    monkeypatch.undo()
    assert said is None


def closed_stream():
    with open(os.devnull, 'w') as stream:
        return stream


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_reader_that_has_gone_stops_nobody(pipe):
    read_end, write_end = pipe
    os.close(read_end)
    writer = LineWriter(write_end)
    assert [writer.write('a'), writer.write('b')] == [None, None]


def test_blocked_reader_costs_lines_and_not_the_daemon(pipe):
    read_end, write_end = pipe
    writer = LineWriter(write_end)

    def fill():
        for number in range(300):
            writer.write('%d %s' % (number, 'x' * 1000))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    wait_until(lambda: not thread.is_alive())
    text = os.read(read_end, 1 << 20).decode()
    writer.write('after')
    text += os.read(read_end, 1 << 20).decode()
    lines = text.splitlines()
    mark = json.loads(lines[-2])
    whole = [line for line in lines[:-2] if len(line) > 1000]
    assert lines[-1] == 'after'
    assert (mark['event'], mark['count']) == ('log.dropped', 300 - len(whole))
    assert 0 < len(whole) < 300


def test_long_line_goes_out_whole_while_somebody_reads(pipe, monkeypatch):
    monkeypatch.setattr(logs, 'PATIENCE_SECONDS', 60.0)
    read_end, write_end = pipe
    received = []

    def read():
        while not received or received[-1]:
            received.append(os.read(read_end, 65536))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    LineWriter(write_end).write('y' * 500000)
    os.close(write_end)
    wait_until(lambda: not thread.is_alive())
    assert b''.join(received) == b'y' * 500000 + b'\n'


def test_lines_of_several_threads_do_not_mix():
    program = ('import threading\nfrom watcher.runtime import logs\nlogs.configure("json", "info")\n'
               'logs.PATIENCE_SECONDS = 60.0\n'
               'def say(n):\n    for i in range(50):\n'
               '        logs.get_logger().info("a.b", n=n, i=i, text="z" * 1900)\n'
               'threads = [threading.Thread(target=say, args=(n,)) for n in range(4)]\n'
               '[t.start() for t in threads]\n[t.join() for t in threads]\n')
    done = subprocess.run([sys.executable, '-c', program], stderr=subprocess.PIPE, timeout=60,
                          cwd=os.path.dirname(os.path.dirname(os.path.dirname(logs.__file__))))
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(line['n'], line['i']) for line in lines} == {(n, i) for n in range(4)
                                                          for i in range(50)}


def test_rate_limiter_lets_one_pass_per_interval_and_counts_the_rest():
    limiter = RateLimiter()
    times = [0, 1, 59.9, 60, 61, 119, 300]
    assert [limiter.admit('a', now) for now in times] == [0, None, None, 2, None, None, 2]


def test_rate_limiter_keeps_keys_apart():
    limiter = RateLimiter()
    assert [limiter.admit(key, 0) for key in ('a', 'b', 'a')] == [0, 0, None]


def test_rate_limiter_forgets_what_is_over():
    limiter = RateLimiter()
    for number in range(5000):
        limiter.admit(number, number)
    assert len(limiter._passed) <= logs.MAX_KEYS
