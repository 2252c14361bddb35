"""set-pool, set-priority, set-vm-id and update-vm: a row changes, and perhaps a VM restarts."""

from collections import OrderedDict
from typing import Any, Dict, Mapping

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.effects.follow_up import (Follow, build_answer, build_rehearsal, follow, may_help,
                                   needs_restart, plan_row, say_undone)
from cli.effects.proposals import rehearse
from cli.output.edit_messages import say_change, say_settings
from cli.output.result import Result
from cli.output.tables import priority_text, render_change
from cli.output.text import escape, name_vm
from cli.output.vm_view import view_row, vm_document
from cli.queries.preflight import Situation, claim_numbers, read_situation
from cli.queries.vm_lookup import find_target
from registry.edit import Edit
from registry.values import Priority, Vm


def change_vm(arguments: Arguments, context: Context) -> Result:
    """Change an assignment; everything is checked before anything is touched."""
    if arguments.get(options.VMS):
        from cli.commands.update_many import change_several
        return change_several(arguments, context)
    contents = context.registry.read()
    target = find_target(context, contents)
    changes = read_changes(arguments)
    situation = read_situation(context, contents, target.vm_uuid, with_numbers='vm_id' in changes)
    changing = _Changing(target.vm_uuid, changes, situation)
    done = f'the change of VM {target.vm_uuid} is committed to the registry'
    if not situation.is_running and not arguments.get(options.DRY_RUN):
        # Nothing is to be asked about: what it comes to is seen when it is done.
        with context.editing(done=done) as edit:
            changing.build(edit)
        return _answer(arguments, context, changing, situation)
    proposal = rehearse(context, changing.build)
    before, after = changing.before, changing.after
    if arguments.get(options.DRY_RUN):
        return _rehearsed(arguments, context, before, after, situation)
    if _is_same(before, after):
        return _settle(arguments, context, before, situation)
    is_restarted = _ask(arguments, context, before, after, situation)
    if context.was_asked:
        context.carry_out(proposal._replace(scope=frozenset([target.vm_uuid])), done=done)
    else:
        with context.editing(done=done) as edit:
            changing.build(edit)
        before, after = changing.before, changing.after
    if is_restarted:
        from cli.effects.restart import restart
        followed = restart(context, situation.record, ways_of(before, after), row=after)
        return _changed(context, changing, situation, followed)
    return _answer(arguments, context, changing, situation)


def _answer(arguments: Arguments, context: Context, changing: '_Changing',
            situation: Situation) -> Result:
    """What was done without a restart, if anything."""
    if _is_same(changing.before, changing.after):
        return _settle(arguments, context, changing.before, situation)
    return _changed(context, changing, situation, _follow(context, changing.after, situation))


def _changed(context: Context, changing: '_Changing', situation: Situation,
             followed: Follow) -> Result:
    return build_answer(context, 'changed', _say(changing.before, changing.after), changing.after,
                        situation, followed)


def _settle(arguments: Arguments, context: Context, row: Vm, situation: Situation) -> Result:
    """What is so already: only a VM that runs on without the change may need a restart."""
    head = say_same(row, arguments)
    may_restart = not arguments.get(options.NO_RESTART) and may_help(context, row, situation)
    if not may_restart or not (arguments.get(options.YES) or context.can_ask):
        also = '; --yes restarts it' if may_restart else ''
        return build_answer(context, 'unchanged',
                            f'{head}; {say_undone(context, row, situation)}{also}', row, situation,
                            None)
    from cli.effects.restart import refuse_useless_restart, restart
    refuse_useless_restart(context, row, situation.record)
    plan = plan_row(context, row, situation.record)
    context.confirm(render_change(
        dict(_shown(row), **{'Runs with': escape(plan.carried) or '-'}),
        dict(_shown(row), **{'Runs with': escape(plan.desired) or '-'})),
        'Do you want to apply these settings?')
    followed = restart(context, situation.record, ways_of(row, row), row=row)
    return build_answer(context, 'unchanged', head, row, situation, followed)


def _ask(arguments: Arguments, context: Context, before: Vm, after: Vm,
         situation: Situation) -> bool:
    """Whether the VM is to be restarted; raises when the answer is no."""
    if arguments.get(options.NO_RESTART) or not needs_restart(context, after, situation):
        return False
    from cli.effects.restart import refuse_useless_restart
    refuse_useless_restart(context, after, situation.record)
    context.confirm(render_change(_shown(before), _shown(after)),
                    'Do you want to apply these settings?',
                    alternatives='--yes (restarts the VM) or --no-restart (leaves it running)')
    return True


def _follow(context: Context, after: Vm, situation: Situation) -> Follow:
    if situation.is_running and not needs_restart(context, after, situation):
        return Follow('as_desired', 'staged: the running VM has it already; no restart is needed')
    return follow(context, after.vm_uuid, situation)


class _Changing:
    """One change of a VM's row, as often as it is made up: the row before, and after."""

    def __init__(self, vm_uuid: str, changes: Mapping[str, Any],
                 situation: Situation) -> None:
        self._vm_uuid = vm_uuid
        self._changes = changes
        self._situation = situation
        self.before = self.after = Vm(0, vm_uuid, None, '', Priority.MEDIUM)

    def build(self, edit: Edit) -> None:
        """Do it in an edit."""
        claim_numbers(edit, self._situation)
        self.before, self.after = edit.change_vm(self._vm_uuid, taken=self._situation.taken,
                                                 **self._changes)


def _rehearsed(arguments: Arguments, context: Context, before: Vm, after: Vm,
               situation: Situation) -> Result:
    """What would become of the row, and whether the VM would be restarted for it."""
    is_same, helps = _is_same(before, after), may_help(context, after, situation)
    restarts = helps and not arguments.get(options.NO_RESTART)
    said = 'no VM would be restarted'
    if helps:
        said = 'the VM would be stopped and started' if restarts else \
            'the VM would keep its old arguments until it is shut down and started'
    elif not is_same and needs_restart(context, after, situation):
        said = f'a restart would not apply it: {say_undone(context, after, situation)}'
    head = f'{say_same(after, arguments)}; {say_undone(context, after, situation)}' if is_same \
        else _say(before, after)
    return build_rehearsal(context, 'unchanged' if is_same else 'would_be_changed', head, after,
                           situation, said, before=vm_document(view_row(before)), restart=restarts)


def say_same(vm: Vm, arguments: Arguments) -> str:
    """That a row has already what was asked for."""
    return (f'{name_vm(vm.vm_name, vm.vm_uuid)} already has '
            f'{say_settings(vm, read_changes(arguments))}')


def _say(before: Vm, after: Vm) -> str:
    return f'{name_vm(after.vm_name, after.vm_uuid)}: {say_change(before, after)}'


def read_changes(arguments: Arguments) -> Dict[str, Any]:
    """What the command line changes."""
    given = (('pool_id', options.POOL), ('priority', options.PRIORITY), ('vm_id', options.VM_ID))
    return {name: arguments.get(option) for name, option in given
            if arguments.get(option) is not None}


def _is_same(before: Vm, after: Vm) -> bool:
    return before == after._replace(updated_at=before.updated_at)


def _shown(vm: Vm) -> 'OrderedDict[str, str]':
    return OrderedDict([('Name', escape(vm.vm_name) or '-'), ('UUID', vm.vm_uuid),
                        ('Pool', vm.pool_id), ('Priority', priority_text(vm.priority)),
                        ('VM ID', str(vm.vm_id))])


def ways_of(before: Vm, after: Vm) -> Any:
    """How to go on after a stop that failed, and how to take the edit back."""
    from cli.effects.restart import Ways
    return Ways(f'{_command(after)} --yes --force',
                f'{_command(before)} --no-restart' if before != after else '')


def _command(vm: Vm) -> str:
    return (f'vgpu-admin update-vm --vm-uuid={vm.vm_uuid} --pool={vm.pool_id} '
            f'--priority={vm.priority.word} --vm-id={vm.vm_id}')
