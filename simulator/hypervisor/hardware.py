"""What does not depend on the master: the machines' domains, memory images, names, the one lock.

A pool that is split has two databases for a while; there is only one world beneath them.
"""

import itertools
import threading
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Set, Tuple

from simulator.database.schema import Names
from simulator.faults import Faults
from simulator.hypervisor.host_files import HostFiles

FIRST_PID = 20000


class Boot(NamedTuple):
    """What one QEMU took."""
    vm_uuid: str
    ref: str
    name: str
    kind: str
    domid: int
    host: str
    args: Optional[str]
    qemu_arguments: List[str]
    at: float
    task: Optional[str]


class Cutoff(NamedTuple):
    """The instant in which a start read the platform map, and what it read."""
    ref: str
    task: str
    args: Optional[str]
    at: float


class Domain(NamedTuple):
    """A running domain, with its platform map frozen."""
    ref: str
    uuid: str
    name: str
    domid: int
    host: str
    pid: int
    platform: Dict[str, str]


class Hardware:
    """The machines of one pool, below all its databases."""

    def __init__(self, seed: int, consumer: str) -> None:
        self.lock = threading.RLock()
        self.names = Names(seed)
        self.faults = Faults()
        self.boots: List[Boot] = []
        self.cutoffs: List[Cutoff] = []
        self.consumer = consumer
        self.consumers: Dict[str, str] = {}
        self.domains: Dict[str, List[Domain]] = {}
        self.images: Dict[str, Dict[str, str]] = {}
        self.clocks: Dict[str, str] = {}
        self.paused: Set[Tuple[str, int]] = set()
        self.pushes: Dict[str, Deque[Tuple[float, Dict[str, str]]]] = {}
        self.files: Dict[str, HostFiles] = {}
        self._pids = itertools.count(FIRST_PID)
        self._domids: Dict[str, Any] = {}

    def consumer_of(self, host: str) -> str:
        """Return who reads device-model-args on a host."""
        return self.consumers.get(host, self.consumer)

    def number(self, host: str) -> Tuple[int, int]:
        """Return the next domid of a host, and the next pid."""
        return next(self._domids.setdefault(host, itertools.count(1))), next(self._pids)

    def forget_numbers(self, host: str) -> None:
        """Begin again with the first domid, as Xen does when its host has started."""
        self._domids.pop(host, None)

    def pushed(self, ref: str) -> Deque[Tuple[float, Dict[str, str]]]:
        """Return what was pushed for a VM, oldest first, with the times from which it holds."""
        return self.pushes.setdefault(ref, deque())

    def add(self, domain: Domain) -> None:
        """Have a domain run, in place of the one that this host had for the VM."""
        others = [other for other in self.domains.get(domain.ref, ())
                  if other.host != domain.host]
        self.domains[domain.ref] = others + [domain]

    def remove(self, domain: Domain) -> None:
        """End a domain."""
        self.paused.discard((domain.host, domain.domid))
        left = [other for other in self.domains.get(domain.ref, ()) if other is not domain]
        if left:
            self.domains[domain.ref] = left
        else:
            self.domains.pop(domain.ref, None)
