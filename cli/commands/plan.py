"""plan, reconcile and verify: what would be done, doing it once, and what really runs."""

from typing import Any, Dict, List, Mapping, Optional, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.show import note_faults
from cli.context import Context
from cli.errors import ExitStatus
from cli.output.edit_messages import say_dry_run
from cli.output.result import Result, VmView, build_document, plain
from cli.output.tables import GOOD_STATES, brief_pair, describe_left, describe_resident
from cli.output.text import Style, brief_name, escape, name_vm, plural, plural_invalid, table
from cli.output.vm_view import fault_documents, view_record, vm_document
from cli.queries.overtaken import find_overtaken
from cli.queries.preflight import refuse_unless_editable
from registry.values import Contents, Vm

_NOTHING = ['Nothing to do.']


def plan(arguments: Arguments, context: Context) -> Result:
    """Say what the daemon would do now, VM by VM with reasons; do nothing."""
    contents = context.registry.read()
    note_faults(context, contents)
    plans = _read_plans(context, contents)
    _note_overtaken(context)
    lines = _say_plans(context, contents, plans)
    return Result(build_document(plans=[plan_document(item) for item in plans],
                                 faults=fault_documents(contents)),
                  plain(lines or _NOTHING),
                  _drift(arguments, bool(plans or contents.faults)),
                  minimal=tuple(item.vm.uuid for item in plans))


def _note_overtaken(context: Context) -> None:
    """Say that a daemon would do something else: make the registry what the mirror says."""
    problem = find_overtaken(context)
    if problem:
        context.note(problem)


def reconcile(arguments: Arguments, context: Context) -> Result:
    """Do once what the daemon would do, when no daemon runs."""
    contents = context.registry.read()
    refuse_unless_editable(context)
    note_faults(context, contents)
    found = _read_plans(context, contents)
    plans = [item for item in found if _is_work(item)]
    # A VM that waits for another one's number may get it now.
    waiting = [item for item in found if item.holder is not None and not _is_work(item)]
    if arguments.get(options.DRY_RUN):
        return Result(build_document(result='would_reconcile' if plans else 'nothing_to_do',
                                     plans=[plan_document(item) for item in plans]),
                      plain(_say_plans(context, contents, plans) + [say_dry_run()]
                            if plans else _NOTHING))
    work = {item.vm.uuid: item for item in plans + (waiting if plans else [])}
    staged = _stage(context, list(work))
    lines = [f'{name_vm(item.vm.name, vm_uuid)}: {escape(staged[vm_uuid].message)}'
             for vm_uuid, item in work.items()]
    is_failed = any(item.word in ('failed', 'refused') for item in staged.values())
    vms = [dict(_describe(context, contents, item.plan or work[vm_uuid]), result=item.word,
                message=item.message) for vm_uuid, item in staged.items()]
    return Result(build_document(result=_sum_up(staged), vms=vms), plain(lines or _NOTHING),
                  ExitStatus.FAILED if is_failed else ExitStatus.DONE, minimal=tuple(staged))


def _describe(context: Context, contents: Contents, item: Any) -> Dict[str, Any]:
    """The VM of a plan as JSON."""
    return vm_document(view_record(contents.by_uuid.get(item.vm.uuid), item.vm, item,
                                   context.settings.device.known_names))


def _stage(context: Context, vm_uuids: List[str]) -> Dict[str, Any]:
    """Stage VMs; of those that are left to a daemon it is said what keeps it, if anything."""
    from cli.effects.daemon_conditions import tell_each
    from cli.effects.direct_staging import stage_many

    # Also with nothing to do: it lifts the start blocks that an older version left.
    staged = tell_each(context, stage_many(context, vm_uuids))
    return {vm_uuid: item._replace(message='the running daemon stages it')
            if item.word == 'by_daemon' else item for vm_uuid, item in staged.items()}


def _sum_up(staged: Mapping[str, Any]) -> str:
    words = {item.word for item in staged.values()}
    if not words:
        return 'nothing_to_do'
    if words & {'staged', 'as_desired'}:
        return 'reconciled'
    return 'left_to_daemon' if 'by_daemon' in words else 'not_reconciled'


def verify(arguments: Arguments, context: Context) -> Result:
    """Compare the registry, XAPI, and what the VMs on this host run with."""
    contents = context.registry.read()
    context.live()
    from cli.queries.boot_check import judge_running
    from cli.queries.pool_snapshot import read_pool
    pool = read_pool(context, contents)
    rows: List[Dict[str, Any]] = []
    for row in contents.vms:
        found, runs, verdict = pool.plan_of(row.vm_uuid), None, 'unknown'
        if found is not None and found.vm.kind.value == 'vm':
            staged, boot = pool.view.find_staged(row.vm_uuid), pool.find_boot(found.vm)
            runs, verdict = judge_running(context, found.vm, found, staged, boot)
        rows.append(dict(vm_document(pool.view_row(row, context.live().odd)),
                         verdict=verdict, found=runs))
    for fault in contents.faults:
        vm = pool.inventory.find_by_uuid(fault.key)
        view = VmView(fault.vm_uuid, vm.name if vm is not None else fault.vm_name,
                      was_asked=True, state='unreadable', reason='row_not_valid')
        rows.append(dict(vm_document(view), verdict='not_compared', found=None))
    is_drift = any(row['state'] not in GOOD_STATES or row['verdict'] not in
                   ('as_desired', 'not_running') for row in rows)
    return Result(build_document(vms=rows, faults=fault_documents(contents)),
                  lambda style: _verified_lines(rows, style), _drift(arguments, is_drift))


def _read_plans(context: Context, contents: Contents) -> List[Any]:
    context.live()
    from cli.queries.pool_snapshot import read_pool
    plans = [item for item in read_pool(context, contents).list_plans().values()
             if item is not None]
    return [item for item in plans if _is_work(item) or item.state.value not in GOOD_STATES]


def _is_work(item: Any) -> bool:
    return item.action.value != 'none'


def _say_plans(context: Context, contents: Contents, plans: List[Any]) -> List[str]:
    return [describe_plan(item, contents, lacks_journal=bool(context.journal_problem))
            for item in plans]


def describe_plan(item: Any, contents: Contents, *, lacks_journal: bool = False) -> str:
    """What becomes of one VM, or why it is left as it is."""
    rows = contents.by_uuid
    said = _say_work(item, rows) if _is_work(item) else _say_left(item, rows, lacks_journal)
    return f'{name_vm(item.vm.name, item.vm.uuid)}, {item.vm.power_state.value}: {said}'


def _say_work(item: Any, rows: Mapping[str, Vm]) -> str:
    carried, stage = brief_pair(item.carried, item.stage)
    if item.stage is not None:
        return f'to be staged: {stage}' + (f' instead of {carried}' if item.carried else '')
    if item.carried is None:
        return f'to be put back: {escape(item.value)}'
    why = {'number_copied': _say_owner(rows.get(item.owner)),
           'row_deleted': ' (its row was removed)',
           'pool_disabled': ' (its vGPU pool is disabled)'}.get(item.reason.value, '')
    return f'our arguments to be removed: {carried}{why}'


def _say_owner(row: Optional[Vm]) -> str:
    return f' (vm_id {row.vm_id} is that of {brief_name(row.vm_name, row.vm_uuid)})' if row else ''


def _say_left(item: Any, rows: Mapping[str, Vm], lacks_journal: bool) -> str:
    """Why a VM that is not as desired is left as it is."""
    if item.reason.value == 'number_held':
        row = rows.get(item.holder)
        return (f'waits until {name_vm(row.vm_name if row else None, item.holder)} has given up '
                'its number')
    if item.reason.value == 'halted_but_resident':
        return f'left alone: {describe_resident(item.vm.uuid)}'
    if item.reason.value == 'not_at_rest':
        return f"waits for shutdown: {' → '.join(brief_pair(item.carried, item.desired))}"
    return f'left alone: {describe_left(item, lacks_journal=lacks_journal)}'


def plan_document(item: Any) -> Dict[str, Any]:
    """A plan as JSON."""
    return {'vm_uuid': item.vm.uuid, 'vm_name': item.vm.name, 'action': item.action.value,
            'reason': item.reason.value, 'state': item.state.value,
            'power_state': item.vm.power_state.value, 'before': item.vm.args,
            'after': item.value if _is_work(item) else item.vm.args, 'desired': item.desired,
            'rescue': item.is_rescue}


def _drift(arguments: Arguments, is_drift: bool) -> ExitStatus:
    return ExitStatus.DRIFT if is_drift and arguments.get(options.EXIT_CODE) else ExitStatus.DONE


def _verified_lines(rows: List[Dict[str, Any]], style: Style) -> List[str]:
    cells = [_cells(row) for row in rows]
    odd = sum(1 for row in rows if row['verdict'] == 'not_compared')
    counted = f'{plural(len(rows) - odd, "registered VM")} compared'
    also = f"; left out: {plural_invalid(odd)}, see 'vgpu-admin check'" if odd else ''
    return table(('UUID', 'STATE', 'VERDICT', 'NAME'), cells, style) + [f'{counted}{also}.']


def _cells(row: Dict[str, Any]) -> Tuple[str, str, str, str]:
    return (escape(row['vm_uuid']) or '-', row['state'], row['verdict'],
            escape(row['vm_name']) or '-')
