"""scan-vms and status: all VMs of the resource pool against the registry, in one read."""

import os
import time
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.show import note_faults
from cli.commands.status_panel import Panel, render_panel
from cli.consumer.installation import ConsumerHost
from cli.consumer.withholding import (ConsumerState, find_paused, find_run_directory,
                                      read_consumer_state)
from cli.context import Context
from cli.errors import ExitStatus
from cli.output.result import Result, VmView, build_document
from cli.output.tables import GOOD_STATES, render_group, render_scan_table
from cli.output.text import Style, iso, plural
from cli.output.vm_view import (boot_document, count_pools, fault_documents, pool_document,
                                view_record, view_row, view_vanished, vm_document)
from cli.queries.daemon_status import Watch, find_daemon, read_watch
from cli.queries.mirror_status import read_mirror_state
from registry.errors import RegistryUnavailable
from registry.values import DEFAULT_POOLS, Contents
from watcher.errors import XapiError


class Survey(NamedTuple):
    """All VMs, in the groups of the scan."""

    groups: 'OrderedDict[str, List[VmView]]'
    """Pool letter -> its VMs."""
    unregistered: List[VmView]

    @property
    def registered(self) -> List[VmView]:
        """The VMs that have a row."""
        return [view for views in self.groups.values() for view in views]

    @property
    def everything(self) -> List[VmView]:
        """All of them."""
        return self.registered + self.unregistered


def scan_vms(arguments: Arguments, context: Context) -> Result:
    """Compare all VMs in XAPI with the registry."""
    contents = context.registry.read()
    survey = _select(read_survey(context, contents), arguments)
    note_faults(context, contents)
    differs = [view for view in survey.everything if view.state not in GOOD_STATES]
    # Of a row that is not valid no state, and no vGPU pool, was asked for.
    is_whole = arguments.get(options.STATE) is None and arguments.get(options.POOL) is None
    is_drift = bool(differs or (is_whole and contents.faults))
    return Result(dict(_scan_document(survey), faults=fault_documents(contents)),
                  lambda style: _render_scan(survey, arguments, style),
                  ExitStatus.DRIFT if is_drift and arguments.get(options.EXIT_CODE)
                  else ExitStatus.DONE,
                  minimal=tuple(view.vm_uuid for view in survey.everything))


def _select(survey: Survey, arguments: Arguments) -> Survey:
    """The VMs in a state, or in a vGPU pool, that were asked for; otherwise all."""
    state, pool_id = arguments.get(options.STATE), arguments.get(options.POOL)

    def select(views: Sequence[VmView]) -> List[VmView]:
        return [view for view in views if state in (None, view.state)]
    groups = OrderedDict((name, select(views)) for name, views in survey.groups.items()
                         if pool_id in (None, name))
    return Survey(groups, select(survey.unregistered) if pool_id is None else [])


def read_survey(context: Context, contents: Contents) -> Survey:
    """Read all VMs and group them; raises XapiError."""
    context.live()
    from cli.queries.pool_snapshot import read_pool
    pool = read_pool(context, contents)
    from cli.queries.arrivals import document_of, find_arrivals
    arrivals = find_arrivals(context, pool.ordinary_vms, contents.by_uuid)
    rows, faults = contents.by_uuid, {item.key: item.problem for item in contents.faults}
    views = {vm.uuid: view_record(rows.get(vm.uuid), vm, pool.plan(vm), pool.policy.names,
                                  faults.get(vm.uuid, ''), rows)
             ._replace(dangers=pool.list_dangers(vm), lacks_journal=bool(context.journal_problem),
                       removed=None if vm.uuid in rows else pool.view.removed.get(vm.uuid),
                       arrived=document_of(arrivals[vm.uuid]) if vm.uuid in arrivals else None)
             for vm in pool.ordinary_vms + pool.list_templates_with_rows()}
    odd = context.live().odd
    if odd:
        context.note(f'{plural(len(odd), "VM record")} could not be understood: '
                     f'{"; ".join(sorted(odd.values())[:5])}')
    groups: 'OrderedDict[str, List[VmView]]' = OrderedDict(
        (item.pool_id, []) for item in contents.pools)
    for row in contents.vms:
        groups[row.pool_id].append(
            views.get(row.vm_uuid) or view_vanished(row, odd.get(row.vm_uuid, '')))
    return Survey(groups, [view for uuid, view in views.items() if uuid not in rows])


def status(_arguments: Arguments, context: Context) -> Result:
    """Show the control panel; what cannot be read is a line in it."""
    contents, trouble = _read_for_panel(context)
    survey: Optional[Survey] = None
    problem = ''
    try:
        survey = read_survey(context, contents)
    except XapiError as error:
        problem = str(error)
    shown = survey or _survey_registry(contents)
    panel = _build_panel(context, contents, shown, problem)._replace(
        registry_problem=trouble, config_problem=context.config_problem,
        check_config=context.check_config, is_there=os.path.lexists(context.registry.path),
        has_past=not trouble or bool(contents.source))
    if not problem:
        panel = panel._replace(host_names={boot.host: context.find_host_name(boot.host)
                                           for boot in panel.odd_boots})
    if context.is_json:
        note_faults(context, contents)  # people have them in the panel
    return Result(_status_document(contents, shown, panel),
                  lambda style: render_panel(panel, style),
                  ExitStatus.USAGE if context.config_problem else
                  ExitStatus.UNAVAILABLE if problem or trouble else ExitStatus.DONE,
                  minimal=_list_troubled(shown, panel))


def _read_for_panel(context: Context) -> Tuple[Contents, str]:
    """Read the registry; one that cannot be gone by is shown as it was last seen, with why."""
    try:
        return context.registry.read(), ''
    except RegistryUnavailable as error:
        trouble = str(error)
    source = os.path.basename(context.registry.path)
    with context.journal() as journal:
        past = journal.past(source) if journal is not None else None
    if past is None or not past.pools:
        return Contents(1, DEFAULT_POOLS, ()), trouble
    return Contents(1, past.pools, past.vms, source=source), trouble


def _list_troubled(survey: Survey, panel: Panel) -> Tuple[str, ...]:
    """The VMs that need attention, for scripts."""
    odd = {boot.vm_uuid for boot in panel.odd_boots}
    return tuple(view.vm_uuid for view in survey.everything
                 if view.state not in GOOD_STATES + (None,) or view.dangers
                 or view.vm_uuid in odd)


def _survey_registry(contents: Contents) -> Survey:
    groups: 'OrderedDict[str, List[VmView]]' = OrderedDict(
        (item.pool_id, []) for item in contents.pools)
    for row in contents.vms:
        groups[row.pool_id].append(view_row(row))
    return Survey(groups, [])


def _build_panel(context: Context, contents: Contents, survey: Survey, problem: str) -> Panel:
    daemon = find_daemon(context.settings.registry.path)
    with context.journal() as journal:
        watch = read_watch(daemon, journal, time.time(),
                           context.settings.scan.interval_seconds)
        mirror = read_mirror_state(daemon, journal, context.settings.mirror.enabled)
        boots = dict(journal.last_boots()) if journal is not None else {}
        replacements = len(journal.replacements()) if journal is not None else 0
    from cli.queries.pool_snapshot import EXPLAINED
    registered = contents.by_uuid
    running = {view.vm_uuid for view in survey.unregistered if view.power_state == 'Running'}
    odd_boots = tuple(boot for uuid, boot in sorted(boots.items())
                      if (uuid in registered and boot.verdict not in EXPLAINED)
                      or (uuid in running and boot.verdict == 'withheld'))
    pools = tuple((pool, tuple(survey.groups[pool.pool_id])) for pool in count_pools(contents))
    return Panel(context.registry.path, contents.accepted, watch, problem, pools,
                 tuple(survey.unregistered), odd_boots, replacements, len(contents.faults), mirror,
                 consumer=_read_consumer(context), journal_problem=context.journal_problem)


def _read_consumer(context: Context) -> ConsumerState:
    return read_consumer_state(ConsumerHost(), find_paused(context, None),
                               find_run_directory(context))


def _render_scan(survey: Survey, arguments: Arguments, style: Style) -> List[str]:
    """Tables for people; for programs the lines that they know."""
    form = arguments.get(options.SCAN_FORMAT)
    is_table = form == 'table' or form is None and style.is_terminal
    render = render_scan_table if is_table else render_group
    lines: List[str] = []
    for pool_id, views in survey.groups.items():
        lines += render(f'Pool {pool_id}: {len(views)} VMs', views, style) + ['']
    if arguments.get(options.POOL):
        return lines[:-1]
    return lines + render(f'Unregistered VMs: {len(survey.unregistered)}', survey.unregistered,
                          style)


def _scan_document(survey: Survey) -> Dict[str, Any]:
    return build_document(
        vms=_documents(survey.everything),
        groups=dict({pool_id: [view.vm_uuid for view in views]
                     for pool_id, views in survey.groups.items()},
                    unregistered=[view.vm_uuid for view in survey.unregistered]),
        states=count_states(survey.everything))


def _status_document(contents: Contents, survey: Survey, panel: Panel) -> Dict[str, Any]:
    return build_document(
        configuration={'problem': panel.config_problem or None},
        registry={'path': panel.path,
                  'accepted': None if panel.registry_problem else panel.is_accepted,
                  'problem': panel.registry_problem or None,
                  'faults': fault_documents(contents)},
        daemon=_describe_daemon(panel.watch),
        xapi={'reachable': not panel.xapi_problem, 'problem': panel.xapi_problem or None},
        pools=[pool_document(pool) for pool, _views in panel.pools],
        vms=_documents(survey.everything), states=count_states(survey.everything),
        boots=[dict(boot_document(boot, panel.host_names.get(boot.host)) or {},
                    vm_uuid=boot.vm_uuid)
               for boot in panel.odd_boots],
        replacements_under_way=panel.replacements,
        mirror=panel.mirror.document if panel.mirror is not None else None,
        consumer=panel.consumer.document if panel.consumer is not None else None)


def _describe_daemon(watch: Watch) -> Dict[str, Any]:
    """What is known of the daemon; one that does not run is in sync with nothing."""
    is_watching = watch.holder is not None
    return dict(watch._asdict(), since=iso(watch.since), last_answer=iso(watch.last_answer),
                watching=is_watching, is_synced=is_watching and watch.is_synced)


def _documents(views: Sequence[VmView]) -> List[Mapping[str, Any]]:
    return [vm_document(view) for view in views]


def count_states(views: Sequence[VmView]) -> Dict[str, int]:
    """Count the VMs by state; those that XAPI was not asked about have none."""
    counts: Dict[str, int] = {}
    for view in views:
        if view.state is not None:
            counts[view.state] = counts.get(view.state, 0) + 1
    return counts
