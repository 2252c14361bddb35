"""XAPI's database: rows that know the generation of their birth and of their last change.  Pure.

One lock guards everything, as in XAPI. Field values are never changed in place: a write replaces
the row's dictionary, so a holder of the old one has a consistent snapshot.
"""

import re
from collections import OrderedDict, deque
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple

from simulator.wire.failures import duplicate_key, empty_key, handle_invalid
from simulator.wire.rpc import Snapshot

NULL = 'OpaqueRef:NULL'
DELETED_LIMIT = 512        # entries per table, then the older half is forgotten without a word
DELETED_KEPT = 256
NOT_KEPT = ('session', 'task')
_OUTSIDE_XML = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
UNDO_LIMIT = 50000         # writes that a crash can take back: XAPI loses up to five minutes


class Deletion(NamedTuple):
    """What the database remembers of a row that is gone."""
    created: int
    deleted: int
    ref: str


class Undo(NamedTuple):
    """What one write replaced: one field or all of them, or nothing when the row was new."""
    generation: int
    table: str
    ref: str
    created: int
    modified: int
    before: Optional[Dict[str, Any]]
    is_whole: bool


class Copy(NamedTuple):
    """What a file of the database holds: rows as (reference, created, modified, fields)."""
    generation: int
    tables: Dict[str, List[Tuple[str, int, int, Dict[str, Any]]]]


class Row:
    """One row: its fields, and the generations in which it was made and last changed."""

    __slots__ = ('ref', 'created', 'modified', 'fields', 'cache')

    def __init__(self, ref: str, created: int, modified: int, fields: Dict[str, Any]) -> None:
        self.ref = ref
        self.created = created
        self.modified = modified
        self.fields = fields
        self.cache: Dict[str, Any] = {}

    @property
    def snapshot(self) -> Snapshot:
        """Return the fields as they are now, with the place for their renderings."""
        return Snapshot(self.fields, self.cache)


class Table:
    """Rows in the order of their last change, and a short memory of deletions, newest first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: 'OrderedDict[str, Row]' = OrderedDict()
        self.deleted: Deque[Deletion] = deque()

    def changed_since(self, generation: int) -> List[Row]:
        """Return the rows changed after a generation, in the order of their references."""
        changed = []
        for row in reversed(self.rows.values()):
            if row.modified <= generation:
                break
            changed.append(row)
        return sorted(changed, key=lambda row: row.ref)

    def deleted_since(self, generation: int) -> Iterator[Deletion]:
        """Yield what was deleted after a generation and known before it, newest first."""
        for deletion in self.deleted:
            if deletion.deleted <= generation:
                return
            if deletion.created <= generation:
                yield deletion

    def remember(self, deletion: Deletion) -> None:
        """Keep a deletion; beyond 512 the older ones are forgotten."""
        self.deleted.appendleft(deletion)
        if len(self.deleted) > DELETED_LIMIT:
            while len(self.deleted) > DELETED_KEPT:
                self.deleted.pop()


class Database:
    """All tables, one generation counter, one lock."""

    def __init__(self, tables: Tuple[str, ...],
                 relations: Dict[Tuple[str, str], Tuple[str, str]], lock: Any) -> None:
        self.lock = lock
        self.generation = 1000
        self.tables = OrderedDict((name, Table(name)) for name in tables)
        self.relations = relations
        self.observers: List[Callable[[str, str], None]] = []
        self.forgets: Callable[[str, str], bool] = lambda table, ref: False
        self._undo: Deque[Undo] = deque(maxlen=UNDO_LIMIT)
        self._columns: Dict[str, List[str]] = {}
        for (table, column) in relations:
            self._columns.setdefault(table, []).append(column)

    def create(self, table: str, ref: str, fields: Dict[str, Any]) -> Row:
        """Add a row."""
        with self.lock:
            self.generation += 1
            row = Row(ref, self.generation, self.generation, dict(fields))
            self._undo.append(Undo(self.generation, table, ref, 0, 0, None, True))
            self.tables[table].rows[ref] = row
            for column in self._columns.get(table, ()):
                self._relate(table, column, ref, NULL, fields.get(column, NULL))
            self._tell(table, ref)
            return row

    def destroy(self, table: str, ref: str) -> None:
        """Remove a row, and leave a trace of it unless told to forget."""
        with self.lock:
            row = self.get(table, ref)
            self.generation += 1
            for column in self._columns.get(table, ()):
                self._relate(table, column, ref, row.fields.get(column, NULL), NULL)
            self._remember(table, row, row.fields, is_whole=True)
            del self.tables[table].rows[ref]
            if not self.forgets(table, ref):
                self.tables[table].remember(Deletion(row.created, self.generation, ref))
            self._tell(table, ref)

    def write(self, table: str, ref: str, field: str, value: Any) -> bool:
        """Write one field; a write that changes nothing makes no generation and no event."""
        with self.lock:
            row = self.get(table, ref)
            before = row.fields.get(field)
            if before == value and type(before) is type(value):
                return False
            self.generation += 1
            self._replace(table, row, field, value)
            if (table, field) in self.relations:
                self._relate(table, field, ref, before or NULL, value)
            self._tell(table, ref)
            return True

    def touch(self, table: str, ref: str) -> int:
        """Make an event without a change, as event.inject does; return the generation of it."""
        with self.lock:
            row = self.get(table, ref)
            self.generation += 1
            touched = self.generation
            self._remember(table, row, {})
            row.modified = touched
            self.tables[table].rows.move_to_end(ref)
            self.generation += 1
            self._tell(table, ref)
            return touched

    def add_to_map(self, table: str, ref: str, field: str, key: str, value: str) -> None:
        """Add a key to a map; it must be absent, whatever its value."""
        with self.lock:
            current = self.get(table, ref).fields[field]
            if key in current:
                raise duplicate_key(table, field, ref, key)
            if not key:
                raise empty_key()
            self.write(table, ref, field, dict(current, **{key: valid_prefix(value)}))

    def remove_from_map(self, table: str, ref: str, field: str, key: str) -> None:
        """Remove a key from a map; an absent one is no error, no write and no event."""
        with self.lock:
            current = self.get(table, ref).fields[field]
            remaining = {name: value for name, value in current.items() if name != key}
            self.write(table, ref, field, remaining)

    def find(self, table: str, ref: str) -> Optional[Row]:
        """Return a row, or None."""
        return self.tables[table].rows.get(ref)

    def get(self, table: str, ref: str) -> Row:
        """Return a row; raise HANDLE_INVALID when there is none."""
        row = self.tables[table].rows.get(ref)
        if row is None:
            raise handle_invalid(table, ref)
        return row

    def read(self, table: str, ref: str, field: str) -> Any:
        """Return one field."""
        return self.get(table, ref).fields[field]

    def reload(self) -> None:
        """Do what loading the file does: deletions are forgotten, and the rows that relations
        point to are indexed again, which makes them new to a client with an old token."""
        with self.lock:
            self.generation += 1
            for table in self.tables.values():
                table.deleted.clear()
            for name in {target for target, _ in self.relations.values()}:
                for row in self.tables[name].rows.values():
                    row.created = row.modified = self.generation

    def copy(self) -> Copy:
        """Return what is kept on disk, and handed to the members: no sessions, no tasks."""
        with self.lock:
            return Copy(self.generation, {
                name: [(row.ref, row.created, row.modified, row.fields)
                       for row in table.rows.values()]
                for name, table in self.tables.items() if name not in NOT_KEPT})

    def load(self, copy: Copy) -> None:
        """Take the rows of a copy in place of all there are."""
        with self.lock:
            self.generation = copy.generation
            self._undo.clear()
            for name, table in self.tables.items():
                table.deleted.clear()
                table.rows = OrderedDict(
                    (ref, Row(ref, created, modified, fields))
                    for ref, created, modified, fields in copy.tables.get(name, ()))

    def roll_back(self, generation: int) -> None:
        """Take back all writes after a generation, as a crash before the flush does."""
        with self.lock:
            while self._undo and self._undo[-1].generation > generation:
                self._revert(self._undo.pop())
            self.generation = generation
            for table in self.tables.values():
                ordered = sorted(table.rows.values(), key=lambda row: row.modified)
                table.rows = OrderedDict((row.ref, row) for row in ordered)

    def empty(self, table: str) -> None:
        """Drop all rows of a table that is not kept on disk, without a trace."""
        with self.lock:
            self.tables[table].rows.clear()

    def _replace(self, table: str, row: Row, field: str, value: Any) -> None:
        self._remember(table, row, {field: row.fields.get(field)})
        row.fields = dict(row.fields)
        row.fields[field] = value
        # What was rendered of the other fields is still right.
        members = dict(row.cache.get('members', ()))
        members.pop(field, None)
        row.cache = {'members': members}
        row.modified = self.generation
        self.tables[table].rows.move_to_end(row.ref)

    def _relate(self, table: str, column: str, ref: str, before: str, after: str) -> None:
        other, members = self.relations[(table, column)]
        for target, is_member in ((before, False), (after, True)):
            row = self.find(other, target)
            if row is None:
                continue
            current = [member for member in row.fields[members] if member != ref]
            self._replace(other, row, members, sorted(current + [ref] * is_member))
            self._tell(other, target)

    def _remember(self, table: str, row: Row, before: Dict[str, Any], *,
                  is_whole: bool = False) -> None:
        self._undo.append(Undo(self.generation, table, row.ref, row.created, row.modified,
                               before, is_whole))

    def _revert(self, undo: Undo) -> None:
        rows = self.tables[undo.table].rows
        if undo.before is None:
            rows.pop(undo.ref, None)
        elif undo.is_whole:
            rows[undo.ref] = Row(undo.ref, undo.created, undo.modified, undo.before)
        elif undo.ref in rows:
            fields = dict(rows[undo.ref].fields, **undo.before)
            rows[undo.ref] = Row(undo.ref, undo.created, undo.modified, fields)

    def _tell(self, table: str, ref: str) -> None:
        for observer in self.observers:
            observer(table, ref)


def valid_prefix(value: str) -> str:
    """Cut a value at its first character that XML does not allow, as add_to_* silently does."""
    for position, character in enumerate(value):
        if not is_valid(character):
            return value[:position]
    return value


def is_valid(text: str) -> bool:
    """Ask whether XML allows every character of a text; a tab and the ends of lines it does."""
    return not _OUTSIDE_XML.search(text)
