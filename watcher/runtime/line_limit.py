"""Shortens the fields of a log line until its JSON fits: the longest first, and marked.

journald of systemd 219 cuts a line in two after 2,047 bytes, and neither half is JSON. Short
fields stay whole: what there is room for is shared out evenly among those that are longer.

Pure: no clock, no I/O, no logging.
"""

import json
import re
from typing import Any, Callable, Dict, List, Sequence, Tuple

# With the newline behind it, a line is then as long as journald keeps whole.
MAX_LINE_BYTES = 2046
# A field that gets less says nothing: then the last ones are left out.
_LEAST_BYTES = 40
# What says how many were left out, with the brackets around it all.
_MARK_BYTES = 40
_MAX_KEY_CHARACTERS = 60
_MARKED_BEHIND = re.compile(r'\.\.\. \((\d+) more characters\)\Z')
_MARKED_BEFORE = re.compile(r'\A\.\.\. \((\d+) more characters\) \.\.\.')


def fit(fields: Dict[str, Any], room: int = MAX_LINE_BYTES) -> Dict[str, Any]:
    """Give fields whose JSON has so many bytes at most; of a traceback the end is kept."""
    if _size(fields) <= room:
        return fields
    items = [(key if len(key) <= _MAX_KEY_CHARACTERS else key[:_MAX_KEY_CHARACTERS] + '...', value)
             for key, value in fields.items()]
    kept, share = _choose([_size(value) for _key, value in items],
                          [_size(key) + len(': , ') for key, _value in items], room)
    shown = {key: _shorten(value, share, key == 'exception') for key, value in items[:kept]}
    if kept < len(items):
        shown['...'] = f'{len(items) - kept} more'
    return shown


def cut_line(text: str) -> str:
    """Give a line for people whose bytes are no more than those of a line for programs."""
    data = text.encode('utf-8', 'backslashreplace')
    if len(data) <= MAX_LINE_BYTES:
        return text
    return data[:MAX_LINE_BYTES - 3].decode('utf-8', 'ignore') + '...'


def _size(value: Any) -> int:
    return len(json.dumps(value))


def _choose(sizes: Sequence[int], overheads: Sequence[int], room: int) -> Tuple[int, int]:
    """How many of the first items are shown, and how many bytes each of them has at most."""
    for kept in range(len(sizes), 0, -1):
        spent = sum(overheads[:kept]) + (_MARK_BYTES if kept < len(sizes) else len('{}'))
        share = _find_share(sizes[:kept], room - spent)
        if share >= min(_LEAST_BYTES, max(sizes[:kept])):
            return kept, share
    return 0, 0


def _find_share(sizes: Sequence[int], room: int) -> int:
    """The most that each may have, so that all together have no more than the room."""
    waiting = len(sizes)
    for size in sorted(sizes):
        if size * waiting > room:
            return max(room, 0) // waiting
        room -= size
        waiting -= 1
    return max(sizes, default=0)


def _shorten(value: Any, room: int, keeps_end: bool = False) -> Any:
    """A value whose JSON has so many bytes at most; numbers are short enough."""
    if _size(value) <= room:
        return value
    if isinstance(value, str):
        return _shorten_end(value, room) if keeps_end else _shorten_text(value, room)
    if isinstance(value, dict):
        return fit(value, room)
    if isinstance(value, list):
        return _shorten_list(value, room)
    return value


def _shorten_list(items: List[Any], room: int) -> List[Any]:
    kept, share = _choose([_size(item) for item in items], [len(', ')] * len(items), room)
    shown = [_shorten(item, share) for item in items[:kept]]
    return shown + ([f'... ({len(items) - kept} more items)'] if kept < len(items) else [])


def _shorten_text(text: str, room: int) -> str:
    text, before = _unmark(text, _MARKED_BEHIND)
    kept = _count_fitting(text, room, _mark_behind, before)
    return text[:kept] + _mark_behind(len(text) - kept + before)


def _shorten_end(text: str, room: int) -> str:
    """The end of a traceback names the error."""
    text, before = _unmark(text, _MARKED_BEFORE)
    kept = _count_fitting(text[::-1], room, _mark_before, before)
    return _mark_before(len(text) - kept + before) + text[len(text) - kept:]


def _mark_behind(count: int) -> str:
    return f'... ({count} more characters)'


def _mark_before(count: int) -> str:
    return f'... ({count} more characters) ...'


def _unmark(text: str, mark: Any) -> Tuple[str, int]:
    """A text without the mark of an earlier cut, and how much that took away."""
    found = mark.search(text)
    if found is None:
        return text, 0
    return text[:found.start()] + text[found.end():], int(found.group(1)[:9])


def _count_fitting(text: str, room: int, mark: Callable[[int], str], before: int) -> int:
    """How many characters from the beginning have their place beside the mark."""
    left = room - _size(mark(len(text) + before))
    for count, character in enumerate(text):
        left -= _size(character) - 2
        if left < 0:
            return count
    return len(text)
