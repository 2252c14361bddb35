"""A list of the writes that somebody saw, for tests of their order."""

from typing import Any, List, NamedTuple

from simulator.server import Simulator


class Write(NamedTuple):
    """One write to a field that somebody saw."""
    table: str
    ref: str
    field: str
    value: Any


class Recorder:
    """Writes down each field that changes, in order."""

    def __init__(self, simulator: Simulator) -> None:
        self._database = simulator.state.database
        self._seen = {(name, row.ref): row.fields for name, table in self._database.tables.items()
                      for row in table.rows.values()}
        self.writes: List[Write] = []
        self._database.observers.append(self._look)

    def fields(self, ref: str) -> List[str]:
        """List the fields of one row in the order in which they were written."""
        return [write.field for write in self.writes if write.ref == ref]

    def _look(self, table: str, ref: str) -> None:
        row = self._database.find(table, ref) if table != 'message' else None
        if row is None:
            return
        before = self._seen.get((table, ref), {})
        self.writes += [Write(table, ref, field, value) for field, value in row.fields.items()
                        if field not in before or before[field] != value]
        self._seen[(table, ref)] = row.fields
