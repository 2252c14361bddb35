"""What a member sends of a command, and what comes back: checked on both ends."""

import base64
import json
import zlib

import pytest

from cli.commandline.commands import COMMANDS
from cli.commandline.parser import parse
from cli.commandline.routing import EDITS, HERE, VIEWS, belongs_to_master
from cli.forwarding.protocol import (MAX_TEXT_BYTES, Answer, Request, build_question, parse_answer,
                                     parse_request, render_answer, render_request, split_lines)
from cli.output.text import Style
from watcher.xapi.plugin_protocol import AnswerInvalid, CallInvalid

UUID = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
FULL = Request(('set-pool', '--vm-name=a \u2713', '--pool=B'), 'a' * 64, True,
               Style(True, True, True, 80, 24), 'vm_uuid\r\n\u2713\n', 'alice', 'xcp-2', 'b' * 32,
               True)
QUESTION = build_question(['set-pool'], ['Current configuration', '\x1b[1m'], 'Apply?')


@pytest.mark.parametrize('request_', [FULL, Request(('list-vms',))], ids=['full', 'words-only'])
def test_request_comes_back_as_it_was_sent(request_):
    arguments = render_request(request_)
    assert parse_request(arguments) == request_
    assert all(text.isascii() if hasattr(text, 'isascii') else text.encode('ascii') is not None
               for text in arguments.values())


@pytest.mark.parametrize('changes', [
    {'words': ''}, {'words': '"list-vms"'}, {'words': '[]'}, {'words': '[1]'}, {'words': '[null]'},
    {'words': json.dumps(['a\0b'])}, {'words': json.dumps(['a'] * 1001)}, {'words': '[' * 100000},
    {'answer': 'yes'}, {'answer': 'a' * 63}, {'request': '../../x'}, {'request': 'a' * 31},
    {'style': '{}'}, {'style': '[1]'}, {'style': '[true,true,true,-1,0]'},
    {'style': '[true,true,true,1e9,0]'}, {'input': 'not base64!'}, {'input': 'YWJj'},
    {'input': base64.b64encode(zlib.compress(b'\xff')).decode()},
    {'input': base64.b64encode(zlib.compress(b'abc')[:-2]).decode()},
])
def test_odd_request_is_refused(changes):
    with pytest.raises(CallInvalid):
        parse_request(dict(render_request(FULL), **changes))


def test_little_that_unpacks_to_much_is_refused():
    bomb = zlib.compress(b'0' * (MAX_TEXT_BYTES + 1), 9)
    with pytest.raises(CallInvalid, match='more than'):
        parse_request(dict(render_request(FULL), input=base64.b64encode(bomb).decode()))


def test_names_for_the_history_are_short_and_printable():
    request = parse_request(dict(render_request(FULL), user='al\x1b[1mice\n' + 'x' * 500))
    assert request.user.startswith('al[1mice') and len(request.user) == 100


@pytest.mark.parametrize('answer', [
    Answer(6, 'a\n\x1b[31mb\n', 'c\n'), Answer(1, '', '', QUESTION), Answer(0, 'x' * 100000)])
@pytest.mark.parametrize('is_packed', [False, True])
def test_answer_comes_back(answer, is_packed):
    text = render_answer(answer, is_packed=is_packed)
    assert parse_answer(text) == answer
    assert len(text) < 2000 or not is_packed


@pytest.mark.parametrize('changes', [
    {'format': 2}, {'status': None}, {'status': 256}, {'status': -1}, {'output': 1},
    {'errors': []}, {'question': 1}, {'question': {'block': [1], 'text': '', 'digest': 'a' * 64}},
    {'question': {'block': [], 'text': '', 'digest': ''}}, {'packed': 'YWJj'}, {'packed': 7}])
def test_odd_answer_is_refused(changes):
    with pytest.raises(AnswerInvalid):
        parse_answer(json.dumps(dict(json.loads(render_answer(Answer(), is_packed=False)),
                                     **changes)))


def test_answer_to_a_question_is_bound_to_the_command_and_to_all_that_was_shown():
    others = [build_question(['set-vm'], QUESTION.block, QUESTION.text),
              build_question(['set-pool'], QUESTION.block[:1], QUESTION.text),
              build_question(['set-pool'], QUESTION.block, 'Really?')]
    assert QUESTION.digest not in {other.digest for other in others}
    assert build_question(['set-pool'], QUESTION.block, QUESTION.text) == QUESTION


@pytest.mark.parametrize('text', ['', 'a\n', 'a\nb\n', '\n', 'a\n\nb\n'])
def test_lines_are_printed_again_as_they_were(text):
    assert ''.join(line + '\n' for line in split_lines(text)) == text


def test_every_command_has_its_place():
    assert sorted(EDITS | VIEWS | HERE) == sorted(command.name for command in COMMANDS)
    assert len(EDITS) + len(VIEWS) + len(HERE) == len(COMMANDS)


@pytest.mark.parametrize('words, belongs', [
    (['list-vms'], True), (['list-vms', '--db=x'], False), (['list-vms', '--help'], False),
    (['export'], True), (['export', '--file=-'], True),
    (['export', 'vms.csv'], False), (['backup', 'x'], False), (['doctor'], False)])
def test_what_belongs_to_the_master(words, belongs):
    assert belongs_to_master(parse(words)) is belongs


def test_words_that_go_along_say_nothing_of_this_host():
    arguments = parse(['--config=/etc/x', 'set-pool', '--json', '--pool', 'B', 'uuid=' + UUID])
    assert arguments.words == ('set-pool', '--json', '--pool=B', '--vm-uuid=' + UUID)
