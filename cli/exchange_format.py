"""The registry as a text that people and programs exchange: JSON or CSV, both ways.

No clock, no files, no logging.
"""

import csv
import io
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from registry.errors import InvalidValue
from registry.values import (Contents, Priority, Vm, clean_name, parse_pool_id, parse_priority,
                             parse_uuid, parse_vm_id)

COLUMNS = ('vm_uuid', 'vm_name', 'vm_id', 'pool_id', 'priority')
_POOL_FIELDS = ('pool_id', 'pool_name', 'description', 'enabled')
FORMAT = 1


class Row(NamedTuple):
    """One VM of a file; what is not said there is None."""

    line: int
    vm_uuid: str
    vm_name: Optional[str] = None
    vm_id: Optional[int] = None
    pool_id: Optional[str] = None
    priority: Optional[Priority] = None


class PoolRow(NamedTuple):
    """One vGPU pool of a file."""

    pool_id: str
    pool_name: Optional[str] = None
    description: Optional[str] = None
    enabled: Optional[bool] = None


class Parsed(NamedTuple):
    """What a file says, and every line of it that says nothing good."""

    rows: Tuple[Row, ...]
    pools: Tuple[PoolRow, ...]
    problems: Tuple[str, ...]
    unit: str = 'line'
    """What the numbers of the rows count."""


def render_json(contents: Contents) -> Dict[str, Any]:
    """The registry as one JSON document."""
    return {'format': FORMAT,
            'pools': [{field: getattr(pool, field) for field in _POOL_FIELDS}
                      for pool in contents.pools],
            'vms': [dict(zip(COLUMNS, _values(vm))) for vm in contents.vms]}


def render_csv(contents: Contents) -> List[str]:
    """The VMs as CSV, with a heading."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    writer.writerows(['' if value is None else value for value in _values(vm)]
                     for vm in contents.vms)
    # Names may hold other characters that end lines: only ours separate the rows.
    return text.getvalue().rstrip('\n').split('\n')


def parse(text: str) -> Parsed:
    """Read a file of either kind; JSON begins with a brace, or with a bracket by mistake."""
    return _parse_json(text) if text.lstrip()[:1] in ('{', '[') else _parse_csv(text)


def _values(vm: Vm) -> Tuple[Any, ...]:
    return vm.vm_uuid, vm.vm_name, vm.vm_id, vm.pool_id, vm.priority.word


def _parse_json(text: str) -> Parsed:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Parsed((), (), (f'not JSON: {error}',))
    if not isinstance(document, dict):
        return Parsed((), (), ('an object with the fields format and vms is wanted, as export '
                               'writes it',))
    if document.get('format') != FORMAT:
        return Parsed((), (), (f"format: {document.get('format')!r} is not known; allowed: 1",))
    items, pools = document.get('vms', []), document.get('pools', [])
    if not isinstance(items, list) or not isinstance(pools, list):
        return Parsed((), (), ('vms and pools must be lists',))
    rows, problems = _parse_rows([(index + 1, item) for index, item in enumerate(items)], 'VM')
    found, faults = _parse_pools(pools)
    return Parsed(rows, found, problems + faults, 'VM')


def _parse_csv(text: str) -> Parsed:
    # Python 3.6 stumbles over NUL bytes, and later ones do not.
    reader = csv.reader(io.StringIO(text.replace('\0', '\ufffd'), newline=''))
    try:
        return _parse_table(next(reader, []), reader)
    except csv.Error as error:
        return Parsed((), (), (f'line {reader.line_num}: not CSV: {error}',))


def _parse_table(heading: List[str], reader: Any) -> Parsed:
    unknown = [name for name in heading if name not in COLUMNS]
    if 'vm_uuid' not in heading or unknown:
        return Parsed((), (), (f"line 1: the heading must name vm_uuid, and may name "
                               f"{', '.join(COLUMNS[1:])}; found {', '.join(heading)!a}",))
    items = []  # type: List[Tuple[int, Any]]
    for cells in reader:
        if cells:
            fits = len(cells) == len(heading)
            items.append((reader.line_num, dict(zip(heading, cells)) if fits else None))
    rows, problems = _parse_rows(items, 'line')
    return Parsed(rows, (), problems)


def _parse_rows(items: Sequence[Tuple[int, Any]],
                unit: str) -> Tuple[Tuple[Row, ...], Tuple[str, ...]]:
    rows, problems = [], []  # type: List[Row], List[str]
    first = {}  # type: Dict[str, int]
    for number, item in items:
        try:
            row = _parse_row(number, item)
            if row.vm_uuid in first:
                raise InvalidValue(f'vm_uuid: {row.vm_uuid} stands in {unit} '
                                   f'{first[row.vm_uuid]} already')
            first[row.vm_uuid] = number
            rows.append(row)
        except InvalidValue as error:
            problems.append(f'{unit} {number}: {error}')
    return tuple(rows), tuple(problems)


def _parse_row(number: int, item: Any) -> Row:
    if not isinstance(item, dict):
        raise InvalidValue('is not a VM with one value per column')
    unknown = sorted(set(item) - set(COLUMNS))
    if unknown:
        raise InvalidValue(f"unknown field {unknown[0]!a}; allowed: {', '.join(COLUMNS)}")
    name = _given(item, 'vm_name')
    if name is not None and not isinstance(name, str):
        raise InvalidValue('vm_name: must be text')
    return Row(number, parse_uuid(item.get('vm_uuid')), clean_name(name),
               _parsed(item, 'vm_id', parse_vm_id), _parsed(item, 'pool_id', parse_pool_id),
               _parsed(item, 'priority', parse_priority))


def _given(item: Mapping[str, Any], field: str) -> Any:
    value = item.get(field)
    return None if value == '' else value


def _parsed(item: Mapping[str, Any], field: str, parse_value: Any) -> Any:
    value = _given(item, field)
    return None if value is None else parse_value(value)


def _parse_pools(items: Sequence[Any]) -> Tuple[Tuple[PoolRow, ...], Tuple[str, ...]]:
    rows, problems = [], []  # type: List[PoolRow], List[str]
    for index, item in enumerate(items):
        try:
            rows.append(_parse_pool(item))
        except InvalidValue as error:
            problems.append(f'pool {index + 1}: {error}')
    return tuple(rows), tuple(problems)


def _parse_pool(item: Any) -> PoolRow:
    if not isinstance(item, dict) or set(item) - set(_POOL_FIELDS):
        raise InvalidValue(f"must have the fields {', '.join(_POOL_FIELDS)} and no others")
    texts = [item.get(field) for field in ('pool_name', 'description')]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise InvalidValue('pool_name and description must be text')
    if not isinstance(item.get('enabled', True), bool):
        raise InvalidValue('enabled must be true or false')
    return PoolRow(parse_pool_id(item.get('pool_id')), texts[0], texts[1], item.get('enabled'))
