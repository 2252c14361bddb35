"""The dashboard: each of its queries finds something in what a daemon told of a run."""

import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterator, List

import pytest

from simulator.faults import Fault
from tests.support.serving import serving
from tests.integration.daemon.test_metrics import read_samples
from tests.integration.daemon.world import World, span, wait_until
from tests.monitoring.test_rules import find_anchors
from tests.support.building import building
from tests.support.documents import read
from watcher.metrics.counters import METRICS

DASHBOARD = json.loads(read('deploy/monitoring/vgpu-watcher.dashboard.json'))
PANELS = DASHBOARD['panels']
PATIENCE_SECONDS = 120.0
CONFIGURATION = '''global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: vgpu
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
'''
needs_prometheus = pytest.mark.skipif(
    shutil.which('prometheus') is None,
    reason="Debian's package prometheus is not installed")


def list_queries() -> Dict[str, List[str]]:
    """The queries of each panel, with values for what Grafana puts in."""
    return {panel['title']: [
        target['expr'].replace('$__rate_interval', '1m').replace('$instance', '.*')
        for target in panel['targets']] for panel in PANELS}


@pytest.fixture(scope='module')
def told() -> Iterator[str]:
    """The metrics of a run with a boot, a pending change, a danger, and a write that failed."""
    with building(World) as build:
        yield run_and_read(build)


def run_and_read(build: Callable[..., World]) -> str:
    world = build()
    path = os.path.join(world.directory, 'vgpu.prom')
    world.write_config('[metrics]\ntextfile = %s\n' % path, interval_seconds=1)
    twins = [world.create_vm('twin', args=span(9)) for _number in range(2)]
    world.start()
    ref = world.create_vm()
    world.xapi.faults.add(Fault('failure', method='VM.add_to_platform', count=1,
                                parameters={'code': 'INTERNAL_ERROR', 'params': ['x']}))
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    for started in [ref] + twins:
        world.start_vm(started)
    world.booted(ref)
    world.change(ref, pool_id='B')
    wait_until(lambda: read_samples(path).get('vms{pool="B",state="pending"}') == '1'
               and any('vm.endangered' in name for name in read_samples(path))
               and any(name.startswith('xapi_errors_total') for name in read_samples(path)),
               lambda: 'the run in %r' % read_samples(path))
    with open(path, encoding='utf-8') as stream:
        return stream.read()


@pytest.fixture(scope='module')
def prometheus(told: str) -> Iterator[Callable[[str], Any]]:
    """Ask a Prometheus that has read what was told more than once: query -> samples."""
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory, telling(told) as port:
        configuration = os.path.join(directory, 'prometheus.yml')
        with open(configuration, 'w', encoding='utf-8') as stream:
            stream.write(CONFIGURATION.format(port=port))
        ours = find_port()
        process = subprocess.Popen(
            ['prometheus', '--config.file=' + configuration, '--log.level=error',
             '--storage.tsdb.path=' + os.path.join(directory, 'data'),
             '--web.listen-address=127.0.0.1:%d' % ours], stdin=subprocess.DEVNULL)

        def ask(query: str) -> Any:
            assert process.poll() is None, 'prometheus has ended'
            url = 'http://127.0.0.1:%d/api/v1/query?%s' % (
                ours, urllib.parse.urlencode({'query': query}))
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
                    return json.loads(answer.read().decode('utf-8'))['data']['result']
            except OSError as error:
                return getattr(error, 'code', None) == 400 and pytest.fail(query) or []
        try:
            wait_until(lambda: ask('count_over_time(vgpu_watcher_in_sync[1m]) > 2'),
                       'what prometheus reads', PATIENCE_SECONDS)
            yield ask
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def telling(text: str) -> Iterator[int]:
    """Serve a text as a daemon serves its metrics; the port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header('Content-Type', 'text/plain; version=0.0.4')
            self.end_headers()
            self.wfile.write(text.encode('utf-8'))

        def log_message(self, *unused: Any) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    with serving(server):
        yield server.server_address[1]


def find_port() -> int:
    """A port that is free now."""
    with contextlib.closing(socket.socket()) as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


@needs_prometheus
@pytest.mark.parametrize('title', sorted(list_queries()))
def test_panel_shows_something_of_a_run(prometheus: Callable[[str], Any], title: str) -> None:
    for query in list_queries()[title]:
        assert prometheus(query), query


@needs_prometheus
def test_panels_show_what_happened(prometheus: Callable[[str], Any]) -> None:
    queries = list_queries()
    pending, = prometheus(queries['Pending'][0])
    assert pending['value'][1] == '1'
    verdicts = {item['metric']['verdict'] for item in prometheus(queries['Boots by verdict'][0])}
    assert {'as_desired', 'pending', 'missing', 'withheld', 'not_consumed'} <= verdicts


def test_panels_name_metrics_that_exist_and_nothing_is_left_out() -> None:
    text = ' '.join(query for queries in list_queries().values() for query in queries)
    named = {re.sub('_bucket$', '', name) for name in re.findall('vgpu_watcher_([a-z_]+)', text)}
    assert named <= {metric.name for metric in METRICS}
    assert {'boots_total', 'staging_margin_seconds', 'vms', 'mirror_state', 'xapi_calls_total',
            'xapi_errors_total', 'problems_total'} <= named


def test_panels_are_described_and_lead_to_sections_that_exist() -> None:
    assert len({panel['id'] for panel in PANELS}) == len(PANELS) > 10
    for panel in PANELS:
        assert panel['title'] and panel['description'] and panel['targets']
        for name, section in re.findall(r'([a-z-]+\.md)#([a-z-]+)', panel['description']):
            assert section in find_anchors('docs/' + name)


def test_panels_do_not_overlap() -> None:
    cells = [(panel['gridPos']['x'] + x, panel['gridPos']['y'] + y) for panel in PANELS
             for x in range(panel['gridPos']['w']) for y in range(panel['gridPos']['h'])]
    assert len(cells) == len(set(cells)) and max(x for x, _y in cells) == 23
