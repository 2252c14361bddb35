"""What VMs are called, by registry and journal: XAPI is not asked, and no lock waited for."""

from typing import Any, Dict, Iterable, Mapping, Optional

from registry.quick_read import list_names

# A name is in one of the newest changes of a VM's row, if it is anywhere in the history.
_LOOKED_AT = 20


def find_names(registry_path: str, journal: Any, vm_uuids: Iterable[str]) -> Dict[str, str]:
    """The names of VMs, by UUID: of rows, of who bears a number, of receipts, of the history."""
    wanted = set(vm_uuids)
    known = list_names(registry_path) if wanted else []
    names = {vm_uuid: name for vm_uuid, name in known if name and vm_uuid in wanted}
    if wanted - set(names):
        known = [(item.vm_uuid, item.vm_name) for item in journal.bearers().values()]
        known += [(vm_uuid, boot.vm_name) for vm_uuid, boot in journal.last_boots().items()]
        for vm_uuid, name in known:
            if name and vm_uuid in wanted:
                names.setdefault(vm_uuid, name)
    for vm_uuid in wanted - set(names):
        name = _find_in_history(journal, vm_uuid)
        if name:
            names[vm_uuid] = name
    return names


def name_in(entry: Any) -> Optional[str]:
    """The name of the VM in a change of its row."""
    for fields in (entry.after, entry.before):
        name = fields.get('vm_name') if isinstance(fields, Mapping) else None
        if isinstance(name, str) and name:
            return name
    return None


def _find_in_history(journal: Any, vm_uuid: str) -> Optional[str]:
    entries = journal.list_history(vm_uuid, _LOOKED_AT, is_routine=False)
    return next(filter(None, map(name_in, entries)), None)
