"""An assignment written into other_config by hand: taken like any edit, or refused."""

from typing import Optional

from registry.errors import RegistryError, RegistryUnavailable
from watcher.mirror.entries import VmEntry
from watcher.mirror.rebuild import show_vm
from watcher.runtime.logs import get_logger
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.vm.record import VmRecord

# Whom the history names for it.
BY_HAND_WHO, BY_HAND_COMMAND = 'xapi', 'mirror'


def take_edit(view: RegistryView, inventory: Inventory, vm: VmRecord,
              entry: VmEntry) -> Optional[str]:
    """Take it: '' when that was done, the reason when it is refused, None for later."""
    others = inventory.carriers_of(entry.vm_id) - {vm.ref}
    carriers = [vm for vm in map(inventory.find, others) if vm is not None]
    taken = {entry.vm_id: f'VM {carriers[-1].uuid}, which carries it'} if carriers else {}
    try:
        with view.registry.edit(who=BY_HAND_WHO, command=BY_HAND_COMMAND,
                                needs_journal=True) as edit:
            before, after = edit.change_vm(vm.uuid, pool_id=entry.pool_id,
                                           priority=entry.priority, vm_id=entry.vm_id,
                                           taken=taken)
    except RegistryUnavailable:
        return None
    except RegistryError as error:
        return str(error)
    get_logger().info('mirror.edit_taken', vm_uuid=vm.uuid, vm_name=vm.name,
                      before=show_vm(before), after=show_vm(after))
    return ''
