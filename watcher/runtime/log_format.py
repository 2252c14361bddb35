"""How a log line looks: JSON for programs, readable for people.

Stands under `logs.py`. What is logged comes from XAPI, from files of others and from exceptions:
any value of any kind gives a line, of bounded length, and on a terminal nothing but printable
characters.

Pure: no clock, no I/O, no logging.
"""

import enum
import json
import math
from typing import Any, Dict, List, Mapping

from watcher.runtime.line_limit import MAX_LINE_BYTES, cut_line, fit

MAX_CHARACTERS = 2000
MAX_ITEMS = 100
MAX_DEPTH = 4

_COLOURS = {'error': '\x1b[31m', 'warning': '\x1b[33m', 'info': '\x1b[32m', 'debug': '\x1b[2m'}
_RESET = '\x1b[0m'
_LEADING = ('event', 'level', 'timestamp')


def render_json(fields: Mapping[str, Any]) -> str:
    """One JSON object, in ASCII: event, level, timestamp, then the rest as given."""
    ordered = _order(_clean_fields(fields))
    line = json.dumps(ordered)
    return line if len(line) <= MAX_LINE_BYTES else json.dumps(fit(ordered))


def render_console(fields: Mapping[str, Any], *, is_coloured: bool) -> str:
    """One line for people; a traceback follows on lines of its own."""
    rest = _order(_clean_fields(fields))
    event, level, timestamp = [str(rest.pop(key, '')) for key in _LEADING]
    exception = rest.pop('exception', None)
    label = f'{escape(level):<7}'
    if is_coloured:
        label = _COLOURS.get(level, '') + label + _RESET
    words = [f'{escape(key)}={_render_value(value)}' for key, value in rest.items()]
    line = ' '.join([escape(timestamp), label, escape(event)] + words)
    rest_lines = [] if exception is None else str(exception).split('\n')
    return '\n'.join([cut_line(line)] + [cut_line('    ' + escape(part)) for part in rest_lines])


def escape(text: str) -> str:
    """The text with everything that is not printable shown as an escape."""
    if text.isprintable():
        return text
    return ''.join(char if char.isprintable() else
                   char.encode('unicode_escape').decode('ascii') for char in text)


def clean(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value made of what JSON knows, with everything long cut and marked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return clean(value.value, depth)
    if isinstance(value, int):
        # Newer Pythons refuse to write out integers of thousands of digits.
        return int(value) if value.bit_length() <= 64 else _cut(hex(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, (bytes, bytearray)):
        return _cut(bytes(value).decode('utf-8', 'backslashreplace'))
    return _clean_container(value, depth)


def _clean_fields(fields: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields of one line; of a traceback the end is kept, since it names the error."""
    cleaned = {str(key): clean(value) for key, value in fields.items()}
    exception = fields.get('exception')
    if isinstance(exception, str) and len(exception) > MAX_CHARACTERS:
        marks = _mark_rest(len(exception) - MAX_CHARACTERS, 'characters')
        cleaned['exception'] = ''.join(marks) + ' ...' + exception[-MAX_CHARACTERS:]
    return cleaned


def _clean_container(value: Any, depth: int) -> Any:
    try:
        if depth > 0 and isinstance(value, Mapping):
            return _clean_map(value, depth)
        if depth > 0 and isinstance(value, (list, tuple, set, frozenset)):
            items = [clean(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
            return items + _mark_rest(len(value) - MAX_ITEMS, 'items')
        return _cut(str(value))
    except Exception as error:  # whatever a foreign __str__ raises: the line matters more
        return f'({type(value).__name__} that cannot be shown: {type(error).__name__})'


def _clean_map(value: Mapping[Any, Any], depth: int) -> Dict[str, Any]:
    cleaned = {str(clean(key, 0)): clean(item, depth - 1)
               for key, item in list(value.items())[:MAX_ITEMS]}
    for mark in _mark_rest(len(value) - MAX_ITEMS, 'items'):
        cleaned['...'] = mark
    return cleaned


def _cut(text: str) -> str:
    return text[:MAX_CHARACTERS] + ''.join(_mark_rest(len(text) - MAX_CHARACTERS, 'characters'))


def _mark_rest(count: int, unit: str) -> List[str]:
    return [f'... ({count} more {unit})'] if count > 0 else []


def _order(fields: Dict[str, Any]) -> Dict[str, Any]:
    ordered = {key: fields.pop(key) for key in _LEADING if key in fields}
    ordered.update(fields)
    return ordered


def _render_value(value: Any) -> str:
    if isinstance(value, str):
        bare = value and ' ' not in value and '"' not in value and '=' not in value
        return escape(value) if bare else '"' + escape(value.replace('"', '\\"')) + '"'
    return escape(json.dumps(value, ensure_ascii=False))
