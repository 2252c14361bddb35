"""Edits of several VMs that are named at once: judged by their end, asked once, made as one change.

All VMs are found and checked before anything is touched. What comes of it is one proposal; the VMs
that run are restarted (or stopped) one after the other, and the first that fails ends it.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.register import ways_back
from cli.commands.update import read_changes, say_same, ways_of
from cli.context import Context
from cli.effects.follow_up import Follow, follow_many, needs_restart, say_undone
from cli.effects.proposals import document_of, rehearse
from cli.errors import CommandError, ExitStatus, translate
from cli.output.edit_messages import (describe_row, say_assignment, say_dry_run, say_lines,
                                      say_unknown)
from cli.output.result import Result, build_document, plain
from cli.output.text import brief_name, name_vm
from cli.queries.pool_snapshot import describe_rows
from cli.queries.preflight import Situation, claim_numbers, read_situation
from cli.queries.vm_lookup import find_targets
from registry.difference import REMOVED, RowChange
from registry.edit import Edit
from registry.errors import Conflict, InvalidValue, NotFound
from registry.proposal import Proposal
from registry.values import Vm


class _Plan(NamedTuple):
    """What is about to be done, and which VMs must be stopped for it."""

    proposal: Proposal
    vms: Sequence[Vm]
    """All VMs that were named, as their rows are afterwards; of removed ones, as they were."""
    running: Sequence[RowChange]
    situation: Situation
    what: str
    """changed or removed."""


def change_several(arguments: Arguments, context: Context) -> Result:
    """Change the assignments of several VMs."""
    changes = read_changes(arguments)
    return _edit(arguments, context, 'changed',
                 lambda edit, vm_uuid, taken: edit.change_vm(vm_uuid, taken=taken, **changes)[1])


def remove_several(arguments: Arguments, context: Context) -> Result:
    """Remove the rows of several VMs."""
    return _edit(arguments, context, 'removed',
                 lambda edit, vm_uuid, _taken: edit.remove_vm(vm_uuid))


def _edit(arguments: Arguments, context: Context, what: str,
          change: Callable[[Edit, str, Any], Vm]) -> Result:
    contents = context.registry.read()
    vm_uuids = [target.vm_uuid for target in find_targets(context, contents)]
    situation = read_situation(context, contents, '', with_numbers=True, own=frozenset(vm_uuids))
    vms: List[Vm] = []

    def build(edit: Edit) -> None:
        claim_numbers(edit, situation)
        vms[:] = _change_all(edit, vm_uuids, situation, change)

    proposal = rehearse(context, build)
    plan = _Plan(proposal, vms, _find_running(context, proposal, situation, what), situation, what)
    if arguments.get(options.DRY_RUN) or not proposal.has_any:
        return _answer(context, plan, {}, is_dry=bool(arguments.get(options.DRY_RUN)))
    is_stopping = bool(plan.running) and not arguments.get(options.NO_RESTART)
    if is_stopping:
        _ask(arguments, context, plan)
    done = f"{len(proposal.difference.rows)} VMs were {what} in the registry"
    if context.was_asked:
        context.carry_out(proposal._replace(scope=frozenset(vm_uuids)), done=done)
    else:
        with context.editing(done=done) as edit:
            build(edit)
    return _answer(context, plan, _follow_all(arguments, context, plan, is_stopping))


def _change_all(edit: Edit, vm_uuids: Sequence[str], situation: Situation,
                change: Callable[[Edit, str, Any], Vm]) -> List[Vm]:
    """Make up every change; all that cannot be done is reported."""
    vms: List[Vm] = []
    problems: List[Exception] = []
    for vm_uuid in vm_uuids:
        try:
            vms.append(change(edit, vm_uuid, situation.taken))
        except (Conflict, NotFound, InvalidValue) as error:
            problems.append(error)
    problems += [Conflict(problem) for problem in edit.find_conflicts().values()]
    if problems:
        raise CommandError(translate(problems[0]).kind, '\n'.join(
            [str(problem) for problem in problems] + ['nothing was changed']))
    return vms


def _find_running(context: Context, proposal: Proposal, situation: Situation,
                  what: str) -> List[RowChange]:
    """The VMs that must be stopped before the change reaches them."""
    found: List[RowChange] = []
    for row in proposal.difference.rows:
        single = _of(situation, row.vm_uuid)
        if single.is_running and (what == 'removed' or row.after is None
                                  or needs_restart(context, row.after, single)):
            found.append(row)
    return found


def _of(situation: Situation, vm_uuid: str) -> Situation:
    """The situation of one of the VMs."""
    return situation._replace(record=situation.records.get(vm_uuid))


def _ask(arguments: Arguments, context: Context, plan: _Plan) -> None:
    """Show all that changes and what is stopped for it, and have it agreed to."""
    from cli.effects.restart import refuse_useless_restart, refuse_vain_stop
    starts = plan.what != 'removed' or bool(arguments.get(options.RESTART))
    for row in plan.running:
        record = plan.situation.records[row.vm_uuid]
        if row.after is not None:
            refuse_useless_restart(context, row.after, record)
        else:
            refuse_vain_stop(context, record)
    # Each stands with its UUID in a line above.
    names = ', '.join(_name(row, is_brief=True) for row in plan.running)
    verb = 'stopping and restarting' if starts else 'stopping'
    rows = plan.proposal.difference.rows
    context.confirm(
        ['Current configuration:']
        + [f'  {_name(row)}: {say_assignment(row.before)}' for row in rows if row.before]
        + ['New configuration:'] + [f'  {describe_row(row, is_dry=True)}' for row in rows]
        + [f'This change requires {verb} the VMs, one after the other: {names}.'],
        'Do you want to apply these settings?',
        alternatives=f"--yes ({'restarts' if starts else 'stops'} the VMs) or --no-restart "
                     '(leaves them running)')


def _name(row: RowChange, *, is_brief: bool = False) -> str:
    vm = row.after or row.before
    if vm is None:
        return ''
    return (brief_name if is_brief else name_vm)(vm.vm_name, vm.vm_uuid)


def _follow_all(arguments: Arguments, context: Context, plan: _Plan,
                is_stopping: bool) -> Dict[str, Follow]:
    """Stage what is at rest, and then restart one VM after the other."""
    stopped = [row.vm_uuid for row in plan.running] if is_stopping else []
    others = [vm_uuid for vm_uuid in plan.proposal.difference.vm_uuids if vm_uuid not in stopped]
    followed = follow_many(context, {vm_uuid: _of(plan.situation, vm_uuid) for vm_uuid in others},
                           is_removed=plan.what == 'removed')
    if is_stopping:
        from cli.effects.restart import Job, restart_all
        followed.update(restart_all(context, [
            Job(plan.situation.records[row.vm_uuid], _ways(row), row.after,
                row.what != REMOVED or bool(arguments.get(options.RESTART)))
            for row in plan.running]))
    return followed


def _ways(row: RowChange) -> Any:
    """How to go on after a stop that failed, and how to take the change back."""
    there = row.before or row.after
    assert there is not None
    if row.after is None or row.before is None:
        return ways_back(there)
    return ways_of(row.before, row.after)


def _say_stopped(context: Context, plan: _Plan) -> str:
    """Which VMs an edit that is rehearsed would stop, or restart."""
    if not plan.situation.was_asked:
        return say_unknown(plan.situation.problem)
    if context.arguments.get(options.NO_RESTART) or not plan.running:
        return 'no VM would be restarted' if plan.what == 'changed' else ''
    starts = plan.what == 'changed' or context.arguments.get(options.RESTART)
    names = ', '.join(_name(row, is_brief=True) for row in plan.running)
    return f"{names} would be {'stopped and started' if starts else 'stopped'}"


def _answer(context: Context, plan: _Plan, followed: Dict[str, Follow], *,
            is_dry: bool = False) -> Result:
    """What changes of each VM, and what becomes of it."""
    difference = plan.proposal.difference
    rows = {row.vm_uuid: row for row in difference.rows}
    result = 'unchanged' if not rows else f'would_be_{plan.what}' if is_dry else plan.what
    document = build_document(result=result, vms=describe_rows(
        context, plan.vms, plan.proposal.vms_after), **document_of(difference))
    if not is_dry:
        document['staging'] = {vm_uuid: item.word for vm_uuid, item in followed.items()}

    def say(vm: Vm) -> List[str]:
        if vm.vm_uuid not in rows:
            single = _of(plan.situation, vm.vm_uuid)
            return [f'{say_same(vm, context.arguments)}; {say_undone(context, vm, single)}']
        outcome = followed[vm.vm_uuid].message if vm.vm_uuid in followed else None
        return say_lines(describe_row(rows[vm.vm_uuid], is_dry=is_dry), outcome)
    lines = [line for vm in plan.vms for line in say(vm)]
    if is_dry:
        lines.append(say_dry_run(_say_stopped(context, plan)))
    failed = [item.status for item in followed.values() if item.status is not ExitStatus.DONE]
    return Result(document, plain(lines), failed[0] if failed else ExitStatus.DONE,
                  minimal=tuple(vm.vm_uuid for vm in plan.vms))
