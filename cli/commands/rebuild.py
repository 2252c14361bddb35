"""registry copies, and registry rebuild from a kept copy or from the history of this host.

They work without XAPI and without a mirror; what is shown, asked and applied is the same
difference as everywhere.
"""

import contextlib
import os
from typing import Any, Container, Dict, List, NamedTuple, Optional, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.history import note_future
from cli.context import Context
from cli.effects.proposals import REPLACEABLE, describe, document_of, rehearse
from cli.effects.staged_sets import stage_changed
from cli.errors import CommandError, Kind
from cli.interrupts import deferred
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, iso, plural, plural_invalid, say_unasked
from cli.queries.overtaken import refuse_overtaken
from cli.queries.preflight import refuse_unless_editable
from registry.errors import Reason, RegistryError, RegistryUnavailable
from registry.kept_copies import find_time, list_copies as list_kept
from registry.paths import KEPT_MARK
from registry.proposal import Proposal
from registry.sqlite.timestamps import render_timestamp
from registry.values import Contents, Image
from watcher.errors import XapiError


class Copy(NamedTuple):
    """A copy of the registry that is kept beside it."""

    path: str
    made_at: str
    size: int
    vms: Optional[int]
    """How many VMs it has; None when it cannot be read."""
    problem: str = ''


def copies(_arguments: Arguments, context: Context) -> Result:
    """List the copies that are kept beside the registry, the newest first."""
    found = sorted((_examine(path) for path in list_kept(context.registry.path)),
                   key=lambda copy: (copy.made_at, copy.path), reverse=True)
    lines = [f'{copy.made_at}Z  {escape(copy.path)}: '
             + (plural(copy.vms, 'VM') if copy.vms is not None else escape(copy.problem))
             for copy in found] or [f'No copy is kept beside {context.registry.path}.']
    if found:
        lines.append("'vgpu-admin registry rebuild --source=FILE' shows what one would change.")
    return Result(build_document(copies=[
        {'path': copy.path, 'at': iso(copy.made_at), 'made_at': iso(copy.made_at),
         'bytes': copy.size, 'vm_count': copy.vms, 'problem': copy.problem or None}
        for copy in found]), plain(lines), minimal=tuple(copy.path for copy in found))


def rebuild(arguments: Arguments, context: Context) -> Result:
    """Make the registry what a kept copy, or the history, says; after showing the difference."""
    refuse_unless_editable(context)
    image, origin = _read_source(arguments, context)
    contents, problem = read_replaceable(context)
    if contents is None:
        refuse_overtaken(context, is_lost=True)
    proposal = propose(context, contents, image)
    is_needed = contents is None or proposal.has_any
    lines = describe(proposal)
    lines.insert(0, f'registry  {context.registry.path}: '
                 + (plural(len(contents.vms), 'VM') if contents is not None else problem))
    lines.insert(1, f'source    {escape(origin)}: {plural(len(image.vms), "VM")}')
    document = build_document(result='unchanged', source=origin, kept=None, **dict(
        document_of(proposal.difference)))
    if not is_needed:
        return Result(document, plain(lines + ['Nothing to do.']))
    if arguments.get(options.DRY_RUN):
        return Result(dict(document, result='would_be_rebuilt'),
                      plain(lines + ['Nothing was changed (dry run).']))
    context.confirm(lines, 'Do you want to rebuild the registry from this?')
    kept = replace(context, image, contents, problem, proposal)
    document.update(result='rebuilt', kept=kept or None)
    staged = _stage(context, proposal, document)
    said = say_rebuilt(context, escape(origin), image, kept)
    return Result(document, plain(said + staged), minimal=tuple(proposal.difference.vm_uuids))


def say_rebuilt(context: Context, origin: str, image: Image, kept: str) -> List[str]:
    """Say what the registry is now, and where its former content is."""
    said = [f'The registry {context.registry.path} was rebuilt from {origin}: '
            f'{plural(len(image.vms), "VM")}.']
    return said + ([f'What was there before is kept as {kept}.'] if kept else [])


def read_replaceable(context: Context) -> Tuple[Optional[Contents], str]:
    """Read the registry; of one that is gone or of no use: None, and in a word why."""
    try:
        return context.registry.inspect(), ''
    except RegistryUnavailable as error:
        if error.reason not in REPLACEABLE:
            raise
        return None, error.reason.value


def propose(context: Context, contents: Optional[Contents], image: Image) -> Proposal:
    """Find out what it takes to make the registry what an image says."""
    if contents is None:
        draft = context.registry.draft()
        draft.make_like(image)
        return draft.settle()
    return rehearse(context, lambda edit: edit.make_like(image), allow_loss=True)


def replace(context: Context, image: Image, contents: Optional[Contents], problem: str,
            proposal: Optional[Proposal], *, command: str = 'registry rebuild',
            borne: Optional[Container[int]] = None) -> str:
    """Rebuild the registry; where its former content is kept ('' when there was none)."""
    aside = ''
    with deferred():
        if contents is None and problem != Reason.MISSING.value:
            aside = context.registry.set_aside()
        try:
            replaced = context.registry.replace_contents(
                image, who=context.who, command=command, keep_copy=True,
                may_create=contents is None, moved_to=aside, borne=borne,
                shown=proposal if contents is not None else None)
        except RegistryError:
            if aside:
                context.registry.put_back(aside)
            raise
        context.done.append('the registry was rebuilt')
    if aside:
        context.note('programs that had the old file open still have it: restart them')
    if replaced.journal_problem:
        context.note(f'the history does not have this: {replaced.journal_problem}')
    return aside or replaced.kept


def _read_source(arguments: Arguments, context: Context) -> Tuple[Image, str]:
    """Read what the registry shall say, and say where that comes from."""
    source, at = str(arguments.get(options.SOURCE)), arguments.get(options.AT)
    if source == 'history':
        past = read_past(context, at)
        return past.image, f'the history, at {at}Z' if at else 'the history, as last seen'
    if at is not None:
        raise CommandError(Kind.USAGE, '--at goes with --source=history: a copy is of one time')
    path = _find_copy(context, source)
    try:
        contents = _open(path)
    except RegistryError as error:
        raise CommandError(Kind.UNAVAILABLE, f'{escape(path)} is no copy to rebuild from: '
                           f"{_say_useless(error)}; 'vgpu-admin registry copies' lists those that "
                           'are kept; nothing was changed') from error
    if contents.faults:
        context.note(f'{path}: {plural_invalid(len(contents.faults))}, left out')
    largest = max([vm.vm_id for vm in contents.vms] or [0])
    return Image(contents.vms, contents.pools, largest), path


def read_past(context: Context, at: Optional[str]) -> Any:
    """Read what the history says the registry was; without a time, when it was last seen."""
    with context.journal(is_needed=True) as journal:
        if journal is None:
            raise CommandError(Kind.NOT_FOUND, f'there is no {context.registry.journal_path}, and '
                               "so no history; 'vgpu-admin registry copies' lists what is kept")
        if at is not None:
            note_future(context, at)
        past = journal.past(os.path.basename(context.registry.path), at)
    if not past.pools:
        raise CommandError(Kind.NOT_FOUND, 'the history knows nothing of this registry; '
                           "'vgpu-admin registry copies' lists what is kept")
    return past


def _find_copy(context: Context, name: str) -> str:
    """The path of a copy: as it was given, or by its name or time beside the registry."""
    beside = os.path.join(os.path.dirname(context.registry.path), name)
    for path in (name, beside, context.registry.path + KEPT_MARK + name):
        with contextlib.suppress(OSError):  # the working directory is gone
            if os.path.isfile(path):
                return os.path.abspath(path)
    raise CommandError(Kind.NOT_FOUND, f'there is no copy {escape(name)}; allowed: mirror, '
                       "history, or a file that 'vgpu-admin registry copies' lists")


def _open(path: str) -> Contents:
    from registry.store import Registry
    return Registry(path, timeout_seconds=1.0).read_unjudged()


def _examine(path: str) -> Copy:
    try:
        found = os.stat(path)
    except OSError as error:
        return Copy(path, '', 0, None, str(error))
    made_at = render_timestamp(find_time(path))
    try:
        return Copy(path, made_at, found.st_size, len(_open(path).vms))
    except RegistryError as error:
        return Copy(path, made_at, found.st_size, None, _say_useless(error))


def _say_useless(error: RegistryError) -> str:
    problem = error.reason.value if isinstance(error, RegistryUnavailable) else str(error)
    return 'an empty file' if problem == Reason.EMPTY.value else f'cannot be read ({problem})'


def _stage(context: Context, proposal: Proposal, document: Dict[str, Any]) -> List[str]:
    work: List[str] = list(proposal.difference.vm_uuids)
    try:
        if work and context.live().role.is_writer:
            return stage_changed(context, work, proposal, document)
    except XapiError as error:
        context.note(f'{say_unasked(error)}; the daemon stages the VMs when it answers')
    return []
