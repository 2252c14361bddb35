"""doctor: is everything on this host as it must be? Each check says what it saw and what to do.

Nothing is changed. A check that cannot be made is skipped and says why; one that fails does not
keep the others from being made.
"""

from typing import Any, List, Optional

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.doctor.findings import Finding, bad, count, good, render_findings
from cli.errors import CommandError, ExitStatus, translate
from cli.output.result import Result, build_document
from cli.output.text import Style, plural
from registry.errors import RegistryError
from registry.file_check import describe_leftover
from registry.values import Contents
from watcher.errors import WatcherError, XapiError


class Examination:
    """What all checks look at, read once."""

    def __init__(self, context: Context, root: str) -> None:
        self.context = context
        self.root = root
        self.contents: Optional[Contents] = None
        self.registry_problem: Optional[Exception] = None
        self.xapi_problem: Optional[XapiError] = None
        self._read_registry()
        self._connect()

    @property
    def live(self) -> Any:
        """The session with XAPI; None where there is none."""
        return None if self.xapi_problem else self.context.live()

    def _read_registry(self) -> None:
        leftover = describe_leftover(self.context.registry.path)
        if leftover:
            # Opening the file would use it up.
            self.registry_problem = RegistryError(leftover)
            return
        try:
            self.contents = self.context.registry.read()
        except RegistryError as error:
            self.registry_problem = error

    def _connect(self) -> None:
        try:
            _role = self.context.live().role
        except XapiError as error:
            self.xapi_problem = error


def doctor(arguments: Arguments, context: Context) -> Result:
    """Make all checks; 1 when one of them failed."""
    findings = _examine(context, arguments.get(options.ROOT) or '/')
    counts = count(findings)
    document = build_document(checks=[item.document for item in findings], counts=counts)
    hosts: List[Any] = _examine_others(arguments, context)
    if arguments.get(options.ALL_HOSTS):
        document['hosts'] = [host.document for host in hosts]
    is_failed = counts['fail'] or any(count(host.findings)['fail'] for host in hosts)

    def render(style: Style) -> List[str]:
        if not hosts:
            return _render(findings, style)
        from cli.doctor.other_hosts import render_hosts
        return _render(findings, style) + render_hosts(hosts, style)
    return Result(document, render, ExitStatus.FAILED if is_failed else ExitStatus.DONE,
                  minimal=tuple(item.check for item in findings
                                if item.result.value in ('warn', 'fail')))


def _examine_others(arguments: Arguments, context: Context) -> List[Any]:
    """The other hosts, where they were asked for; an XAPI that is away is a finding already."""
    if not arguments.get(options.ALL_HOSTS):
        return []
    from cli.doctor.other_hosts import examine_hosts
    try:
        return examine_hosts(context)
    except XapiError as error:
        context.note(f'the other hosts could not be examined: {error}')
        return []


def _examine(context: Context, root: str) -> List[Finding]:
    from cli.doctor.host_checks import CHECKS as OF_HOST
    from cli.doctor.registry_checks import CHECKS as OF_REGISTRY
    from cli.doctor.xapi_checks import CHECKS as OF_XAPI
    try:
        path = context.settings.registry.path
    except WatcherError as error:
        # It says where the registry and XAPI are.
        context.config_problem = str(error)
        return [bad('configuration', str(error), f'mend the file, then {context.check_config}')]
    findings = [good('configuration', f'is understood; the registry is {path}')]
    examination = Examination(context, root)
    for check in OF_HOST + OF_REGISTRY + OF_XAPI:
        findings += _make(check, examination)
    return findings


def _make(check: Any, examination: Examination) -> List[Finding]:
    """Make one check; what it stumbles over is its finding."""
    try:
        return list(check(examination))
    except (RegistryError, WatcherError, OSError, CommandError) as error:
        name = check.__name__.replace('check_', '').replace('_', '-')
        problem = str(error) if isinstance(error, OSError) else str(translate(error))
        return [bad(name, problem, 'do what the message says, and run doctor again')]


def _render(findings: List[Finding], style: Style) -> List[str]:
    counts = count(findings)
    return render_findings(findings, style) + [
        f"{plural(len(findings), 'check')}: {counts['ok']} ok, {counts['warn']} to look at, "
        f"{counts['fail']} failed, {counts['skip']} skipped."]
