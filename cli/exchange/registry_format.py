"""The registry as a text that people and programs exchange: JSON or CSV, both ways.

No clock, no files, no logging.
"""

import csv
import io
import json
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.exchange.csv_table import NoTable, describe_heading, has_column, read_table
from registry.errors import InvalidValue
from registry.values import (Contents, Priority, Vm, clean_name, parse_json_integer, parse_pool_id,
                             parse_priority, parse_uuid, parse_vm_id)

COLUMNS = ('vm_uuid', 'vm_name', 'vm_id', 'pool_id', 'priority')
_POOL_FIELDS = ('pool_id', 'pool_name', 'description', 'enabled')
FORMAT = 1
# `notes` is what an export with --json says beside its content.
_DOCUMENT_FIELDS = frozenset(['format', 'pools', 'vms', 'notes'])
_NO_EXPORT = "it is neither an export nor a backup of 'vgpu-admin'"
_SHOWN_CHARACTERS = 60


class VmRow(NamedTuple):
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
    given: FrozenSet[str] = frozenset()
    """The fields that the file has: a description of null is not a missing one."""


class Parsed(NamedTuple):
    """What a file says, and every line of it that says nothing good."""

    rows: Tuple[VmRow, ...]
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
    if not text.strip():
        return _refused('it is empty')
    return _parse_json(text) if is_json(text) else _parse_csv(text)


def is_json(text: str) -> bool:
    """Tell whether a text is meant as JSON."""
    return text.lstrip()[:1] in ('{', '[')


def is_table(text: str) -> bool:
    """Tell whether a text is a table of VMs with a heading."""
    return has_column(text, COLUMNS[0])


def _refused(*problems: str) -> Parsed:
    return Parsed((), (), problems)


def _values(vm: Vm) -> Tuple[Any, ...]:
    return vm.vm_uuid, vm.vm_name, vm.vm_id, vm.pool_id, vm.priority.word


def _parse_json(text: str) -> Parsed:
    try:
        document = json.loads(text, object_pairs_hook=_build_object, parse_int=parse_json_integer)
    except InvalidValue as error:
        return _refused(str(error))
    except RecursionError:
        return _refused(f'{_NO_EXPORT}: it is nested too deeply')
    except ValueError as error:
        return _refused(f'not JSON: {error}')
    problem = _find_document_problem(document)
    if problem:
        return _refused(problem)
    rows, problems = _parse_rows([(index + 1, item) for index, item
                                  in enumerate(document['vms'])], 'entry')
    found, faults = _parse_pools(document.get('pools', []))
    return Parsed(rows, found, problems + faults, 'entry')


def _build_object(pairs: Sequence[Tuple[str, Any]]) -> Dict[str, Any]:
    """Build an object; the last of two equal keys must not win in silence."""
    built: Dict[str, Any] = {}
    for name, value in pairs:
        if name in built:
            raise InvalidValue(f'the field {_shorten(name)} stands twice in one object')
        built[name] = value
    return built


def _find_document_problem(document: Any) -> str:
    """Why a document is neither an export nor a backup; '' when it is."""
    if not isinstance(document, dict):
        return f'{_NO_EXPORT}: an object with the fields format and vms is expected'
    unknown = sorted(set(document) - _DOCUMENT_FIELDS)
    if 'error' in unknown:
        return f'{_NO_EXPORT}: it is the error that a command ended with'
    if unknown:
        return (f'{_NO_EXPORT}: unknown field {_shorten(unknown[0])}; allowed: '
                f"{', '.join(sorted(_DOCUMENT_FIELDS))}")
    if 'format' not in document:
        return f'{_NO_EXPORT}: it has no field format'
    if type(document['format']) is not int or document['format'] != FORMAT:
        return f"format: {_shorten(document['format'])} is not known; allowed: {FORMAT}"
    if 'vms' not in document:
        return f'{_NO_EXPORT}: it has no field vms'
    if not isinstance(document['vms'], list) or not isinstance(document.get('pools', []), list):
        return 'vms and pools must be lists'
    if not document['vms'] and not document.get('pools'):
        # A list of the VMs of a vGPU pool that has none looks like this.
        return f'{_NO_EXPORT}: it has neither VMs nor vGPU pools'
    return ''


def _shorten(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'


def _parse_csv(text: str) -> Parsed:
    try:
        table = read_table(text)
    except NoTable as error:
        return _refused(str(error))
    unknown = [name for name in table.heading if name not in COLUMNS]
    if COLUMNS[0] not in table.heading or unknown:
        return _refused(f"line 1: the heading must name vm_uuid, and may name "
                        f"{', '.join(COLUMNS[1:])}; found {describe_heading(table.heading)}; "
                        "'vgpu-admin export --format=csv' writes such a file")
    rows, problems = _parse_rows([(line, _strip(cells)) for line, cells in table.rows], 'line')
    return Parsed(rows, (), problems)


def _strip(cells: Optional[Mapping[str, str]]) -> Optional[Dict[str, str]]:
    """Values without the blanks around them; a VM's name may begin or end with one."""
    if cells is None:
        return None
    return {name: cell if name == 'vm_name' else cell.strip() for name, cell in cells.items()}


def _parse_rows(items: Sequence[Tuple[int, Any]],
                unit: str) -> Tuple[Tuple[VmRow, ...], Tuple[str, ...]]:
    rows: List[VmRow] = []
    problems: List[str] = []
    first: Dict[str, int] = {}
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


def _parse_row(number: int, item: Any) -> VmRow:
    if not isinstance(item, dict):
        raise InvalidValue('is not a VM with one value per column')
    unknown = sorted(set(item) - set(COLUMNS))
    if unknown:
        raise InvalidValue(f"unknown field {_shorten(unknown[0])}; allowed: {', '.join(COLUMNS)}")
    name = _given(item, 'vm_name')
    if name is not None and not isinstance(name, str):
        raise InvalidValue('vm_name: must be text')
    return VmRow(number, parse_uuid(item.get('vm_uuid', '')), clean_name(name),
                 _parsed(item, 'vm_id', parse_vm_id), _parsed(item, 'pool_id', parse_pool_id),
                 _parsed(item, 'priority', parse_priority))


def _given(item: Mapping[str, Any], field: str) -> Any:
    value = item.get(field)
    return None if value == '' else value


def _parsed(item: Mapping[str, Any], field: str, parse_value: Any) -> Any:
    value = _given(item, field)
    return None if value is None else parse_value(value)


def _parse_pools(items: Sequence[Any]) -> Tuple[Tuple[PoolRow, ...], Tuple[str, ...]]:
    rows: List[PoolRow] = []
    problems: List[str] = []
    for index, item in enumerate(items):
        try:
            row = _parse_pool(item)
            if row.pool_id in {other.pool_id for other in rows}:
                raise InvalidValue(f'vGPU pool {row.pool_id} stands there already')
            rows.append(row)
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
    return PoolRow(parse_pool_id(item.get('pool_id', '')), texts[0], texts[1], item.get('enabled'),
                   frozenset(item))
