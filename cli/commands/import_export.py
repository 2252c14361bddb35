"""export, import, backup and restore: many VMs at once, in one transaction."""

import json
from typing import Any, Dict, List, Optional, Tuple

from cli.commandline import options
from cli.commandline.options import STREAM
from cli.commandline.parser import Arguments
from cli.commands.rebuild import read_past, read_replaceable, replace
from cli.context import Context
from cli.effects.proposals import (QUESTION, ask, describe, describe_counts, document_of,
                                   list_affected, rehearse)
from cli.effects.staged_sets import stage_changed
from cli.errors import CommandError, Kind, translate
from cli.exchange import registry_format
from cli.exchange.files import WrittenFile, leads_to_output, read_file, write_file
from cli.exchange.registry_format import Parsed, PoolRow, VmRow
from cli.forwarding.master_registry import read_here, read_recorded
from cli.output.edit_messages import say_dry_run
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, plural
from cli.queries.overtaken import refuse_overtaken
from cli.queries.preflight import Situation, claim_numbers, read_situation
from registry.difference import ADDED, CHANGED, MENDED, Difference
from registry.edit import Edit
from registry.errors import Conflict, InvalidValue, NotFound, Reason
from registry.proposal import Proposal
from registry.values import Contents, clean_name

_NOBODY = ''
# So many VMs are named in one note.
_SOME = 5


def export(arguments: Arguments, context: Context) -> Result:
    """Write the registry as JSON or CSV, to a file or to standard output."""
    path = arguments.get(options.FILE)
    is_shown = path in (None, STREAM) or leads_to_output(path)
    # What is shown was forwarded as a whole, where it could be.
    contents = read_here(context) if is_shown else read_recorded(arguments, context)
    document = registry_format.render_json(contents)
    lines = (registry_format.render_csv(contents) if arguments.get(options.FORMAT) == 'csv'
             else json.dumps(document, indent=2).splitlines())
    if is_shown:
        return _shown(document, lines)
    written = write_file(path, '\n'.join(lines) + '\n', context.own_files())
    if path.lower().endswith('.csv') and arguments.get(options.FORMAT) is None:
        context.note(f'{escape(path)} holds JSON: --format=csv writes CSV')
    return _answer_written(contents, path, written, pools=document['pools'], vms=document['vms'])


def _shown(document: Dict[str, Any], lines: List[str]) -> Result:
    """The registry on standard output: harmless on a terminal, byte for byte elsewhere."""
    return Result(document, lambda style: [escape(line) for line in lines]
                  if style.is_terminal else lines, is_data=True)


def _answer_written(contents: Contents, path: str, written: WrittenFile, **beside: Any) -> Result:
    said = [f'{plural(len(contents.vms), "VM")} written to {escape(path)}.']
    said += ['The file that was there was replaced.'] if written.is_replaced else []
    return Result(build_document(result='written', path=path, vm_count=len(contents.vms),
                                 replaced=written.is_replaced, **beside), plain(said))


def import_vms(arguments: Arguments, context: Context) -> Result:
    """Add and change the VMs that a file names; the others stay as they are."""
    return apply_document(arguments, context, _read_parsed(arguments), is_whole=False)


def backup(arguments: Arguments, context: Context) -> Result:
    """Write the whole registry to a file, consistently, also while others work with it."""
    path = arguments.get(options.FILE)
    contents = read_recorded(arguments, context)
    saved = registry_format.render_json(contents)
    text = json.dumps(saved, indent=2)
    if path == STREAM or leads_to_output(path):
        return _shown(saved, text.splitlines())
    written = write_file(path, text + '\n', context.own_files())
    return _answer_written(contents, path, written)


def restore(arguments: Arguments, context: Context) -> Result:
    """Make the registry what a backup, or the history, says; after showing the difference."""
    at = arguments.get(options.AT)
    if at is not None:
        return apply_document(arguments, context, _read_past(arguments, context, at),
                              is_whole=True)
    return apply_document(arguments, context, _read_parsed(arguments), is_whole=True)


def apply_document(arguments: Arguments, context: Context, parsed: Parsed, *,
                   is_whole: bool) -> Result:
    """Make the registry what a document says (`is_whole`), or put that into it."""
    is_dry = bool(arguments.get(options.DRY_RUN))
    contents, damage = _read_contents(context, is_whole)
    situation = read_situation(context, contents, _NOBODY, with_numbers=True,
                               own=frozenset(row.vm_uuid for row in parsed.rows))

    def build(edit: Edit) -> None:
        _fill(edit, parsed, situation, is_whole)

    proposal = rehearse(context, build, allow_loss=is_whole, may_create=is_whole,
                        may_replace=is_whole)
    lines = describe(proposal)
    if damage and not is_dry:
        lines.insert(0, f'The registry {context.registry.path} is {damage.replace("_", " ")}: it '
                        'is set aside, and a new one is created.')
    elif proposal.creates:
        context.note(f'the registry {context.registry.path} {"would be" if is_dry else "is"} '
                     + ('set aside, and a new one created' if damage else 'created'))
    is_told, done = False, 'the VMs of the file are in the registry'
    if proposal.has_any and not is_dry:
        if is_whole or proposal.difference.pools:
            is_told = ask(
                context, lines
                + [f'{describe_counts(proposal.difference, is_done=False) or "no VM"}.'],
                'Do you want to restore the registry to this?' if is_whole else QUESTION)
            if damage:
                _replace(context, proposal, damage, situation)
            else:
                context.carry_out(proposal, done=done, allow_loss=is_whole)
        else:
            with context.editing(done=done) as edit:
                build(edit)
            proposal = edit.proposal
    _note_unknown(context, proposal.difference, situation)
    return _answer(context, proposal, len(parsed.rows), is_dry, is_told)


def _read_contents(context: Context, is_whole: bool) -> Tuple[Contents, str]:
    """Read the registry; a restore is a cure for one that is lost, of no use, or lost its rows.

    Beside it, in a word, why what is there must be set aside.
    """
    if not is_whole:
        return context.registry.read(), ''
    contents, problem = read_replaceable(context)
    if contents is None:
        refuse_overtaken(context, is_lost=True)
    is_gone = problem in (Reason.MISSING.value, Reason.EMPTY.value)
    return contents or Contents(1, (), ()), '' if is_gone else problem


def _replace(context: Context, proposal: Proposal, damage: str, situation: Situation) -> None:
    """Set a file of no use aside, and create the registry again."""
    kept = replace(context, proposal.image_after, None, damage, proposal, command='restore',
                   borne=situation.taken if situation.was_asked and situation.records else None)
    context.note(f'what was there before is kept as {kept}')


def _fill(edit: Edit, parsed: Parsed, situation: Situation, is_whole: bool) -> None:
    """Make up what a document says; every line that cannot be done is reported."""
    for pool in parsed.pools:
        edit.change_pool(pool.pool_id, pool_name=pool.pool_name,
                         description=_find_description(pool), enabled=pool.enabled)
    floor = max([situation.largest] + [row.vm_id for row in parsed.rows if row.vm_id is not None])
    problems: List[CommandError] = []
    for row in parsed.rows:
        try:
            _put_row(edit, row, situation, floor, is_whole)
        except (CommandError, Conflict, NotFound, InvalidValue) as error:
            problems.append(_problem_of(parsed, row, error))
    claim_numbers(edit, situation)
    if is_whole:
        edit.keep_only(frozenset(row.vm_uuid for row in parsed.rows))
    conflicts = edit.find_conflicts()
    problems += [_problem_of(parsed, row, Conflict(conflicts[row.vm_uuid]))
                 for row in parsed.rows if row.vm_uuid in conflicts]
    if problems:
        raise CommandError(problems[0].kind, '\n'.join(
            [str(problem) for problem in problems] + ['nothing was changed']))


def _problem_of(parsed: Parsed, row: VmRow, error: Exception) -> CommandError:
    return CommandError(translate(error).kind, f'{parsed.unit} {row.line}: {error}')


def _find_description(pool: PoolRow) -> Optional[str]:
    """The description of a vGPU pool; one of null takes away what is there."""
    return '' if pool.description is None and 'description' in pool.given else pool.description


def _put_row(edit: Edit, row: VmRow, situation: Situation, floor: int, is_whole: bool) -> None:
    name = _find_name(row, situation)
    is_known = edit.has_row(row.vm_uuid)
    if not is_known and not is_whole:
        _refuse_kind(situation, row)
    if is_known and not is_whole:
        edit.change_vm(row.vm_uuid, pool_id=row.pool_id, priority=row.priority, vm_id=row.vm_id,
                       vm_name=row.vm_name and name, taken=situation.taken)
        return
    edit.put_vm(row.vm_uuid, pool_id=row.pool_id, priority=row.priority, vm_id=row.vm_id,
                vm_name=(row.vm_name and name) if is_known else name, taken=situation.taken,
                floor=floor)


def _refuse_kind(situation: Situation, row: VmRow) -> None:
    """A template or a snapshot is not registered, by whatever command."""
    problem = Situation(situation.records.get(row.vm_uuid)).kind_problem
    if problem:
        raise CommandError(Kind.FAILED, f'VM {row.vm_uuid} {problem}')


def _find_name(row: VmRow, situation: Situation) -> Optional[str]:
    """The name of a VM: XAPI's, as the scan would make it; else that of the file."""
    record = situation.records.get(row.vm_uuid)
    return clean_name(record.name) if record is not None else row.vm_name


def _note_unknown(context: Context, difference: Difference, situation: Situation) -> None:
    """Say which new rows have no VM: that may be meant, and may be a slip."""
    unknown = [vm.vm_uuid for vm in difference.added if vm.vm_uuid not in situation.records]
    if unknown and situation.was_asked:
        more = f' and {len(unknown) - _SOME} more' if len(unknown) > _SOME else ''
        context.note(f'XAPI has no VM {", ".join(unknown[:_SOME])}{more}: registered all the same')


def _answer(context: Context, proposal: Proposal, row_count: int, is_dry: bool,
            is_told: bool) -> Result:
    difference = proposal.difference
    counts = difference.counts
    unchanged = row_count - sum(counts.get(what, 0) for what in (ADDED, CHANGED, MENDED))
    is_needed = difference.has_any or proposal.creates
    document = build_document(
        result='unchanged' if not is_needed else 'would_be_changed' if is_dry else 'changed',
        **document_of(difference, unchanged))
    # The person who was asked, or said --yes, has seen the difference.
    lines = [] if is_told else describe(proposal)
    counted = describe_counts(difference, unchanged, is_done=not is_dry)
    lines.append(f"{counted or 'Nothing to do'}.")
    lines += [say_dry_run()] if is_dry else []
    work = list_affected(proposal)
    if not is_dry:
        lines += stage_changed(context, work, proposal, document)
    return Result(document, plain(lines), minimal=tuple(difference.vm_uuids))


def _read_past(arguments: Arguments, context: Context, at: str) -> Parsed:
    """What the registry said at a time, as if it had been saved then."""
    if arguments.get(options.FILE) is not None:
        raise CommandError(Kind.USAGE, '--at and a file exclude each other')
    past = read_past(context, at)
    context.note(f'the registry of {at}Z: {plural(len(past.vms), "VM")}')
    return registry_format.parse(json.dumps(registry_format.render_json(
        Contents(1, past.pools, past.vms))))


def _read_parsed(arguments: Arguments) -> Parsed:
    path = arguments.get(options.FILE)
    parsed = registry_format.parse(
        read_file(path) if arguments.file_text is None else arguments.file_text)
    if parsed.problems:
        raise CommandError(Kind.USAGE, '\n'.join(
            [f'{escape(path)}: {problem}' for problem in parsed.problems]
            + ['nothing was changed']))
    return parsed
