"""What stands in the slots of each record: as it was shown, or as we wrote it a moment ago."""

from typing import Dict, List, Optional, Tuple

from watcher.mirror.codes import NO_TRUST, Trust
from watcher.mirror.slots import Found, Slots, find_current, read_pool_entry
from watcher.runtime.timers import DueTimes
from watcher.state.inventory import Inventory
from watcher.vm.record import PoolRecord

# Longer than an event is on its way: before that it may show a moment of our own writing.
_ECHO_SECONDS = 1.0


class SeenEntries:
    """The entries of all VMs and of the pool, each of which is read once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.pool: Optional[PoolRecord] = None
        self.trust = NO_TRUST
        """By which keys entries are judged and signed."""
        self.echo = DueTimes()
        """Until when what we wrote, or read, counts for more than what is shown."""
        self._claims: Dict[str, Slots] = {}
        self._read: Dict[str, Tuple[Tuple[Slots, str], Found]] = {}
        """By the slots, and by the UUID that the record had (that of an import changes)."""

    def restart(self) -> None:
        """A new session: nothing is known of what stands where."""
        self.pool = None
        self.echo.clear()
        self._claims.clear()

    def judge_by(self, trust: Trust) -> None:
        """Judge by these keys from now on."""
        self.trust = trust
        self._read.clear()

    def claim(self, ref: str, slots: Slots, now: float) -> None:
        """Go by this until events that are on their way have come."""
        self._claims[ref] = slots
        self.echo.set(ref, now + _ECHO_SECONDS)

    def end_claims(self, now: float) -> List[str]:
        """Go by what is shown again; the records of which that is so from now on."""
        refs = self.echo.take(now)
        for ref in refs:
            self._claims.pop(ref, None)
        return refs

    def drop(self, ref: str) -> None:
        """A VM is gone."""
        self.echo.pop(ref)
        self._claims.pop(ref, None)
        self._read.pop(ref, None)

    def slots_of(self, ref: str) -> Slots:
        """The slots of a record."""
        if ref in self._claims:
            return self._claims[ref]
        if self.pool is not None and ref == self.pool.ref:
            return self.pool.mirror
        vm = self._inventory.find(ref)
        return vm.mirror if vm is not None else ()

    def find(self, ref: str) -> Found:
        """What counts of them."""
        slots, vm = self.slots_of(ref), self._inventory.find(ref)
        if not slots:
            return Found()
        uuid, known = vm.uuid if vm is not None else '', self._read.get(ref)
        if known is None or known[0] != (slots, uuid):
            if self.pool is not None and ref == self.pool.ref:
                found = read_pool_entry(slots, self.trust, self.pool.uuid)
            else:
                found = find_current(slots, trust=self.trust, record=uuid)
            known = self._read[ref] = ((slots, uuid), found)
        return known[1]
