"""The commands that keep the registry in order: init, accept, check, fence clear."""

from typing import Any, List, Optional

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.held_assignments import HISTORY, Held, find_held, note_carriers, refuse_to_forget
from cli.commands.plan import describe_plan, plan_document
from cli.context import Context, probe
from cli.effects.proposals import create, rehearse
from cli.errors import CommandError, ExitStatus, Kind
from cli.output.edit_messages import say_assignment, say_dry_run
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, name_vm, plural, plural_invalid, say_unasked
from cli.output.vm_view import fault_documents
from cli.queries.preflight import refuse_unless_editable
from registry.errors import Reason, RegistryUnavailable
from registry.file_check import describe_leftover
from registry.journal.outside_edits import describe_loss
from registry.values import Contents
from watcher.errors import WatcherError, XapiError
from watcher.vm.plan import Action


def init(arguments: Arguments, context: Context) -> Result:
    """Create the registry; one that exists stays as it is."""
    refuse_unless_editable(context, is_cure=True)
    path = context.registry.path
    if not _is_creatable(context):
        return _tell_there(path)
    held = _find_given_up(arguments, context)
    proposal = rehearse(context, lambda _edit: None, may_create=True)
    if arguments.get(options.DRY_RUN):
        return _tell_created(path, 'would_be_created', f'The registry {path} would be created.',
                             held)
    if not create(context, proposal, done=f'the registry {path} was created'):
        return _tell_there(path)
    if held:
        _give_up_mirror(context)
    note_carriers(context)
    return _tell_created(path, 'created', f'The registry {path} was created.', held)


def _tell_there(path: str) -> Result:
    return _tell_created(path, 'already_there',
                         f'The registry {path} already exists; nothing to do.', [])


def _tell_created(path: str, what: str, sentence: str, held: List[Held]) -> Result:
    verb = 'Would be given up' if what == 'would_be_created' else 'Given up'
    is_kept = any(item.place == HISTORY for item in held)
    kept = ", and kept in the history ('vgpu-admin restore --at=TIME' brings it back)" if is_kept \
        else ', and kept nowhere else'
    lines = [sentence] + [f'{verb}{kept}: {item.describe()}.' for item in held[:1]]
    lines += [say_dry_run()] if what == 'would_be_created' else []
    return Result(build_document(result=what, path=path,
                                 given_up=sum(item.total for item in held[:1])), plain(lines))


def _is_creatable(context: Context) -> bool:
    """Whether there is no registry, so that one would be created."""
    try:
        context.registry.inspect()
    except RegistryUnavailable as error:
        if error.reason not in (Reason.MISSING, Reason.EMPTY):
            raise
        return True
    return False


def _find_given_up(arguments: Arguments, context: Context) -> List[Held]:
    """What an empty registry would give up: refused, unless `--empty` was given."""
    if not arguments.get(options.EMPTY):
        refuse_to_forget(context, "'vgpu-admin init --empty' gives them up and starts over")
    return find_held(context)


def _give_up_mirror(context: Context) -> None:
    """The new registry counts: the daemon takes it for what came after the mirror."""
    from cli.commands.mirror import let_registry_count, read_mirror_view
    try:
        view = read_mirror_view(context)
        if view.mirror is not None:
            let_registry_count(context, view)
    except XapiError as error:
        context.note(f'the mirror could not be given up ({error}); see '
                     "'vgpu-admin registry compare'")


def accept(arguments: Arguments, context: Context) -> Result:
    """Take a registry as it is: one that another program created, or that lost rows.

    What is missing, and what will change on VMs, is shown first.
    """
    contents = context.registry.inspect()
    refuse_unless_editable(context, is_cure=True)
    if contents.accepted and not contents.missing:
        return Result(build_document(result='already_accepted', changes=[], plans=[],
                                     missing=[]),
                      plain([f'The registry {context.registry.path} is already accepted; '
                             'nothing to do.']))
    plans = _plan_changes(context, contents)
    changes = [describe_plan(plan, contents) for plan in plans or ()]
    proposal = rehearse(context, lambda edit: edit.accept(), allow_loss=True)
    block = [f'The registry {context.registry.path} has {plural(len(contents.vms), "VM")}'
             + (f' and {plural_invalid(len(contents.faults))}.' if contents.faults else '.')]
    block += _list_missing(contents) + (['No VM would be changed.'] if plans == [] else changes)
    missing = [{'vm_uuid': vm.vm_uuid, 'vm_name': vm.vm_name, 'vm_id': vm.vm_id,
                'pool_id': vm.pool_id, 'priority': vm.priority.word} for vm in contents.missing]
    document = build_document(result='would_be_accepted', changes=changes, missing=missing,
                              plans=[plan_document(plan) for plan in plans or ()])
    if arguments.get(options.DRY_RUN):
        return Result(document, plain(block + [say_dry_run()]))
    context.confirm(block, 'Do you want to take this registry over?')
    # That rows were given up stands in the journal, and nowhere else.
    context.carry_out(proposal, done='the registry was accepted', allow_loss=True,
                      needs_journal=bool(contents.missing))
    who = "; the daemon, or 'vgpu-admin reconcile', carries the changes out" if plans != [] else ''
    return Result(dict(document, result='accepted'),
                  plain([f'The registry {context.registry.path} is accepted{who}.']))


def _list_missing(contents: Contents) -> List[str]:
    """The rows that no command of ours removed: they are given up."""
    if not contents.missing:
        return []
    return [f'{plural(len(contents.missing), "VM")} that had rows have none now; to keep them, '
            "answer no and run 'vgpu-admin registry rebuild' or 'vgpu-admin restore "
            "--at=TIME':"] + [
        f'  {name_vm(vm.vm_name, vm.vm_uuid)}: {say_assignment(vm)}' for vm in contents.missing]


def check(_arguments: Arguments, context: Context) -> Result:
    """Validate structure and content of the registry."""
    registry = context.registry
    found = registry.check()
    problems, warnings = list(found.problems), list(found.warnings)
    contents: Optional[Contents] = None
    if not describe_leftover(registry.path):
        contents = registry.inspect()
        if contents.missing:
            problems.insert(0, describe_loss(contents))
        if not contents.accepted:
            context.note('the registry was made by another program and is not accepted: arguments '
                         "are added, nothing is replaced or removed; see 'vgpu-admin accept'")
    lines = [f'{registry.path}: {escape(problem)}' for problem in problems]
    lines += [f'{registry.path}: {escape(warning)} (a warning)' for warning in warnings]
    if contents is not None and contents.faults:
        lines.append("Remove a row that is not valid with 'vgpu-admin remove-vm --vm-uuid=UUID', "
                     'then register the VM again.')
    counted = [plural(len(contents.vms), 'VM')] if contents is not None else []
    counted += [plural(len(problems), 'problem')]
    counted += [plural(len(warnings), 'warning')] if warnings else []
    return Result(build_document(problems=problems, warnings=warnings,
                                 faults=fault_documents(contents) if contents is not None else [],
                                 vm_count=len(contents.vms) if contents is not None else None,
                                 accepted=contents.accepted if contents is not None else None,
                                 path=registry.path),
                  plain(lines + [f'{registry.path}: {", ".join(counted)}']),
                  ExitStatus.FAILED if problems else ExitStatus.DONE)


def clear_fences(_arguments: Arguments, context: Context) -> Result:
    """Lift the start blocks that a version before 0.2 left."""
    from watcher.staging.block_clearing import clear_blocks
    told: List[str] = []
    probe(context.settings)
    try:
        count = clear_blocks(context.settings, told.append)
    except XapiError:
        raise
    except WatcherError as error:
        raise CommandError(Kind.FAILED, str(error)) from error
    summary = (f'{plural(count, "VM")} had a start block of ours.' if count else
               'No VM has a start block of ours.')
    return Result(build_document(lifted=count, actions=told),
                  plain([escape(line) for line in told] + [summary]))


def _plan_changes(context: Context, contents: Contents) -> Optional[List[Any]]:
    """What would be written to XAPI once the registry is ours, VM by VM; None: not known."""
    try:
        context.live()
        from cli.queries.pool_snapshot import read_pool
        view = read_pool(context, contents._replace(version=max(1, contents.version)))
    except XapiError as error:
        context.note(f'{say_unasked(error)}; what would change there is not known')
        return None
    return [plan for plan in view.list_plans().values()
            if plan is not None and plan.action is not Action.NONE]
