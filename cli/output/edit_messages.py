"""What is said of an edit: the VM by its name, what was, what is, what became of it.  Pure."""

from typing import Any, Dict, List, Mapping, Optional

from cli.output.text import escape, name_vm, say_unasked
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
             ('vm_id', before.vm_id, after.vm_id),
             ('name', escape(before.vm_name) or '-', escape(after.vm_name) or '-'))
    return ', '.join(f'{what} {old} → {new}' for what, old, new in pairs if old != new)


def describe_row(row: RowChange, *, is_dry: bool) -> str:
    """What becomes of one row, or would, with the VM's name."""
    vm = row.after or row.before
    if vm is None:
        return ''
    name = name_vm(vm.vm_name, vm.vm_uuid)
    would = 'would be ' if is_dry else ''
    if row.before is None:
        return f'{name}: {would}registered with {say_assignment(vm)}'
    if row.after is None:
        return f'{name}: registration {would}removed ({say_assignment(vm)})'
    return f'{name}: {say_change(row.before, row.after)}'


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


def say_lines(head: str, outcome: Optional[str]) -> List[str]:
    """The lines of an edit: what changed, and what became of it in XAPI."""
    if not outcome:
        return [head]
    return [head, escape(f'  {outcome[0].upper()}{outcome[1:]}.')]


def say_not_staged(problem: object) -> str:
    """What becomes of an edit while XAPI cannot be asked."""
    return (f'not staged: {say_unasked(problem)}; the daemon stages it when XAPI answers and the '
            'VM is halted')


def say_unknown(problem: object) -> str:
    """What a dry run says of the restart while XAPI cannot be asked."""
    return f'whether a VM would be stopped is not known: {say_unasked(problem)}'


def say_dry_run(also: str = '') -> str:
    """The last line of every dry run, with what the edit would do besides."""
    return f"Nothing was changed (dry run){'; ' if also else ''}{also}."
