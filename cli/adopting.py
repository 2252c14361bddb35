"""adopt: registers VMs that bring their assignment along: in hand-made args, or as arrivals."""

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from cli import options
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.exchanging import stage_changed
from cli.parser import Arguments
from cli.result import Result, build_document
from cli.situation import refuse_on_member
from cli.text import escape, plural
from registry.errors import Conflict, InvalidValue
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
    refuse_on_member(context)
    found, problems, numbers = _find(context, contents)
    lines = [f'{item.vm_uuid} {escape(item.vm_name)}: pool {item.pool_id}, priority '
             f'{item.priority.word}, {_describe_number(item, numbers.taken)}' for item in found]
    for item in problems:
        context.note(f'VM {item.vm_uuid} ({item.vm_name}) is left alone: {item.problem}')
    document = build_document(adopted=[_document(item) for item in found],
                              left_alone=[{'vm_uuid': item.vm_uuid, 'problem': item.problem}
                                          for item in problems])
    if not found or arguments.get(options.DRY_RUN):
        return Result(document, lambda _style: lines or ['No VM brings anything to adopt.'])
    context.confirm(lines, 'Do you want to register these VMs?')
    registered = _register(context, found, numbers)
    document['adopted'] = [_document(item) for item in registered]
    lines = [f'{item.vm_uuid} {escape(item.vm_name)}: pool {item.pool_id}, priority '
             f'{item.priority.word}, vm_id {item.vm_id}' for item in registered]
    document['staging'] = stage_changed(context, [item.vm_uuid for item in found])
    return Result(document, lambda _style: lines + [f'{plural(len(found), "VM")} registered.'],
                  minimal=tuple(item.vm_uuid for item in found))


def _find(context: Context, contents: Any) -> Tuple[List[Adoption], List[Adoption], Any]:
    """What can be adopted, what cannot, and which numbers are borne."""
    try:
        context.live()
        from cli.arrivals import find_arrivals
        from cli.pool_view import read_pool
        from cli.xapi_session import find_numbers
        pool = read_pool(context, contents)
        arrivals = find_arrivals(context, pool.ordinary_vms, contents.by_uuid)
    except XapiError as error:
        raise CommandError(Kind.UNAVAILABLE, f'XAPI could not be asked: {error}') from error
    items = []  # type: List[Adoption]
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
            items.append(Adoption(vm.uuid, vm.name, problem='its device-model-args cannot be told '
                                  "apart; see 'vgpu-admin show-vm'"))
    carried = [item.vm_id for item in items if not item.is_arrived and not item.problem]
    judged = [item if item.problem or item.is_arrived or carried.count(item.vm_id) == 1
              else item._replace(problem=f'several VMs carry vm_id {item.vm_id}; '
                                    "'vgpu-admin register-vm' gives each its own")
              for item in items]
    numbers = find_numbers(pool.inventory.vms, pool.policy, contents.by_uuid,
                           frozenset(item.vm_uuid for item in items))
    taken = dict(numbers.taken)
    taken.update((row.vm_id, f'VM {row.vm_uuid}') for row in contents.vms)
    # Who carries its number goes first: it runs with it.
    judged.sort(key=lambda item: item.is_arrived)
    return ([item for item in judged if not item.problem],
            [item for item in judged if item.problem], numbers._replace(taken=taken))


def _describe_number(item: Adoption, taken: Mapping[int, str]) -> str:
    if item.is_arrived and item.vm_id in taken:
        return f'a new vm_id ({item.vm_id} is taken by {escape(taken[item.vm_id])})'
    return f'vm_id {item.vm_id}'


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


def _register(context: Context, found: List[Adoption], numbers: Any) -> List[Adoption]:
    registered = []
    try:
        with context.editing(done='the VMs are registered') as edit:
            for item in found:
                vm = _add(edit, item, numbers)
                registered.append(item._replace(vm_id=vm.vm_id))
    except Conflict as error:
        raise Conflict(f'{error}; nothing was changed') from error
    return registered


def _add(edit: Any, item: Adoption, numbers: Any) -> Any:
    """Add a row; an arrival whose number is taken by now gets another."""
    asked = dict(vm_name=item.vm_name, pool_id=item.pool_id, priority=item.priority)
    if not item.is_arrived:
        return edit.add_vm(item.vm_uuid, vm_id=item.vm_id, **asked)
    try:
        return edit.add_vm(item.vm_uuid, vm_id=item.vm_id, taken=numbers.taken, **asked)
    except Conflict:
        return edit.add_vm(item.vm_uuid, taken=numbers.taken, floor=numbers.largest, **asked)


def _document(item: Adoption) -> Any:
    return {'vm_uuid': item.vm_uuid, 'vm_name': item.vm_name, 'vm_id': item.vm_id,
            'pool_id': item.pool_id, 'priority': item.priority.word,
            'arrived': item.is_arrived}
