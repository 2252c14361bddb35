"""What really runs: domains with the platform map each was built from, and memory images.

This is xenopsd's side of the story. It knows what xapi pushed, never the database, and it keeps
the list of boots: what each QEMU really took.
"""

import itertools
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Tuple

from simulator.host import HostFiles, render_arguments

KEY = 'device-model-args'
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


class Hypervisor:
    """The hosts' domains; all methods are called under the database's lock."""

    def __init__(self, push_seconds: float) -> None:
        self.domains: Dict[str, Domain] = {}
        self.images: Dict[str, Dict[str, str]] = {}
        self.boots: List[Boot] = []
        self.cutoffs: List[Cutoff] = []
        self.consumer = 'working'
        self.files: Optional[HostFiles] = None
        self.shown_host = ''
        self._push_seconds = push_seconds
        self._pushes: Dict[str, Deque[Tuple[float, Dict[str, str]]]] = {}
        self._pids = itertools.count(FIRST_PID)
        self._domids: Dict[str, Any] = {}

    def push(self, ref: str, platform: Dict[str, str], *, at_once: bool = False) -> None:
        """Take a VM's metadata; on an event xapi gets round to it a little later."""
        due = time.monotonic() + (0.0 if at_once else self._push_seconds)
        pushes = self._pushes.setdefault(ref, deque())
        if at_once:
            pushes.clear()
        if not pushes or pushes[-1][1] is not platform:
            pushes.append((due, platform))

    def pushed(self, ref: str) -> Dict[str, str]:
        """Return the map that was pushed last."""
        pushes = self._pushes.get(ref) or deque()
        now = time.monotonic()
        while len(pushes) > 1 and pushes[1][0] <= now:
            pushes.popleft()
        return pushes[0][1] if pushes else {}

    def build(self, ref: str, record: Dict[str, Any], host: str, platform: Dict[str, str],
              kind: str, task: Optional[str], consumer: str) -> Domain:
        """Create a domain and its QEMU, and note what it took."""
        number = next(self._domids.setdefault(host, itertools.count(1)))
        value = platform.get(KEY)
        name = record['name_label']
        arguments = render_arguments(number, name, value, consumer)
        domain = Domain(ref, record['uuid'], name, number, host, next(self._pids), platform)
        self.domains[ref] = domain
        if self.files is not None and host == self.shown_host:
            self.files.add_domain(number, domain.pid, domain.uuid, platform, arguments)
        self.boots.append(Boot(domain.uuid, ref, name, kind, number, host, value, arguments,
                               time.monotonic(), task))
        return domain

    def destroy(self, domain: Optional[Domain]) -> None:
        """End a domain."""
        if domain is None:
            return
        if self.domains.get(domain.ref) is domain:
            del self.domains[domain.ref]
        if self.files is not None and domain.host == self.shown_host:
            self.files.remove_domain(domain.domid, domain.pid)
