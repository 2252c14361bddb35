"""adopt: registers VMs that bring their assignment along: in hand-made args, or as arrivals."""

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.show import note_faults
from cli.context import Context
from cli.effects.proposals import ask, document_of, rehearse
from cli.effects.staged_sets import stage_changed
from cli.errors import CommandError, Kind
from cli.output.edit_messages import say_dry_run
from cli.output.result import Result, build_document, plain
from cli.output.text import escape, name_vm, plural, say_unavailable, spell_vm
from cli.queries.preflight import refuse_unless_editable
from registry.edit import Edit
from registry.errors import InvalidValue
from registry.values import Priority, parse_pool_id, parse_priority
from watcher.errors import XapiError


class Adoption(NamedTuple):
    """What the args of one VM say, or why they cannot be taken."""

    vm_uuid: str
    vm_name: str
    vm_id: int = 0
    pool_id: str = ''
    priority: Priority = Priority.MEDIUM
    problem: str = ''
    is_arrived: bool = False
    """It comes from another resource pool: its number may be another VM's here."""


def adopt(arguments: Arguments, context: Context) -> Result:
    """Register VMs by the pool, priority and number that they carry, or arrived with."""
    contents = context.registry.read()
    refuse_unless_editable(context)
    note_faults(context, contents)
    found, problems, numbers = _find(context, contents)
    for item in problems:
        context.note(f'{name_vm(item.vm_name, item.vm_uuid)} is left alone: {item.problem}')
    proposal = rehearse(context, lambda edit: _register(edit, found, numbers))
    given = {vm.vm_uuid: vm.vm_id for vm in proposal.difference.added}
    is_dry = bool(arguments.get(options.DRY_RUN))
    # Nothing but what is new is shown, and what is shown is registered.
    found = [item for item in found if item.vm_uuid in given]
    lines = [f'{name_vm(item.vm_name, item.vm_uuid)}: pool {item.pool_id}, priority '
             f'{item.priority.word}, {_describe_number(item, given, numbers.taken)}'
             for item in found]
    document = build_document(
        adopted=[_document(item._replace(vm_id=given[item.vm_uuid])) for item in found],
        left_alone=[{'vm_uuid': item.vm_uuid, 'problem': item.problem} for item in problems],
        **document_of(proposal.difference))
    if not found or is_dry:
        lines += [f'{plural(len(found), "VM")} would be registered.', say_dry_run()] \
            if found else []
        return Result(document, plain(lines or ['No VM brings anything to adopt.']))
    if ask(context, lines, f"Do you want to register {'it' if len(found) == 1 else 'them'}?"):
        lines = []
    context.carry_out(proposal, done='the VMs are registered')
    lines.append(f'{plural(len(found), "VM")} registered.')
    lines += stage_changed(context, [item.vm_uuid for item in found], proposal, document)
    return Result(document, plain(lines), minimal=tuple(item.vm_uuid for item in found))


def _find(context: Context, contents: Any) -> Tuple[List[Adoption], List[Adoption], Any]:
    """What can be adopted, what cannot, and which numbers are borne."""
    try:
        context.live()
        from cli.queries.arrivals import find_arrivals
        from cli.queries.pool_snapshot import read_pool
        pool = read_pool(context, contents)
        arrivals = find_arrivals(context, pool.ordinary_vms, contents.by_uuid)
    except XapiError as error:
        raise CommandError(Kind.UNAVAILABLE, say_unavailable(error)) from error
    items: List[Adoption] = []
    for vm in pool.ordinary_vms:
        plan = pool.plan(vm)
        if vm.uuid in arrivals:
            entry = arrivals[vm.uuid]
            items.append(Adoption(vm.uuid, vm.name, entry.vm_id, entry.pool_id, entry.priority,
                                  is_arrived=True))
        elif plan is not None and plan.state.value == 'manual':
            items.append(_read(vm, pool.policy))
        elif plan is not None and plan.state.value == 'unreadable' \
                and vm.uuid not in contents.by_uuid:
            items.append(Adoption(vm.uuid, vm.name, problem='its device-model-args cannot be '
                                  f"parsed; see 'vgpu-admin show-vm {spell_vm(vm.name, vm.uuid)}'"))
    carried = [item.vm_id for item in items if not item.is_arrived and not item.problem]
    judged = [item if item.problem or item.is_arrived or carried.count(item.vm_id) == 1
              else item._replace(problem=f'several VMs carry vm_id {item.vm_id}; '
                                 "'vgpu-admin register-vm' gives each its own")
              for item in items]
    owners = {row.vm_id: row.vm_uuid for row in contents.vms}
    judged = [item if item.problem or item.is_arrived or item.vm_id not in owners
              else item._replace(problem=f'vm_id {item.vm_id} is that of VM {owners[item.vm_id]}; '
                                 "'vgpu-admin register-vm' gives it its own, 'vgpu-admin "
                                 "transfer-vm' gives it the row")
              for item in judged]
    numbers = pool.find_numbers(frozenset(item.vm_uuid for item in items))
    taken = dict(numbers.taken)
    taken.update((row.vm_id, f'VM {row.vm_uuid}') for row in contents.vms)
    # Who carries its number goes first: it runs with it.
    judged.sort(key=lambda item: item.is_arrived)
    return ([item for item in judged if not item.problem],
            [item for item in judged if item.problem], numbers._replace(taken=taken))


def _describe_number(item: Adoption, given: Mapping[str, int], taken: Mapping[int, str]) -> str:
    number = given[item.vm_uuid]
    if item.is_arrived and number != item.vm_id:
        owner = escape(taken.get(item.vm_id, 'another VM'))
        return f'vm_id {number}, a new vm_id ({item.vm_id} is taken by {owner})'
    return f'vm_id {number}'


def _read(vm: Any, policy: Any) -> Adoption:
    adoption = Adoption(vm.uuid, vm.name)
    spans = policy.read(vm).spans
    number = policy.number_of(vm)
    if len(spans) != 1 or number is None:
        return adoption._replace(problem='it carries no single device with a valid '
                                 "vm_id; 'vgpu-admin register-vm' gives it one")
    properties = dict(spans[0].properties)
    try:
        return adoption._replace(
            vm_id=number, pool_id=parse_pool_id(properties.get('pool_id', 'A')),
            priority=_read_priority(properties.get('priority')))
    except InvalidValue as error:
        return adoption._replace(problem=str(error))


def _read_priority(text: Optional[str]) -> Priority:
    """A word, or a number as the start script of the earlier tool wrote it."""
    if text is None:
        return Priority.MEDIUM
    return Priority(int(text)) if text in ('0', '1', '2') else parse_priority(text)


def _register(edit: Edit, found: Sequence[Adoption], numbers: Any) -> None:
    """Add a row for each; an arrival whose number is another's here gets a new one."""
    edit.claim_numbers(numbers.taken)
    for item in found:
        is_taken = item.is_arrived and (edit.find_owner(item.vm_id, item.vm_uuid)
                                        or item.vm_id in numbers.taken)
        edit.add_vm(item.vm_uuid, vm_name=item.vm_name, pool_id=item.pool_id,
                    priority=item.priority, vm_id=None if is_taken else item.vm_id,
                    taken=numbers.taken if item.is_arrived else {}, floor=numbers.largest)


def _document(item: Adoption) -> Any:
    return {'vm_uuid': item.vm_uuid, 'vm_name': item.vm_name, 'vm_id': item.vm_id,
            'pool_id': item.pool_id, 'priority': item.priority.word,
            'arrived': item.is_arrived}
