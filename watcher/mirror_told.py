"""What the log says of entries that are not as they should be; of each once a minute at most."""

from typing import Any, Set

from watcher.logs import RateLimiter, get_logger
from watcher.mirror_entries import PoolEntry, VmEntry
from watcher.records import VmRecord

_REPEAT_SECONDS = 60.0
# Why an entry was put right: no known key has signed it.
FORGED = 'forged'


class Told:
    """Tells what was put right, what has arrived, what XAPI did not take."""

    def __init__(self) -> None:
        self._limiter = RateLimiter(_REPEAT_SECONDS)
        self._arrived: Set[str] = set()

    def restart(self) -> None:
        """A new session: who is there has arrived anew."""
        self._arrived.clear()

    def drop(self, ref: str) -> None:
        """A VM is gone."""
        self._arrived.discard(ref)

    def put_right(self, vm: VmRecord, reason: str, entry: Any, now: float) -> None:
        """A VM's entry was put right: `entry` is what stood there, where that is worth a word."""
        held_back = self._limiter.admit((vm.uuid, reason), now)
        if held_back is None:
            return
        if entry is None:
            get_logger().warning('mirror.corrected', vm_uuid=vm.uuid, vm_name=vm.name,
                                 reason=reason, held_back=held_back)
        elif reason == FORGED:
            get_logger().warning('mirror.forged', table='VM', vm_uuid=vm.uuid, vm_name=vm.name,
                                 generation=entry.generation.text, held_back=held_back,
                                 found='vm_id %d, pool %s, %s' % (
                                     entry.vm_id, entry.pool_id, entry.priority.word))
        else:
            get_logger().warning('mirror.edit_refused', vm_uuid=vm.uuid, vm_name=vm.name,
                                 vm_id=entry.vm_id, pool=entry.pool_id,
                                 priority=entry.priority.word, reason=reason,
                                 held_back=held_back)

    def pool_forged(self, entry: PoolEntry, now: float) -> None:
        """An entry of the pool that no known key has signed was taken away."""
        held_back = self._limiter.admit(('pool', FORGED), now)
        if held_back is not None:
            get_logger().warning('mirror.forged', table='pool', vm_uuid=None, vm_name=None,
                                 generation=entry.generation.text, held_back=held_back,
                                 found='%d VMs' % entry.vms)

    def arrived(self, vm: VmRecord, entry: VmEntry) -> None:
        """A VM came from another resource pool."""
        if vm.ref not in self._arrived:
            self._arrived.add(vm.ref)
            get_logger().warning('vm.arrived', vm_uuid=vm.uuid, vm_name=vm.name,
                                 resource_pool=entry.resource_pool, vm_id=entry.vm_id,
                                 pool=entry.pool_id, priority=entry.priority.word)

    def failed(self, table: str, ref: str, error: str, retry_seconds: float, now: float) -> None:
        """A write came to nothing."""
        held_back = self._limiter.admit((table, error), now)
        if held_back is not None:
            get_logger().warning('mirror.write_failed', table=table, ref=ref, error=error,
                                 retry_seconds=retry_seconds, held_back=held_back)
