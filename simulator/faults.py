"""Faults are data: what shall go wrong, for which calls, after how many, how often.

A fault's kind says what it does (docs/simulator.md has the table), `method` is a pattern of
method names, `ref` narrows it to one reference, `skip` lets so many matches pass first, `count`
is how many it then spoils (None: all until it is removed), `parameters` are the kind's own.
"""

import threading
from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from simulator.wire.rpc import Snapshot

# Before the call is carried out.
BEFORE_CALL = ('delay', 'hang', 'half_open', 'drop_before', 'reset_before', 'http_500_before',
               'evict_session', 'failure', 'spawn_before', 'run_before')
# After it was carried out, with its answer.
AFTER_CALL = ('spawn_after', 'run_after', 'failure_after', 'drop_after', 'reset_after', 'http_500',
              'truncate', 'garbage', 'replace_body', 'drip', 'late')
# In what the wire shows, or in how xapi behaves.
ELSEWHERE = ('record', 'counts', 'phantom', 'lost_wakeup', 'forget_deletion', 'whole_map_race',
             'consumer', 'boot_failure', 'operation_failure', 'operation_hang')
KINDS = BEFORE_CALL + AFTER_CALL + ELSEWHERE


class Fault(NamedTuple):
    """One thing that shall go wrong."""
    kind: str
    method: str = '*'
    ref: Optional[str] = None
    skip: int = 0
    count: Optional[int] = None  # type: ignore[assignment]
    parameters: Dict[str, Any] = {}


class _Armed:
    """A fault, and how many matches it has seen."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.lifted = threading.Event()

    @property
    def is_striking(self) -> bool:
        """Ask whether the match seen last is one to spoil."""
        position = self.seen - self.fault.skip
        return position > 0 and (self.fault.count is None or position <= self.fault.count)


class Faults:
    """The faults in force; the order in which they were added is the order in which they act."""

    def __init__(self) -> None:
        self._armed: List[_Armed] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Arm a fault."""
        if fault.kind not in KINDS:
            raise ValueError(f'unknown kind of fault {fault.kind!r}: one of {", ".join(KINDS)}')
        with self._lock:
            self._armed.append(_Armed(fault))
        return fault

    def remove(self, fault: Fault) -> None:
        """Disarm a fault; calls that hang in it go on."""
        self._drop(lambda armed: armed.fault is fault or armed.fault == fault)

    def clear(self) -> None:
        """Disarm all faults."""
        self._drop(lambda armed: True)

    def list(self) -> Tuple[Fault, ...]:
        """Return the faults in force."""
        with self._lock:
            return tuple(armed.fault for armed in self._armed)

    def take(self, kinds: Tuple[str, ...], method: str = '*',
             ref: Optional[str] = None) -> List[Fault]:
        """Return the faults that strike now, and count the strike."""
        return [armed.fault for armed in self._strike(kinds, method, ref)]

    def wait_lifted(self, fault: Fault, stopped: Callable[[], bool]) -> None:
        """Wait until a fault is disarmed or the simulator stops."""
        with self._lock:
            events = [armed.lifted for armed in self._armed if armed.fault is fault]
        while events and not events[0].wait(0.2):
            if stopped():
                return

    def dress(self, table: str, ref: str, snapshot: Snapshot) -> Snapshot:
        """Return the record as the wire shall show it."""
        if not self._armed:
            return snapshot
        for fault in self.take(('record',), table, ref):
            fields = dict(snapshot.fields, **fault.parameters.get('set', {}))
            for name in fault.parameters.get('remove', ()):
                fields.pop(name, None)
            snapshot = Snapshot(fields, {})
        return snapshot

    def _strike(self, kinds: Tuple[str, ...], method: str, ref: Optional[str]) -> List[_Armed]:
        if not self._armed:
            return []
        struck = []
        with self._lock:
            for armed in list(self._armed):
                if armed.fault.kind in kinds and _matches(armed.fault, method, ref):
                    armed.seen += 1
                    if armed.is_striking:
                        struck.append(armed)
        return struck

    def _drop(self, chosen: Callable[[_Armed], bool]) -> None:
        with self._lock:
            dropped = [armed for armed in self._armed if chosen(armed)]
            self._armed = [armed for armed in self._armed if armed not in dropped]
        for armed in dropped:
            armed.lifted.set()


def _matches(fault: Fault, method: str, ref: Optional[str]) -> bool:
    if fault.ref is not None and fault.ref != ref:
        return False
    return method == '*' or fnmatchcase(method, fault.method)
