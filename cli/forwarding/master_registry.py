"""The registry of record, for a file of this host: the master's, asked for where this is a member.

What a view shows is carried out on the master as a whole; a file is written where it was named,
so its content comes here, and is read like any other file.
"""

import json
from typing import Any, Optional

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.exchange import registry_format
from cli.output.text import escape, plural_invalid
from registry.values import Contents, Pool, Vm


def read_recorded(arguments: Arguments, context: Context) -> Contents:
    """The contents of the registry of record; of the copy here, and saying so, when the master
    cannot be asked."""
    contents = _ask_master(arguments, context)
    return read_here(context) if contents is None else contents


def read_here(context: Context) -> Contents:
    """The contents of the registry of this host; what cannot be written elsewhere is reported."""
    contents = context.registry.read()
    if contents.faults:
        context.note(f'{plural_invalid(len(contents.faults))}, which cannot be written; '
                     "see 'vgpu-admin check'")
    return contents


def _ask_master(arguments: Arguments, context: Context) -> Optional[Contents]:
    if context.is_forwarded or arguments.get(options.DB):
        return None
    from cli.queries.member import find_master
    master = find_master(arguments, context)
    if master is None:
        return None
    from cli.forwarding.forward import CannotForward, fetch
    try:
        answer = fetch(('export', '--json'), context, master)
    except CannotForward as error:
        context.note(f'the master, {master.name}, could not be asked ({error}); this is the copy '
                     'that this host, a member, has')
        return None
    if answer.status:
        raise CommandError(Kind.FAILED, f'{escape(master.name)}: {_tell(answer.errors)}')
    return _build(answer.output, context, master.name)


def _build(text: str, context: Context, name: str) -> Contents:
    parsed = registry_format.parse(text)
    if parsed.problems or not all(row.vm_id and row.pool_id and row.priority is not None
                                  for row in parsed.rows):
        raise CommandError(Kind.FAILED, f'{escape(name)}: what it answered is no registry: '
                           + '; '.join(parsed.problems[:3]))
    for note in _list(json.loads(text).get('notes')):
        context.note(note)
    return Contents(1, tuple(
        Pool(pool.pool_id, pool.pool_name or '', pool.description, pool.enabled is not False)
        for pool in parsed.pools), tuple(
            Vm(row.vm_id or 0, row.vm_uuid, row.vm_name, row.pool_id or '', row.priority)
            for row in parsed.rows if row.priority is not None))


def _tell(errors: str) -> str:
    try:
        return escape(str(json.loads(errors)['error']['message']))
    except (ValueError, KeyError, TypeError):
        return escape(errors)


def _list(value: Any) -> Any:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
