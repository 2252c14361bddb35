"""The generations that this host's registry has been at: what a mirror is older or newer than.

A generation is written here before anything of it is written elsewhere, so that a mirror whose
generation is not here was written by another host. All of it runs inside the caller's
transaction.
"""

import json
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from registry.journal.cell_types import understand
from registry.journal.history import newest_edit
from registry.sqlite.connection import Connection
from registry.values import Origin

# One line per edit that was mirrored. A mirror older than this many edits counts as foreign.
LINEAGE_ROWS = 2000
# In the table notes.
LINEAGE_NOTE = 'lineage_pool'
UNKNOWN = ''
"""The digest of a generation at which the registry here never was."""


class Station(NamedTuple):
    """One generation, and the digest of the contents at it."""

    generation: str
    digest: str
    is_own: bool = True
    """This host made it, as the master; no other host need ever have seen it."""
    at: str = ''


def note_generation(connection: Connection, at: str, generation: str, digest: str, *,
                    is_own: bool = True, line: Sequence[str] = ()) -> None:
    """Make a generation the newest, also one that the registry was at before.

    `line` has those that it came from, the oldest first. A registry that takes over a generation
    has often not been at all of them, and must still know each of them as older.
    """
    known = {station.generation for station in list_stations(connection)}
    for text in line:
        if text not in known and text != generation:
            connection.execute(
                'INSERT INTO lineage (generation, digest, is_own, at) VALUES (?, ?, ?, ?)',
                (text, UNKNOWN, 0, at))
    connection.execute('DELETE FROM lineage WHERE generation = ?', (generation,))
    number = connection.insert(
        'INSERT INTO lineage (generation, digest, is_own, at, edit) VALUES (?, ?, ?, ?, ?)',
        (generation, digest, int(is_own), at, newest_edit(connection)))
    connection.execute('DELETE FROM lineage WHERE id <= ?', (number - LINEAGE_ROWS,))


def read_resource_pool(connection: Connection) -> Optional[str]:
    """The UUID of the resource pool that the generations are of; None when none was noted."""
    rows = connection.execute('SELECT value FROM notes WHERE key = ?', (LINEAGE_NOTE,))
    return rows[0][0] if rows else None


def take_resource_pool(connection: Connection, resource_pool: str) -> bool:
    """Note whose generations follow; whether those of before were another's, and are forgotten."""
    has_moved = read_resource_pool(connection) not in (None, resource_pool)
    if has_moved:
        connection.execute('DELETE FROM lineage')
    connection.execute('INSERT OR REPLACE INTO notes (key, value) VALUES (?, ?)',
                       (LINEAGE_NOTE, resource_pool))
    return has_moved


def note_origin(connection: Connection, at: str, origin: Origin) -> None:
    """Note that the registry is at a generation of the mirror of its resource pool."""
    take_resource_pool(connection, origin.resource_pool)
    note_generation(connection, at, origin.generation, origin.digest, is_own=False,
                    line=origin.line)


def count_waiting(connection: Connection) -> int:
    """Count the edits of assignments and vGPU pools that are newer than the newest generation.

    What was changed and is again as it was, such as rows that were lost and brought back, is in
    that generation already.
    """
    rows = connection.execute('SELECT edit FROM lineage ORDER BY id DESC LIMIT 1')
    if not rows:
        return 0
    edits = connection.execute(
        'SELECT vm_uuid, before_json, after_json FROM history WHERE is_routine = 0 AND id > ? '
        "AND (what LIKE 'vm%' OR what LIKE 'pool%') ORDER BY id", (rows[0][0],))
    began: Dict[str, Any] = {}
    waiting: Dict[str, int] = {}
    for vm_uuid, before_json, after_json in edits:
        before, after = _counts(before_json), _counts(after_json)
        if before != after:
            key = vm_uuid or (after or before).get('pool_id')
            began.setdefault(key, before)
            waiting[key] = 0 if after == began[key] else waiting.get(key, 0) + 1
    return sum(waiting.values())


def _counts(text: Optional[str]) -> Any:
    """Give what the mirror has of a row: the name of a VM is in XAPI anyway."""
    try:
        fields = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    if 'vm_uuid' in fields:
        fields.pop('vm_name', None)
    return fields


def list_stations(connection: Connection) -> Tuple[Station, ...]:
    """List the generations, the newest last."""
    rows = understand(connection, 'lineage', connection.execute(
        'SELECT generation, digest, is_own, at FROM lineage ORDER BY id'), str, str, int, str)
    return tuple(Station(row[0], row[1], bool(row[2]), row[3]) for row in rows)
