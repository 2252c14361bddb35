"""Decode a large JSON answer part by part, as it arrives.

The first answer of a pool of 5,000 VMs has 20 MB, with UEFI variables 150 and more; decoded as a
whole it would exist three times over. Here each event, or each record of a map, is decoded as
soon as its text is there, reduced at once to what is needed, and its text forgotten.

Pure: no clock, no I/O, no logging. The text comes as an iterator.
"""

import itertools
import json
import re
from typing import Any, Callable, Iterator, NamedTuple, Optional, Pattern

# Control characters inside strings come as they are from old releases of XAPI.
_DECODER = json.JSONDecoder(strict=False)
# The parts begin after an envelope of a few words; beyond this it is another kind of answer.
_MAX_HEAD = 4096
_SPACE = re.compile(r'[\s,]*')
_COLON = re.compile(r'\s*:\s*')


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
    return Parts(re.compile(r'"result"\s*:\s*\{[^\[\]{}]*"%s"\s*:\s*\[' % name), reduce,
                 name)


def map_parts(reduce: Callable[[str, Any], Any]) -> Parts:
    """The values of the map that is the result."""
    return Parts(re.compile(r'"result"\s*:\s*\{'), reduce)


def decode(chunks: Iterator[str], parts: Parts) -> Any:
    """The answer, with each part reduced. ValueError when it is no JSON.

    An answer in which the parts are not found where XAPI puts them (a failure, another order of
    keys) is decoded as a whole, and comes back unreduced.
    """
    first, second = next(chunks, ''), next(chunks, None)
    if second is None:
        return _decode_small(first, parts)
    text = _Text(itertools.chain((first, second), chunks))
    head = text.find(parts.beginning)
    if head is None:
        return _DECODER.decode(text.rest())
    kept: Any = [] if parts.name else {}
    while text.peek() != (']' if parts.name else '}'):
        if parts.name:
            kept.append(parts.reduce('', text.take()))
        else:
            key = text.take_key()
            kept[key] = parts.reduce(key, text.take())
    # Decoded with the brackets empty; what was between them is put back.
    envelope = _DECODER.decode(head + text.rest())
    if parts.name:
        envelope['result'][parts.name] = kept
    else:
        envelope['result'] = kept
    return envelope


def decode_whole(chunks: Iterator[str]) -> Any:
    """The answer as it is; ValueError when it is no JSON."""
    return _DECODER.decode(''.join(chunks))


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

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text = ''
        self._position = 0

    def find(self, beginning: Pattern) -> Optional[str]:
        """Everything up to the beginning of the parts; None when there is no such place."""
        match = None
        while match is None and len(self._text) < _MAX_HEAD and self._extend():
            match = beginning.search(self._text, 0, _MAX_HEAD)
        if match is None:
            return None
        self._position = match.end()
        return self._text[:match.end()]

    def peek(self) -> str:
        """The next character that counts."""
        while True:
            space: Any = _SPACE.match(self._text, self._position)  # also where there is none
            self._position = space.end()
            if self._position < len(self._text):
                return self._text[self._position]
            self._need_more()

    def take_key(self) -> str:
        """The next string, and the colon behind it."""
        key = self.take()
        while True:
            match = _COLON.match(self._text, self._position)
            if match is not None and match.end() < len(self._text):
                self._position = match.end()
                return str(key)
            self._need_more()

    def take(self) -> Any:
        """The next value; more text is waited for while it is not complete."""
        self.peek()
        while True:
            try:
                value, self._position = _DECODER.raw_decode(self._text, self._position)
                return value
            except ValueError:
                # Cut off in the middle, or no JSON: only more text can tell. Twice as much, so
                # that a long value is gone through a few times and not once for each chunk.
                self._need_more(len(self._text) - self._position)

    def rest(self) -> str:
        """All that is left."""
        return self._text[self._position:] + ''.join(self._chunks)

    def _need_more(self, size: int = 1) -> None:
        if not self._extend(size):
            raise ValueError('the answer ends in the middle')

    def _extend(self, size: int = 1) -> bool:
        """Take so much more text, or what there is; False when there is none."""
        taken = [self._text[self._position:]]
        while size > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            taken.append(chunk)
            size -= len(chunk)
        self._text = ''.join(taken)
        self._position = 0
        return len(taken) > 1
