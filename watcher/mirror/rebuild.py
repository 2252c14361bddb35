"""Rebuilds the registry from its mirror: on a master that was overtaken, on members always.

What the registry here said is never lost in silence: where it may say what the mirror has never
known, the file is kept beside it, and the log tells each difference.
"""

import enum
import math
from typing import Callable, FrozenSet, Optional, Sequence, Tuple

from registry.difference import Difference
from registry.values import Vm
from watcher.mirror.codes import NO_TRUST, Trust
from watcher.mirror.comparison import Collected, collect_image
from watcher.mirror.entries import PoolEntry
from watcher.mirror.reading import Local
from watcher.runtime.logs import get_logger
from watcher.state.inventory import Inventory
from watcher.state.registry_view import WHO, RegistryView

COMMAND = 'rebuild'
# A member sees the entries of a push one by one: longer than that is worth a word.
_PATIENCE_SECONDS = 10.0
# On the master nothing is staged meanwhile: this is logged again, for operators who come later.
_REPEAT_SECONDS = 600.0
# Generations that come one after the other are logged once a minute (P30).
_LEAST_SECONDS = 60.0
_REMEDY = ("vgpu-admin registry compare, then 'vgpu-admin registry rebuild' (the mirror counts, "
           "as far as it is there) or 'vgpu-admin registry keep' (the file counts)")
# How many differences one line of the log shows.
_SHOWN = 20


class RebuildResult(enum.Enum):
    """What became of a rebuild."""
    DONE = 'done'
    INCOMPLETE = 'incomplete'
    NOT_LOCKED = 'not_locked'


class Rebuilder:
    """Rebuilds the registry, and tells."""

    def __init__(self, view: RegistryView, inventory: Inventory, poll: Callable[[], None]) -> None:
        self._view = view
        self._inventory = inventory
        self._poll = poll
        self._told: Tuple[str, float] = ('', -math.inf)
        self.incomplete_since: Optional[float] = None
        """Since when the mirror is waited for to be whole."""

    def rebuild(self, mirror: PoolEntry, local: Optional[Local], *, is_master: bool,
                is_locked: bool, now: float, trust: Trust = NO_TRUST) -> RebuildResult:
        """Rebuild the registry from the mirror; RegistryError when the file does not let us.

        Only from one that is complete and counts in all its parts: the rest is for people.
        """
        collected = collect_image(self._inventory.vms, mirror, local.rows if local else {}, trust)
        if not collected.is_complete:
            self._wait(collected, mirror, is_master, now)
            return RebuildResult.INCOMPLETE
        self.incomplete_since = None
        if not is_locked:
            return RebuildResult.NOT_LOCKED
        is_lost = local is not None and may_lose(local, mirror)
        replaced = self._view.registry.replace_contents(
            collected.image, who=WHO, command=COMMAND, may_create=local is None,
            keep_copy=local is not None and (is_master or is_lost),
            needs_journal=True, borne=self._list_borne(collected.image.vms))
        if local is not None and local.is_from_elsewhere:
            # No registry of this resource pool has given its VMs up: they keep what they carry.
            self._view.journal.forget_orphans()
        self._view.reread()
        self._poll()
        done = replaced.difference
        if local is not None and not is_master and not is_lost:
            get_logger().info('registry.followed', generation=mirror.generation.text,
                              vms=len(collected.image.vms), added=len(done.added),
                              changed=len(done.changed), removed=len(done.removed))
        else:
            _tell(done, replaced.kept, collected, mirror, is_lost)
        return RebuildResult.DONE

    def _list_borne(self, rows: Sequence[Vm]) -> FrozenSet[int]:
        """The numbers of rows that a VM carries whose row it is not, by what XAPI shows now."""
        carriers = ((row, self._inventory.find(ref)) for row in rows
                    for ref in self._inventory.carriers_of(row.vm_id))
        return frozenset(row.vm_id for row, vm in carriers
                         if vm is not None and vm.uuid != row.vm_uuid)

    def _wait(self, collected: Collected, mirror: PoolEntry, is_master: bool,
              now: float) -> None:
        if self.incomplete_since is None:
            self.incomplete_since = now
        is_late = is_master or now - self.incomplete_since > _PATIENCE_SECONDS
        generation, told_at = self._told
        is_new = generation != mirror.generation.text
        if (is_late and (is_new or is_master)
                and now - told_at >= (_LEAST_SECONDS if is_new else _REPEAT_SECONDS)):
            self._told = (mirror.generation.text, now)
            log = get_logger().error if is_master else get_logger().warning
            log('mirror.incomplete', generation=mirror.generation.text,
                problems=list(collected.problems[:_SHOWN]), remedy=_REMEDY if is_master else '',
                waited_seconds=round(now - self.incomplete_since))


def may_lose(local: Local, mirror: PoolEntry) -> bool:
    """Whether the registry here may say what the mirror has never known."""
    if not local.lineage:
        return bool(local.rows)
    return (local.digest != local.noted_digest
            or local.lineage[-1] not in mirror.line + (mirror.generation.text,))


def show_vm(vm: Vm) -> str:
    """An assignment for the log."""
    return f'{vm.vm_uuid}: vm_id {vm.vm_id}, pool {vm.pool_id}, {vm.priority.word}'


def _tell(done: Difference, kept: str, collected: Collected, mirror: PoolEntry,
          is_lost: bool) -> None:
    before = [show_vm(vm) for vm in done.removed] + [show_vm(vm) for vm, _after in done.changed]
    log = get_logger().error if is_lost and before else get_logger().warning
    log('registry.rebuilt', generation=mirror.generation.text, vms=len(collected.image.vms),
        added=len(done.added), changed=len(done.changed), removed=len(done.removed),
        kept=kept, is_complete=collected.is_complete,
        problems=list(collected.problems[:_SHOWN]), replaced=before[:_SHOWN])
