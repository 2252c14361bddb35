"""register-vm and remove-vm: a row comes, a row goes."""

from collections import OrderedDict
from typing import Any, List, Optional, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.effects.follow_up import (Follow, build_answer, build_rehearsal, follow, needs_restart,
                                   plan_row, say_undone)
from cli.effects.proposals import create, rehearse
from cli.errors import CommandError, Kind
from cli.output.edit_messages import say_assignment
from cli.output.result import Result
from cli.output.tables import brief_args, priority_text, render_change
from cli.output.text import escape, name_vm
from cli.output.vm_view import view_row, vm_document
from cli.queries.preflight import Situation, claim_numbers, read_situation
from cli.queries.vm_lookup import NamedVm, find_target
from registry.edit import Edit
from registry.errors import Conflict, InvalidValue, NotFound, Reason, RegistryUnavailable
from registry.values import Contents, Priority, Vm, clean_name

DEFAULT_POOL = 'A'
DEFAULT_PRIORITY = Priority.MEDIUM
# The end of an earlier registration is among the newest changes of a VM's row.
_LOOKED_AT = 50


def register_vm(arguments: Arguments, context: Context) -> Result:
    """Register a VM; asking for what already is succeeds and changes nothing."""
    if arguments.get(options.FROM_FILE) or arguments.get(options.VMS):
        from cli.commands.register_file import register_listed
        return register_listed(arguments, context)
    contents = _read_or_none(context)
    target = find_target(context, contents, everywhere=True)
    situation = read_situation(context, contents, target.vm_uuid, with_numbers=True)
    name = _checked_name(contents, target, situation,
                         may_be_missing=bool(arguments.get(options.MISSING_OK)))
    is_dry = bool(arguments.get(options.DRY_RUN))
    if contents is None:
        from cli.commands.held_assignments import refuse_to_forget
        refuse_to_forget(context, "'vgpu-admin init --empty' gives them up; then register the VM")
    vm, is_new = _add(arguments, context, target, name, situation, contents is None)
    what = 'registered' if is_new else 'already_registered'
    if situation.record is not None and not situation.record.has_qemu:
        context.note('it is a PV or PVH guest: there is no QEMU that could take arguments')
    if is_new:
        note_replaced(context, vm, situation.record, is_dry=is_dry)
    is_restarted = bool(arguments.get(options.RESTART)) and needs_restart(context, vm, situation)
    head = _say_registered(vm, what, is_dry and is_new)
    if not (is_new or is_restarted):
        head += f'; {say_undone(context, vm, situation)}'
    if is_dry:
        return build_rehearsal(context, f'would_be_{what}' if is_new else what, head, vm, situation,
                               'the VM would be stopped and started' if is_restarted else '',
                               before=None if is_new else vm_document(view_row(vm)),
                               restart=is_restarted)
    if not (is_new or is_restarted):
        return build_answer(context, what, head, vm, situation, None)
    if is_restarted:
        from cli.effects.restart import restart
        followed = restart(context, situation.record, ways_on(vm), row=vm)
    else:
        followed = follow(context, vm.vm_uuid, situation)
    return build_answer(context, what, head, vm, situation, followed)


def remove_vm(arguments: Arguments, context: Context) -> Result:
    """Remove a row, also one of a VM that XAPI does not know any more."""
    if arguments.get(options.GONE):
        from cli.commands.transfer import remove_gone
        return remove_gone(arguments, context)
    if arguments.get(options.VMS):
        from cli.commands.update_many import remove_several
        return remove_several(arguments, context)
    contents = context.registry.read()
    target = _find_row(context, contents)
    situation = read_situation(context, contents, target.vm_uuid, with_numbers=False)
    removed: List[Vm] = []

    def build(edit: Edit) -> None:
        try:
            removed[:] = [edit.remove_vm(target.vm_uuid)]
        except InvalidValue as error:
            raise CommandError(Kind.USAGE, f'--vm-uuid: {error}, and no row has it') from error

    proposal = rehearse(context, build)
    before = removed[0]
    is_stopped = situation.is_running and not arguments.get(options.NO_RESTART)
    is_odd = any(row.problem for row in proposal.difference.rows)
    head = _say_removed(before, is_odd, bool(arguments.get(options.DRY_RUN)))
    if arguments.get(options.DRY_RUN):
        starts = ' and started' if arguments.get(options.RESTART) else ''
        return build_rehearsal(context, 'would_be_removed', head, before, situation,
                               f'the VM would be stopped{starts}' if is_stopped else '',
                               before=vm_document(view_row(before)),
                               restart=is_stopped and bool(starts))
    if is_stopped:
        from cli.effects.restart import refuse_vain_stop
        refuse_vain_stop(context, situation.record)
        context.confirm(_removal_block(before, arguments), 'Do you want to apply these settings?',
                        alternatives='--yes (stops the VM) or --no-restart (leaves it running)')
    done = f'VM {escape(before.vm_uuid)} was removed from the registry'
    if context.was_asked:
        context.carry_out(proposal._replace(scope=frozenset([before.vm_uuid])), done=done)
    else:
        with context.editing(done=done) as edit:
            build(edit)
    followed = _follow_removal(arguments, context, before._replace(vm_uuid=target.vm_uuid),
                               situation, is_stopped)
    return build_answer(context, 'removed', head, before, situation, followed)


def _say_removed(before: Vm, is_odd: bool, is_dry: bool) -> str:
    would = 'would be ' if is_dry else ''
    said = (f'row {would}removed; it was not valid' if is_odd else
            f'registration {would}removed ({say_assignment(before)})')
    return f'{name_vm(before.vm_name, before.vm_uuid)}: {said}'


def _find_row(context: Context, contents: Contents) -> NamedVm:
    """The VM, or the row that `check` names with the text that was given."""
    target = find_target(context, contents)
    named = [fault.vm_uuid for fault in contents.faults if escape(fault.vm_uuid) == target.vm_uuid]
    return target._replace(vm_uuid=named[0]) if named else target


def _follow_removal(arguments: Arguments, context: Context, before: Vm, situation: Situation,
                    is_stopped: bool) -> Follow:
    if not is_stopped:
        return follow(context, before.vm_uuid, situation, is_removed=True)
    from cli.effects.restart import restart
    return restart(context, situation.record, ways_back(before),
                   starts=bool(arguments.get(options.RESTART)))


def ways_back(before: Vm) -> Any:
    """How to go on after a stop that failed, and how to register a removed VM again."""
    from cli.effects.restart import Ways
    return Ways(f'xe vm-shutdown uuid={before.vm_uuid} force=true', _register_again(before))


def note_replaced(context: Context, vm: Vm, record: Any, *, is_dry: bool) -> None:
    """Say what a VM carries besides what its new row says, and until when."""
    if record is None or not record.args:
        return
    from watcher.vm.plan import State
    plan = plan_row(context, None, record)
    if plan is None or plan.state not in (State.MANUAL, State.ORPHANED):
        return
    carried, name = brief_args(plan.carried), name_vm(vm.vm_name, vm.vm_uuid)
    if carried == f'{vm.pool_id}/{vm.priority.word}/{vm.vm_id}':
        return
    until = '' if record.is_at_rest else 'until it is shut down and started'
    if plan.state is State.ORPHANED or _was_staged(context, vm.vm_uuid, plan.carried):
        if until:
            context.note(f'{name} runs with {carried} from its earlier registration {until}')
    elif is_dry:
        context.note(f"{name} carries {carried}, made by hand; 'vgpu-admin adopt' registers a VM "
                     'with what it carries')
    else:
        context.note(f'{name} carried {carried}, made by hand, '
                     f'and keeps it {until or "until it is staged"}'
                     + _say_how_to_keep(vm.vm_uuid, carried))


def _was_staged(context: Context, vm_uuid: str, carried: str) -> bool:
    """Whether we wrote what a VM carries, for a row that it had before."""
    with context.journal() as journal:
        staged = journal.staged().get(vm_uuid) if journal is not None else None
        return staged is not None and staged.value == carried and any(
            entry.what == 'vm_removed'
            for entry in journal.list_history(vm_uuid, _LOOKED_AT, is_routine=False))


def _say_how_to_keep(vm_uuid: str, carried: str) -> str:
    """The command that assigns a VM what it carried, where that is an assignment."""
    pool_id, _slash, rest = carried.partition('/')
    priority, _slash, vm_id = rest.partition('/')
    if priority not in [item.word for item in Priority]:
        return ''
    return (f'; to keep that for good: vgpu-admin update-vm --vm-uuid={vm_uuid} --pool={pool_id} '
            f'--priority={priority} --vm-id={vm_id}')


def _read_or_none(context: Context) -> Optional[Contents]:
    """Read the registry; None when there is none yet: the first registration creates it."""
    try:
        return context.registry.read()
    except RegistryUnavailable as error:
        if error.reason in (Reason.MISSING, Reason.EMPTY):
            return None
        raise


def _checked_name(contents: Optional[Contents], target: NamedVm, situation: Situation, *,
                  may_be_missing: bool) -> Optional[str]:
    """Refuse what is not an ordinary VM; give the name that goes into the registry."""
    is_registered = contents is not None and target.vm_uuid in contents.by_uuid
    if situation.kind_problem and not is_registered:
        raise CommandError(Kind.FAILED, f'VM {target.vm_uuid} {situation.kind_problem}; nothing '
                           'was changed')
    if situation.record is None:
        if situation.was_asked and not (is_registered or may_be_missing):
            raise NotFound(f"XAPI has no VM {target.vm_uuid}; see 'vgpu-admin scan-vms', or add "
                           '--missing-ok for a VM that is restored or imported later')
        return target.name
    name = clean_name(situation.record.name)
    if target.name is not None and target.name != name and not is_registered:
        raise Conflict(f"VM {target.vm_uuid} has the name '{escape(name)}' in XAPI, not "
                       f"'{escape(target.name)}'; leave --vm-name out")
    return name


def _add(arguments: Arguments, context: Context, target: NamedVm, name: Optional[str],
         situation: Situation, creates: bool) -> Tuple[Vm, bool]:
    """Add the row, and the registry where there is none; the VM, and whether it is new."""
    added: List[Vm] = []

    def build(edit: Edit) -> None:
        claim_numbers(edit, situation)
        added[:] = [edit.add_vm(target.vm_uuid, vm_name=name,
                                pool_id=arguments.get(options.POOL) or DEFAULT_POOL,
                                priority=_priority(arguments), vm_id=arguments.get(options.VM_ID),
                                taken=situation.taken, floor=situation.largest)]

    done = f'VM {target.vm_uuid} was registered'
    if arguments.get(options.DRY_RUN):
        proposal = rehearse(context, build, may_create=True)
        if proposal.creates:
            context.note(f'the registry {context.registry.path} would be created')
        return added[0], proposal.has_any
    if creates and create(context, rehearse(context, build, may_create=True), done=done):
        context.note(f'the registry {context.registry.path} is created')
        return added[0], True
    with context.editing(done=done) as edit:
        build(edit)
    if edit.journal_problem and arguments.get(options.VM_ID) is None and edit.proposal.has_any:
        context.note(f'vm_id {added[0].vm_id} may have been given out before: the journal '
                     'knows which were; --vm-id=N chooses another')
    return added[0], edit.proposal.has_any


def _priority(arguments: Arguments) -> Priority:
    priority = arguments.get(options.PRIORITY)
    return DEFAULT_PRIORITY if priority is None else priority


def _say_registered(vm: Vm, what: str, is_dry: bool) -> str:
    verb = 'would be registered' if is_dry else what.replace('_', ' ')
    return f'{name_vm(vm.vm_name, vm.vm_uuid)}: {verb} with {say_assignment(vm)}'


def ways_on(vm: Vm) -> Any:
    """How to go on after a stop that failed, and how to take the registration back."""
    from cli.effects.restart import Ways
    return Ways(f'{_register_again(vm)} --restart --force',
                f'vgpu-admin remove-vm --vm-uuid={vm.vm_uuid} --no-restart')


def _register_again(vm: Vm) -> str:
    return (f'vgpu-admin register-vm --vm-uuid={vm.vm_uuid} --pool={vm.pool_id} '
            f'--priority={vm.priority.word} --vm-id={vm.vm_id}')


def _removal_block(before: Vm, arguments: Arguments) -> List[str]:
    current = OrderedDict([('Name', escape(before.vm_name) or '-'), ('UUID', before.vm_uuid),
                           ('Pool', before.pool_id),
                           ('Priority', priority_text(before.priority)),
                           ('VM ID', str(before.vm_id))])
    starts = bool(arguments.get(options.RESTART))
    return render_change(current, {'Registered': 'no'}, starts=starts)
