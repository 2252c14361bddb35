"""registry compare, rebuild, keep: the file on this host and its mirror in XAPI's database.

The daemon does the same by itself where that is safe. By hand it can be seen beforehand, and done
where the daemon must not decide: after a file was deleted, or from a mirror that is not whole.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.mirror_lines import describe_view, say_work
from cli.commands.rebuild import (copies, propose, read_replaceable, rebuild, replace,
                                  say_rebuilt)
from cli.context import Context
from cli.effects.proposals import document_of, invert, rehearse
from cli.effects.staged_sets import stage_changed
from cli.errors import CommandError, ExitStatus, Kind
from cli.interrupts import deferred
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, say_unasked, say_unavailable
from cli.output.vm_view import fault_documents
from cli.queries.daemon_status import find_daemon
from registry.difference import MENDED, Difference, find_difference
from registry.errors import Conflict
from registry.journal.outside_edits import describe_loss
from registry.proposal import Proposal
from registry.values import DEFAULT_POOLS, Contents
from watcher.errors import XapiError

_NEXT = {
    'undecided': "'vgpu-admin registry rebuild' (the mirror counts) or 'vgpu-admin registry keep' "
                 '(the registry counts) decides it.',
    'no_registry': "'vgpu-admin registry rebuild' makes one from the mirror.",
}
_SOURCES = ("'vgpu-admin registry rebuild --source=history' (what this host saw last), "
            "'vgpu-admin registry copies', or 'vgpu-admin restore FILE' (a backup)")
_OTHER_SOURCES = f'; without it: {_SOURCES}'


class View(NamedTuple):
    """The registry here, the mirror in XAPI, and how the one stands to the other."""

    judgement: str
    contents: Optional[Contents]
    problem: str
    """Why the registry cannot be used."""
    generation: str
    """At which the registry was last."""
    mirror: Any
    """The pool's entry; None when there is none."""
    collected: Any
    """What can be rebuilt from the mirror."""
    entries: Tuple[Tuple[str, str, str], ...]
    """(UUID, name, what is odd) of VMs whose entry is not what it should be."""
    is_signed: bool = False
    """Whether a key that is known here has signed the pool's entry."""
    is_trusted: bool = True
    """Whether the daemon goes by it: signed, or nothing in this pool needs to be."""
    trouble: str = ''
    """Why nothing can be said of the two: the registry is doubtful, or the journal unreadable."""
    is_enabled: bool = True
    """Whether the configuration of this host asks for a mirror."""
    has_daemon: bool = True
    """Whether a daemon runs that keeps the mirror; on a member that is not known, and taken for
    so."""

    proposal: Optional[Proposal] = None
    """What a rebuild is about to do, where one is."""

    @property
    def difference(self) -> Difference:
        """What a rebuild would do."""
        if self.proposal is not None:
            return self.proposal.difference
        if self.collected is None:
            return Difference()
        vms = self.contents.vms if self.contents else ()
        pools = self.contents.pools if self.contents else DEFAULT_POOLS
        found = find_difference(vms, pools, self.collected.image)
        return found._replace(rows=tuple(
            row._replace(what=MENDED, problem=self.faults[row.vm_uuid])
            if row.before is None and row.vm_uuid in self.faults else row for row in found.rows))

    @property
    def is_stuck(self) -> bool:
        """Whether the daemon waits for people to decide, also where they find no difference."""
        return self.judgement in ('undecided', 'newer') and not (
            self.is_trusted and self.collected.is_complete)

    @property
    def lag(self) -> Difference:
        """What the mirror needs; of a row that is not valid it keeps what it has."""
        return invert(self.difference._replace(rows=tuple(
            row for row in self.difference.rows if not row.problem)))

    @property
    def faults(self) -> Dict[str, str]:
        """UUID -> what is wrong with the row, of rows that are not valid."""
        return {fault.key: fault.problem for fault in self.contents.faults} \
            if self.contents is not None else {}


def registry(arguments: Arguments, context: Context) -> Result:
    """Compare the registry with its mirror, or rebuild it: from there, or another source."""
    action, source = str(arguments.get(options.REGISTRY_ACTION)), arguments.get(options.SOURCE)
    if action == 'copies':
        return copies(arguments, context)
    if action == 'rebuild' and source not in (None, 'mirror'):
        return rebuild(arguments, context)
    for option in (options.SOURCE, options.AT):
        if arguments.get(option) not in (None, 'mirror'):
            raise CommandError(Kind.USAGE, f'{option.flag} goes with rebuild --source=history '
                               'or --source=FILE')
    try:
        view = read_mirror_view(context)
    except XapiError as error:
        raise CommandError(Kind.UNAVAILABLE, say_unasked(error) + _OTHER_SOURCES
                           if action == 'rebuild' else say_unavailable(error)) from error
    act = {'compare': _compare, 'rebuild': _rebuild, 'keep': _keep}
    return act[action](arguments, context, view)


def _compare(arguments: Arguments, context: Context, view: View) -> Result:
    differs = (view.judgement != 'same' or view.difference.has_any or bool(view.entries)
               or not view.collected.is_complete)
    status = (ExitStatus.UNAVAILABLE if view.trouble else
              ExitStatus.DRIFT if differs and arguments.get(options.EXIT_CODE) else ExitStatus.DONE)
    lines = describe_view(context.registry.path, view) + _list_next(view)
    return Result(_document(context, view, view.judgement), plain(lines), status,
                  minimal=tuple(view.difference.vm_uuids))


def _list_next(view: View) -> List[str]:
    """What there is to be done, for who only compares."""
    if view.contents is None and view.mirror is None:
        return [f'There is no mirror either. The assignments come back by: {_SOURCES}; only for a '
                "first registry: 'vgpu-admin init'."]
    if view.trouble:
        return []
    if view.judgement == 'same' and view.difference.has_any:
        return ["'vgpu-admin registry rebuild' makes the registry as the mirror is."]
    said = 'undecided' if view.is_stuck else view.judgement
    return [_NEXT[said]] if said in _NEXT else []


def _rebuild(arguments: Arguments, context: Context, view: View) -> Result:
    if view.mirror is None:
        raise CommandError(Kind.NOT_FOUND, 'there is no mirror in the database of XAPI'
                           + _OTHER_SOURCES)
    if view.contents is not None and not view.contents.accepted:
        raise Conflict(f'registry {context.registry.path}: our programs did not create it; take '
                       "it over first with 'vgpu-admin accept'")
    view = view._replace(proposal=propose(context, view.contents, view.collected.image))
    # What the daemon does not go by is taken as what this host's registry has been at.
    is_needed = view.contents is None or view.difference.has_any or view.is_stuck
    shown = describe_view(context.registry.path, view)
    if not is_needed or arguments.get(options.DRY_RUN):
        result = 'would_be_rebuilt' if is_needed else 'unchanged'
        return Result(_document(context, view, result), plain(shown + [
            'Nothing to do.' if not is_needed else 'Nothing was changed (dry run).']))
    context.confirm(shown, 'Do you want to rebuild the registry from the mirror?')
    kept = _replace(context, view)
    document = _document(context, view, 'rebuilt')
    document['kept'] = kept or None
    work = view.difference.vm_uuids
    staged = stage_changed(context, work, view.proposal, document) \
        if work and view.proposal is not None and context.live().role.is_writer else []
    lines = say_rebuilt(context, f'generation {view.mirror.generation.text}',
                        view.collected.image, kept)
    return Result(document, plain(lines + staged), minimal=tuple(work))


def _keep(arguments: Arguments, context: Context, view: View) -> Result:
    """The registry counts: it is noted as what came after the mirror, and the daemon mirrors it."""
    if view.contents is None:
        raise CommandError(Kind.UNAVAILABLE, f'there is no registry to keep ({view.problem}): '
                           f'{context.registry.path}; {_NEXT["no_registry"]}')
    if view.mirror is None:
        raise CommandError(Kind.NOT_FOUND, 'there is no mirror in the database of XAPI; '
                           + say_work(view, 'no_mirror'))
    if view.contents.missing:
        raise CommandError(Kind.CONFLICT, 'the registry lost rows that no command of ours removed: '
                           "take it as it is first, with 'vgpu-admin accept'")
    if not context.live().role.is_writer:
        master = context.live().master
        raise CommandError(Kind.CONFLICT, 'this host is not the master: here the mirror counts'
                           + (f"; for the master's registry to count, run it on {escape(master)}"
                              if master else ''))
    is_needed = view.is_stuck or (
        view.judgement in ('undecided', 'newer') and view.lag.has_any)
    lines = describe_view(context.registry.path, view, is_kept=True)
    if not is_needed or arguments.get(options.DRY_RUN):
        result = 'would_be_kept' if is_needed else 'unchanged'
        return Result(_document(context, view, result), plain(lines + [
            'Nothing was changed (dry run).' if is_needed else
            'Nothing to do: the registry counts already.' if view.lag.has_any else
            'Nothing to do.']))
    shown = rehearse(context, lambda edit: None)
    context.confirm(lines, 'Keep the registry and overwrite the mirror?')
    context.carry_out(shown, done='')
    with deferred():
        if not let_registry_count(context, view):
            raise CommandError(Kind.UNAVAILABLE, 'there is no journal yet: start the daemon first')
        context.done.append('the registry counts, and not the mirror')
    return Result(_document(context, view, 'kept'), plain([
        f'The registry {context.registry.path} is kept; {say_work(view, "edited")}.']))


def _replace(context: Context, view: View) -> str:
    """Rebuild the registry; where its former content is kept ('' when there was none)."""
    from watcher.mirror.entries import is_leap
    generation, image = view.mirror.generation, view.collected.image
    if is_leap(generation, _read_number(view.generation), view.is_signed):
        image = image._replace(origin=None)
    kept = replace(context, image, view.contents, view.problem, view.proposal)
    if image.origin is None:
        _refuse(context, generation.text)
    return kept


def let_registry_count(context: Context, view: View) -> bool:
    """Have the daemon take the mirror for what came before the registry; False without a journal.
    """
    mirror = view.mirror
    with context.journal() as journal:
        if journal is None:
            return False
        if view.is_trusted:
            journal.note_origin(mirror.origin)
    if not view.is_trusted:
        # Its number stands for nothing: it must not be gone on from.
        _refuse(context, mirror.generation.text)
    return True


def read_mirror_view(context: Context) -> View:
    """Look at the registry here and at its mirror; raises XapiError."""
    from watcher.mirror.comparison import collect_image, judge, list_kept_rows
    from watcher.mirror.entries import digest_contents, row_of
    from watcher.mirror.slots import read_mirror
    from watcher.mirror.trust import build_trust, read_key, read_memory
    live = context.live()
    pool, vms = live.read_pool_record(), live.read_vms()
    contents, problem = read_replaceable(context)
    with context.journal() as journal:
        lineage = journal.lineage() if journal is not None else ()
        noted = journal.generation() if journal is not None else None
        memory = read_memory(journal)
        has_moved = journal is not None and journal.has_moved(pool.uuid)
    trouble = _find_trouble(context, contents)
    key = read_key(context.settings.mirror.key_file)[0]
    reading = read_mirror(pool.mirror, build_trust(memory, key, pool.uuid), pool.uuid,
                          is_whole=True)
    mirror, trust = reading.mirror, reading.trust
    # As the daemon does: an entry that does not count is people's matter when it is ahead.
    is_ahead = reading.rival is not None and reading.rival.generation.text != memory.refused \
        and reading.rival.generation.number > _read_number(noted[0] if noted else '')
    is_trusted = not is_ahead and (mirror is not None or reading.rival is None)
    if not is_trusted:
        mirror = reading.rival
    judgement = 'no_registry'
    known = {vm.vm_uuid: row_of(vm) for vm in contents.vms} if contents is not None else {}
    if contents is not None:
        # As the daemon does: of a row that is not valid the mirror keeps what it has.
        known.update(list_kept_rows(vms, pool.uuid, {fault.key for fault in contents.faults},
                                    known, trust))
        digest = digest_contents(known.values(), contents.pools)
        judgement = 'newer' if has_moved and mirror and mirror.digest != digest else \
            judge(mirror, lineage, noted[1] if noted else None, digest).value
        if not is_trusted:
            judgement = 'undecided' if is_ahead else 'forged'
    collected = collect_image(vms, mirror, known, trust) if mirror is not None else None
    if mirror is not None and collected is not None and not collected.is_complete:
        # People may go by what is whole by its digest, and see what did not verify. Of what is not
        # whole they get what a known key has signed, where one has signed the pool's entry.
        unverified = collect_image(vms, mirror, known)
        if unverified.is_complete or not (reading.is_signed and is_trusted):
            collected = unverified
    return View(judgement, contents, problem, noted[0] if noted else '', mirror, collected,
                _find_odd_entries(vms, pool.uuid, contents, trust),
                reading.is_signed and is_trusted, is_trusted, trouble,
                context.settings.mirror.enabled,
                not live.role.is_writer or find_daemon(context.registry.path) is not None)


def _find_trouble(context: Context, contents: Optional[Contents]) -> str:
    """What keeps the registry from being compared with its mirror."""
    if context.journal_problem:
        return 'Which of the two is newer is not known without the journal.'
    return describe_loss(contents) if contents is not None and contents.missing else ''


def _read_number(generation: str) -> int:
    """How far the registry here has been."""
    from watcher.mirror.entries import MirrorInvalid, parse_generation
    try:
        return parse_generation(generation).number if generation else 0
    except MirrorInvalid:
        return 0


def _refuse(context: Context, generation: str) -> None:
    """Have the daemon put right the entry of this generation, which no known key has signed."""
    from watcher.mirror.trust import refuse
    with context.journal() as journal:
        if journal is not None:
            refuse(journal, generation)


def _find_odd_entries(vms: Tuple[Any, ...], resource_pool: str, contents: Optional[Contents],
                      trust: Any) -> Tuple[Tuple[str, str, str], ...]:
    from watcher.mirror.comparison import EntryKind, find_entry_kind
    from watcher.mirror.slots import find_current
    from watcher.vm.record import VmKind
    words = {EntryKind.COPY: "another VM's entry (a clone's)",
             EntryKind.BY_HAND: 'an entry written by hand',
             EntryKind.ARRIVED: 'an entry of another resource pool (arrived)',
             EntryKind.INVALID: 'an entry that cannot be read',
             EntryKind.FORGED: 'an entry that no key known here has signed'}
    rows = {vm.vm_uuid for vm in contents.vms} | {fault.key for fault in contents.faults} \
        if contents is not None else set()
    odd = []
    for vm in sorted(vms, key=lambda item: (item.name, item.uuid)):
        if vm.kind is not VmKind.VM:
            continue
        kind = find_entry_kind(find_current(vm.mirror, trust=trust, record=vm.uuid), vm.uuid,
                               resource_pool)
        if kind in words:
            odd.append((vm.uuid, vm.name, words[kind]))
        elif kind is EntryKind.OWN and contents is not None and vm.uuid not in rows:
            odd.append((vm.uuid, vm.name, 'an entry, and it is not registered'))
    return tuple(odd)


def _document(context: Context, view: View, result: str) -> Dict[str, Any]:
    mirror = None
    if view.mirror is not None:
        mirror = {'generation': view.mirror.generation.text, 'vm_count': view.mirror.vms,
                  'is_complete': view.collected.is_complete, 'is_signed': view.is_signed,
                  'is_trusted': view.is_trusted,
                  'problems': list(view.collected.problems)}
    return build_document(
        result=result, judgement=view.judgement, mirror=mirror,
        registry={'path': context.registry.path, 'problem': view.problem or None,
                  'generation': view.generation or None,
                  'vm_count': len(view.contents.vms) if view.contents is not None else None},
        pools=[new.pool_id for _old, new in view.difference.pools],
        faults=fault_documents(view.contents) if view.contents is not None else [],
        entries=[{'vm_uuid': uuid, 'vm_name': name, 'problem': what}
                 for uuid, name, what in view.entries],
        **document_of(view.difference))
