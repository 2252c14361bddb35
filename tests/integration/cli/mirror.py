"""Writes a mirror into the simulator, as a daemon does."""

from typing import Optional

from registry.values import Pool, Vm
from tests.integration.cli.program import Place
from watcher.mirror.entries import (Generation, PoolEntry, VmEntry, digest_contents,
                                    render_pool_entry, render_vm_entry, row_of)
from watcher.vm.mirror_keys import SLOTS

POOLS = (Pool('A', 'Pool A'), Pool('B', 'Pool B'))


def resource_pool(place: Place) -> str:
    return place.xapi.call('pool.get_uuid', place.xapi.pool)


def mirror(place: Place, *vms: Vm, number: int = 5, where: Optional[str] = None) -> None:
    """Write the mirror as a daemon does."""
    home = resource_pool(place)
    generation = Generation(number, '0123abcd')
    for vm in vms:
        give_entry(place, vm, generation, where or home)
    entry = PoolEntry(home, generation, len(vms),
                      digest_contents([row_of(vm) for vm in vms], POOLS),
                      max([vm.vm_id for vm in vms] or [0]), POOLS)
    place.xapi.call('pool.add_to_other_config', place.xapi.pool, SLOTS[0],
                    render_pool_entry(entry)[0])


def give_entry(place: Place, vm: Vm, generation: Generation, where: str) -> None:
    text = render_vm_entry(VmEntry(vm.vm_uuid, where, generation, vm.pool_id, vm.priority,
                                   vm.vm_id))
    place.xapi.call('VM.add_to_other_config', place.xapi.find(vm.vm_uuid), SLOTS[0], text)
