"""The commands that change a vGPU pool: its name, its description, whether it is enabled."""

from typing import Any, Dict, List

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.effects.proposals import ask, carry_out, describe, document_of, list_affected, rehearse
from cli.output.result import Result, build_document
from cli.output.tables import render_pool
from cli.output.text import Style, escape
from cli.output.vm_view import count_pool, pool_document
from cli.queries.preflight import refuse_on_member
from registry.proposal import Proposal
from registry.values import Contents, Pool
from watcher.errors import XapiError


def update_pool(arguments: Arguments, context: Context) -> Result:
    """Change several settings of a vGPU pool at once."""
    enabled = True if arguments.get(options.ENABLE) else \
        False if arguments.get(options.DISABLE) else None
    return _change(arguments, context, pool_name=arguments.get(options.NAME),
                   description=arguments.get(options.DESCRIPTION), enabled=enabled)


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
    refuse_on_member(context)
    pool_id = arguments.get(options.POOL_ID)
    is_dry = bool(arguments.get(options.DRY_RUN))
    proposal = rehearse(context, lambda edit: edit.change_pool(pool_id, **changes))
    is_disabled = any(change.before.enabled and not change.after.enabled
                      for change in proposal.difference.pools)
    done, is_told = f'vGPU pool {pool_id} was changed', False
    if is_disabled and not is_dry:
        is_told = ask(context, describe(proposal), 'Do you want to apply these settings?')
        carry_out(context, proposal, done=done)
    elif not is_dry:
        with context.editing(done=done) as edit:
            edit.change_pool(pool_id, **changes)
        proposal = edit.proposal
    return _answer(context, proposal, pool_id, is_dry=is_dry, is_told=is_told)


def _answer(context: Context, proposal: Proposal, pool_id: str, *, is_dry: bool,
            is_told: bool) -> Result:
    difference = proposal.difference
    pool = next(item for item in proposal.pools_after if item.pool_id == pool_id)
    view = count_pool(Contents(1, proposal.pools_after, proposal.vms_after), pool)
    is_changed = difference.has_any
    document = build_document(result=_name_result(is_changed, is_dry), pool=pool_document(view),
                              **document_of(difference))
    lines = [_sentence(pool, is_changed, is_dry)]
    if not is_told:
        lines += describe(proposal)
    affected = list_affected(proposal)
    if affected and not is_dry:
        document['staging'] = _stage(context, affected)
        lines += [f'{vm_uuid}: {escape(message)}'
                  for vm_uuid, message in document['staging'].items()]

    def render(style: Style) -> List[str]:
        return lines + render_pool(view, (), style)
    return Result(document, render, minimal=(pool_id,))


def _stage(context: Context, vm_uuids: List[str]) -> Dict[str, str]:
    """Stage the VMs at rest when no daemon does."""
    try:
        context.live()
    except XapiError as error:
        context.note(f'XAPI could not be asked ({error}); the change is applied when the daemon '
                     'runs')
        return {}
    from cli.effects.daemon_conditions import tell_each
    from cli.effects.direct_staging import stage_many
    staged = tell_each(context, stage_many(context, vm_uuids))
    return {vm_uuid: item.message for vm_uuid, item in staged.items()}


def _name_result(is_changed: bool, is_dry: bool) -> str:
    return 'unchanged' if not is_changed else 'would_be_changed' if is_dry else 'changed'


def _sentence(pool: Pool, is_changed: bool, is_dry: bool) -> str:
    if not is_changed:
        return f'vGPU pool {pool.pool_id} is so already; nothing was changed.'
    return f"vGPU pool {pool.pool_id} {'would be' if is_dry else 'is'} changed."
