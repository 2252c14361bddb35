"""export, import, backup, restore and adopt: many VMs at once, in one transaction."""

import json
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional

from cli import exchange_format, options
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.exchange_format import Parsed, PoolRow, Row
from cli.parser import Arguments
from cli.result import Result, build_document
from cli.situation import Situation, look
from cli.text import escape, plural
from registry.errors import Conflict, NotFound, Reason, RegistryUnavailable
from registry.values import Contents, Priority, Vm

# A registry of ten thousand VMs is a fiftieth of this; what is larger is another file.
_MAX_BYTES = 1 << 26
_NOBODY = ''


class Change(NamedTuple):
    """What became of one VM of a file."""

    what: str
    """added, changed, removed or unchanged."""
    vm_uuid: str
    before: Optional[Vm]
    after: Optional[Vm]


def export(arguments: Arguments, context: Context) -> Result:
    """Write the registry as JSON or CSV, to a file or to standard output."""
    contents = context.registry.read()
    document = exchange_format.render_json(contents)
    lines = (exchange_format.render_csv(contents) if arguments.get(options.FORMAT) == 'csv'
             else json.dumps(document, indent=2).splitlines())
    path = arguments.get(options.FILE)
    if path not in (None, '-'):
        _write_file(path, '\n'.join(lines) + '\n')
        lines = [f'{plural(len(contents.vms), "VM")} written to {path}.']
    return Result(document, lambda style: [escape(line) for line in lines]
                  if style.is_terminal else lines)


def import_vms(arguments: Arguments, context: Context) -> Result:
    """Add and change the VMs that a file names; the others stay as they are."""
    return _apply(arguments, context, _read_parsed(arguments), is_whole=False)


def backup(arguments: Arguments, context: Context) -> Result:
    """Write the whole registry to a file, consistently, also while others work with it."""
    contents = context.registry.read()
    path = arguments.get(options.FILE)
    _write_file(path, json.dumps(exchange_format.render_json(contents), indent=2) + '\n')
    if contents.faults:
        context.note(f'{plural(len(contents.faults), "row")} could not be understood and cannot '
                     "be backed up; see 'vgpu-admin check'")
    return Result(build_document(result='written', path=path, vm_count=len(contents.vms)),
                  lambda _style: [f'{plural(len(contents.vms), "VM")} written to {path}.'])


def restore(arguments: Arguments, context: Context) -> Result:
    """Make the registry what a backup says, after showing the difference."""
    return _apply(arguments, context, _read_parsed(arguments), is_whole=True)


def _apply(arguments: Arguments, context: Context, parsed: Parsed, *, is_whole: bool) -> Result:
    is_dry = bool(arguments.get(options.DRY_RUN))
    contents = read_or_create(context, is_whole and not is_dry)
    situation = look(context, contents, _NOBODY, with_numbers=True,
                     own=frozenset(row.vm_uuid for row in parsed.rows))
    changes = _change(context, parsed, situation, is_whole, is_dry=True)
    work = [change for change in changes if change.what != 'unchanged']
    if is_whole and work and not is_dry:
        context.confirm([describe_change(change) for change in work],
                        'Do you want to restore the registry to this?')
    if not is_dry:
        changes = _change(context, parsed, situation, is_whole, is_dry=False)
        work = [change for change in changes if change.what != 'unchanged']
    return _answer(context, changes, work, is_dry, situation.was_asked)


def _change(context: Context, parsed: Parsed, situation: Situation, is_whole: bool, *,
            is_dry: bool) -> List[Change]:
    """Do everything in one transaction, and undo it all when one line cannot be done."""
    changes, problems = [], list(parsed.problems)
    try:
        with context.editing(done='the VMs of the file are in the registry',
                             dry_run=is_dry, allow_emptied=is_whole) as edit:
            before = edit.contents()
            for pool in parsed.pools:
                _change_pool(edit, pool)
            if is_whole:
                changes += _remove_others(edit, before, parsed)
            for row in parsed.rows:
                try:
                    changes.append(_change_row(edit, before.by_uuid.get(row.vm_uuid), row,
                                               situation))
                except (Conflict, NotFound) as error:
                    problems.append(f'{row.line}: {error}')
            if problems:
                raise _Refused()
    except _Refused:
        raise CommandError(Kind.CONFLICT if not parsed.problems else Kind.USAGE,
                           '\n'.join(problems + ['nothing was changed'])) from None
    return changes


class _Refused(Exception):
    """Some line could not be done; it undoes the others."""


def _change_pool(edit: Any, pool: PoolRow) -> None:
    edit.change_pool(pool.pool_id, pool_name=pool.pool_name, description=pool.description,
                     enabled=pool.enabled)


def _remove_others(edit: Any, before: Contents, parsed: Parsed) -> List[Change]:
    wanted = {row.vm_uuid for row in parsed.rows}
    return [Change('removed', vm.vm_uuid, edit.remove_vm(vm.vm_uuid), None)
            for vm in before.vms if vm.vm_uuid not in wanted]


def _change_row(edit: Any, before: Optional[Vm], row: Row, situation: Situation) -> Change:
    if before is None:
        after = edit.add_vm(row.vm_uuid, vm_name=row.vm_name, pool_id=row.pool_id or 'A',
                            priority=Priority.MEDIUM if row.priority is None else row.priority,
                            vm_id=row.vm_id, taken=situation.taken,
                            floor=situation.largest)
        return Change('added', row.vm_uuid, None, after)
    was, after = edit.change_vm(row.vm_uuid, pool_id=row.pool_id, priority=row.priority,
                                vm_id=row.vm_id, vm_name=row.vm_name,
                                taken=situation.taken)
    is_same = was == after._replace(updated_at=was.updated_at)
    return Change('unchanged' if is_same else 'changed', row.vm_uuid, was, after)


def describe_change(change: Change) -> str:
    """One VM of the difference on one line."""
    if change.what == 'changed':
        return f'changed  {change.vm_uuid}: {_brief(change.before)} -> {_brief(change.after)}'
    return f'{change.what:8} {change.vm_uuid}: {_brief(change.after or change.before)}'


def _brief(vm: Any) -> str:
    return f'{escape(vm.vm_name) or "-"}, pool {vm.pool_id}, {vm.priority.word}, {vm.vm_id}'


def _answer(context: Context, changes: List[Change], work: List[Change], is_dry: bool,
            was_asked: bool) -> Result:
    counts = {}  # type: Dict[str, int]
    for change in changes:
        counts[change.what] = counts.get(change.what, 0) + 1
    document = build_document(
        result='would_be_changed' if is_dry else 'changed' if work else 'unchanged',
        counts=counts, changes=[{'change': change.what, 'vm_uuid': change.vm_uuid}
                                for change in work])
    counted = ', '.join(f'{count} {what}' for what, count in sorted(counts.items()))
    lines = [describe_change(change) for change in work]
    lines.append(f"{counted or 'nothing to do'}{' (dry run)' if is_dry else ''}.")
    if work and not is_dry and was_asked:
        document['staging'] = stage_changed(context, [change.vm_uuid for change in work])
    return Result(document, lambda _style: lines,
                  minimal=tuple(change.vm_uuid for change in work))


def stage_changed(context: Context, vm_uuids: List[str]) -> Dict[str, str]:
    """Stage what is at rest when no daemon does; count what came of it."""
    from cli.staging import stage_many
    staged = stage_many(context, vm_uuids)
    for vm_uuid, item in staged.items():
        if item.word in ('failed', 'refused'):
            context.note(f'VM {vm_uuid}: {item.message}')
    return {vm_uuid: item.word for vm_uuid, item in staged.items()}


def read_or_create(context: Context, may_create: bool) -> Contents:
    """Read the registry; a restore creates the one that was lost."""
    try:
        return context.registry.read()
    except RegistryUnavailable as error:
        if not may_create or error.reason not in (Reason.MISSING, Reason.EMPTY):
            raise
    context.registry.create(context.who)
    context.note(f'created the registry {context.registry.path}')
    return context.registry.read()


def _read_parsed(arguments: Arguments) -> Parsed:
    path = arguments.get(options.FILE)
    parsed = exchange_format.parse(
        read_file(path) if arguments.file_text is None else arguments.file_text)
    if parsed.problems:
        raise CommandError(Kind.USAGE, '\n'.join(
            [f'{escape(path)}: {problem}' for problem in parsed.problems]
            + ['nothing was changed']))
    return parsed


def read_file(path: str) -> str:
    """Read a text file, or standard input for '-'; a usage error names what cannot be read."""
    try:
        if path == '-':
            content = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with open(path, 'rb') as stream:
                content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError('is too large')
        return content.decode('utf-8-sig')
    except (OSError, ValueError) as error:
        raise CommandError(Kind.USAGE,
                           f'{escape(path)}: cannot be read: {_reason(error)}') from error


def _write_file(path: str, text: str) -> None:
    """Write a whole file or none: beside it first, then in its place."""
    beside = f'{path}.{os.getpid()}.new'
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, 'w', encoding='utf-8', errors='replace') as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        os.rename(beside, path)
    except OSError as error:
        raise CommandError(Kind.FAILED,
                           f'{escape(path)}: cannot be written: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    """Why, without the path, which is named already."""
    return getattr(error, 'strerror', None) or str(error)
