"""transfer-vm, and what becomes of rows whose VM is gone: a row and its number outlive a VM.

A VM that was restored from a backup, or imported again, is a new VM with another UUID; the row of
the old one keeps the number. `transfer-vm` gives such a row to the new VM, with all that other
programs keep in it. `--gone` finds the rows whose VM is gone from XAPI.
"""

from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.show import note_faults
from cli.context import Context
from cli.effects.proposals import ask, describe, describe_counts, document_of, rehearse
from cli.effects.staged_sets import stage_changed
from cli.errors import CommandError, Kind
from cli.output.edit_messages import say_assignment, say_dry_run
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, name_vm, say_unasked, say_unavailable
from cli.queries.preflight import Situation, refuse_unless_editable
from registry.difference import Difference
from registry.edit import Edit
from registry.errors import InvalidValue, NotFound
from registry.proposal import Proposal
from registry.values import Contents, Vm, clean_name, parse_uuid
from watcher.errors import XapiError
from watcher.vm.record import BLOCK_MARK, VmKind, VmRecord

# A transfer is among the newest changes of a VM's row.
_LOOKED_AT = 50


class Move(NamedTuple):
    """A row that goes to another VM."""

    row: Vm
    to_uuid: str
    to_name: Optional[str]


def transfer_vm(arguments: Arguments, context: Context) -> Result:
    """Give the row of one VM to another; with --gone propose that for rows whose VM is gone."""
    _check_words(arguments)
    contents = context.registry.read()
    refuse_unless_editable(context)
    if arguments.get(options.GONE):
        return _transfer_gone(arguments, context, contents)
    vms, problem = _read_vms_or_why(context)
    from_uuid = arguments.get(options.FROM)
    to_uuid, name = _find_receiver(arguments.get(options.TO), contents, vms, problem)
    if from_uuid == to_uuid:
        raise CommandError(Kind.USAGE, f'--from and --to name the same VM, {to_uuid}')

    moved = _find_moved(context, contents, from_uuid, to_uuid)
    if moved is not None:
        return _say_moved(moved, from_uuid)
    borne = _find_borne(context, contents, vms, [from_uuid, to_uuid])

    def build(edit: Edit) -> None:
        if vms:
            edit.claim_numbers(borne)
        edit.move_vm(from_uuid, to_uuid, name)

    proposal = rehearse(context, build)
    is_dry = bool(arguments.get(options.DRY_RUN))
    if not is_dry:
        with context.editing(done=f'the row of VM {from_uuid} is now that of {to_uuid}') as edit:
            build(edit)
        proposal = edit.proposal
    if problem:
        context.note(f'{say_unasked(problem)}; nothing was checked there, and the VMs are staged '
                     'when it answers')
    return _answer(context, proposal, 'transferred', vms, is_dry=is_dry, is_told=False)


def _find_moved(context: Context, contents: Contents, from_uuid: str,
                to_uuid: str) -> Optional[Vm]:
    """The row, where an earlier transfer gave it to this VM, and nothing of it was changed back."""
    row = contents.by_uuid.get(to_uuid)
    if row is None or from_uuid in contents.by_uuid:
        return None
    with context.journal() as journal:
        if journal is None:
            return None
        went, came = (_find_newest(journal, vm_uuid, what) for vm_uuid, what in (
            (from_uuid, 'vm_removed'), (to_uuid, 'vm_added')))
    if went is None or came is None or {went.command, came.command} != {context.command}:
        return None
    return row if went.before.get('vm_id') == came.after.get('vm_id') else None


def _find_newest(journal: Any, vm_uuid: str, what: str) -> Optional[Any]:
    found = journal.list_history(vm_uuid, _LOOKED_AT, is_routine=False)
    return next((entry for entry in found if entry.what == what), None)


def _say_moved(row: Vm, from_uuid: str) -> Result:
    """Asked for what already is, it succeeds."""
    said = (f'{name_vm(row.vm_name, row.vm_uuid)} already has the row of VM {from_uuid} '
            f'({say_assignment(row)}); nothing to do')
    return Result(_unchanged(), plain([said]))


def _unchanged() -> Dict[str, Any]:
    return build_document(result='unchanged', staging={}, **document_of(Difference()))


def remove_gone(arguments: Arguments, context: Context) -> Result:
    """Remove the rows of VMs that are gone from XAPI, after showing them."""
    contents = context.registry.read()
    refuse_unless_editable(context)
    note_faults(context, contents)
    vms = _read_vms(context)
    rows = _find_gone(contents, vms, context.live().odd)
    proposal = rehearse(context, lambda edit: [edit.remove_vm(row.vm_uuid) for row in rows])
    return _ask_and_answer(arguments, context, proposal, 'removed', vms,
                           'Do you want to remove these registrations?', len(rows))


def _transfer_gone(arguments: Arguments, context: Context, contents: Contents) -> Result:
    note_faults(context, contents)
    vms = _read_vms(context)
    rows = _find_gone(contents, vms, context.live().odd)
    brought = _find_brought(context, contents, vms)
    moves: List[Move] = []
    for row in rows:
        found = brought.get(row.vm_id, [])
        if len(found) == 1:
            moves.append(Move(row, found[0].uuid, clean_name(found[0].name)))
            continue
        context.note(_describe_undecided(row, found))
    borne = _find_borne(context, contents, vms, [move.row.vm_uuid for move in moves]
                        + [move.to_uuid for move in moves])

    def build(edit: Edit) -> None:
        edit.claim_numbers(borne)
        for move in moves:
            edit.move_vm(move.row.vm_uuid, move.to_uuid, move.to_name)

    proposal = rehearse(context, build)
    return _ask_and_answer(arguments, context, proposal, 'transferred', vms,
                           'Do you want to give these rows to these VMs?', len(rows))


def _find_borne(context: Context, contents: Contents, vms: Mapping[str, VmRecord],
                own: Sequence[str]) -> Mapping[int, str]:
    """The numbers that VMs besides these bear, in words; none where XAPI could not be asked."""
    if not vms:
        return {}
    from cli.queries.pool_snapshot import find_numbers
    return find_numbers(context, contents, vms.values(), frozenset(own)).taken


def _ask_and_answer(arguments: Arguments, context: Context, proposal: Proposal, what: str,
                    vms: Mapping[str, VmRecord], question: str, gone: int) -> Result:
    is_dry, is_told = bool(arguments.get(options.DRY_RUN)), False
    if not gone:
        return Result(_unchanged(), plain(['XAPI has the VM of every row; nothing to do.']))
    if proposal.has_any and not is_dry:
        is_told = ask(context, describe(proposal)
                      + [f'{describe_counts(proposal.difference, is_done=False)}.'], question)
        context.carry_out(proposal, done=f'the rows of VMs that are gone were {what}')
    return _answer(context, proposal, what, vms, is_dry=is_dry, is_told=is_told)


def _answer(context: Context, proposal: Proposal, what: str, vms: Mapping[str, VmRecord], *,
            is_dry: bool, is_told: bool) -> Result:
    """Say what was done, and stage those of the VMs that XAPI has."""
    difference = proposal.difference
    result = 'unchanged' if not difference.has_any else f'would_be_{what}' if is_dry else what
    document = build_document(result=result, **document_of(difference))
    lines = [] if is_told else describe(proposal)
    counted = describe_counts(difference, is_done=not is_dry)
    lines.append(f"{counted or 'No row goes to another VM'}.")
    lines += [say_dry_run()] if is_dry else []
    work = [vm_uuid for vm_uuid in difference.vm_uuids if vm_uuid in vms]
    if not is_dry:
        lines += stage_changed(context, work, proposal, document)
    return Result(document, plain(lines), minimal=tuple(difference.vm_uuids))


def _check_words(arguments: Arguments) -> None:
    named = [option for option in (options.FROM, options.TO) if arguments.get(option) is not None]
    if arguments.get(options.GONE):
        if named:
            raise CommandError(Kind.USAGE, f'--gone and {named[0].flag} exclude each other')
    elif len(named) != 2:
        raise CommandError(Kind.USAGE, 'transfer-vm needs --from=UUID and --to=VM, or --gone')


def _find_receiver(text: str, contents: Contents, vms: Mapping[str, VmRecord],
                   problem: str) -> Tuple[str, Optional[str]]:
    """The VM that gets a row, by UUID or name, and its name."""
    try:
        vm_uuid = parse_uuid(text)
    except InvalidValue:
        vm_uuid = _find_named(str(clean_name(text)), contents, vms, problem)
    record = vms.get(vm_uuid)
    if record is None:
        if not problem and vm_uuid not in contents.by_uuid:
            raise NotFound(f"XAPI has no VM {vm_uuid}; see 'vgpu-admin scan-vms'")
        return vm_uuid, None
    if record.kind is not VmKind.VM:
        raise CommandError(Kind.FAILED, f'VM {vm_uuid} {Situation(record).kind_problem}; nothing '
                           'was changed')
    return vm_uuid, clean_name(record.name)


def _find_named(name: str, contents: Contents, vms: Mapping[str, VmRecord], problem: str) -> str:
    found = {vm.vm_uuid for vm in contents.vms if vm.vm_name == name}
    found |= {vm.uuid for vm in vms.values()
              if vm.kind is VmKind.VM and clean_name(vm.name) == name}
    if len(found) == 1:
        return found.pop()
    if found:
        raise CommandError(Kind.CONFLICT, f"the name '{escape(name)}' fits {len(found)} VMs: "
                           f"{', '.join(sorted(found))}; name the VM by its UUID")
    if problem:
        raise CommandError(Kind.UNAVAILABLE, f"the name '{escape(name)}' is not in the registry, "
                           f'and {say_unasked(problem)}; name the VM by its UUID')
    raise CommandError(Kind.NOT_FOUND, f"no VM has the name '{escape(name)}'; see "
                       "'vgpu-admin scan-vms'")


# Rows whose VM is gone.

def _find_gone(contents: Contents, vms: Mapping[str, VmRecord],
               odd: Mapping[str, str]) -> List[Vm]:
    """The rows whose VM XAPI does not have: neither as a VM, nor as a template or a snapshot."""
    return sorted((row for row in contents.vms
                   if row.vm_uuid not in vms and row.vm_uuid not in odd),
                  key=lambda row: row.vm_id)


def _find_brought(context: Context, contents: Contents,
                  vms: Mapping[str, VmRecord]) -> Dict[int, List[VmRecord]]:
    """Which unregistered VM brought which number: it carries it, or did until we removed it."""
    from watcher.config.policy import build_policy
    policy = build_policy(context.settings, contents.accepted)
    with context.journal() as journal:
        removed = journal.removed() if journal is not None else {}
    registered = contents.by_uuid
    found: Dict[int, List[VmRecord]] = {}
    for vm in vms.values():
        if vm.kind is not VmKind.VM or vm.uuid in registered or _is_replica(vm):
            continue
        for number in _numbers_of(vm, removed.get(vm.uuid), policy):
            found.setdefault(number, []).append(vm)
    return found


def _is_replica(vm: VmRecord) -> bool:
    """Whether another program blocks a VM's start: a replica is no restored VM."""
    return any(not text.startswith(BLOCK_MARK) for _operation, text in vm.start_blocks)


def _numbers_of(vm: VmRecord, removed: Optional[str], policy: Any) -> FrozenSet[int]:
    texts = [vm] + ([vm._replace(args=removed)] if removed is not None else [])
    numbers = {policy.number_of(item) for item in texts if item.args}
    return frozenset(numbers - {None})


def _describe_undecided(row: Vm, found: Sequence[VmRecord]) -> str:
    name = f'{name_vm(row.vm_name, row.vm_uuid)}, vm_id {row.vm_id}'
    gives = f"'vgpu-admin transfer-vm --from={row.vm_uuid} --to=VM'"
    if not found:
        return (f'{name}: no VM has brought its number; {gives} gives the row to one, '
                "'vgpu-admin remove-vm --gone' removes the rows of all VMs that are gone")
    listed = ', '.join(f'{vm.uuid} ({escape(vm.name)})' for vm in found)
    return f'{name}: several VMs have brought its number: {listed}; {gives} gives the row to one'


def _read_vms(context: Context) -> Mapping[str, VmRecord]:
    vms, problem = _read_vms_or_why(context)
    if problem:
        raise CommandError(Kind.UNAVAILABLE, say_unavailable(problem))
    return vms


def _read_vms_or_why(context: Context) -> Tuple[Mapping[str, VmRecord], str]:
    try:
        return {vm.uuid: vm for vm in context.live().read_vms()}, ''
    except XapiError as error:
        context.lose_live(error)
        return {}, str(error)
