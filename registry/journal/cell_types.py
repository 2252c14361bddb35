"""Checks the types of what the journal holds: SQLite accepts text in a column of numbers.

The rows of each reading pass here before they are made into values.
"""

from typing import Any, List, Sequence

from registry.errors import JournalUnavailable, Reason
from registry.sqlite.connection import Connection, Row, unavailable

OPTIONAL_TEXT = (str, type(None))
OPTIONAL_NUMBER = (int, type(None))
_SHOWN_CHARACTERS = 40


def fits(row: Row, kinds: Sequence[Any]) -> bool:
    """Tell whether each cell is of its kind: a type, types, or a frozenset of values."""
    return all(cell in kind if isinstance(kind, frozenset) else isinstance(cell, kind)
               for cell, kind in zip(row, kinds))


def understand(connection: Connection, table: str, rows: List[Row], *kinds: Any) -> List[Row]:
    """Give the rows; where a cell is not of its kind the journal is unavailable."""
    for row in rows:
        if not fits(row, kinds):
            cell = next(cell for cell, kind in zip(row, kinds) if not fits((cell,), (kind,)))
            shown = f'{cell!r:.{_SHOWN_CHARACTERS}}'
            raise unavailable(connection.journal_path, Reason.CORRUPT, JournalUnavailable,
                              detail=f'the table {table} holds {shown}, which is no value of ours')
    return rows
