"""The entries of the mirror, as text in other_config, and the values they stand for.

A registered VM has one entry in VM.other_config, the vGPU pools and the whole have one in
pool.other_config. A user who may edit a VM may write there, so everything that is read is input: it
is bounded, and validated by the functions that validate the registry's rows. The checksum tells a
torn or hand-made entry from ours; what makes one authentic is its code (`codes.py`).

Pure: no clock, no I/O, no logging.
"""

import contextlib
import hashlib
import json
import re
import zlib
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from registry.errors import InvalidValue
from registry.values import (MAX_VM_ID, POOL_IDS, Origin, Pool, Priority, Vm, clean_name,
                             parse_json_integer, parse_pool_id, parse_priority, parse_uuid,
                             parse_vm_id)
from watcher.errors import WatcherError

FORMAT = 1
MAX_VM_BYTES = 512
MAX_POOL_BYTES = 8192
# What does not fit into the pool's entry goes into parts beside it. XAPI takes 300 KiB in one
# request, and text may grow to six times its length on the way.
MAX_PART_BYTES = 32768
_ROWS_OF_A_PART = 1000
# Of a million edits a year this lasts longer than any pool.
MAX_GENERATION = 10 ** 9
_MAX_JUMP = 10 ** 7
# More of them than any pool has VMs.
_MAX_VMS = 10 ** 6
# How many earlier generations the pool's entry names: a host that takes it over must know each of
# them as older, also those that it has slept through.
LINE_LENGTH = 100
# What of them stays when the entry would grow too long.
_LEAST_LINE = 20

_GENERATION = re.compile(r'([1-9][0-9]{0,12})-([0-9a-f]{8})\Z')
_DIGEST = re.compile(r'[0-9a-f]{32}\Z')
_VM_FIELDS = frozenset(('format', 'vm', 'in', 'generation', 'pool', 'priority', 'vm_id'))
_POOL_FIELDS = frozenset(('format', 'in', 'generation', 'vms', 'digest', 'largest', 'pools',
                          'absent', 'gone', 'line', 'sum'))
_PART_FIELDS = frozenset(('format', 'generation', 'absent', 'gone', 'sum'))


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
        return f'{self.number}-{self.token}'


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


class MirroredRow(NamedTuple):
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
    absent: Tuple[MirroredRow, ...] = ()
    """Rows of VMs that XAPI does not have, which have no other place."""
    gone: Tuple[str, ...] = ()
    """VMs whose row was removed with this generation: their entries do not count."""
    line: Tuple[str, ...] = ()
    """The generations that led here, the newest last: what is among them is not lost."""

    @property
    def origin(self) -> Origin:
        """Where a registry comes from that is made like this."""
        return Origin(self.generation.text, self.digest, self.line, self.resource_pool)


class MirrorContent(NamedTuple):
    """What the mirror shall say."""
    generation: Generation
    rows: Dict[str, MirroredRow]
    entry: PoolEntry
    """The pool's entry, but for who is absent and gone."""


def parse_generation(text: Any) -> Generation:
    """Read a generation; MirrorInvalid when it is none."""
    match = _GENERATION.match(text) if isinstance(text, str) else None
    if match is None or int(match.group(1)) > MAX_GENERATION:
        raise MirrorInvalid('generation: not a number and eight hexadecimal digits')
    return Generation(int(match.group(1)), match.group(2))


def is_leap(generation: Generation, number: int, is_signed: bool) -> bool:
    """Ask whether an unsigned entry is further ahead of a registry than edits lead: no host goes on
    from it, since its number would leave none to go on with."""
    return not is_signed and generation.number > number + _MAX_JUMP


def find_furthest(lineage: Iterable[str]) -> str:
    """The generation with the largest number; '' when there is none that can be understood."""
    found = []
    for text in lineage:
        with contextlib.suppress(MirrorInvalid):
            found.append(parse_generation(text))
    return max(found).text if found else ''


def row_of(vm: Vm) -> MirroredRow:
    """What the mirror keeps of a registered VM."""
    return MirroredRow(vm.vm_uuid, vm.vm_id, vm.pool_id, Priority(vm.priority))


def row_of_entry(entry: VmEntry) -> MirroredRow:
    """The assignment that an entry holds."""
    return MirroredRow(entry.vm_uuid, entry.vm_id, entry.pool_id, entry.priority)


def render_vm_entry(entry: VmEntry) -> str:
    """The text of a VM's entry."""
    fields = {'format': FORMAT, 'vm': entry.vm_uuid, 'in': entry.resource_pool,
              'generation': entry.generation.text, 'pool': entry.pool_id,
              'priority': entry.priority.word, 'vm_id': entry.vm_id}
    return _render(dict(fields, sum=_sum_of(fields)))


def parse_vm_entry(text: str, _parts: Sequence[str] = ()) -> VmEntry:
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


def render_pool_entry(entry: PoolEntry) -> Tuple[str, Tuple[str, ...]]:
    """The text of the pool's entry, and of the parts that hold what it has no room for."""
    head = _fit(entry)
    rows, gone = entry.absent[len(head.absent):], entry.gone[len(head.gone):]
    return _render_head(head), tuple(_render_parts(entry.generation, rows, gone))


def _render_head(entry: PoolEntry) -> str:
    fields: Dict[str, Any] = {
        'format': FORMAT, 'in': entry.resource_pool, 'generation': entry.generation.text,
        'vms': entry.vms, 'digest': entry.digest, 'largest': entry.largest,
        'pools': [[pool.pool_id, pool.pool_name, pool.description, int(pool.enabled)]
                  for pool in entry.pools],
        'absent': _list_rows(entry.absent), 'gone': list(entry.gone), 'line': list(entry.line)}
    return _render(dict(fields, sum=_sum_of(fields)))


def _list_rows(rows: Iterable[MirroredRow]) -> List[List[Any]]:
    return [[row.vm_uuid, row.vm_id, row.pool_id, int(row.priority)] for row in rows]


def _fit(entry: PoolEntry) -> PoolEntry:
    """The entry with as much as has room: absent VMs go before removals, both before old
    generations."""
    if len(_render_head(entry)) <= MAX_POOL_BYTES:
        return entry
    while len(entry.line) > _LEAST_LINE and len(_render_head(entry)) > MAX_POOL_BYTES:
        entry = entry._replace(line=entry.line[len(entry.line) - max(
            _LEAST_LINE, len(entry.line) // 2):])
    free = MAX_POOL_BYTES - len(_render_head(entry._replace(absent=(), gone=())))
    rows = _count_fitting(_list_rows(entry.absent), free)
    free -= sum(len(_render(row)) + 1 for row in _list_rows(entry.absent[:rows]))
    gone = _count_fitting(entry.gone, free) if rows == len(entry.absent) else 0
    return entry._replace(absent=entry.absent[:rows], gone=entry.gone[:gone])


def _count_fitting(items: Sequence[Any], free: int) -> int:
    """How many of them, the first ones, have room together."""
    count = 0
    for item in items:
        free -= len(_render(item)) + 1
        if free < 0:
            break
        count += 1
    return count


def _render_parts(generation: Generation, rows: Sequence[MirroredRow],
                  gone: Sequence[str]) -> Iterator[str]:
    while rows or gone:
        taken = _count_fitting(_list_rows(rows[:_ROWS_OF_A_PART]), MAX_PART_BYTES)
        named = 0 if taken else _count_fitting(gone, MAX_PART_BYTES)
        fields = {'format': FORMAT, 'generation': generation.text,
                  'absent': _list_rows(rows[:taken]), 'gone': list(gone[:named])}
        yield _render(dict(fields, sum=_sum_of(fields)))
        rows, gone = rows[taken:], gone[named:]


def parse_pool_entry(text: str, parts: Sequence[str] = ()) -> PoolEntry:
    """Read the pool's entry and what stands beside it; MirrorInvalid when it is none, or damaged.

    A part that is none, or of another generation, is left out: the digest tells that it is missing.
    """
    fields = _load(text, MAX_POOL_BYTES)
    _check_fields(fields, _POOL_FIELDS)
    _check_sum(fields)
    if not isinstance(fields['digest'], str) or not _DIGEST.match(fields['digest']):
        raise MirrorInvalid('digest: not 32 hexadecimal digits')
    try:
        generation = parse_generation(fields['generation'])
        rest = [_parse_part(part, generation) for part in parts]
        return PoolEntry(
            _parse_resource_pool(fields['in']), generation,
            _parse_count(fields['vms'], _MAX_VMS), fields['digest'],
            _parse_count(fields['largest'], MAX_VM_ID), _parse_pools(fields['pools']),
            _parse_absent(fields['absent']) + tuple(row for rows, _gone in rest for row in rows),
            _parse_gone(fields['gone']) + tuple(uuid for _rows, gone in rest for uuid in gone),
            tuple(parse_generation(item).text for item in _parse_list(fields['line'])))
    except InvalidValue as error:
        raise MirrorInvalid(str(error)) from error


def _parse_part(text: str,
                generation: Generation) -> Tuple[Tuple[MirroredRow, ...], Tuple[str, ...]]:
    try:
        # A little more than the bound: brackets, generation, checksum.
        fields = _load(text, MAX_PART_BYTES + 512)
        _check_fields(fields, _PART_FIELDS)
        _check_sum(fields)
        if fields['generation'] == generation.text:
            return _parse_absent(fields['absent']), _parse_gone(fields['gone'])
    except (MirrorInvalid, InvalidValue):
        pass
    return (), ()


def _parse_gone(value: Any) -> Tuple[str, ...]:
    return tuple(parse_uuid(item) for item in _parse_list(value))


def digest_contents(vms: Iterable[Any], pools: Iterable[Pool]) -> str:
    """One word for all assignments (Vm, MirroredRow) and vGPU pools; names of VMs do not count."""
    rows = sorted([vm.vm_uuid.lower(), vm.vm_id, vm.pool_id, int(vm.priority)] for vm in vms)
    heads = sorted([pool.pool_id, pool.pool_name, pool.description or '', int(pool.enabled)]
                   for pool in pools)
    return hashlib.sha256(_render([rows, heads]).encode('ascii')).hexdigest()[:32]


def _load(text: Any, most: int) -> Dict[str, Any]:
    if not isinstance(text, str) or len(text) > most:
        raise MirrorInvalid(f'longer than {most} bytes')
    try:
        fields = json.loads(text, object_pairs_hook=_without_doubles,
                            parse_int=parse_json_integer)
    except (ValueError, RecursionError, InvalidValue) as error:
        raise MirrorInvalid('not JSON') from error
    if not isinstance(fields, dict):
        raise MirrorInvalid('not a JSON object')
    # True is 1 to Python, and so is 1.0.
    if type(fields.get('format')) is not int or fields['format'] < FORMAT:
        raise MirrorInvalid(f'format: another than {FORMAT}')
    if fields['format'] > FORMAT:
        raise MirrorTooNew(f'format: later than {FORMAT}')
    return fields


def _without_doubles(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError('a field twice')
    return fields


def _check_fields(fields: Mapping[str, Any], wanted: Iterable[str]) -> None:
    if set(fields) != set(wanted):
        raise MirrorInvalid('fields: others than ' + ' '.join(sorted(wanted)))


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
    checksum = zlib.crc32(text.encode('ascii'))
    return f'{checksum:08x}'


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


def _parse_count(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
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
        raise MirrorInvalid('pools: others than ' + ' '.join(POOL_IDS))
    return tuple(pools)


def _parse_absent(value: Any) -> Tuple[MirroredRow, ...]:
    rows = []
    for item in _parse_list(value):
        if not (isinstance(item, list) and len(item) == 4 and type(item[3]) is int
                and item[3] in tuple(Priority)):
            raise MirrorInvalid('absent: not UUID, number, vGPU pool, priority')
        rows.append(MirroredRow(parse_uuid(item[0]), _parse_number(item[1]), parse_pool_id(item[2]),
                                Priority(item[3])))
    return tuple(rows)
