"""What follows an edit: staging, or the reason why it waits, and the answer that tells of it."""

from typing import Any, List, Optional

from cli.errors import ExitStatus
from cli.render import LEFT_TO_DAEMON, render_vm
from cli.result import Result, VmView, build_document
from cli.situation import Situation
from cli.text import Style, escape
from cli.views import view_record, view_row, vm_document
from registry.errors import RegistryUnavailable
from registry.values import Contents, Vm


class Follow:
    """The word and the sentence about what became of an edit in XAPI."""

    def __init__(self, word: str, message: str, plan: Any = None,
                 status: ExitStatus = ExitStatus.DONE) -> None:
        self.word = word
        self.message = message
        self.plan = plan
        self.status = status


def follow(context: Any, vm_uuid: str, situation: Situation) -> Follow:
    """Stage a VM at rest, or say why its change waits."""
    if not situation.was_asked:
        return Follow('not_asked', f'XAPI could not be asked ({situation.problem}), so nothing '
                      'was checked there; the change is committed, and applied when the VM comes '
                      'to rest')
    record = situation.record
    if record is None:
        return Follow('unknown', 'XAPI has no such VM')
    if situation.is_running:
        return Follow('pending', f'the VM is {record.power_state.value}; the change is pending '
                      'and applied when the VM comes to rest')
    if record.is_halted_resident:
        from cli.render import describe_resident
        return Follow('pending', f'the change is pending: {describe_resident(vm_uuid)}')
    if record.power_state.value == 'Halted' and record.operations:
        from cli.render import describe_operations
        return Follow('pending', 'the VM is Halted; the change is pending and '
                      + describe_operations(sorted(record.operation_names)))
    if not record.is_at_rest:
        doing = ', '.join(sorted(record.operation_names)) or 'no operation'
        return Follow('pending', f'the VM is {record.power_state.value} ({doing}); the change is '
                      'pending: a resume keeps the old arguments, a shutdown applies the new ones')
    from cli.staging import stage
    staged = stage(context, vm_uuid, is_hurried=True)
    if staged.word == 'by_daemon':
        staged = _correct(context, vm_uuid, record, staged)
    return Follow(staged.word, staged.message, staged.plan)


def _correct(context: Any, vm_uuid: str, record: Any, staged: Any) -> Any:
    """What the daemon does not do, or not yet, is not promised for it."""
    from cli.daemon_conditions import find_blocker
    contents = context.registry.read()
    row = contents.by_uuid.get(vm_uuid)
    plan = plan_row(context, row, record) if row is not None else None
    blocker = find_blocker(context, contents, plan)
    if blocker is None:
        return staged
    return staged._replace(word=blocker[0], message=blocker[1], plan=plan)


def build_answer(context: Any, what: str, sentence: str, row: Vm, situation: Situation,
                 followed: Optional[Follow]) -> Result:
    """Build the answer to an edit."""
    view = _view(context, row, situation, followed, is_removed='removed' in what)
    document = build_document(result=what, vm=vm_document(view))
    lines: List[str] = [sentence]
    if followed is not None:
        document['staging'] = {'result': followed.word, 'message': followed.message}
        lines.append(escape(f'{followed.message[0].upper()}{followed.message[1:]}.'))

    is_handed_on = (followed is not None and followed.word == 'by_daemon'
                    and view.state in ('drift', 'orphaned'))
    shown = view._replace(reason=LEFT_TO_DAEMON) if is_handed_on else view

    def render(_style: Style) -> List[str]:
        return lines + render_vm(shown)
    return Result(document, render, followed.status if followed else ExitStatus.DONE,
                  minimal=(row.vm_uuid,))


def _view(context: Any, row: Vm, situation: Situation, followed: Optional[Follow], *,
          is_removed: bool = False) -> VmView:
    """The VM as it is after the edit, or as it would be after one that is only rehearsed."""
    plan = followed.plan if followed is not None else None
    if plan is None and situation.record is not None:
        plan = plan_row(context, None if is_removed else row, situation.record)
    if plan is None:
        return view_row(row)
    view = view_record(row, plan.vm, plan, context.settings.device.known_names)
    is_left = followed is not None and followed.word in ('by_daemon', 'pending')
    if is_removed and is_left and view.carried:
        # What nobody asks for any more is no manual span: it goes away.
        return view._replace(state='orphaned', reason='not_at_rest' if situation.is_running else '')
    return view


def plan_row(context: Any, row: Optional[Vm], record: Any) -> Any:
    """The plan for a VM as if the registry held this row for it, or none.

    What the VM runs with is what its receipt says, whatever its record carries (P6).
    """
    from cli.pool_view import PoolView
    try:
        contents = context.registry.read()
    except RegistryUnavailable:
        # A rehearsal before there is a registry.
        contents = Contents(1, (), ())
    rows = tuple(vm for vm in contents.vms if vm.vm_uuid != record.uuid)
    with context.journal() as journal:
        return PoolView(context.settings, contents._replace(vms=rows + ((row,) if row else ())),
                        journal, [record]).plan(record)
