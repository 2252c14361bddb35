"""The history: who changed what in the registry, and when.

These functions run inside the caller's transaction, so that an entry is kept if and only if the
change is.
"""

import json
from typing import Any, NamedTuple, Optional, Tuple

from registry.connection import Connection

HISTORY_ROWS = 20000
# More than the kernel takes as one argument; text beyond it is cut, so the file stays bounded.
MAX_TEXT_CHARACTERS = 131072
CUT_MARK = ' [cut]'
ANOTHER_PROGRAM = 'another program'
# A name of whatever length may stand in the environment of who runs a command.
_MAX_WHO = 200


class HistoryEntry(NamedTuple):
    """One change, as it was recorded; `before` and `after` come back as they were given."""

    id: int
    at: str
    who: str
    command: str
    what: str
    vm_uuid: Optional[str]
    before: Any
    after: Any


def add_entry(connection: Connection, at: str, who: str, command: str, what: str, *,
              vm_uuid: Optional[str] = None, before: Any = None,
              after: Any = None) -> HistoryEntry:
    """Record one change and forget the oldest beyond the bound."""
    before, after, who = _bounded(before), _bounded(after), who[:_MAX_WHO]
    number = connection.insert(
        'INSERT INTO history (at, who, command, what, vm_uuid, before_json, after_json) '
        'VALUES (?, ?, ?, ?, ?, ?, ?)',
        (at, who, command, what, vm_uuid, _encoded(before), _encoded(after)))
    connection.execute('DELETE FROM history WHERE id <= ?', (number - HISTORY_ROWS,))
    return HistoryEntry(number, at, who, command, what, vm_uuid, before, after)


def list_entries(connection: Connection, vm_uuid: Optional[str], limit: int,
                 before_id: Optional[int]) -> Tuple[HistoryEntry, ...]:
    """List entries, the newest first, of one VM or of all."""
    rows = connection.execute(
        'SELECT id, at, who, command, what, vm_uuid, before_json, after_json FROM history '
        'WHERE (? IS NULL OR vm_uuid = ?) AND (? IS NULL OR id < ?) '
        'ORDER BY id DESC LIMIT ?', (vm_uuid, vm_uuid, before_id, before_id, limit))
    return tuple(HistoryEntry(*row[:6], _decoded(row[6]), _decoded(row[7])) for row in rows)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return value[:MAX_TEXT_CHARACTERS] + CUT_MARK
    if isinstance(value, dict):
        return {key: _bounded(inner) for key, inner in value.items()}
    return value


def _encoded(value: Any) -> Optional[str]:
    return None if value is None else json.dumps(value, sort_keys=True)


def _decoded(text: Optional[str]) -> Any:
    return None if text is None else json.loads(text)
