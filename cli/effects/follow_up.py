"""What follows an edit: staging, or the reason why it waits, and the answer that reports it."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.commandline import options
from cli.errors import ExitStatus
from cli.output.edit_messages import say_dry_run, say_lines, say_not_staged, say_unknown
from cli.output.result import Result, VmView, build_document
from cli.output.tables import LEFT_TO_DAEMON, WOULD_BE_REMOVED, WOULD_BE_STAGED, render_vm
from cli.output.text import Style, escape, say_unasked, spell_vm
from cli.output.vm_view import view_record, view_row, vm_document
from cli.queries.daemon_status import find_daemon
from cli.queries.preflight import Situation
from registry.errors import RegistryUnavailable
from registry.values import Contents, Vm

# An edit waits so long for the daemon that stages it.
STAGED_SECONDS = 3.0
APPLIED_AT_BOOT = ('saved; applied at its next boot: pending until it is shut down and started (a '
                   'reboot is not enough)')
_LATE = ("not staged: the daemon has not done it within 3 s; the change is saved; see "
         "'vgpu-admin status'")
# What a daemon stages when the VM has been shut down, or when XAPI answers again.
_WAITING = ('pending', 'not_asked', 'failed')


class Follow(NamedTuple):
    """What became of an edit in XAPI, for one VM."""

    word: str
    """staged, as_desired, pending, by_daemon, refused, failed, unknown, or another state."""
    message: str
    plan: Any = None
    status: ExitStatus = ExitStatus.DONE


def follow(context: Any, vm_uuid: str, situation: Situation, *,
           is_removed: bool = False) -> Follow:
    """Stage a VM at rest, or say why its change waits."""
    waiting = _find_waiting(vm_uuid, situation, is_removed)
    if waiting is not None:
        waiting = _find_left_alone(context, {vm_uuid: situation}).get(vm_uuid, waiting)
        _note_no_daemon(context, [waiting])
        return waiting
    from cli.effects.direct_staging import stage
    staged = stage(context, vm_uuid, is_hurried=True)
    if staged.word == 'by_daemon':
        staged = _correct(context, vm_uuid, situation.record, staged)
    if staged.word == 'by_daemon':
        staged = _wait_for_daemon(context, {vm_uuid: staged})[vm_uuid]
    return staged


def follow_many(context: Any, situations: Mapping[str, Situation], *,
                is_removed: bool) -> Dict[str, Follow]:
    """The same for several VMs, which are staged together."""
    followed = {vm_uuid: _find_waiting(vm_uuid, situation, is_removed)
                for vm_uuid, situation in situations.items()}
    followed.update(_find_left_alone(context, situations))
    resting = [vm_uuid for vm_uuid, found in followed.items() if found is None]
    if resting:
        followed.update(stage_all(context, resting, is_hurried=True))
    _note_no_daemon(context, [found for found in followed.values() if found is not None])
    return {vm_uuid: found for vm_uuid, found in followed.items() if found is not None}


def _find_left_alone(context: Any, situations: Mapping[str, Situation]) -> Dict[str, Follow]:
    """The VMs that run and would not be staged after a shutdown either, and why."""
    records = [situation.record.as_halted() for situation in situations.values()
               if situation.record is not None and situation.is_running]
    if not records:
        return {}
    from cli.effects.direct_staging import LEFT_ALONE, describe_plan
    from cli.queries.pool_snapshot import PoolView
    try:
        contents = context.registry.read()
    except RegistryUnavailable:
        return {}  # the edit is done, whatever has become of the registry since
    with context.journal() as journal:
        view = PoolView(context.settings, contents, journal, records)
    plans = [view.plan_of(record.uuid) for record in records]
    return {plan.vm.uuid: describe_plan(plan)._replace(plan=None) for plan in plans
            if plan is not None and plan.state in LEFT_ALONE}


def stage_all(context: Any, vm_uuids: List[str], *, is_hurried: bool = False) -> Dict[str, Follow]:
    """Stage these VMs, or wait until the daemon has; what became of each."""
    from cli.effects.daemon_conditions import tell_each
    from cli.effects.direct_staging import stage_many
    staged = tell_each(context, stage_many(context, vm_uuids, is_hurried=is_hurried))
    staged.update(_wait_for_daemon(context, {
        vm_uuid: item for vm_uuid, item in staged.items() if item.word == 'by_daemon'}))
    _note_no_daemon(context, list(staged.values()))
    return staged


def _note_no_daemon(context: Any, items: Sequence[Follow]) -> None:
    """What waits for a shutdown is staged then by a daemon only: say where there is none."""
    if any(item.word in _WAITING for item in items) \
            and find_daemon(context.settings.registry.path) is None:
        context.note('no daemon is running: what is not staged yet waits until one runs: '
                     'systemctl start vgpu-watcher')


def _find_waiting(vm_uuid: str, situation: Situation, is_removed: bool) -> Optional[Follow]:
    """Why nothing can be staged now; None for a VM at rest."""
    if not situation.was_asked:
        return Follow('not_asked', f'saved, not checked and {say_not_staged(situation.problem)}')
    record = situation.record
    if record is None:
        return Follow('unknown', 'XAPI has no such VM; nothing else to do' if is_removed else
                      'saved; staged when XAPI has the VM, which it does not know now')
    if situation.is_running:
        return Follow('pending', APPLIED_AT_BOOT)
    if record.is_halted_resident:
        from cli.output.tables import describe_resident
        return Follow('pending', f'not staged: pending: {describe_resident(vm_uuid)}')
    if record.power_state.value == 'Halted' and record.operations:
        from cli.output.tables import describe_operations
        return Follow('pending', 'not staged: pending: the VM is Halted and '
                      + describe_operations(sorted(record.operation_names)))
    if not record.is_at_rest:
        doing = f" ({', '.join(sorted(record.operation_names))})" if record.operations else ''
        return Follow('pending', f'saved; applied at its next boot: pending, since the VM is '
                      f'{record.power_state.value}{doing}: a resume keeps the old arguments, a '
                      'shutdown applies the new ones')
    return None


def _wait_for_daemon(context: Any, staged: Dict[str, Follow]) -> Dict[str, Follow]:
    """Wait for the daemon to stage these VMs, but not for long, and not where told not to.

    Who has the writer's lock may be another command, or a daemon that ends: then it is done here.
    """
    if context.arguments.get(options.NO_WAIT):
        return staged
    from cli.effects.direct_staging import stage_many
    found, deadline = dict(staged), context.clock() + STAGED_SECONDS
    while staged:
        found.update(_wait_until_staged(context, staged, deadline - context.clock()))
        left = [vm_uuid for vm_uuid in staged if found[vm_uuid].word == 'by_daemon']
        if not left or context.clock() >= deadline or not _is_alone(context):
            break
        found.update(stage_many(context, left, is_hurried=True))
        staged = {vm_uuid: found[vm_uuid] for vm_uuid in left if found[vm_uuid].word == 'by_daemon'}
    return found


def _is_alone(context: Any) -> bool:
    return find_daemon(context.settings.registry.path) is None


def _wait_until_staged(context: Any, staged: Dict[str, Follow],
                       seconds: float) -> Dict[str, Follow]:
    """Wait until all are staged, or no program is left that would do it."""
    from cli.queries.xapi_tasks import wait_until
    from watcher.errors import XapiError
    found: Dict[str, Any] = {}

    def list_open() -> List[str]:
        return [vm_uuid for vm_uuid in staged
                if vm_uuid not in found or found[vm_uuid].holder is not None]

    def look() -> bool:
        found.update(_read_settled(context, list_open()))
        return not list_open() or _is_alone(context)

    late = None
    try:
        if wait_until(context, look, seconds) is None:
            from cli.effects.direct_staging import find_refusal
            late = find_refusal(context.live())
    except XapiError:
        pass  # what is not known to be staged is not said to be
    open_ones = list_open()
    return {vm_uuid: late if late is not None and vm_uuid in open_ones
            else _describe_found(item, found.get(vm_uuid)) for vm_uuid, item in staged.items()}


def _describe_found(item: Follow, plan: Any) -> Follow:
    """What has come of a VM that was left to the daemon, by the plan with which nothing is left to
    do; None where something is."""
    from cli.effects.direct_staging import describe_plan, say_next_start
    from watcher.vm.plan import State
    if plan is None:
        return item._replace(message=_LATE)
    if plan.state not in (State.AS_DESIRED, State.UNREGISTERED):
        return describe_plan(plan)
    return item._replace(word='staged', plan=plan, message=f'staged: {say_next_start(plan)}')


def _read_settled(context: Any, vm_uuids: List[str]) -> List[Tuple[str, Any]]:
    """The VMs for which nothing is left to do, each with its plan.

    What a VM that lost its row still carries was not made by hand: the journal, which knows, could
    not be read.
    """
    from cli.queries.pool_snapshot import read_neighbourhood, read_pool
    from watcher.vm.plan import Action, State
    contents = context.registry.read()
    view = read_pool(context, contents) if len(vm_uuids) > 1 else \
        read_neighbourhood(context, contents, vm_uuids[0])
    plans = [(vm_uuid, view.plan_of(vm_uuid)) for vm_uuid in vm_uuids]
    return [(vm_uuid, plan) for vm_uuid, plan in plans
            if plan is not None and plan.action is Action.NONE and plan.state is not State.MANUAL]


def _correct(context: Any, vm_uuid: str, record: Any, staged: Follow) -> Follow:
    """What the daemon does not do, or not yet, is not promised for it."""
    from cli.effects.daemon_conditions import find_blocker
    contents = context.registry.read()
    row = contents.by_uuid.get(vm_uuid)
    plan = plan_row(context, row, record, contents) if row is not None else None
    blocker = find_blocker(context, contents, plan)
    if blocker is None:
        return staged
    return staged._replace(word=blocker[0], message=blocker[1], plan=plan)


def build_answer(context: Any, what: str, head: str, row: Vm, situation: Situation,
                 followed: Optional[Follow]) -> Result:
    """Build the answer to an edit; `head` says what was changed."""
    view = _view(context, row, situation, followed, is_removed='removed' in what)
    document = build_document(result=what, vm=vm_document(view))
    if followed is not None:
        document['staging'] = {'result': followed.word, 'message': followed.message}
    shown = view._replace(reason=_find_shown_reason(view, what, followed))

    def render(_style: Style) -> List[str]:
        lines = say_lines(head, followed.message if followed is not None else None)
        return lines + (render_vm(shown) if context.arguments.get(options.VERBOSE) else [])
    return Result(document, render, followed.status if followed else ExitStatus.DONE,
                  minimal=(row.vm_uuid,))


def _find_shown_reason(view: VmView, what: str, followed: Optional[Follow]) -> Optional[str]:
    """Why a VM is shown that is not as it should be: not for long, or not really."""
    if view.state not in ('drift', 'orphaned'):
        return view.reason
    if followed is not None and followed.word == 'by_daemon':
        return LEFT_TO_DAEMON
    if what == 'would_be_removed':
        return WOULD_BE_REMOVED
    return WOULD_BE_STAGED if what.startswith('would_be_') else view.reason


def build_rehearsal(context: Any, what: str, head: str, row: Vm, situation: Situation,
                    also: str, **beside: Any) -> Result:
    """Build the answer to a dry run; `also` says what would become of a VM that runs."""
    result = build_answer(context, what, head, row, situation, None)
    if not situation.was_asked:
        also = say_unknown(situation.problem)
    return result._replace(
        document=dict(result.document, **beside),
        lines=lambda style: result.lines(style) + [escape(say_dry_run(also))])


def _view(context: Any, row: Vm, situation: Situation, followed: Optional[Follow], *,
          is_removed: bool = False) -> VmView:
    """The VM as it is after the edit, or as it would be after one that is only rehearsed."""
    plan = followed.plan if followed is not None else None
    if plan is None and situation.record is not None:
        plan = plan_row(context, None if is_removed else row, situation.record)
    if plan is None:
        return view_row(row)
    view = view_record(row, plan.vm, plan, context.settings.device.known_names)
    is_left = followed is None or followed.word in ('by_daemon', 'pending')
    if is_removed and is_left and view.carried:
        # What no row asks for any more is no manual span: it goes away.
        return view._replace(state='orphaned', reason='not_at_rest' if situation.is_running else '')
    return view


def say_undone(context: Any, row: Vm, situation: Situation) -> str:
    """What an edit that changes nothing leaves to be done: why the VM has not got its row yet."""
    if not situation.was_asked:
        return f'whether it is staged is not known: {say_unasked(situation.problem)}'
    waiting = _find_waiting(row.vm_uuid, situation, is_removed=False)
    if situation.record is None:
        return waiting.message if waiting is not None else ''
    plan = plan_row(context, row, situation.record)
    if plan is None or plan.state.value == 'as_desired':
        return 'nothing to do'
    if situation.is_running and plan.state.value == 'pending':
        which = 'older settings' if plan.runs and any(plan.runs) else 'none of our arguments'
        return (f"it runs with {which} until it is shut down and started: 'vgpu-admin "
                f"apply-pending {spell_vm(row.vm_name, row.vm_uuid)}'")
    from cli.effects.direct_staging import LEFT_ALONE, describe_plan, find_refusal
    from watcher.vm.plan import Action
    if plan.action is not Action.NONE:
        refusal = find_refusal(context.live())
        return refusal.message if refusal is not None else \
            "not staged yet: the daemon stages it; without one: 'vgpu-admin reconcile'"
    is_waiting = waiting is not None and plan.state not in LEFT_ALONE
    return waiting.message if waiting and is_waiting else describe_plan(plan).message


def plan_row(context: Any, row: Optional[Vm], record: Any,
             contents: Optional[Contents] = None) -> Any:
    """The plan for a VM as if the registry held this row for it, or none.

    What the VM runs with is what its receipt says, whatever its record carries (P6).
    """
    from cli.queries.pool_snapshot import PoolView
    try:
        contents = contents or context.registry.read()
    except RegistryUnavailable:
        # A rehearsal before there is a registry.
        contents = Contents(1, (), ())
    rows = tuple(vm for vm in contents.vms if vm.vm_uuid != record.uuid)
    with context.journal() as journal:
        return PoolView(context.settings, contents._replace(vms=rows + ((row,) if row else ())),
                        journal, [record]).plan(record)


def needs_restart(context: Any, row: Vm, situation: Situation) -> bool:
    """Whether the VM runs with something else than the row asks for."""
    if not situation.is_running:
        return False
    from watcher.vm.plan import State
    plan = plan_row(context, row, situation.record)
    return plan is None or plan.state is not State.AS_DESIRED


def may_help(context: Any, row: Vm, situation: Situation) -> bool:
    """Whether a restart may give a VM that runs what the row asks for, and it has not got."""
    if not situation.is_running:
        return False
    from cli.effects.direct_staging import LEFT_ALONE
    from watcher.vm.plan import State
    plan = plan_row(context, row, situation.record)
    return plan is None or plan.state not in (State.AS_DESIRED,) + LEFT_ALONE
