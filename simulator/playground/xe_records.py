"""What xe shows of rows: its names of fields, its spelling of values, its layout. Pure."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

NOT_THERE = '<not in database>'
Tables = Dict[str, Dict[str, Dict[str, Any]]]


class Field(NamedTuple):
    """A field as xe names it: the kind that it shows in brackets, and where it comes from."""
    access: str
    source: str


# RO and RW, as a single value, a set (S) or a map (M).
_NAMED = {'uuid': Field(' RO', 'uuid'), 'name-label': Field(' RW', 'name_label'),
          'name-description': Field(' RW', 'name_description'),
          'other-config': Field('MRW', 'other_config')}
FIELDS: Dict[str, Dict[str, Field]] = {
    'VM': dict(_NAMED, **{
        'power-state': Field(' RO', 'power_state'), 'resident-on': Field(' RO', 'resident_on'),
        'affinity': Field(' RW', 'affinity'), 'dom-id': Field(' RO', 'domid'),
        'is-a-template': Field(' RW', 'is_a_template'),
        'is-a-snapshot': Field(' RO', 'is_a_snapshot'),
        'is-control-domain': Field(' RO', 'is_control_domain'),
        'snapshot-of': Field(' RO', 'snapshot_of'), 'snapshots': Field('SRO', 'snapshots'),
        'platform': Field('MRW', 'platform'),
        'allowed-operations': Field('SRO', 'allowed_operations'),
        'current-operations': Field('SRO', 'current_operations'),
        'blocked-operations': Field('MRW', 'blocked_operations')}),
    'host': dict(_NAMED, address=Field(' RO', 'address'), enabled=Field(' RO', 'enabled')),
}
_REFERENCES = {'resident_on': 'host', 'affinity': 'host', 'snapshot_of': 'VM', 'snapshots': 'VM'}


def show(table: str, name: str, record: Dict[str, Any], tables: Tables) -> str:
    """Spell a field of a record."""
    source = FIELDS[table][name].source
    value = record[source]
    if source == 'power_state':
        return str(value).lower()
    if source == 'current_operations':
        value = sorted(value.values())
    if isinstance(value, dict):
        return '; '.join(f'{key}: {value[key]}' for key in sorted(value))
    if isinstance(value, list):
        return '; '.join(_spell(source, item, tables) for item in value)
    return _spell(source, value, tables)


def layout(rows: Sequence[Sequence[Tuple[str, str, str]]]) -> str:
    """Lay out records, each of (name, kind, value), as xe does without --minimal."""
    return ''.join(_layout_one(row) + '\n\n' for row in rows)


def choose(records: Dict[str, Dict[str, Any]], is_wanted: Callable[[Dict[str, Any]], bool],
           table: str, conditions: Dict[str, str], tables: Tables) -> List[str]:
    """List the references of the rows of a kind that have these values; in order of names."""
    found = [ref for ref, record in records.items() if is_wanted(record) and all(
        show(table, name, record, tables) == value for name, value in conditions.items())]
    return sorted(found, key=lambda ref: (records[ref]['name_label'], records[ref]['uuid']))


def is_vm(record: Dict[str, Any]) -> bool:
    """Ask whether a row is what vm-list lists: control domains too."""
    return not record['is_a_template'] and not record['is_a_snapshot']


def is_snapshot(record: Dict[str, Any]) -> bool:
    """Ask whether a row is a snapshot."""
    return bool(record['is_a_snapshot'])


def is_template(record: Dict[str, Any]) -> bool:
    """Ask whether a row is a template and no snapshot."""
    return bool(record['is_a_template'] and not record['is_a_snapshot'])


def _spell(source: str, value: Any, tables: Tables) -> str:
    if source in _REFERENCES:
        record = tables[_REFERENCES[source]].get(value)
        return NOT_THERE if record is None else str(record['uuid'])
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return str(value)


def _layout_one(row: Sequence[Tuple[str, str, str]]) -> str:
    heads = [f'{name} ({access})' for name, access, _value in row]
    width = max(map(len, heads)) + 4
    lines = [f'{head.ljust(width) if number == 0 else head.rjust(width)}: {value}'
             for number, (head, (_name, _access, value)) in enumerate(zip(heads, row))]
    return ''.join(line + '\n' for line in lines)
