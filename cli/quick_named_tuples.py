"""Makes the named tuples of Python 3.6, which is dom0's, as quick to make as those of 3.7.

Python 3.6 compiles a page of source for each class: 0.7 ms, some seventy times for one command.
Before `typing` makes the first of ours, `install` puts the way of 3.7 in the place of that.
"""

import collections
import operator

_original = collections.namedtuple
_tuple_new = tuple.__new__


def install() -> None:
    """Use it in this process, from now on."""
    collections.namedtuple = make_named_tuple  # type: ignore


def make_named_tuple(name: str, fields: object, **options: object) -> type:
    """Make the class; what `typing` never asks for is left to Python."""
    if options or not isinstance(fields, list) or not fields:
        return _original(name, fields, **options)  # type: ignore
    given = ', '.join(fields)
    space = {'_tuple_new': _tuple_new}
    exec(f'def __new__(_cls, {given}):\n    return _tuple_new(_cls, ({given},))', space)
    body = {'__slots__': (), '__doc__': f'{name}({given})', '_fields': tuple(fields),
            '__new__': space['__new__'], '_make': classmethod(_make), '_replace': _replace,
            '_asdict': _asdict, '__repr__': _represent, '__getnewargs__': _list_values}
    body.update((field, property(operator.itemgetter(number)))
                for number, field in enumerate(fields))
    return type(name, (tuple,), body)


def _make(cls, values, new=tuple.__new__, len=len):  # type: ignore
    result = new(cls, values)
    if len(result) != len(cls._fields):
        raise TypeError(f'Expected {len(cls._fields)} arguments, got {len(result)}')
    return result


def _replace(self, **changes):  # type: ignore
    result = self._make(map(changes.pop, self._fields, self))
    if changes:
        raise ValueError(f'Got unexpected field names: {list(changes)!r}')
    return result


def _asdict(self):  # type: ignore
    return collections.OrderedDict(zip(self._fields, self))


def _list_values(self):  # type: ignore
    return tuple(self)


def _represent(self):  # type: ignore
    values = ', '.join(f'{field}={value!r}' for field, value in zip(self._fields, self))
    return f'{type(self).__name__}({values})'
