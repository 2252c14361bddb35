"""A table as text: CSV as our export writes it, and as spreadsheets save it.

A spreadsheet separates by semicolons or tabs where the comma is the decimal mark, may say so in a
first line `sep=;`, and fills rows up with empty columns.
"""

import collections
import csv
import io
import itertools
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

SEPARATORS = (',', ';', '\t', '|')
_SAID = re.compile(r'\s*"?sep=(.)', re.IGNORECASE)
_FIRST_LINE = re.compile(r'[\s,;|]*([^\r\n]*)')
_ADVICE = 'save it as CSV, UTF-8 with commas'


class NoTable(ValueError):
    """The text is no table, or one that could be read in two ways."""


class TableRow(NamedTuple):
    """One row that is not empty; `cells` is None where it does not fit the heading."""

    line: int
    cells: Optional[Dict[str, str]]


class Table(NamedTuple):
    """The names of the columns, and the rows below them."""

    heading: Tuple[str, ...]
    rows: Tuple[TableRow, ...]


def has_column(text: str, name: str) -> bool:
    """Tell whether the first line of a text is a heading that has this column."""
    try:
        return name in _clean_heading(next(_read(text))[1])
    except (NoTable, StopIteration):
        return False


def read_table(text: str) -> Table:
    """Read a table with one heading; NoTable says what is wrong, and what to do."""
    lines = _read(text)
    line, cells = next(lines, (1, []))
    heading = _clean_heading(cells)
    twice = sorted(name for name, count in collections.Counter(heading).items() if count > 1)
    if twice:
        raise NoTable(f'line {line}: the column {twice[0]!a} stands in the heading twice')
    return Table(tuple(heading), tuple(_build_row(line, heading, cells) for line, cells in lines))


def _read(text: str) -> Iterator[Tuple[int, List[str]]]:
    """The rows that are not empty, each with the number of its line."""
    said = _SAID.match(text)
    separator = said.group(1) if said is not None else _guess_separator(text)
    if separator not in SEPARATORS:
        raise NoTable(f'line 1: {separator!a} does not separate columns here; {_ADVICE}')
    # Python 3.6 stumbles over NUL bytes, and later ones do not. Strict: a quotation mark that is
    # never closed would make one cell of all the lines behind it.
    reader = csv.reader(io.StringIO(text.replace('\0', '\ufffd'), newline=''),
                        delimiter=separator, strict=True)
    try:
        for cells in itertools.islice(reader, 0 if said is None else 1, None):
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise NoTable(f'line {reader.line_num}: not CSV: {error}; {_ADVICE}') from error


def _guess_separator(text: str) -> str:
    """The one that stands in the heading most often: our names of columns have none of them."""
    first = _FIRST_LINE.match(text)
    return max(SEPARATORS, key=(first.group(1) if first is not None else '').count)


def _clean_heading(cells: List[str]) -> List[str]:
    """The names without the empty columns that a spreadsheet adds behind them."""
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _build_row(line: int, heading: List[str], cells: List[str]) -> TableRow:
    # What stands beyond the heading must be empty.
    fits = len(cells) >= len(heading) and not any(cell.strip() for cell in cells[len(heading):])
    return TableRow(line, dict(zip(heading, cells)) if fits else None)


def describe_heading(heading: Any) -> str:
    """The names of a heading for a message, shortened."""
    text = ascii(', '.join(heading))
    return text if len(text) <= 80 else text[:80] + '…'
