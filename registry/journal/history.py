"""The history: who changed what in the registry, and when.

These functions run inside the caller's transaction, so that an entry is kept if and only if the
change is.
"""

import json
import os
from typing import Any, List, NamedTuple, Optional, Tuple

from registry.journal.cell_types import OPTIONAL_TEXT, fits
from registry.journal.clock_steps import read_steps, render_corrected
from registry.journal.numbers import read_counter, write_counter
from registry.sqlite.connection import Connection

# The edits of people and programs have a bound of their own: keeping the daemon busy cannot
# push them out (P19).
HISTORY_ROWS = 20000
ROUTINE_ROWS = 20000
# More than the kernel takes as one argument; text beyond it is cut, so the file stays bounded.
MAX_TEXT_CHARACTERS = 131072
CUT_MARK = ' [cut]'
ANOTHER_PROGRAM = 'another program'
DAEMON = 'vgpu-watcher'
# What the daemon does at its own discretion; following the mirror is the edit of a person.
_OF_PEOPLE = ('rebuild',)
VM_ADDED = 'vm_added'
VM_CHANGES = (VM_ADDED, 'vm_changed', 'vm_removed')
_KINDS = (int, str, str, str, str) + 3 * (OPTIONAL_TEXT,)
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
              vm_uuid: Optional[str] = None, before: Any = None, after: Any = None,
              source: str = '') -> HistoryEntry:
    """Record one change and forget the oldest of its kind beyond the bound.

    `source` is the name of the registry's file, where none is attached.
    """
    before, after, who = _bounded(before), _bounded(after), who[:_MAX_WHO]
    is_routine = _is_routine(who, command, what)
    number = connection.insert(
        'INSERT INTO history (at, who, command, what, vm_uuid, before_json, after_json, '
        'is_routine, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
        (at, who, command, what, vm_uuid, _encoded(before), _encoded(after), int(is_routine),
         source or os.path.basename(connection.registry_path)))
    _forget_oldest(connection, is_routine)
    return HistoryEntry(number, at, who, command, what, vm_uuid, before, after)


def list_entries(connection: Connection, vm_uuid: Optional[str] = None, limit: int = 100,
                 *, since: Optional[str] = None, until: Optional[str] = None,
                 who: Optional[str] = None,
                 is_routine: Optional[bool] = None) -> Tuple[HistoryEntry, ...]:
    """List entries, the newest first: of one VM or of all, from `since` until before `until`.

    What a clock that was wrong has written counts for the time at which it was written. A row that
    others have written to, with cells of other types, is left out.
    """
    routine = None if is_routine is None else int(is_routine)
    at = render_corrected('at', read_steps(connection) if since or until else ())
    rows = connection.execute(
        'SELECT id, at, who, command, what, vm_uuid, before_json, after_json FROM history '
        'WHERE (? IS NULL OR vm_uuid = ?) '
        f'AND (? IS NULL OR {at} >= ?) AND (? IS NULL OR {at} < ?) AND (? IS NULL OR who = ?) '
        'AND (? IS NULL OR is_routine = ?) ORDER BY id DESC LIMIT ?',
        (vm_uuid, vm_uuid, since, since, until, until, who, who, routine, routine, limit))
    return _entries([row for row in rows if fits(row, _KINDS)])


def list_edits_since(connection: Connection, source: str, at: str) -> Tuple[HistoryEntry, ...]:
    """List the edits of a file after a time, the newest first.

    They count in the order in which they were made: a clock that was set back changes nothing.
    """
    corrected = render_corrected('at', read_steps(connection))
    rows = connection.execute(
        f'SELECT max(id) FROM history WHERE is_routine = 0 AND {corrected} <= ?', (at,))
    return _entries(connection.execute(
        'SELECT id, at, who, command, what, vm_uuid, before_json, after_json FROM history '
        "WHERE is_routine = 0 AND id > ? AND (source = ? OR source = '') ORDER BY id DESC",
        (rows[0][0] or 0, source)))


def first_edit_at(connection: Connection, source: str) -> Optional[str]:
    """Give the time of the oldest edit of a file that is known, as a right clock would have it."""
    corrected = render_corrected('at', read_steps(connection))
    rows = connection.execute(
        f'SELECT CAST({corrected} AS TEXT) FROM history WHERE is_routine = 0 '
        "AND (source = ? OR source = '') ORDER BY id LIMIT 1", (source,))
    return rows[0][0] if rows else None


def newest_edit(connection: Connection) -> int:
    """Give the number of the newest edit; 0 when there is none."""
    rows = connection.execute('SELECT max(id) FROM history WHERE is_routine = 0')
    return rows[0][0] or 0


def _is_routine(who: str, command: str, what: str) -> bool:
    return what.startswith('args_') or (who == DAEMON and command not in _OF_PEOPLE)


def _forget_oldest(connection: Connection, is_routine: bool) -> None:
    """Counting them each time would cost more than the entry."""
    name = 'routine entries' if is_routine else 'edits in the history'
    count = read_counter(connection, name)
    if not count:
        count = connection.execute('SELECT count(*) FROM history WHERE is_routine = ?',
                                   (int(is_routine),))[0][0]
    else:
        count += 1
    excess = count - (ROUTINE_ROWS if is_routine else HISTORY_ROWS)
    if excess > 0:
        connection.execute(
            'DELETE FROM history WHERE id IN (SELECT id FROM history WHERE is_routine = ? '
            'ORDER BY id LIMIT ?)', (int(is_routine), excess))
        count -= excess
    write_counter(connection, name, count)


def _entries(rows: List[Any]) -> Tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(  # type: ignore[call-arg]
        *row[:6], _decoded(row[6]), _decoded(row[7])) for row in rows)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return value[:MAX_TEXT_CHARACTERS] + CUT_MARK
    if isinstance(value, dict):
        return {key: _bounded(inner) for key, inner in value.items()}
    return value


def _encoded(value: Any) -> Optional[str]:
    return None if value is None else json.dumps(value, sort_keys=True)


def _decoded(text: Optional[str]) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):  # what others wrote is shown as it stands
        return text
