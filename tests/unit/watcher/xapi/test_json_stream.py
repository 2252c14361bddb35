"""watcher/xapi/json_stream.py: a large answer is decoded part by part, to the same end as a whole."""

import json
from typing import Any, Iterator, List

import pytest

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


def cut(text: str, size: int) -> Iterator[str]:
    """The text in chunks."""
    return iter([text[start:start + size] for start in range(0, len(text), size)])


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
    assert json_stream.decode(cut(text, size), parts) == answer


def test_each_part_is_reduced_with_its_key() -> None:
    seen: List[str] = []
    parts = json_stream.map_parts(lambda key, part: seen.append(key) or len(part['text']))
    answer = json_stream.decode(cut(json.dumps(RECORDS), 10), parts)
    assert seen == list(RECORDS['result']) and set(map(type, answer['result'].values())) == {int}


def test_parts_in_an_unforeseen_place_come_back_unreduced() -> None:
    parts = json_stream.list_parts('events', lambda _key, part: None)
    assert json_stream.decode(cut(json.dumps(REORDERED), 50), parts) == REORDERED


@pytest.mark.parametrize('parts', [
    pytest.param(json_stream.list_parts('events', lambda _key, part: part), id='list'),
    pytest.param(json_stream.map_parts(lambda _key, part: part), id='map')])
def test_every_torn_answer_is_an_error(parts: json_stream.Parts) -> None:
    text = json.dumps(dict(ANSWER, result={'events': EVENTS[:2], 'token': 'x'}))
    for length in range(len(text)):
        with pytest.raises(ValueError):
            json_stream.decode(cut(text[:length], 16), parts)


def test_a_control_character_inside_a_string_is_taken_as_it_is() -> None:
    text = '{"result":{"events":[{"a":"x\ty\nz"}],"token":""}}'
    parts = json_stream.list_parts('events', lambda _key, part: part)
    assert json_stream.decode(cut(text, 5), parts)['result']['events'] == [{'a': 'x\ty\nz'}]
