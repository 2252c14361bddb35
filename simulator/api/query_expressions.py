"""The small language of get_all_records_where: field "a"="b", and, or, not, true, false.  Pure."""

import re
from typing import Any, Callable, Dict, List

from simulator.wire.failures import Failure

Predicate = Callable[[Dict[str, Any]], bool]
TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()=]|[A-Za-z_]+)')


def parse_expression(text: str) -> Predicate:
    """Turn an expression into a test of a record's fields."""
    tokens = _tokenise(text)
    predicate = _either(tokens)
    if tokens:
        raise _unreadable(text)
    return predicate


def _tokenise(text: str) -> List[str]:
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        found = TOKEN.match(stripped, position)
        if found is None:
            raise _unreadable(text)
        tokens.append(found.group(1))
        position = found.end()
    return tokens


def _either(tokens: List[str]) -> Predicate:
    left = _both(tokens)
    while tokens[:1] == ['or']:
        tokens.pop(0)
        left = _join(any, left, _both(tokens))
    return left


def _both(tokens: List[str]) -> Predicate:
    left = _term(tokens)
    while tokens[:1] == ['and']:
        tokens.pop(0)
        left = _join(all, left, _term(tokens))
    return left


def _term(tokens: List[str]) -> Predicate:
    word = tokens.pop(0) if tokens else ''
    if word == 'not':
        inner = _term(tokens)
        return lambda fields: not inner(fields)
    if word == '(':
        inner = _either(tokens)
        if not tokens or tokens.pop(0) != ')':
            raise _unreadable('missing )')
        return inner
    if word in ('true', 'false'):
        return lambda fields: word == 'true'
    if word == 'field' and len(tokens) >= 3 and tokens[1] == '=':
        name, _, value = (tokens.pop(0), tokens.pop(0), tokens.pop(0))
        return lambda fields: _text(fields.get(_unquote(name))) == _unquote(value)
    raise _unreadable(word)


def _join(how: Callable[[List[bool]], bool], left: Predicate, right: Predicate) -> Predicate:
    return lambda fields: how([left(fields), right(fields)])


def _unquote(word: str) -> str:
    return re.sub(r'\\(.)', r'\1', word[1:-1]) if word.startswith('"') else word


def _text(value: Any) -> str:
    # The database compares text, and writes its booleans in lower case.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unreadable(text: str) -> Failure:
    return Failure('INTERNAL_ERROR', [f'Db_filter.Expression_error("{text}")'])
