"""The commands that change a vGPU pool: its name, its description, whether it is enabled."""

from typing import Any, Dict, FrozenSet, List, Optional

from cli import options
from cli.context import Context
from cli.parser import Arguments
from cli.render import render_pool
from cli.result import Result, build_document
from cli.situation import refuse_on_member
from cli.text import Style, escape, plural
from cli.views import count_pool, pool_document
from registry.values import Pool, Vm
from watcher.errors import XapiError


def set_pool_name(arguments: Arguments, context: Context) -> Result:
    """Rename a vGPU pool."""
    return _change(arguments, context, pool_name=arguments.get(options.NAME))


def set_pool_description(arguments: Arguments, context: Context) -> Result:
    """Describe a vGPU pool."""
    return _change(arguments, context, description=arguments.get(options.DESCRIPTION))


def enable_pool(arguments: Arguments, context: Context) -> Result:
    """Enable a vGPU pool: its VMs carry their arguments again."""
    return _change(arguments, context, enabled=True)


def disable_pool(arguments: Arguments, context: Context) -> Result:
    """Disable a vGPU pool: its VMs lose their arguments when they are at rest."""
    return _change(arguments, context, enabled=False)


def _change(arguments: Arguments, context: Context, **changes: Any) -> Result:
    contents = context.registry.read()
    refuse_on_member(context)
    pool_id = arguments.get(options.POOL_ID)
    before = next(pool for pool in contents.pools if pool.pool_id == pool_id)
    affected = [vm for vm in contents.vms if vm.pool_id == pool_id]
    is_dry = bool(arguments.get(options.DRY_RUN))
    is_disabled = changes.get('enabled') is False and before.enabled
    if is_disabled and not is_dry:
        context.confirm(_describe_disabling(pool_id, affected),
                        'Do you want to apply these settings?')
    with context.editing(done=f'vGPU pool {pool_id} was changed', dry_run=is_dry) as edit:
        before, after = edit.change_pool(pool_id, **changes)
        view = count_pool(edit.contents(), after)
    is_changed = before != after
    document = build_document(result=_name_result(is_changed, is_dry), pool=pool_document(view))
    lines = [_sentence(before, is_changed, is_dry)]
    if is_disabled and is_dry:
        lines += _describe_disabling(pool_id, affected)
    if is_changed and not is_dry and 'enabled' in changes and affected:
        document['staging'] = _stage(context, [vm.vm_uuid for vm in affected])
        lines += [f'{vm_uuid}: {escape(message)}'
                  for vm_uuid, message in document['staging'].items()]

    def render(style: Style) -> List[str]:
        return lines + render_pool(view, (), style)
    return Result(document, render, minimal=(pool_id,))


def _describe_disabling(pool_id: str, affected: List[Vm]) -> List[str]:
    if not affected:
        return [f'No VM is in vGPU pool {pool_id}.']
    lose = 'loses its arguments when it is' if len(affected) == 1 else \
        'lose their arguments when they are'
    return ([f'Disabling vGPU pool {pool_id} affects {plural(len(affected), "VM")}, which {lose} '
             'at rest:'] + [f'  {vm.vm_uuid} {escape(vm.vm_name)}' for vm in affected])


def _stage(context: Context, vm_uuids: List[str]) -> Dict[str, str]:
    """Stage the VMs at rest when no daemon does."""
    try:
        context.live()
    except XapiError as error:
        context.note(f'XAPI could not be asked ({error}); the change is applied when the daemon '
                     'runs')
        return {}
    from cli.staging import describe_state, stage_many
    from watcher.plan import State
    told = {}  # type: Dict[str, str]
    awake = None  # type: Optional[FrozenSet[str]]
    for vm_uuid, staged in stage_many(context, vm_uuids).items():
        if staged.word == 'by_daemon' and awake is None:
            awake = frozenset(vm.uuid for vm in context.live().read_vms() if not vm.is_at_rest)
        is_awake = staged.word == 'by_daemon' and vm_uuid in (awake or ())
        told[vm_uuid] = describe_state(State.PENDING) if is_awake else staged.message
    return told


def _name_result(is_changed: bool, is_dry: bool) -> str:
    return 'unchanged' if not is_changed else 'would_be_changed' if is_dry else 'changed'


def _sentence(pool: Pool, is_changed: bool, is_dry: bool) -> str:
    if not is_changed:
        return f'vGPU pool {pool.pool_id} is so already; nothing was changed.'
    return f"vGPU pool {pool.pool_id} {'would be' if is_dry else 'is'} changed."
