"""history and explain: who changed what and when, and why a VM booted with its arguments."""

import os
from typing import Any, Dict, List, Optional, Sequence

from cli.commandline import options
from cli.commandline.options import VM
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.output.result import Result, VmView, build_document
from cli.output.tables import describe_boot
from cli.output.text import escape
from cli.output.vm_view import boot_document, entry_document, view_row
from cli.queries.vm_lookup import find_target
from registry.errors import NotFound, RegistryUnavailable
from registry.journal.clock_steps import CLOCK_STEPPED, ClockStep, correct
from registry.values import Contents, Priority
from watcher.errors import MalformedRecord, XapiError

DEFAULT_LIMIT = 50
_ALL = 20000


def history(arguments: Arguments, context: Context) -> Result:
    """List changes, the newest first: of one VM or of all, by whom and when."""
    vm_uuid: Optional[str] = None
    if any(arguments.get(option) for option in VM):
        vm_uuid = find_past_target(context, arguments)
    limit = arguments.get(options.LIMIT) or DEFAULT_LIMIT
    with context.journal(is_needed=True) as journal:
        entries = journal.list_history(
            vm_uuid, limit, since=arguments.get(options.SINCE), until=arguments.get(options.UNTIL),
            who=arguments.get(options.WHO)) if journal is not None else ()
    lines = [describe_entry(entry) for entry in entries] or ['Nothing is recorded.']
    return Result(build_document(history=[entry_document(entry) for entry in entries]),
                  lambda _style: lines)


def explain(arguments: Arguments, context: Context) -> Result:
    """Tell why a VM booted with its arguments: from the registry's change to the verdict."""
    vm_uuid = find_past_target(context, arguments)
    with context.journal(is_needed=True) as journal:
        boots: Sequence[Any] = journal.list_boots(vm_uuid, _ALL) if journal is not None else ()
        entries = journal.list_history(vm_uuid, _ALL) if journal is not None else ()
        steps = journal.clock_steps() if journal is not None else ()
    boot = _choose(boots, arguments.get(options.BOOT), vm_uuid)
    until = correct(boot.closed_at or boot.opened_at, steps)
    chain = [entry for entry in reversed(entries) if correct(entry.at, steps) <= until]
    is_newest = boot is boots[0]
    since = _describe_since(context, boot) if is_newest else []
    host_name = context.find_host_name(boot.host)
    lines = _explain_lines(boot, chain, host_name) + since
    return Result(build_document(vm_uuid=vm_uuid, boot=boot_document(boot, host_name),
                                 history=[entry_document(entry) for entry in chain]),
                  lambda _style: lines)


def find_past_target(context: Context, arguments: Arguments) -> str:
    """Find the UUID of the VM that was named; one that is named by UUID need not be anywhere."""
    vm_uuid = arguments.get(options.VM_UUID)
    if vm_uuid is not None:
        return str(vm_uuid)
    try:
        contents: Optional[Contents] = context.registry.inspect()
    except RegistryUnavailable:
        contents = None
    return find_target(context, contents).vm_uuid


def find_view_at(context: Context, vm_uuid: str, at: str) -> VmView:
    """Find the registration of a VM as the history knows it for a time in the past."""
    with context.journal(is_needed=True) as journal:
        if journal is None:
            raise CommandError(Kind.NOT_FOUND, 'there is no journal, and so no history')
        try:
            past = journal.past(os.path.basename(context.registry.path), at)
        except NotFound as error:
            raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid}: {error}') from error
        known = journal.list_history(vm_uuid, 1, until=_second_after(at), is_routine=False)
    vm = next((vm for vm in past.vms if vm.vm_uuid == vm_uuid), None)
    if vm is None:
        raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid} was not registered at {at}Z')
    return view_row(vm._replace(updated_at=known[0].at if known else ''))


def _second_after(at: str) -> str:
    """A time is a text whose order is that of times; this one is after it, and before the next."""
    return at + '~'


def describe_entry(entry: Any) -> str:
    """One change on one line."""
    what = _describe_change(entry.before, entry.after)
    if entry.what == CLOCK_STEPPED:
        return f'{entry.at}Z  {escape(entry.who)}  {_describe_step(entry)}: {what}'
    vm = f' VM {entry.vm_uuid}' if entry.vm_uuid else ''
    return (f'{entry.at}Z  {escape(entry.who)}  {escape(entry.command)}: {entry.what}{vm}'
            + (f': {what}' if what else ''))


def _describe_step(entry: Any) -> str:
    try:
        return ClockStep('', entry.before[:-1], entry.after[:-1]).describe()
    except (TypeError, ValueError):
        return 'the clock was stepped'


def _describe_change(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return ', '.join(f'{key} {_shown(key, before.get(key))} -> {_shown(key, after.get(key))}'
                         for key in sorted(set(before) | set(after))
                         if before.get(key) != after.get(key))
    if isinstance(before, dict) or isinstance(after, dict):
        fields: Dict[str, Any] = before if isinstance(before, dict) else after
        return ', '.join(f'{key} {_shown(key, fields[key])}' for key in sorted(fields)
                         if key != 'vm_uuid')
    if before is None and after is None:
        return ''
    return f'{_shown("", before)} -> {_shown("", after)}'


def _shown(key: str, value: Any) -> str:
    if key == 'priority' and value in (0, 1, 2):
        return Priority(value).word
    return 'nothing' if value in (None, '') else escape(str(value))


def _choose(boots: Sequence[Any], number: Optional[int], vm_uuid: str) -> Any:
    if not boots:
        raise CommandError(Kind.NOT_FOUND, f'no boot of VM {vm_uuid} is recorded: the daemon '
                           'records the boots that it sees')
    if number is None:
        return boots[0]
    for boot in boots:
        if boot.id == number:
            return boot
    known = ', '.join(str(boot.id) for boot in boots[:10])
    raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid} has no boot {number}; there are {known}')


def _explain_lines(boot: Any, chain: Sequence[Any], host_name: Optional[str]) -> List[str]:
    lines = [f'Boot {boot.id} of VM {boot.vm_uuid} ({escape(boot.vm_name)}): '
             f'{describe_boot(boot, host_name)}', 'What led to it:']
    lines += [f'  {describe_entry(entry)}' for entry in chain] or ['  nothing is recorded']
    began = 'found running' if boot.kind == 'unknown' else f'{boot.kind} began'
    lines += [f'  {boot.opened_at}Z  {began}; the VM record carried '
              f'{escape(boot.carried) or "nothing of ours"}']
    closed = f'{boot.closed_at}Z' if boot.closed_at else '(not yet)'
    lines += [f'  {closed}  verdict {boot.verdict or "none"}: desired '
              f'{escape(boot.desired) or "nothing"}, found {escape(boot.found) or "nothing"}'
              + (' (written after the start was seen)' if boot.rescued else '')]
    return lines + [f'Meaning: {_MEANINGS.get(boot.verdict or "", "the boot has no verdict.")}']


def _describe_since(context: Context, boot: Any) -> List[str]:
    """What has become of the VM since its newest boot, where XAPI says so."""
    try:
        contents = context.registry.read()
        context.live()
        from cli.queries.pool_snapshot import read_around
        pool = read_around(context, contents, boot.vm_uuid)
    except (RegistryUnavailable, XapiError, MalformedRecord):
        return []
    vm = pool.inventory.find_by_uuid(boot.vm_uuid)
    if vm is None:
        return ['Since then: the VM was destroyed; XAPI has it no more.']
    if vm.kind.value != 'vm':
        return [f"Since then: it was made a {vm.kind.value.replace('_', ' ')}."]
    if boot.host is None or vm.domain != (boot.host, boot.domid):
        return [f'Since then: that domain has ended; the VM is {vm.power_state.value}.']
    plan = pool.plan(vm)
    if plan is not None and plan.state.value == 'pending':
        return [f"Since then: {escape(plan.desired) or 'nothing'} is asked for; this waits until "
                'the VM is shut down and started.']
    return ['Since then: it still runs with this.']


_MEANINGS = {
    'as_desired': 'it took what the registry asked for then.',
    'pending': 'it took what was staged when it last rested, while a change waited.',
    'frozen': 'a resume or a migration kept the arguments of the boot before.',
    'stale': 'it took arguments that were not those of the registry, nor those staged last.',
    'missing': 'it took no arguments of ours, and should have.',
    'withheld': 'the consumer on that host withheld the arguments: their number belongs to the row '
                "of another VM, and this VM had no row. Give it one ('vgpu-admin register-vm'), or "
                "move the row to it ('vgpu-admin transfer-vm'), and start it again.",
    'not_consumed': 'XAPI delivered the arguments and QEMU did not run with them: see to the '
                    'consumer (qemu-wrapper) on that host.',
    'unverified': 'what it ran with could not be looked at; that is not success.',
}
