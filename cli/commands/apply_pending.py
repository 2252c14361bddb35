"""apply-pending: restarts the VMs whose change waits for it, one after the other.

What is to be restarted is shown and asked about; `rolling_restart.py` does it. Running it again
goes on where it ended, since what is done is not pending any more.
"""

import contextlib
import shlex
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.show import note_faults
from cli.context import Context
from cli.effects.rolling_restart import Roll, read_pending
from cli.errors import CommandError, ExitStatus, Kind
from cli.output.edit_messages import say_dry_run
from cli.output.result import Result, build_document
from cli.output.tables import brief_pair
from cli.output.text import Style, escape, plural
from cli.output.vm_view import view_record, vm_document
from cli.queries.overtaken import refuse_overtaken
from cli.queries.pending import Selection, Step, Waiting, name_of, select
from cli.queries.pool_snapshot import read_pool
from cli.queries.vm_lookup import find_target, find_targets
from registry.difference import assignment_of
from registry.errors import RegistryError
from registry.values import Contents
from watcher.errors import XapiError


def apply_pending(arguments: Arguments, context: Context) -> Result:
    """Restart pending VMs; those that do not run are left as they are."""
    _refuse_elsewhere(context)
    contents = context.registry.read()
    note_faults(context, contents)
    is_chosen = _build_choice(arguments, context, contents)
    shown = select(read_pending(context, contents), is_chosen, arguments.get(options.COUNT))
    window = arguments.get(options.WINDOW)
    block = render_selection(shown, window)
    if not shown.steps:
        return _finished('nothing_to_do', context, block, shown)
    if arguments.get(options.DRY_RUN):
        return _finished('would_apply', context, block + [say_dry_run()], shown)
    _check_daemon(context, contents)
    context.confirm(block, 'Do you want to restart '
                    f"{'it' if shown.vm_count == 1 else 'them'}?")
    if context.was_asked and _list_rows(context.registry.read(), shown) \
            != _list_rows(contents, shown):
        raise CommandError(Kind.CONFLICT, 'the assignments of these VMs have changed since they '
                           'were shown; nothing was restarted; look again')
    roll = Roll(context, shown, _spell_again(arguments), window=window,
                accepts_unverified=bool(arguments.get(options.ACCEPT_UNVERIFIED)))
    outcome = roll.run()
    return _finished(outcome.word, context, outcome.lines, shown, outcome.results,
                     outcome.status)


def render_selection(selection: Selection, window: Any) -> List[str]:
    """What is to be restarted, in which order, and what is not."""
    lines: List[str] = []
    if selection.steps:
        many = ', one after the other, each verified before the next'
        lines.append(f'{plural(selection.vm_count, "pending VM")} to be restarted'
                     f"{many if selection.vm_count > 1 else ', and verified'}:")
    for number, step in enumerate(selection.steps, 1):
        lines += _render_step(number, step)
    if not lines:
        lines.append('Nothing is pending that a restart would apply.')
    if selection.left:
        lines += ['Not restarted:'] + [f'  {name_of(left.waiting)}: {left.why}'
                                       for left in selection.left]
    if window is not None and selection.steps:
        lines.append(f'Restarts begin at {window} only.')
    return lines


def _render_step(number: int, step: Step) -> List[str]:
    mark: str = f'{number:4d}. '
    lines: List[str] = []
    if len(step.vms) > 1:
        lines.append(f'{mark}together, since they wait for one another\'s numbers:')
        mark = ' ' * len(mark)
    for waiting in step.vms:
        desired = waiting.plan.desired
        pairs = sorted(brief_pair(span, desired) for span in waiting.plan.runs or (None,))
        lines += [f'{mark}{name_of(waiting)}',
                  f"      {' or '.join(runs for runs, _desired in pairs)} → {pairs[0][1]}"]
        mark = ' ' * len(mark)
    return lines


def _build_choice(arguments: Arguments, context: Context,
                  contents: Contents) -> Callable[[Waiting], bool]:
    pool_id, named = arguments.get(options.POOL), _find_named(arguments, context, contents)
    return lambda waiting: ((named is None or waiting.vm.uuid in named)
                            and pool_id in (None, waiting.row.pool_id))


def _find_named(arguments: Arguments, context: Context,
                contents: Contents) -> Optional[FrozenSet[str]]:
    """The VMs that the command line names; None where it names none."""
    if arguments.get(options.VMS):
        found = frozenset(target.vm_uuid for target in find_targets(context, contents))
    elif any(arguments.get(option) for option in options.VM):
        found = frozenset([find_target(context, contents).vm_uuid])
    else:
        return None
    for vm_uuid in sorted(found - set(contents.by_uuid)):
        raise CommandError(Kind.NOT_FOUND, f"VM {vm_uuid} is not registered; see 'vgpu-admin "
                           "list-vms'")
    return found


def _refuse_elsewhere(context: Context) -> None:
    master = context.live().master
    if master is not None:
        raise CommandError(Kind.FAILED, 'this host is a member of its pool: run it on the master, '
                           f'{escape(master)}; nothing was restarted')
    refuse_overtaken(context)


def _check_daemon(context: Context, contents: Contents) -> None:
    """Refuse while the daemon that runs would not stage what is stopped."""
    from cli.effects.daemon_conditions import find_blocker
    blocker = find_blocker(context, contents, None)
    if blocker is not None:
        raise CommandError(Kind.FAILED, f'nothing was restarted: {blocker[1]}')


def _list_rows(contents: Contents, shown: Selection) -> Dict[str, Any]:
    """What the registry says of the VMs that are to be restarted."""
    rows = (contents.by_uuid.get(waiting.vm.uuid) for step in shown.steps
            for waiting in step.vms)
    return {row.vm_uuid: assignment_of(row) for row in rows if row is not None}


def _spell_again(arguments: Arguments) -> str:
    """The command that goes on where this one ended."""
    return ' '.join(['vgpu-admin'] + [shlex.quote(word) for word in arguments.words])


def _finished(word: str, context: Context, lines: List[str], shown: Selection,
              results: Mapping[str, Tuple[str, str]] = {},
              status: ExitStatus = ExitStatus.DONE) -> Result:
    """The answer: what became of each VM that was shown."""
    usual = 'would_restart' if word == 'would_apply' else 'left'
    items: List[Tuple[Waiting, Optional[int], Tuple[str, str]]] = [
        (waiting, number, results.get(waiting.vm.uuid, (usual, '')))
        for number, step in enumerate(shown.steps, 1) for waiting in step.vms]
    items += [(left.waiting, None, ('left', left.why)) for left in shown.left]
    documents = _describe_vms(context, [item[0] for item in items])
    vms = [dict(document, step=number, result=result, message=message)
           for document, (_waiting, number, (result, message)) in zip(documents, items)]
    done = tuple(waiting.vm.uuid for waiting, _number, (result, _message) in items
                 if result in ('restarted', 'would_restart'))

    def render(_style: Style) -> List[str]:
        return [escape(line) for line in lines]
    return Result(build_document(result=word, vms=vms), render, status, minimal=done)


def _describe_vms(context: Context, items: List[Waiting]) -> List[Dict[str, Any]]:
    """The VMs as they are now, for programs; where XAPI cannot be asked, as they were."""
    names = context.settings.device.known_names
    vms: Dict[str, Any] = {}
    plans: Dict[str, Any] = {}
    with contextlib.suppress(XapiError, RegistryError):
        pool = read_pool(context, context.registry.read())
        vms = {vm.uuid: vm for vm in pool.ordinary_vms}
        plans = pool.list_plans()
    return [vm_document(view_record(
        waiting.row, vms.get(waiting.vm.uuid, waiting.vm),
        plans.get(waiting.vm.uuid, waiting.plan), names)) for waiting in items]
