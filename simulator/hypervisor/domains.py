"""What really runs: domains with the platform map each was built from, and memory images.

This is xenopsd's side of the story. It knows what xapi pushed, never the database, and it keeps
the list of boots: what each QEMU really took. A master sees the domains of the hosts that are
its own; in a split pool each of two masters has a hypervisor over the same ground.
"""

import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from simulator.hypervisor.consumer import RUNNING, Start, render_arguments
from simulator.hypervisor.hardware import Boot, Cutoff, Domain, Hardware

KEY = 'device-model-args'
# Where QEMU goes on with a state that was saved.
RESTORED = ('resume', 'migration')

__all__ = ['KEY', 'Boot', 'Cutoff', 'Domain', 'Domains', 'Hypervisor']


class Domains:
    """The domains of the hosts that one master rules, by the reference of the VM."""

    def __init__(self, hardware: Hardware, rules: Callable[[str], bool]) -> None:
        self._hardware = hardware
        self._rules = rules

    def get(self, ref: str) -> Optional[Domain]:
        """Return a VM's domain, or None."""
        for domain in self._hardware.domains.get(ref, ()):
            if self._rules(domain.host):
                return domain
        return None

    def values(self) -> List[Domain]:
        """Return all domains."""
        return [self[ref] for ref in self]

    def items(self) -> List[Any]:
        """Return pairs of reference and domain."""
        return [(ref, self[ref]) for ref in self]

    def __getitem__(self, ref: str) -> Domain:
        domain = self.get(ref)
        if domain is None:
            raise KeyError(ref)
        return domain

    def __contains__(self, ref: object) -> bool:
        return self.get(str(ref)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([ref for ref in list(self._hardware.domains) if ref in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == other


class Launched(NamedTuple):
    """A domain with a QEMU that xapi has not heard of yet."""
    domain: Domain
    arguments: List[str]


class Hypervisor:
    """The hosts' domains; all methods are called under the database's lock."""

    def __init__(self, push_seconds: float, hardware: Hardware,
                 rules: Callable[[str], bool]) -> None:
        self.hardware = hardware
        self.domains = Domains(hardware, rules)
        self._push_seconds = push_seconds

    @property
    def boots(self) -> List[Boot]:
        """What each QEMU took."""
        return self.hardware.boots

    @property
    def cutoffs(self) -> List[Cutoff]:
        """When each start read the platform map."""
        return self.hardware.cutoffs

    @property
    def images(self) -> Dict[str, Dict[str, str]]:
        """Memory images, with the map of the boot that was suspended."""
        return self.hardware.images

    def push(self, ref: str, platform: Dict[str, str], *, at_once: bool = False) -> None:
        """Take a VM's metadata; on an event xapi gets round to it a little later."""
        due = time.monotonic() + (0.0 if at_once else self._push_seconds)
        pushes = self.hardware.pushed(ref)
        if at_once:
            pushes.clear()
        if not pushes or pushes[-1][1] is not platform:
            pushes.append((due, platform))

    def pushed(self, ref: str) -> Dict[str, str]:
        """Return the map that was pushed last."""
        pushes = self.hardware.pushed(ref)
        now = time.monotonic()
        while len(pushes) > 1 and pushes[1][0] <= now:
            pushes.popleft()
        return pushes[0][1] if pushes else {}

    def launch(self, ref: str, record: Dict[str, Any], host: str, platform: Dict[str, str],
               kind: str, consumer: str) -> Launched:
        """Create a domain and start its QEMU; this takes its time, and wants no lock held."""
        with self.hardware.lock:
            number, pid = self.hardware.number(host)
        domain = Domain(ref, record['uuid'], record['name_label'], number, host, pid, platform)
        start = Start(number, domain.name, platform.get(KEY), kind in RESTORED)
        files = self.hardware.files.get(host)
        if files is not None:
            files.add_domain(number, domain.uuid, platform)
        try:
            if files is not None and consumer in RUNNING and files.wrapper.can_run:
                arguments = files.wrapper.run(start, consumer)
            else:
                arguments = render_arguments(start, consumer)
        except BaseException:
            self._hide(domain)
            raise
        return Launched(domain, arguments)

    def build(self, launched: Launched, kind: str, task: Optional[str]) -> Domain:
        """Have a domain that was launched run, and note what its QEMU took."""
        domain, arguments = launched
        self.hardware.add(domain)
        if domain.host in self.hardware.files:
            self.hardware.files[domain.host].add_qemu(domain.domid, domain.pid, arguments)
        self.boots.append(Boot(domain.uuid, domain.ref, domain.name, kind, domain.domid,
                               domain.host, domain.platform.get(KEY), arguments,
                               time.monotonic(), task))
        return domain

    def abandon(self, launched: Launched) -> None:
        """End a domain that is not wanted any more before it was heard of."""
        self._hide(launched.domain)

    def set_paused(self, ref: str, *, is_paused: bool) -> None:
        """Stop a domain's processors, or let them go on."""
        domain = self.domains.get(ref)
        if domain is not None:
            act = self.hardware.paused.add if is_paused else self.hardware.paused.discard
            act((domain.host, domain.domid))

    def is_paused(self, domain: Domain) -> bool:
        """Ask whether a domain's processors are stopped."""
        return (domain.host, domain.domid) in self.hardware.paused

    def destroy(self, domain: Optional[Domain]) -> None:
        """End a domain."""
        if domain is None:
            return
        self.hardware.remove(domain)
        self._hide(domain)

    def _hide(self, domain: Domain) -> None:
        if domain.host in self.hardware.files:
            self.hardware.files[domain.host].remove_domain(domain.domid, domain.pid)
