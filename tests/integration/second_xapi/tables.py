"""The rows of a small XAPI, with generations, and events made from them by comparing."""

import copy
import threading
import time
import uuid
from typing import Any, Dict, List, Optional, Tuple

NULL = 'OpaqueRef:NULL'
KEY = 'device-model-args'

Row = Dict[str, Any]


class Refusal(Exception):
    """XAPI says no: a code and its parameters."""

    def __init__(self, *details: str) -> None:
        super().__init__(*details)
        self.details = list(details)


def build_ref() -> str:
    """A new handle."""
    return 'OpaqueRef:%s' % uuid.uuid4()


def build_vm(name: str, platform: Dict[str, str], **fields: Any) -> Row:
    """A VM record, halted, with what the documents name and little more."""
    row = {
        'uuid': str(uuid.uuid4()), 'name_label': name, 'name_description': '',
        'power_state': 'Halted', 'is_a_template': False, 'is_default_template': False,
        'is_a_snapshot': False, 'is_vmss_snapshot': False, 'is_control_domain': False,
        'allowed_operations': ['start', 'clone', 'start_on'], 'current_operations': {},
        'blocked_operations': {}, 'platform': dict({
            'timeoffset': '0', 'acpi': '1', 'device-model': 'qemu-upstream-uefi'}, **platform),
        'other_config': {'mac_seed': str(uuid.uuid4())}, 'resident_on': NULL, 'domid': '-1',
        'scheduled_to_be_resident_on': NULL, 'metrics': NULL, 'VBDs': [], 'VIFs': [],
        'tags': [], 'VCPUs_max': '1', 'snapshot_of': NULL}
    row.update(fields)
    return row


class Tables:
    """Rows by table and ref; each write raises the generation and wakes who waits."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.rows: Dict[str, Dict[str, Row]] = {
            name: {} for name in ('VM', 'pool', 'host', 'task', 'session')}
        self.generation = 1000
        self._marks: Dict[Tuple[str, str], List[int]] = {}
        self._deleted: List[Tuple[str, str, int, int]] = []

    def add(self, table: str, row: Row, ref: Optional[str] = None) -> str:
        """A new row; its ref."""
        ref = ref or build_ref()
        with self.changed:
            self.rows[table][ref] = row
            self.generation += 1
            self._marks[table, ref] = [self.generation, self.generation]
            self.changed.notify_all()
        return ref

    def remove(self, table: str, ref: str) -> None:
        """Take a row away."""
        with self.changed:
            del self.rows[table][ref]
            self.generation += 1
            created, _modified = self._marks.pop((table, ref))
            self._deleted.append((table, ref, created, self.generation))
            self.changed.notify_all()

    def get(self, table: str, ref: str) -> Row:
        """A row itself, not a copy."""
        try:
            return self.rows[table][ref]
        except (KeyError, TypeError):
            raise Refusal('HANDLE_INVALID', table, str(ref)) from None

    def read(self, table: str, ref: str) -> Row:
        """A copy of a row."""
        with self.changed:
            return copy.deepcopy(self.get(table, ref))

    def set(self, table: str, ref: str, **fields: Any) -> None:
        """Write fields, one after the other; what changes nothing is no event."""
        with self.changed:
            row = self.get(table, ref)
            for name, value in fields.items():
                if row.get(name) != value:
                    row[name] = value
                    self.touch(table, ref)

    def touch(self, table: str, ref: str) -> None:
        """A row was written."""
        with self.changed:
            self.generation += 1
            self._marks[table, ref][1] = self.generation
            self.changed.notify_all()

    def add_to_map(self, table: str, ref: str, field: str, key: str, value: str) -> None:
        """A key that must not be there."""
        with self.changed:
            pairs = self.get(table, ref).setdefault(field, {})
            if key in pairs:
                raise Refusal('MAP_DUPLICATE_KEY', table, field, ref, key)
            pairs[key] = value
            self.touch(table, ref)

    def remove_from_map(self, table: str, ref: str, field: str, key: str) -> None:
        """A key that need not be there."""
        with self.changed:
            if self.get(table, ref).setdefault(field, {}).pop(key, None) is not None:
                self.touch(table, ref)

    def collect(self, classes: List[str], since: int) -> Tuple[List[Row], int]:
        """The events since a generation, and the generation now seen."""
        wanted, seen, events = {name.lower() for name in classes}, since, []
        with self.changed:
            for (table, ref), (created, modified) in sorted(self._marks.items()):
                if modified > since and wanted & {'*', table.lower()}:
                    seen = max(seen, modified)
                    events.append({
                        'id': str(modified), 'timestamp': '0.0', 'class': table.lower(),
                        'operation': 'add' if created > since else 'mod', 'ref': ref,
                        'snapshot': copy.deepcopy(self.rows[table][ref])})
            for table, ref, created, gone in self._deleted:
                if created <= since < gone and wanted & {'*', table.lower()}:
                    seen = max(seen, gone)
                    events.append({'id': str(gone), 'timestamp': '0.0', 'class': table.lower(),
                                   'operation': 'del', 'ref': ref})
        return events, seen

    def wait_events(self, classes: List[str], since: int, seconds: float,
                    session: str) -> Tuple[List[Row], int]:
        """The same, waiting for some; an ended session ends the wait."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                if session not in self.rows['session']:
                    raise Refusal('SESSION_INVALID', session)
                events, seen = self.collect(classes, since)
                left = deadline - time.monotonic()
                if events or left <= 0:
                    return events, seen
                self.changed.wait(left)
