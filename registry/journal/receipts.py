"""Receipts: what each boot of a VM desired, carried and was found to run with.

Of every VM that has a row or carries our arguments. `quiet` ones give no log line: what they found
is what the VM has, and no more.
"""

from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple

from registry.journal.cell_types import OPTIONAL_NUMBER, OPTIONAL_TEXT, fits
from registry.journal.clock_steps import read_steps, render_corrected
from registry.sqlite.connection import Connection

RECEIPTS_PER_VM = 200
RECEIPTS_IN_ALL = 50000
# The types of a row's cells, in the order of the fields of Boot.
_KINDS = ((int, str, OPTIONAL_TEXT, str, OPTIONAL_TEXT, OPTIONAL_NUMBER, OPTIONAL_TEXT,
           OPTIONAL_TEXT, str) + (OPTIONAL_TEXT,) * 5 + (int, OPTIONAL_NUMBER, int))


class Boot(NamedTuple):
    """One boot of a VM; open until it has a verdict."""

    id: int
    vm_uuid: str
    vm_name: Optional[str]
    kind: str
    host: Optional[str]
    domid: Optional[int]
    boot_id: Optional[str]
    task: Optional[str]
    opened_at: str
    closed_at: Optional[str] = None
    desired: Optional[str] = None
    carried: Optional[str] = None
    found: Optional[str] = None
    verdict: Optional[str] = None
    rescued: bool = False
    elapsed_ms: Optional[int] = None
    quiet: bool = False


def add_boot(connection: Connection, boot: Boot) -> int:
    """Record a boot under a new number, and forget the oldest beyond the bounds."""
    number = connection.insert(
        'INSERT INTO receipts (vm_uuid, vm_name, kind, host, domid, boot_id, task, opened_at, '
        'closed_at, desired, carried, found, verdict, rescued, elapsed_ms, quiet) '
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', boot[1:])
    _prune(connection, boot.vm_uuid)
    return number


def write_boot(connection: Connection, number: int, boot: Boot) -> int:
    """Write what has become of a boot; its number from now on.

    That of a transaction that was undone may be another boot's by now, or gone.
    """
    is_there = connection.execute(
        'SELECT 1 FROM receipts WHERE id = ? AND vm_uuid = ? AND opened_at = ?',
        (number, boot.vm_uuid, boot.opened_at))
    if not is_there:
        return add_boot(connection, boot)
    connection.execute(
        'UPDATE receipts SET vm_name = ?, kind = ?, host = ?, domid = ?, '
        'boot_id = ?, task = ?, closed_at = ?, desired = ?, carried = ?, '
        'found = ?, verdict = ?, rescued = ?, elapsed_ms = ?, quiet = ? WHERE id = ?',
        boot[2:8] + boot[9:] + (number,))
    return number


def list_open_boots(connection: Connection) -> Tuple[Boot, ...]:
    """List the boots without a verdict, the oldest first."""
    return _read_boots(connection, 'closed_at IS NULL ORDER BY id')


def list_boots(connection: Connection, vm_uuid: Optional[str], limit: int) -> Tuple[Boot, ...]:
    """List boots, the newest first, of one VM or of all."""
    return _read_boots(connection, '? IS NULL OR vm_uuid = ? ORDER BY id DESC LIMIT ?',
                       (vm_uuid, vm_uuid, limit))


def list_last_boots(connection: Connection) -> Tuple[Boot, ...]:
    """List the newest boot of each VM that came to a domain: what it runs with, or ran with last.

    One that is under way, or that came to nothing, says nothing of that.
    """
    return _read_boots(connection, 'id IN (SELECT max(id) FROM receipts WHERE domid IS NOT NULL '
                       'GROUP BY vm_uuid)')


def count_verdicts(connection: Connection, since: str) -> Mapping[str, int]:
    """Count the boots closed at or after a time, by verdict: those of which a line tells."""
    closed_at = render_corrected('closed_at', read_steps(connection))
    return dict(connection.execute(
        f'SELECT verdict, count(*) FROM receipts WHERE {closed_at} >= ? AND verdict IS NOT NULL '
        "AND (NOT quiet OR verdict = 'withheld') GROUP BY verdict", (since,)))


def _prune(connection: Connection, vm_uuid: str) -> None:
    connection.execute(
        'DELETE FROM receipts WHERE vm_uuid = ? AND id <= (SELECT id FROM receipts '
        'WHERE vm_uuid = ? ORDER BY id DESC LIMIT 1 OFFSET ?)',
        (vm_uuid, vm_uuid, RECEIPTS_PER_VM))
    excess = connection.execute('SELECT count(*) FROM receipts')[0][0] - RECEIPTS_IN_ALL
    if excess > 0:
        connection.execute(
            'DELETE FROM receipts WHERE id IN (SELECT id FROM receipts ORDER BY id LIMIT ?)',
            (excess,))


def _read_boots(connection: Connection, which: str,
                parameters: Sequence[Any] = ()) -> Tuple[Boot, ...]:
    """Read the boots that a condition is true of; one that others have written to is left out."""
    rows = connection.execute(f"SELECT {', '.join(Boot._fields)} FROM receipts WHERE {which}",
                              parameters)
    return tuple(Boot(*row)._replace(rescued=bool(row[14]), quiet=bool(row[16]))
                 for row in rows if fits(row, _KINDS))
