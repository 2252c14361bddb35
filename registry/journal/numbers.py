"""Which number is where: claimed by a row, staged by us, borne without a row, left behind.

A sequence orders "a row was committed with number N" against "a VM without a row began to carry
N"; each keeps its place in that order for as long as the number stays the same. A claim belongs to
the row and not to its VM: it moves with the row.
"""

from typing import Iterable, Mapping, NamedTuple, Optional

from registry.journal.cell_types import OPTIONAL_TEXT, understand
from registry.sqlite.connection import Connection

ORDINARY = 'vm'
# More than a resource pool has VMs. An orphan whose VM is gone from XAPI is never settled.
ORPHANS_KEPT = 20000
# What removed arguments brought along is kept for so many VMs.
REMOVED_KEPT = 20000
# Beyond it, a number that only a VM carries says nothing: otherwise all of them could be used up.
LARGEST_COUNTED = 1000000


class Staged(NamedTuple):
    """What we staged at a VM; `value` is the managed span, or '' for none."""

    vm_uuid: str
    vm_id: int
    value: str
    sequence: int = 0
    at: str = ''


class Written(NamedTuple):
    """What a write that is not proven replaces: managed spans, '' for none."""

    vm_uuid: str
    before: str
    value: str


class Bearer(NamedTuple):
    """A VM, template or snapshot (`kind`) that carries a number without having a row."""

    vm_uuid: str
    vm_name: Optional[str]
    vm_id: int
    kind: str = ORDINARY
    sequence: int = 0
    at: str = ''


class Orphan(NamedTuple):
    """A VM whose row was removed, and that may still carry our span."""

    vm_uuid: str
    vm_id: int
    at: str


def read_counter(connection: Connection, name: str) -> int:
    """Read a counter; one that was never written is 0."""
    rows = understand(connection, 'counters', connection.execute(
        'SELECT value FROM counters WHERE name = ?', (name,)), int)
    return int(rows[0][0]) if rows else 0


def check_numbers(connection: Connection) -> None:
    """Find out whether what an edit reads of all this can be understood."""
    understand(connection, 'counters', connection.execute('SELECT name, value FROM counters'),
               str, int)
    read_bearers(connection)


def read_edition(connection: Connection, source: str) -> int:
    """Read how often our programs have edited the shared file of that name."""
    return read_counter(connection, f'edition of {source}')


def write_counter(connection: Connection, name: str, value: int) -> None:
    """Write a counter."""
    connection.execute('INSERT OR REPLACE INTO counters (name, value) VALUES (?, ?)',
                       (name, value))


def next_sequence(connection: Connection) -> int:
    """Give a number that was never given before."""
    number = read_counter(connection, 'sequence') + 1
    write_counter(connection, 'sequence', number)
    return number


def note_number(connection: Connection, number: int) -> None:
    """Remember the largest number ever given out."""
    if number > read_counter(connection, 'largest_number'):
        write_counter(connection, 'largest_number', number)


def largest_number(connection: Connection) -> int:
    """Give the largest number ever given out, or borne now, as far as that counts."""
    # Text is larger than any number, and left out.
    rows = connection.execute('SELECT max(vm_id) FROM bearers WHERE vm_id <= ?',
                              (LARGEST_COUNTED,))
    return max(read_counter(connection, 'largest_number'), rows[0][0] or 0)


def read_claims(connection: Connection) -> Mapping[int, int]:
    """Read the place in the sequence of each number that a row has."""
    return dict(understand(connection, 'claims', connection.execute(
        'SELECT vm_id, sequence FROM claims'), int, int))


def note_claim(connection: Connection, at: str, vm_id: int) -> None:
    """Record that a row has a number from now on; a claim that stands keeps its place."""
    if not connection.execute('SELECT 1 FROM claims WHERE vm_id = ?', (vm_id,)):
        connection.execute('INSERT INTO claims (vm_id, sequence, at) VALUES (?, ?, ?)',
                           (vm_id, next_sequence(connection), at))


def forget_claim(connection: Connection, vm_id: int) -> None:
    """Forget a claim: no row has the number any more."""
    connection.execute('DELETE FROM claims WHERE vm_id = ?', (vm_id,))


def read_removed(connection: Connection) -> Mapping[str, str]:
    """Read our arguments that were removed from VMs, by UUID."""
    return dict(understand(connection, 'removed', connection.execute(
        'SELECT vm_uuid, value FROM removed'), str, str))


def note_removed(connection: Connection, at: str, vm_uuid: str, value: str) -> None:
    """Keep our arguments that were removed from a VM, and forget the oldest beyond the bound."""
    connection.execute('INSERT OR REPLACE INTO removed (vm_uuid, value, at) VALUES (?, ?, ?)',
                       (vm_uuid, value, at))
    connection.execute('DELETE FROM removed WHERE rowid <= '
                       '(SELECT max(rowid) FROM removed) - ?', (REMOVED_KEPT,))


def forget_removed(connection: Connection, vm_uuid: str) -> None:
    """Forget what was removed from a VM: it is back."""
    connection.execute('DELETE FROM removed WHERE vm_uuid = ?', (vm_uuid,))


def read_staged(connection: Connection) -> Mapping[str, Staged]:
    """Read what is staged, by UUID."""
    rows = understand(connection, 'staged', connection.execute(
        'SELECT vm_uuid, vm_id, value, sequence, at FROM staged'), str, int, str, int, str)
    return {row[0]: Staged(*row) for row in rows}


def note_staged(connection: Connection, at: str, vm_uuid: str, vm_id: int, value: str) -> None:
    """Record what we staged; the place in the sequence changes only with the number."""
    rows = connection.execute('SELECT vm_id, sequence FROM staged WHERE vm_uuid = ?', (vm_uuid,))
    is_same = bool(rows) and rows[0][0] == vm_id
    sequence = rows[0][1] if is_same else next_sequence(connection)
    connection.execute(
        'INSERT OR REPLACE INTO staged (vm_uuid, vm_id, value, sequence, at) '
        'VALUES (?, ?, ?, ?, ?)', (vm_uuid, vm_id, value, sequence, at))


def forget_staged(connection: Connection, vm_uuid: str) -> None:
    """Forget what we staged at a VM."""
    connection.execute('DELETE FROM staged WHERE vm_uuid = ?', (vm_uuid,))


def read_written(connection: Connection) -> Mapping[str, Written]:
    """Read what was about to be written and is not proven, by UUID."""
    rows = understand(connection, 'written', connection.execute(
        'SELECT vm_uuid, before, value FROM written'), str, str, str)
    return {row[0]: Written(*row) for row in rows}


def note_writing(connection: Connection, at: str, written: Written) -> None:
    """Record what is about to be written to a VM."""
    connection.execute('INSERT OR REPLACE INTO written (vm_uuid, before, value, at) '
                       'VALUES (?, ?, ?, ?)', tuple(written) + (at,))


def forget_written(connection: Connection, vm_uuid: str) -> None:
    """Forget a write: it is proven, or was never sent."""
    connection.execute('DELETE FROM written WHERE vm_uuid = ?', (vm_uuid,))


def read_bearers(connection: Connection) -> Mapping[str, Bearer]:
    """Read who bears a number without a row, by UUID."""
    rows = understand(connection, 'bearers', connection.execute(
        'SELECT vm_uuid, vm_name, vm_id, kind, sequence, at FROM bearers'),
                      str, OPTIONAL_TEXT, int, str, int, str)
    return {row[0]: Bearer(*row) for row in rows}


def note_bearers(connection: Connection, at: str, bearers: Iterable[Bearer],
                 gone: Iterable[str]) -> None:
    """Record who bears which number; only what differs is written."""
    for vm_uuid in gone:
        connection.execute('DELETE FROM bearers WHERE vm_uuid = ?', (vm_uuid.lower(),))
    for bearer in bearers:
        rows = connection.execute(
            'SELECT vm_uuid, vm_name, vm_id, kind, sequence, at FROM bearers WHERE vm_uuid = ?',
            (bearer.vm_uuid.lower(),))
        _note_bearer(connection, at, bearer, Bearer(*rows[0]) if rows else None)


def read_orphans(connection: Connection) -> Mapping[str, Orphan]:
    """Read whose row was removed, by UUID."""
    rows = understand(connection, 'orphans', connection.execute(
        'SELECT vm_uuid, vm_id, at FROM orphans'), str, int, str)
    return {row[0]: Orphan(*row) for row in rows}


def note_orphan(connection: Connection, at: str, vm_uuid: str, vm_id: int) -> None:
    """Remember that a VM lost its row, and forget the oldest beyond the bound."""
    connection.execute('INSERT OR REPLACE INTO orphans (vm_uuid, vm_id, at) VALUES (?, ?, ?)',
                       (vm_uuid, vm_id, at))
    excess = connection.execute('SELECT count(*) FROM orphans')[0][0] - ORPHANS_KEPT
    if excess > 0:
        connection.execute('DELETE FROM orphans WHERE vm_uuid IN '
                           '(SELECT vm_uuid FROM orphans ORDER BY at, rowid LIMIT ?)', (excess,))


def forget_orphan(connection: Connection, vm_uuid: str) -> None:
    """Forget an orphan: its span is gone, or it has a row again."""
    connection.execute('DELETE FROM orphans WHERE vm_uuid = ?', (vm_uuid,))


def _note_bearer(connection: Connection, at: str, bearer: Bearer,
                 known: Optional[Bearer]) -> None:
    if known is not None and known.vm_id == bearer.vm_id:
        if (known.vm_name, known.kind) == (bearer.vm_name, bearer.kind):
            return
        sequence, at = known.sequence, known.at
    else:
        sequence = next_sequence(connection)
    connection.execute(
        'INSERT OR REPLACE INTO bearers (vm_uuid, vm_name, vm_id, kind, sequence, at) '
        'VALUES (?, ?, ?, ?, ?, ?)',
        (bearer.vm_uuid.lower(), bearer.vm_name, bearer.vm_id, bearer.kind, sequence, at))
