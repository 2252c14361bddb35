"""watcher/xapi/json_stream.py: a large answer is decoded part by part, to the same end as a whole."""

import json
from typing import Any, List

import pytest

from watcher.loop.steps import TURN, Steps, run
from watcher.xapi import json_stream

EVENTS = [{'class': 'vm', 'ref': 'OpaqueRef:%d' % number,
           'snapshot': {'text': '[]{},:"\\é中' * number, 'map': {'a': [1, 2.5, None, True]}}}
          for number in range(20)]
ANSWER = {'jsonrpc': '2.0', 'result': {
    'events': EVENTS, 'valid_ref_counts': {'vm': 20}, 'token': '1,2', 'empty': []}, 'id': 1}
RECORDS = {'jsonrpc': '2.0', 'result': {event['ref']: event['snapshot'] for event in EVENTS},
           'id': 1}
REORDERED = {'result': {'valid_ref_counts': {'vm': 1}, 'token': '1,2', 'events': EVENTS}, 'id': 1}
FAILURE = {'jsonrpc': '2.0', 'error': {'code': 1, 'message': 'X', 'data': []}, 'id': 1}


def cut(text: str, size: int) -> json_stream.ReadText:
    """Gives the text in pieces, each after a wait."""
    pieces = iter([text[start:start + size] for start in range(0, len(text), size)])

    def read() -> Steps[str]:
        yield TURN
        return next(pieces, '')
    return read


def decode(text: str, size: int, parts: json_stream.Parts) -> Any:
    """Decode a text that comes in pieces."""
    return run(json_stream.decode(cut(text, size), parts))


@pytest.mark.parametrize('size', [1, 2, 7, 64, 1000, 10 ** 6])
@pytest.mark.parametrize('separators', [
    pytest.param((',', ':'), id='compact'), pytest.param((' , ', ' : '), id='spaced')])
@pytest.mark.parametrize('answer, parts', [
    pytest.param(ANSWER, json_stream.list_parts('events', lambda _key, part: part), id='list'),
    pytest.param(RECORDS, json_stream.map_parts(lambda _key, part: part), id='map'),
    pytest.param(dict(ANSWER, result={'events': [], 'token': ''}),
                 json_stream.list_parts('events', lambda _key, part: part), id='no-events'),
    pytest.param(dict(RECORDS, result={}), json_stream.map_parts(lambda _key, part: part),
                 id='no-records'),
    pytest.param(FAILURE, json_stream.map_parts(lambda _key, part: part), id='failure'),
])
def test_any_cut_gives_what_the_whole_gives(answer: Any, parts: json_stream.Parts, separators: Any,
                                            size: int) -> None:
    text = json.dumps(answer, separators=separators)
    assert decode(text, size, parts) == answer


def test_each_part_is_reduced_with_its_key() -> None:
    seen: List[str] = []
    parts = json_stream.map_parts(lambda key, part: seen.append(key) or len(part['text']))
    answer = decode(json.dumps(RECORDS), 10, parts)
    assert seen == list(RECORDS['result']) and set(map(type, answer['result'].values())) == {int}


def test_parts_in_an_unforeseen_place_come_back_unreduced() -> None:
    parts = json_stream.list_parts('events', lambda _key, part: None)
    assert decode(json.dumps(REORDERED), 50, parts) == REORDERED


@pytest.mark.parametrize('parts', [
    pytest.param(json_stream.list_parts('events', lambda _key, part: part), id='list'),
    pytest.param(json_stream.map_parts(lambda _key, part: part), id='map')])
def test_every_torn_answer_is_an_error(parts: json_stream.Parts) -> None:
    text = json.dumps(dict(ANSWER, result={'events': EVENTS[:2], 'token': 'x'}))
    for length in range(len(text)):
        with pytest.raises(ValueError):
            decode(text[:length], 16, parts)


def test_a_control_character_inside_a_string_is_taken_as_it_is() -> None:
    text = '{"result":{"events":[{"a":"x\ty\nz"}],"token":""}}'
    parts = json_stream.list_parts('events', lambda _key, part: part)
    assert decode(text, 5, parts)['result']['events'] == [{'a': 'x\ty\nz'}]


@pytest.mark.parametrize('size', [1, 7, 10 ** 6])
def test_answer_without_parts_is_decoded_as_a_whole(size: int) -> None:
    assert run(json_stream.decode_whole(cut(json.dumps(ANSWER), size))) == ANSWER


@pytest.mark.parametrize('text', ['', '{', '{"result": "x', '{}{}', '<html>'])
def test_what_is_no_json_as_a_whole_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        run(json_stream.decode_whole(cut(text, 2)))


def test_answer_without_parts_that_is_longer_than_any_is_not_read_to_its_end() -> None:
    read: List[int] = []

    def read_blanks() -> Steps[str]:
        yield TURN
        read.append(1)
        return ' ' * (1 << 20)
    with pytest.raises(ValueError, match='longer than'):
        run(json_stream.decode_whole(read_blanks))
    assert len(read) == 17
