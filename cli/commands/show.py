"""The commands that only look: show-vm, list-vms, list-pools, show-pool."""

from typing import Any, List, Optional

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.output.result import Result, VmView, build_document
from cli.output.tables import render_pool, render_pool_table, render_vm, render_vm_table
from cli.output.text import escape, iso, plural_invalid, say_unasked
from cli.output.vm_view import (boot_document, count_pool, count_pools, fault_documents,
                                pool_document, view_record, view_row, view_vanished, vm_document)
from cli.queries.vm_lookup import find_target
from registry.values import Contents, Priority
from watcher.errors import MalformedRecord, XapiError


def show_vm(arguments: Arguments, context: Context) -> Result:
    """Show one VM: its row, what XAPI says when it can be asked, and its last boot."""
    at = arguments.get(options.AT)
    if at is not None:
        from cli.commands.history import find_past_target, find_view_at
        past = find_view_at(context, find_past_target(context, arguments), at)
        return Result(build_document(vm=vm_document(past), at=iso(at)),
                      lambda _style: render_vm(past, title=f'VM Configuration at {at}Z:'))
    contents = context.registry.read()
    vm_uuid = find_target(context, contents).vm_uuid
    view = find_view(context, contents, vm_uuid)
    if view is None:
        raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid} is not registered, and XAPI has no such '
                           "VM; see 'vgpu-admin scan-vms'")
    boot = _find_boot(context, vm_uuid)
    host_name = context.find_host_name(boot.host) if boot is not None else None
    document = dict(vm_document(view), last_boot=boot_document(boot, host_name))
    return Result(build_document(vm=document), lambda _style: render_vm(view, boot, host_name),
                  minimal=(vm_uuid,))


def find_view(context: Context, contents: Contents, vm_uuid: str) -> Optional[VmView]:
    """View one VM, with what XAPI says when it can be asked; None when it is unknown."""
    row = contents.by_uuid.get(vm_uuid)
    fault = next((fault.problem for fault in contents.faults
                  if fault.key == vm_uuid), '')
    view = view_row(row) if row else VmView(vm_uuid, problem=fault) if fault else None
    try:
        context.live()
        from cli.queries.pool_snapshot import read_around  # costs what XenAPI costs
        pool = read_around(context, contents, vm_uuid)
    except (XapiError, MalformedRecord) as error:
        if view is None:
            raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid} is not registered, and '
                               f'{say_unasked(error)}') from error
        context.note(f'{say_unasked(error)}; shown is what the registry has')
        return view
    record = pool.inventory.find_by_uuid(vm_uuid)
    if record is None:
        return view_vanished(row) if row else view
    view = view_record(row, record, pool.plan(record), pool.policy.names, fault,
                       contents.by_uuid)
    view = view._replace(removed=None if row else pool.view.removed.get(vm_uuid),
                         lacks_journal=bool(context.journal_problem))
    if row is not None or not record.mirror:
        return view
    from cli.queries.arrivals import document_of, find_arrivals
    arrivals = find_arrivals(context, (record,), contents.by_uuid)
    return view._replace(arrived=document_of(arrivals[vm_uuid])) if arrivals else view


def list_vms(arguments: Arguments, context: Context) -> Result:
    """List the registered VMs; needs the registry file only."""
    contents = context.registry.read()
    pool_id, priority = arguments.get(options.POOL), arguments.get(options.PRIORITY)
    views = [view_row(vm) for vm in contents.vms
             if pool_id in (None, vm.pool_id) and priority in (None, vm.priority)]
    note_faults(context, contents)
    return Result(build_document(vms=[vm_document(view) for view in views],
                                 faults=fault_documents(contents)),
                  lambda style: render_vm_table(views, style) if views else [
                      _say_none(pool_id, priority)],
                  minimal=tuple(view.vm_uuid for view in views))


def _say_none(pool_id: Optional[str], priority: Optional[Priority]) -> str:
    where = f' in vGPU pool {pool_id}' if pool_id is not None else ''
    which = f' with priority {priority.word}' if priority is not None else ''
    return f'No VM is registered{where}{which}.'


def list_pools(arguments: Arguments, context: Context) -> Result:
    """List the vGPU pools, or one of them; needs the registry file only."""
    wanted = arguments.get(options.POOL_ID)
    contents = context.registry.read()
    note_faults(context, contents)
    pools = [pool for pool in count_pools(contents)
             if wanted in (None, pool.pool_id)]
    return Result(build_document(pools=[pool_document(pool) for pool in pools]),
                  lambda style: render_pool_table(pools, style),
                  minimal=tuple(pool.pool_id for pool in pools))


def show_pool(arguments: Arguments, context: Context) -> Result:
    """Show one vGPU pool and its VMs; needs the registry file only."""
    contents = context.registry.read()
    note_faults(context, contents)
    pool_id = arguments.get(options.POOL_ID)
    pool = count_pool(contents, next(pool for pool in contents.pools if pool.pool_id == pool_id))
    views = [view_row(vm) for vm in contents.vms if vm.pool_id == pool_id]
    document = dict(pool_document(pool), vms=[vm_document(view) for view in views])
    return Result(build_document(pool=document), lambda style: render_pool(pool, views, style),
                  minimal=(pool_id,))


def note_faults(context: Context, contents: Contents) -> None:
    """Say which rows are not valid; their VMs are left alone."""
    if contents.faults:
        shown: List[str] = [f'{escape(fault.vm_uuid) or "(no UUID)"}: {escape(fault.problem)}'
                            for fault in contents.faults]
        context.note(f'{plural_invalid(len(shown))}, left out; '
                     f"see 'vgpu-admin check': {'; '.join(shown[:5])}")


def _find_boot(context: Context, vm_uuid: str) -> Any:
    with context.journal() as journal:
        return journal.last_boot(vm_uuid) if journal is not None else None
