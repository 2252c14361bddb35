"""What the daemon counts, in the text format of Prometheus.

Counters come from the log's events, which `logs.py` hands over, and from `client.Client`, call by
call; gauges are set by the main loop (`exporter.py`). `METRICS` names all there are, and
docs/monitoring.md is compared with it.

Rule: counting never raises and never waits. Labels have values of closed sets only, so that
neither a VM's name nor an answer of XAPI can make the text grow.
"""

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

from watcher.staging.injector import OutcomeKind
from watcher.vm.boot import BootKind, Verdict

# A start that is seen has a few hundred milliseconds until the platform map is read.
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# From "just in time" to "long before".
MARGIN_BUCKETS = (0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
# Of the calls that we make; all others cost one token (xen-api's scripts/call-costs.conf).
_PRICES = {'event.from': 150.0, 'host.call_plugin': 7.0}
# How many staged VMs are remembered until they boot; the margin of the others is not measured.
MAX_STAGED = 10000

_Labels = Tuple[str, ...]


class Metric(NamedTuple):
    """One metric: its name without the prefix, what Prometheus calls its type, its labels."""
    name: str
    type: str
    help: str
    labels: _Labels = ()
    buckets: Tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus sees it."""
        return 'vgpu_watcher_' + self.name


METRICS = (
    Metric('build_info', 'gauge', 'Always 1; the version is the label.', ('version',)),
    Metric('start_time_seconds', 'gauge', 'When the daemon started, in Unix time.'),
    Metric('in_sync', 'gauge', '1 while the event stream shows all VMs, else 0.'),
    Metric('stream_start_time_seconds', 'gauge',
           'When the event stream was last started afresh, in Unix time; 0 before the first.'),
    Metric('last_answer_time_seconds', 'gauge',
           'When XAPI last answered the event stream, in Unix time; 0 before the first.'),
    Metric('writer', 'gauge', '1 while platform keys may be written here, else 0.'),
    Metric('registry_available', 'gauge', '1 while the registry can be read, else 0.'),
    Metric('journal_available', 'gauge', '1 while the journal is open, else 0.'),
    Metric('registered_vms', 'gauge', 'Rows of the registry.'),
    Metric('waiting_vms', 'gauge', 'VMs that wait for a write now.'),
    Metric('mirror_state', 'gauge', 'Always 1; the state of the mirror is the label.',
           ('state',)),
    Metric('mirror_waiting_entries', 'gauge', 'Entries of the mirror that wait to be written.'),
    Metric('mirror_generation', 'gauge',
           'Number of the generation that the mirror is to say, or that is followed; 0 is none.'),
    Metric('mirror_writes_total', 'counter',
           'Calls that wrote or removed an entry of the mirror, those that failed not counted.'),
    Metric('vms', 'gauge', 'VMs by state and vGPU pool, at the last scan.', ('pool', 'state')),
    Metric('scan_duration_seconds', 'gauge', 'How long the last scan took.'),
    Metric('scans_total', 'counter', 'Scans by how they ended.', ('result',)),
    Metric('boots_total', 'counter', 'Boots of registered VMs by kind and verdict.',
           ('kind', 'verdict')),
    Metric('boots_rescued_total', 'counter', 'Boots whose span was written while they started.'),
    Metric('writes_total', 'counter', 'Spans written and removed, by what was done.', ('action',)),
    Metric('write_failures_total', 'counter', 'Writes that came to nothing.', ('outcome',)),
    Metric('rescue_seconds', 'histogram',
           'Event lag: from the event that shows a start to the end of the write that it needed.',
           buckets=LAG_BUCKETS),
    Metric('staging_margin_seconds', 'histogram',
           'From the staging of a VM to the start that took it, first start only.',
           buckets=MARGIN_BUCKETS),
    Metric('reconnects_total', 'counter', 'Logins after the first.'),
    Metric('xapi_calls_total', 'counter', 'Calls of XAPI by method.', ('method',)),
    Metric('xapi_tokens_total', 'counter',
           "What our calls cost by the prices of XAPI's rate limiter (26.17 and later)."),
    Metric('xapi_errors_total', 'counter', 'Calls of XAPI that failed, by kind.', ('kind',)),
    Metric('problems_total', 'counter', 'Log lines of level warning and error, by event.',
           ('event', 'level')),
)
BY_NAME = {metric.name: metric for metric in METRICS}


# There from the start: Prometheus sees no increase in a counter that begins with its first 1.
_ZEROES = tuple(
    [('boots_total', (kind.value, verdict.value)) for kind in BootKind for verdict in Verdict]
    + [('write_failures_total', (kind.value,)) for kind in (OutcomeKind.REFUSED,
                                                           OutcomeKind.UNREACHABLE)]
    + [('scans_total', (result,)) for result in ('completed', 'failed')])


class Metrics:
    """The values of all metrics."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: Dict[Tuple[str, _Labels], float] = dict.fromkeys(_ZEROES, 0.0)
        self._staged: Dict[str, float] = {}
        self._had_session = False

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Raise a counter."""
        key = (name, labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._values[name, labels] = float(value)

    def observe(self, name: str, seconds: float) -> None:
        """Put a duration into its buckets."""
        for bound in BY_NAME[name].buckets:
            if seconds <= bound:
                self.add(name + '_bucket', _render_number(bound))
        self.add(name + '_bucket', '+Inf')
        self.add(name + '_sum', amount=seconds)
        self.add(name + '_count')

    def set_table(self, name: str, table: Mapping[_Labels, float]) -> None:
        """Set a gauge with labels as a whole: what the table does not name is gone."""
        for key in [key for key in self._values if key[0] == name]:
            del self._values[key]
        for labels, value in table.items():
            self._values[name, labels] = float(value)

    def count_call(self, method: str, error_kind: str = '') -> None:
        """Count a call of XAPI; `error_kind` when it failed."""
        self.add('xapi_calls_total', method)
        self.add('xapi_tokens_total', amount=_PRICES.get(method, 1.0))
        if error_kind:
            self.add('xapi_errors_total', error_kind)

    def count_event(self, fields: Mapping[str, Any]) -> None:
        """Count what a log line tells, whether it is shown or not."""
        event, level = str(fields.get('event')), str(fields.get('level'))
        if level in ('warning', 'error'):
            self.add('problems_total', event, level)
        note = _NOTES.get(event)
        if note is not None:
            note(self, fields)

    def render(self) -> str:
        """The text for Prometheus; a counter without labels is there from the start."""
        return ''.join(line + '\n' for metric in METRICS
                       for line in _render_metric(metric, self._values))

    # What single events tell.

    def _note_booted(self, fields: Mapping[str, Any]) -> None:
        self.add('boots_total', str(fields['kind']), str(fields['verdict']))
        if fields['rescued']:
            self.add('boots_rescued_total')
        staged_at = self._staged.pop(fields['vm_uuid'], None)
        if staged_at is not None and fields['kind'] == 'start' and not fields['rescued']:
            began_at = self._clock() - (fields['elapsed_ms'] or 0) / 1000.0
            self.observe('staging_margin_seconds', max(0.0, began_at - staged_at))

    def _note_written(self, fields: Mapping[str, Any]) -> None:
        self.add('writes_total', str(fields['action']))
        if fields['rescue']:
            self.observe('rescue_seconds', fields['elapsed_ms'] / 1000.0)
        elif len(self._staged) < MAX_STAGED:
            self._staged[fields['vm_uuid']] = self._clock()

    def _note_removed(self, fields: Mapping[str, Any]) -> None:
        self.add('writes_total', str(fields['action']))
        self._staged.pop(fields['vm_uuid'], None)

    def _note_failed(self, fields: Mapping[str, Any]) -> None:
        self.add('write_failures_total', str(fields['outcome']))

    def _note_session(self, _fields: Mapping[str, Any]) -> None:
        if self._had_session:
            self.add('reconnects_total')
        self._had_session = True

    def _note_scanned(self, fields: Mapping[str, Any]) -> None:
        self.add('scans_total', 'completed')
        self.set('scan_duration_seconds', fields['elapsed_ms'] / 1000.0)
        self.set_table('vms', {(pool, state): number
                               for pool, states in fields['pools'].items()
                               for state, number in states.items()})

    def _note_scan_failed(self, _fields: Mapping[str, Any]) -> None:
        self.add('scans_total', 'failed')


_NOTES = {
    'vm.booted': Metrics._note_booted,
    'vm.args_injected': Metrics._note_written,
    'vm.args_removed': Metrics._note_removed,
    'vm.injection_failed': Metrics._note_failed,
    'session.opened': Metrics._note_session,
    'scan.completed': Metrics._note_scanned,
    'scan.failed': Metrics._note_scan_failed,
}


def _render_metric(metric: Metric, values: Mapping[Tuple[str, _Labels], float]) -> List[str]:
    lines = [f'# HELP {metric.full_name} {metric.help}',
             f'# TYPE {metric.full_name} {metric.type}']
    if metric.buckets:
        return lines + _render_histogram(metric, values)
    found = sorted((labels, value) for (name, labels), value in values.items()
                   if name == metric.name)
    if not found and not metric.labels:
        found = [((), 0.0)]
    return lines + [_render_sample(metric.full_name, metric.labels, labels, value)
                    for labels, value in found]


def _render_histogram(metric: Metric, values: Mapping[Tuple[str, _Labels], float]) -> List[str]:
    name = metric.full_name
    bounds = [_render_number(bound) for bound in metric.buckets] + ['+Inf']
    lines = [_render_sample(name + '_bucket', ('le',), (bound,),
                            values.get((metric.name + '_bucket', (bound,)), 0.0))
             for bound in bounds]
    return lines + [_render_sample(name + part, (), (), values.get((metric.name + part, ()), 0.0))
                    for part in ('_sum', '_count')]


def _render_sample(name: str, heads: _Labels, labels: _Labels, value: float) -> str:
    pairs = ','.join(f'{head}="{_escape(label)}"' for head, label in zip(heads, labels))
    return name + (f'{{{pairs}}}' if pairs else '') + ' ' + _render_number(value)


def _escape(text: str) -> str:
    return text.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')


def _render_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
