"""export, import, backup, restore and adopt: many VMs at once, in one transaction."""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from cli import exchange_format, options
from cli.context import Context
from cli.errors import CommandError, Kind, translate
from cli.exchange_format import Parsed, PoolRow, Row
from cli.files import Written, leads_to_output, read_file, write_file
from cli.options import STREAM
from cli.parser import Arguments
from cli.recorded import read_here, read_recorded
from cli.result import Result, build_document, plain
from cli.situation import Situation, look
from cli.text import escape, plural
from registry.errors import Conflict, InvalidValue, NotFound, Reason, RegistryUnavailable
from registry.values import Contents, Priority, Vm, clean_name

_NOBODY = ''
# So many VMs are named in one note.
_SOME = 5


class Change(NamedTuple):
    """What became of one VM of a file."""

    what: str
    """added, changed, removed or unchanged."""
    vm_uuid: str
    before: Optional[Vm]
    after: Optional[Vm]


def export(arguments: Arguments, context: Context) -> Result:
    """Write the registry as JSON or CSV, to a file or to standard output."""
    path = arguments.get(options.FILE)
    is_shown = path in (None, STREAM) or leads_to_output(path)
    # What is shown was forwarded as a whole, where it could be.
    contents = read_here(context) if is_shown else read_recorded(arguments, context)
    document = exchange_format.render_json(contents)
    lines = (exchange_format.render_csv(contents) if arguments.get(options.FORMAT) == 'csv'
             else json.dumps(document, indent=2).splitlines())
    if is_shown:
        return _shown(document, lines)
    written = write_file(path, '\n'.join(lines) + '\n', context.own_files())
    return Result(document, plain(_say_written(contents, path, written)))


def _shown(document: Dict[str, Any], lines: List[str]) -> Result:
    """The registry on standard output: harmless on a terminal, byte for byte elsewhere."""
    return Result(document, lambda style: [escape(line) for line in lines]
                  if style.is_terminal else lines, is_data=True)


def _say_written(contents: Contents, path: str, written: Written) -> List[str]:
    said = [f'{plural(len(contents.vms), "VM")} written to {escape(path)}.']
    return said + (['The file that was there was replaced.'] if written.is_replaced else [])


def import_vms(arguments: Arguments, context: Context) -> Result:
    """Add and change the VMs that a file names; the others stay as they are."""
    return _apply(arguments, context, _read_parsed(arguments), is_whole=False)


def backup(arguments: Arguments, context: Context) -> Result:
    """Write the whole registry to a file, consistently, also while others work with it."""
    path = arguments.get(options.FILE)
    contents = read_recorded(arguments, context)
    saved = exchange_format.render_json(contents)
    text = json.dumps(saved, indent=2)
    if path == STREAM or leads_to_output(path):
        return _shown(saved, text.splitlines())
    written = write_file(path, text + '\n', context.own_files())
    return Result(build_document(result='written', path=path, vm_count=len(contents.vms),
                                 replaced=written.is_replaced),
                  plain(_say_written(contents, path, written)))


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
    _note_unknown(context, changes, situation)
    return _answer(context, changes, work, is_dry, situation.was_asked)


def _change(context: Context, parsed: Parsed, situation: Situation, is_whole: bool, *,
            is_dry: bool) -> List[Change]:
    """Do everything in one transaction, and undo it all when one line cannot be done."""
    changes = []  # type: List[Change]
    problems = []  # type: List[CommandError]
    try:
        with context.editing(done='the VMs of the file are in the registry',
                             dry_run=is_dry, allow_emptied=is_whole) as edit:
            before = edit.contents()
            for pool in parsed.pools:
                _change_pool(edit, pool)
            if is_whole:
                changes += _remove_others(edit, before, parsed)
            for row in parsed.rows:
                known = before.by_uuid.get(row.vm_uuid)
                try:
                    if known is None and not is_whole:
                        _refuse_kind(situation, row)
                    changes.append(_change_row(edit, known, row, situation))
                except (CommandError, Conflict, NotFound, InvalidValue) as error:
                    problems.append(CommandError(translate(error).kind,
                                                 f'{parsed.unit} {row.line}: {error}'))
            if problems:
                raise _Refused()
    except _Refused:
        raise CommandError(problems[0].kind, '\n'.join(
            [str(problem) for problem in problems] + ['nothing was changed'])) from None
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


def _refuse_kind(situation: Situation, row: Row) -> None:
    """A template or a snapshot is not registered, by whatever command."""
    problem = Situation(situation.records.get(row.vm_uuid)).kind_problem
    if problem:
        raise CommandError(Kind.FAILED, f'VM {row.vm_uuid} {problem}')


def _find_name(row: Row, situation: Situation) -> Optional[str]:
    """The name of a VM: XAPI's, as the scan would make it; else that of the file."""
    record = situation.records.get(row.vm_uuid)
    return clean_name(record.name) if record is not None else row.vm_name


def _note_unknown(context: Context, changes: List[Change], situation: Situation) -> None:
    """Say which new rows have no VM: that may be meant, and may be a slip."""
    unknown = [change.vm_uuid for change in changes
               if change.what == 'added' and change.vm_uuid not in situation.records]
    if unknown and situation.was_asked:
        more = f' and {len(unknown) - _SOME} more' if len(unknown) > _SOME else ''
        context.note(f'XAPI has no VM {", ".join(unknown[:_SOME])}{more}: registered all the same')


def _change_row(edit: Any, before: Optional[Vm], row: Row, situation: Situation) -> Change:
    name = _find_name(row, situation)
    if before is None:
        after = edit.add_vm(row.vm_uuid, vm_name=name, pool_id=row.pool_id or 'A',
                            priority=Priority.MEDIUM if row.priority is None else row.priority,
                            vm_id=row.vm_id, taken=situation.taken,
                            floor=situation.largest)
        return Change('added', row.vm_uuid, None, after)
    was, after = edit.change_vm(row.vm_uuid, pool_id=row.pool_id, priority=row.priority,
                                vm_id=row.vm_id, vm_name=row.vm_name and name,
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
    # Whoever answered the question has seen the difference.
    lines = [] if context.was_asked else [describe_change(change) for change in work]
    lines.append(f"{counted or 'nothing to do'}{' (dry run)' if is_dry else ''}.")
    if work and not is_dry and was_asked:
        document['staging'] = stage_changed(context, [change.vm_uuid for change in work])
        lines.append(describe_staging(document['staging']))
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


def describe_staging(words: Mapping[str, str]) -> str:
    """What became of many VMs in XAPI, in one sentence."""
    counts = {}  # type: Dict[str, int]
    for word in words.values():
        said = 'left to the daemon' if word == 'by_daemon' else word.replace('_', ' ')
        counts[said] = counts.get(said, 0) + 1
    return 'In XAPI: ' + ', '.join(f'{count} {word}' for word, count in sorted(counts.items())) \
        + '.'


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
