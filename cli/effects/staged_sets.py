"""Stages all VMs that a change of many rows concerns, and says what became of them."""

from typing import Any, Dict, List, Mapping, Sequence

from cli.context import Context
from cli.output.edit_messages import say_many
from cli.output.text import brief_name
from registry.proposal import Proposal

# The words of which nothing is said beside a result that does not list what became of each VM.
_WELL = ('staged', 'as_desired', 'unregistered', 'pending', 'by_daemon')


def stage_changed(context: Context, vm_uuids: Sequence[str], proposal: Proposal,
                  document: Dict[str, Any]) -> List[str]:
    """Stage VMs as `stage_each` does; what is said of them together."""
    return say_many(stage_each(context, vm_uuids, proposal, document), name_all(proposal))


def stage_each(context: Context, vm_uuids: Sequence[str], proposal: Proposal,
               document: Dict[str, Any]) -> Dict[str, str]:
    """Stage what is at rest, or wait until the daemon has; the word for each VM goes into the
    document, and what is said of each is given."""
    from cli.effects.follow_up import stage_all
    staged = stage_all(context, list(vm_uuids)) if vm_uuids else {}
    document['staging'] = {vm_uuid: item.word for vm_uuid, item in staged.items()}
    if context.is_json:
        names = name_all(proposal)
        for vm_uuid, item in staged.items():
            if item.word not in _WELL:
                context.note(f'{names.get(vm_uuid, vm_uuid)}: {item.message}')
    return {vm_uuid: item.message for vm_uuid, item in staged.items()}


def name_all(proposal: Proposal) -> Mapping[str, str]:
    """The names alone: the UUIDs stand in what was shown before."""
    vms = [vm for row in proposal.difference.rows for vm in (row.before, row.after) if vm]
    return {vm.vm_uuid: brief_name(vm.vm_name, vm.vm_uuid) for vm in vms + list(proposal.vms_after)}
