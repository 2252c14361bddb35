"""set-pool, set-priority, set-vm-id and update-vm: a row changes, and perhaps a VM restarts."""

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional, Tuple

from cli import options
from cli.context import Context
from cli.following import Follow, build_answer, follow, plan_row, refuse_changed
from cli.naming import find_target
from cli.parser import Arguments
from cli.render import priority_text, render_change
from cli.result import Result
from cli.situation import Situation, look
from cli.text import escape
from registry.values import Vm


def change_vm(arguments: Arguments, context: Context) -> Result:
    """Change an assignment; everything is checked before anything is touched."""
    contents = context.registry.read()
    target = find_target(context, contents)
    changes = _read_changes(arguments)
    situation = look(context, contents, target.vm_uuid, with_numbers='vm_id' in changes)
    before, after = _edit(context, target.vm_uuid, changes, situation, dry_run=True)
    if _is_same(before, after):
        return build_answer(context, 'unchanged', f'VM {before.vm_uuid} is so already; nothing '
                            'was changed.', before, situation, None)
    if arguments.get(options.DRY_RUN):
        return build_answer(context, 'would_be_changed', f'VM {before.vm_uuid} would be changed.',
                            after, situation, None)
    is_restarted = _ask(arguments, context, before, after, situation)
    before, after = _edit(context, target.vm_uuid, changes, situation, shown=before)
    if is_restarted:
        from cli.restart import restart
        followed = restart(context, situation.record, take_back=_take_back(before), row=after)
    else:
        followed = _follow(context, after, situation)
    return build_answer(context, 'changed', f'VM {after.vm_uuid} is changed.', after, situation,
                        followed)


def _ask(arguments: Arguments, context: Context, before: Vm, after: Vm,
         situation: Situation) -> bool:
    """Whether the VM is to be restarted; raises when the answer is no."""
    if (not situation.is_running or arguments.get(options.NO_RESTART)
            or _is_carried(context, after, situation)):
        return False
    from cli.restart import refuse_useless_restart
    refuse_useless_restart(context, after, situation.record)
    context.confirm(render_change(_shown(before), _shown(after)),
                    'Do you want to apply these settings?',
                    alternatives='--yes (restarts the VM) or --no-restart (leaves it running)')
    return True


def _follow(context: Context, after: Vm, situation: Situation) -> Follow:
    if situation.is_running and _is_carried(context, after, situation):
        return Follow('as_desired', 'the running VM carries just this; no restart is needed')
    return follow(context, after.vm_uuid, situation)


def _is_carried(context: Context, after: Vm, situation: Situation) -> bool:
    """Whether the VM carries already what the changed row asks for: a pending change goes back."""
    from watcher.plan import State
    plan = plan_row(context, after, situation.record)
    return plan is not None and plan.state is State.AS_DESIRED


def _edit(context: Context, vm_uuid: str, changes: Mapping[str, Any], situation: Situation,
          dry_run: bool = False, shown: Optional[Vm] = None) -> Tuple[Vm, Vm]:
    done = f'the change of VM {vm_uuid} is committed to the registry'
    with context.editing(done=done, dry_run=dry_run) as edit:
        if shown is not None and context.was_asked:
            refuse_changed(edit.contents(), shown)
        return edit.change_vm(vm_uuid, taken=situation.taken, **changes)


def _read_changes(arguments: Arguments) -> Dict[str, Any]:
    given = (('pool_id', options.POOL), ('priority', options.PRIORITY), ('vm_id', options.VM_ID))
    return {name: arguments.get(option) for name, option in given
            if arguments.get(option) is not None}


def _is_same(before: Vm, after: Vm) -> bool:
    return before == after._replace(updated_at=before.updated_at)


def _shown(vm: Vm) -> 'OrderedDict[str, str]':
    return OrderedDict([('Name', escape(vm.vm_name) or '-'), ('UUID', vm.vm_uuid),
                        ('Pool', vm.pool_id), ('Priority', priority_text(vm.priority)),
                        ('VM ID', str(vm.vm_id))])


def _take_back(before: Vm) -> str:
    words: List[str] = [f'--vm-uuid={before.vm_uuid}', f'--pool={before.pool_id}',
                        f'--priority={before.priority.word}', f'--vm-id={before.vm_id}']
    return f"vgpu-admin update-vm {' '.join(words)} --no-restart"
