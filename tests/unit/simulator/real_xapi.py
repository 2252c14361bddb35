"""What two releases of a real xapi said and wrote, and the same asked of the simulator.

tests/fixtures/real-xapi/README.md tells how it was recorded. What cannot be equal is made so, and
nothing else is: references, UUIDs, generation ids, dates and domain numbers become one word each;
the recordings' own REMOVED stands for anything.
"""

import http.client
import json
import os
import re
import socket
from collections import Counter
from typing import Any, Dict, List, Optional

from simulator.database.metadata import column
from simulator.server import Simulator
from tests.support.documents import ROOT

DIRECTORY = os.path.join(ROOT, 'tests/fixtures/real-xapi')
RELEASES = {'26.1.4': '26.1.4', '26.17': '26.17.0'}
PLATFORM = {'acpi': '1', 'apic': 'true', 'device-model': 'qemu-upstream-compat', 'nx': 'true',
            'pae': 'true', 'timeoffset': '0', 'viridian': 'true'}
# What the recorded VMs were made of; no devices, and a guest without an agent.
RECORD = {
    'name_label': 'example-vm', 'name_description': '', 'user_version': 1, 'is_a_template': False,
    'affinity': 'OpaqueRef:NULL', 'memory_static_max': 268435456,
    'memory_dynamic_max': 268435456, 'memory_dynamic_min': 268435456,
    'memory_static_min': 134217728, 'VCPUs_params': {}, 'VCPUs_max': 1, 'VCPUs_at_startup': 1,
    'actions_after_shutdown': 'destroy', 'actions_after_reboot': 'restart',
    'actions_after_crash': 'restart', 'PV_bootloader': '', 'PV_kernel': '', 'PV_ramdisk': '',
    'PV_args': '', 'PV_bootloader_args': '', 'PV_legacy_args': '',
    'HVM_boot_policy': 'BIOS order', 'HVM_boot_params': {'order': 'cd'}, 'platform': PLATFORM,
    'PCI_bus': '', 'other_config': {}, 'recommendations': '', 'has_vendor_device': True,
    'xenstore_data': {}}
NOT_DEVICES = {'disks_per_vm': 0, 'interfaces_per_vm': 0, 'guest_tools': False}
_SHAPES = ((re.compile('REF[0-9]+|OpaqueRef:[0-9a-f-]{36}'), 'REF'),
           (re.compile('[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'), 'UUID'),
           (re.compile('[0-9]{8}T[0-9:]{8}Z'), 'DATE'),
           (re.compile('-?[0-9]{10,}:-?[0-9]{10,}'), 'GENERATION'))
EPOCH = '19700101T00:00:00Z'


def read(release: str, name: str) -> Any:
    """Return one recording."""
    with open(os.path.join(DIRECTORY, release, name + '.json'), encoding='utf-8') as stream:
        return json.load(stream)


def normalise(value: Any) -> Any:
    """Make alike what differs from run to run; the epoch, which means never, stays."""
    if isinstance(value, dict):
        return {normalise(key): normalise(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalise(item) for item in value]
    if not isinstance(value, str) or value == EPOCH:
        return value
    for shape, word in _SHAPES:
        value = shape.sub(word, value)
    return value


def shape_of(value: Any) -> str:
    """Name the type of a value in JSON."""
    return {str: 'string', bool: 'boolean', int: 'number', float: 'number', list: 'array',
            dict: 'object'}[type(value)]


class Wire:
    """JSON-RPC over the local socket, as the recordings were made."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.session = self.call('session.login_with_password', 'root', '', '', 'tests/1')

    def ask(self, method: str, params: List[Any], version: Optional[str] = '2.0') -> Any:
        """Send one request and return the whole answer."""
        body = {'method': method, 'params': params, 'id': 1}
        if version is not None:
            body['jsonrpc'] = version
        connection = http.client.HTTPConnection('localhost')
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self._path)
        try:
            connection.request('POST', '/jsonrpc', json.dumps(body).encode(),
                               {'Content-Type': 'application/json'})
            return json.loads(connection.getresponse().read().decode('utf-8'))
        finally:
            connection.close()

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of a call; its parameters are complete."""
        answer = self.ask(method, list(params))
        assert 'result' in answer, answer
        return answer['result']

    def record(self, table: str, ref: str) -> Dict[str, Any]:
        """Return a record as it comes over the wire."""
        return self.call(table + '.get_record', self.session, ref)


class Writes:
    """Each write that changed the database, with the birth and the death of rows."""

    def __init__(self, simulator: Simulator) -> None:
        database = simulator.state.database
        self.seen: List[Any] = []
        create, destroy, write = database.create, database.destroy, database.write

        def noting_create(table: str, ref: str, fields: Dict[str, Any]) -> Any:
            self.seen.append((table, ref, '(row created)'))
            return create(table, ref, fields)

        def noting_destroy(table: str, ref: str) -> None:
            self.seen.append((table, ref, '(row deleted)'))
            destroy(table, ref)

        def noting_write(table: str, ref: str, field: str, value: Any) -> bool:
            changed = write(table, ref, field, value)
            if changed:
                self.seen.append((table, ref, column(field)))
            return changed

        database.create, database.destroy = noting_create, noting_destroy
        database.write = noting_write

    def summary(self, ref: str) -> Dict[str, Any]:
        """Sum the writes up as the recordings do, from the view of one VM's row.

        Consoles are left out: the recorded VMs have none, without a hypervisor.
        """
        seen = [write for write in self.seen if write[0] != 'console']
        others: Dict[str, Counter] = {}
        kinds = {'(row created)': 'rows created', '(row deleted)': 'rows deleted'}
        for table, other, field in seen:
            if other != ref:
                others.setdefault(table, Counter())[kinds.get(field, 'fields')] += 1
        return {'vm_row_in_order': [write[2] for write in seen if write[1] == ref],
                'other_rows': {table: dict(found) for table, found in others.items()},
                'database_writes': len(seen)}
