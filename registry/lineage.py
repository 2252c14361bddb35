"""The generations that this host's registry has been at: what a mirror is older or newer than.

A generation is written here before anything of it is written elsewhere, so that a mirror whose
generation is not here was written by somebody else. All of it runs inside the caller's
transaction.
"""

from typing import NamedTuple, Sequence, Tuple

from registry.connection import Connection

# One line per edit that was mirrored. A mirror older than this many edits counts as foreign.
LINEAGE_ROWS = 2000
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

    `line` has those that it came from, the oldest first. Whoever takes over a generation has
    often not been at all of them, and must still know each of them as older.
    """
    known = {station.generation for station in list_stations(connection)}
    for text in line:
        if text not in known and text != generation:
            connection.execute(
                'INSERT INTO lineage (generation, digest, is_own, at) VALUES (?, ?, ?, ?)',
                (text, UNKNOWN, 0, at))
    connection.execute('DELETE FROM lineage WHERE generation = ?', (generation,))
    number = connection.insert(
        'INSERT INTO lineage (generation, digest, is_own, at) VALUES (?, ?, ?, ?)',
        (generation, digest, int(is_own), at))
    connection.execute('DELETE FROM lineage WHERE id <= ?', (number - LINEAGE_ROWS,))


def list_stations(connection: Connection) -> Tuple[Station, ...]:
    """List the generations, the newest last."""
    return tuple(Station(row[0], row[1], bool(row[2]), row[3]) for row in connection.execute(
        'SELECT generation, digest, is_own, at FROM lineage ORDER BY id'))
