"""The newest boot of each VM that came to a domain: what it found is what the VM has (P6)."""

from typing import Callable, Dict, Optional, Set, Tuple

from registry.journal.journal import Boot


class NewestBoots:
    """Boots by the UUID of their VM, until it rests again.

    What rests may be a mistake: the database of a xapi that crashed is older than what runs, and
    until xenopsd tells, a VM seems to rest that runs in the domain of its newest boot.
    """

    def __init__(self) -> None:
        self._boots: Dict[str, Boot] = {}
        self._rested: Set[str] = set()
        self.on_change: Callable[[str], None] = lambda _vm_uuid: None
        """Called with the UUID of a VM when its newest boot has changed."""

    def find(self, vm_uuid: str) -> Optional[Boot]:
        """The newest boot of a VM since it last rested, verified or not yet."""
        return None if vm_uuid in self._rested else self._boots.get(vm_uuid)

    def note(self, boot: Boot) -> None:
        """Keep the newest boot of a VM; the verdict of an earlier one, given late, is not kept."""
        last = self._boots.get(boot.vm_uuid)
        if not boot.closed_at or last is None or (last.host, last.domid) == (boot.host, boot.domid):
            self._boots[boot.vm_uuid] = boot
            if not boot.closed_at:
                self._rested.discard(boot.vm_uuid)
            self.on_change(boot.vm_uuid)

    def note_rest(self, vm_uuid: str) -> None:
        """The VM is at rest."""
        if self.find(vm_uuid) is not None:
            self._rested.add(vm_uuid)
            self.on_change(vm_uuid)

    def note_again(self, vm_uuid: str, domain: Tuple[str, int]) -> None:
        """A domain shows that was seen before: it had not ended."""
        boot = self._boots.get(vm_uuid)
        if vm_uuid in self._rested and boot is not None and (boot.host, boot.domid) == domain:
            self._rested.discard(vm_uuid)
            self.on_change(vm_uuid)

    def forget(self, vm_uuid: str) -> None:
        """The VM does not exist any more."""
        self._rested.discard(vm_uuid)
        if self._boots.pop(vm_uuid, None) is not None:
            self.on_change(vm_uuid)
