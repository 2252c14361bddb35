"""`doctor --all-hosts`: what the doctors of the other hosts found, asked through their plugins.

All are asked at once, and none longer than a minute: a host that has no plugin, or does not
answer, is named.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from cli.doctor.findings import CheckResult, Finding, count, render_findings
from cli.output.text import Style, escape
from cli.queries.plugin_calls import begin_call, read_result
from cli.queries.xapi_tasks import destroy_task, read_failure
from watcher.errors import XapiError
from watcher.xapi.plugin_protocol import AnswerInvalid, parse_document

# The plugin gives its own checks up after a minute.
ANSWER_SECONDS = 65.0
_LOOK_SECONDS = 0.1
_MAX_FINDINGS = 200


class HostFindings(NamedTuple):
    """One other host: its findings, or why there are none."""

    uuid: str
    name: str
    findings: Tuple[Finding, ...] = ()
    problem: str = ''

    @property
    def document(self) -> Dict[str, Any]:
        """The host for programs."""
        return {'host_uuid': self.uuid, 'host_name': self.name, 'problem': self.problem or None,
                'checks': [item.document for item in self.findings],
                'counts': count(self.findings)}


def examine_hosts(context: Any) -> List[HostFindings]:
    """Ask every other host of the pool; raises XapiError when XAPI itself does not answer."""
    client, own = context.live().client, context.live().role.host
    hosts: Dict[str, HostFindings] = {}
    tasks: Dict[str, str] = {}
    try:
        for ref in client.read_refs('host.get_all'):
            if ref == own:
                continue
            hosts[ref] = HostFindings(str(client.call('host.get_uuid', ref)),
                                      str(client.call('host.get_name_label', ref)))
            try:
                tasks[ref] = begin_call(client, ref, 'doctor', {})
            except XapiError as error:
                hosts[ref] = hosts[ref]._replace(problem=str(error))
        _collect(context, client, hosts, tasks)
    finally:
        for task in tasks.values():
            destroy_task(client, task)
    return sorted(hosts.values(), key=lambda host: (host.name, host.uuid))


def parse_findings(text: Any) -> Tuple[Finding, ...]:
    """Read what another host's doctor found; it is checked like any other input."""
    checks = parse_document(text).get('checks')
    if not isinstance(checks, list) or len(checks) > _MAX_FINDINGS:
        raise AnswerInvalid('not the findings of a doctor')
    return tuple(_parse_finding(item) for item in checks)


def render_hosts(hosts: List[HostFindings], style: Style) -> List[str]:
    """A heading for each host, and below it what needs a look there."""
    lines: List[str] = []
    for host in hosts:
        head = style.colour(f'{escape(host.name)}', 'title')
        if host.problem:
            lines += ['', f'{head}: {style.warning} not examined: {escape(host.problem)}']
            continue
        counts = count(host.findings)
        lines += ['', f"{head}: {len(host.findings)} checks: {counts['ok']} ok, "
                  f"{counts['warn']} to look at, {counts['fail']} failed, "
                  f"{counts['skip']} skipped."]
        lines += render_findings([item for item in host.findings if item.result in
                                  (CheckResult.WARN, CheckResult.FAIL)], style)
    return lines


def _collect(context: Any, client: Any, hosts: Dict[str, HostFindings],
             tasks: Dict[str, str]) -> None:
    """Take each answer as it comes, until all are there or the time is over."""
    waiting = dict(tasks)
    deadline = context.clock() + ANSWER_SECONDS
    while waiting and context.clock() < deadline:
        for ref, task in sorted(waiting.items()):
            status = str(client.call('task.get_status', task))
            if status in ('pending', 'cancelling'):
                continue
            del waiting[ref]
            hosts[ref] = _take(client, hosts[ref], task, status)
        if waiting:
            context.sleep(_LOOK_SECONDS)
    for ref in waiting:
        hosts[ref] = hosts[ref]._replace(
            problem=f'it did not answer within {ANSWER_SECONDS:.0f} s')


def _take(client: Any, host: HostFindings, task: str, status: str) -> HostFindings:
    try:
        if status != 'success':
            raise read_failure(client, task, status)
        return host._replace(findings=parse_findings(read_result(client, task)))
    except (XapiError, AnswerInvalid) as error:
        return host._replace(problem=str(error)[:400])


def _parse_finding(item: Any) -> Finding:
    fields = item if isinstance(item, dict) else {}
    check, saw, advice = fields.get('check'), fields.get('saw'), fields.get('advice')
    verdict: Optional[CheckResult] = next(
        (known for known in CheckResult if known.value == fields.get('verdict')), None)
    if (not isinstance(check, str) or not isinstance(saw, str) or verdict is None
            or not (advice is None or isinstance(advice, str))):
        raise AnswerInvalid('not a finding of a doctor')
    return Finding(check[:100], verdict, saw[:2000], (advice or '')[:2000])
