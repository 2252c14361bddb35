"""What XAPI says, decoded from the wire: batches of events, VM records, the pool's record.

All of it is input. A record that is not what XAPI's data model promises raises MalformedRecord,
which costs that one VM and nothing else. Strings become enums here or nowhere. XML-RPC delivers
integers as strings and JSON-RPC as numbers: both are accepted.

Pure: no clock, no I/O, no logging.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from watcher.errors import MalformedRecord, XapiNonsense
from watcher.vm.device_args import MAX_READ
from watcher.vm.mirror_keys import ENTRY_KEYS, PART_KEYS
from watcher.vm.record import (ARGS_KEY, MAX_BLOCK, START_OPERATIONS, Batch, PoolRecord, PowerState,
                               VmKind, VmRecord)

NULL_REF = 'OpaqueRef:NULL'
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z')
_KIND_FLAGS = ('is_a_template', 'is_default_template', 'is_a_snapshot', 'is_vmss_snapshot',
               'is_control_domain')
# A default template is a template and a scheduled snapshot a snapshot: these only say it again,
# and not every XAPI does.
_SAID_AGAIN = frozenset(['is_default_template', 'is_vmss_snapshot'])
# XAPI's own bound for a name is far higher; a name is only ever shown, never compared.
_MAX_NAME = 1024
_MAX_DOMID = 0x7fffffff
# domain_type of a VM that runs without QEMU: there is nothing that could take our arguments.
_WITHOUT_QEMU = frozenset(['pv', 'pvh', 'pv_in_pvh'])
# No entry of the mirror is as long; what is cut does not pass for one.
_MAX_MIRROR = 9000
_MAX_MIRROR_PART = 40000

# Looking a state up costs a fifth of building it.
_POWER_STATES: Dict[Any, PowerState] = {state.value: state for state in PowerState}


class ReducedEvent(NamedTuple):
    """What is kept of an event of class vm or pool as soon as it is decoded."""
    ref: str
    event_id: int
    item: Union[VmRecord, MalformedRecord, PoolRecord, None]
    """The record, what is wrong with it, or None for a deletion."""


def parse_batch(answer: Any, *, is_first: bool) -> Batch:
    """Turn an event.from answer into a Batch; XapiNonsense when it is not one."""
    if not isinstance(answer, dict) or not isinstance(answer.get('events'), list):
        raise XapiNonsense('event.from did not answer with events')
    token = answer.get('token')
    if not isinstance(token, str):
        raise XapiNonsense('event.from did not answer with a token')
    latest = _latest_per_vm(answer['events'])
    pools = tuple(item for item in latest.values() if isinstance(item, PoolRecord))
    vms, malformed = parse_records({ref: item for ref, item in latest.items()
                                    if item is not None and not isinstance(item, PoolRecord)})
    gone = tuple(ref for ref, item in latest.items() if item is None)
    counts = answer.get('valid_ref_counts')
    vm_count = _parse_integer(counts.get('vm')) if isinstance(counts, dict) else None
    return Batch(token, vms, gone, malformed, vm_count, is_first, pools)


def list_records(answer: Any) -> Dict[str, Union[VmRecord, MalformedRecord]]:
    """The records in the event.from answer for an empty token, by ref, for `parse_records`."""
    batch = parse_batch(answer, is_first=True)
    records: Dict[str, Union[VmRecord, MalformedRecord]] = {vm.ref: vm for vm in batch.vms}
    records.update((error.ref, error) for error in batch.malformed)
    return records


def reduce_event(_key: str, raw: Any) -> Optional['ReducedEvent']:
    """What is kept of one event; None for what is none, or of another class."""
    if not isinstance(raw, dict):
        return None
    name = str(raw.get('class', '')).lower()
    ref, event_id = raw.get('ref'), _parse_integer(raw.get('id')) or 0
    if name not in ('vm', 'pool') or not isinstance(ref, str):
        return None
    if name == 'pool':
        pool = parse_pool(ref, raw.get('snapshot'))
        return ReducedEvent(ref, event_id, pool) if pool is not None else None
    if raw.get('operation') == 'del':
        return ReducedEvent(ref, event_id, None)
    return ReducedEvent(ref, event_id, reduce_record(ref, raw.get('snapshot', {})))


def reduce_record(ref: str, raw: Any) -> Union[VmRecord, MalformedRecord]:
    """What is kept of one record: the VmRecord, or what is wrong with it."""
    try:
        return parse_vm(ref, raw)
    except MalformedRecord as error:
        return error


def parse_pool(ref: str, raw: Any) -> Optional[PoolRecord]:
    """The resource pool's record; None when it is not one that can be gone by.

    An odd one costs the mirror, and nothing else.
    """
    if not isinstance(raw, dict):
        return None
    uuid, master = raw.get('uuid'), raw.get('master')
    if not (isinstance(uuid, str) and isinstance(master, str) and UUID.match(uuid.lower())):
        return None
    return PoolRecord(ref, uuid.lower(), master, _find_pool_mirror(raw))


def parse_records(records: Mapping[str, Any]) \
        -> Tuple[Tuple[VmRecord, ...], Tuple[MalformedRecord, ...]]:
    """Parse each record on its own, so that an odd one costs only itself.

    Records that were reduced as they arrived are taken as they are.
    """
    vms: List[VmRecord] = []
    malformed: List[MalformedRecord] = []
    for ref, item in records.items():
        if not isinstance(item, (VmRecord, MalformedRecord)):
            item = reduce_record(ref, item)
        if isinstance(item, VmRecord):
            vms.append(item)
        else:
            malformed.append(item)
    return tuple(vms), tuple(malformed)


def parse_vm(ref: str, raw: Any) -> VmRecord:
    """Turn a VM record off the wire into a VmRecord; raise MalformedRecord naming the field."""
    if not isinstance(raw, dict):
        raise MalformedRecord(ref, 'record', 'is not a map')
    reader = _Reader(ref, raw)
    platform, blocks = reader.read_map('platform'), reader.read_map('blocked_operations')
    operations = reader.read_map('current_operations')
    resident_on, power_state = reader.read_text('resident_on'), reader.read_power_state()
    return VmRecord(
        ref, reader.read_uuid(), reader.read_text('name_label')[:_MAX_NAME],
        _parse_kind(reader), power_state,
        tuple(sorted(operations.items())) if operations else (),
        _cut(platform.get(ARGS_KEY)), _find_start_blocks(blocks) if blocks else (),
        reader.read_domid(), None if resident_on in (NULL_REF, '') else resident_on,
        _find_mirror(raw), settles_platform(platform),
        str(raw.get('domain_type')) not in _WITHOUT_QEMU,
        power_state is PowerState.HALTED and not operations
        and raw.get('scheduled_to_be_resident_on', NULL_REF) not in (NULL_REF, ''))


def _cut(args: Optional[str]) -> Optional[str]:
    """Keep of a value that is too long to be read what is read of it, and that it is longer."""
    return args if args is None or len(args) <= MAX_READ else args[:MAX_READ + 1]


def _find_start_blocks(blocks: Mapping[str, str]) -> Tuple[Tuple[str, str], ...]:
    """What blocks a start; one character more than the bound says that a text was cut."""
    return tuple(sorted((operation, text[:MAX_BLOCK + 1]) for operation, text in blocks.items()
                        if operation in START_OPERATIONS))


def settles_platform(platform: Mapping[str, str]) -> bool:
    """Whether XAPI completes this platform map at the VM's next start, by writing all of it.

    A whole map of ours in the same milliseconds could undo that, or be undone: such a map is not
    replaced (P5). After the start it is as any other.
    """
    model = platform.get('device-model')
    return model is None or model == 'qemu-trad' or platform.get('secureboot') == 'auto'


def _find_mirror(raw: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """Our keys in other_config. A record without the map, or with an odd one, has none."""
    other_config = raw.get('other_config')
    if not isinstance(other_config, dict):
        return ()
    if ENTRY_KEYS.isdisjoint(other_config):
        return ()
    return tuple(sorted((key, other_config[key][:_MAX_MIRROR]) for key in ENTRY_KEYS
                        if isinstance(other_config.get(key), str)))


def _find_pool_mirror(raw: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """The same of the pool's record, with what did not fit into its entry."""
    found = _find_mirror(raw)
    if not found:
        return ()
    other_config = raw['other_config']
    parts = [(key, other_config[key][:_MAX_MIRROR_PART]) for key in PART_KEYS
             if isinstance(other_config.get(key), str)]
    return tuple(sorted(found + tuple(parts)))


def _latest_per_vm(events: List[Any]) -> Dict[str, Any]:
    """ref -> record, None for a deletion. The order inside a batch means nothing; the id does."""
    latest: Dict[str, ReducedEvent] = {}
    for item in events:
        event = item if isinstance(item, ReducedEvent) else reduce_event('', item)
        if event is not None and (event.ref not in latest
                                  or event.event_id >= latest[event.ref].event_id):
            latest[event.ref] = event
    # Those that changed first come first: of many that start at once, the first started first.
    return {event.ref: event.item
            for event in sorted(latest.values(), key=lambda event: event.event_id)}


def _parse_integer(value: Any) -> Optional[int]:
    # JSON as Python reads it knows Infinity, which no integer is.
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _parse_kind(reader: '_Reader') -> VmKind:
    template, default, snapshot, scheduled, control = [
        reader.read_flag(name) for name in _KIND_FLAGS]
    if control:
        return VmKind.CONTROL_DOMAIN
    if snapshot or scheduled:
        return VmKind.SNAPSHOT
    return VmKind.TEMPLATE if template or default else VmKind.VM


class _Reader:
    """Reads the fields of one raw record; every problem names the ref and the field."""

    def __init__(self, ref: str, raw: Mapping[str, Any]) -> None:
        self._ref = ref
        self._raw = raw

    def read_text(self, field: str) -> str:
        """A string."""
        value = self._raw.get(field)
        if not isinstance(value, str):
            raise self._malformed(field, 'is missing or no text')
        return value

    def read_uuid(self) -> str:
        """The UUID, in lower case."""
        value = self.read_text('uuid').lower()
        if not UUID.match(value):
            raise self._malformed('uuid', 'is no UUID')
        return value

    def read_flag(self, field: str) -> bool:
        """A boolean."""
        value = self._raw.get(field, False if field in _SAID_AGAIN else None)
        if not isinstance(value, bool):
            raise self._malformed(field, 'is missing or no boolean')
        return value

    def read_map(self, field: str) -> Dict[str, str]:
        """A map of text to text."""
        value = self._raw.get(field)
        if not isinstance(value, dict):
            raise self._malformed(field, 'is missing or no map')
        # A loop, and not `all`: this is done for each event.
        for key, text in value.items():
            if not (isinstance(key, str) and isinstance(text, str)):
                raise self._malformed(field, 'holds something that is no text')
        return value

    def read_power_state(self) -> PowerState:
        """The power state."""
        try:
            return _POWER_STATES[self._raw.get('power_state')]
        except (KeyError, TypeError):
            raise self._malformed('power_state', 'is none that XAPI has') from None

    def read_domid(self) -> int:
        """The domain's number, -1 for none."""
        value = self._raw.get('domid')
        if isinstance(value, str) and re.match(r'-?[0-9]{1,10}\Z', value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= _MAX_DOMID:
            return value
        raise self._malformed('domid', 'is missing or no number of a domain')

    def _malformed(self, field: str, problem: str) -> MalformedRecord:
        return MalformedRecord(self._ref, field, problem)
