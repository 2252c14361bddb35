"""snapshot_metadata: the record of a VM as it was, in the words of xapi's database.  Pure.

It is a list of pairs, each a column and its value as the database keeps it, quoted; a value that
is a list or a map is such a list itself. Columns have two underscores for one inside a name that
the datamodel nests (name__label); only the ones that xapi nests are written so.
"""

import re
from typing import Any, Dict, Iterable, List, Tuple

from simulator.wire.rpc import Date

# The words that the datamodel nests: what follows them is another level.
_NESTED = ('name', 'memory', 'actions', 'VCPUs', 'PV', 'HVM')
_WORD = re.compile(r"\s*(?:(\()|(\))|'((?:[^'\\]|\\.)*)')", re.DOTALL)


def write(ref: str, fields: Dict[str, Any]) -> str:
    """Write a record as snapshot_metadata has it."""
    columns = {column(name): value for name, value in fields.items()}
    columns['_ref'] = ref
    return _list_pairs((name, _marshal(columns[name])) for name in sorted(columns, reverse=True))


def read(text: str, sample: Dict[str, Any]) -> Dict[str, Any]:
    """Read snapshot_metadata; the fields are those of a sample, with its types."""
    columns = dict(_parse(text))
    return {name: _unmarshal(columns[column(name)], sample[name])
            for name in sorted(sample, key=column, reverse=True) if column(name) in columns}


def column(name: str) -> str:
    """Return the column of a field."""
    head, underscore, tail = name.partition('_')
    return head + '__' + tail if underscore and head in _NESTED else name


def _marshal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f'{value:g}'
    if isinstance(value, dict):
        return _list_pairs(value.items())
    if isinstance(value, (list, tuple)):
        return '(' + ' '.join(map(_quote, value)) + ')'
    return str(value)


def _list_pairs(pairs: Iterable[Tuple[Any, Any]]) -> str:
    return '(' + ' '.join(f'({_quote(name)} {_quote(value)})' for name, value in pairs) + ')'


def _unmarshal(text: str, sample: Any) -> Any:
    if isinstance(sample, dict):
        return dict(_parse(text))
    if isinstance(sample, list):
        return _parse(text)
    if isinstance(sample, bool):
        return text == 'true'
    if isinstance(sample, Date):
        return Date(text)
    return type(sample)(text)


def _quote(text: Any) -> str:
    return "'" + str(text).replace('\\', '\\\\').replace("'", "\\'") + "'"


def _parse(text: str) -> List[Any]:
    """Read a list of words and lists; pairs come back as tuples."""
    stack: List[List[Any]] = [[]]
    for opening, closing, word in _WORD.findall(text):
        if opening:
            stack.append([])
        elif closing:
            done: Tuple[Any, ...] = tuple(stack.pop())
            stack[-1].append(done)
        else:
            stack[-1].append(re.sub(r'\\(.)', r'\1', word, flags=re.DOTALL))
    return list(stack[0][0])
