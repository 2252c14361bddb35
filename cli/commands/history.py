"""history: who changed what and when, in the registry and in XAPI."""

import os
import time
from typing import Any, Dict, List, Optional, Sequence

from cli.commandline import options
from cli.commandline.options import VM
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.output.result import Result, VmView, build_document, plain
from cli.output.text import escape, name_vm, utc
from cli.output.vm_view import entry_document, view_row
from cli.queries.vm_lookup import find_target
from cli.queries.vm_names import find_names
from registry.errors import NotFound, Reason, RegistryUnavailable
from registry.journal.clock_steps import CLOCK_STEPPED, ClockStep
from registry.sqlite.timestamps import render_timestamp
from registry.values import Contents, Priority

DEFAULT_LIMIT = 50
POOL_CHANGED = 'pool_changed'
# What people call the fields; elsewhere they are called so, too.
_WORDS = {'pool_id': 'pool', 'pool_name': 'name', 'vm_name': 'name'}


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
        names = find_names(context.registry.path, journal, _list_vms(entries)) if entries else {}
    told = [(entry, names.get(entry.vm_uuid or '')) for entry in entries]
    lines = [describe_entry(entry, name) for entry, name in told] or [_say_none(arguments)]
    return Result(build_document(history=[entry_document(entry, name) for entry, name in told]),
                  plain(lines))


def _say_none(arguments: Arguments) -> str:
    given = [option.flag for option in (options.WHO, options.SINCE, options.UNTIL)
             if arguments.get(option)]
    return f"No entry matches; without {' and '.join(given)} all are shown." if given else \
        'Nothing is recorded.'


def _list_vms(entries: Sequence[Any]) -> List[str]:
    return [entry.vm_uuid for entry in entries if entry.vm_uuid]


def find_past_target(context: Context, arguments: Arguments) -> str:
    """Find the UUID of the VM that was named; one that is named by UUID need not be anywhere."""
    vm_uuid = arguments.get(options.VM_UUID)
    if vm_uuid is not None:
        return str(vm_uuid)
    try:
        contents: Optional[Contents] = context.registry.inspect()
    except RegistryUnavailable as error:
        context.lose_registry(is_locked=error.reason is Reason.LOCKED)
        contents = None
    return find_target(context, contents).vm_uuid


def find_view_at(context: Context, vm_uuid: str, at: str) -> VmView:
    """Find the registration of a VM as the history knows it for a time in the past."""
    with context.journal(is_needed=True) as journal:
        if journal is None:
            raise CommandError(Kind.NOT_FOUND, 'there is no journal, and so no history')
        note_future(context, at)
        try:
            past = journal.past(os.path.basename(context.registry.path), at)
        except NotFound as error:
            raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid}: {error}') from error
        known = journal.list_history(vm_uuid, 1, until=_second_after(at), is_routine=False)
    vm = next((vm for vm in past.vms if vm.vm_uuid == vm_uuid), None)
    if vm is None:
        raise CommandError(Kind.NOT_FOUND, f'VM {vm_uuid} was not registered at {at}Z')
    return view_row(vm._replace(updated_at=known[0].at if known else ''))


def note_future(context: Context, at: str) -> None:
    """Say that a time has not come; it is no error, since a clock may have been ahead."""
    if at > render_timestamp(time.time()):
        context.note(f'{at}Z is in the future: this is what the history knows last')


def _second_after(at: str) -> str:
    """A time is a text whose order is that of times; this one is after it, and before the next."""
    return at + '~'


def describe_entry(entry: Any, name: Optional[str], *, names_vm: bool = True) -> str:
    """One change on one line, with the VM, or the vGPU pool, that it was about."""
    what = _describe_change(entry.before, entry.after, name)
    if entry.what == CLOCK_STEPPED:
        return f'{utc(entry.at)}  {escape(entry.who)}  {_describe_step(entry)}: {what}'
    subject = f' {name_vm(name, entry.vm_uuid)}' if entry.vm_uuid and names_vm else ''
    if entry.what == POOL_CHANGED and isinstance(entry.after, dict):
        subject = f" vGPU pool {escape(str(entry.after.get('pool_id')))}"
    return (f'{utc(entry.at)}  {escape(entry.who)}  {escape(entry.command)}: '
            f'{escape(entry.what)}{subject}' + (f': {what}' if what else ''))


def _describe_step(entry: Any) -> str:
    try:
        return ClockStep('', entry.before[:-1], entry.after[:-1]).describe()
    except (TypeError, ValueError):
        return 'the clock was stepped'


def _describe_change(before: Any, after: Any, name: Optional[str]) -> str:
    """What was, and what is; the name by which the VM has been called is not said again."""
    if isinstance(before, dict) and isinstance(after, dict):
        return ', '.join(f'{_name(key)} {_shown(key, before.get(key))} → '
                         f'{_shown(key, after.get(key))}'
                         for key in sorted(set(before) | set(after))
                         if before.get(key) != after.get(key))
    if isinstance(before, dict) or isinstance(after, dict):
        fields: Dict[str, Any] = before if isinstance(before, dict) else after
        return ', '.join(f'{_name(key)} {_shown(key, fields[key])}'
                         for key in sorted(fields)
                         if key != 'vm_uuid' and (key, fields[key]) != ('vm_name', name))
    if before is None and after is None:
        return ''
    return f'{_shown("", before)} → {_shown("", after)}'


def _name(key: str) -> str:
    return _WORDS.get(key) or escape(key)


def _shown(key: str, value: Any) -> str:
    if key == 'priority' and value in (0, 1, 2):
        return Priority(value).word
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return 'nothing' if value in (None, '') else escape(str(value))
