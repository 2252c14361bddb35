"""Counting from log events and calls, the text for Prometheus, the file and the port."""

import contextlib
import http.client
import itertools
import os
import re
import socket
import stat
import threading
import time

import pytest

from tests.support.documents import find_rows, read
from watcher.config.settings import MetricsSettings
from watcher.errors import SessionLost, XapiUnreachable
from watcher.loop.loop import JobDied, Loop
from watcher.loop.steps import pause
from watcher.metrics import http_endpoint
from watcher.metrics.counters import MAX_STAGED, METRICS, Metrics
from watcher.metrics.exporter import Reporter, write_textfile
from watcher.metrics.http_endpoint import MetricsPort
from watcher.runtime import logs
from watcher.vm.boot import BootKind, Verdict
from watcher.xapi.callers import Callers
from watcher.xapi.client import XapiSettings

BOOT = dict(event='vm.booted', level='info', vm_uuid='u', kind='start', verdict='as_desired',
            rescued=False, elapsed_ms=500)
WRITE = dict(event='vm.args_injected', level='info', vm_uuid='u', action='add', rescue=False,
             elapsed_ms=4.0)
SCAN = dict(event='scan.completed', level='info', elapsed_ms=1500.0)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(clock):
    return Metrics(clock)


def samples(metrics):
    """name{labels} -> value, as text, without the common prefix."""
    return dict(line[len('vgpu_watcher_'):].rsplit(' ', 1)
                for line in metrics.render().splitlines() if not line.startswith('#'))


@pytest.mark.parametrize('fields, expected', [
    pytest.param(BOOT, {'boots_total{kind="start",verdict="as_desired"}': '1',
                        'boots_rescued_total': '0'}, id='boot'),
    pytest.param(dict(BOOT, rescued=True, verdict='missing', level='warning'), {
        'boots_total{kind="start",verdict="missing"}': '1', 'boots_rescued_total': '1',
        'problems_total{event="vm.booted",level="warning"}': '1'}, id='bad-boot-that-was-rescued'),
    pytest.param(WRITE, {'writes_total{action="add"}': '1', 'rescue_seconds_count': '0'},
                 id='staged'),
    pytest.param(dict(WRITE, rescue=True, elapsed_ms=40.0), {
        'rescue_seconds_count': '1', 'rescue_seconds_sum': '0.04',
        'rescue_seconds_bucket{le="0.025"}': '0', 'rescue_seconds_bucket{le="0.05"}': '1',
        'rescue_seconds_bucket{le="+Inf"}': '1'}, id='rescue'),
    pytest.param(dict(WRITE, event='vm.args_removed', action='remove'),
                 {'writes_total{action="remove"}': '1'}, id='removed'),
    pytest.param(dict(event='vm.injection_failed', level='warning', outcome='refused'),
                 {'write_failures_total{outcome="refused"}': '1'}, id='write-failed'),
    pytest.param(dict(SCAN, pools={'A': {'drift': 2}, '-': {'manual': 1}}), {
        'scans_total{result="completed"}': '1', 'scan_duration_seconds': '1.5',
        'vms{pool="A",state="drift"}': '2', 'vms{pool="-",state="manual"}': '1'}, id='scan'),
    pytest.param(dict(event='scan.failed', level='warning', error='x'),
                 {'scans_total{result="failed"}': '1'}, id='scan-failed'),
    pytest.param(dict(event='session.opened', level='info'), {'reconnects_total': '0'},
                 id='first-login-is-no-reconnect'),
    pytest.param(dict(event='journal.unwritable', level='error'),
                 {'problems_total{event="journal.unwritable",level="error"}': '1'}, id='error'),
])
def test_event_is_counted(metrics, fields, expected):
    metrics.count_event(fields)
    found = samples(metrics)
    assert {name: found.get(name) for name in expected} == expected


def test_each_kind_of_boot_is_there_before_the_first(metrics):
    # An increase is not seen in a counter that begins with 1.
    zeroes = {name: value for name, value in samples(metrics).items() if name.startswith('boots_')}
    assert set(zeroes.values()) == {'0'}
    for kind, verdict in itertools.product(BootKind, Verdict):
        assert 'boots_total{kind="%s",verdict="%s"}' % (kind.value, verdict.value) in zeroes


def test_each_login_after_the_first_is_a_reconnect(metrics):
    for _ in range(3):
        metrics.count_event(dict(event='session.opened', level='info'))
    assert samples(metrics)['reconnects_total'] == '2'


def test_state_that_a_scan_does_not_find_any_more_is_gone(metrics):
    metrics.count_event(dict(SCAN, pools={'A': {'drift': 2, 'as_desired': 1}}))
    metrics.count_event(dict(SCAN, pools={'A': {'as_desired': 3}}))
    assert [name for name in samples(metrics) if name.startswith('vms{')] \
        == ['vms{pool="A",state="as_desired"}']


def test_margin_is_from_the_staging_to_the_beginning_of_the_start(metrics, clock):
    metrics.count_event(WRITE)
    clock.now += 10.0
    metrics.count_event(BOOT)
    assert samples(metrics)['staging_margin_seconds_sum'] == '9.5'
    metrics.count_event(BOOT)
    assert samples(metrics)['staging_margin_seconds_count'] == '1'


@pytest.mark.parametrize('boot', [
    dict(BOOT, kind='reboot'), dict(BOOT, rescued=True), dict(BOOT, vm_uuid='other')])
def test_margin_is_measured_only_where_there_is_one(metrics, boot):
    metrics.count_event(WRITE)
    metrics.count_event(boot)
    assert samples(metrics)['staging_margin_seconds_count'] == '0'


def test_what_waits_for_a_boot_is_bounded(metrics, clock):
    for number in range(MAX_STAGED + 1):
        metrics.count_event(dict(WRITE, vm_uuid=str(number)))
    clock.now += 1.0
    for number in (0, MAX_STAGED):
        metrics.count_event(dict(BOOT, vm_uuid=str(number)))
    assert samples(metrics)['staging_margin_seconds_count'] == '1'


def test_calls_are_counted_by_method_and_errors_by_kind(metrics):
    metrics.count_call('event.from')
    metrics.count_call('event.from', 'SessionLost')
    found = samples(metrics)
    assert found['xapi_tokens_total'] == '300'
    assert found['xapi_calls_total{method="event.from"}'] == '2'
    assert found['xapi_errors_total{kind="SessionLost"}'] == '1'


def test_client_tells_of_each_call_that_fails_and_of_its_kind():
    told, ended = [], []
    callers = Callers('caller', 1, Loop(), ended.append, lambda *words: told.append(words))
    callers.begin(XapiSettings(url='unix:/nowhere/xapi'), 'OpaqueRef:1')

    def call_twice(client):
        with pytest.raises(XapiUnreachable):
            yield from client.call('VM.get_all')
        client.handle = None
        with pytest.raises(SessionLost):
            yield from client.call('VM.get_all')
        return 'both failed'
    callers.submit(call_twice)
    # Without a session nothing goes over the wire.
    assert told == [('VM.get_all', 'XapiUnreachable')] and ended == ['both failed']


def test_text_has_a_type_and_a_help_for_each_metric_and_nothing_odd(metrics):
    metrics.set('build_info', 1, 'a"b\\c\nd')
    lines = metrics.render().splitlines()
    for metric in METRICS:
        assert '# TYPE %s %s' % (metric.full_name, metric.type) in lines
        assert any(line.startswith('# HELP %s ' % metric.full_name) for line in lines)
    assert 'vgpu_watcher_build_info{version="a\\"b\\\\c\\nd"} 1' in lines
    sample = re.compile(r'vgpu_watcher_[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="[^"]*")*\})? '
                        r'[0-9.e+-]+\Z')
    assert [line for line in lines if not line.startswith('#') and not sample.match(line)] == []


def test_each_metric_is_documented():
    documented = [tuple(row) for row in find_rows('docs/monitoring.md', 'metric')]
    assert documented == [(metric.name, metric.type, ' '.join(metric.labels), metric.help)
                          for metric in METRICS]


def test_alerts_name_only_metrics_that_exist():
    parts = {metric.full_name + part for metric in METRICS
             for part in (('_bucket', '_sum', '_count') if metric.buckets else ('',))}
    rules = read('deploy/monitoring/vgpu-watcher.rules.yml')
    named = set(re.findall('vgpu_watcher_[a-z_]+', rules))
    assert len(named) > 8 and named <= parts


def test_alerts_name_only_events_that_exist():
    rules = read('deploy/monitoring/vgpu-watcher.rules.yml')
    events = {row[0] for row in find_rows('docs/log-events.md', 'event')}
    named = {event for group in re.findall('event=~?"([^"]+)"', rules)
             for event in group.split('|')}
    assert named and named <= events


# The tap of the log.

@pytest.fixture
def restored_logging():
    yield
    logs.configure('json', 'info')


@pytest.mark.parametrize('level, shown', [('info', True), ('warning', False)])
def test_lines_that_are_not_shown_are_counted(restored_logging, capfd, level, shown):
    taken = []
    logs.configure('json', level, taken.append)
    logs.get_logger().info('a.b', x=1)
    logs.get_logger().debug('a.c')
    logs.get_logger().error('a.d')
    assert [(item['event'], item['level']) for item in taken] == [('a.b', 'info'), ('a.d', 'error')]
    err = capfd.readouterr().err
    assert ('a.b' in err, 'a.c' in err, 'a.d' in err) == (shown, False, True)


def test_without_a_tap_nothing_is_taken(restored_logging, capfd):
    taken = []
    logs.configure('json', 'info', taken.append)
    logs.configure('json', 'info')
    logs.get_logger().info('a.b')
    assert taken == [] and 'a.b' in capfd.readouterr().err


# Where they go.

@pytest.mark.parametrize('settings, is_on', [
    (MetricsSettings(), False), (MetricsSettings(textfile='/x'), True),
    (MetricsSettings(listen='127.0.0.1:9'), True)])
def test_counting_goes_on_only_while_somebody_wants_to_know(clock, settings, is_on):
    reporter = Reporter(settings, clock=clock, wall=clock)
    reporter.count_call('VM.get_all')
    assert (reporter.tap is not None) is is_on
    assert ('xapi_calls_total{method="VM.get_all"}' in samples(reporter.metrics)) is is_on


def test_file_is_replaced_as_a_whole_and_readable_for_the_collector(tmp_path):
    path = tmp_path / 'vgpu.prom'
    path.write_text('before')
    with path.open() as reader:
        write_textfile(str(path), 'after\n')
        assert reader.read() == 'before'
    assert path.read_text() == 'after\n' and os.listdir(str(tmp_path)) == ['vgpu.prom']
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_link_that_somebody_put_in_the_way_is_not_followed(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('untouched')
    for name in ('vgpu.prom', 'vgpu.prom.new'):
        (tmp_path / name).symlink_to(victim)
    write_textfile(str(tmp_path / 'vgpu.prom'), 'text')
    assert victim.read_text() == 'untouched'
    assert not (tmp_path / 'vgpu.prom').is_symlink()


@contextlib.contextmanager
def open_port(render):
    """A port, answered by a loop in a thread: the test is who asks."""
    loop, is_over, died = Loop(), threading.Event(), []
    port = MetricsPort('127.0.0.1', 0, render, loop)

    def turn():
        try:
            while not is_over.is_set():
                loop.turn(60.0)
        except JobDied as error:
            died.append(error)
    turning = threading.Thread(target=turn)
    turning.start()
    try:
        yield port
    finally:
        is_over.set()
        loop.wake()
        turning.join(60.0)
        port.close()
    assert died == []


@pytest.fixture
def port(metrics):
    with open_port(metrics.render) as port:
        yield port


def ask(port, path='/metrics', method='GET'):
    connection = http.client.HTTPConnection('127.0.0.1', port.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader('Content-Type'), answer.read().decode('utf-8')
    finally:
        connection.close()


def test_port_gives_the_metrics(port, metrics):
    assert ask(port) == (200, 'text/plain; version=0.0.4; charset=utf-8', metrics.render())


@pytest.mark.parametrize('path, method, status', [
    ('/', 'GET', 404), ('/metrics/../x', 'GET', 404), ('/metrics', 'POST', 501)])
def test_port_gives_nothing_else(port, path, method, status):
    assert ask(port, path, method)[0] == status


def test_port_survives_whoever_talks_nonsense_or_goes_away(port, capfd):
    for words in (b'', b'\x00\xff\r\n\r\n', b'GET /metrics HTTP/1.0\r\n\r\n'):
        with socket.create_connection(('127.0.0.1', port.port), 10) as connection:
            connection.sendall(words)
    assert ask(port)[0] == 200
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('error, told, lines', [
    pytest.param(RuntimeError('boo'), JobDied, [('job.died', 'metrics')], id='a-fault'),
    pytest.param(MemoryError(), MemoryError, [], id='no-memory-left-to-tell-with')])
def test_port_that_dies_ends_the_loop(log_output, error, told, lines):
    """Whatever it died of: the process ends."""
    def fail():
        raise error
    loop = Loop()
    port = MetricsPort('127.0.0.1', 0, fail, loop)
    with socket.create_connection(('127.0.0.1', port.port), 10) as connection:
        connection.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        with pytest.raises(told):
            while loop.turn(60.0):
                pass
    assert [(line['event'], line['job']) for line in log_output] == lines


@pytest.mark.parametrize('words', [b'', b'GET /metr', b'GET /metrics HTTP/1.1\r\n\r\n'],
                         ids=['says-nothing', 'asks-slowly', 'does-not-read'])
def test_who_is_slow_holds_up_no_job_of_the_daemon(words):
    loop, ended, calls = Loop(), [], []
    port = MetricsPort('127.0.0.1', 0, lambda: calls.append(1) or 'x' * (1 << 24), loop)
    with socket.create_connection(('127.0.0.1', port.port), 10) as connection:
        connection.sendall(words)
        while loop.turn(0.5):
            pass
        assert len(calls) == words.count(b'\n\r')
        loop.start('job', pause(0.01), ended.append)
        while not ended:
            assert loop.turn(60.0)
    port.close()


def test_who_drips_keeps_others_waiting_for_one_request_only(port):
    """Each byte comes in time, and the request never ends: the limit is on the whole of it."""
    is_over, began_at = threading.Event(), time.monotonic()
    with socket.create_connection(('127.0.0.1', port.port), 10) as connection:
        def drip():
            with contextlib.suppress(OSError):
                connection.sendall(b'GET /metrics HTTP/1.1\r\nX: ')
                while not is_over.wait(0.02):
                    connection.sendall(b'x')
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert ask(port)[0] == 200
            assert time.monotonic() - began_at < http_endpoint.TIMEOUT_SECONDS + 3.0
        finally:
            is_over.set()
            dripping.join(10.0)


def test_who_does_not_read_keeps_others_waiting_for_one_request_only(monkeypatch):
    monkeypatch.setattr(http_endpoint, 'TIMEOUT_SECONDS', 0.5)
    with open_port(lambda: 'x' * (1 << 24)) as large, \
            socket.create_connection(('127.0.0.1', large.port), 10) as connection:
        connection.sendall(b'GET /metrics HTTP/1.1\r\n\r\n')
        began_at = time.monotonic()
        assert ask(large)[0] == 200
        assert time.monotonic() - began_at < 5.0


def test_closed_port_is_free_again(metrics):
    loop = Loop()
    port = MetricsPort('127.0.0.1', 0, metrics.render, loop)
    port.close()
    again = MetricsPort('127.0.0.1', port.port, metrics.render, loop)
    again.close()
    assert again.port == port.port
