"""The commands that change a vGPU pool: its name, its description, whether it is enabled."""

from typing import Any, List, Mapping, Sequence

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.effects.proposals import (ask, describe_affected, document_of,
                                   list_affected, rehearse, say_pool_change)
from cli.effects.staged_sets import stage_each
from cli.output.edit_messages import say_dry_run, say_many
from cli.output.result import Result, build_document
from cli.output.tables import render_pool
from cli.output.text import Style, escape, name_vm
from cli.output.vm_view import count_pool, pool_document
from cli.queries.preflight import refuse_unless_editable
from registry.proposal import Proposal
from registry.values import Contents, Pool, Vm


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
    refuse_unless_editable(context)
    pool_id = arguments.get(options.POOL_ID)
    is_dry = bool(arguments.get(options.DRY_RUN))
    proposal = rehearse(context, lambda edit: edit.change_pool(pool_id, **changes))
    is_disabled = any(change.before.enabled and not change.after.enabled
                      for change in proposal.difference.pools)
    done, is_told = f'vGPU pool {pool_id} was changed', False
    if is_disabled and not is_dry:
        is_told = ask(context, _describe(proposal) + _list_affected(proposal),
                      'Do you want to apply these settings?')
        context.carry_out(proposal, done=done)
    elif not is_dry:
        with context.editing(done=done) as edit:
            edit.change_pool(pool_id, **changes)
        proposal = edit.proposal
    return _answer(arguments, context, proposal, is_dry=is_dry, is_told=is_told)


def _answer(arguments: Arguments, context: Context, proposal: Proposal, *, is_dry: bool,
            is_told: bool) -> Result:
    pool_id, difference = arguments.get(options.POOL_ID), proposal.difference
    pool = next(item for item in proposal.pools_after if item.pool_id == pool_id)
    view = count_pool(Contents(1, proposal.pools_after, proposal.vms_after), pool)
    document = build_document(result=_name_result(difference.has_any, is_dry),
                              pool=pool_document(view), **document_of(difference))
    affected = list_affected(proposal)
    is_verbose = bool(arguments.get(options.VERBOSE))
    # What was asked about, or told with --yes, is not said again; a dry run is for being shown.
    lines = [] if is_told or not (is_dry or is_verbose) else _list_affected(proposal)
    if not is_dry:
        staged = stage_each(context, affected, proposal, document)
        lines += _say_staged(staged, proposal.vms_after, is_verbose)

    def render(style: Style) -> List[str]:
        head = _describe(proposal) or [_say_unchanged(arguments, pool)]
        whole = render_pool(view, (), style) if is_verbose else []
        return head + lines + whole + ([say_dry_run()] if is_dry else [])
    return Result(document, render, minimal=(pool_id,))


def _describe(proposal: Proposal) -> List[str]:
    return [f'vGPU pool {change.after.pool_id}: {say_pool_change(change)}'
            for change in proposal.difference.pools]


def _list_affected(proposal: Proposal) -> List[str]:
    return [line for change in proposal.difference.pools
            for line in describe_affected(change, proposal.vms_after)]


def _say_unchanged(arguments: Arguments, pool: Pool) -> str:
    has = ([f'is already called {escape(pool.pool_name)}'] if arguments.get(options.NAME) else [])
    if arguments.get(options.DESCRIPTION) is not None:
        has.append('already has that description')
    word = 'is already enabled' if pool.enabled else 'is already disabled'
    return f"vGPU pool {pool.pool_id} {' and '.join(has or [word])}; nothing to do."


def _say_staged(staging: Mapping[str, str], vms: Sequence[Vm], is_verbose: bool) -> List[str]:
    """What becomes of the VMs: of each, or of those together of which the same can be said."""
    names = {vm.vm_uuid: name_vm(vm.vm_name, vm.vm_uuid) for vm in vms}
    if is_verbose:
        return [f'{names[vm_uuid]}: {escape(message)}' for vm_uuid, message in staging.items()]
    return say_many(staging, names)


def _name_result(is_changed: bool, is_dry: bool) -> str:
    return 'unchanged' if not is_changed else 'would_be_changed' if is_dry else 'changed'
