"""The entries of the mirror, as text in other_config, and the values they stand for.

A registered VM has one entry in VM.other_config, the vGPU pools and the whole have one in
pool.other_config. Whoever may edit a VM may write there, so everything that is read is input: it
is bounded, and validated by the functions that validate the registry's rows. The checksum tells a
torn or hand-made entry from ours; it is no signature.

Pure: no clock, no I/O, no logging.
"""

import hashlib
import json
import re
import zlib
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from registry.errors import InvalidValue
from registry.values import (POOL_IDS, Pool, Priority, Vm, clean_name, parse_pool_id,
                             parse_priority, parse_uuid, parse_vm_id)
from watcher.errors import WatcherError

# Two, so that an entry is replaced by adding the new one before the old one goes.
SLOTS = ('vgpu-watcher-1', 'vgpu-watcher-2')
FORMAT = 1
MAX_VM_BYTES = 512
MAX_POOL_BYTES = 8192
# Of several million edits a year this lasts longer than any pool; and it stays an exact number
# in every JSON reader.
MAX_GENERATION = 10 ** 12
# How many earlier generations the pool's entry names: whoever takes it over must know each of
# them as older, also those that it has slept through.
LINE_LENGTH = 100
# What of them stays when the entry would grow too long.
_LEAST_LINE = 20

_GENERATION = re.compile(r'([1-9][0-9]{0,12})-([0-9a-f]{8})\Z')
_DIGEST = re.compile(r'[0-9a-f]{32}\Z')
_VM_FIELDS = frozenset(('format', 'vm', 'in', 'generation', 'pool', 'priority', 'vm_id'))
_POOL_FIELDS = frozenset(('format', 'in', 'generation', 'vms', 'digest', 'largest', 'pools',
                          'absent', 'gone', 'line', 'sum'))


class MirrorInvalid(WatcherError):
    """A text that is no entry of the mirror, with the reason."""


class MirrorTooNew(MirrorInvalid):
    """An entry of a format that a later version has written."""


class Generation(NamedTuple):
    """Which state of the registry: a number that grows, and chance that tells two lines apart."""
    number: int
    token: str

    @property
    def text(self) -> str:
        """As it stands in entries and in the lineage."""
        return '%d-%s' % (self.number, self.token)


class VmEntry(NamedTuple):
    """One VM's assignment as the mirror has it."""
    vm_uuid: str
    resource_pool: str
    """UUID of the resource pool in which it was written."""
    generation: Generation
    pool_id: str
    priority: Priority
    vm_id: int
    is_ours: bool = True
    """With a checksum; one without was written by hand."""


class Row(NamedTuple):
    """An assignment without its VM's name: what the mirror is about."""
    vm_uuid: str
    vm_id: int
    pool_id: str
    priority: Priority


class PoolEntry(NamedTuple):
    """The mirror as a whole."""
    resource_pool: str
    generation: Generation
    vms: int
    """How many VMs are registered."""
    digest: str
    largest: int
    """The largest vm_id ever given out."""
    pools: Tuple[Pool, ...]
    absent: Tuple[Row, ...] = ()
    """Rows of VMs that XAPI does not have, which have no other place."""
    gone: Tuple[str, ...] = ()
    """VMs whose row was removed with this generation: their entries do not count."""
    line: Tuple[str, ...] = ()
    """The generations that led here, the newest last: what is among them is not lost."""


class Found(NamedTuple):
    """What the slots of one record hold."""
    slot: Optional[str] = None
    """The slot that counts; None when no slot holds a valid entry."""
    entry: Any = None
    """The VmEntry or PoolEntry in it."""
    spare: Tuple[str, ...] = ()
    """Slots that are taken and do not count."""
    problem: str = ''
    """Why a taken slot holds no valid entry."""
    is_too_new: bool = False
    """A slot holds what a later version has written."""


def parse_generation(text: Any) -> Generation:
    """Read a generation; MirrorInvalid when it is none."""
    match = _GENERATION.match(text) if isinstance(text, str) else None
    if match is None or int(match.group(1)) > MAX_GENERATION:
        raise MirrorInvalid('generation: not a number and eight hexadecimal digits')
    return Generation(int(match.group(1)), match.group(2))


def row_of(vm: Vm) -> Row:
    """What the mirror keeps of a registered VM."""
    return Row(vm.vm_uuid, vm.vm_id, vm.pool_id, Priority(vm.priority))


def row_of_entry(entry: VmEntry) -> Row:
    """The assignment that an entry holds."""
    return Row(entry.vm_uuid, entry.vm_id, entry.pool_id, entry.priority)


def render_vm_entry(entry: VmEntry) -> str:
    """The text of a VM's entry."""
    fields = {'format': FORMAT, 'vm': entry.vm_uuid, 'in': entry.resource_pool,
              'generation': entry.generation.text, 'pool': entry.pool_id,
              'priority': entry.priority.word, 'vm_id': entry.vm_id}
    return _render(dict(fields, sum=_sum_of(fields)))


def parse_vm_entry(text: str) -> VmEntry:
    """Read a VM's entry, one written by hand as well; MirrorInvalid when it is none."""
    fields = _load(text, MAX_VM_BYTES)
    has_sum = 'sum' in fields
    _check_fields(fields, _VM_FIELDS | {'sum'} if has_sum else _VM_FIELDS)
    try:
        entry = VmEntry(
            parse_uuid(fields['vm']), _parse_resource_pool(fields['in']),
            parse_generation(fields['generation']), parse_pool_id(fields['pool']),
            parse_priority(fields['priority']), _parse_number(fields['vm_id']), has_sum)
    except InvalidValue as error:
        raise MirrorInvalid(str(error)) from error
    if has_sum:
        _check_sum(fields)
    return entry


def render_pool_entry(entry: PoolEntry) -> str:
    """The text of the pool's entry; `fit` keeps it within its bound."""
    fields: Dict[str, Any] = {
        'format': FORMAT, 'in': entry.resource_pool, 'generation': entry.generation.text,
        'vms': entry.vms, 'digest': entry.digest, 'largest': entry.largest,
        'pools': [[pool.pool_id, pool.pool_name, pool.description, int(pool.enabled)]
                  for pool in entry.pools],
        'absent': [[row.vm_uuid, row.vm_id, row.pool_id, int(row.priority)]
                   for row in entry.absent],
        'gone': list(entry.gone), 'line': list(entry.line)}
    return _render(dict(fields, sum=_sum_of(fields)))


def fit(entry: PoolEntry) -> PoolEntry:
    """Leave out old generations, then removals, then absent VMs, until the text is in bounds."""
    while len(render_pool_entry(entry)) > MAX_POOL_BYTES:
        if len(entry.line) > _LEAST_LINE:
            entry = entry._replace(line=entry.line[1:])
        elif entry.gone:
            entry = entry._replace(gone=entry.gone[:-1])
        elif entry.absent:
            entry = entry._replace(absent=entry.absent[:-1])
        else:
            break
    return entry


def parse_pool_entry(text: str) -> PoolEntry:
    """Read the pool's entry; MirrorInvalid when it is none, or damaged."""
    fields = _load(text, MAX_POOL_BYTES)
    _check_fields(fields, _POOL_FIELDS)
    _check_sum(fields)
    if not isinstance(fields['digest'], str) or not _DIGEST.match(fields['digest']):
        raise MirrorInvalid('digest: not 32 hexadecimal digits')
    try:
        return PoolEntry(
            _parse_resource_pool(fields['in']), parse_generation(fields['generation']),
            _parse_count(fields['vms']), fields['digest'], _parse_count(fields['largest']),
            _parse_pools(fields['pools']), _parse_absent(fields['absent']),
            tuple(parse_uuid(item) for item in _parse_list(fields['gone'])),
            tuple(parse_generation(item).text for item in _parse_list(fields['line'])))
    except InvalidValue as error:
        raise MirrorInvalid(str(error)) from error


def digest_contents(vms: Iterable[Any], pools: Iterable[Pool]) -> str:
    """One word for all assignments (Vm or Row) and vGPU pools; names of VMs do not count."""
    rows = sorted([vm.vm_uuid.lower(), vm.vm_id, vm.pool_id, int(vm.priority)] for vm in vms)
    heads = sorted([pool.pool_id, pool.pool_name, pool.description or '', int(pool.enabled)]
                   for pool in pools)
    return hashlib.sha256(_render([rows, heads]).encode('ascii')).hexdigest()[:32]


def find_current(slots: Iterable[Tuple[str, str]],
                 parse: Callable[[str], Any] = parse_vm_entry,
                 committed: Optional[int] = None) -> Found:
    """Which slot counts: the higher generation, and of two equal ones the one made by hand.

    With `committed`, which counted when the pool's entry had that generation: of later ones, and
    of those made by hand, it knows nothing.
    """
    valid: List[Tuple[int, bool, str, Any]] = []
    taken, problem, is_too_new = [], '', False
    for slot, text in sorted(slots):
        if slot not in SLOTS:
            continue
        taken.append(slot)
        try:
            entry = parse(text)
        except MirrorInvalid as error:
            problem = '%s: %s' % (slot, error)
            is_too_new = is_too_new or isinstance(error, MirrorTooNew)
            continue
        number, is_by_hand = entry.generation.number, not getattr(entry, 'is_ours', True)
        if committed is None or not (is_by_hand or number > committed):
            valid.append((number, is_by_hand, slot, entry))
    if not valid:
        return Found(None, None, tuple(taken), problem, is_too_new)
    best = max(valid, key=lambda item: item[:3])
    return Found(best[2], best[3], tuple(slot for slot in taken if slot != best[2]), problem,
                 is_too_new)


def _load(text: Any, most: int) -> Dict[str, Any]:
    if not isinstance(text, str) or len(text) > most:
        raise MirrorInvalid('longer than %d bytes' % most)
    try:
        fields = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise MirrorInvalid('not JSON') from error
    if not isinstance(fields, dict):
        raise MirrorInvalid('not a JSON object')
    # True is 1 to Python, and so is 1.0.
    if type(fields.get('format')) is not int or fields['format'] < FORMAT:
        raise MirrorInvalid('format: another than %d' % FORMAT)
    if fields['format'] > FORMAT:
        raise MirrorTooNew('format: later than %d' % FORMAT)
    return fields


def _without_doubles(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError('a field twice')
    return fields


def _check_fields(fields: Mapping[str, Any], wanted: Iterable[str]) -> None:
    if set(fields) != set(wanted):
        raise MirrorInvalid('fields: others than %s' % ' '.join(sorted(wanted)))


def _check_sum(fields: Mapping[str, Any]) -> None:
    rest = {name: value for name, value in fields.items() if name != 'sum'}
    try:
        is_whole = fields['sum'] == _sum_of(rest)
    except RecursionError as error:
        raise MirrorInvalid('nested too deep') from error
    if not is_whole:
        raise MirrorInvalid('sum: does not fit the fields')


def _sum_of(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(',', ':'), ensure_ascii=True)
    return '%08x' % (zlib.crc32(text.encode('ascii')) & 0xffffffff)


def _render(value: Any) -> str:
    return json.dumps(value, separators=(',', ':'), ensure_ascii=True)


def _parse_resource_pool(text: Any) -> str:
    try:
        return parse_uuid(text)
    except InvalidValue as error:
        raise MirrorInvalid('in: not a UUID') from error


def _parse_number(value: Any) -> int:
    if type(value) is not int:
        raise MirrorInvalid('vm_id: not a number')
    return parse_vm_id(value)


def _parse_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2 ** 53:
        raise MirrorInvalid('vms, largest: not a count')
    return value


def _parse_list(value: Any) -> List[Any]:
    if not isinstance(value, list):
        raise MirrorInvalid('not a list')
    return value


def _parse_pools(value: Any) -> Tuple[Pool, ...]:
    pools = []
    for item in _parse_list(value):
        if not (isinstance(item, list) and len(item) == 4 and isinstance(item[1], str)
                and (item[2] is None or isinstance(item[2], str))
                and type(item[3]) is int and item[3] in (0, 1)):
            raise MirrorInvalid('pools: not id, name, description, enabled')
        pools.append(Pool(parse_pool_id(item[0]), clean_name(item[1]) or '',
                          clean_name(item[2]), item[3] == 1))
    if tuple(pool.pool_id for pool in pools) != POOL_IDS:
        raise MirrorInvalid('pools: others than %s' % ' '.join(POOL_IDS))
    return tuple(pools)


def _parse_absent(value: Any) -> Tuple[Row, ...]:
    rows = []
    for item in _parse_list(value):
        if not (isinstance(item, list) and len(item) == 4 and type(item[3]) is int
                and item[3] in tuple(Priority)):
            raise MirrorInvalid('absent: not UUID, number, vGPU pool, priority')
        rows.append(Row(parse_uuid(item[0]), _parse_number(item[1]), parse_pool_id(item[2]),
                        Priority(item[3])))
    return tuple(rows)
