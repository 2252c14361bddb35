"""VMs that came from another resource pool with the assignment that they had there.

Their entry of the mirror names this VM and another pool. Such a VM is shown, and registered by
`adopt` only: its number may be another VM's here.
"""

from typing import TYPE_CHECKING, Any, Dict, Iterable, Mapping

if TYPE_CHECKING:
    from watcher.mirror.entries import VmEntry


def find_arrivals(context: Any, vms: Iterable[Any],
                  registered: Mapping[str, Any]) -> 'Dict[str, VmEntry]':
    """The entries of arrived VMs, by UUID. XAPI is asked for its pool only when one may be."""
    with_entry = [vm for vm in vms if vm.mirror and vm.uuid not in registered]
    if not with_entry:
        return {}
    from watcher.errors import XapiError
    from watcher.mirror.comparison import EntryKind, find_entry_kind
    from watcher.mirror.slots import find_current
    try:
        resource_pool = context.live().read_pool_record().uuid
    except XapiError:
        return {}
    found = {}
    for vm in with_entry:
        slots = find_current(vm.mirror)
        if find_entry_kind(slots, vm.uuid, resource_pool) is EntryKind.ARRIVED:
            found[vm.uuid] = slots.entry
    return found


def document_of(entry: 'VmEntry') -> Dict[str, Any]:
    """An arrival as JSON."""
    return {'resource_pool': entry.resource_pool, 'vm_id': entry.vm_id,
            'pool_id': entry.pool_id, 'priority': entry.priority.word}
