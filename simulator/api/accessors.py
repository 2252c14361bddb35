"""What every class has: get_all, get_record, get_<field>, set_<field>, add_to_<map> and so on."""

from typing import Any, Callable, Dict, List, Optional, Tuple

from simulator.api import parameters
from simulator.api.query_expressions import parse_expression
from simulator.database import releases
from simulator.database.rows import Row, is_valid
from simulator.database.schema import READ_ONLY, SAMPLES, coerce
from simulator.state.pool_state import State
from simulator.wire.failures import (Failure, empty_key, handle_invalid, internal_error,
                                     invalid_value, uuid_invalid)
from simulator.wire.rpc import Snapshot

Found = Tuple[Callable[..., Any], int]

# Keys that only a pool admin may write since XSA-489, in which maps.
POOL_ADMIN_KEYS = {'platform': ('hvm_serial',), 'other_config': ('hvm_serial', 'pci')}
HIDDEN = ('session',)  # its rows cannot be listed on the wire


def find(state: State, name: str) -> Optional[Found]:
    """Find the handler of a method that follows from the fields of a class."""
    table, _, verb = name.partition('.')
    if table not in state.database.tables:
        return None
    whole = _WHOLE.get(verb)
    if whole is not None:
        return None if table in HIDDEN and verb.startswith('get_all') else (
            _bind(whole[0], table), whole[1])
    for prefix, (handler, count, kind) in _FIELDS.items():
        field = verb[len(prefix):]
        if verb.startswith(prefix) and _has_field(state, table, field, kind):
            if prefix == 'get_' or field not in READ_ONLY.get(table, ()):
                return _bind(handler, table, field), count
    return None


def list_names(state: State) -> List[str]:
    """List the methods that every class has, and the getters of those that have rows."""
    names = [f'{table}.{verb}' for table in state.database.tables for verb in _WHOLE]
    for table in state.database.tables:
        names += [f'{table}.get_{field}' for field in _sample(state, table)]
    return names


def _sample(state: State, table: str) -> Any:
    if table in SAMPLES:
        return SAMPLES[table]
    rows = state.database.tables[table].rows
    return next(iter(rows.values())).fields if rows else ()


def _has_field(state: State, table: str, field: str, kind: Optional[type]) -> bool:
    sample = _sample(state, table)
    return field in sample and releases.has_field(table, field, state.settings.version) and (
        kind is None or isinstance(sample[field], kind))


def _bind(handler: Callable[..., Any], *bound: str) -> Callable[..., Any]:
    return lambda state, caller, *params: handler(state, caller, *bound, *params)


def _get_all(state: State, caller: Any, table: str) -> List[str]:
    with state.database.lock:
        return sorted(state.database.tables[table].rows)


def _get_all_records(state: State, caller: Any, table: str) -> Any:
    return _records(state, table, lambda fields: True)


def _get_all_records_where(state: State, caller: Any, table: str, expression: str) -> Any:
    return _records(state, table, parse_expression(expression))


def _get_all_where(state: State, caller: Any, table: str, expression: str) -> List[str]:
    return list(_records(state, table, parse_expression(expression)))


def _records(state: State, table: str, chosen: Callable[[Any], bool]) -> Any:
    with state.database.lock:
        rows = sorted(state.database.tables[table].rows.items())
        return {ref: _dress(state, table, row) for ref, row in rows if chosen(row.fields)}


def _get_record(state: State, caller: Any, table: str, ref: str) -> Snapshot:
    with state.database.lock:
        return _dress(state, table, _row(state, table, ref))


def _get_by_uuid(state: State, caller: Any, table: str, uuid: str) -> str:
    with state.database.lock:
        for row in state.database.tables[table].rows.values():
            if row.fields.get('uuid') == uuid:
                return row.ref
    raise uuid_invalid(table, uuid)


def _get_by_name_label(state: State, caller: Any, table: str, label: str) -> List[str]:
    with state.database.lock:
        return [ref for ref, row in sorted(state.database.tables[table].rows.items())
                if row.fields.get('name_label') == label]


def _get_field(state: State, caller: Any, table: str, field: str, ref: str) -> Any:
    with state.database.lock:
        fields = _dress(state, table, _row(state, table, ref)).fields
        if field not in fields:
            raise internal_error(f'Db_exn.DBCache_NotFound("missing column","{field}")')
        return fields[field]


def _set_field(state: State, caller: Any, table: str, field: str, ref: str, value: Any) -> None:
    kind = type(_sample(state, table)[field])
    parameters.check(str, ref)
    parameters.check(str if issubclass(kind, str) else kind, value)
    with state.database.lock:
        current = _row(state, table, ref).fields[field]
        if isinstance(value, dict):
            _check_keys(caller, table, field, value)
        _check_texts(value)
        try:
            state.database.write(table, ref, field, coerce(current, value))
        except (TypeError, ValueError) as error:
            raise internal_error(f'Failure("{error}")') from error


def _add_to_map(state: State, caller: Any, table: str, field: str, ref: str, key: str,
                value: str) -> None:
    for param in (ref, key, value):
        parameters.check(str, param)
    _check_keys(caller, table, field, (key,))
    with state.database.lock:
        _row(state, table, ref)
        state.database.add_to_map(table, ref, field, key, value)


def _remove_from_map(state: State, caller: Any, table: str, field: str, ref: str,
                     key: str) -> None:
    for param in (ref, key):
        parameters.check(str, param)
    _check_keys(caller, table, field, (key,))
    with state.database.lock:
        _row(state, table, ref)
        state.database.remove_from_map(table, ref, field, key)


def _add_to_set(state: State, caller: Any, table: str, field: str, ref: str, value: str) -> None:
    with state.database.lock:
        current = _row(state, table, ref).fields[field]
        if value not in current:
            state.database.write(table, ref, field, current + [value])


def _remove_from_set(state: State, caller: Any, table: str, field: str, ref: str,
                     value: str) -> None:
    with state.database.lock:
        current = _row(state, table, ref).fields[field]
        state.database.write(table, ref, field, [item for item in current if item != value])


def _row(state: State, table: str, ref: Any) -> Row:
    parameters.check(str, ref)
    row = state.database.find(table, ref)
    if row is None:
        raise handle_invalid(table, str(ref))
    return row


def _dress(state: State, table: str, row: Row) -> Snapshot:
    return state.faults.dress(table, row.ref, row.snapshot)


def _check_texts(value: Any) -> None:
    """Raise when what shall be written holds an empty key or characters that XML has not."""
    if isinstance(value, dict):
        if '' in value:
            raise empty_key()
        value = list(value) + list(value.values())
    texts = value if isinstance(value, list) else [value]
    if not all(is_valid(text) for text in texts if isinstance(text, str)):
        raise invalid_value()


def _check_keys(caller: Any, table: str, field: str, keys: Any) -> None:
    guarded = POOL_ADMIN_KEYS.get(field, ()) if table == 'VM' else ()
    for key in keys:
        if key in guarded and caller.transport == 'tcp' and caller.user_name != 'root':
            raise Failure('RBAC_PERMISSION_DENIED', [
                f'VM.{field}:{key}', 'No permission in user session. (Roles with this '
                'permission: pool-admin)'])


_WHOLE: Dict[str, Tuple[Callable[..., Any], int]] = {
    'get_all': (_get_all, 0), 'get_all_records': (_get_all_records, 0),
    'get_all_records_where': (_get_all_records_where, 1), 'get_all_where': (_get_all_where, 1),
    'get_record': (_get_record, 1), 'get_by_uuid': (_get_by_uuid, 1),
    'get_by_name_label': (_get_by_name_label, 1)}

# The longer prefixes come first; a map's and a set's adders differ in their names.
_FIELDS: Dict[str, Tuple[Callable[..., Any], int, Any]] = {
    'remove_from_': (_remove_from_map, 2, dict), 'add_to_': (_add_to_map, 3, dict),
    'get_': (_get_field, 1, None), 'set_': (_set_field, 2, None),
    'add_': (_add_to_set, 2, list), 'remove_': (_remove_from_set, 2, list)}
