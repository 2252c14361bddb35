"""How the registry and its mirror stand to each other, in words.  Pure."""

from typing import Any, List

from cli.effects.proposals import describe, describe_difference
from cli.output.edit_messages import say_assignment
from cli.output.text import escape, name_vm, plural, plural_invalid
from registry.difference import Difference

_WORDS = {
    'same': 'The registry and the mirror say the same.',
    'edited': 'The registry was edited since it was mirrored',
    'older': 'The mirror is older than the registry',
    'newer': 'The mirror is newer than the registry, or of another line.',
    'undecided': 'Nothing here tells which is newer, the registry or its mirror.',
    'forged': 'No key that is known here has signed the mirror',
    'no_mirror': 'There is no mirror in the database of XAPI',
    'no_registry': 'There is no registry that could be used.',
}
# What a daemon on the master does about it by itself.
_WORK = {'edited': 'mirror it', 'older': 'write it again', 'forged': 'put it right',
         'no_mirror': 'make one'}


def describe_view(path: str, view: Any, *, is_kept: bool = False) -> List[str]:
    """How registry and mirror stand, and what it takes to make them the same."""
    lines = [f'registry  {path}: {_describe_registry(view)}']
    if view.mirror is not None:
        signed = 'signed' if view.is_signed else 'not signed by a key that is known here'
        lines.append(f'mirror    generation {view.mirror.generation.text}, '
                     f'{plural(view.mirror.vms, "VM")}, {signed}')
    lines += ['', view.trouble or _describe_judgement(view)]
    difference = view.lag if is_kept else view.difference
    if difference.has_any:
        lines.append('To be as the registry, the mirror needs:' if is_kept else
                     'To be as the mirror, the registry needs:')
    lines += ['  ' + line for line in (
        describe(view.proposal) if view.proposal is not None else
        describe_difference(difference))]
    lines += _describe_faults(view, difference)
    if view.collected is not None and view.collected.problems:
        lines.append('The mirror is not whole, and the registry here completes it:'
                     if view.collected.is_complete else 'The mirror is not whole:')
        lines += [f'  {escape(problem)}' for problem in view.collected.problems]
    lines += [f'{name_vm(name, uuid)} has {what}' for uuid, name, what in view.entries]
    return lines


def _describe_judgement(view: Any) -> str:
    """How the one stands to the other, as a sentence."""
    words = _WORDS[view.judgement]
    if view.judgement == 'same' and view.faults:
        return f'{words[:-1]}, but for rows that are not valid.'
    return f'{words}; {say_work(view, view.judgement)}.' if view.judgement in _WORK else words


def say_work(view: Any, judgement: str) -> str:
    """Who does what is to be done about it."""
    if not view.is_enabled:
        return ("the mirror is switched off here ('[mirror] enabled = no'): this host will "
                f'not {_WORK[judgement]}')
    if view.has_daemon:
        return f'the daemon on the master will {_WORK[judgement]}'
    return f"no daemon is running to {_WORK[judgement]}: 'systemctl start vgpu-watcher'"


def _describe_faults(view: Any, difference: Difference) -> List[str]:
    """The rows that are not valid and of which nothing is said in the difference."""
    kept = {vm.vm_uuid: vm for vm in view.collected.image.vms} if view.collected is not None else {}
    lines = []
    for vm_uuid, problem in view.faults.items():
        if any(vm_uuid == row.vm_uuid for row in difference.rows):
            continue
        vm = kept.get(vm_uuid)
        rest = f'the mirror keeps {say_assignment(vm)}' if vm is not None else \
            "see 'vgpu-admin check'"
        lines.append(f'{name_vm(vm.vm_name if vm else None, vm_uuid)}: its row is not valid '
                     f'({escape(problem)}); {rest}')
    return lines


def _describe_registry(view: Any) -> str:
    if view.contents is None:
        return view.problem
    edited = 'edited since ' if view.judgement == 'edited' else ''
    faults = f', {plural_invalid(len(view.faults))}' if view.faults else ''
    return (f'{edited}generation {view.generation or "-"}, '
            f'{plural(len(view.contents.vms), "VM")}{faults}')
