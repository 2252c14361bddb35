"""What somebody can write into other_config who knows how entries are made, and not the key."""

import contextlib
import hashlib
import json
import os
import zlib
from typing import Any, Dict, Iterable, List, Optional, Tuple

from tests.support.figures import leave

SLOTS = ('vgpu-watcher-1', 'vgpu-watcher-2')
KEYS = SLOTS + tuple(slot + '-code' for slot in SLOTS)
Row = Tuple[str, int, str, int]
# What was written since the last judgement.
_tried: List[str] = []


def write_secret(path: str, secret: str = 'a/b/c') -> str:
    """A file such as /etc/xensource/ptoken; its path."""
    with open(path + '.new', 'w', encoding='ascii') as stream:
        stream.write(secret)
    os.chmod(path + '.new', 0o600)
    os.rename(path + '.new', path)
    return path


def keys_of(record: Dict[str, Any]) -> Dict[str, str]:
    """The mirror's keys in a record."""
    return {key: text for key, text in record['other_config'].items()
            if key.startswith('vgpu-watcher-')}


def read_slots(record: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The entries in a record's slots, as whatever they say; what is cut says nothing."""
    entries = []
    for key, text in sorted(keys_of(record).items()):
        with contextlib.suppress(ValueError):
            entries += [json.loads(text)] if key in SLOTS else []
    return entries


def with_sum(fields: Dict[str, Any]) -> str:
    """The text of an entry: anybody can make the checksum."""
    text = json.dumps(fields, sort_keys=True, separators=(',', ':'))
    fields = dict(fields, sum='%08x' % (zlib.crc32(text.encode('ascii')) & 0xffffffff))
    return json.dumps(fields, separators=(',', ':'))


def forge_vm(vm_uuid: str, resource_pool: str, generation: str, vm_id: int, pool: str = 'A',
             priority: str = 'high') -> str:
    """An entry for a VM."""
    return with_sum({'format': 1, 'vm': vm_uuid, 'in': resource_pool, 'generation': generation,
                     'pool': pool, 'priority': priority, 'vm_id': vm_id})


def forge_pool(resource_pool: str, generation: str, rows: Iterable[Row],
               gone: Iterable[str] = (), largest: int = 0, line: Iterable[str] = ()) -> str:
    """An entry of the pool that has all its rows in `absent`."""
    rows = sorted(rows)
    heads = [['A', 'Pool A', '', 1], ['B', 'Pool B', '', 1]]
    content = json.dumps([[list(row) for row in rows], heads], separators=(',', ':'))
    return with_sum({
        'format': 1, 'in': resource_pool, 'generation': generation, 'vms': len(rows),
        'digest': hashlib.sha256(content.encode('ascii')).hexdigest()[:32],
        'largest': largest or max([row[1] for row in rows] or [0]),
        'pools': [['A', 'Pool A', None, 1], ['B', 'Pool B', None, 1]],
        'absent': [list(row) for row in rows], 'gone': sorted(gone), 'line': list(line)})


def put(xapi: Any, table: str, ref: str, texts: Dict[str, Optional[str]]) -> None:
    """Write keys of other_config, whatever stands there; None takes one away."""
    for key, text in texts.items():
        _tried.append(key)
        xapi.call('%s.remove_from_other_config' % table, ref, key)
        if text is not None:
            xapi.call('%s.add_to_other_config' % table, ref, key, text)


def begin() -> None:
    """What was written before is no attack of this test."""
    _tried.clear()


def judge(found: Dict[str, Any], wanted: Dict[str, Any]) -> None:
    """Assert that all that was written has changed no assignment; leave word of how much it was."""
    changed = [vm_uuid for vm_uuid in set(found) | set(wanted)
               if found.get(vm_uuid) != wanted.get(vm_uuid)]
    leave(forgeries=len(_tried), accepted=len(changed))
    _tried.clear()
    assert found == wanted
