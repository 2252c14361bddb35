"""What is said of an edit: the VM by its name, what was, what is, what became of it.  Pure."""

from typing import Any, Dict, List, Mapping

from cli.output.tables import brief_args
from cli.output.text import brief_name, escape, name_vm
from registry.difference import RowChange
from registry.values import Vm

# An edit of many VMs says so many different things of them at most.
MOST_GROUPS = 6
# So many VMs of which the same is said are named, where something else is said of others.
_NAMED = 3


def say_assignment(vm: Vm) -> str:
    """What a row says: `pool A, priority high, vm_id 7`."""
    return f'pool {vm.pool_id}, priority {vm.priority.word}, vm_id {vm.vm_id}'


def say_settings(vm: Vm, asked: Mapping[str, Any]) -> str:
    """What a row says of the settings that were asked for: `vm_id 7`."""
    said = (('pool_id', f'pool {vm.pool_id}'), ('priority', f'priority {vm.priority.word}'),
            ('vm_id', f'vm_id {vm.vm_id}'))
    return ', '.join(text for field, text in said if field in asked)


def say_change(before: Vm, after: Vm) -> str:
    """What of a row changes: `priority high → low, vm_id 7 → 12`; '' for nothing."""
    pairs = (('pool', before.pool_id, after.pool_id),
             ('priority', before.priority.word, after.priority.word),
             ('vm_id', before.vm_id, after.vm_id))
    return ', '.join(f'{what} {old} → {new}' for what, old, new in pairs if old != new)


def describe_row(row: RowChange) -> str:
    """What becomes of one row, with the VM's name."""
    vm = row.after or row.before
    if vm is None:
        return ''
    name = name_vm(vm.vm_name, vm.vm_uuid)
    if row.before is None:
        return f'{name}: registered with {say_assignment(vm)}'
    if row.after is None:
        return f'{name}: registration removed ({say_assignment(vm)})'
    return f'{name}: {say_change(row.before, row.after)}'


def describe_work(plan: Any, rows: Mapping[str, Vm]) -> str:
    """What is to be done about a VM, beside the rows (by UUID) that there are."""
    said = _say_removal(plan, rows) if plan.stage is None else _say_staging(plan)
    if plan.reason.value == 'replacement_interrupted':
        said = f'to be put back, since a version before 0.2 took it away: {escape(plan.value)}'
    return f'{name_vm(plan.vm.name, plan.vm.uuid)}, {plan.vm.power_state.value}: {said}'


def _say_staging(plan: Any) -> str:
    if not plan.carried:
        return f'to be staged: {brief_args(plan.stage)}'
    staged, carried = brief_args(plan.stage), brief_args(plan.carried)
    if staged == carried or plan.carried.count('-device ') > 1:
        staged, carried = escape(plan.stage), escape(plan.carried)
    return f'to be staged: {staged} instead of {carried}'


def _say_removal(plan: Any, rows: Mapping[str, Vm]) -> str:
    why = {'row_deleted': '; its row was removed',
           'pool_disabled': '; its vGPU pool is disabled'}.get(plan.reason.value, '')
    owner = rows.get(plan.owner or '')
    if owner is not None:
        why = f'; the number is that of {brief_name(owner.vm_name, owner.vm_uuid)}'
    return f'our arguments to be removed: {brief_args(plan.carried)}{why}'


def say_outcome(followed: Any) -> str:
    """What became of an edit in XAPI, as a sentence."""
    message = str(followed.message)
    return escape(f'{message[0].upper()}{message[1:]}.')


def say_many(messages: Mapping[str, str], names: Mapping[str, str]) -> List[str]:
    """What became of many VMs (UUID -> message): those together of which the same can be said."""
    groups: Dict[str, List[str]] = {}
    for vm_uuid, message in messages.items():
        groups.setdefault(message, []).append(vm_uuid)
    few = _NAMED if len(groups) > 1 else 1
    lines = [f'{_name_group(found, names, few)}: {escape(message)}'
             for message, found in groups.items()]
    if len(lines) <= MOST_GROUPS:
        return lines
    rest = sum(len(found) for found in list(groups.values())[MOST_GROUPS - 1:])
    return lines[:MOST_GROUPS - 1] + [f"{rest} VMs more wait, each for a reason of its own: see "
                                      "'vgpu-admin status'"]


def _name_group(vm_uuids: List[str], names: Mapping[str, str], few: int) -> str:
    """The VMs of which the same is said; by name where not the same is said of all."""
    if len(vm_uuids) > few:
        return f'Each of {len(vm_uuids)} VMs'
    return ', '.join(names.get(vm_uuid) or name_vm(None, vm_uuid) for vm_uuid in vm_uuids)


def say_lines(head: str, followed: Any) -> List[str]:
    """The lines of an edit: what changed, and what became of it."""
    return [head] if followed is None else [head, say_outcome(followed)]
