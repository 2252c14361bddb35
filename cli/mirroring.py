"""registry compare, rebuild, keep: the file on this host and its mirror in XAPI's database.

The daemon does the same by itself where that is safe. By hand it can be seen beforehand, and done
where the daemon must not decide: after a file was deleted, or from a mirror that is not whole.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from cli import options
from cli.context import Context
from cli.errors import CommandError, ExitStatus, Kind
from cli.exchanging import Change, describe_change, stage_changed
from cli.interrupts import deferred
from cli.parser import Arguments
from cli.result import Result, build_document
from cli.text import escape, plural
from registry.errors import Reason, RegistryUnavailable
from registry.replica import Differences, find_differences
from registry.values import Contents, Pool
from watcher.errors import XapiError

# What says that there is nothing that could be compared, or lost.
_GONE = (Reason.MISSING, Reason.EMPTY, Reason.CORRUPT)
_WORDS = {
    'same': 'The registry and the mirror say the same.',
    'edited': 'The registry was edited since it was mirrored.',
    'older': 'The mirror is older than the registry.',
    'newer': 'The mirror is newer than the registry, or of another line.',
    'undecided': 'Nothing here tells which is newer, the registry or its mirror.',
    'no_mirror': 'There is no mirror in the database of XAPI.',
    'no_registry': 'There is no registry that could be used.',
}


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

    @property
    def differences(self) -> Differences:
        """What a rebuild would do."""
        if self.collected is None:
            return Differences()
        vms = self.contents.vms if self.contents else ()
        pools = self.contents.pools if self.contents else _default_pools()
        return find_differences(vms, pools, self.collected.image)


def registry(arguments: Arguments, context: Context) -> Result:
    """Compare the registry with its mirror, or rebuild it from there."""
    try:
        view = _look(context)
    except XapiError as error:
        raise CommandError(Kind.UNAVAILABLE, f'XAPI could not be asked: {error}') from error
    act = {'compare': _compare, 'rebuild': _rebuild, 'keep': _keep}
    return act[str(arguments.get(options.REGISTRY_ACTION))](arguments, context, view)


def _compare(arguments: Arguments, context: Context, view: View) -> Result:
    differs = (view.judgement != 'same' or view.differences.has_any or bool(view.entries)
               or not view.collected.is_complete)
    status = ExitStatus.DRIFT if differs and arguments.get(options.EXIT_CODE) else ExitStatus.DONE
    return Result(_document(context, view, view.judgement), lambda _style: _lines(context, view),
                  status, minimal=tuple(item.vm_uuid for item in _changes(view.differences)))


def _rebuild(arguments: Arguments, context: Context, view: View) -> Result:
    if view.mirror is None:
        raise CommandError(Kind.NOT_FOUND, 'there is no mirror in the database of XAPI; '
                           "'vgpu-admin restore' takes a backup")
    is_needed = view.contents is None or view.differences.has_any
    if not is_needed or arguments.get(options.DRY_RUN):
        result = 'would_be_rebuilt' if is_needed else 'unchanged'
        return Result(_document(context, view, result), lambda _style: _lines(context, view)
                      + ['Nothing to do.' if not is_needed else 'Nothing was changed (dry run).'])
    context.confirm(_lines(context, view), 'Do you want to rebuild the registry from the mirror?')
    kept = _replace(context, view)
    document = _document(context, view, 'rebuilt')
    document['kept'] = kept or None
    work = [item.vm_uuid for item in _changes(view.differences)]
    if context.live().role.is_writer:
        document['staging'] = stage_changed(context, work)
    count = plural(len(view.collected.image.vms), 'VM')
    lines = [f'The registry {context.registry.path} was rebuilt from generation '
             f'{view.mirror.generation.text}: {count}.']
    if kept:
        lines.append(f'What was there before is kept as {kept}.')
    return Result(document, lambda _style: lines, minimal=tuple(work))


def _keep(arguments: Arguments, context: Context, view: View) -> Result:
    """The registry counts: it is noted as what came after the mirror, and the daemon mirrors it."""
    if view.contents is None:
        raise CommandError(Kind.UNAVAILABLE, f'there is no registry to keep: {view.problem}')
    if view.mirror is None:
        raise CommandError(Kind.NOT_FOUND, 'there is no mirror in the database of XAPI; the daemon '
                           'on the master makes one')
    if not context.live().role.is_writer:
        raise CommandError(Kind.CONFLICT, 'this host is not the master: here the mirror counts')
    is_needed = view.judgement in ('undecided', 'newer') and view.differences.has_any
    if not is_needed or arguments.get(options.DRY_RUN):
        result = 'would_be_kept' if is_needed else 'unchanged'
        return Result(_document(context, view, result), lambda _style: _lines(context, view)
                      + ['Nothing to do.' if not is_needed else 'Nothing was changed (dry run).'])
    context.confirm(_lines(context, view), 'Do you want to keep the registry as it is, and have '
                    'the mirror overwritten?')
    mirror = view.mirror
    with deferred(), context.journal() as journal:
        if journal is None:
            raise CommandError(Kind.UNAVAILABLE, 'there is no journal yet: start the daemon first')
        journal.note_generation(mirror.generation.text, mirror.digest, is_own=False,
                                line=mirror.line)
        context.done.append('the registry counts, and not the mirror')
    return Result(_document(context, view, 'kept'), lambda _style: [
        f'The registry {context.registry.path} is kept; the daemon mirrors it.'])


def _replace(context: Context, view: View) -> str:
    """Make the registry anew; where what was there is kept ('' when nothing was)."""
    mirror, aside = view.mirror, ''
    with deferred():
        if view.contents is None and view.problem != Reason.MISSING.value:
            aside = context.registry.set_aside()
            context.note('programs that had the old file open still have it: restart them')
        replaced = context.registry.replace_contents(
            view.collected.image, who=context.who, command='registry rebuild', keep_copy=True,
            may_create=view.contents is None, allow_emptied=True,
            generation=(mirror.generation.text, mirror.digest), line=mirror.line)
        context.done.append('the registry was rebuilt')
    return aside or replaced.kept


def _look(context: Context) -> View:
    from watcher.mirror_entries import digest_contents, row_of
    from watcher.mirror_judge import collect_image, judge, read_pool_entry
    live = context.live()
    pool, vms = live.read_pool_record(), live.read_vms()
    contents, problem = _read(context)
    found = read_pool_entry(pool.mirror)
    mirror = found.entry if found.entry and found.entry.resource_pool == pool.uuid else None
    with context.journal() as journal:
        lineage = journal.lineage() if journal is not None else ()
        noted = journal.generation() if journal is not None else None
    judgement = 'no_registry'
    if contents is not None:
        digest = digest_contents(contents.vms, contents.pools)
        judgement = judge(mirror, lineage, noted[1] if noted else None, digest).value
    known = {vm.vm_uuid: row_of(vm) for vm in contents.vms} if contents is not None else {}
    collected = collect_image(vms, mirror, known) if mirror is not None else None
    return View(judgement, contents, problem, noted[0] if noted else '', mirror, collected,
                _find_odd_entries(vms, pool.uuid, contents))


def _read(context: Context) -> Tuple[Optional[Contents], str]:
    """Read the registry; what is gone or damaged can be rebuilt, anything else cannot."""
    try:
        return context.registry.read(), ''
    except RegistryUnavailable as error:
        if error.reason not in _GONE:
            raise
        return None, error.reason.value


def _find_odd_entries(vms: Tuple[Any, ...], resource_pool: str,
                      contents: Optional[Contents]) -> Tuple[Tuple[str, str, str], ...]:
    from watcher.mirror_entries import find_current
    from watcher.mirror_judge import Standing, find_standing
    from watcher.records import Kind as VmKind
    words = {Standing.COPY: "another VM's entry (a clone's)",
             Standing.BY_HAND: 'an entry written by hand',
             Standing.ARRIVED: 'an entry of another resource pool (arrived)',
             Standing.INVALID: 'an entry that cannot be read'}
    rows = contents.by_uuid if contents is not None else {}
    odd = []
    for vm in sorted(vms, key=lambda item: (item.name, item.uuid)):
        if vm.kind is not VmKind.VM:
            continue
        standing = find_standing(find_current(vm.mirror), vm.uuid, resource_pool)
        if standing in words:
            odd.append((vm.uuid, vm.name, words[standing]))
        elif standing is Standing.OWN and contents is not None and vm.uuid not in rows:
            odd.append((vm.uuid, vm.name, 'an entry, and it is not registered'))
    return tuple(odd)


def _changes(differences: Differences) -> List[Change]:
    return ([Change('added', vm.vm_uuid, None, vm) for vm in differences.added]
            + [Change('changed', after.vm_uuid, before, after)
               for before, after in differences.changed]
            + [Change('removed', vm.vm_uuid, vm, None) for vm in differences.removed])


def _lines(context: Context, view: View) -> List[str]:
    lines = [f'registry  {context.registry.path}: {_describe_registry(view)}']
    if view.mirror is not None:
        lines.append(f'mirror    generation {view.mirror.generation.text}, '
                     f'{plural(view.mirror.vms, "VM")}')
    lines += ['', _WORDS[view.judgement]]
    if view.differences.has_any:
        lines.append('To be as the mirror, the registry needs:')
    lines += [f'  {describe_change(change)}' for change in _changes(view.differences)]
    lines += [f'  vGPU pool {new.pool_id}: {_describe_pool(old)} -> {_describe_pool(new)}'
              for old, new in view.differences.pools]
    if view.collected is not None and view.collected.problems:
        lines.append('The mirror is not whole, and the registry here completes it:'
                     if view.collected.is_complete else 'The mirror is not whole:')
        lines += [f'  {escape(problem)}' for problem in view.collected.problems]
    lines += [f'VM {uuid} ({escape(name)}) has {what}' for uuid, name, what in view.entries]
    return lines


def _describe_registry(view: View) -> str:
    if view.contents is None:
        return view.problem
    count = plural(len(view.contents.vms), 'VM')
    return f'generation {view.generation or "-"}, {count}'


def _describe_pool(pool: Pool) -> str:
    state = 'enabled' if pool.enabled else 'disabled'
    return f'{escape(pool.pool_name)} ({escape(pool.description or "")}), {state}'


def _document(context: Context, view: View, result: str) -> Dict[str, Any]:
    mirror = None
    if view.mirror is not None:
        mirror = {'generation': view.mirror.generation.text, 'vm_count': view.mirror.vms,
                  'is_complete': view.collected.is_complete,
                  'problems': list(view.collected.problems)}
    return build_document(
        result=result, judgement=view.judgement, mirror=mirror,
        registry={'path': context.registry.path, 'problem': view.problem or None,
                  'generation': view.generation or None,
                  'vm_count': len(view.contents.vms) if view.contents is not None else None},
        changes=[{'change': change.what, 'vm_uuid': change.vm_uuid,
                  'before': _brief(change.before), 'after': _brief(change.after)}
                 for change in _changes(view.differences)],
        pools=[new.pool_id for _old, new in view.differences.pools],
        entries=[{'vm_uuid': uuid, 'vm_name': name, 'problem': what}
                 for uuid, name, what in view.entries])


def _brief(vm: Any) -> Optional[Dict[str, Any]]:
    if vm is None:
        return None
    return {'vm_name': vm.vm_name, 'vm_id': vm.vm_id, 'pool_id': vm.pool_id,
            'priority': vm.priority.word}


def _default_pools() -> Tuple[Pool, ...]:
    return (Pool('A', 'Pool A'), Pool('B', 'Pool B'))
