"""Decode a large JSON answer part by part, as it arrives.

The first answer of a pool of 5,000 VMs has 20 MB, with UEFI variables 150 and more; decoded as a
whole it would exist three times over. Here each event, or each record of a map, is decoded as
soon as its text is there, reduced at once to what is needed, and its text forgotten.

Pure: no clock, no I/O, no logging. More text is asked for in steps.
"""

import json
import re
from typing import Any, Callable, List, NamedTuple, Optional, Pattern

from watcher.loop.steps import Steps

# Control characters inside strings come as they are from old releases of XAPI.
_DECODER = json.JSONDecoder(strict=False)
# What is not decoded part by part holds up all else while it is decoded: 100 ms and less.
_MAX_WHOLE = 16 * 1024 * 1024
# The parts begin after an envelope of a few words; beyond this it is another kind of answer.
_MAX_HEAD = 4096
_SPACE = re.compile(r'[\s,]*')
_COLON = re.compile(r'\s*:\s*')


# Gives more of the text, and '' at its end.
ReadText = Callable[[], Steps[str]]


class Parts(NamedTuple):
    """Where in an answer the parts stand, and what to do with each."""
    beginning: Pattern
    """Matches the text up to and including the bracket that opens them."""
    reduce: Callable[[str, Any], Any]
    """Takes key ('' in a list) and decoded part, gives what is kept of it."""
    name: str = ''
    """The list's name inside the result; '' when the result itself is the map."""


def list_parts(name: str, reduce: Callable[[str, Any], Any]) -> Parts:
    """The elements of a list of that name inside the result."""
    return Parts(re.compile(r'"result"\s*:\s*\{[^\[\]{}]*"' + name + r'"\s*:\s*\['), reduce, name)


def map_parts(reduce: Callable[[str, Any], Any]) -> Parts:
    """The values of the map that is the result."""
    return Parts(re.compile(r'"result"\s*:\s*\{'), reduce)


def decode(read: ReadText, parts: Parts) -> Steps[Any]:
    """The answer, with each part reduced. ValueError when it is no JSON.

    An answer in which the parts are not found where XAPI puts them (a failure, another order of
    keys) is decoded as a whole, and comes back unreduced.
    """
    first = yield from read()
    second = yield from read()
    if not second:
        return _decode_small(first, parts)
    text = _Text(first + second, read)
    head = yield from text.find(parts.beginning)
    if head is None:
        return _DECODER.decode((yield from text.rest()))
    kept: Any = [] if parts.name else {}
    end = ']' if parts.name else '}'
    while (yield from text.peek()) != end:
        if parts.name:
            kept.append(parts.reduce('', (yield from text.take())))
        else:
            key = yield from text.take_key()
            kept[key] = parts.reduce(key, (yield from text.take()))
    # Decoded with the brackets empty; what was between them is put back.
    envelope = _DECODER.decode(head + (yield from text.rest()))
    if parts.name:
        envelope['result'][parts.name] = kept
    else:
        envelope['result'] = kept
    return envelope


def decode_whole(read: ReadText) -> Steps[Any]:
    """The answer as it is; ValueError when it is no JSON, or longer than any that we ask for."""
    taken: List[str] = []
    size = 0
    while True:
        text = yield from read()
        if not text:
            return _DECODER.decode(''.join(taken))
        taken.append(text)
        size += len(text)
        if size > _MAX_WHOLE:
            raise ValueError(f'longer than {_MAX_WHOLE} characters')


def _decode_small(text: str, parts: Parts) -> Any:
    """An answer that came in one piece costs least when it is decoded in one go."""
    envelope = _DECODER.decode(text)
    result = envelope.get('result') if isinstance(envelope, dict) else None
    if not isinstance(result, dict):
        return envelope
    if not parts.name:
        envelope['result'] = {key: parts.reduce(key, item) for key, item in result.items()}
    elif isinstance(result.get(parts.name), list):
        result[parts.name] = [parts.reduce('', item) for item in result[parts.name]]
    return envelope


class _Text:
    """The text that has arrived and is not yet decoded."""

    def __init__(self, text: str, read: ReadText) -> None:
        self._text = text
        self._read = read
        self._position = 0

    def find(self, beginning: Pattern) -> Steps[Optional[str]]:
        """Everything up to the beginning of the parts; None when there is no such place."""
        match = beginning.search(self._text, 0, _MAX_HEAD)
        while match is None and len(self._text) < _MAX_HEAD and (yield from self._extend()):
            match = beginning.search(self._text, 0, _MAX_HEAD)
        if match is None:
            return None
        self._position = match.end()
        return self._text[:match.end()]

    def peek(self) -> Steps[str]:
        """The next character that counts."""
        while True:
            space: Any = _SPACE.match(self._text, self._position)  # also where there is none
            self._position = space.end()
            if self._position < len(self._text):
                return self._text[self._position]
            yield from self._need_more()

    def take_key(self) -> Steps[str]:
        """The next string, and the colon behind it."""
        key = yield from self.take()
        while True:
            match = _COLON.match(self._text, self._position)
            if match is not None and match.end() < len(self._text):
                self._position = match.end()
                return str(key)
            yield from self._need_more()

    def take(self) -> Steps[Any]:
        """The next value; more text is waited for while it is not complete."""
        yield from self.peek()
        while True:
            try:
                value, self._position = _DECODER.raw_decode(self._text, self._position)
                return value
            except ValueError:
                # Cut off in the middle, or no JSON: only more text can tell. Twice as much, so
                # that a long value is gone through a few times and not once for each chunk.
                yield from self._need_more(len(self._text) - self._position)

    def rest(self) -> Steps[str]:
        """All that is left."""
        taken = [self._text[self._position:]]
        while True:
            text = yield from self._read()
            if not text:
                return ''.join(taken)
            taken.append(text)

    def _need_more(self, size: int = 1) -> Steps[None]:
        if not (yield from self._extend(size)):
            raise ValueError('the answer ends in the middle')

    def _extend(self, size: int = 1) -> Steps[bool]:
        """Take so much more text, or what there is; False when there is none."""
        taken = [self._text[self._position:]]
        while size > 0:
            text = yield from self._read()
            if not text:
                break
            taken.append(text)
            size -= len(text)
        self._text = ''.join(taken)
        self._position = 0
        return len(taken) > 1
